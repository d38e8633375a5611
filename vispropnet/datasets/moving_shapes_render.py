"""Drawing for the moving shapes: outlines, paths, textures, colours, coverage and compositing.

Coordinates are pixels in (x, y) order with the frame's top left corner at (0, 0), so the centre of
the first pixel is (0.5, 0.5). Time is in frames and may be fractional. Colours are BGR, 0 to 255.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import cv2
import numpy as np

CATEGORIES = ('disc', 'square', 'triangle', 'star')
TEXTURES = ('plain', 'stripes', 'checks', 'dots', 'noise', 'gradient')

_SUPERSAMPLING = 4  # Subpixels per pixel side, for antialiased coverage.
_FRACTION_BITS = (
    4  # Outlines are rounded to 1/16 subpixel, so that they do not hang on float noise.
)
_TEXTURE_SIDE = 64  # Texels; mirrored beyond.
_SHUTTER_MOMENTS = 5  # Exposures that make up a blurred frame.
_WALL_SHARPNESS = 0.96  # Below 1: the turn at a wall is rounded.


class Path(Protocol):
    """Where a body's centre is."""

    def position(self, times: np.ndarray) -> np.ndarray:
        """Gives the centre, shape (..., 2), at times of shape (...)."""


@dataclass(frozen=True)
class LinearPath:
    """Straight motion: ``anchor`` at time ``anchor_time``, then ``velocity`` pixels a frame."""

    anchor: np.ndarray
    anchor_time: float
    velocity: np.ndarray

    def position(self, times: np.ndarray) -> np.ndarray:
        """Gives the centre, shape (..., 2), at times of shape (...)."""
        elapsed = np.asarray(times, float)[..., None] - self.anchor_time
        return self.anchor + self.velocity * elapsed


@dataclass(frozen=True)
class BouncingPath:
    """Motion between soft walls, with a sideways sway.

    Args:
        low: Left and top wall for the centre, pixels, shape (2,).
        high: Right and bottom wall, shape (2,).
        anchor: A point the path goes through (moved inside the walls), shape (2,).
        anchor_time: When it is there, frames.
        velocity: Pixels a frame at that time, shape (2,).
        sway: Amplitude of the sway, pixels, shape (2,). It is zero at the anchor.
        sway_rate: Radians a frame.
    """

    low: np.ndarray
    high: np.ndarray
    anchor: np.ndarray
    anchor_time: float
    velocity: np.ndarray
    sway: np.ndarray
    sway_rate: float

    def position(self, times: np.ndarray) -> np.ndarray:
        """Gives the centre, shape (..., 2), at times of shape (...)."""
        centre, half = (self.low + self.high) / 2, (self.high - self.low) / 2
        reach = np.arcsin(_WALL_SHARPNESS)
        start = np.clip((self.anchor - centre) / half, -0.95, 0.95)
        # asin(sharpness * sin(phase)) / reach is a triangle wave with rounded corners.
        phase = np.arcsin(np.sin(start * reach) / _WALL_SHARPNESS)
        rate = self.velocity / half * reach / _WALL_SHARPNESS
        elapsed = np.asarray(times, float)[..., None] - self.anchor_time
        wave = np.arcsin(_WALL_SHARPNESS * np.sin(phase + rate * elapsed)) / reach
        return centre + half * wave + self.sway * np.sin(self.sway_rate * elapsed)


