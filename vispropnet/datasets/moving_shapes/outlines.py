"""Outlines of the categories and of the occluders."""

from __future__ import annotations

import numpy as np

CATEGORIES = ('disc', 'square', 'triangle', 'star')


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
