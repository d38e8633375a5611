"""Guard against losses and gradients that are not finite: stops or skips, and dumps the step."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmdet.structures import DetDataSample, bbox, mask
from mmengine.config import Config
from mmengine.dist import all_gather_object, all_reduce, get_rank, get_world_size
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.structures import InstanceData, PixelData
from torch import Tensor, nn

from vispropnet.config import load_config
from vispropnet.datasets.bad_frames import frame_name
from vispropnet.datasets.configured_categories import fill_num_classes
from vispropnet.engine.acceleration import Acceleration
from vispropnet.engine.checkpoints.reading import read_checkpoint
from vispropnet.engine.hooks.iteration_seed import iteration_seed
from vispropnet.errors import Stopped, UserError
from vispropnet.fileio import atomic_path
from vispropnet.models.data_preprocessor import holds_clips
from vispropnet.registry import HOOKS, MODELS
from vispropnet.text import first_of

# Classes of plain data that a batch in a dump may hold besides tensors.
BATCH_CLASSES = (DetDataSample, InstanceData, PixelData, mask.BitmapMasks, bbox.HorizontalBoxes)
BATCH_CLASSES += (bytes, *{type(np.dtype(code)) for code in '?bBhHiIqQfd'})  # of arrays
_FORMAT, _MOST_DUMPS = 2, 3  # of dumps; so many by each rank in a run
_ADVICE = """What may help (--resume starts from the newest checkpoint):
  a lower learning rate: --cfg-options optim_wrapper.optimizer.lr=...
  gradients clipped to a lower norm: optim_wrapper.clip_grad.max_norm=...
  if this trains in fp16, bf16 instead: --amp bf16
  if it is rare, skipping such steps: default_hooks.non_finite.action=skip"""


@HOOKS.register_module(name=['NonFiniteHook', 'BadNumbersHook'])  # the second is its former name
class NonFiniteHook(Hook):
    """Keeps steps with a loss or with gradients that are not finite from the weights.

    Losses and gradient norm are checked in one wait for the device, which clipping and logging need
    anyway; in fp16 only losses, as the loss scaler handles overflow. Accumulated passes are one
    step. All ranks leave out the same steps, and normalization statistics are restored. Model,
    batch and seed go to ``non_finite/iter_N.pth`` (``iter_N_rank_R.pth``) in the work dir: see
    :func:`reproduce`.

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
            raise UserError(f'NonFiniteHook: needs one OptimWrapper, found {wrapper!r:.60}.')
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        self._runner, self._wrapper, self._model = runner, wrapper, model
        self._skipped = self._in_a_row = self._dumps = 0
        self._passes: list[dict[str, Any]] = []
        self._buffers = list(model.buffers())
        self._saved_buffers = [buffer.clone() for buffer in self._buffers]
        # A loss scaler unscales gradients before they are clipped.
        self._fp16 = dict(amp='fp16') if hasattr(wrapper, 'loss_scaler') else {}
        self._by_norm = getattr(wrapper, 'clip_func', None) is nn.utils.clip_grad_norm_
        self._clipping = wrapper.clip_grad_kwargs if self._by_norm and not self._fp16 else {}
        self._parse_losses, model.parse_losses = model.parse_losses, self._keep_terms
        self._step = wrapper.step
        # Schedulers look for the mark that they left on the method.
        wrapper.step = functools.wraps(self._step)(functools.partial(self._guarded_step))
        if self._by_norm:
            wrapper.clip_func = _clip_scaled if self._fp16 else self._clip

    def after_train(self, runner) -> None:
        """Removes the check, and logs how many steps were skipped."""
        del self._model.parse_losses, self._wrapper.step  # the methods of the classes reappear
        if self._by_norm:
            self._wrapper.clip_func = nn.utils.clip_grad_norm_
        if self._skipped:
            runner.logger.warning(f'skipped steps with non-finite values: {self._skipped}')

    def before_train_iter(self, runner, batch_idx: int, data_batch: Any = None) -> None:
        """Notes the iteration and its batch, and saves the normalization statistics."""
        self._now = dict(epoch=runner.epoch, iteration=runner.iter, batch=data_batch)
        if self._buffers and not self._passes:
            torch._foreach_copy_(self._saved_buffers, self._buffers)

    def _keep_terms(self, losses: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        loss, terms = self._parse_losses(losses)
        detached = {name: value.detach() for name, value in terms.items()}
        self._passes.append(dict(self._now, terms=detached))
        self._logged = terms
        return loss, terms

    def _guarded_step(self, **kwargs: Any) -> None:
        passes, self._passes = self._passes, []
        what, blamed = self._check(passes)
        if not what:
            self._in_a_row = 0
            self._step(**kwargs)
            return
        if self._buffers:
            torch._foreach_copy_(self._buffers, self._saved_buffers)
        reports = all_gather_object(self._report(what, blamed) if blamed else '')
        report = '\n'.join(filter(None, reports))
        self._in_a_row += 1
        if self.action == 'skip' and self._in_a_row < self.max_in_a_row:
            self._skipped += 1
            self._runner.logger.warning(f'step skipped: {report}')
            return
        self._runner.visualizer.close()
        row = f' ({self._in_a_row} steps in a row)' if self._in_a_row > 1 else ''
        raise Stopped(f'training stopped at non-finite values{row}: {report}\n{_ADVICE}', status=2)

    def _check(self, passes: list[dict[str, Any]]) -> tuple[str, list[dict[str, Any]]]:
        """Finds what is not finite ('' if all is) and the passes to blame, in one wait.

        What is logged of the last pass comes with it, as numbers in place of its tensors.
        """
        losses = torch.stack([one['terms']['loss'] for one in passes])
        own, norm = ~torch.isfinite(losses), torch.zeros((), device=losses.device)
        weights = (one for group in self._wrapper.optimizer.param_groups for one in group['params'])
        gradients = [one.grad for one in weights if one.grad is not None]
        if gradients and not self._fp16:
            # Of all together, to the bit as clip_grad_norm_ computes it.
            order = float(self._clipping.get('norm_type', 2.0))
            norms = torch._foreach_norm(gradients, order)
            norm = torch.linalg.vector_norm(torch.stack(norms), order)
        anywhere = torch.stack([own.any(), ~torch.isfinite(norm)]).float()
        all_reduce(anywhere, 'max')
        terms = torch.stack(list(passes[-1]['terms'].values()))
        numbers = torch.cat([terms, own, anywhere, norm[None]]).tolist()
        self._logged.update(zip(self._logged, numbers, strict=False))
        *flags, loss, gradient, value = numbers[len(terms) :]
        self._norm = norm, value
        if loss:
            # The first one; later passes used the same weights.
            return 'the loss', [one for one, bad in zip(passes, flags, strict=True) if bad][:1]
        return ('the norm of the gradients', passes) if gradient else ('', [])

    def _clip(self, parameters: Iterable[Tensor], max_norm: float, **_known: Any) -> float:
        """Clips as ``torch.nn.utils.clip_grad_norm_`` does, by the norm that is known already."""
        norm, value = self._norm
        gradients = [one.grad for one in parameters]
        torch._foreach_mul_(gradients, (max_norm / (norm + 1e-6)).clamp(max=1.0))
        return value

    def _report(self, what: str, passes: list[dict[str, Any]]) -> str:
        """Describes what this rank found, and writes the dump."""
        rank = f'rank {get_rank()}: ' if get_world_size() > 1 else ''
        epoch, iteration = passes[0]['epoch'] + 1, passes[0]['iteration'] + 1
        lines = [f'{rank}{what} is not finite in epoch {epoch}, at iteration {iteration}.']
        for name, value in passes[0]['terms'].items():
            mark = '' if math.isfinite(value) else '  <- not finite'
            lines.append(f'  {name} = {float(value):.6g}{mark}')
        if what != 'the loss':
            names = _non_finite((key, one.grad) for key, one in self._model.named_parameters())
            none = 'none: each gradient is finite, but their norm is too large'
            lines.append(f'  non-finite gradients: {first_of(names, 5) or none}')
        if names := _non_finite(self._model.state_dict().items()):
            lines.append(f'  weights that were not finite before this step: {first_of(names, 5)}')
        if samples := [line for one in passes for line in sample_lines(one['batch'])]:
            lines.append(f'  samples:\n    {first_of(samples, 8, chr(10) + 4 * " ")}')
        return '\n'.join([*lines, f'  {self._dump(passes)}'])

    def _dump(self, passes: list[dict[str, Any]]) -> str:
        """Writes what :func:`reproduce` needs, and says where it is or why there is none."""
        if self._dumps == _MOST_DUMPS:
            return f'no dump: {_MOST_DUMPS} have been written.'
        self._dumps += 1
        rank = f'_rank_{get_rank()}' if get_world_size() > 1 else ''
        name = f'non_finite/iter_{passes[0]["iteration"] + 1}{rank}.pth'
        content = dict(format=_FORMAT, passes=passes, state_dict=self._model.state_dict())
        content['acceleration'] = {**(self._runner.cfg.get('acceleration') or {}), **self._fp16}
        run = self._runner.seed, get_rank()
        content['seeds'] = [iteration_seed(*run, one['iteration']) for one in passes]
        try:
            with atomic_path(Path(self._runner.work_dir, name)) as temporary:
                torch.save(content, temporary)
        except Exception as error:  # of any kind: it must not hide what went wrong in training
            return f'no dump: {error}'
        return f'dump: {self._runner.work_dir}/{name} (run it again: {__name__}.reproduce)'


def _clip_scaled(parameters: Iterable[Tensor], **options: Any) -> float | None:
    """Clips in fp16; gives no norm to log where gradients overflowed, as it would hide others."""
    norm = nn.utils.clip_grad_norm_(parameters, **options).item()
    return norm if math.isfinite(norm) else None


def _non_finite(named: Iterable[tuple[str, Tensor | None]]) -> list[str]:
    return [name for name, one in named if one is not None and not torch.isfinite(one).all()]


def sample_lines(batch: Any) -> list[str]:
    """A line for each sample or clip; data loaders give clips as a list for each position."""
    samples = batch.get('data_samples') if isinstance(batch, Mapping) else None
    clips, unknown = holds_clips(samples), dict(frame_id='?', video_id='?', img_path='?')
    positions = samples if clips else [samples or ()]
    names = [[frame_name({**unknown, **one.metainfo}) for one in some] for some in positions]
    return ['key ' * clips + '; reference '.join(clip) for clip in zip(*names, strict=True)]


def reproduce(
    config: str | Path | Config, dump: str | Path, device: str = 'cpu', trust: bool = False
) -> tuple[list[dict[str, float]], dict[str, Tensor]]:
    """Runs the passes of a dump again, with its weights, batches and seeds.

    Args:
        config: The config of the training, or its file, best the copy in the work dir.
        dump: A file ``non_finite/iter_N.pth``. That of a rank gives the gradients of this rank.
        device: Device to run on; results on another than that of the training differ by rounding.
        trust: Whether the dump may run code while it is read, for batches of further classes.

    Returns:
        The loss terms of each pass, and the gradients by name of the weight.

    Raises:
        UserError: if config or dump cannot be read or do not fit, or for fp16 without a GPU.
    """
    content = read_checkpoint(dump, trust=trust, classes=BATCH_CLASSES)
    cfg, terms = config if isinstance(config, Config) else load_config(config), []
    try:
        if content.get('format') != _FORMAT:
            raise ValueError('it is no dump of non-finite values, or one of another version')
        fill_num_classes(cfg)
        model = MODELS.build(cfg.model)
        model.load_state_dict(content['state_dict'])
        acceleration = Acceleration.from_config({**content['acceleration'], 'compile': False})
        acceleration.check(device)
        acceleration.prepare(model.to(device).train())
        wrapper = acceleration.optim_wrapper(dict(optimizer=dict(type='SGD', lr=0.0)))
        precision = build_optim_wrapper(model, wrapper).optim_context
        for one, seed in zip(content['passes'], content['seeds'], strict=True):
            torch.manual_seed(seed)
            with precision(model):
                losses = model(**model.data_preprocessor(one['batch'], True), mode='loss')
            total, named = model.parse_losses(losses)
            (total / len(content['passes'])).backward()  # as accumulated gradients are averaged
            terms.append({name: float(value.detach()) for name, value in named.items()})
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise UserError(
            f'dump {dump} is damaged or not of the model of this config ({type(error).__name__}: '
            f'{error}). Take the dump as training wrote it, with the config of its work dir.'
        ) from error
    return terms, {key: one.grad for key, one in model.named_parameters() if one.grad is not None}
