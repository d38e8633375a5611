"""How memory grows with the length of a video, beside mmdet's tracker on the same detections."""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch

from benchmarking.checks import check_device, check_positive
from benchmarking.frames import build_model, draw_clips, settle_model, share_weights
from benchmarking.measure import (
    NAMES,
    Comparison,
    circumstances,
    give_memory_back,
    report,
    say,
    status_kib,
)
from vispropnet.apis.segmenter import VideoSegmenter
from vispropnet.config import load_config
from vispropnet.errors import UserError
from vispropnet.evaluation.tracks import TrackAccumulator
from vispropnet.models.detectors import VISDetector

# Libraries load themselves and start their threads in the first frames.
_WARM_UP = 5


@dataclass(frozen=True)
class Settings:
    """What runs, and how long.

    Args:
        config: Config file of ours.
        baseline: Config file of the baseline.
        frames: Of the video.
        short: After how many the memory is compared with that at the end.
        size: Width and height of the frames in pixels; the network sees them at the config's scale.
        detections: In a frame, at most.
        seed: Of weights and frames.
        device: Where the models run.
    """

    config: str
    baseline: str
    frames: int = 2000
    short: int = 200
    size: tuple[int, int] = (320, 180)
    detections: int = 10
    seed: int = 0
    device: str = 'cpu'

    def check(self) -> None:
        """Checks them.

        Raises:
            UserError: for what cannot be run.
        """
        check_positive(frames=self.frames, short=self.short, detections=self.detections)
        check_positive(size=min(self.size))
        check_device(self.device)
        if self.short >= self.frames:
            raise UserError(f'--short must be below --frames {self.frames}, got {self.short}.')
        for path in (self.config, self.baseline):
            load_config(path)


@dataclass(frozen=True)
class Course:
    """How a video went.

    Args:
        seconds: Of a frame, the median.
        short_mib: Peak of the process's resident memory until then; None where it cannot be told.
        long_mib: The same at the end.
        instances: In all frames; the baseline's tracker drops some detections.
    """

    seconds: float
    short_mib: float | None
    long_mib: float | None
    instances: int


def benchmark(settings: Settings) -> dict[str, Any]:
    """Measures, prints and returns the figures.

    Ours goes through the Python API; masks are encoded and gathered into tracks, as for a result
    file. The baseline is mmdet's class with its tracker, on the same frames and weights; nothing of
    its output is kept.

    Args:
        settings: What runs.

    Returns:
        The JSON object of the last line; ``ours_growth`` and ``baseline_growth`` are the peak of
        host memory after all frames by that after the first ``short``. Times are of a frame.

    Raises:
        UserError: for settings that cannot be run.
    """
    settings.check()
    courses: dict[str, Course | None] = {}
    for name in NAMES:
        say(f'{name}: {settings.frames} frames ...')
        courses[name] = _in_a_process(name, settings)
    measured: dict[str, Any] = {'ours': settings.config, 'baseline': settings.baseline}
    result = Comparison()
    for name, course in courses.items():
        if course is None:
            raise UserError(f'the process of {name} died; was there too little memory?')
        result.seconds[name] = [course.seconds]
        result.mib[name] = course.long_mib
        growth = None if course.long_mib is None else course.long_mib / course.short_mib
        measured[f'{name}_growth'] = growth
        measured[f'{name}_short_mib'] = course.short_mib
        measured[f'{name}_instances'] = course.instances
        shown = 'unknown' if growth is None else f'{growth:.3f}'
        print(f'{name}: host peak after {settings.frames} by that after {settings.short}: {shown}')
    measured |= {
        'frames': settings.frames,
        'short': settings.short,
        'size': settings.size,
        'detections': f'{settings.detections} a frame, the same for both trackers',
        **circumstances(settings.device, 1, settings.seed),
        'memory': 'peak of the whole process, resident, in a process of its own',
    }
    return report('memory', result, None, measured)


def run_video(name: str, settings: Settings, threads: int) -> Course:
    """Runs one of the two over the video, in this process.

    Args:
        name: ``'ours'`` or ``'baseline'``.
        settings: What runs.
        threads: Of torch.
    """
    torch.set_num_threads(threads)
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
    return Course(statistics.median(seconds), *mib, instances)


def draw_frame(index: int, size: tuple[int, int]) -> np.ndarray:
    """Draws a frame of a video of any length: ellipses that move before a smooth background.

    Args:
        index: Of the frame.
        size: Width and height in pixels.

    Returns:
        (H, W, 3) uint8, BGR.
    """
    width, height = size
    coarse = np.random.default_rng(0).integers(40, 160, (5, 8, 3), dtype=np.uint8)
    frame = cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC)
    for number in range(6):
        phase = index * (0.02 + 0.007 * number) + 2.1 * number
        centre = (
            round(width * (0.5 + 0.4 * np.sin(phase))),
            round(height * (0.5 + 0.4 * np.cos(0.7 * phase))),
        )
        axes = round(width * (0.04 + 0.02 * number)), round(height * 0.12)
        color = (40 * number, 255 - 30 * number, 128 + 20 * number)
        cv2.ellipse(frame, centre, axes, 30 * number, 0, 360, color, cv2.FILLED)
    return frame


def _model(name: str, settings: Settings) -> VISDetector:
    """One of the two models, the baseline with the weights of ours."""
    config, other = load_config(settings.config), load_config(settings.baseline)
    for one in (config, other):
        one.model.detector.test_cfg.rcnn.update(score_thr=0.0, max_per_img=settings.detections)
    model = build_model(config, settings.config, settings.seed)
    data = draw_clips((160, 96), 2, 2, 2, settings.seed)
    settle_model(model, data)
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


def _in_a_process(name: str, settings: Settings) -> Course | None:
    """Runs a variant in a process of its own; None if that died."""
    context = multiprocessing.get_context('spawn')
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        task = pool.submit(run_video, name, settings, torch.get_num_threads())
        try:
            return task.result()
        except BrokenProcessPool:
            return None
