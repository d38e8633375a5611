"""Sampling what a video shows: objects, occluders, and the background's colours."""

from __future__ import annotations

import numpy as np

from vispropnet.datasets.moving_shapes.looks import (
    TEXTURES,
    bar_outline,
    blob_outline,
    distance_to,
    outline_of,
    pick_colours,
    texture_of,
)
from vispropnet.datasets.moving_shapes.scene import Body, BouncingPath, LinearPath, Scene
from vispropnet.datasets.moving_shapes.spec import (
    LONG_ENOUGH_TO_HIDE,
    PRESETS,
    MovingShapesSpec,
    Preset,
)


def sample_scene(spec: MovingShapesSpec, streams: dict[str, np.random.Generator]) -> Scene:
    """Draws the objects and occluders of a video, and the colours of its background.

    Args:
        spec: The data set.
        streams: Random streams ``layout`` (how many, categories, depth), ``motion`` (sizes and
            paths) and ``looks`` (colours and textures).
    """
    preset = PRESETS[spec.preset]
    layout, motion, looks = streams['layout'], streams['motion'], streams['looks']
    palette = _sample_palette(looks)
    count = int(layout.integers(preset.objects[0], preset.objects[1] + 1))
    categories = layout.integers(preset.categories, size=count)
    if layout.random() < 0.5:
        categories[1] = categories[0]
    depth = layout.permutation(count)
    objects, means = _sample_objects(categories, motion, looks, spec, palette)
    occluders = [
        _sample_occluder(number, motion, looks, spec, objects, palette, means)
        for number in range(int(layout.integers(preset.occluders[0], preset.occluders[1] + 1)))
    ]
    return Scene(
        spec=spec,
        bodies=[objects[number] for number in depth] + occluders,
        order=layout.permutation(count).tolist(),
        palette=palette,
        shutter=float(motion.uniform(*preset.shutter)),
        pan=preset.pan,
    )


def _sample_palette(rng: np.random.Generator) -> np.ndarray:
    """Draws three related background colours, BGR, shape (3, 3)."""
    middle = rng.uniform(55, 190, 3)
    middle += (middle.mean() - middle) * rng.uniform(0.2, 0.7)
    spread = rng.uniform(-28, 28, (2, 3)) + rng.uniform(8, 26) * np.array([[-1.0], [1.0]])
    return np.clip(np.stack([middle + spread[0], middle, middle + spread[1]]), 0, 255)


def _sample_objects(
    categories: np.ndarray,
    motion: np.random.Generator,
    looks: np.random.Generator,
    spec: MovingShapesSpec,
    palette: np.ndarray,
) -> tuple[list[Body], np.ndarray]:
    """Draws an object for each category; gives the objects and their mean BGR, shape (N, 3)."""
    preset, unit = PRESETS[spec.preset], spec.unit
    outlines = [
        outline_of(
            int(category),
            motion.uniform(*preset.radius) * unit,
            motion.uniform(0.85, 1.18),
            motion.uniform(0.42, 0.5),
        )
        for category in categories
    ]
    paths: list[BouncingPath] = []
    for _ in categories:
        paths.append(_sample_path(motion, spec, paths))
    objects, means = [], np.zeros((0, 3))
    for category, outline, path in zip(categories, outlines, paths, strict=True):
        texture, drift = _sample_looks(looks, preset, palette, means)
        means = np.concatenate([means, texture.reshape(-1, 3).mean(0, keepdims=True)])
        objects.append(
            Body(
                category=int(category),
                outline=outline,
                path=path,
                texture=texture,
                texel=unit,
                angle=motion.uniform(0, 2 * np.pi),
                spin=np.deg2rad(motion.uniform(-9, 9)),
                swell=motion.uniform(0, 0.12),
                swell_rate=motion.uniform(0.2, 0.5),
                drift=drift,
            )
        )
    return objects, means


