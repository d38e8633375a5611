"""Categories of data sets and models, which are matched by name, never by position or id.

A model's labels are positions in its ``classes``: the names of the data that it was trained on,
which its checkpoints record. All that reads labels of a file, in training, validation, test and
checks, maps its categories to them here.
"""

from __future__ import annotations

import difflib
import os
import shlex
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vispropnet.errors import UserError
from vispropnet.text import first_of

# How many names a message lists.
_MOST_NAMES = 10


def unique_names(names: Iterable[str]) -> tuple[str, ...]:
    """Tells categories of one name apart: ``'star', 'star (2)'``."""
    seen: Counter[str] = Counter()
    unique = []
    for name in map(str, names):  # checks come here with names of other kinds
        seen[name] += 1
        unique.append(name if seen[name] == 1 else f'{name} ({seen[name]})')
    return tuple(unique)


def odd_names(categories: Mapping[int, str]) -> dict[int, str]:
    """Finds names that are empty or those of other categories.

    Args:
        categories: Names by id.

    Returns:
        What is odd, by id.
    """
    first: dict[str, int] = {}
    found = {}
    for (identity, name), label in zip(
        categories.items(), unique_names(categories.values()), strict=True
    ):
        if first.setdefault(str(name), identity) != identity:
            found[identity] = (
                f'the name {name!r} is that of category {first[str(name)]} already: they are kept '
                f'apart, this one as {label!r}'
            )
        elif not str(name).strip():
            found[identity] = 'the name is empty'
    return found


def select_categories(
    categories: Mapping[int, str],
    category_map: Mapping[Any, Any] | None = None,
    classes: Sequence[str] | None = None,
    where: str = '',
) -> dict[int, str]:
    """Gives the categories of a file that a data set takes, with the names it gives them.

    Args:
        categories: Names by id, in file order.
        category_map: Other names for some of them; several may get the same one.
        classes: Names, after renaming, of those to take; None takes all.
        where: Names the file in messages.

    Returns:
        Names by id, in the order of ``classes``, else of the file.

    Raises:
        UserError: if ``category_map`` or ``classes`` name a category that the file does not have.
    """
    where = f'{where}: ' if where else ''
    names = dict(zip(categories, unique_names(categories.values()), strict=True))
    if category_map is not None and not isinstance(category_map, Mapping):
        raise UserError(f"{where}category_map must be as dict(old='new'), found {category_map!r}.")
    # On a command line a name may look like a number.
    renamed = {str(old): str(new) for old, new in (category_map or {}).items()}
    _check_names(f'{where}category_map', renamed, names.values())
    names = {identity: renamed.get(name, name) for identity, name in names.items()}
    if classes is None:
        return names
    if not classes or len(set(classes)) < len(classes):
        raise UserError(f'{where}metainfo.classes must be different names, found {classes!r}.')
    _check_names(f'{where}metainfo.classes', classes, names.values())
    return {one: name for wanted in classes for one, name in names.items() if name == wanted}


def chosen_classes(metainfo: Mapping[str, Any] | None) -> tuple[str, ...] | None:
    """Gives the ``classes`` that the ``metainfo`` of a data set chooses; None for all.

    As in mmdetection: a list of names, the path of a file with a name in each line, or one name;
    ``CLASSES`` is its older spelling.
    """
    metainfo = metainfo or {}
    if not isinstance(metainfo, Mapping):
        raise UserError(f'metainfo must be as dict(classes=(...)), found {metainfo!r}.')
    chosen = metainfo.get('classes', metainfo.get('CLASSES'))
    if isinstance(chosen, str):
        chosen = Path(chosen).read_text().splitlines() if os.path.isfile(chosen) else [chosen]
    elif isinstance(chosen, int):  # a name that looks like a number on a command line
        chosen = [chosen]
    return None if chosen is None else tuple(map(str, chosen))