@dataclass(frozen=True)
class Body:
    """Something drawn in front of the background: an object, or an occluder.

    Args:
        category: Index into ``CATEGORIES``, or None for an occluder.
        outline: Polygon around (0, 0) in pixels, shape (points, 2).
        path: The centre's motion.
        texture: BGR, shape (64, 64, 3), uint8; it turns and scales with the body.
        texel: Size of a texel in pixels.
        angle: Radians at time 0.
        spin: Radians a frame.
        swell: Amplitude of the scale change, a fraction.
        swell_rate: Radians a frame.
        drift: BGR added to the texture by the last frame, growing from 0, shape (3,).
        blurred: Whether the open shutter smears it.
    """

    category: int | None
    outline: np.ndarray
    path: Path
    texture: np.ndarray
    texel: float
    angle: float = 0.0
    spin: float = 0.0
    swell: float = 0.0
    swell_rate: float = 0.0
    drift: np.ndarray = field(default_factory=lambda: np.zeros(3))
    blurred: bool = True

    def transforms(self, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Gives the body's placement.

        Args:
            times: Frames, shape (times,).

        Returns:
            Scaled rotations, shape (times, 2, 2), and centres, shape (times, 2).
        """
        angles = self.angle + self.spin * times
        scales = 1 + self.swell * np.sin(self.swell_rate * times + self.angle)
        cosine, sine = scales * np.cos(angles), scales * np.sin(angles)
        matrices = np.stack([cosine, -sine, sine, cosine], -1).reshape(-1, 2, 2)
        return matrices, self.path.position(times)


@dataclass
class Patch:
    """A body's coverage in one frame, in the rectangle of the frame that it touches.

    Args:
        left: First column of the rectangle.
        top: First row.
        shares: Coverage, 0 to 255, at each moment of the open shutter, shape (moments, h, w),
            uint8.
        matrices: The body's scaled rotation at those moments, shape (moments, 2, 2).
        centres: The body's centre at those moments, shape (moments, 2).
    """

    left: int
    top: int
    shares: np.ndarray
    matrices: np.ndarray
    centres: np.ndarray

    @property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns of the frame."""
        height, width = self.shares.shape[1:]
        return slice(self.top, self.top + height), slice(self.left, self.left + width)

    def covered(self) -> np.ndarray:
        """Where the body covers more than half of the pixel, shape (h, w), bool."""
        return self.shares.sum(0, dtype=np.uint32) * 2 > 255 * len(self.shares)


@dataclass(frozen=True)
class Scene:
    """Everything in a video but its background, before it is drawn.

    Args:
        bodies: Objects and occluders, back to front.
        order: Index into ``bodies`` of each object, in order of annotation.
        shutter: Frames that the shutter is open.
        pan: Least and most speed of the background, pixels a frame at 160x96.
        unit: Pixels in one pixel at 160x96.
    """

    bodies: list[Body]
    order: list[int]
    shutter: float
    pan: tuple[float, float]
    unit: float

    @property
    def moments(self) -> np.ndarray:
        """Moments of the open shutter around a frame's time, frames."""
        if self.shutter == 0:
            return np.zeros(1)
        return self.shutter * np.linspace(-0.5, 0.5, _SHUTTER_MOMENTS)


def outline_of(
    category: int, radius: float, aspect: float, pointedness: float = 0.45
) -> np.ndarray:
    """Makes the outline of a category, of the same area whatever the category.

    Args:
        category: Index into ``CATEGORIES``.
        radius: Radius of the disc of that area, pixels.
        aspect: Width over height, relative to the regular shape.
        pointedness: A star's inner radius over its outer one.

    Returns:
        Polygon around (0, 0), shape (points, 2).
    """
    name = CATEGORIES[category]
    count = {'disc': 48, 'square': 4, 'triangle': 3, 'star': 10}[name]
    turns = np.arange(count) * (2 * np.pi / count)
    lengths = np.ones(count)
    if name == 'star':
        lengths[1::2] = pointedness
    if name == 'square':
        turns = turns + np.pi / 4  # Sides, not corners, along the axes that the aspect stretches.
    points = lengths[:, None] * np.stack([np.sin(turns), -np.cos(turns)], 1)
    after = np.roll(points, -1, 0)
    area = abs(np.sum(points[:, 0] * after[:, 1] - points[:, 1] * after[:, 0])) / 2
    stretch = np.array([np.sqrt(aspect), 1 / np.sqrt(aspect)])
    return points * stretch * (radius * np.sqrt(np.pi / area))


def texture_of(
    rng: np.random.Generator, kind: str, first: np.ndarray, second: np.ndarray
) -> np.ndarray:
    """Paints a texture of two colours.

    Args:
        rng: Source of the pattern's period, direction and phase.
        kind: One of ``TEXTURES``.
        first: BGR, shape (3,).
        second: BGR, shape (3,).

    Returns:
        BGR, shape (64, 64, 3), uint8.
    """
    period, direction, phase = rng.uniform(6, 11), rng.uniform(0, np.pi), rng.uniform(0, 1, 2)
    coarse = rng.uniform(0, 1, (12, 12)).astype(np.float32)
    steps = np.arange(_TEXTURE_SIDE) - _TEXTURE_SIDE / 2
    across = np.cos(direction) * steps + np.sin(direction) * steps[:, None]
    along = np.cos(direction) * steps[:, None] - np.sin(direction) * steps
    waves = np.stack([across, along]) * (2 * np.pi / period) + 2 * np.pi * phase[:, None, None]
    if kind == 'plain':
        share = np.zeros_like(across)
    elif kind == 'stripes':
        share = np.clip(0.5 + 1.5 * np.sin(waves[0]), 0, 1)
    elif kind == 'checks':
        share = np.clip(0.5 + 2.5 * np.sin(waves[0]) * np.sin(waves[1]), 0, 1)
    elif kind == 'dots':
        share = np.clip(3 * np.sin(waves).sum(0) - 1.5, 0, 1)
    elif kind == 'noise':
        share = cv2.resize(coarse, (_TEXTURE_SIDE, _TEXTURE_SIDE), interpolation=cv2.INTER_CUBIC)
    elif kind == 'gradient':
        share = np.clip(0.5 + across / 30, 0, 1)
    else:
        raise ValueError(f'unknown texture {kind!r}; expected one of {", ".join(TEXTURES)}')
    painted = first + (second - first) * np.asarray(share, float)[..., None]
    return np.clip(np.rint(painted), 0, 255).astype(np.uint8)


def distance_to(colours: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Measures how far each colour is from the nearest of others.

    Args:
        colours: BGR, shape (..., 3).
        others: BGR, shape (others, 3); may be empty.

    Returns:
        Euclidean distances, shape (...); infinite where there are no others.
    """
    gaps = np.linalg.norm(colours[..., None, :] - others, axis=-1)
    return gaps.min(-1, initial=np.inf)


def pick_colours(
    rng: np.random.Generator, contrast: float, background: np.ndarray, taken: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Draws a body's two colours, visible in front of the background.

    Args:
        rng: Source of randomness.
        contrast: Least distance of each colour, and of their mean, from the background's colours.
        background: BGR of the background, shape (colours, 3).
        taken: Mean BGR of the bodies so far, shape (bodies, 3); the new mean keeps 70 from them.

    Returns:
        Two colours, shape (3,) each.
    """
    firsts = rng.uniform(15, 245, (96, 3))
    seconds = np.clip(firsts + rng.uniform(-130, 130, (96, 3)), 15, 245)
    means = (firsts + seconds) / 2
    nearest = np.minimum.reduce([distance_to(c, background) for c in (firsts, seconds, means)])
    inner = np.linalg.norm(firsts - seconds, axis=-1)
    # Each demand met counts 1 at most; the first candidate that meets all three wins.
    score = (
        np.minimum(nearest / contrast, 1)
        + np.minimum(inner / 60, 1) * 0.5
        + np.minimum(distance_to(means, taken) / 70, 1) * 0.5
    )
    best = int(np.argmax(score))
    return firsts[best], seconds[best]


def blob_outline(rng: np.random.Generator, half_width: float, half_length: float) -> np.ndarray:
    """Makes a lumpy outline around an ellipse, like none of the categories.

    Args:
        rng: Source of randomness.
        half_width: Pixels along x, at least.
        half_length: Pixels along y, at least.

    Returns:
        Polygon around (0, 0), shape (points, 2).
    """
    turns = np.arange(64) * (2 * np.pi / 64)
    waves = [
        amplitude * np.sin(count * turns + rng.uniform(0, 2 * np.pi))
        for count, amplitude in ((3, 0.15), (5, 0.12), (8, 0.07))
    ]
    lumps = np.sum(waves, 0)
    lengths = 1 + lumps - lumps.min()
    stretch = np.array([half_width, half_length])
    return lengths[:, None] * np.stack([np.cos(turns), np.sin(turns)], 1) * stretch


def bar_outline(rng: np.random.Generator, half_width: float, half_length: float) -> np.ndarray:
    """Makes a bar along y whose two long sides are straight or wavy.

    Args:
        rng: Source of randomness.
        half_width: Pixels along x, on average.
        half_length: Pixels along y.

    Returns:
        Polygon around (0, 0), shape (points, 2).
    """
    heights = np.linspace(-1, 1, 33)
    amplitude = half_width * rng.choice([0.0, 0.1, 0.2])
    waves = [np.sin(rng.uniform(10, 24) * heights + rng.uniform(0, 6)) for _ in range(2)]
    left = np.stack([-half_width - amplitude * waves[0], heights * half_length], 1)
    right = np.stack([half_width + amplitude * waves[1], heights * half_length], 1)
    return np.concatenate([left, right[::-1]])


def paint_background(
    rng: np.random.Generator, palette: np.ndarray, size: tuple[int, int], unit: float
) -> np.ndarray:
    """Paints a smooth random texture with strokes and soft patches on it.

    Args:
        rng: Source of randomness.
        palette: BGR of dark, middle and light places, shape (3, 3).
        size: Width and height of the canvas, pixels.
        unit: Pixels in one pixel at 160x96.

    Returns:
        BGR, shape (height, width, 3), uint8.
    """
    width, height = size
    field_sum = np.zeros((height, width), np.float32)
    for cell, weight in ((48, 1.0), (20, 0.6), (7, 0.3)):
        grid = (int(height / (cell * unit)) + 3, int(width / (cell * unit)) + 3)
        noise = rng.uniform(-1, 1, grid).astype(np.float32)
        field_sum += weight * cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    position = np.clip(field_sum + 1, 0, 2)[..., None]
    low, middle, high = palette.astype(np.float32)
    canvas = np.where(
        position < 1, low + (middle - low) * position, middle + (high - middle) * (position - 1)
    )
    canvas = np.clip(np.rint(canvas), 0, 255).astype(np.uint8)
    # Clutter: thin open strokes (quadratic curves), one for every 30x30 pixels at 160x96.
    steps = np.linspace(0, 1, 9)[:, None]
    for _ in range(int(width * height / (30 * unit) ** 2)):
        start, reach = rng.uniform(0, 1, 2) * size, rng.uniform(-26, 26, (2, 2)) * unit
        curve = start + 2 * steps * (1 - steps) * reach[0] + steps**2 * reach[1]
        points = np.rint(curve * 16).astype(np.int32)
        colour = np.clip(palette[rng.integers(3)] + rng.uniform(-22, 22), 0, 255)
        thickness = max(1, round(rng.uniform(0.7, 2.2) * unit))
        cv2.polylines(canvas, [points], False, colour.tolist(), thickness, cv2.LINE_AA, 4)
    return canvas


def cover(body: Body, times: np.ndarray, size: tuple[int, int]) -> Patch | None:
    """Measures how much of each pixel a body covers while the shutter is open.

    Args:
        body: The body.
        times: Moments of the open shutter, frames, shape (moments,).
        size: Width and height of the frame.

    Returns:
        The coverage, or None where the body is out of the frame.
    """
    matrices, centres = body.transforms(times)
    outlines = body.outline @ matrices.transpose(0, 2, 1) + centres[:, None]
    corners = outlines.reshape(-1, 2)
    low = np.maximum(np.floor(corners.min(0)) - 1, 0).astype(int)
    high = np.minimum(np.ceil(corners.max(0)) + 1, size).astype(int)
    if (low >= high).any():
        return None
    width, height = (high - low).tolist()
    # OpenCV puts the centre of the first subpixel at 0, we at half a subpixel.
    fixed = ((outlines - low) * _SUPERSAMPLING - 0.5) * (1 << _FRACTION_BITS)
    fixed = np.rint(fixed).astype(np.int32)
    shares = np.empty((len(times), height, width), np.uint8)
    for points, share in zip(fixed, shares, strict=True):
        fine = np.zeros((height * _SUPERSAMPLING, width * _SUPERSAMPLING), np.uint8)
        cv2.fillPoly(fine, [points], 255, shift=_FRACTION_BITS)
        share[:] = cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA)
    if not shares.any():
        return None
    return Patch(int(low[0]), int(low[1]), shares, matrices, centres)


def composite(image: np.ndarray, body: Body, patch: Patch, progress: float) -> None:
    """Paints a body over an image, in place.

    Args:
        image: BGR, shape (height, width, 3), float32.
        body: The body.
        patch: Its coverage in this frame.
        progress: How much of the body's drift is reached, 0 to 1.
    """
    texture = body.texture
    if np.any(body.drift):
        texture = np.clip(np.rint(texture + body.drift * progress), 0, 255).astype(np.uint8)
    height, width = patch.shares.shape[1:]
    paint = np.zeros((height, width, 3), np.float32)
    weight = np.zeros((height, width, 1), np.float32)
    for share, matrix, centre in zip(patch.shares, patch.matrices, patch.centres, strict=True):
        inverse = np.linalg.inv(matrix) / body.texel
        offset = np.array([patch.left, patch.top]) + 0.5 - centre
        middle = _TEXTURE_SIDE / 2 - 0.5
        affine = np.concatenate([inverse, (inverse @ offset + middle)[:, None]], 1)
        colours = cv2.warpAffine(
            texture,
            affine,
            (width, height),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT_101,
        )
        moment = share[..., None].astype(np.float32) / (255 * len(patch.shares))
        paint += colours * moment
        weight += moment
    window = image[patch.window]
    window *= 1 - weight
    window += paint


def cover_scene(scene: Scene, frames: int, size: tuple[int, int]) -> list[list[Patch | None]]:
    """Measures the coverage of every body in every frame.

    Args:
        scene: The scene.
        frames: How many frames.
        size: Width and height of a frame.

    Returns:
        For each body, back to front, its patch in each frame, or None where it is out of the frame.
    """
    still = np.zeros(1)
    return [
        [
            cover(body, frame + (scene.moments if body.blurred else still), size)
            for frame in range(frames)
        ]
        for body in scene.bodies
    ]


def visible_masks(
    scene: Scene, patches: list[list[Patch | None]], size: tuple[int, int], least_area: int
) -> list[np.ndarray]:
    """Finds the visible part of each object.

    Args:
        scene: The scene.
        patches: From :func:`cover_scene`.
        size: Width and height of a frame.
        least_area: Masks of fewer pixels are emptied.

    Returns:
        Masks of each object in order of annotation, shape (frames, height, width), bool.
    """
    width, height = size
    owner = np.full((len(patches[0]), height, width), -1, np.int8)
    for number, body_patches in enumerate(patches):
        for frame, patch in enumerate(body_patches):
            if patch is not None:
                owner[frame][patch.window][patch.covered()] = number
    masks = []
    for number in scene.order:
        mask = owner == number
        mask[mask.sum((1, 2)) < least_area] = False
        masks.append(mask)
    return masks


def draw_frames(
    scene: Scene,
    patches: list[list[Patch | None]],
    palette: np.ndarray,
    rng: np.random.Generator,
    size: tuple[int, int],
) -> np.ndarray:
    """Draws a video: panning background, bodies, brightness and contrast, sensor noise.

    Args:
        scene: The scene.
        patches: From :func:`cover_scene`.
        palette: BGR of the background, shape (3, 3).
        rng: Source of the background and of the camera's settings and noise.
        size: Width and height of a frame.

    Returns:
        BGR, shape (frames, height, width, 3), uint8.
    """
    (width, height), count = size, len(patches[0])
    heading, pace = rng.uniform(0, 2 * np.pi), rng.uniform(*scene.pan) * scene.unit
    pan = pace * np.array([np.cos(heading), np.sin(heading)])
    margin = np.ceil(np.abs(pan) * (count + 1)).astype(int) + 2
    start = np.where(pan < 0, margin - 1, 1)
    canvas_size = (width + int(margin[0]), height + int(margin[1]))
    canvas = paint_background(rng, palette, canvas_size, scene.unit)
    gain, offset, noise = rng.uniform(0.85, 1.15), rng.uniform(-14, 14), rng.uniform(2, 6)
    frames = np.empty((count, height, width, 3), np.uint8)
    for frame in range(count):
        image = np.zeros((height, width, 3), np.float32)
        for moment in scene.moments:
            shift = start + pan * (frame + moment + 0.5)
            affine = np.array([[1, 0, shift[0]], [0, 1, shift[1]]])
            flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            image += cv2.warpAffine(
                canvas, affine, (width, height), flags=flags, borderMode=cv2.BORDER_REFLECT_101
            )
        image /= len(scene.moments)
        progress = frame / max(count - 1, 1)
        for body, body_patches in zip(scene.bodies, patches, strict=True):
            if body_patches[frame] is not None:
                composite(image, body, body_patches[frame], progress)
        image = (image - 128) * np.float32(gain) + np.float32(128 + offset)
        image += np.float32(noise) * rng.standard_normal(image.shape, np.float32)
        frames[frame] = np.clip(np.rint(image), 0, 255)
    return frames
