"""Ground truth and results to score, of masks large enough for all bins of area."""

import functools

import numpy as np

from tests.evaluation import content
from tests.evaluation.content import encode

HEIGHT, WIDTH = 300, 320
# The frames of each video of the random cases.
LENGTHS = {7: 1, 40: 3, 3: 2, 12: 4, 5: 2, 21: 3}
NO_TRACKS, NO_OBJECTS = 21, 5
# Category 1 has a crowd at most, 4 only tracks.
CATEGORIES = (5, 2, 9, 4, 1)


def box(top, left, height, width):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[top : top + height, left : left + width] = True
    return mask


def decode(rle):
    return np.zeros((HEIGHT, WIDTH), bool) if rle is None else content.decode(rle)


def annotation_file(lengths, categories, truths):
    return content.annotation_file(lengths, truths, categories, (HEIGHT, WIDTH))


def truth(video_id, category_id, masks, **more):
    areas = [None if mask is None else int(mask.sum()) for mask in masks]
    return {**track(video_id, category_id, 0, masks), 'areas': areas, 'iscrowd': 0, **more}


def track(video_id, category_id, score, masks):
    return content.track(video_id, category_id, score, [encode(mask) for mask in masks])


def random_shape(rng):
    """A box of any bin of area, some exactly on a bin's edge."""
    height, width = (
        (int(rng.integers(10, 120)), 20 * int(rng.integers(1, 6))),
        (128, 128),
        (int(rng.integers(128, 250)), 20 * int(rng.integers(7, 13))),
        (256, 256),
        (int(rng.integers(270, 301)), 20 * int(rng.integers(13, 17))),
    )[rng.integers(5)]
    return box(rng.integers(HEIGHT - height + 1), rng.integers(WIDTH - width + 1), height, width)


def random_object(rng, length):
    """A shape that stays, moves or is hidden; an empty mask now and then. None where not shown."""
    mask, masks = random_shape(rng), []
    for _ in range(length):
        kind = rng.random()
        if kind < 0.15:
            mask = random_shape(rng)
        shown = mask & False if 0.15 < kind < 0.2 else mask
        masks.append(None if kind > 0.85 else shown)
    return masks


def random_areas(rng, masks):
    """What a file may give: the masks' areas, others, or those on the edge of a bin."""
    kind = rng.random()
    if kind < 0.5:
        return [None if mask is None else int(mask.sum()) for mask in masks]
    if kind < 0.7:
        return [float(rng.choice([16384, 65536, 16383.5, 16384.5, 65535, 65537])) for _ in masks]
    if kind < 0.75:
        return [(None, 0)[rng.integers(2)]] * len(masks)
    return [None if rng.random() < 0.3 else float(rng.integers(0, 150000)) for _ in masks]


def random_track(rng, masks):
    """A track near an object: with gaps, shifted in time or space, or cut to twentieths."""
    kind = rng.integers(6)
    if kind < 2:
        return masks[kind:] + masks[:kind]
    if kind == 2:
        return [None if rng.random() < 0.4 else mask for mask in masks]
    if kind == 3:
        shift = int(rng.integers(-12, 13))
        return [None if mask is None else np.roll(mask, shift, axis=1) for mask in masks]
    share = int(rng.integers(10, 21)) / 20
    return [None if mask is None else part_of(mask, share) for mask in masks]


def part_of(mask, share):
    """The leftmost columns of a mask."""
    columns = np.flatnonzero(mask.any(axis=0))
    return mask & (np.arange(WIDTH) < columns[:1].sum() + round(share * len(columns)))


def random_score(rng):
    """With many ties."""
    return int(rng.integers(0, 11)) / 10


def random_truth(rng, *place):
    """Of a video, a category and masks."""
    return truth(*place, areas=random_areas(rng, place[-1]), iscrowd=int(rng.random() < 0.2))


@functools.cache
def random_case(seed):
    """Ground truth, some of its masks uncompressed, and results; not to be changed."""
    rng = np.random.default_rng(seed)
    truths, results = [], []
    for video_id, length in LENGTHS.items():
        most_tracks = 0 if video_id == NO_TRACKS else 4
        for _ in range(0 if video_id == NO_OBJECTS else rng.integers(1, 5)):
            category_id, masks = int(rng.choice([5, 2, 9])), random_object(rng, length)
            # Also twice the same object: ties in IoU.
            for _ in range(1 + (rng.random() < 0.3)):
                truths.append(random_truth(rng, video_id, category_id, masks))
            for _ in range(rng.integers(0, most_tracks + 1)):
                near = random_track(rng, masks)
                results.append(track(video_id, category_id, random_score(rng), near))
        for _ in range(rng.integers(0, most_tracks + 1)):
            masks, category_id = random_object(rng, length), int(rng.choice(CATEGORIES))
            results.append(track(video_id, category_id, random_score(rng), masks))
    if rng.random() < 0.5:
        truths.append(truth(3, 1, random_object(rng, 2), iscrowd=1))
        results.append(track(3, 1, 0.5, random_object(rng, 2)))
    # Objects of one category beside and upon each other, so that tracks contend for them.
    herd = [[box(*rng.integers(6, size=2) * 4, 128, 128)] * 3 for _ in range(12)]
    truths += [random_truth(rng, 40, 9, masks) for masks in herd[:6]]
    results += [track(40, 9, random_score(rng), masks) for masks in herd[3:]]
    if seed % 3 == 0:
        few = [track(40, 5, 0.5, random_object(rng, 3)) for _ in range(8)]
        for _ in range(rng.integers(101, 130)):
            results.append({**few[rng.integers(len(few))], 'score': random_score(rng)})
    # At least one object counts.
    truths.append(truth(12, 9, random_object(rng, 4)))
    for entry in truths:
        if rng.random() < 0.3:
            masks = entry['segmentations']
            entry['segmentations'] = [rle and encode(decode(rle), 'runs') for rle in masks]
    rng.shuffle(truths)
    rng.shuffle(results)
    return annotation_file(LENGTHS, CATEGORIES, truths), results
