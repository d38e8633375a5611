"""Features of other frames of a clip, for parts that look at more than the frame at hand.

A part that does declares ``needs_support = True`` and finds them as ``feats.support`` in the levels
that it is called with: :class:`SupportedLevels`, a tuple, which goes through mmdet's RoI heads as
any other features do. Parts that do not are called with plain levels.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import Tensor, nn

from vispropnet.registry import TASK_UTILS

Levels = Sequence[Tensor]


class SupportedLevels(tuple):
    """Levels of features, each (B, C, H, W), with those of S other frames.

    Args:
        levels: Of the frames at hand.
        support: S times the same of other frames of the same clips; may be empty.
    """

    support: tuple[Levels, ...]

    def __new__(cls, levels: Iterable[Tensor], support: Iterable[Levels]) -> SupportedLevels:
        """Makes the tuple and puts the support on it."""
        self = super().__new__(cls, levels)
        self.support = tuple(support)
        return self

    def __getitem__(self, index):
        chosen = super().__getitem__(index)
        if not isinstance(index, slice):
            return chosen
        return SupportedLevels(chosen, (levels[index] for levels in self.support))


@TASK_UTILS.register_module()
class SupportWindow:
    """Window of the last frames of a video, which support the current one.

    In training the reference frames do.

    Args:
        num_frames: Frames, at most; the first frame of a video has none.

    Raises:
        ValueError: if ``num_frames`` is no positive integer.
    """

    def __init__(self, num_frames: int = 2) -> None:
        if type(num_frames) is not int or num_frames < 1:
            raise ValueError(f'support: num_frames must be a positive integer, got {num_frames!r}')
        self.num_frames = num_frames

    def remember(self, features: Levels, frames: Sequence[Levels]) -> tuple[Levels, ...]:
        """Takes a frame in.

        Args:
            features: Per level (1, C, H, W) of the frame.
            frames: The same of each frame that supports this one, oldest first.

        Returns:
            Those that support the next frame.
        """
        return (*frames, tuple(features))[-self.num_frames :]


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
