"""Outlines, textures and colours of bodies."""

from __future__ import annotations

import cv2
import numpy as np

# A preset takes as many as it says, from the first on.
CATEGORIES = ('disc', 'square', 'triangle', 'star', 'cross', 'arrow', 'heart', 'crescent')
TEXTURES = ('plain', 'stripes', 'checks', 'dots', 'noise', 'gradient')
TEXTURE_SIDE = 64  # Texels; mirrored beyond.
# Points of outlines that go around a circle.
_ROUND = {'disc': 48, 'square': 4, 'triangle': 3, 'star': 10}


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
    if name in _ROUND:
        count = _ROUND[name]
        turns = np.arange(count) * (2 * np.pi / count)
        lengths = np.ones(count)
        if name == 'star':
            lengths[1::2] = pointedness
        if name == 'square':
            turns = turns + np.pi / 4  # Sides, not corners, along the axes of the aspect.
        points = lengths[:, None] * np.stack([np.sin(turns), -np.cos(turns)], 1)
    else:
        points = _other_outline(name)
    after = np.roll(points, -1, 0)
    area = abs(np.sum(points[:, 0] * after[:, 1] - points[:, 1] * after[:, 0])) / 2
    stretch = np.array([np.sqrt(aspect), 1 / np.sqrt(aspect)])
    return points * stretch * (radius * np.sqrt(np.pi / area))


def _other_outline(name: str) -> np.ndarray:
    """Makes the outline of a cross, arrow, heart or crescent of some size, shape (points, 2)."""
    if name == 'cross':
        corner = np.array([[-0.35, -1], [0.35, -1], [0.35, -0.35]])
        turned = [corner]
        for _ in range(3):
            turned.append(turned[-1] @ np.array([[0, 1], [-1, 0]]))
        return np.concatenate(turned)
    if name == 'arrow':
        right = np.array([[0, -1.1], [0.95, 0], [0.4, 0], [0.4, 1]])
        return np.concatenate([right, right[:0:-1] * [-1, 1]])
    turns = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    if name == 'heart':
        height = 13 * np.cos(turns) - 5 * np.cos(2 * turns) - 2 * np.cos(3 * turns)
        return np.stack([16 * np.sin(turns) ** 3, np.cos(4 * turns) - height], 1) / 17
    # A disc without another one whose centre is aside by 0.6 radii.
    tip = np.arccos(0.3)
    outer = np.linspace(tip, 2 * np.pi - tip, 33)
    inner = np.linspace(np.pi + tip, np.pi - tip, 17)[1:-1]
    arcs = [[np.cos(outer), np.sin(outer)], [0.6 + np.cos(inner), np.sin(inner)]]
    return np.concatenate([np.stack(arc, 1) for arc in arcs]) + [0.4, 0]


def blob_outline(rng: np.random.Generator, half_width: float, half_length: float) -> np.ndarray:
    """Makes a lumpy outline, like none of the categories: a polygon around (0, 0), (points, 2).

    It goes around an ellipse with these half axes along x and y, in pixels.
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
    """Makes a bar along y with straight or wavy long sides: a polygon around (0, 0), (points, 2).

    ``half_width`` is in pixels along x, on average; ``half_length`` along y.
    """
    heights = np.linspace(-1, 1, 33)
    amplitude = half_width * rng.choice([0.0, 0.1, 0.2])
    waves = [np.sin(rng.uniform(10, 24) * heights + rng.uniform(0, 6)) for _ in range(2)]
    left = np.stack([-half_width - amplitude * waves[0], heights * half_length], 1)
    right = np.stack([half_width + amplitude * waves[1], heights * half_length], 1)
    return np.concatenate([left, right[::-1]])


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
    steps = np.arange(TEXTURE_SIDE) - TEXTURE_SIDE / 2
    across = np.cos(direction) * steps + np.sin(direction) * steps[:, None]
    along = np.cos(direction) * steps[:, None] - np.sin(direction) * steps
    waves = np.stack([across, along]) * (2 * np.pi / period) + 2 * np.pi * phase[:, None, None]
    if kind == 'noise':
        share = cv2.resize(coarse, across.shape, interpolation=cv2.INTER_CUBIC).astype(float)
    else:
        values = {
            'plain': np.zeros_like(across),
            'stripes': 0.5 + 1.5 * np.sin(waves[0]),
            'checks': 0.5 + 2.5 * np.sin(waves[0]) * np.sin(waves[1]),
            'dots': 3 * np.sin(waves).sum(0) - 1.5,
            'gradient': 0.5 + across / 30,
        }
        share = np.clip(values[kind], 0, 1)
    painted = first + (second - first) * share[..., None]
    return np.clip(np.rint(painted), 0, 255).astype(np.uint8)


def distance_to(colours: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Measures the Euclidean distances, shape (...), of BGR colours to the nearest of others.

    Args:
        colours: Shape (..., 3).
        others: Shape (others, 3); distances are infinite where there are none.
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
