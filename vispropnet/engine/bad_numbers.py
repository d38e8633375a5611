"""Numbers that are not finite: they stop training before they reach the weights."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from mmengine.dist import all_gather_object, all_reduce, get_rank, get_world_size
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper
from torch import Tensor

from vispropnet.engine.acceleration import BFloat16OptimWrapper
from vispropnet.engine.bad_numbers_dump import (
    Pass,
    non_finite_keys,
    norm_of_all,
    reproduce,
    save_dump,
)
from vispropnet.engine.bad_numbers_report import advice, describe
from vispropnet.errors import Stopped, UserError
from vispropnet.registry import HOOKS

__all__ = ['BadNumbersHook', 'reproduce']


@HOOKS.register_module()
class BadNumbersHook(Hook):
    """Keeps steps with a loss or with gradients that are not finite from the weights.

    Losses and the norm of the gradients are judged together, when the gradients are complete and
    before the optimiser takes its step: one wait for the device, which clipping the gradients takes
    anyway. Where gradients are accumulated, all their forward passes are one step. All ranks do the
    same: a step is bad for all of them if it is for one.

    In fp16, gradients that overflow are the loss scaler's to mend, and only losses are judged.

    Statistics of the normalisation, which a bad forward pass spoils, are put back. So what is left
    after a bad step is the model before it; that, the batch and the seed go to a dump,
    ``bad_numbers/iter_N.pth`` in the work dir, for :func:`reproduce`.

    Args:
        action: ``'stop'`` to end training at the first bad step, ``'skip'`` to leave it out and go
            on.
        max_in_a_row: So many bad steps one after the other end training that skips them, too.
        max_dumps: So many dumps, at most, are written by each rank in a run.

    Raises:
        UserError: for a value that there is not.
        Stopped: by all ranks, when training ends.
    """

    def __init__(self, action: str = 'stop', max_in_a_row: int = 10, max_dumps: int = 3) -> None:
        if action not in ('stop', 'skip'):
            raise UserError(f"BadNumbersHook: action must be 'stop' or 'skip', got {action!r}.")
        for name, value, least in (('max_in_a_row', max_in_a_row, 1), ('max_dumps', max_dumps, 0)):
            if type(value) is not int or value < least:
                raise UserError(
                    f'BadNumbersHook: {name} must be a whole number of at least {least}, got '
                    f'{value!r}.'
                )
        self.action = action
        self.max_in_a_row = max_in_a_row
        self.max_dumps = max_dumps
        self.skipped = self._in_a_row = self._dumps = 0
        self._at: tuple[int, int] = (0, 0)
        self._batch: Any = None
        self._passes: list[Pass] = []
        self._norm: tuple[Tensor, float] | None = None

    def before_train(self, runner) -> None:
        """Puts the check between the gradients and the optimiser's step.

        Args:
            runner: Its model and its optimiser's wrapper are watched until training ends.

        Raises:
            UserError: if it trains with several optimisers.
        """
        wrapper = runner.optim_wrapper
        if not isinstance(wrapper, OptimWrapper):
            raise UserError(
                f'BadNumbersHook: needs one OptimWrapper, found a {type(wrapper).__name__}.'
            )
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        self.skipped = self._in_a_row = self._dumps = 0
        self._passes = []
        self._runner, self._wrapper, self._model = runner, wrapper, model
        self._buffers = list(model.buffers())
        self._before = [buffer.clone() for buffer in self._buffers]
        # What scales losses must unscale gradients before they are clipped.
        self._scaled = hasattr(wrapper, 'loss_scaler')
        self._clips_norm = (
            bool(wrapper.clip_grad_kwargs)
            and wrapper.clip_func is torch.nn.utils.clip_grad_norm_
            and not self._scaled
        )
        self._parse_losses, model.parse_losses = model.parse_losses, self._keep_terms
        self._step = wrapper.step
        # Schedules look for the mark that they left on the method.
        wrapper.step = functools.wraps(self._step)(functools.partial(self._guarded_step))
        if self._clips_norm:
            wrapper.clip_func = self._clip

    def after_train(self, runner) -> None:
        """Takes the check away, and says how many steps were left out.

        Args:
            runner: As in :meth:`before_train`.
        """
        # The classes' own are underneath.
        del self._model.parse_losses, self._wrapper.step
        if self._clips_norm:
            self._wrapper.clip_func = torch.nn.utils.clip_grad_norm_
        if self.skipped:
            runner.logger.warning(f'steps with bad numbers that were left out: {self.skipped}')

    @torch.no_grad()
    def before_train_iter(self, runner, batch_idx: int, data_batch: Any = None) -> None:
        """Notes where training is.

        Args:
            runner: The runner.
            batch_idx: Not used.
            data_batch: What the model will be trained on.
        """
        self._at, self._batch = (runner.epoch, runner.iter), data_batch
        if self._buffers and not self._passes:
            torch._foreach_copy_(self._before, self._buffers)

    def _keep_terms(self, losses: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        loss, terms = self._parse_losses(losses)
        detached = {name: value.detach() for name, value in terms.items()}
        self._passes.append(Pass(*self._at, self._batch, detached))
        return loss, terms

    def _guarded_step(self, **kwargs: Any) -> None:
        passes, self._passes = self._passes, []
        kind, bad = self._judge(passes)
        if kind is None:
            self._in_a_row = 0
            self._step(**kwargs)
            return
        if self._buffers:
            with torch.no_grad():
                torch._foreach_copy_(self._buffers, self._before)
        own = self._report(kind, bad) if bad else None
        said = '\n'.join(one for one in all_gather_object(own) if one is not None)
        self._in_a_row += 1
        if self.action == 'skip' and self._in_a_row < self.max_in_a_row:
            self.skipped += 1
            self._runner.logger.warning(f'step left out: {said}')
            return
        row = f' ({self._in_a_row} steps in a row)' if self._in_a_row > 1 else ''
        what = advice(self.action, self._precision, bool(self._wrapper.clip_grad_kwargs))
        self._runner.visualizer.close()
        # All ranks are here: one of them speaks for all.
        raise Stopped(f'training stopped at bad numbers{row}: {said}\n{what}', status=2)

    @torch.no_grad()
    def _judge(self, passes: list[Pass]) -> tuple[str | None, list[Pass]]:
        """What is bad (None for nothing), and which of this rank's passes are to blame."""
        gradients = [one.grad for one in self._parameters() if one.grad is not None]
        losses = torch.stack([one.terms['loss'] for one in passes])
        own = ~torch.isfinite(losses)
        norm = torch.zeros((), device=losses.device)
        if gradients and not self._scaled:
            kwargs = self._wrapper.clip_grad_kwargs if self._clips_norm else {}
            norm = norm_of_all(gradients, float(kwargs.get('norm_type', 2.0)))
        anywhere = torch.stack([own.any(), ~torch.isfinite(norm)]).float()
        if get_world_size() > 1:
            all_reduce(anywhere, 'max')
        # The one wait for the device.
        *flags, loss, gradient, value = torch.cat([own.float(), anywhere, norm[None]]).tolist()
        self._norm = norm, value
        if loss:
            # The first one; later passes saw the same weights.
            return 'loss', [one for one, flag in zip(passes, flags, strict=True) if flag][:1]
        return ('gradient', passes) if gradient else (None, [])

    def _clip(
        self,
        parameters: Iterable[Tensor],
        max_norm: float,
        norm_type: float = 2.0,
        error_if_nonfinite: bool = False,
        foreach: bool | None = None,
    ) -> float:
        """As ``torch.nn.utils.clip_grad_norm_``, with the norm that has been computed."""
        norm, value = self._norm
        scale = (max_norm / (norm + 1e-6)).clamp(max=1.0)
        torch._foreach_mul_([one.grad for one in parameters], scale)
        return value

    def _report(self, kind: str, passes: list[Pass]) -> str:
        """Writes the dump, and says what there is to be said of this rank."""
        gradients = {}
        if kind == 'gradient':
            gradients = {name: one.grad for name, one in self._model.named_parameters()}
        dump = f'no dump: {self.max_dumps} (max_dumps) have been written.'
        if self._dumps < self.max_dumps:
            self._dumps += 1
            try:
                path = save_dump(self._runner, self._model, kind, self._precision, passes)
                dump = f'dump: {path} (see vispropnet.engine.bad_numbers.reproduce)'
            except (OSError, RuntimeError, TypeError, UserError) as error:
                # What went wrong in training matters more than that it cannot be written down.
                dump = f'no dump: {error}'
        return describe(
            kind,
            passes,
            gradients=non_finite_keys(gradients),
            spoilt=non_finite_keys(self._model.state_dict()),
            dump=dump,
            rank=get_rank() if get_world_size() > 1 else None,
        )

    def _parameters(self) -> list[Tensor]:
        groups = self._wrapper.optimizer.param_groups
        return [one for group in groups for one in group['params']]

    @property
    def _precision(self) -> str:
        if self._scaled:
            return 'fp16'
        return 'bf16' if isinstance(self._wrapper, BFloat16OptimWrapper) else 'float32'
