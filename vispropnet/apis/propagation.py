"""How a model carries masks: what ``tools/show_propagation.py`` calls."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from mmengine.config import Config

from vispropnet.apis.models import init_model
from vispropnet.datasets.ytvis import YouTubeVIS
from vispropnet.errors import UserError
from vispropnet.evaluation.propagation_quality import (
    Quality,
    annotated_videos,
    quality_by_distance,
)
from vispropnet.fileio import write_json
from vispropnet.registry import DATASETS
from vispropnet.visualization.carried_clip import carry_clip
from vispropnet.visualization.mask_propagation import draw_clip, draw_quality


def show_propagation(
    config: str | os.PathLike,
    checkpoint: str | os.PathLike,
    out: Path,
    distance: int = 6,
    videos: int | None = None,
    place: tuple[int, int | None] = (0, None),
    device: str | torch.device | None = None,
    overrides: Sequence[str] = (),
    trust_checkpoint: bool = False,
) -> list[Quality]:
    """Writes the quality of carried masks by distance, and a picture of a clip.

    Args:
        config: The config file; its test data need annotations.
        checkpoint: The weights.
        out: Folder for ``quality.json``, ``quality.png`` and ``clip.png``.
        distance: Farthest frame that masks are carried to.
        videos: The first ones that quality is measured on; None for all.
        place: Of the clip: position of the video, and number of its centre frame or None for the
            middle one.
        device: As of :func:`~vispropnet.apis.models.init_model`.
        overrides: ``key=value`` changes of the config.
        trust_checkpoint: Whether the checkpoint may run code while it is read.

    Returns:
        What ``quality.json`` has.

    Raises:
        UserError: if something is missing or does not fit.
    """
    model = init_model(config, checkpoint, device, overrides, trust_checkpoint)
    dataset = _annotated(model.cfg)
    start, centre, end = _clip(dataset.video_lengths, place, distance)
    found = quality_by_distance(model, annotated_videos(dataset, videos), distance)
    clip = carry_clip(model, [dataset[at] for at in range(start, end)], centre - start)
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / 'quality.json', [asdict(one) for one in found], indent=2)
    draw_quality(found, out / 'quality.png')
    draw_clip(clip, out / 'clip.png')
    return found


def _annotated(cfg: Config) -> YouTubeVIS:
    """The test data, with annotations loaded."""
    if cfg.get('test_dataloader') is None:
        raise UserError('the config has no test_dataloader, whose data masks are carried in.')
    options = dict(cfg.test_dataloader.dataset)
    steps = []
    for step in options['pipeline']:
        steps.append(step)
        if step['type'] == 'LoadVideoFrame':
            steps.append(dict(type='LoadTrackedAnnotations'))
    dataset = DATASETS.build({**options, 'pipeline': steps})
    dataset.full_init()
    return dataset


def _clip(
    lengths: Sequence[int], place: tuple[int, int | None], distance: int
) -> tuple[int, int, int]:
    """First sample, centre and end of a clip, of data whose videos have these lengths."""
    video, frame = place
    if video >= len(lengths):
        raise UserError(f'--video must be below the number of videos, {len(lengths)}, got {video}.')
    length = int(lengths[video])
    frame = length // 2 if frame is None else frame
    if frame >= length:
        raise UserError(f'--frame must be below the number of frames, {length}, got {frame}.')
    first = int(sum(lengths[:video]))
    start, end = max(frame - distance, 0), min(frame + distance + 1, length)
    return first + start, first + frame, first + end
