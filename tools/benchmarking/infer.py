"""A test frame of two configs' models, from the JPEG to its encoded masks."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import torch
from mmdet.structures import DetDataSample
from mmdet.structures.mask import encode_mask_results
from mmengine.structures import InstanceData
from torch import Tensor

from benchmarking.frame_runner import FrameRunner, with_rles
from benchmarking.measure import NAMES, Variant, compare, report, say
from benchmarking.models import build
from benchmarking.parts import BASELINE_PARTS, PartClock, print_parts
from benchmarking.queries import PlainQueriesRunner, limit_queries
from benchmarking.settings import InferSettings as Settings
from vispropnet.engine.acceleration import prepare_for_inference
from vispropnet.models.detectors import MinVIS, MMDetMaskTrackRCNN, VISDetector
from vispropnet.models.detectors.two_stage import TwoStageVISDetector
from vispropnet.models.frames import Frame

# Boxes that pass the score threshold, for each that is to be left. With drawn weights no score
# means anything; a trained model leaves the suppression about as many to choose from.
CANDIDATES = 20


class MMDetRunner(FrameRunner):
    """The same through mmdet's class, the way that mmdet's test goes."""

    def answer(self, frame: Frame, state: Any) -> tuple[InstanceData, Any]:
        """See the base class."""
        with torch.no_grad():
            instances = self.model.predict(frame, state)
        with self.clock.part('encode'):
            rles = encode_mask_results(instances.masks.detach().cpu().numpy())
        return with_rles(instances, rles), state

    def parts(self, state: Any) -> tuple[Any, dict[str, str]]:
        """See the base class."""
        detector = self.model.model.detector
        return SimpleNamespace(detector=detector, tracker=state.tracker), BASELINE_PARTS


# By name, and what precedes a run.
Runners = dict[str, tuple[FrameRunner, Callable[[], Any]]]


def benchmark(settings: Settings) -> dict[str, Any]:
    """Measures a test frame, end to end, and then its parts.

    The tracks of a frame before are known. A model that recovers tracks has a full history, and no
    track of it is missing: what is measured is the frame that most frames are.

    Returns:
        The JSON object of the last line.
    """
    runners: Runners = {}
    small = replace(settings, size=(64, 64))
    result = compare(functools.partial(make, runners=runners), settings, small)
    say('parts ...')
    parts = _time_parts(runners, settings.repeats)
    counts = {name: len(found[-1]) for name, found in result.outputs.items()}
    if set(counts.values()) != {settings.detections}:
        say(
            f'note: {counts["ours"]} instances against {counts["baseline"]} of the baseline, '
            f'of {settings.detections} detections wanted'
        )
    print_parts(parts)
    measured = {
        'ours': settings.config,
        'from_to': 'JPEG to run-length encoded masks',
        'test_cfg': "the config's for both" if settings.same_test_cfg else "each config's own",
        'frames_of_a_run': settings.batch,
        'baseline_by': type(runners['baseline'][0]).__name__,
        'encoded_at_once': {'ours': settings.batch, 'baseline': 1},
        'max_detections': settings.detections,
        'detections': counts,
        'history': 'full where there is one, as is the window of frames that support; no track is '
        'missing',
        'parts_s': parts,
    }
    return report('infer', settings, result, **measured)


def make(name: str, settings: Settings, runners: Runners | None = None) -> Variant:
    """Builds the test frame of ``'ours'`` or ``'baseline'``, and notes it in ``runners``."""
    model, data = build(name, settings)
    # The baseline stays as it comes.
    model = model.eval()
    runner = _kind_of(name, model)(model, data['inputs'][0][0], settings)
    images, metainfos = runner.load([0])
    limit_detections(model, images[0], metainfos[0], settings.detections)
    if name == 'ours':
        prepare_for_inference(model, settings.amp)
    state = _with_history(runner, runner.state_before_run())

    def prepare() -> Any:
        return copy.deepcopy(state)  # mmdet's is changed by a run

    if runners is not None:
        runners[name] = runner, prepare
    return Variant(runner.run, prepare)


def _kind_of(name: str, model: VISDetector) -> type[FrameRunner]:
    if isinstance(model, MMDetMaskTrackRCNN):
        return MMDetRunner
    # Its baseline is its own image model, as mmdet runs it.
    return PlainQueriesRunner if name == 'baseline' and isinstance(model, MinVIS) else FrameRunner


@torch.no_grad()
def limit_detections(model: VISDetector, image: Tensor, metainfo: dict, detections: int) -> None:
    """Sets limit and score threshold of a detector so that the limit is what binds.

    Args:
        model: Whose ``test_cfg`` is set.
        image: (3, H, W) preprocessed frame.
        metainfo: The frame's.
        detections: Limit.
    """
    if isinstance(model, MinVIS):
        limit_queries(model, image, detections)
        return
    detector = getattr(model, 'model', model).detector
    features = detector.extract_feat(image[None])
    sample = DetDataSample(metainfo=metainfo)
    proposals = detector.rpn_head.predict(features, [sample], rescale=False)
    if isinstance(model, TwoStageVISDetector):
        features = model.with_support(features, [], [metainfo])
    scores = detector.roi_head.predict_bbox(features, [metainfo], proposals, None)[0].scores
    # The last column is the background.
    scores = scores[:, :-1].flatten().sort(descending=True).values
    threshold = scores[min(CANDIDATES * detections, len(scores)) - 1].item() if len(scores) else 0
    detector.roi_head.test_cfg.max_per_img = detections
    detector.roi_head.test_cfg.score_thr = threshold


def _time_parts(runners: Runners, repeats: int) -> dict[str, dict[str, float]]:
    """Median seconds of each part of both models."""
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in NAMES}
    for repeat in range(repeats + 1):
        for name, (runner, prepare) in runners.items():
            seconds = runner.split(prepare())
            if repeat:  # the first was to warm up
                runs[name].append(seconds)
    return {name: PartClock.medians(some) for name, some in runs.items()}


def _with_history(runner: FrameRunner, state: Any) -> Any:
    """A state whose history is full, and holds exactly the tracks that the next frame shows.

    Association does not look at the history, so the ids that the frame's detections get are known
    from a run without one.
    """
    if not getattr(state, 'history', ()):
        return state
    recovery = runner.model.recovery
    without = replace(state, history=())
    _, after = runner.step(runner.encode([1])[0], without)
    return replace(state, history=after.history[-1:] * recovery.history_length)
