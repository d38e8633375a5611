"""Decoding many masks at once, against the rule of cocoapi taken one character at a time."""

import numpy as np
import pytest
from pycocotools import mask as mask_utils

from vispropnet.datasets import run_lengths
from vispropnet.datasets.run_lengths import decode_counts, decode_many, measure_counts


def slow_runs(text):
    """Runs of one mask, None where the text is damaged: rleFrString, with unsigned 32-bit runs."""
    if isinstance(text, bytes):
        text = text.decode('latin-1')
    runs, position = [], 0
    while position < len(text):
        number, digit, more = 0, 0, True
        while more:
            if position == len(text) or digit == 7:
                return None
            character = ord(text[position]) - 48
            if not 0 <= character < 64:
                return None
            number += (character % 32) * 32**digit
            more = character >= 32
            digit += 1
            position += 1
        if character % 32 >= 16:
            number -= 32**digit
        if len(runs) > 2:
            number += runs[-2]
        runs.append(number % 2**32)
    return runs or None


def assert_as_slow(texts):
    """Runs of damaged masks mean nothing; a run with the highest bit set counts as negative."""
    areas, totals, sound, _ = measure_counts(texts)
    runs, first, whole = decode_many(texts)
    assert len(areas) == len(totals) == len(sound) == len(texts)
    assert runs.dtype == np.int32
    for index, (text, part) in enumerate(zip(texts, np.split(runs, first[1:]), strict=True)):
        wanted = slow_runs(text)
        assert bool(whole[index]) == (wanted is not None), (index, text[:60])
        assert len(part) > 0
        if wanted is not None:
            signed = [run - 2**32 if run >= 2**31 else run for run in wanted]
            assert part.tolist() == decode_counts(text).tolist() == signed, (index, text[:60])
        is_sound = wanted is not None and max(wanted) < 2**31
        assert bool(sound[index]) == is_sound, (index, text[:60])
        if is_sound:
            assert (areas[index], totals[index]) == (sum(wanted[1::2]), sum(wanted)), text[:60]


def written(number):
    """A number as cocoapi writes it: groups of five bits, the lowest first."""
    text, more = '', True
    while more:
        group = number & 31
        number >>= 5
        more = number != (-1 if group & 16 else 0)
        text += chr(group + 32 * more + 48)
    return text


def encoded(runs):
    before = [0, 0, 0, *runs[1:]]
    return ''.join(written(run - earlier) for run, earlier in zip(runs, before, strict=False))


def random_mask(rng):
    """From single pixels to large frames, from noise to few large runs."""
    scale = int(rng.choice([1, 1, 3, 20, 90]))
    sides = rng.integers(1, 60 // scale + 7, 2)
    mask = rng.random(sides) < rng.choice([0.0, 0.02, 0.3, 0.5, 0.97, 1.0])
    return np.kron(mask, np.ones((scale, scale))).astype(np.uint8)


def test_the_reference_itself():
    """By hand: 2 background, 3 object, 7 background, then 3 + 30 object."""
    assert encoded([2, 3, 7, 33]) == '237n0'
    assert slow_runs('237n0') == [2, 3, 7, 33]
    assert measure_counts(['237n0'])[0].tolist() == [36]
    assert slow_runs('l') is None
    assert slow_runs('000O') == [0, 0, 0, 2**32 - 1]


def test_many_masks_of_all_sizes_in_one_call():
    rng = np.random.default_rng(3)
    masks = [random_mask(rng) for _ in range(400)]
    counts = [mask_utils.encode(np.asfortranarray(mask))['counts'] for mask in masks]
    areas, totals, sound, _ = measure_counts(counts)
    assert sound.all()
    assert areas.tolist() == [int(mask.sum()) for mask in masks]
    assert totals.tolist() == [mask.size for mask in masks]
    for mask, text in zip(masks[:40], counts, strict=False):
        changes = np.flatnonzero(np.diff(mask.T.ravel(), prepend=0))
        runs = np.diff(changes, prepend=0, append=mask.size).tolist()
        assert decode_counts(text).tolist() == runs
    assert_as_slow(counts)
    assert_as_slow([text.decode() for text in counts])


def test_runs_of_every_number_of_digits():
    rng = np.random.default_rng(4)
    bits = (rng.integers(0, 31, rng.integers(1, 30)) for _ in range(150))
    texts = [encoded([int(rng.integers(0, 2**one + 1)) for one in some]) for some in bits]
    assert {6, 7} <= {len(written(2**power)) for power in (28, 29, 30)}
    assert_as_slow(texts)


@pytest.mark.parametrize('size', [1, 2, 7, 64])
def test_borders_of_batches(monkeypatch, size):
    monkeypatch.setattr(run_lengths, '_BATCH_BYTES', size)
    rng = np.random.default_rng(size)
    masks = [random_mask(rng) for _ in range(40)]
    texts = [mask_utils.encode(np.asfortranarray(mask))['counts'].decode() for mask in masks]
    # Batches that begin and end with a damaged text, or hold nothing else.
    assert_as_slow(['', *texts[:20], '', 'l', '', *texts[20:], 'l'])


def test_masks_of_one_and_two_runs():
    """All background; all object; one beside the other, so that the runs' parity changes."""
    texts = ['5', '05', '5', '5', '05', '23', '5', '0', '00', encoded([10**6]), '05']
    assert measure_counts(texts).areas.tolist() == [0, 5, 0, 0, 5, 3, 0, 0, 0, 0, 5]
    assert measure_counts([]).areas.tolist() == []
    assert_as_slow(texts)


GOOD = encoded([40, 1000, 3, 70000])
DAMAGED = {
    'empty': '',
    'empty bytes': b'',
    'stops inside its only number': 'l',
    'stops inside its last number': GOOD + 'Q',
    'character below': GOOD[:3] + '/' + GOOD[3:],
    'zero byte': '\x00' + GOOD,
    'character above': GOOD[:3] + 'p' + GOOD[3:],
    'delete': GOOD + '\x7f',
    'latin': 'ä' + GOOD,
    'latin bytes': b'\xe4' + GOOD.encode(),
    'beyond the basic plane': GOOD + '😀',
    'lone surrogate': '\ud800' + GOOD,
    'negative first run': 'O' + GOOD,
    'negative by difference': encoded([1, 2, 3]) + written(-3),
    'run of 2^31': encoded([2**31]),
    'difference beyond 2^31': encoded([1, 2, 3]) + written(2**31 - 1),
    'eight digits': 'ooooooo0',
    'hundreds of digits': 'o' * 300 + '0',
}


@pytest.mark.parametrize('text', DAMAGED.values(), ids=DAMAGED)
def test_damaged_texts_spoil_no_other(text):
    for texts in ([text], [GOOD, text], [text, GOOD], [GOOD, '5', text, GOOD, '05', text]):
        assert measure_counts(texts).sound.tolist() == [one is not text for one in texts]
        assert_as_slow(texts)


def test_damaged_texts_decode_to_nothing_and_random_ones_as_the_slow_way():
    assert [decode_counts(one).tolist() for one in (GOOD + 'Q', '')] == [[], []]
    rng = np.random.default_rng(6)
    for low, high in ((48, 112), (48, 80), (40, 120), (0, 256)):
        lengths = rng.integers(0, 12, 300)
        assert_as_slow([''.join(map(chr, rng.integers(low, high, one))) for one in lengths])
