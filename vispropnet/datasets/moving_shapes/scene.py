"""Bodies, their paths, and the scene that they make up."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from vispropnet.datasets.moving_shapes.spec import MovingShapesSpec

_SHUTTER_MOMENTS = 5  # Exposures that make up a blurred frame.
_WALL_SHARPNESS = 0.96  # Below 1: the turn at a wall is rounded.


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
    """Motion between soft walls, with a sideways sway."""

    low: np.ndarray  # left and top wall of the centre, pixels, shape (2,)
    high: np.ndarray  # right and bottom wall, shape (2,)
    anchor: np.ndarray  # a point the path goes through (moved inside the walls), shape (2,)
    anchor_time: float  # when it is there, frames
    velocity: np.ndarray  # pixels a frame at that time, shape (2,)
    sway: np.ndarray  # amplitude of the sway, pixels, shape (2,); zero at the anchor
    sway_rate: float  # radians a frame

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
    """Something drawn in front of the background: an object, or an occluder."""

    category: int | None  # index into ``CATEGORIES``, or None for an occluder
    outline: np.ndarray  # polygon around (0, 0) in pixels, shape (points, 2)
    path: LinearPath | BouncingPath  # the centre's motion
    texture: np.ndarray  # BGR, shape (64, 64, 3), uint8; it turns and scales with the body
    texel: float  # size of a texel in pixels
    angle: float = 0.0  # radians at time 0
    spin: float = 0.0  # radians a frame
    swell: float = 0.0  # amplitude of the scale change, a fraction
    swell_rate: float = 0.0  # radians a frame
    # BGR added to the texture by the last frame, growing from 0, shape (3,).
    drift: np.ndarray = field(default_factory=lambda: np.zeros(3))
    blurred: bool = True  # whether the open shutter smears it

    def transforms(self, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Gives scaled rotations, shape (times, 2, 2), and centres, shape (times, 2), at times."""
        angles = self.angle + self.spin * times
        scales = 1 + self.swell * np.sin(self.swell_rate * times + self.angle)
        cosine, sine = scales * np.cos(angles), scales * np.sin(angles)
        matrices = np.stack([cosine, -sine, sine, cosine], -1).reshape(-1, 2, 2)
        return matrices, self.path.position(times)


@dataclass(frozen=True)
class Scene:
    """A video before it is drawn."""

    spec: MovingShapesSpec  # the data set
    bodies: list[Body]  # objects and occluders, back to front
    order: list[int]  # index into ``bodies`` of each object, in order of annotation
    palette: np.ndarray  # BGR of dark, middle and light places of the background, shape (3, 3)
    shutter: float  # frames that the shutter is open
    pan: tuple[float, float]  # least and most speed of the background, pixels a frame at 160x96

    @property
    def moments(self) -> np.ndarray:
        """Moments of the open shutter around a frame's time, frames."""
        if self.shutter == 0:
            return np.zeros(1)
        return self.shutter * np.linspace(-0.5, 0.5, _SHUTTER_MOMENTS)
