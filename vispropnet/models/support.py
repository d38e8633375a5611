"""Features of other frames of a clip, for parts that look at more than the frame at hand.

A part that does declares ``needs_support = True`` and finds them as ``feats.support`` in the levels
that it is called with: :class:`SupportedLevels`, a tuple, which goes through mmdet's RoI heads as
any other features do. Parts that do not are called with plain levels.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from torch import Tensor, nn

from vispropnet.errors import UserError
from vispropnet.positions import evenly
from vispropnet.registry import TASK_UTILS

Levels = Sequence[Tensor]
MODES = ('online', 'offline')


class SupportedLevels(tuple):
    """Levels of features, each (B, C, H, W), with those of S other frames.

    Args:
        levels: Of the frames at hand.
        support: S times the same of other frames of the same clips; may be empty.
        sizes: (height, width) of each of the B images before padding, in pixels of the network's
            input, those of its support too; None if nothing was padded.
    """

    support: tuple[Levels, ...]
    sizes: Sequence[tuple[int, int]] | None

    def __new__(
        cls,
        levels: Iterable[Tensor],
        support: Iterable[Levels],
        sizes: Sequence[tuple[int, int]] | None = None,
    ) -> SupportedLevels:
        """Makes the tuple and puts the support on it."""
        self = super().__new__(cls, levels)
        self.support, self.sizes = tuple(support), sizes
        return self

    def __getitem__(self, index):
        chosen = super().__getitem__(index)
        if not isinstance(index, slice):
            return chosen
        return SupportedLevels(chosen, (levels[index] for levels in self.support), self.sizes)


@TASK_UTILS.register_module()
class SupportWindow:
    """Window of frames of a video that support the current one at test.

    In training the reference frames do.

    Args:
        num_frames: Frames, at most.
        stride: Of so many frames one is kept, from the first one on; memory does not grow with it.
        mode: ``'online'``: the last frames before the current one; the first frame of a video has
            none. ``'offline'``: frames spread evenly over the whole video, for all of its frames
            the same; not for frames that come one by one, as those of a camera.

    Raises:
        ValueError: if a number is no positive integer, the mode is unknown, or a stride is given to
            ``'offline'``.

    Attributes:
        levels: Numbers of the levels that are kept; None for all.
        overview: Frames of the whole video to be given to :meth:`look_over`.
    """

    def __init__(self, num_frames: int = 2, stride: int = 1, mode: str = 'online') -> None:
        for name, value in (('num_frames', num_frames), ('stride', stride)):
            if type(value) is not int or value < 1:
                raise ValueError(f'support: {name} must be a positive integer, got {value!r}')
        if mode not in MODES:
            raise ValueError(f'support: mode must be one of {MODES}, got {mode!r}')
        if mode == 'offline' and stride != 1:
            raise ValueError(
                f"support: stride={stride} is for mode='online'; 'offline' frames are spread over "
                'the whole video'
            )
        self.num_frames, self.stride = num_frames, stride
        self.overview = num_frames if mode == 'offline' else 0
        self.levels: Collection[int] | None = None

    def numbers(self, number: int, length: int) -> list[int]:
        """Lists the frames that support a frame.

        Args:
            number: Of the frame in its video, from 0.
            length: Of the video, in frames.
        """
        if self.overview:
            return evenly(length, self.overview)
        return list(range(0, number, self.stride))[-self.num_frames :]

    def look_over(self, features: Levels, frames: Sequence[Levels]) -> tuple[Levels, ...]:
        """Takes in a frame of the overview of a video.

        Args:
            features: Per level (1, C, H, W) of the frame.
            frames: The same of those before it, as in :meth:`remember`.

        Returns:
            All of them.
        """
        return *frames, self._kept(features)

    def remember(
        self, features: Levels, frames: Sequence[Levels], number: int
    ) -> tuple[Levels, ...]:
        """Takes a frame in.

        Args:
            features: Per level (1, C, H, W) of the frame.
            frames: The same of each frame that supports this one, oldest first; None for levels
                that are not kept.
            number: Of the frame in its video, from 0.

        Returns:
            Those that support the next frame.
        """
        if self.overview or number % self.stride:
            return tuple(frames)
        return (*frames, self._kept(features))[-self.num_frames :]

    def check_overview(self, frames: Sequence[Levels]) -> None:
        """Checks, before a frame is supported, that the overview was given.

        Raises:
            UserError: if it was not.
        """
        if self.overview and not frames:
            raise UserError(
                f"model.support.mode='offline' needs {self.overview} frames of the whole video "
                'before the first one, which frames that come one by one, as those of a camera, do '
                "not have: give a file, a folder or a list of frames, or set mode='online'."
            )

    def _kept(self, features: Levels) -> Levels:
        """The levels that are in use; None for the others."""
        return tuple(
            one if self.levels is None or level in self.levels else None
            for level, one in enumerate(features)
        )


def support_levels(model: nn.Module) -> set[int] | None:
    """Lists the levels of other frames that the parts of a model look at.

    Args:
        model: The model; parts that look at some levels only name them as ``support_levels``.

    Returns:
        Their numbers; None for all.
    """
    levels = [
        getattr(one, 'support_levels', None)
        for one in model.modules()
        if getattr(one, 'needs_support', False)
    ]
    return None if None in levels else set().union(*levels)


def check_support(model: nn.Module, places: Sequence[str] = (), given: bool = False) -> bool:
    """Checks that parts that need features of other frames will get them.

    Args:
        model: A built detector.
        places: Beginnings of the names of the parts that it passes such features to.
        given: Whether the config says which frames they come from at test.

    Returns:
        Whether there is such a part.

    Raises:
        ValueError: naming the first part that would get none.
    """
    parts = [
        (name, one) for name, one in model.named_modules() if getattr(one, 'needs_support', False)
    ]
    for name, one in parts:
        needs = f'{name} ({type(one).__name__}) needs features of other frames'
        if not name.startswith(tuple(places)):
            known = f'to parts below {", ".join(places)} only' if places else 'to no part'
            raise ValueError(f'{needs}, which a {type(model).__name__} passes {known}')
        if not given:
            raise ValueError(
                f'{needs}, and the config gives none: set '
                "support=dict(type='SupportWindow', num_frames=...) in the model"
            )
    return bool(parts)
