"""Test of a model that segments given objects: what ``tools/test_vos.py`` calls."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vispropnet.apis.models import init_model
from vispropnet.apis.vos_outputs import VosOutput, open_output
from vispropnet.apis.vos_scoring import print_skipped
from vispropnet.apis.vos_seeds import SeedTracks
from vispropnet.config import explain_config_errors, load_config
from vispropnet.datasets.reading_ahead import read_ahead
from vispropnet.engine.inference import VideoRun, frames_at_once
from vispropnet.engine.quiet import quiet
from vispropnet.errors import UserError
from vispropnet.evaluation.mask_folders import jf_report
from vispropnet.evaluation.region_contour import SequenceScorer
from vispropnet.evaluation.region_contour_metric import drawn_ids
from vispropnet.models.detectors import VISDetector
from vispropnet.registry import DATASETS

# Folder in the archive that a server takes.
ARCHIVES = {'davis': '', 'youtube-vos': 'Annotations/'}


@dataclass
class Costs:
    """Costs of what was segmented so far.

    Args:
        frames: Number of frames.
        seconds: That the model took for them, from encoding to masks on the host.
        kept: Frames that the memory held at the end of each video.
    """

    frames: int
    seconds: float
    kept: list[int]

    def report(self, device: torch.device) -> dict[str, Any]:
        """Sums up, for JSON: also the peak of memory in MiB, of the GPU or else of the process."""
        if device.type == 'cuda':
            peak = torch.cuda.max_memory_allocated(device) / 2**20
        else:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        return dict(
            frames=self.frames,
            seconds_per_frame=self.seconds / max(self.frames, 1),
            frames_kept=sum(self.kept) / max(len(self.kept), 1),
            peak_mib=peak,
        )


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
    seeds: str | os.PathLike | None = None,
    seed_threshold: float = 0.0,
) -> dict[str, Any] | None:
    """Segments the given objects of a config's test videos and writes masks.

    Args:
        config: The config file.
        checkpoint: The weights.
        out: Folder for ``<video>/<frame>.png``, from the first frame with an object on; or a result
            file in YouTube-VIS form, ``*.json``.
        evaluate: Whether to score against the data set's masks and print J and F.
        archive: Server for which to write ``<out>.zip``, a key of :data:`ARCHIVES`; None for none.
        overrides: ``key=value`` changes of the config.
        trust_checkpoint: Whether the checkpoint may run code while it is read.
        amp: Mixed precision, as in :func:`~vispropnet.apis.models.init_model`.
        batch: Frames that are encoded at once; None for 1 on a CPU and 4 on a GPU.
        device: As in :func:`~vispropnet.apis.models.init_model`.
        seeds: Result file whose tracks give the objects, each by its first mask; None for those of
            the data set.
        seed_threshold: Tracks of it that score less are left out.

    Returns:
        The report of :func:`~vispropnet.evaluation.mask_folders.jf_report`, with ``costs``:
        ``frames``, ``seconds_per_frame`` of the model, ``frames_kept`` in memory at the end of a
        video (the mean) and ``peak_mib``; None if not asked for.

    Raises:
        UserError: for anything wrong in config, data or checkpoint.
    """
    if seeds is not None and evaluate:
        raise UserError(
            '--eval scores the objects of the data set, and --seeds gives others: write a result '
            'file (--out FILE.json) and score it with tools/eval_vis.py.'
        )
    cfg = load_config(config, overrides)
    model = init_model(cfg, checkpoint, device, trust_checkpoint=trust_checkpoint, amp=amp)
    with explain_config_errors(config), quiet():
        dataset = DATASETS.build(cfg.test_dataloader.dataset)
    if not model.takes_objects or not hasattr(dataset, 'given_objects'):
        raise UserError(
            f'config {config}: {type(model).__name__} on {type(dataset).__name__} is no video '
            'object segmentation; tools/test_video.py tests models that find objects by themselves.'
        )
    if evaluate:
        _check_truth(dataset)
    output = open_output(out, dataset, None if archive is None else ARCHIVES[archive])
    tracks = None if seeds is None else SeedTracks(seeds, dataset, seed_threshold)
    run = _TestRun(model, dataset, output, tracks, batch)
    scorers = [run.segment(name, frames, evaluate) for name, frames in dataset.videos()]
    costs = run.costs.report(run.device)
    print('\n'.join(output.close()))
    per_second = 1 / max(costs['seconds_per_frame'], 1e-9)
    print(f'{costs["frames"]} frames, {per_second:.2f} frames per second')
    if run.empty:
        print(f'without an object before the last frame: {", ".join(run.empty)}')
    return _report(scorers, costs) if evaluate else None


def _check_truth(dataset: Any) -> None:
    for name, frames in dataset.videos():
        if (position := dataset.missing_truth(frames)) is not None:
            stem = Path(dataset.get_data_info(frames[position])['img_path']).stem
            raise UserError(
                f'video {name}: frame {stem} has no ground truth, so there is nothing to score '
                'against: leave out --eval, and upload the archive instead (--zip).'
            )


class _TestRun:
    """Segments videos one after the other.

    Attributes:
        empty: Names of those in which no object is given before the last frame.
    """

    def __init__(
        self,
        model: VISDetector,
        dataset: Any,
        output: VosOutput,
        tracks: SeedTracks | None,
        batch: int | None,
    ) -> None:
        self.model, self.dataset, self.output, self.tracks = model, dataset, output, tracks
        self.device = next(model.parameters()).device
        self.batch = frames_at_once(batch, self.device)
        self.costs, self.empty = Costs(0, 0.0, []), []

    def segment(self, name: str, frames: range, evaluate: bool) -> SequenceScorer | None:
        """Segments a video; returns its scorer if it is to be scored."""
        info, scorer = self.dataset.get_data_info(frames[0]), None
        if evaluate:
            late, skipped = self.dataset.late_objects, self.dataset.skipped_ids
            scorer = SequenceScorer(name, len(frames), late, skipped)
        labels = self.dataset.object_labels(frames)
        objects = labels if self.tracks is None else self.tracks.of_video(info['video_id'])
        self.output.begin(name, info, objects)
        run, stems, first = VideoRun(self.model), [], None
        loads = []
        for position, loaded in enumerate(read_ahead(self.dataset[frame] for frame in frames)):
            sample = loaded['data_samples']
            stems.append(Path(sample.img_path).stem)
            given = self._given(sample, position)
            first = position if first is None and given else first
            loads.append((loaded['inputs'], sample, given))
            if len(loads) < self.batch and position < len(frames) - 1:
                continue
            for number, found in self._answers(run, loads, position == len(frames) - 1):
                if first is not None and number >= first:
                    self.output.add(number, stems[number], found)
                if scorer is not None:
                    counts = scorer.next_counts
                    truth = self.dataset.index_mask(frames[number])
                    scorer.add(truth, drawn_ids(found) if counts else None)
            loads = []
        self.output.end()
        self.costs.frames += len(frames)
        self.costs.kept.append(run.frames_kept)
        if first in (None, len(frames) - 1):
            self.empty.append(name)
        return scorer

    def _given(self, sample: Any, position: int) -> Mapping[int, Tensor]:
        if self.tracks is None:
            return sample.given_objects
        given = self.tracks.given(sample.video_id, position)
        return {number: torch.from_numpy(mask) for number, mask in given.items()}

    def _answers(self, run: VideoRun, loads: Sequence[tuple], last: bool) -> list[tuple]:
        start = time.perf_counter()
        answers = list(run.answers(*zip(*loads, strict=True)))
        answers += run.finish() if last else []
        if self.device.type == 'cuda':
            torch.cuda.synchronize(self.device)
        self.costs.seconds += time.perf_counter() - start
        return answers


def _report(scorers: Sequence[SequenceScorer], costs: Mapping[str, Any]) -> dict[str, Any]:
    scores = [one.scores() for one in scorers if one.has_scores]
    if not scores:
        raise UserError('no video gives an object in a frame before its last: nothing is scored.')
    report = jf_report(scores)
    print_skipped(scores)
    print('  '.join(f'{name} {report[name]:.4f}' for name in ('J_mean', 'F_mean', 'JF')))
    return report | dict(costs=costs)
