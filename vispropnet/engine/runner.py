"""mmengine's runner, with checkpoints read as data and ranks that need no GPU."""

from __future__ import annotations

import os
from collections.abc import Callable

import torch
from mmengine.device import get_device
from mmengine.dist import is_distributed
from mmengine.model import MMDistributedDataParallel, is_model_wrapper
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from torch import nn
from torch.optim import Optimizer

from vispropnet.engine.acceleration import Acceleration
from vispropnet.engine.checkpoint import load_weights, read_checkpoint
from vispropnet.engine.legacy_checkpoint import other_conventions
from vispropnet.registry import RUNNERS


@RUNNERS.register_module()
class VISRunner(Runner):
    """Runs training, validation and test of a config.

    The arguments are those of ``mmengine.runner.Runner``. In the config, ``load_from`` names
    weights to start from (what does not fit is reported and starts fresh),
    ``trust_checkpoint=True`` allows checkpoints that run code while they are read, and
    ``acceleration`` says what makes training faster, see
    :class:`~vispropnet.engine.acceleration.Acceleration`; validation and test do without it.

    Attributes:
        loaded_classes: Category names that the loaded checkpoint was trained with, if it says so.
    """

    loaded_classes: tuple[str, ...] | None = None

    def setup_env(self, env_cfg: dict) -> None:
        """Sets up processes. Ranks without GPUs talk through gloo, as mmengine's cannot."""
        on_cpu = self.launcher == 'pytorch' and not torch.cuda.is_available()
        if on_cpu and not is_distributed():
            torch.distributed.init_process_group('gloo')
        super().setup_env(env_cfg)

    @property
    def acceleration(self) -> Acceleration:
        """What makes training faster.

        Raises:
            UserError: if the config asks for what there is not.
        """
        return Acceleration.from_config(self.cfg.get('acceleration'))

    def build_optim_wrapper(self, optim_wrapper: Optimizer | OptimWrapper | dict) -> OptimWrapper:
        """Builds optimiser and wrapper, for the precision that ``acceleration`` chooses."""
        if isinstance(optim_wrapper, dict):
            optim_wrapper = self.acceleration.optim_wrapper(optim_wrapper)
        return super().build_optim_wrapper(optim_wrapper)

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        """Wraps the model when there are ranks; mmengine's way needs a GPU for each."""
        if self._train_loop is not None:
            self.acceleration.check(get_device())
            self.acceleration.prepare(model)
        if self.distributed and model_wrapper_cfg is None and not torch.cuda.is_available():
            return MMDistributedDataParallel(
                module=model,
                broadcast_buffers=False,
                find_unused_parameters=self.cfg.get('find_unused_parameters', False),
            )
        return super().wrap_model(model_wrapper_cfg, model)

    def load_checkpoint(
        self,
        filename: str,
        map_location: str | Callable = 'cpu',
        strict: bool | None = None,
        revise_keys: list | None = None,
    ) -> dict:
        """Loads weights into the model.

        Args:
            filename: File or URL.
            map_location: As in :func:`torch.load`.
            strict: Whether everything has to fit; by default it has to when resuming and testing,
                and need not when training starts from ``load_from``.
            revise_keys: Unused, as keys are not rewritten while they are read.

        Returns:
            The checkpoint.

        Raises:
            UserError: see :mod:`vispropnet.engine.checkpoint`.
        """
        checkpoint = read_checkpoint(
            filename, map_location, trust=self.cfg.get('trust_checkpoint', False)
        )
        self.call_hook('after_load_checkpoint', checkpoint=checkpoint)
        if strict is None:
            strict = self._resume or self._train_loop is None
        model = self.model.module if is_model_wrapper(self.model) else self.model
        report = load_weights(model, checkpoint, os.fspath(filename), strict)
        self._has_loaded = True
        dataset = (checkpoint.get('meta') or {}).get('dataset_meta') or {}
        self.loaded_classes = dataset.get('classes')
        warning = other_conventions(checkpoint, self.cfg.model)
        if warning:
            self.logger.warning(f'{filename}: {warning}')
        if report.complete:
            self.logger.info(f'Loaded {filename}: {report}')
        else:
            self.logger.warning(f'Loaded {filename} in part; the rest starts fresh:\n{report}')
        return checkpoint
