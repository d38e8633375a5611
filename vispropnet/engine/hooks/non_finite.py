"""Guard against losses and gradients that are not finite: stops or skips, and reports."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from mmengine.dist import all_gather_object, all_reduce, get_rank, get_world_size
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper
from torch import Tensor, nn

from vispropnet.engine.non_finite_dump import save_dump
from vispropnet.errors import Stopped, UserError
from vispropnet.models.data_preprocessor import holds_clips
from vispropnet.registry import HOOKS
from vispropnet.text import first_of

_MOST_DUMPS = 3  # by each rank in a run
_ADVICE = """What may help (--resume starts from the newest checkpoint):
  a lower learning rate: --cfg-options optim_wrapper.optimizer.lr=...
  gradients clipped to a lower norm: optim_wrapper.clip_grad.max_norm=...
  if this trains in fp16, bf16 instead: --amp bf16
  if it is rare, skipping such steps: default_hooks.non_finite.action=skip"""


@HOOKS.register_module(name=['NonFiniteHook', 'BadNumbersHook'])  # the second is its former name
class NonFiniteHook(Hook):
    """Keeps steps with a loss or with gradients that are not finite from the weights.

    Losses and the norm of the gradients are checked together, between the backward pass and the
    optimizer's step: one wait for the device, which clipping needs anyway. Accumulated forward
    passes count as one step. A step that is not finite on one rank is left out by all ranks. In
    fp16 only losses are checked: the loss scaler handles gradients that overflow.

    Normalization statistics are restored, so that after such a step the model is what it was
    before. The model, the batch and the seed go to ``non_finite/iter_N.pth`` (``iter_N_rank_R.pth``
    with several ranks) in the work dir, for
    :func:`~vispropnet.engine.non_finite_dump.reproduce`.

    Args:
        action: ``'stop'`` ends training at the first such step, ``'skip'`` leaves it out.
        max_in_a_row: Number of skipped steps in a row that ends training.

    Raises:
        UserError: for another value.
        Stopped: on all ranks, when training ends.
    """

    def __init__(self, action: str = 'stop', max_in_a_row: int = 10) -> None:
        if action not in ('stop', 'skip'):
            raise UserError(f"NonFiniteHook: action must be 'stop' or 'skip', got {action!r}.")
        if type(max_in_a_row) is not int or max_in_a_row < 1:
            raise UserError(f'NonFiniteHook: max_in_a_row must be 1 or more, got {max_in_a_row!r}.')
        self.action, self.max_in_a_row = action, max_in_a_row

    def before_train(self, runner) -> None:
        """Puts the check between the backward pass and the optimizer's step."""
        wrapper = runner.optim_wrapper
        if not isinstance(wrapper, OptimWrapper):
            kind = type(wrapper).__name__
            raise UserError(f'NonFiniteHook: needs one OptimWrapper, found a {kind}.')
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        self._runner, self._wrapper, self._model = runner, wrapper, model
        self._skipped = self._in_a_row = self._dumps = 0
        self._passes: list[dict[str, Any]] = []
        self._buffers = list(model.buffers())
        self._saved_buffers = [buffer.clone() for buffer in self._buffers]
        # A loss scaler unscales gradients before they are clipped.
        self._scaled = hasattr(wrapper, 'loss_scaler')
        clips_norm = wrapper.clip_grad_kwargs and wrapper.clip_func is nn.utils.clip_grad_norm_
        self._clips_norm = bool(clips_norm) and not self._scaled
        self._parse_losses, model.parse_losses = model.parse_losses, self._keep_terms
        self._step = wrapper.step
        # Schedulers look for the mark that they left on the method.
        wrapper.step = functools.wraps(self._step)(functools.partial(self._guarded_step))
        if self._clips_norm:
            wrapper.clip_func = self._clip

    def after_train(self, runner) -> None:
        """Removes the check, and logs how many steps were skipped."""
        # The methods of the classes reappear.
        del self._model.parse_losses, self._wrapper.step
        if self._clips_norm:
            self._wrapper.clip_func = nn.utils.clip_grad_norm_
        if self._skipped:
            runner.logger.warning(f'skipped steps with non-finite values: {self._skipped}')

    @torch.no_grad()
    def before_train_iter(self, runner, batch_idx: int, data_batch: Any = None) -> None:
        """Notes the iteration and its batch, and saves the normalization statistics."""
        self._now = dict(epoch=runner.epoch, iteration=runner.iter, batch=data_batch)
        if self._buffers and not self._passes:
            torch._foreach_copy_(self._saved_buffers, self._buffers)

    def _keep_terms(self, losses: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        loss, terms = self._parse_losses(losses)
        detached = {name: value.detach() for name, value in terms.items()}
        self._passes.append(dict(self._now, terms=detached))
        return loss, terms

    @torch.no_grad()
    def _guarded_step(self, **kwargs: Any) -> None:
        passes, self._passes = self._passes, []
        kind, blamed = self._check(passes)
        if kind is None:
            self._in_a_row = 0
            self._step(**kwargs)
            return
        if self._buffers:
            torch._foreach_copy_(self._buffers, self._saved_buffers)
        reports = all_gather_object(self._report(kind, blamed) if blamed else None)
        report = '\n'.join(one for one in reports if one is not None)
        self._in_a_row += 1
        if self.action == 'skip' and self._in_a_row < self.max_in_a_row:
            self._skipped += 1
            self._runner.logger.warning(f'step skipped: {report}')
            return
        row = f' ({self._in_a_row} steps in a row)' if self._in_a_row > 1 else ''
        self._runner.visualizer.close()
        text = f'training stopped at non-finite values{row}: {report}\n{_ADVICE}'
        raise Stopped(text, status=2)

    def _check(self, passes: list[dict[str, Any]]) -> tuple[str | None, list[dict[str, Any]]]:
        """Gives what is not finite (None if all is), and the passes of this rank to blame."""
        losses = torch.stack([one['terms']['loss'] for one in passes])
        own, norm = ~torch.isfinite(losses), torch.zeros((), device=losses.device)
        weights = (one for group in self._wrapper.optimizer.param_groups for one in group['params'])
        gradients = [one.grad for one in weights if one.grad is not None]
        if gradients and not self._scaled:
            kwargs = self._wrapper.clip_grad_kwargs if self._clips_norm else {}
            norm = _norm_of_all(gradients, float(kwargs.get('norm_type', 2.0)))
        anywhere = torch.stack([own.any(), ~torch.isfinite(norm)]).float()
        if get_world_size() > 1:
            all_reduce(anywhere, 'max')
        # The one wait for the device.
        *flags, loss, gradient, value = torch.cat([own.float(), anywhere, norm[None]]).tolist()
        self._norm = norm, value
        if loss:
            # The first one; later passes used the same weights.
            return 'loss', [one for one, flag in zip(passes, flags, strict=True) if flag][:1]
        return ('gradient', passes) if gradient else (None, [])

    def _clip(self, parameters: Iterable[Tensor], max_norm: float, **_known: Any) -> float:
        """Clips as ``torch.nn.utils.clip_grad_norm_`` does, by the norm that is known already."""
        norm, value = self._norm
        scale = (max_norm / (norm + 1e-6)).clamp(max=1.0)
        torch._foreach_mul_([one.grad for one in parameters], scale)
        return value

    def _report(self, kind: str, passes: list[dict[str, Any]]) -> str:
        """Describes what this rank found, and writes the dump."""
        rank = f'rank {get_rank()}: ' if get_world_size() > 1 else ''
        what = 'the loss' if kind == 'loss' else 'the norm of the gradients'
        epoch, iteration = passes[0]['epoch'] + 1, passes[0]['iteration'] + 1
        lines = [f'{rank}{what} is not finite in epoch {epoch}, at iteration {iteration}.']
        for name, value in passes[0]['terms'].items():
            mark = '' if math.isfinite(value) else '  <- not finite'
            lines.append(f'  {name} = {float(value):.6g}{mark}')
        if kind == 'gradient':
            names = _non_finite({key: one.grad for key, one in self._model.named_parameters()})
            finite = 'each gradient is finite, but their norm is too large for a float32'
            lines.append(
                f'  non-finite gradients: {first_of(names, 5)}' if names else f'  {finite}'
            )
        if names := _non_finite(self._model.state_dict()):
            lines.append(f'  weights that were not finite before this step: {first_of(names, 5)}')
        if samples := [line for one in passes for line in sample_lines(one['batch'])]:
            lines.append(f'  samples:\n    {first_of(samples, 8, chr(10) + 4 * " ")}')
        return '\n'.join([*lines, f'  {self._dump(passes)}'])

    def _dump(self, passes: list[dict[str, Any]]) -> str:
        """Writes the dump, and describes where it is or why there is none."""
        if self._dumps == _MOST_DUMPS:
            return f'no dump: {_MOST_DUMPS} have been written.'
        self._dumps += 1
        try:
            path = save_dump(self._runner, self._model, passes, fp16=self._scaled)
        except Exception as error:  # of any kind: it must not hide what went wrong in training
            return f'no dump: {error}'
        return f'dump: {path} (run it again: vispropnet.engine.non_finite_dump.reproduce)'


def _non_finite(tensors: Mapping[str, Tensor | None]) -> list[str]:
    """Names of the tensors that hold NaN or infinity; None is skipped."""
    given = ((name, value) for name, value in tensors.items() if value is not None)
    return [name for name, value in given if not torch.isfinite(value).all()]


def _norm_of_all(tensors: Sequence[Tensor], norm_type: float = 2.0) -> Tensor:
    """Norm of all tensors together, to the bit as ``clip_grad_norm_`` computes it."""
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(tensors, norm_type)), norm_type)


def sample_lines(batch: Any) -> list[str]:
    """A line for each sample or clip; data loaders give clips as a list for each position."""
    samples = batch.get('data_samples') if isinstance(batch, Mapping) else None
    if not holds_clips(samples):
        return [_frame(one) for one in samples or ()]
    return ['key ' + '; reference '.join(map(_frame, clip)) for clip in zip(*samples, strict=True)]


def _frame(sample: Any) -> str:
    found = sample.metainfo
    place = f'frame {found.get("frame_id", "?")} of video {found.get("video_id", "?")}'
    return f'{place} ({found["img_path"]})' if found.get('img_path') else place
