"""mmengine's runner, with checkpoints read as data and ranks that need no GPU."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import torch
from mmengine.device import get_device
from mmengine.dist import get_world_size, is_distributed, master_only
from mmengine.model import MMDistributedDataParallel, is_model_wrapper
from mmengine.optim import OptimWrapper
from mmengine.runner import BaseLoop, Runner
from torch import nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from vispropnet.datasets.categories import use_classes
from vispropnet.engine.acceleration import Acceleration
from vispropnet.engine.checkpoints.legacy import other_conventions
from vispropnet.engine.checkpoints.pretrained import PretrainedPart
from vispropnet.engine.checkpoints.reading import (
    read_checkpoint,
    sync_and_check,
    trained_classes,
)
from vispropnet.engine.checkpoints.resuming import check_kinds, check_optimizer, sound_state
from vispropnet.engine.checkpoints.weights import load_weights
from vispropnet.engine.gpu_memory import explain_lack_of_memory
from vispropnet.engine.hooks.interrupt import InterruptHook, spare_workers
from vispropnet.errors import UserError
from vispropnet.fileio import atomic_path
from vispropnet.registry import RUNNERS
from vispropnet.text import first_of


@RUNNERS.register_module()
class VISRunner(Runner):
    """Runs training, validation and test of a config.

    The arguments are those of ``mmengine.runner.Runner``. In the config, ``load_from`` names
    weights to start from (what does not fit is reported and starts fresh),
    ``trust_checkpoint=True`` allows checkpoints that run code while they are read, and
    ``acceleration`` has options of :class:`~vispropnet.engine.acceleration.Acceleration`, which
    validation and test do without.

    Attributes:
        loaded_classes: Category names that the loaded checkpoint was trained with, if it says so.
        validation_due: Whether the validation after the last epoch was interrupted.
    """

    loaded_classes: tuple[str, ...] | None = None
    validation_due = False
    _loaded_meta: dict = {}  # noqa: RUF012 (never changed in place)
    _loaded_schedules = 0
    _started: Counter[str] = Counter()  # runs of this process, by the second

    def setup_env(self, env_cfg: dict) -> None:
        """Sets up processes. Ranks without GPUs talk through gloo, as mmengine's cannot."""
        on_cpu = self.launcher == 'pytorch' and not torch.cuda.is_available()
        if on_cpu and not is_distributed():
            seconds = (env_cfg.get('dist_cfg') or {}).get('timeout')
            timeout = None if seconds is None else timedelta(seconds=seconds)
            torch.distributed.init_process_group('gloo', timeout=timeout)
        super().setup_env(env_cfg)
        # Runs that start in the same second would have one name, and with it one logger, message
        # hub and visualizer: the second one would log into the folder of the first.
        self._started[self._timestamp] += 1
        if self._started[self._timestamp] > 1:
            self._timestamp += f'_{self._started[self._timestamp]}'

    @property
    def acceleration(self) -> Acceleration:
        """Options of the config that make training faster; raises a UserError for unknown ones."""
        return Acceleration.from_config(self.cfg.get('acceleration'))

    def build_optim_wrapper(self, optim_wrapper: Optimizer | OptimWrapper | dict) -> OptimWrapper:
        """Builds optimizer and wrapper, for the precision that ``acceleration`` chooses."""
        if isinstance(optim_wrapper, dict):
            optim_wrapper = self.acceleration.optim_wrapper(optim_wrapper)
        return super().build_optim_wrapper(optim_wrapper)

    @explain_lack_of_memory()
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
        self, filename: str, map_location='cpu', strict: bool | None = None, revise_keys=None
    ) -> dict:
        """Loads weights into the model; arguments are mmengine's, ``revise_keys`` is not used.

        By default everything has to fit when resuming and testing, and need not when training
        starts from ``load_from``.

        Raises:
            UserError: see :mod:`vispropnet.engine.checkpoints`.
        """
        trust = self.cfg.get('trust_checkpoint', False)
        checkpoint = read_checkpoint(filename, map_location, trust)
        if self._resume:
            with _naming(filename):
                checkpoint = sound_state(checkpoint)
        self.call_hook('after_load_checkpoint', checkpoint=checkpoint)
        if strict is None:
            strict = self._resume or self._train_loop is None
        model = self.model.module if is_model_wrapper(self.model) else self.model
        report = load_weights(model, checkpoint, os.fspath(filename), strict)
        self._has_loaded = True
        self._loaded_meta = checkpoint.get('meta') or {}
        self._loaded_schedules = len(checkpoint.get('param_schedulers') or ())
        self.loaded_classes = trained_classes(checkpoint)
        if isinstance(self._train_loop, BaseLoop):
            self._follow_labels_of(os.fspath(filename))
        if warning := other_conventions(checkpoint, self.cfg.model):
            self.logger.warning(f'{filename}: {warning}')
        if report.complete:
            self.logger.info(f'Loaded {filename}: {report}')
        else:
            self.logger.warning(f'Loaded {filename} in part; the rest starts fresh:\n{report}')
        return checkpoint

    def _follow_labels_of(self, filename: str) -> None:
        """Has the data give the labels of the loaded checkpoint, if its categories are the same."""
        theirs, dataset = self.loaded_classes, self._train_loop.dataloader.dataset
        ours = getattr(dataset, 'metainfo', {}).get('classes')
        if None in (theirs, ours) or theirs == ours:
            return
        if set(theirs) == set(ours):
            self.logger.info(f'labels are in the order of {filename}: {", ".join(theirs)}')
            use_classes(dataset, theirs)
            if isinstance(self._val_loop, BaseLoop):
                use_classes(self._val_loop.dataloader.dataset, theirs)
            return
        text = (
            f'checkpoint {filename} was trained on other categories ({first_of(theirs, 10)}) than '
            f'the data have ({first_of(ours, 10)})'
        )
        if self._resume:
            raise UserError(f'{text}: its training cannot be resumed with them.')
        if len(theirs) == len(ours):
            self.logger.warning(f'{text}: the layers that tell categories start from those.')

    def resume(
        self,
        filename: str,
        resume_optimizer: bool = True,
        resume_param_scheduler: bool = True,
        map_location: str | Callable = 'cpu',
    ) -> None:
        """Resumes from a checkpoint, also from one that was written in the middle of an epoch.

        The arguments are mmengine's. Read onto the CPU, a checkpoint takes no memory of a GPU that
        has the model already.

        Raises:
            UserError: if training cannot be resumed from it.
        """
        self._resume = True
        fresh = [dict(group) for group in self.optim_wrapper.optimizer.param_groups]
        wanted = resume_param_scheduler and isinstance(self.param_schedulers, list)
        schedules = [(one, one.state_dict()) for one in self.param_schedulers] if wanted else []
        with _naming(filename):
            super().resume(filename, resume_optimizer, resume_param_scheduler, map_location)
            check_optimizer(self.optim_wrapper.optimizer, fresh)
            if wanted and self._loaded_schedules != len(schedules):
                found = f'it has {self._loaded_schedules} schedules'
                raise UserError(f'{found}, the config has {len(schedules)}')
            for one, state in schedules:
                check_kinds(type(one).__name__, state, one.state_dict())
        loop, meta = self.train_loop, self._loaded_meta
        self.validation_due = bool(meta.get('validation_due', False))
        done = meta.get('batches_done', 0)
        if not done:
            return
        sizes = [meta['batch_size'], meta['world_size']]
        now = [loop.dataloader.batch_sampler.batch_size, get_world_size()]
        if sizes != now:
            self.logger.warning(
                f'{filename} was written in the middle of an epoch, with batches of {sizes[0]} on '
                f'{sizes[1]} ranks; with {now[0]} on {now[1]} the epoch starts again.'
            )
            return
        if done > len(loop.dataloader):
            raise UserError(
                f'checkpoint {filename}: {done} batches of an epoch are done, but an epoch of this '
                f'data set has {len(loop.dataloader)}. Is it of other data?'
            )
        loop.batches_done = done
        self.logger.info(f'the epoch is resumed after {done} of {len(loop.dataloader)} batches')

    @staticmethod
    def build_dataloader(
        dataloader: DataLoader | dict, seed: int | None = None, diff_rank_seed: bool = False
    ) -> DataLoader:
        """Builds a loader whose workers end when training does."""
        loader = Runner.build_dataloader(dataloader, seed, diff_rank_seed)
        if loader is not dataloader:
            spare_workers(loader)
        return loader

    @master_only
    def save_checkpoint(
        self,
        out_dir: str,
        filename: str,
        file_client_args: dict | None = None,
        save_optimizer: bool = True,
        save_param_scheduler: bool = True,
        meta: dict | None = None,
        by_epoch: bool = True,
        backend_args: dict | None = None,
    ) -> None:
        """Saves a checkpoint, whole or not at all: beside its place, read back, then renamed.

        The arguments are mmengine's, but for those of other file systems, which are not supported.

        Raises:
            UserError: if it cannot be written, or does not read back.
        """
        if file_client_args or backend_args:
            raise UserError('checkpoints are written to folders of this machine only.')
        path = Path(out_dir, filename)
        try:
            with atomic_path(path) as temporary:
                kept = dict(
                    save_optimizer=save_optimizer, save_param_scheduler=save_param_scheduler
                )
                folder, name = str(temporary.parent), temporary.name
                super().save_checkpoint(folder, name, meta=meta, by_epoch=by_epoch, **kept)
                sync_and_check(temporary)
        except OSError as error:
            raise UserError(
                f'the checkpoint {path} cannot be written: {error}. Those before it are as they '
                'were: with room on the disk, --resume starts from the newest.'
            ) from error

    def train(self) -> nn.Module:
        """Trains; however it ends, the handlers of signals are restored."""
        try:
            with explain_lack_of_memory(
                'Lower train_dataloader.batch_size or the scale of the training frames, or pass '
                '--amp. Checkpoints are as they were: --resume starts from the newest.'
            ):
                return super().train()
        finally:
            for hook in self._hooks:
                if isinstance(hook, InterruptHook):
                    hook.release()

    def _init_model_weights(self) -> None:
        PretrainedPart.trust = self.cfg.get('trust_checkpoint', False)
        super()._init_model_weights()

    def build_train_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        """Builds the training loop; one by epochs can be resumed in the middle of an epoch."""
        if isinstance(loop, dict) and 'type' not in loop and loop.get('by_epoch', True):
            options = {key: value for key, value in loop.items() if key != 'by_epoch'}
            loop = dict(options, type='EpochBasedTrainLoop')
        return super().build_train_loop(loop)


# What mmengine and torch raise for a state that does not fit.
_MISFITS = (LookupError, AttributeError, ValueError, TypeError, AssertionError, OverflowError)


@contextlib.contextmanager
def _naming(filename: str) -> Iterator[None]:
    """Turns what a state that does not fit raises into an error that names the file."""
    try:
        yield
    except (UserError, *_MISFITS) as error:
        words = str(error)
        if isinstance(error, KeyError):
            words = f'it has no {error}'
        elif not isinstance(error, UserError):
            words = f'{type(error).__name__}: {error}'
        if words.startswith('checkpoint '):
            raise
        raise UserError(
            f'checkpoint {filename}: training cannot be resumed from it ({words}). To start from '
            'its weights alone: --cfg-options load_from=FILE.'
        ) from error
