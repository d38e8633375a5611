"""Frames that cannot be used: one error that names them, and how many a data set may have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vispropnet.errors import UserError
from vispropnet.text import first_of

# Key of a training sample's meta information: what was left out on the way to it.
METAINFO_KEY = 'bad_frames'
_MOST_LISTED = 5


class BadFrameError(UserError):
    """A frame cannot be read, or what is annotated in it cannot be used."""


def frame_name(info: Mapping[str, Any]) -> str:
    """Names a frame (from ``YouTubeVIS.get_data_info``) by its place, its video's id and file."""
    return f'frame {info["frame_id"]} of video {info["video_id"]} ({info["img_path"]})'


def too_many(file: str, frames: int, limit: int, messages: Sequence[str]) -> UserError:
    """Makes the error for an annotation file with more bad frames than the limit.

    Of the messages, one for each bad frame found, it has the first few.
    """
    return UserError(
        f'annotation file {file}: {len(messages)} of {frames} frames turned out bad so far; '
        f'max_bad_fraction allows {limit}:\n{_lines(messages)}'
        'Mend them (tools/check_data.py CONFIG --deep lists all), or allow more with '
        'train_dataloader.dataset.max_bad_fraction.'
    )


def with_advice(error: BadFrameError, test_mode: bool) -> BadFrameError:
    """Adds advice to an error; in validation and test no frame can be left out."""
    advice = 'Mend the file (tools/check_data.py CONFIG --deep lists all such files)'
    if not test_mode:
        advice += (
            ', or train on other samples instead: --cfg-options '
            'train_dataloader.dataset.on_bad_sample=skip'
        )
    return BadFrameError(f'{error}\n{advice}.')


class BadFrames(dict[int, str]):
    """The bad frames met on the way to one sample: what is wrong with each, by its number.

    Args:
        file: The annotation file.
        frames: How many frames the data set has.
        max_fraction: What part of them may be bad; one may always be.
        skip: Whether they are left out; otherwise the first one is an error.
    """

    def __init__(self, file: str, frames: int, max_fraction: float, skip: bool) -> None:
        super().__init__()
        self._file, self._frames, self._skip = file, frames, skip
        self._limit = max(1, int(max_fraction * frames))

    def add(self, frame: int, error: BadFrameError) -> None:
        """Takes in a bad frame by its number; a ``UserError`` if no more may be left out."""
        if not self._skip:
            raise with_advice(error, test_mode=False) from None
        self[frame] = str(error)
        if len(self) > self._limit:
            messages = list(self.values())
            raise too_many(self._file, self._frames, self._limit, messages) from None

    def nothing_left(self) -> UserError:
        """Makes the error for a data set without a sample that can be used."""
        return UserError(
            f'annotation file {self._file}: none of its frames can be trained on:\n'
            f'{_lines(self.values())}'
            'Mend them (tools/check_data.py CONFIG --deep lists all).'
        )

    def note(self, sample: Any) -> None:
        """Notes on a key frame's ``DetDataSample`` which frames were left out.

        The main process learns of them this way
        (:class:`~vispropnet.engine.hooks.bad_samples.BadSampleHook`).
        """
        known = dict(file=self._file, frames=self._frames, limit=self._limit)
        found = [dict(known, frame=frame, message=message) for frame, message in self.items()]
        sample.set_metainfo({METAINFO_KEY: found})


def _lines(messages: Iterable[str]) -> str:
    return f'  {first_of(messages, _MOST_LISTED, chr(10) + "  ")}\n'