def _sample_path(
    rng: np.random.Generator, spec: MovingShapesSpec, paths: list[BouncingPath]
) -> BouncingPath:
    """Draws the path of the next object, which may be aimed at one of the earlier ``paths``."""
    number = len(paths)
    preset, unit, last = PRESETS[spec.preset], spec.unit, spec.frames - 1
    size = np.array(spec.size, float)
    speed = rng.uniform(*preset.speed) * unit
    heading = rng.uniform(0, 2 * np.pi)
    wanders = number >= 2 and rng.random() < preset.wandering
    aimed = number == 1 or (number >= 2 and rng.random() < preset.crossing)
    anchor_time = rng.uniform(0.25, 0.75) * last
    anchor = rng.uniform(0.3, 0.7, 2) * size if number == 0 else rng.uniform(0.1, 0.9, 2) * size
    turn, gap_turn = rng.uniform(np.pi / 3, 5 * np.pi / 3), rng.uniform(0, 2 * np.pi)
    gap = rng.uniform(*preset.gap) * 11 * unit
    margin = 9 * unit
    if wanders:
        # Crosses an edge at the anchor, in or out, and turns round out of sight.
        margin = -rng.uniform(20, 34) * unit
        axis, far, inward = (int(value) for value in rng.integers(2, size=3))
        anchor[axis] = far * size[axis]
        outward_heading = axis * np.pi / 2 + (0 if far else np.pi)
        heading = outward_heading + inward * np.pi + rng.uniform(-0.7, 0.7)
    elif aimed:
        partner = paths[int(rng.integers(number))]
        direction = np.array([np.cos(gap_turn), np.sin(gap_turn)])
        anchor = partner.position(np.array(anchor_time)) + gap * direction
        heading = np.arctan2(*partner.velocity[::-1]) + turn
    along = np.array([np.cos(heading), np.sin(heading)])
    return BouncingPath(
        low=np.full(2, margin),
        high=size - margin,
        anchor=anchor,
        anchor_time=float(anchor_time),
        velocity=speed * along,
        sway=np.array([-along[1], along[0]]) * rng.uniform(0, 6) * unit,
        sway_rate=float(rng.uniform(0.3, 0.8)),
    )


def _sample_looks(
    rng: np.random.Generator, preset: Preset, palette: np.ndarray, taken: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Draws a texture and the colour that is added to it by the end of the video."""
    kind = TEXTURES[int(rng.integers(len(TEXTURES)))]
    contrast = rng.uniform(*preset.contrast)
    first, second = pick_colours(rng, contrast, palette, taken)
    directions = rng.normal(size=(16, 3))
    length = rng.uniform(*preset.drift)
    drifts = directions / np.linalg.norm(directions, axis=1, keepdims=True) * length
    ends = np.clip(np.stack([first + drifts, second + drifts]), 0, 255)
    best = int(np.argmax(distance_to(ends, palette).min(0)))
    return texture_of(rng, kind, first, second), drifts[best]


def _sample_occluder(
    number: int,
    motion: np.random.Generator,
    looks: np.random.Generator,
    spec: MovingShapesSpec,
    objects: list[Body],
    palette: np.ndarray,
    taken: np.ndarray,
) -> Body:
    """Draws an occluder across an object's path; the first is wide enough to hide its target."""
    unit, last = spec.unit, spec.frames - 1
    reaches = [np.linalg.norm(body.outline, axis=1).max() for body in objects]
    target = int(np.argmin(reaches[:2])) if number == 0 else int(motion.integers(len(objects)))
    time = motion.uniform(0.35, 0.65) * last
    before, centre, after = objects[target].path.position(np.array([time - 0.5, time, time + 0.5]))
    velocity = after - before
    if number == 0 and spec.frames >= LONG_ENOUGH_TO_HIDE:
        # Wide enough to hide the target for some frames; its corners may show as slivers.
        dwell = motion.uniform(1.5, 3)
        half_width = 0.9 * reaches[target] + np.linalg.norm(velocity) * dwell / 2
    else:
        half_width = motion.uniform(3.5, 8) * unit
    if motion.random() < 0.65:
        outline = bar_outline(motion, half_width, 1.5 * sum(spec.size))
    else:
        outline = blob_outline(motion, half_width, half_width * motion.uniform(1.5, 2.2))
    moves = motion.random() < 0.5
    pace, way = motion.uniform(0.3, 1.2) * unit, motion.uniform(0, 2 * np.pi)
    first, second = pick_colours(looks, 40, palette, taken)
    # Muted, like the background, so that the objects stay what catches the eye.
    first = first + (first.mean() - first) * 0.6
    second = first + (second - first) * 0.35
    kind = ('plain', 'stripes', 'noise', 'gradient')[int(looks.integers(4))]
    return Body(
        category=None,
        outline=outline,
        path=LinearPath(centre, float(time), moves * pace * np.array([np.cos(way), np.sin(way)])),
        texture=texture_of(looks, kind, first, second),
        texel=2 * unit,
        angle=float(np.arctan2(velocity[1], velocity[0]) + motion.uniform(-0.35, 0.35)),
        blurred=False,
    )
