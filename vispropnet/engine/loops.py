"""Validation and test, frame by frame through ``step()``."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.model import is_model_wrapper
from mmengine.runner import TestLoop, ValLoop
from mmengine.runner.amp import autocast

from vispropnet.errors import UserError
from vispropnet.registry import LOOPS


class _VideoStepper:
    """Runs the frames of a loader's videos through a detector, one video after the other."""

    def __init__(self, model: torch.nn.Module, fp16: bool) -> None:
        self.model = model.module if is_model_wrapper(model) else model
        self.fp16 = fp16
        self.state: Any = None

    @torch.no_grad()
    def __call__(self, batch: dict) -> list:
        """Segments one frame.

        Args:
            batch: ``inputs`` and ``data_samples`` of one frame.

        Returns:
            The frame's sample with ``pred_instances``, in a list.
        """
        batch = self.model.data_preprocessor(batch, False)
        if len(batch['data_samples']) != 1:
            raise UserError(
                f'batch_size of the validation and test loaders must be 1 (frames come in order), '
                f'found {len(batch["data_samples"])}.'
            )
        sample = batch['data_samples'][0]
        if sample.frame_id == 0:
            self.state = self.model.init_state()
        with autocast(enabled=self.fp16):
            sample.pred_instances, self.state = self.model.step(
                batch['inputs'][0], sample.metainfo, self.state
            )
        return [sample]


@LOOPS.register_module()
class VideoValLoop(ValLoop):
    """Validation of a detector that goes frame by frame; arguments as mmengine's ``ValLoop``."""

    def run(self) -> dict:
        """Runs all videos of this rank, then evaluates those of all ranks."""
        self.stepper = _VideoStepper(self.runner.model, self.fp16)
        return super().run()

    @torch.no_grad()
    def run_iter(self, idx: int, data_batch: dict) -> None:
        """Runs one frame."""
        self.runner.call_hook('before_val_iter', batch_idx=idx, data_batch=data_batch)
        outputs = self.stepper(data_batch)
        self.evaluator.process(data_samples=outputs, data_batch=data_batch)
        self.runner.call_hook(
            'after_val_iter', batch_idx=idx, data_batch=data_batch, outputs=outputs
        )


@LOOPS.register_module()
class VideoTestLoop(TestLoop):
    """Test of a detector that goes frame by frame; arguments as mmengine's ``TestLoop``."""

    def run(self) -> dict:
        """Runs all videos of this rank, then evaluates those of all ranks."""
        self.stepper = _VideoStepper(self.runner.model, self.fp16)
        return super().run()

    @torch.no_grad()
    def run_iter(self, idx: int, data_batch: dict) -> None:
        """Runs one frame."""
        self.runner.call_hook('before_test_iter', batch_idx=idx, data_batch=data_batch)
        outputs = self.stepper(data_batch)
        self.evaluator.process(data_samples=outputs, data_batch=data_batch)
        self.runner.call_hook(
            'after_test_iter', batch_idx=idx, data_batch=data_batch, outputs=outputs
        )
