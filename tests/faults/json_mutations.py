"""Changes to JSON files that nobody should make: values dropped, replaced, repeated; bytes too."""

import copy
import json
import math

# Stand for what json does not write: it is put into the text.
RAW = {
    '@digits': '9' * 5000,
    '@deep list': '[' * 100_000 + ']' * 100_000,
    '@deep object': '{"a":' * 100_000 + '1' + '}' * 100_000,
    '@exponent': '1e999',
}
VALUES = [
    *(None, True, False, 0, 1, 2, -1, 1.0, 1.5, 10**9, 10**30, -(10**30)),
    *(math.nan, math.inf, -math.inf),
    *('', '1', 'x', '\0', '\ud800', '../../x.jpg', '/x.jpg', '..', 'a/../../x.jpg'),
    *('a://b://x.jpg', 'x' * 5000),
    *([], {}, [[]], [None], [1, 2], [1, 2, 3, 4], ['x'], {'a': 1}),
    *([math.nan] * 4, [10**30] * 4, [10**9, 10**9], [-3, -3], [0, 0], [True, True]),
    {'size': [10**9, 10**9], 'counts': '0'},
    {'size': [32, 48], 'counts': [1536]},
    {'size': [32, 48], 'counts': [10**30, -(10**30), 1536]},
    {'size': [32, 48], 'counts': [math.nan]},
    *RAW,
]


def places(value):
    """All (container, key) of a JSON value."""
    keys = range(len(value)) if isinstance(value, list) else list(value)
    for key in keys:
        yield value, key
        if isinstance(value[key], (list, dict)) and value[key]:
            yield from places(value[key])


def mutated(content, rng):
    """The bytes of a file that is a little other than the given content.

    Args:
        content: A JSON value; not changed.
        rng: Where random choices come from.
    """
    content = copy.deepcopy(content)
    for _ in range(int(rng.integers(1, 3))):
        found = list(places(content))
        if not found:
            break
        # By depth first: most places lie deep.
        names = sorted({str(key) for _, key in found if isinstance(key, str)}) or ['']
        name = names[int(rng.integers(len(names)))]
        chosen = [one for one in found if one[1] == name or not isinstance(one[1], str)]
        named = [one for one in found if one[1] == name]
        pool = named if named and rng.random() < 0.7 else chosen
        mutate(*pool[int(rng.integers(len(pool)))], found, rng)
    text = json.dumps(content)
    for name, raw in RAW.items():
        text = text.replace(json.dumps(name), raw)
    data = bytearray(text.encode('utf-8'))
    if rng.random() < 0.2:
        for _ in range(int(rng.integers(1, 4))):
            data[int(rng.integers(len(data)))] = int(rng.integers(32, 127))
    if rng.random() < 0.05:
        del data[int(rng.integers(len(data))) :]
    return bytes(data)


def mutate(container, key, found, rng):
    """Drops, replaces or repeats a value."""
    action = rng.choice(['drop', 'replace', 'replace', 'replace', 'copy', 'repeat'])
    if action == 'drop':
        del container[key]
    elif action == 'replace':
        container[key] = copy.deepcopy(VALUES[int(rng.integers(len(VALUES)))])
    elif action == 'copy':
        other, name = found[int(rng.integers(len(found)))]
        container[key] = copy.deepcopy(other[name])
    elif isinstance(container, list):
        container.insert(key, copy.deepcopy(container[key]))
