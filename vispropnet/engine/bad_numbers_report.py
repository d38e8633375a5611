"""What is said of a training step whose numbers are not finite."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from vispropnet.engine.bad_numbers_dump import Pass
from vispropnet.models.data_preprocessor import holds_clips
from vispropnet.text import first_of

MOST_NAMES, MOST_SAMPLES = 5, 8


def describe(
    kind: str,
    passes: Sequence[Pass],
    gradients: Sequence[str],
    spoilt: Sequence[str],
    dump: str,
    rank: int | None = None,
) -> str:
    """Tells what happened, where and on what.

    Args:
        kind: ``'loss'`` or ``'gradient'``: what was not finite.
        passes: The forward passes it came from, at least one; figures are those of the first.
        gradients: Names of the weights whose gradients were not finite.
        spoilt: Names of the weights and statistics that were not finite before the step.
        dump: What to say of the file to reproduce it from.
        rank: Of the process, if there are several.

    Returns:
        Several lines. Epochs and iterations are counted from 1, as in the log.
    """
    first = passes[0]
    what = 'the loss' if kind == 'loss' else 'the norm of the gradients'
    who = '' if rank is None else f'rank {rank}: '
    lines = [
        f'{who}{what} is not finite in epoch {first.epoch + 1}, at iteration '
        f'{first.iteration + 1} of the run.'
    ]
    for name, value in first.terms.items():
        value = float(value)
        lines.append(f'  {name} = {value:.6g}{"" if math.isfinite(value) else "  <- not finite"}')
    if gradients:
        lines.append(f'  gradients that are not finite: {first_of(gradients, MOST_NAMES)}')
    elif kind == 'gradient':
        lines.append('  each gradient is finite, but their norm is too large for a float32')
    if spoilt:
        names = first_of(spoilt, MOST_NAMES)
        lines.append(f'  weights that were not finite before this step: {names}')
    samples = [line for one in passes for line in _sample_lines(one.batch)]
    if samples:
        lines += ['  samples:', f'    {first_of(samples, MOST_SAMPLES, chr(10) + 4 * " ")}']
    return '\n'.join([*lines, f'  {dump}'])


def advice(action: str, precision: str, clips: bool) -> str:
    """Tells what may help.

    Args:
        action: What is done with such steps: ``'stop'`` or ``'skip'``.
        precision: ``'float32'``, ``'bf16'`` or ``'fp16'``.
        clips: Whether gradients are clipped.

    Returns:
        Several lines.
    """
    lower = 'lower' if clips else 'set'
    ways = [
        'lower the learning rate: --cfg-options optim_wrapper.optimizer.lr=...',
        f'{lower} the norm that gradients are clipped to: optim_wrapper.clip_grad.max_norm=...',
    ]
    if precision == 'fp16':
        ways.append('train in bf16 instead of fp16: --amp bf16')
    if action == 'stop':
        ways.append(
            'if it is a step now and then, leave it out: default_hooks.bad_numbers.action=skip'
        )
    return '\n  '.join(['What may help (--resume goes on from the newest checkpoint):', *ways])


def _sample_lines(batch: Any) -> list[str]:
    """A line for each sample or clip; data loaders give clips as a list for each position."""
    samples = batch.get('data_samples') if isinstance(batch, Mapping) else None
    if not holds_clips(samples):
        return [_frame(one) for one in samples or ()]
    return [
        '; '.join(
            f'{"reference" if place else "key"} {_frame(one)}' for place, one in enumerate(clip)
        )
        for clip in zip(*samples, strict=True)
    ]


def _frame(sample: Any) -> str:
    found = sample.metainfo
    place = f'frame {found.get("frame_id", "?")} of video {found.get("video_id", "?")}'
    return f'{place} ({found["img_path"]})' if found.get('img_path') else place
