"""Pixels that the bodies cover, and their visible parts."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from vispropnet.datasets.moving_shapes.scene import Body, Scene

_SUPERSAMPLING = 4  # Subpixels per pixel side, for antialiased coverage.
# Outlines are rounded to 1/16 subpixel, so that they do not hang on float noise.
_FRACTION_BITS = 4


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
        """Pixels of which the body covers more than half, shape (h, w), bool."""
        return self.shares.sum(0, dtype=np.uint32) * 2 > 255 * len(self.shares)


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


def cover_scene(scene: Scene) -> list[list[Patch | None]]:
    """Measures the coverage of every body in every frame.

    Args:
        scene: The scene.

    Returns:
        For each body, back to front, its patch in each frame, or None where it is out of the frame.
    """
    still = np.zeros(1)
    return [
        [
            cover(body, frame + (scene.moments if body.blurred else still), scene.spec.size)
            for frame in range(scene.spec.frames)
        ]
        for body in scene.bodies
    ]


def visible_masks(scene: Scene, patches: list[list[Patch | None]]) -> list[np.ndarray]:
    """Finds the visible part of each object; of too few pixels, it counts as hidden.

    Args:
        scene: The scene.
        patches: From :func:`cover_scene`.

    Returns:
        Masks of each object in order of annotation, shape (frames, height, width), bool.
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
