"""What is kept of a training step whose numbers are not finite, and how to see it again."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import get_rank, get_world_size
from torch import Tensor, nn

from vispropnet.config import explain_config_errors, load_config
from vispropnet.datasets.findings import shown
from vispropnet.datasets.values import is_id
from vispropnet.engine.acceleration import layers_in_bfloat16
from vispropnet.engine.checkpoints.reading import read_checkpoint
from vispropnet.engine.hooks.iteration_seed import iteration_seed
from vispropnet.engine.plain_batch import from_plain, to_plain
from vispropnet.engine.quiet import quiet
from vispropnet.errors import UserError
from vispropnet.fileio import atomic_path
from vispropnet.registry import MODELS

PRECISIONS = ('float32', 'bf16', 'fp16')


@dataclass
class Pass:
    """A forward pass in training.

    Args:
        epoch: Epochs done before.
        iteration: Iterations done before.
        batch: What the data loader gave.
        terms: Losses and other figures, scalars; ``loss`` is their sum.
    """

    epoch: int
    iteration: int
    batch: Any
    terms: dict[str, Tensor]


@dataclass
class Reproduced:
    """What the forward passes of a dump give when they are run again.

    Args:
        terms: Losses and other figures of each pass; one, unless gradients were accumulated and no
            loss was bad.
        norm: Of all gradients together.
        weights: Names of the weights whose gradients are not finite; there may be none where the
            norm is too large for a float32.
    """

    terms: list[dict[str, float]]
    norm: float
    weights: list[str]


def non_finite_keys(tensors: Mapping[str, Tensor | None]) -> list[str]:
    """Names tensors that hold NaN or infinity.

    Args:
        tensors: By name; None is passed over.

    Returns:
        Their names, in order.
    """
    return [
        name
        for name, value in tensors.items()
        if value is not None and not torch.isfinite(value).all()
    ]


def norm_of_all(tensors: Sequence[Tensor], norm_type: float = 2.0) -> Tensor:
    """Norm of all tensors together, to the bit as ``torch.nn.utils.clip_grad_norm_`` computes it.

    Args:
        tensors: At least one, all on one device.
        norm_type: As in :func:`torch.linalg.vector_norm`.

    Returns:
        A scalar, on their device.
    """
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(tensors, norm_type)), norm_type)


def save_dump(
    runner: Any, model: nn.Module, kind: str, precision: str, passes: Sequence[Pass]
) -> str:
    """Writes what is needed to see bad numbers again.

    Args:
        runner: Of the training.
        model: As it was before the passes, not wrapped for several ranks.
        kind: ``'loss'`` or ``'gradient'``.
        precision: ``'float32'``, ``'bf16'`` or ``'fp16'``.
        passes: The forward passes, at least one.

    Returns:
        The file, ``bad_numbers/iter_N.pth`` in the work dir (with ``_rank_R`` if there are several
        ranks), which ``torch.load(weights_only=True)`` reads.

    Raises:
        OSError, RuntimeError, UserError: if it cannot be written.
        TypeError: if a batch holds what is no plain data.
    """
    rank = get_rank()
    ending = f'_rank_{rank}' if get_world_size() > 1 else ''
    path = Path(runner.work_dir) / 'bad_numbers' / f'iter_{passes[0].iteration + 1}{ending}.pth'
    content = dict(
        kind=kind,
        precision=precision,
        channels_last=bool((runner.cfg.get('acceleration') or {}).get('channels_last', False)),
        run_seed=runner.seed,
        rank=rank,
        passes=[
            dict(
                epoch=one.epoch,
                iteration=one.iteration,
                seed=iteration_seed(runner.seed, rank, one.iteration),
                terms={name: float(value) for name, value in one.terms.items()},
                batch=to_plain(one.batch),
            )
            for one in passes
        ],
        state_dict={name: value.detach().cpu() for name, value in model.state_dict().items()},
    )
    with atomic_path(path) as temporary:
        torch.save(content, temporary)
    return str(path)


def reproduce(
    config: str | os.PathLike | Config, dump: str | os.PathLike, device: str = 'cpu'
) -> Reproduced:
    """Runs the forward and backward passes of a dump again, with its weights, batch and seed.

    With several ranks, a dump has the batch of its own rank, and gradients are of that alone.

    Args:
        config: The config of the training, or its file; the copy in the work dir has the overrides
            of the command line too.
        dump: What a :class:`~vispropnet.engine.bad_numbers.BadNumbersHook` wrote.
        device: Where to run; another device than that of the training rounds, and draws, otherwise.

    Returns:
        The loss terms, the norm of the gradients, and where gradients are not finite.

    Raises:
        UserError: if config or dump cannot be read, are damaged or do not fit, or for a dump of
            training in fp16 without a GPU.
    """
    content = read_checkpoint(os.fspath(dump))
    _check_dump(content, dump)
    cfg = config if isinstance(config, Config) else load_config(config)
    with explain_config_errors(getattr(cfg, 'filename', None) or 'of the model'), quiet():
        model = MODELS.build(cfg.model)
    try:
        model.load_state_dict(content['state_dict'])
    except RuntimeError as error:
        raise UserError(f'dump {dump} does not fit the model of this config: {error}') from None
    model.to(device).train()
    if content['channels_last']:
        model.to(memory_format=torch.channels_last)
    terms = []
    for number, one in enumerate(content['passes']):
        torch.manual_seed(one['seed'])
        with _precision(content['precision'], model, device):
            try:
                data = model.data_preprocessor(from_plain(one['batch']), True)
                losses = model(**data, mode='loss')
            except (LookupError, TypeError, ValueError, AttributeError) as error:
                raise UserError(
                    f'dump {dump}: the batch of passes[{number}] is damaged, or not for the model '
                    f'of this config ({type(error).__name__}: {error}). Take the dump as training '
                    'wrote it, with the config of its work dir.'
                ) from error
        total, named = model.parse_losses(losses)
        # As accumulated gradients are averaged.
        (total / len(content['passes'])).backward()
        terms.append({name: float(value.detach()) for name, value in named.items()})
    named = model.named_parameters()
    gradients = {name: value.grad for name, value in named if value.grad is not None}
    norm = norm_of_all(list(gradients.values())).item()
    return Reproduced(terms, norm, non_finite_keys(gradients))


def _check_dump(content: Mapping[str, Any], dump: str | os.PathLike) -> None:
    """Refuses what :func:`save_dump` does not write, but for what is in the batches."""
    if not {'kind', 'precision', 'passes', 'state_dict'} <= content.keys():
        raise UserError(
            f'{dump} is no dump of bad numbers; expected a file bad_numbers/iter_N.pth.'
        )

    def require(sound: bool, where: str, wanted: str, found: Any) -> None:
        if not sound:
            raise UserError(
                f'dump {dump} is damaged: {where} must be {wanted}, found {shown(found)}. Take the '
                'file as training wrote it.'
            )

    precision, channels_last = content['precision'], content.get('channels_last')
    weights, passes = content['state_dict'], content['passes']
    sound = isinstance(precision, str) and precision in PRECISIONS
    require(sound, "'precision'", f'one of {", ".join(PRECISIONS)}', precision)
    require(isinstance(channels_last, bool), "'channels_last'", 'true or false', channels_last)
    sound = isinstance(weights, Mapping) and all(isinstance(key, str) for key in weights)
    require(sound, "'state_dict'", 'a dict of weights by name', weights)
    require(isinstance(passes, list) and bool(passes), "'passes'", 'a list of dicts', passes)
    for number, one in enumerate(passes):
        sound = isinstance(one, Mapping) and {'seed', 'batch'} <= one.keys()
        require(sound, f'passes[{number}]', "a dict with 'seed' and 'batch'", one)
        require(is_id(one['seed']), f"'seed' of passes[{number}]", 'an integer', one['seed'])
        if _holds_pairs(one['batch']):
            raise UserError(
                f'dump {dump} was written by an older version of vispropnet, whose samples were '
                'pairs instead of clips: reproduce it with that version, or train again.'
            )


def _holds_pairs(batch: Any) -> bool:
    inputs = batch.get('inputs') if isinstance(batch, Mapping) else None
    return isinstance(inputs, Mapping) and inputs.keys() == {'key', 'ref'}


def _precision(name: str, model: nn.Module, device: str) -> AbstractContextManager:
    if name == 'bf16':
        return layers_in_bfloat16(model)
    if name == 'fp16':
        if not torch.device(device).type == 'cuda':
            raise UserError("this training ran in fp16: reproduce it on a GPU, device='cuda'.")
        return torch.autocast('cuda', torch.float16)
    return nullcontext()
