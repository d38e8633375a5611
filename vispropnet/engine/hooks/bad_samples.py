"""Logs and counts the frames that a data set left out, over all workers and ranks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mmengine.dist import all_gather_object
from mmengine.hooks import Hook

from vispropnet.datasets.bad_frames import METAINFO_KEY, too_many
from vispropnet.models.data_preprocessor import holds_clips
from vispropnet.registry import HOOKS


@HOOKS.register_module()
class BadSampleHook(Hook):
    """Logs each frame that training could not use once, and ends training when there are too many.

    Data sets with ``on_bad_sample='skip'`` note on the samples what they left out
    (:class:`~vispropnet.datasets.bad_frames.BadFrames`). Notes are gathered from all ranks after
    each epoch. A resumed run counts from 0.

    Raises:
        UserError: if more frames are bad than the data set allows.
    """

    def __init__(self) -> None:
        # By annotation file, then by number of the frame.
        self._found: dict[str, dict[int, dict[str, Any]]] = {}

    def before_train_iter(self, runner, batch_idx: int, data_batch: dict | None = None) -> None:
        """Collects the notes of the samples of a batch; each new frame is logged."""
        samples = data_batch.get('data_samples') if isinstance(data_batch, dict) else None
        # The first of a clip is the key frame, whose sample has the notes.
        for sample in samples[0] if holds_clips(samples) else ():
            self._take(runner, sample.get(METAINFO_KEY, ()))

    def after_train_epoch(self, runner) -> None:
        """Gathers what the ranks found."""
        own = [one for frames in self._found.values() for one in frames.values()]
        for found in all_gather_object(own):
            self._take(runner, found)

    def after_train(self, runner) -> None:
        """Logs how many frames were left out."""
        for file, frames in self._found.items():
            total = next(iter(frames.values()))['frames']
            runner.logger.warning(
                f'{len(frames)} of {total} frames of {file} could not be used in this training.'
            )

    def _take(self, runner, found: Iterable[dict[str, Any]]) -> None:
        for one in found:
            frames = self._found.setdefault(one['file'], {})
            if one['frame'] in frames:
                continue
            frames[one['frame']] = one
            runner.logger.warning(
                f'bad frame left out ({len(frames)} so far; max_bad_fraction allows '
                f'{one["limit"]} of {one["frames"]}): {one["message"]}'
            )
            if len(frames) > one['limit']:
                messages = [known['message'] for known in frames.values()]
                raise too_many(one['file'], one['frames'], one['limit'], messages)