def join_classes(parts: Iterable[Iterable[str]]) -> tuple[str, ...]:
    """Gives all names once, those of the first part first."""
    return tuple(dict.fromkeys(name for part in parts for name in part))


def labels_of(
    names: Sequence[str], classes: Sequence[str], key: str = '', where: str = ''
) -> list[int]:
    """Finds the categories of a data set among those of a model.

    Args:
        names: Of the data set; some of the model's, in any order.
        classes: Of the model.
        key: Where the config has the data set, as ``val_dataloader.dataset``, for the message.
        where: Names the file in the message.

    Returns:
        The label of each name, its position in ``classes``.

    Raises:
        UserError: if the model does not know a name. It says both sides, and what helps.
    """
    label = {name: number for number, name in enumerate(classes)}
    unknown = [name for name in names if name not in label]
    if not unknown:
        return [label[name] for name in names]
    lacking = [name for name in classes if name not in names]
    kept = tuple(name for name in names if name in label)
    old, others = unknown[0], lacking or list(classes)
    new = next(iter(difflib.get_close_matches(old, others, n=1)), others[0])
    example = f'dict({old}={new!r})' if old.isidentifier() else f'{{{old!r}: {new!r}}}'
    advice = [f"say in its data set which are the same, category_map=dict(old='new'): {example}"]
    # Keys and values that the command line can say.
    if key and not set('.=') & set(old) and not set('[](),') & set(new):
        advice[0] += f', or --cfg-options {shlex.quote(f"{key}.category_map.{old}={new}")}'
    if kept:
        advice.append(f'leave the objects of the others out, metainfo=dict(classes={kept})')
        if key and not set('[](),') & set(''.join(kept)):
            chosen = f'{key}.metainfo.classes=[{",".join(kept)}]'
            advice[1] += f', or --cfg-options {shlex.quote(chosen)}'
    absent = f'; of these the file lacks {first_of(lacking, _MOST_NAMES)}' if lacking else ''
    raise UserError(
        f'{where}{": " if where else ""}categories that the model does not know: '
        f'{first_of(unknown, _MOST_NAMES)}. The model knows {first_of(classes, _MOST_NAMES)}'
        f'{absent}. Either {"; or ".join(advice if lacking else advice[::-1])}.'
    )


def use_classes(dataset: Any, classes: Sequence[str], key: str = '') -> None:
    """Makes a data set, also a wrapped one, give the labels of a model.

    Args:
        dataset: The data set, changed in place.
        classes: Names of the model's categories in the order of its labels.
        key: As of :func:`labels_of`.

    Raises:
        UserError: if it has categories that the model does not know.
    """
    if tuple(classes) == dataset.metainfo.get('classes'):
        return
    inner = _inside(dataset)
    if not inner:
        dataset.use_classes(classes, key)
        return
    for one in inner:
        use_classes(one, classes, key)
    ids = [one.metainfo['category_ids'] for one in inner]
    known = ([one for one in some if one is not None] for some in zip(*ids, strict=True))
    first = tuple(some[0] for some in known)  # each is in one of them at least
    # Two files may have one id for different categories.
    distinct = len(set(first)) == len(first)
    dataset._metainfo.update(
        classes=tuple(classes),
        category_ids=first if distinct else tuple(range(1, len(classes) + 1)),
    )


def annotation_files(dataset: Any) -> list[str]:
    """Names the annotation files of a data set, also of a wrapped one."""
    inner = _inside(dataset)
    return [path for one in inner for path in annotation_files(one)] or [dataset.ann_file]


def _inside(dataset: Any) -> list[Any]:
    inner = getattr(dataset, 'dataset', None)
    return list(getattr(dataset, 'datasets', ())) or ([] if inner is None else [inner])


def _check_names(key: str, names: Iterable[str], known: Collection[str]) -> None:
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f' Did you mean {close[0]!r}?' if close else ''
            raise UserError(
                f'{key}: the file has no category {name!r}; it has '
                f'{first_of(known, _MOST_NAMES)}.{hint}'
            )
