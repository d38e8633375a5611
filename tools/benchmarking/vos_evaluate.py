"""J and F of folders of index masks, beside one process of plain NumPy and OpenCV."""

from __future__ import annotations

import functools
import math
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from benchmarking.measure import Variant, compare, report
from benchmarking.settings import VosEvaluateSettings as Settings
from vispropnet.datasets.index_masks import VOID, write_index_mask
from vispropnet.evaluation.mask_folders import score_folders, truth_folders
from vispropnet.evaluation.region_contour import TOLERANCE, overall

BASELINE = 'the definition in NumPy and OpenCV, object by object, in one process'
_CORNERS = 40


def benchmark(settings: Settings) -> dict[str, Any]:
    """Measures, prints and returns the JSON object of the last line.

    Both read the same PNGs; ``max_abs_diff`` is that of the means of J and F.
    """
    with tempfile.TemporaryDirectory() as folder:
        small = replace(settings, videos=1, frames=3, size=(64, 48))
        result = compare(functools.partial(make, folder=folder), settings, small)
    ours, baseline = (np.array(result.outputs[name]) for name in ('ours', 'baseline'))
    difference = float(np.abs(ours - baseline).max())
    return report('vos-evaluate', settings, result, difference, baseline=BASELINE, dtype='float64')


def make(name: str, settings: Settings, folder: str) -> Variant:
    """Builds ``'ours'`` or ``'baseline'``; draws the masks unless the folder holds them."""
    root = Path(folder, '-'.join(map(str, (*settings.size, settings.videos, settings.frames))))
    if not root.exists():
        draw(root, settings)
    score = score_ours if name == 'ours' else score_plainly
    return Variant(lambda _: score(root / 'truth', root / 'results'))


def draw(root: Path, settings: Settings) -> None:
    """Writes masks of smooth blobs that move; in the results they are a few pixels off."""
    generator = np.random.default_rng(settings.seed)
    width, height = settings.size
    angles = np.linspace(0, 2 * np.pi, _CORNERS, endpoint=False)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    for video in range(settings.videos):
        radii = 1 + 0.3 * generator.standard_normal((settings.objects, _CORNERS, 1))
        radii = (np.roll(radii, 1, 1) + radii + np.roll(radii, -1, 1)) / 3
        sides = generator.uniform(0.08, 0.25, (settings.objects, 1, 1)) * height
        starts = generator.uniform(0.2, 0.8, (settings.objects, 1, 2)) * settings.size
        steps = generator.uniform(-3, 3, starts.shape)
        for frame in range(settings.frames):
            outlines = radii * sides * circle + starts + frame * steps
            for kind, error in (('truth', 0.0), ('results', 0.01 * height)):
                shift = generator.normal(0, 1, starts.shape) * error
                ids = np.zeros((height, width), np.uint8)
                for number, outline in enumerate(outlines + shift, 1):
                    cv2.fillPoly(ids, [np.rint(outline).astype(np.int32)], number)
                write_index_mask(root / kind / f'{video:03}' / f'{frame:05}.png', ids)


def score_ours(truth: Path, results: Path) -> tuple[float, float]:
    """Means of J and F over all objects."""
    metrics = overall(score_folders(truth_folders(truth), results))
    return metrics['J_mean'], metrics['F_mean']


def score_plainly(truth: Path, results: Path) -> tuple[float, float]:
    """Means of J and F, by the definition."""
    means = []
    for folder in sorted(truth.iterdir()):
        files = sorted(folder.glob('*.png'))
        first = _read(files[0])
        pairs = [(_read(one), _read(results / folder.name / one.name)) for one in files[1:-1]]
        for number in set(first[first > 0].tolist()):
            values = [_measure(true == number, found == number) for true, found in pairs]
            means.append(np.mean(values, axis=0))
    return tuple(np.mean(means, axis=0).tolist())


def _read(path: Path) -> np.ndarray:
    ids = np.array(Image.open(path))
    ids[ids == VOID] = 0
    return ids


def _measure(truth: np.ndarray, result: np.ndarray) -> tuple[float, float]:
    union = np.sum(truth | result)
    j = np.sum(truth & result) / union if union else 1.0
    radius = math.ceil(TOLERANCE * np.linalg.norm(truth.shape))
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disk = (x**2 + y**2 <= radius**2).astype(np.uint8)
    edges = [_boundary(one) for one in (truth, result)]
    near = [cv2.dilate(one.view(np.uint8), disk).view(bool) for one in edges]
    counts = [np.sum(one) for one in edges]
    if not all(counts):
        return j, float(not any(counts))
    recall = np.sum(edges[0] & near[1]) / counts[0]
    precision = np.sum(edges[1] & near[0]) / counts[1]
    return j, 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _boundary(mask: np.ndarray) -> np.ndarray:
    right, below, across = np.zeros((3, *mask.shape), bool)
    right[:, :-1], below[:-1], across[:-1, :-1] = mask[:, 1:], mask[1:], mask[1:, 1:]
    edge = (mask ^ right) | (mask ^ below) | (mask ^ across)
    edge[-1], edge[:, -1] = mask[-1] ^ right[-1], mask[:, -1] ^ below[:, -1]
    edge[-1, -1] = False
    return edge
