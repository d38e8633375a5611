"""Moving shapes: procedural videos with exact masks, in YouTube-VIS form, from a seed.

The recipe. Lengths are pixels at 160x96 and grow with min(width, height) / 96; times are frames.

* Categories: disc, square, triangle, star. They differ in outline only: outlines have equal area
  for equal radius, and colour, texture, size, aspect, rotation and motion are drawn without
  knowledge of the category.
* Objects: 2 to 5 a video, of equal-area radius 8.5 to 14 (corners of triangles and stars reach 13
  to 23), aspect 0.85 to 1.18, turning up to 9 degrees a frame, swelling up to 12 %. In at least
  half of the videos two objects are of one category.
* Motion: 2 to 6 pixels a frame between soft walls, swaying. Objects are aimed so that they cross;
  of those beyond the first two, 40 % enter late or leave, and in longer videos come back. The depth
  order is random and fixed.
* Background: a smooth random texture with strokes on it, panning 0.2 to 1 pixel a frame. An
  object's two colours keep a distance of 60 to 130 (BGR, 0 to 255) from the background's, as far as
  other objects leave room.
* Camera: contrast 0.85 to 1.15 and brightness within 14 grey levels, fixed per video; Gaussian
  noise of 2 to 6 grey levels; JPEG of quality 92.
* Preset ``occlusion``: 3 to 5 objects of radius 8 to 11.5 at 3 to 6 pixels a frame, aimed at each
  other more often and more closely; contrast 50 to 110. In front of them 1 to 3 bars or blobs that
  are not annotated, of which one is aimed at an object so as to hide it for some frames; half of
  them drift slowly. The shutter is open for 0.3 to 0.8 frames and smears objects and background,
  which pans 0.5 to 2.5 pixels a frame. An object's colour changes by 40 to 90 over the video.
  Videos in which less than 60 % of objects and frames is visible, or no object vanishes for two
  frames and returns, are drawn anew.

A mask is the visible part: pixels more than half covered by the object, less those more than half
covered by anything in front. A mask of fewer than 8 pixels at 160x96 counts as hidden, and an
object that is never visible is not annotated.

Each video has random streams of its own, one per aspect (layout, motion, looks, camera), keyed by
seed, preset, split and index. So a video does not depend on how many others are made.
The same options give the same bytes on one machine with one version of OpenCV; other instruction
sets may round some pixels of the background differently, by one level.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as mask_utils
from tqdm import tqdm

from vispropnet.datasets import moving_shapes_render as render
from vispropnet.datasets.moving_shapes_render import CATEGORIES, Body, Scene
from vispropnet.errors import UserError
from vispropnet.fileio import write_json

SPLITS = ('train', 'valid')
JPEG_QUALITY = 92
RECIPE_VERSION = 1
MIN_VISIBLE_AREA = 8  # Pixels at 160x96.
_MOST_ATTEMPTS = 16
_LONG_ENOUGH_TO_HIDE = 8  # Frames that a video needs so that an object can vanish and return.


@dataclass(frozen=True)
class Preset:
    """The numbers in which the presets differ; pairs are least and most.

    Args:
        objects: Objects in a video.
        radius: Radius of the disc of an object's area, pixels at 160x96.
        crossing: Probability that an object beyond the first two is aimed at another.
        wandering: Probability that an object beyond the first two enters or leaves.
        gap: Distance of two aimed centres when they meet, in radii.
        speed: Pixels a frame at 160x96.
        pan: Speed of the background, pixels a frame at 160x96.
        contrast: Colour distance from the background, 0 to 255.
        occluders: Occluders in a video.
        shutter: Frames that the shutter is open.
        drift: Colour change over the video, 0 to 255.
    """

    objects: tuple[int, int]
    radius: tuple[float, float]
    crossing: float
    wandering: float
    gap: tuple[float, float]
    speed: tuple[float, float]
    pan: tuple[float, float]
    contrast: tuple[float, float]
    occluders: tuple[int, int] = (0, 0)
    shutter: tuple[float, float] = (0.0, 0.0)
    drift: tuple[float, float] = (0.0, 0.0)


PRESETS = {
    'easy': Preset(
        objects=(2, 5),
        radius=(8.5, 14.0),
        crossing=0.5,
        wandering=0.4,
        gap=(0.2, 1.4),
        speed=(2.0, 6.0),
        pan=(0.2, 1.0),
        contrast=(60.0, 130.0),
    ),
    'occlusion': Preset(
        objects=(3, 5),
        radius=(8.0, 11.5),
        crossing=0.8,
        wandering=0.35,
        gap=(0.0, 0.8),
        speed=(3.0, 6.0),
        pan=(0.5, 2.5),
        contrast=(50.0, 110.0),
        occluders=(1, 3),
        shutter=(0.3, 0.8),
        drift=(40.0, 90.0),
    ),
}


@dataclass(frozen=True)
class MovingShapesSpec:
    """What determines the videos of a data set.

    Args:
        preset: A key of ``PRESETS``.
        frames: Frames in a video.
        size: Width and height, pixels.
        seed: Any whole number from 0.

    Raises:
        UserError: if a value is out of range.
    """

    preset: str = 'easy'
    frames: int = 12
    size: tuple[int, int] = (160, 96)
    seed: int = 0

    def __post_init__(self) -> None:
        if self.preset not in PRESETS:
            raise UserError(f'unknown preset {self.preset!r}; expected {" or ".join(PRESETS)}.')
        if self.frames < 1:
            raise UserError(f'frames is {self.frames}; a video needs at least 1.')
        width, height = self.size
        if min(width, height) < 32 or max(width, height) > 4096:
            raise UserError(f'size is {width}x{height}; each side must be from 32 to 4096 pixels.')
        if self.seed < 0:
            raise UserError(f'seed is {self.seed}; it must be 0 or more.')

    @property
    def unit(self) -> float:
        """Pixels in one pixel of the recipe."""
        return min(self.size) / 96

    @property
    def min_visible_area(self) -> int:
        """Least area of a mask in pixels; smaller ones count as hidden."""
        return max(4, round(MIN_VISIBLE_AREA * self.unit**2))


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
        palette = _sample_palette(streams['looks'])
        scene = sample_scene(spec, streams, palette)
        patches = render.cover_scene(scene, spec.frames, spec.size)
        masks = render.visible_masks(scene, patches, spec.size, spec.min_visible_area)
        share, telling = _judge(masks, spec)
        if telling or share > best_share:
            best_share, chosen = share, (scene, patches, masks, palette, streams['camera'])
        if telling:
            break
    scene, patches, masks, palette, camera = chosen
    frames = render.draw_frames(scene, patches, palette, camera, spec.size)
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
        'layout': np.random.default_rng([*key, 0, 0]),
        'motion': np.random.default_rng([*key, 1, attempt]),
        'looks': np.random.default_rng([*key, 2, attempt]),
        'camera': np.random.default_rng([*key, 3, attempt]),
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
    telling = seen >= 2 and share >= 0.6 and (returns or spec.frames < _LONG_ENOUGH_TO_HIDE)
    return share, bool(telling)


def _sample_palette(rng: np.random.Generator) -> np.ndarray:
    """Draws three related background colours, BGR, shape (3, 3)."""
    middle = rng.uniform(55, 190, 3)
    middle += (middle.mean() - middle) * rng.uniform(0.2, 0.7)
    spread = rng.uniform(-28, 28, (2, 3)) + rng.uniform(8, 26) * np.array([[-1.0], [1.0]])
    return np.clip(np.stack([middle + spread[0], middle, middle + spread[1]]), 0, 255)


def sample_scene(
    spec: MovingShapesSpec, streams: dict[str, np.random.Generator], palette: np.ndarray
) -> Scene:
    """Draws the objects and occluders of a video.

    Args:
        spec: The data set.
        streams: Random streams ``layout`` (how many, categories, depth), ``motion`` (sizes and
            paths) and ``looks`` (colours and textures).
        palette: BGR of the background, shape (3, 3).

    Returns:
        The scene.
    """
    preset, unit = PRESETS[spec.preset], spec.unit
    layout, motion, looks = streams['layout'], streams['motion'], streams['looks']
    count = int(layout.integers(preset.objects[0], preset.objects[1] + 1))
    categories = layout.integers(len(CATEGORIES), size=count)
    if layout.random() < 0.5:
        categories[1] = categories[0]
    depth = layout.permutation(count)

    outlines = [
        render.outline_of(
            int(category),
            motion.uniform(*preset.radius) * unit,
            motion.uniform(0.85, 1.18),
            motion.uniform(0.42, 0.5),
        )
        for category in categories
    ]
    paths: list[render.BouncingPath] = []
    for number in range(count):
        paths.append(_sample_path(motion, spec, paths, number))
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
    occluders = [
        _sample_occluder(number, motion, looks, spec, objects, palette, means)
        for number in range(int(layout.integers(preset.occluders[0], preset.occluders[1] + 1)))
    ]
    return Scene(
        bodies=[objects[number] for number in depth] + occluders,
        order=layout.permutation(count).tolist(),
        shutter=float(motion.uniform(*preset.shutter)),
        pan=preset.pan,
        unit=unit,
    )


def _sample_path(
    rng: np.random.Generator,
    spec: MovingShapesSpec,
    paths: list[render.BouncingPath],
    number: int,
) -> render.BouncingPath:
    """Draws the path of object ``number``, which may be aimed at one of the earlier ``paths``."""
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
    return render.BouncingPath(
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
    kind = render.TEXTURES[int(rng.integers(len(render.TEXTURES)))]
    contrast = rng.uniform(*preset.contrast)
    first, second = render.pick_colours(rng, contrast, palette, taken)
    directions = rng.normal(size=(16, 3))
    length = rng.uniform(*preset.drift)
    drifts = directions / np.linalg.norm(directions, axis=1, keepdims=True) * length
    ends = np.clip(np.stack([first + drifts, second + drifts]), 0, 255)
    best = int(np.argmax(render.distance_to(ends, palette).min(0)))
    return render.texture_of(rng, kind, first, second), drifts[best]


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
    if number == 0 and spec.frames >= _LONG_ENOUGH_TO_HIDE:
        # Wide enough to hide the target for some frames; its corners may show as slivers.
        dwell = motion.uniform(1.5, 3)
        half_width = 0.9 * reaches[target] + np.linalg.norm(velocity) * dwell / 2
    else:
        half_width = motion.uniform(3.5, 8) * unit
    if motion.random() < 0.65:
        outline = render.bar_outline(motion, half_width, 1.5 * sum(spec.size))
    else:
        outline = render.blob_outline(motion, half_width, half_width * motion.uniform(1.5, 2.2))
    moves = motion.random() < 0.5
    pace, way = motion.uniform(0.3, 1.2) * unit, motion.uniform(0, 2 * np.pi)
    first, second = render.pick_colours(looks, 40, palette, taken)
    # Muted, like the background, so that the objects stay what catches the eye.
    first = first + (first.mean() - first) * 0.6
    second = first + (second - first) * 0.35
    kind = ('plain', 'stripes', 'noise', 'gradient')[int(looks.integers(4))]
    return Body(
        category=None,
        outline=outline,
        path=render.LinearPath(
            centre, float(time), moves * pace * np.array([np.cos(way), np.sin(way)])
        ),
        texture=render.texture_of(looks, kind, first, second),
        texel=2 * unit,
        angle=float(np.arctan2(velocity[1], velocity[0]) + motion.uniform(-0.35, 0.35)),
        blurred=False,
    )


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
    out = Path(out).resolve()
    try:
        _check_free(out, force)
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f'.{out.name}.', dir=out.parent) as temporary:
            made, old = Path(temporary) / 'new', Path(temporary) / 'old'
            total = sum(counts.values())
            with tqdm(total=total, unit='video', desc=out.name, disable=not progress) as bar:
                for split, count in counts.items():
                    _write_split(made / split, spec, split, count, bar)
            if out.exists():
                out.rename(old)
            made.rename(out)
    except OSError as error:
        raise UserError(f'cannot write {out}: {error.strerror or error}.') from None
    return out


def _check_free(out: Path, force: bool) -> None:
    if not out.exists():
        return
    if not out.is_dir():
        raise UserError(f'{out} is a file; expected a folder, or a name that is free.')
    entries = sorted(entry.name for entry in out.iterdir())
    if entries and not force:
        raise UserError(f'{out} exists and is not empty; choose another folder or give --force.')
    strangers = [name for name in entries if name not in SPLITS]
    if strangers:
        raise UserError(
            f'{out} holds {strangers[0]!r}, which is no part of a moving shapes data set, so it is '
            'not replaced; choose another folder.'
        )


def _write_split(folder: Path, spec: MovingShapesSpec, split: str, count: int, bar: tqdm) -> None:
    videos, annotations = [], []
    width, height = spec.size
    for index in range(count):
        frames, tracks = render_video(spec, split, index)
        name = f'{spec.preset}_{split}_{index:05d}'
        file_names = [f'{name}/{frame:05d}.jpg' for frame in range(spec.frames)]
        (folder / 'JPEGImages' / name).mkdir(parents=True)
        for file_name, frame in zip(file_names, frames, strict=True):
            path = folder / 'JPEGImages' / file_name
            encoded = cv2.imencode('.jpg', frame, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
            path.write_bytes(encoded.tobytes())
        shape = {'width': width, 'height': height, 'length': spec.frames}
        videos.append({'id': index + 1, **shape, 'file_names': file_names})
        for category_id, masks in tracks:
            annotations.append(
                {
                    'id': len(annotations) + 1,
                    'video_id': index + 1,
                    'category_id': category_id,
                    'iscrowd': 0,
                    **shape,
                    **_encode_track(masks),
                }
            )
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
        'categories': [{'id': id_, 'name': name} for id_, name in enumerate(CATEGORIES, 1)],
        'annotations': annotations,
    }
    write_json(folder / 'instances.json', content)


def _encode_track(masks: np.ndarray) -> dict[str, list[Any]]:
    """Encodes masks, shape (frames, height, width), bool; empty ones become None."""
    return {
        key: list(values)
        for key, values in zip(
            ('segmentations', 'bboxes', 'areas'),
            zip(*_encode_masks(masks), strict=True),
            strict=True,
        )
    }


def _encode_masks(
    masks: np.ndarray,
) -> Iterator[tuple[dict | None, list[float] | None, int | None]]:
    for mask in masks:
        if not mask.any():
            yield None, None, None
            continue
        encoded = mask_utils.encode(np.asfortranarray(mask, np.uint8))
        box, area = mask_utils.toBbox(encoded).tolist(), int(mask_utils.area(encoded))
        yield {'size': encoded['size'], 'counts': encoded['counts'].decode('ascii')}, box, area
