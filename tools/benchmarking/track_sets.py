"""A drawn validation set and tracks for it, to time evaluators on."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools import mask as mask_utils

from benchmarking.settings import EvaluateSettings
from vispropnet.datasets.rle import RLE

# Corners of an outline, and the waves that bend it from a circle: up to four bumps.
_ANGLES = np.linspace(0, 2 * np.pi, 48, endpoint=False)
_DIRECTIONS = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1)  # (48, 2)
_WAVES = np.stack([wave(n * _ANGLES) for n in (1, 2, 3, 4) for wave in (np.cos, np.sin)])  # (8, 48)
# Radius of an object, its displacement per frame and axis: in heights of the frame.
_RADII = 1 / 24, 1 / 3.3
_SPEED = 1 / 144
_MOST_OBJECTS = 5
# What the tracks of an object choose from.
_VARIANTS = 4
# How far a variant is off, in radii of its object.
_NOISES = 0.01, 0.15


@dataclass(frozen=True)
class TrackSet:
    """Ground truth and tracks, as they are parsed from an annotation file and a result file.

    Attributes:
        annotations: Content of the annotation file.
        results: Tracks ``{video_id, category_id, score, segmentations}``.
    """

    annotations: dict[str, Any]
    results: list[dict[str, Any]]


@dataclass(frozen=True)
class _Object:
    category: int
    truth: list[RLE | None]
    variants: list[list[RLE | None]]
    draw: Callable[[float], list[RLE | None]]  # by how far it is off in pixels
    radius: float


def draw_track_set(settings: EvaluateSettings) -> TrackSet:
    """Draws ground truth and tracks; there are no pictures.

    Each video has 1 to 5 objects, most of them of one category: smooth blobs of many sizes that
    change from frame to frame and drift, hidden in a frame in 33. Of each there are 4 variants,
    disturbed by little or much. A track is one of them, with a random category in 3 of 10 cases,
    cut to a random span in half of them, and with a random score. So tracks share masks, which
    spares time to draw them (with ``distinct`` each has a variant of its own); each has them as
    objects of its own, as if it were read from a file.
    """
    frames, size = settings.frames, settings.size
    generator = np.random.default_rng(settings.seed)
    annotations: dict[str, Any] = {
        'videos': [],
        'categories': [
            {'id': one, 'name': f'category {one}', 'supercategory': 'object'}
            for one in range(1, settings.categories + 1)
        ],
        'annotations': [],
    }
    results: list[dict[str, Any]] = []
    for video_id in range(1, settings.videos + 1):
        length = int(generator.integers(max(round(0.8 * frames), 1), round(1.2 * frames) + 1))
        video = {'width': size[0], 'height': size[1], 'length': length}
        names = [f'{video_id:04d}/{frame:05d}.jpg' for frame in range(length)]
        annotations['videos'].append({'id': video_id, **video, 'file_names': names})
        objects = _draw_objects(generator, size, length, settings.categories)
        for one in objects:
            number = len(annotations['annotations']) + 1
            entry = {'id': number, 'video_id': video_id, **video, **_annotation(one)}
            annotations['annotations'].append(entry)
        for _ in range(int(generator.integers(settings.tracks[0], settings.tracks[1] + 1))):
            one = objects[generator.integers(len(objects))]
            results.append({'video_id': video_id, **_draw_track(generator, one, settings)})
    return TrackSet(annotations, results)


def _annotation(one: _Object) -> dict[str, Any]:
    shown = [mask for mask in one.truth if mask]
    areas, boxes = iter(mask_utils.area(shown).tolist()), iter(mask_utils.toBbox(shown).tolist())
    return {
        'category_id': one.category,
        'iscrowd': 0,
        'segmentations': one.truth,
        'areas': [next(areas) if mask else None for mask in one.truth],
        'bboxes': [next(boxes) if mask else None for mask in one.truth],
    }


def _draw_objects(
    generator: np.random.Generator, size: tuple[int, int], length: int, categories: int
) -> list[_Object]:
    usual, other = generator.integers(1, categories + 1, 2).tolist()
    objects = []
    for _ in range(int(generator.integers(1, _MOST_OBJECTS + 1))):
        category = other if generator.random() < 0.25 else usual
        outline = 1 + generator.normal(0, 0.08, len(_WAVES)) @ _WAVES
        radius = size[1] * np.exp(generator.uniform(*np.log(_RADII)))
        drift = generator.normal(0, _SPEED * size[1], 2) * np.arange(length)[:, None]
        centres = generator.uniform(0.2, 0.8, 2) * size + drift
        draw = functools.partial(_draw_masks, generator, size, radius * outline, centres)
        truth, *variants = [
            draw(radius * noise) for noise in (0.0, *generator.uniform(*_NOISES, _VARIANTS))
        ]
        objects.append(_Object(category, truth, variants, draw, radius))
    return objects


def _draw_masks(
    generator: np.random.Generator,
    size: tuple[int, int],
    outline: np.ndarray,
    centres: np.ndarray,
    noise: float,
) -> list[RLE | None]:
    """Masks by frame, None where hidden; outline (48,) and noise in pixels, centres (T, 2)."""
    bends = generator.normal(0, noise / 4, (len(centres), len(_WAVES))) @ _WAVES
    radii = np.maximum(outline + bends, 0.1 * outline.mean())
    centres = centres + generator.normal(0, noise, 2)
    corners = centres[:, None] + radii[..., None] * _DIRECTIONS  # (T, 48, 2)
    corners = corners.clip(0, np.array(size) - 1)
    rles = mask_utils.frPyObjects(corners.reshape(len(centres), -1).tolist(), size[1], size[0])
    shown = generator.random(len(centres)) > 0.03
    shown[len(shown) // 2] = True
    return [
        {'size': [size[1], size[0]], 'counts': rle['counts'].decode()} if here else None
        for rle, here in zip(rles, shown.tolist(), strict=True)
    ]


def _draw_track(
    generator: np.random.Generator, one: _Object, settings: EvaluateSettings
) -> dict[str, Any]:
    if settings.distinct:
        masks = one.draw(one.radius * generator.uniform(*_NOISES))
    else:
        masks = one.variants[generator.integers(len(one.variants))]
    category = one.category
    if generator.random() < 0.3:
        category = int(generator.integers(1, settings.categories + 1))
    begin, end = 0, len(masks)
    if generator.random() < 0.5:
        begin = int(generator.integers(len(masks)))
        end = int(generator.integers(begin + 1, len(masks) + 1))
    return {
        'category_id': category,
        'score': float(generator.random()),
        'segmentations': [
            _copy(mask) if mask and begin <= frame < end else None
            for frame, mask in enumerate(masks)
        ],
    }


def _copy(mask: RLE) -> RLE:
    return {'size': list(mask['size']), 'counts': mask['counts'].encode().decode()}
