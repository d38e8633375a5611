"""Policies that choose the frames of a video that an object memory keeps."""

from __future__ import annotations

from dataclasses import dataclass, replace

from vispropnet.registry import TASK_UTILS


@dataclass(frozen=True)
class SaveHistory:
    """Values that a policy remembers of a video.

    Args:
        last_saved: Number of the frame saved last.
        change: Percent of the pixels in which the last frame differed from the one before, of image
            and masks; None before the second frame.
        accumulated: Sum of both since the frame saved last.
    """

    last_saved: int = 0
    change: tuple[float, float] | None = None
    accumulated: float = 0.0


@TASK_UTILS.register_module()
class PeriodicSave:
    """Saves every so many-th frame.

    Args:
        every: Frames from one to the next.
    """

    needs_change = False

    def __init__(self, every: int = 5) -> None:
        if type(every) is not int or every < 1:
            raise ValueError(f'every must be a positive integer, got {every!r}')
        self.every = every

    def decide(
        self, number: int, objects: int, change: tuple[float, float], history: SaveHistory
    ) -> tuple[bool, SaveHistory]:
        """Decides on a frame.

        Args:
            number: Of the frame.
            objects: How many there are.
            change: Percent of the pixels in which image and masks differ from the frame before;
                zeros for a policy that does not need it.
            history: Of the frames before.

        Returns:
            Whether to save the frame, and the history with it.
        """
        return self._settled(number % self.every == 0, number, change, history)

    @staticmethod
    def _settled(
        saves: bool, number: int, change: tuple[float, float], history: SaveHistory
    ) -> tuple[bool, SaveHistory]:
        if saves:
            return True, SaveHistory(number, change)
        return False, replace(history, change=change, accumulated=history.accumulated + sum(change))


@TASK_UTILS.register_module()
class AdaptiveSave(PeriodicSave):
    """Saves when the change of image or masks changes (EamStcn), and every so many-th frame.

    As published: motion of constant speed never triggers it. See :class:`ChangeSave`.

    Args:
        every: Frames from one to the next, if nothing triggers.
        pause: Frames after a saved one in which none is saved.
    """

    needs_change = True

    def __init__(self, every: int = 25, pause: int = 3) -> None:
        super().__init__(every)
        self.pause = pause

    def decide(
        self, number: int, objects: int, change: tuple[float, float], history: SaveHistory
    ) -> tuple[bool, SaveHistory]:
        """Decides on a frame; see the base class."""
        before = change if history.change is None else history.change
        image, masks = (abs(now - then) for now, then in zip(change, before, strict=True))
        triggered = (
            masks > 0.3
            or (masks < 0.1 and image > 0.5)
            or (objects >= 3 and masks > 0.1)
            or (masks > 0.25 and image > 0.25)
            or (masks > 0.15 and image > 0.6)
        )
        due = triggered or number % self.every == 0
        return self._settled(
            due and number - history.last_saved > self.pause, number, change, history
        )


@TASK_UTILS.register_module()
class ChangeSave(PeriodicSave):
    """Saves when enough has changed since the frame saved last (after SwiftNet, CVPR 2021).

    Args:
        threshold: Percent of the pixels, of image and masks together, summed over the frames.
    """

    needs_change = True

    def __init__(self, threshold: float = 20.0) -> None:
        if not threshold > 0:
            raise ValueError(f'threshold must be above 0, got {threshold!r}')
        self.threshold = threshold

    def decide(
        self, number: int, objects: int, change: tuple[float, float], history: SaveHistory
    ) -> tuple[bool, SaveHistory]:
        """Decides on a frame; see the base class."""
        saves = history.accumulated + sum(change) > self.threshold
        return self._settled(saves, number, change, history)
