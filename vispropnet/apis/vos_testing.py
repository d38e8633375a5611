"""Test of a model that segments given objects: what ``tools/test_vos.py`` calls."""

from __future__ import annotations

import os
import time
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.structures import InstanceData

from vispropnet.apis.models import init_model
from vispropnet.config import explain_config_errors, load_config
from vispropnet.datasets.index_masks import read_index_mask, write_index_mask
from vispropnet.datasets.reading_ahead import read_ahead
from vispropnet.engine.inference import VideoRun, frames_at_once
from vispropnet.engine.quiet import quiet
from vispropnet.errors import UserError
from vispropnet.evaluation.mask_folders import jf_report
from vispropnet.evaluation.region_contour import SequenceScores, score_sequence
from vispropnet.fileio import atomic_path
from vispropnet.models.detectors import VISDetector
from vispropnet.registry import DATASETS

# Folder in the archive that a server takes.
ARCHIVES = {'davis': '', 'youtube-vos': 'Annotations/'}


@dataclass(frozen=True)
class Segmented:
    """A video whose masks were written.

    Args:
        name: Of the video.
        frames: Its frames in the data set.
        first: Position of the first frame that gives an object; None if none does.
        stems: Names of the frames' files without suffix.
    """

    name: str
    frames: range
    first: int | None
    stems: tuple[str, ...]


def test_vos(
    config: str | os.PathLike,
    checkpoint: str | os.PathLike,
    out: str | os.PathLike,
    evaluate: bool = False,
    archive: str | None = None,
    overrides: Sequence[str] = (),
    trust_checkpoint: bool = False,
    amp: str | None = None,
    batch: int | None = None,
    device: str | None = None,
) -> dict[str, Any] | None:
    """Segments the given objects of a config's test videos and writes index masks.

    Args:
        config: The config file.
        checkpoint: The weights.
        out: Folder for ``<video>/<frame>.png``, from the first frame with an object on.
        evaluate: Whether to score against the data set's masks and print J and F.
        archive: Server for which to write ``<out>.zip``, a key of :data:`ARCHIVES`; None for none.
        overrides: ``key=value`` changes of the config.
        trust_checkpoint: Whether the checkpoint may run code while it is read.
        amp: Mixed precision, as in :func:`~vispropnet.apis.models.init_model`.
        batch: Frames that are encoded at once; None for 1 on a CPU and 4 on a GPU.
        device: As in :func:`~vispropnet.apis.models.init_model`.

    Returns:
        The report of :func:`~vispropnet.evaluation.mask_folders.jf_report`; None if not asked for.

    Raises:
        UserError: for anything wrong in config, data or checkpoint.
    """
    cfg = load_config(config, overrides)
    model = init_model(cfg, checkpoint, device, trust_checkpoint=trust_checkpoint, amp=amp)
    with explain_config_errors(config), quiet():
        dataset = DATASETS.build(cfg.test_dataloader.dataset)
    if not model.takes_objects or not hasattr(dataset, 'given_objects'):
        raise UserError(
            f'config {config}: {type(model).__name__} on {type(dataset).__name__} is no video '
            'object segmentation; tools/test_video.py tests models that find objects by themselves.'
        )
    batch = frames_at_once(batch, next(model.parameters()).device)
    out, start, done = Path(out), time.perf_counter(), []
    for name, frames in dataset.videos():
        done.append(_segment(model, dataset, name, frames, out, batch))
    seconds = time.perf_counter() - start
    count = sum(len(one.frames) for one in done)
    print(f'masks: {out} ({count} frames, {count / max(seconds, 1e-9):.2f} frames per second)')
    if empty := [one.name for one in done if one.first is None]:
        print(f'without an object: {", ".join(empty)}')
    if archive is not None:
        path = out.with_name(f'{out.name}.zip')
        _write_archive(path, out, done, ARCHIVES[archive])
        print(f'to upload: {path}')
    if not evaluate:
        return None
    report = jf_report([_score(dataset, one, out) for one in done if one.first is not None])
    print('  '.join(f'{name} {report[name]:.4f}' for name in ('J_mean', 'F_mean', 'JF')))
    return report


def _segment(
    model: VISDetector, dataset: Any, name: str, frames: range, out: Path, batch: int
) -> Segmented:
    """Writes the masks of a video."""
    run, first, stems = VideoRun(model), None, []
    with_objects = read_ahead((dataset[frame], dataset.given_objects(frame)) for frame in frames)
    waiting: list[tuple[dict, dict]] = []
    for position, (loaded, given) in enumerate(with_objects):
        sample = loaded['data_samples']
        stems.append(Path(sample.img_path).stem)
        first = position if first is None and given else first
        waiting.append((loaded, {one: torch.from_numpy(mask) for one, mask in given.items()}))
        if len(waiting) == batch or position == len(frames) - 1:
            loads, objects = zip(*waiting, strict=True)
            inputs, samples = ([one[key] for one in loads] for key in ('inputs', 'data_samples'))
            waiting = []
            for number, found in run.answers(inputs, samples, objects):
                if first is not None and number >= first:
                    write_index_mask(out / name / f'{stems[number]}.png', _drawn(found))
    for number, found in run.finish():
        write_index_mask(out / name / f'{stems[number]}.png', _drawn(found))
    return Segmented(name, frames, first, tuple(stems))


def _drawn(found: InstanceData) -> np.ndarray:
    """(H, W) uint8 ids."""
    ids = np.zeros(found.masks.size, np.uint8)
    for number, mask in zip(found.ids.tolist(), found.masks.numpy(), strict=True):
        ids[mask] = number
    return ids


def _score(dataset: Any, video: Segmented, out: Path) -> SequenceScores:
    last = len(video.frames) - (not dataset.late_objects)

    def pairs() -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        for position, frame in enumerate(video.frames):
            truth = dataset.index_mask(frame)
            if truth is None:
                raise UserError(
                    f'video {video.name}: frame {video.stems[position]} has no ground truth, so '
                    'there is nothing to score against; upload the archive instead (--zip).'
                )
            path = out / video.name / f'{video.stems[position]}.png'
            scored = video.first < position < last
            yield truth, read_index_mask(path, truth.shape) if scored else None

    return score_sequence(video.name, pairs(), dataset.late_objects)


def _write_archive(path: Path, out: Path, videos: Sequence[Segmented], prefix: str) -> None:
    """Packs the masks of this run, and no others that the folder holds."""
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, 'w') as archive:
        for one in videos:
            for stem in one.stems[one.first :] if one.first is not None else ():
                name = f'{one.name}/{stem}.png'
                archive.write(out / name, prefix + name)
