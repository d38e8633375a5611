"""Ground truth and results to score, of masks that are strips of a few pixels."""

import numpy as np
from pycocotools import mask as mask_utils

from vispropnet.evaluation.ground_truth import ground_truth
from vispropnet.evaluation.matching import area_bins, match_tracks
from vispropnet.evaluation.overlaps import measure_tracks

HEIGHT, WIDTH = 8, 10


def strip(row, pixels=WIDTH):
    """A mask of so many pixels in one row, None for none."""
    if not pixels:
        return None
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[row, :pixels] = 1
    counts = mask_utils.encode(np.asfortranarray(mask))['counts']
    return {'size': [HEIGHT, WIDTH], 'counts': counts.decode()}


def shown(row, frames):
    """A strip in the frames with a 1: ``'0110'``."""
    return [strip(row) if frame == '1' else None for frame in frames]


def data_set(lengths, truths, categories=(1, 2)):
    """An annotation file.

    Lengths are those of the videos by id, truths are dicts or (video, category, masks).
    """
    truths = [
        one
        if isinstance(one, dict)
        else dict(zip(('video_id', 'category_id', 'segmentations'), one, strict=True))
        for one in truths
    ]
    return {
        'videos': [
            {
                'id': video,
                'width': WIDTH,
                'height': HEIGHT,
                'length': length,
                'file_names': [f'v{video}/{frame:02d}.jpg' for frame in range(length)],
            }
            for video, length in lengths.items()
        ],
        'categories': [{'id': category, 'name': f'kind {category}'} for category in categories],
        'annotations': [
            {'id': number, 'iscrowd': 0, **truth} for number, truth in enumerate(truths, start=1)
        ],
    }


def track(video, category, score, masks):
    return {'video_id': video, 'category_id': category, 'score': score, 'segmentations': masks}


def matched(content, results, frame_by_frame=False):
    tracks = measure_tracks(ground_truth(content), results, frame_by_frame)
    return match_tracks(tracks, area_bins(tracks))


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
            truths.append(
                {
                    'video_id': video,
                    'category_id': category,
                    'segmentations': [strip(row, n) for n in pixels],
                    'areas': [float(rng.choice(areas))] * 2,
                }
            )
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
