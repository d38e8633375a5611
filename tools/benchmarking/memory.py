"""Growth of memory with the length of a video, beside mmdet's tracker on the same detections."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from benchmarking.frames import draw_clips, draw_frame
from benchmarking.measure import (
    NAMES,
    Comparison,
    give_memory_back,
    in_a_process,
    report,
    say,
    status_kib,
)
from benchmarking.models import build_model, settle_model, share_weights
from benchmarking.settings import MemorySettings as Settings
from vispropnet.apis.segmenter import VideoSegmenter
from vispropnet.config import load_config
from vispropnet.errors import UserError
from vispropnet.evaluation.tracks import TrackAccumulator
from vispropnet.models.detectors import VISDetector

# Libraries load themselves and start their threads in the first frames.
_WARM_UP = 5


@dataclass(frozen=True)
class Course:
    """Measurements of a video.

    Args:
        seconds: Of a frame, the median.
        short_mib: Peak of the process's resident memory until then; None where it is unknown.
        long_mib: The same at the end.
        instances: In all frames; the baseline's tracker drops some detections.
        gpu_mib: Peak of what was allocated on a GPU; None on a CPU.
    """

    seconds: float
    short_mib: float | None
    long_mib: float | None
    instances: int
    gpu_mib: float | None


def benchmark(settings: Settings) -> dict[str, Any]:
    """Measures, prints and returns the JSON object of the last line.

    Ours goes through the Python API; masks are encoded and gathered into tracks, as for a result
    file. The baseline is mmdet's class with its tracker, on the same frames and weights; nothing of
    its output is kept.

    Returns:
        The object; ``ours_growth`` and ``baseline_growth`` are the peak of host memory after all
        frames by that after the first ``short``. Times are of a frame.

    Raises:
        UserError: if a process died.
    """
    measured: dict[str, Any] = {'ours': settings.config}
    result = Comparison()
    for name in NAMES:
        say(f'{name}: {settings.frames} frames ...')
        course = in_a_process(run_video, name, settings)
        if course is None:
            raise UserError(f'the process of {name} died; was there too little memory?')
        result.seconds[name] = [course.seconds]
        result.mib[name] = course.long_mib
        growth = None if course.long_mib is None else course.long_mib / course.short_mib
        measured[f'{name}_growth'] = growth
        measured[f'{name}_short_mib'] = course.short_mib
        measured[f'{name}_instances'] = course.instances
        measured[f'{name}_gpu_mib'] = course.gpu_mib
        shown = 'unknown' if growth is None else f'{growth:.3f}'
        print(f'{name}: host peak after {settings.frames} by that after {settings.short}: {shown}')
    measured['memory'] = 'peak of the whole process, resident, in a process of its own'
    return report('memory', settings, result, **measured)


def run_video(name: str, settings: Settings) -> Course:
    """Runs ``'ours'`` or ``'baseline'`` over the video, in this process."""
    model = _model(name, settings)
    run = _ours(model, settings) if name == 'ours' else _baseline(model)
    instances, seconds, peaks = 0, [], {}
    for index in range(settings.frames):
        if index == min(_WARM_UP, settings.short - 1):
            give_memory_back()
        frame = draw_frame(index, settings.size)
        start = time.perf_counter()
        instances += run(frame)
        seconds.append(time.perf_counter() - start)
        if index + 1 in (settings.short, settings.frames):
            peaks[index + 1] = status_kib('VmHWM')
            say(f'{name}: {index + 1} frames, {instances} instances')
    short, long = (peaks[count] for count in (settings.short, settings.frames))
    mib = (None, None) if short is None else (short / 1024, long / 1024)
    on_gpu = settings.device != 'cpu'
    gpu_mib = torch.cuda.max_memory_allocated(settings.device) / 2**20 if on_gpu else None
    return Course(statistics.median(seconds), *mib, instances, gpu_mib)


def _model(name: str, settings: Settings) -> VISDetector:
    """One of the two models, the baseline with the weights of ours."""
    config, other = load_config(settings.config), load_config(settings.baseline)
    for one in (config, other):
        one.model.detector.test_cfg.rcnn.update(score_thr=0.0, max_per_img=settings.detections)
    model = build_model(config, settings.config, settings.seed)
    settle_model(model, draw_clips((160, 96), 2, 2, 2, settings.seed))
    if name == 'baseline':
        second = build_model(other, settings.baseline, settings.seed)
        share_weights(model, second)
        model, config = second, other
    model.cfg, model.classes = config, [''] * 1000
    return model.to(settings.device).eval()


def _ours(model: VISDetector, settings: Settings) -> Callable[[np.ndarray], int]:
    segmenter, tracks = VideoSegmenter(model), TrackAccumulator()

    def run(frame: np.ndarray) -> int:
        detected = 0
        for place, found in segmenter.step(frame):
            rles = found.masks.rles()
            tracks.add_frame(place, found.ids, found.labels, found.scores, rles, found.propagated)
            detected += int((~found.propagated).sum())
        if segmenter.num_frames == settings.frames:
            for _ in tracks.results(1, settings.frames, range(1000)):
                pass
        return detected

    return run


def _baseline(model: VISDetector) -> Callable[[np.ndarray], int]:
    segmenter = VideoSegmenter(model)
    return lambda frame: sum(len(found) for _, found in segmenter.step(frame))
