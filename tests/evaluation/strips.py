"""Ground truth and results to score, of masks that are strips of a few pixels."""

import numpy as np

from tests.evaluation.content import annotation_file, encode, track

HEIGHT, WIDTH = 8, 10


def strip(row, pixels=WIDTH):
    """A mask of so many pixels in one row, None for none."""
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[row, :pixels] = True
    return encode(mask) if pixels else None


def shown(row, frames):
    """A strip in the frames with a 1: ``'0110'``."""
    return [strip(row) if frame == '1' else None for frame in frames]


def data_set(lengths, truths, categories=(1, 2)):
    """An annotation file of videos 8 pixels high and 10 wide."""
    return annotation_file(lengths, truths, categories, (HEIGHT, WIDTH))


def random_case(seed):
    """5 videos; objects of two or all bins of area, and not all of them in all videos."""
    areas = [100.0, 20000.0, 70000.0][: 2 + seed % 2]
    rng = np.random.default_rng(seed)
    truths, results = [], []
    # Each score is there once.
    scores = iter(rng.permutation(200) / 200)
    lengths = dict.fromkeys((3, 4, 7, 8, 9), 2)
    for video in lengths:
        for row in range(rng.integers(0 if video == 4 else 1, 4)):
            category = int(rng.integers(1, 3))
            pixels = rng.integers(6, 11, size=2)
            truth = track(video, category, 0, [strip(row, n) for n in pixels])
            truths.append({**truth, 'areas': [float(rng.choice(areas))] * 2})
            for _ in range(rng.integers(0, 3)):
                cut = np.maximum(pixels - rng.integers(0, 5, size=2), 0)
                masks = [strip(row, n) for n in cut]
                category = category if rng.random() < 0.8 else 3 - category
                results.append(track(video, category, float(next(scores)), masks))
        for _ in range(rng.integers(0, 3)):
            category = int(rng.integers(1, 3))
            results.append(track(video, category, float(next(scores)), [strip(7, 5), None]))
    rng.shuffle(results)
    return data_set(lengths, truths), results
