"""Features of other frames of a clip, for parts that look at more than the frame at hand.

A part that does declares ``needs_support = True`` and finds them as ``feats.support`` in the levels
that it is called with: :class:`SupportedLevels`, a tuple, which goes through mmdet's RoI heads as
any other features do. Parts that do not are called with plain levels.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from torch import Tensor, nn

from vispropnet.registry import TASK_UTILS

Levels = Sequence[Tensor]


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
    """Window of the last frames of a video, which support the current one.

    In training the reference frames do.

    Args:
        num_frames: Frames, at most; the first frame of a video has none.
        stride: Of so many frames one is kept, from the first one on; memory does not grow with it.

    Raises:
        ValueError: if one is no positive integer.

    Attributes:
        levels: Numbers of the levels that are kept; None for all.
    """

    def __init__(self, num_frames: int = 2, stride: int = 1) -> None:
        for name, value in (('num_frames', num_frames), ('stride', stride)):
            if type(value) is not int or value < 1:
                raise ValueError(f'support: {name} must be a positive integer, got {value!r}')
        self.num_frames, self.stride = num_frames, stride
        self.levels: Collection[int] | None = None

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
        if number % self.stride:
            return tuple(frames)
        kept = (
            one if self.levels is None or level in self.levels else None
            for level, one in enumerate(features)
        )
        return (*frames, tuple(kept))[-self.num_frames :]


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
