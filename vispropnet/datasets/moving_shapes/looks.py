"""Textures and colours of bodies."""

from __future__ import annotations

import cv2
import numpy as np

TEXTURES = ('plain', 'stripes', 'checks', 'dots', 'noise', 'gradient')
TEXTURE_SIDE = 64  # Texels; mirrored beyond.


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
