"""Features of other frames of a clip, for parts that look at more than the frame at hand.

A part that does declares ``needs_support = True`` and finds them as ``feats.support`` in the levels
that it is called with: :class:`SupportedLevels`, a tuple, which goes through mmdet's RoI heads as
any other features do. Parts that do not are called with plain levels.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

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
        """Gives a level, or a slice of levels with the same slice of the support."""
        chosen = super().__getitem__(index)
        if not isinstance(index, slice):
            return chosen
        return SupportedLevels(chosen, (levels[index] for levels in self.support), self.sizes)


@dataclass(frozen=True)
class SupportMemory:
    """Features of earlier frames of a video, which support later ones.

    Args:
        frames: Per frame, oldest first, its levels (1, C, H, W); those that no part looks at are
            None.
        num_seen: How many frames there were.
    """

    frames: tuple[tuple[Tensor | None, ...], ...] = ()
    num_seen: int = 0


@TASK_UTILS.register_module()
class SupportWindow:
    """Window of the last frames of a video, which support the current one.

    In training the reference frames do.

    Args:
        num_frames: Frames, at most; the first frame of a video has none.
        stride: Of how many frames one is kept, from the first one on; memory does not grow with it.

    Raises:
        ValueError: if one is no positive integer.
    """

    def __init__(self, num_frames: int = 2, stride: int = 1) -> None:
        for name, value in (('num_frames', num_frames), ('stride', stride)):
            if type(value) is not int or value < 1:
                raise ValueError(f'support: {name} must be a positive integer, got {value!r}')
        self.num_frames = num_frames
        self.stride = stride

    def init_memory(self) -> SupportMemory:
        """Makes the memory before the first frame of a video."""
        return SupportMemory()

    def remember(
        self, features: Levels, memory: SupportMemory, levels: Collection[int] | None = None
    ) -> tuple[tuple[Levels, ...], SupportMemory]:
        """Gives what supports a frame, and takes the frame in.

        Args:
            features: Per level (1, C, H, W) of the frame.
            memory: Before this frame.
            levels: Numbers of the levels to keep; None for all.

        Returns:
            The levels of each frame before, oldest first, and the memory after this frame.
        """
        frames = memory.frames
        if memory.num_seen % self.stride == 0:
            kept = (
                one if levels is None or level in levels else None
                for level, one in enumerate(features)
            )
            frames = (*frames, tuple(kept))[-self.num_frames :]
        return memory.frames, SupportMemory(frames, memory.num_seen + 1)


def parts_with_support(model: nn.Module) -> list[str]:
    """Lists the parts of a model that need features of other frames.

    Args:
        model: The model.

    Returns:
        Their dotted names.
    """
    return [name for name, one in model.named_modules() if getattr(one, 'needs_support', False)]


def support_levels(model: nn.Module) -> set[int] | None:
    """Lists the levels of other frames that the parts of a model look at.

    Args:
        model: The model; parts that look at some levels only have ``support_levels``.

    Returns:
        Their numbers; None for all.
    """
    levels = [
        getattr(model.get_submodule(name), 'support_levels', None)
        for name in parts_with_support(model)
    ]
    return None if None in levels else set().union(*levels)


def check_support(model: nn.Module, places: Sequence[str] = (), given: bool = False) -> None:
    """Checks that parts that need features of other frames will get them.

    Args:
        model: A built detector.
        places: Beginnings of the names of the parts that it passes such features to.
        given: Whether the config says which frames they come from at test.

    Raises:
        ValueError: naming the first part that would get none.
    """
    for name in parts_with_support(model):
        part = f'{name} ({type(model.get_submodule(name)).__name__})'
        if not name.startswith(tuple(places)):
            known = f' to parts below {", ".join(places)} only' if places else ' to no part'
            raise ValueError(
                f'{part} needs features of other frames, which a {type(model).__name__} passes'
                f'{known}'
            )
        if not given:
            raise ValueError(
                f'{part} needs features of other frames, and the config gives none: set '
                "support=dict(type='SupportWindow', num_frames=...) in the model"
            )
