"""Making the videos of a data set, and writing it in YouTube-VIS form."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
from pycocotools import mask as mask_utils
from tqdm import tqdm

from vispropnet.datasets.moving_shapes.drawing import cover_scene, draw_frames, visible_masks
from vispropnet.datasets.moving_shapes.looks import CATEGORIES
from vispropnet.datasets.moving_shapes.sampling import sample_scene
from vispropnet.datasets.moving_shapes.spec import (
    LONG_ENOUGH_TO_HIDE,
    PRESETS,
    SPLITS,
    MovingShapesSpec,
)
from vispropnet.errors import UserError
from vispropnet.fileio import atomic_folder, write_json

JPEG_QUALITY = 92
RECIPE_VERSION = 1
# Scenes are sampled until one will do; of so many, the one that shows most.
_MOST_ATTEMPTS = 16
# A process takes as long to start as to make so many.
_VIDEOS_A_WORKER = 8


def write_moving_shapes(
    out: str | os.PathLike,
    preset: str = 'easy',
    train_videos: int = 120,
    val_videos: int = 24,
    frames: int = 12,
    size: tuple[int, int] = (160, 96),
    seed: int = 0,
    progress: bool = True,
    force: bool = False,
    workers: int = 1,
) -> Path:
    """Writes a data set, whole or not at all.

    Args:
        out: Folder to make. It gets ``train`` and ``valid``, each with ``instances.json`` and
            ``JPEGImages/<video>/<frame>.jpg``.
        preset: A key of ``PRESETS``.
        train_videos: Videos for training.
        val_videos: Videos for validation, from random streams of their own.
        frames: Frames in a video.
        size: Width and height, pixels.
        seed: Same seed, same bytes.
        progress: Whether to show a progress bar on stderr.
        force: Whether to replace a data set that is already there.
        workers: Most processes that make videos; with 1, this one does.

    Returns:
        The folder.

    Raises:
        UserError: if a value is out of range, or ``out`` is taken or cannot be written.
    """
    spec = MovingShapesSpec(preset, frames, tuple(size), seed)
    counts = dict(zip(SPLITS, (train_videos, val_videos), strict=True))
    for name, count in counts.items():
        if count < 1:
            raise UserError(f'{count} {name} videos asked for; at least 1 is needed.')
    if workers < 1:
        raise UserError(f'{workers} workers asked for; at least 1 is needed.')
    with atomic_folder(out, 'moving shapes data set', SPLITS, force) as made:
        total, name = sum(counts.values()), Path(out).resolve().name
        with (
            tqdm(total=total, unit='video', desc=name, disable=not progress) as bar,
            _mapping(min(workers, total // _VIDEOS_A_WORKER)) as apply,
        ):
            for split, count in counts.items():
                _write_split(made / split, spec, split, count, bar, apply)
    return Path(out).resolve()


@contextmanager
def _mapping(workers: int) -> Iterator[Callable[..., Iterator]]:
    """Gives ``map``, or one that does the same in as many processes."""
    if workers <= 1:
        yield map
        return
    # Not forked: the caller may have threads.
    with ProcessPoolExecutor(workers, mp_context=get_context('spawn')) as pool:
        yield pool.map


def _write_split(
    folder: Path,
    spec: MovingShapesSpec,
    split: str,
    count: int,
    bar: tqdm,
    apply: Callable[..., Iterator],
) -> None:
    videos, annotations = [], []
    width, height = spec.size
    names = CATEGORIES[: PRESETS[spec.preset].categories]
    shape = {'width': width, 'height': height, 'length': spec.frames}
    write = partial(_write_video, folder / 'JPEGImages', spec, split)
    for index, (file_names, tracks) in enumerate(apply(write, range(count))):
        videos.append({'id': index + 1, **shape, 'file_names': file_names})
        for category_id, lists in tracks:
            identity = {'id': len(annotations) + 1, 'video_id': index + 1}
            kind = {'category_id': category_id, 'iscrowd': 0}
            annotations.append({**identity, **kind, **shape, **lists})
        bar.update()
    content = {
        'info': {
            'description': 'moving shapes, procedural videos',
            'recipe_version': RECIPE_VERSION,
            'split': split,
            'videos': count,
            **asdict(spec),
            'jpeg_quality': JPEG_QUALITY,
        },
        'videos': videos,
        'categories': [{'id': id_, 'name': name} for id_, name in enumerate(names, 1)],
        'annotations': annotations,
    }
    write_json(folder / 'instances.json', content)


def _write_video(
    images: Path, spec: MovingShapesSpec, split: str, index: int
) -> tuple[list[str], list[tuple[int, dict[str, list]]]]:
    """Makes a video and writes its frames below ``images``.

    Returns:
        Names of the frames there; and of each object its category id, and its masks, boxes and
        areas as they stand in an annotation.
    """
    frames, tracks = render_video(spec, split, index)
    name = f'{spec.preset}_{split}_{index:05d}'
    file_names = [f'{name}/{frame:05d}.jpg' for frame in range(spec.frames)]
    (images / name).mkdir(parents=True)
    for file_name, frame in zip(file_names, frames, strict=True):
        encoded = cv2.imencode('.jpg', frame, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
        (images / file_name).write_bytes(encoded.tobytes())
    annotated = []
    for category_id, masks in tracks:
        rles, boxes, areas = map(list, zip(*map(_encode, masks), strict=True))
        annotated.append((category_id, {'segmentations': rles, 'bboxes': boxes, 'areas': areas}))
    return file_names, annotated


def _encode(mask: np.ndarray) -> tuple[dict | None, list[float] | None, int | None]:
    """Encodes a mask (H, W) bool as RLE, box and area; an empty one as three None."""
    if not mask.any():
        return None, None, None
    rle = mask_utils.encode(np.asfortranarray(mask, np.uint8))
    box, area = mask_utils.toBbox(rle).tolist(), int(mask_utils.area(rle))
    return {'size': rle['size'], 'counts': rle['counts'].decode('ascii')}, box, area


def render_video(
    spec: MovingShapesSpec, split: str, index: int
) -> tuple[np.ndarray, list[tuple[int, np.ndarray]]]:
    """Makes one video.

    Args:
        spec: The data set.
        split: ``'train'`` or ``'valid'``.
        index: Number of the video in the split, from 0.

    Returns:
        Frames in BGR, shape (frames, height, width, 3), uint8; and for each object that is visible
        at least once its category id (from 1) and visible masks, shape (frames, height, width),
        bool.
    """
    key = [spec.seed, list(PRESETS).index(spec.preset), SPLITS.index(split), index]
    best_share = -1.0
    for attempt in range(_MOST_ATTEMPTS):
        # The layout stays, so that no category is dropped more often than others.
        streams = {
            name: np.random.default_rng([*key, number, attempt if number else 0])
            for number, name in enumerate(('layout', 'motion', 'looks', 'camera'))
        }
        scene = sample_scene(spec, streams)
        patches = cover_scene(scene)
        masks = visible_masks(scene, patches)
        share, telling = _judge(masks, spec)
        if telling or share > best_share:
            best_share, chosen = share, (scene, patches, masks, streams['camera'])
        if telling:
            break
    scene, patches, masks, camera = chosen
    categories = [scene.bodies[body].category + 1 for body in scene.order]
    tracks = [pair for pair in zip(categories, masks, strict=True) if pair[1].any()]
    return draw_frames(scene, patches, camera), tracks


def _judge(masks: list[np.ndarray], spec: MovingShapesSpec) -> tuple[float, bool]:
    """Gives the share of objects and frames that is visible, and whether the video will do.

    It will if two objects are seen and, with occluders, most is visible and (in a video of some
    length) an object is hidden for two frames and comes back.
    """
    visible = np.array([mask.any((1, 2)) for mask in masks])
    share, seen = float(visible.mean()), int(visible.any(1).sum())
    if PRESETS[spec.preset].occluders[1] == 0:
        return share, seen >= 2
    before = np.logical_or.accumulate(visible, 1)
    after = np.logical_or.accumulate(visible[:, ::-1], 1)[:, ::-1]
    returns = ((before & after & ~visible).sum(1) >= 2).any()
    telling = seen >= 2 and share >= 0.6 and (returns or spec.frames < LONG_ENOUGH_TO_HIDE)
    return share, bool(telling)
