"""Presets and options of a data set."""

from __future__ import annotations

from dataclasses import dataclass, replace

from vispropnet.errors import UserError

SPLITS = ('train', 'valid')
LONG_ENOUGH_TO_HIDE = 8  # Frames that a video needs so that an object can vanish and return.


@dataclass(frozen=True)
class Preset:
    """The numbers in which the presets differ; pairs are least and most."""

    objects: tuple[int, int]  # objects in a video
    radius: tuple[float, float]  # radius of the disc of an object's area, pixels at 160x96
    crossing: float  # probability that an object beyond the first two is aimed at another
    wandering: float  # probability that an object beyond the first two enters or leaves
    gap: tuple[float, float]  # distance of two aimed centres when they meet, in radii
    speed: tuple[float, float]  # pixels a frame at 160x96
    pan: tuple[float, float]  # speed of the background, pixels a frame at 160x96
    contrast: tuple[float, float]  # colour distance from the background, 0 to 255
    occluders: tuple[int, int] = (0, 0)  # occluders in a video
    shutter: tuple[float, float] = (0.0, 0.0)  # frames that the shutter is open
    drift: tuple[float, float] = (0.0, 0.0)  # colour change over the video, 0 to 255
    categories: int = 4  # the first so many of ``CATEGORIES``


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
# Smaller, so that more objects find room; for frames as large as those of YouTube-VIS.
PRESETS['crowded'] = replace(PRESETS['occlusion'], objects=(5, 9), radius=(6.0, 11.5), categories=8)


@dataclass(frozen=True)
class MovingShapesSpec:
    """Settings that determine the videos of a data set; a ``UserError`` if one is out of range."""

    preset: str = 'easy'  # a key of ``PRESETS``
    frames: int = 12  # of a video
    size: tuple[int, int] = (160, 96)  # width and height, pixels
    seed: int = 0  # any whole number from 0

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
        return max(4, round(8 * self.unit**2))
