"""Painting frames: pixels that the bodies cover, their visible parts, background, camera."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from vispropnet.datasets.moving_shapes.looks import TEXTURE_SIDE
from vispropnet.datasets.moving_shapes.scene import Body, Scene

_SUPERSAMPLING = 4  # Subpixels per pixel side, for antialiased coverage.
# Outlines are rounded to 1/16 subpixel, so that they do not hang on float noise.
_FRACTION_BITS = 4


class Patch(NamedTuple):
    """A body's coverage in one frame, in the rectangle of the frame that it touches."""

    left: int  # first column of the rectangle
    top: int  # first row
    # Coverage, 0 to 255, at each moment of the open shutter, shape (moments, h, w), uint8.
    shares: np.ndarray
    matrices: np.ndarray  # the body's scaled rotation at those moments, shape (moments, 2, 2)
    centres: np.ndarray  # the body's centre at those moments, shape (moments, 2)

    @property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns of the frame."""
        height, width = self.shares.shape[1:]
        return slice(self.top, self.top + height), slice(self.left, self.left + width)

    def covered(self) -> np.ndarray:
        """Pixels of which the body covers more than half, shape (h, w), bool."""
        return self.shares.sum(0, dtype=np.uint32) * 2 > 255 * len(self.shares)


def cover(body: Body, times: np.ndarray, size: tuple[int, int]) -> Patch | None:
    """Measures how much of each pixel a body covers at moments of the open shutter.

    Args:
        body: The body.
        times: Moments, in frames, shape (moments,).
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


def cover_scene(scene: Scene) -> list[list[Patch | None]]:
    """Measures the coverage of each body, back to front, in each frame; None where it is out."""
    covered = []
    for body in scene.bodies:
        moments = scene.moments if body.blurred else np.zeros(1)
        times = [frame + moments for frame in range(scene.spec.frames)]
        covered.append([cover(body, one, scene.spec.size) for one in times])
    return covered


def visible_masks(scene: Scene, patches: list[list[Patch | None]]) -> list[np.ndarray]:
    """Finds the visible part of each object in order of annotation, (frames, height, width) bool.

    One of too few pixels counts as hidden.
    """
    width, height = scene.spec.size
    owner = np.full((scene.spec.frames, height, width), -1, np.int8)
    for number, body_patches in enumerate(patches):
        for frame, patch in enumerate(body_patches):
            if patch is not None:
                owner[frame][patch.window][patch.covered()] = number
    masks = [owner == number for number in scene.order]
    for mask in masks:
        mask[mask.sum((1, 2)) < scene.spec.min_visible_area] = False
    return masks


def draw_frames(
    scene: Scene, patches: list[list[Patch | None]], rng: np.random.Generator
) -> np.ndarray:
    """Draws a video: panning background, bodies, brightness and contrast, sensor noise.

    Args:
        scene: The scene.
        patches: From :func:`cover_scene`.
        rng: Source of the background and of the camera's settings and noise.

    Returns:
        BGR, shape (frames, height, width, 3), uint8.
    """
    (width, height), count, unit = scene.spec.size, scene.spec.frames, scene.spec.unit
    heading, pace = rng.uniform(0, 2 * np.pi), rng.uniform(*scene.pan) * unit
    pan = pace * np.array([np.cos(heading), np.sin(heading)])
    margin = np.ceil(np.abs(pan) * (count + 1)).astype(int) + 2
    start = np.where(pan < 0, margin - 1, 1)
    canvas_size = (width + int(margin[0]), height + int(margin[1]))
    canvas = _paint_background(rng, scene.palette, canvas_size, unit)
    gain, offset, noise = rng.uniform(0.85, 1.15), rng.uniform(-14, 14), rng.uniform(2, 6)
    frames = np.empty((count, height, width, 3), np.uint8)
    for frame in range(count):
        image = np.zeros((height, width, 3), np.float32)
        for moment in scene.moments:
            shift = start + pan * (frame + moment + 0.5)
            affine = np.array([[1, 0, shift[0]], [0, 1, shift[1]]])
            image += _warp(canvas, affine, (width, height))
        image /= len(scene.moments)
        progress = frame / max(count - 1, 1)
        for body, body_patches in zip(scene.bodies, patches, strict=True):
            if body_patches[frame] is not None:
                composite(image, body, body_patches[frame], progress)
        image = (image - 128) * np.float32(gain) + np.float32(128 + offset)
        image += np.float32(noise) * rng.standard_normal(image.shape, np.float32)
        frames[frame] = np.clip(np.rint(image), 0, 255)
    return frames


def _paint_background(
    rng: np.random.Generator, palette: np.ndarray, size: tuple[int, int], unit: float
) -> np.ndarray:
    """Paints a smooth random texture with strokes on it: BGR, shape (height, width, 3), uint8."""
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


def composite(image: np.ndarray, body: Body, patch: Patch, progress: float) -> None:
    """Paints a body over an image, BGR, (height, width, 3) float32, in place.

    ``progress`` is the share of the body's drift that is reached, 0 to 1.
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
        middle = TEXTURE_SIDE / 2 - 0.5
        affine = np.concatenate([inverse, (inverse @ offset + middle)[:, None]], 1)
        colours = _warp(texture, affine, (width, height))
        moment = share[..., None].astype(np.float32) / (255 * len(patch.shares))
        paint += colours * moment
        weight += moment
    window = image[patch.window]
    window *= 1 - weight
    window += paint


def _warp(image: np.ndarray, affine: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Samples an image at ``affine`` of each pixel of a rectangle, mirrored beyond its edges."""
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(image, affine, size, flags=flags, borderMode=cv2.BORDER_REFLECT_101)
