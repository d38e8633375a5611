"""Loops: training that can be resumed within an epoch; validation and test, video by video."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from mmengine.model import is_model_wrapper
from mmengine.runner import EpochBasedTrainLoop, TestLoop, ValLoop
from mmengine.runner.amp import autocast
from torch.utils.data import BatchSampler

from vispropnet.datasets.samplers import VideoSampler
from vispropnet.engine.gpu_memory import explain_lack_of_memory
from vispropnet.engine.inference import VideoRun, frames_at_once
from vispropnet.errors import UserError
from vispropnet.registry import LOOPS


@LOOPS.register_module(name='EpochBasedTrainLoop')
class ResumableTrainLoop(EpochBasedTrainLoop):
    """mmengine's loop, with the same arguments, which can also start in the middle of an epoch.

    Attributes:
        batches_done: Batches of the coming epoch that have been trained on already.
    """

    batches_done = 0

    def run_epoch(self) -> None:
        """Trains for one epoch, or for the rest of one."""
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        first, self.batches_done = self.batches_done, 0
        # An epoch may have been cut after its last batch.
        if first < len(self.dataloader):
            for index, batch in enumerate(self._from(first), first):
                self.run_iter(index, batch)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1

    def _from(self, first: int) -> Iterable[dict]:
        """The batches of the epoch from one on."""
        loader = self.dataloader
        if first and type(loader.batch_sampler) is BatchSampler and hasattr(loader.sampler, 'skip'):
            loader.sampler.skip = first * loader.batch_size
            return loader
        # Others say how batches are made only by making them.
        return itertools.islice(loader, first, None)


class _VideoStepper:
    """Runs the frames of a loader's videos through a model, one video after the other.

    Those of the model's overview come before a video's first frame, as from ``VideoSampler``.
    """

    def __init__(self, model: torch.nn.Module, fp16: bool, batch: int | None) -> None:
        self.model = model.module if is_model_wrapper(model) else model
        self.fp16 = fp16
        parameter = next(self.model.parameters(), torch.zeros(()))
        self.batch = frames_at_once(batch, parameter.device)
        # Of the video that is going; its frames that are still to be looked over.
        self._run: VideoRun | None = None
        self._to_look_over = 0
        # Frames that wait to be encoded, and samples of all that wait for their answers.
        self._frames: list[tuple[torch.Tensor, Any]] = []
        self._samples: deque = deque()

    def __call__(self, batch: dict) -> list:
        """Takes one frame as from the loader.

        Returns:
            Samples of the frames that are answered by now, with ``pred_instances``, and that of a
            video's last frame with ``track_scores`` from models that rate tracks themselves; none
            while frames are gathered or the model waits for later ones.
        """
        if len(batch['data_samples']) != 1:
            raise UserError(
                f'batch_size of the validation and test loaders must be 1 (frames come in order), '
                f'found {len(batch["data_samples"])}. To encode several frames of a video at once, '
                'pass --batch or set batch in test_cfg and val_cfg.'
            )
        sample = batch['data_samples'][0]
        if self._run is None:
            self._run = VideoRun(self.model)
            self._to_look_over = min(self.model.overview, sample.video_length)
            self._frames, self._samples = [], deque()
        self._frames.append((batch['inputs'][0], sample))
        if self._to_look_over:
            self._look_over()
            return []
        self._samples.append(sample)
        ends = sample.frame_id == sample.video_length - 1
        if len(self._frames) < self.batch and not ends:
            return []
        inputs, samples = self._gathered()
        with autocast(enabled=self.fp16):
            objects = [one.get('given_objects') for one in samples]
            answers = list(self._run.answers(inputs, samples, objects))
            if ends:
                answers += self._run.finish()
        outputs = [self._samples.popleft() for _ in answers]
        for output, (_, instances) in zip(outputs, answers, strict=True):
            output.pred_instances = instances
        if ends:
            scores, self._run = self._run.track_scores(), None
            if scores is not None:
                outputs[-1].track_scores = scores
        return outputs

    def _look_over(self) -> None:
        self._to_look_over -= 1
        if len(self._frames) == self.batch or not self._to_look_over:
            with autocast(enabled=self.fp16):
                self._run.look_over(*self._gathered())

    def _gathered(self) -> tuple[Sequence[torch.Tensor], Sequence[Any]]:
        """Inputs and samples of the frames that wait to be encoded, which then wait no more."""
        frames, self._frames = self._frames, []
        return tuple(zip(*frames, strict=True))


class _VideoLoop:
    """Parts shared by validation and test; comes before mmengine's loop among the bases.

    Args:
        runner: As in mmengine's loops, as are ``evaluator`` and ``fp16``.
        dataloader: Gives one frame at a time.
        batch: Frames of a video that are encoded at once; None for 1 on a CPU, 4 on a GPU.
    """

    stage: str  # as in the names of hooks

    def __init__(
        self, runner, dataloader, evaluator, fp16: bool = False, batch: int | None = None
    ) -> None:
        super().__init__(runner, dataloader, evaluator, fp16)
        self.batch = batch

    def run(self) -> dict:
        """Runs all videos of this rank, then evaluates those of all ranks."""
        self.stepper = _VideoStepper(self.runner.model, self.fp16, self.batch)
        self._ask_for_overview(self.stepper.model.overview)
        return super().run()

    def _ask_for_overview(self, count: int) -> None:
        sampler = self.dataloader.sampler
        if isinstance(sampler, VideoSampler):
            sampler.overview = count
        elif count:
            raise UserError(
                f'the model looks over {count} frames of a video before its first one, so the '
                "sampler of validation and test must be dict(type='VideoSampler'), found a "
                f'{type(sampler).__name__}.'
            )

    @torch.no_grad()
    @explain_lack_of_memory()
    def run_iter(self, idx: int, data_batch: dict) -> None:
        """Takes one frame, and hands on those that are answered by now."""
        at = dict(batch_idx=idx, data_batch=data_batch)
        self.runner.call_hook(f'before_{self.stage}_iter', **at)
        outputs = self.stepper(data_batch)
        if outputs:
            self.evaluator.process(data_samples=outputs, data_batch=data_batch)
        self.runner.call_hook(f'after_{self.stage}_iter', outputs=outputs, **at)


@LOOPS.register_module()
class VideoValLoop(_VideoLoop, ValLoop):
    """Validation of a model that goes through videos frame by frame."""

    stage = 'val'


@LOOPS.register_module()
class VideoTestLoop(_VideoLoop, TestLoop):
    """Test of a model that goes through videos frame by frame."""

    stage = 'test'
