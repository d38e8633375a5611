"""Making one video: scenes are sampled until one will do, which is drawn."""

from __future__ import annotations

import numpy as np

from vispropnet.datasets.moving_shapes.drawing import cover_scene, draw_frames, visible_masks
from vispropnet.datasets.moving_shapes.sampling import sample_scene
from vispropnet.datasets.moving_shapes.spec import (
    LONG_ENOUGH_TO_HIDE,
    PRESETS,
    SPLITS,
    MovingShapesSpec,
)

_MOST_ATTEMPTS = 16


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
    best_share = -1.0
    for attempt in range(_MOST_ATTEMPTS):
        streams = _streams(spec, split, index, attempt)
        scene = sample_scene(spec, streams)
        patches = cover_scene(scene)
        masks = visible_masks(scene, patches)
        share, telling = _judge(masks, spec)
        if telling or share > best_share:
            best_share, chosen = share, (scene, patches, masks, streams['camera'])
        if telling:
            break
    scene, patches, masks, camera = chosen
    frames = draw_frames(scene, patches, camera)
    tracks = [
        (scene.bodies[body].category + 1, mask)
        for body, mask in zip(scene.order, masks, strict=True)
        if mask.any()
    ]
    return frames, tracks


def _streams(
    spec: MovingShapesSpec, split: str, index: int, attempt: int
) -> dict[str, np.random.Generator]:
    key = [spec.seed, list(PRESETS).index(spec.preset), SPLITS.index(split), index]
    # The layout stays, so that no category is dropped more often than others.
    return {
        name: np.random.default_rng([*key, number, attempt if number else 0])
        for number, name in enumerate(('layout', 'motion', 'looks', 'camera'))
    }


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
