"""A test frame of two configs' models, from the JPEG to its encoded masks."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import cv2
import mmcv
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.mask import encode_mask_results
from mmengine.structures import InstanceData
from torch import Tensor

from benchmarking.measure import NAMES, Variant, compare, report, say
from benchmarking.models import build
from benchmarking.parts import BASELINE_PARTS, OUR_PARTS, PartClock, print_parts
from benchmarking.settings import InferSettings as Settings
from vispropnet.engine.acceleration import inference_precision, prepare_for_inference
from vispropnet.engine.quiet import quiet
from vispropnet.models.detectors import MMDetMaskTrackRCNN, VISDetector
from vispropnet.models.frames import Frame, split_frames
from vispropnet.registry import TRANSFORMS

# Boxes that pass the score threshold, for each that is to be left. With drawn weights no score
# means anything; a trained model leaves the suppression about as many to choose from.
CANDIDATES = 20


class FrameRunner:
    """Takes frames from the JPEG through a model of ours.

    Args:
        model: Whose.
        image: (3, H, W) uint8 frame.
        settings: Size and number of the frames of a run.
    """

    def __init__(self, model: VISDetector, image: Tensor, settings: Settings) -> None:
        self.model = model
        self.jpeg = cv2.imencode('.jpg', image.permute(1, 2, 0).numpy())[1].tobytes()
        resize = dict(type='Resize', scale=settings.size, keep_ratio=True)
        with quiet():
            self.resize = TRANSFORMS.build(resize)
            self.pack = TRANSFORMS.build(dict(type='PackFrameInputs'))
        self.clock = PartClock(next(model.parameters()).device)
        self.batch = settings.batch

    def load(self, numbers: Sequence[int]) -> tuple[Tensor, list[dict[str, Any]]]:
        """Decodes, resizes, normalises and pads frames.

        Args:
            numbers: Of the frames in the video.

        Returns:
            (F, 3, H, W) and the metainfo of each.
        """
        data = dict(inputs=[], data_samples=[])
        for number in numbers:
            with self.clock.part('decode'):
                image = mmcv.imfrombytes(self.jpeg)
            with self.clock.part('preprocess'):
                shape = image.shape[:2]
                loaded = dict(img=image, img_shape=shape, ori_shape=shape, frame_id=number)
                for name, value in self.pack(self.resize(loaded)).items():
                    data[name].append(value)
        with self.clock.part('preprocess'):
            batch = self.model.data_preprocessor(data, False)
        return batch['inputs'], [sample.metainfo for sample in batch['data_samples']]

    def encode(self, numbers: Sequence[int]) -> list[Frame]:
        """Loads frames and encodes them at once."""
        images, metainfos = self.load(numbers)
        with torch.no_grad(), inference_precision(self.model):
            return split_frames(self.model.encode(images), metainfos)

    def step(self, frame: Frame, state: Any) -> tuple[InstanceData, Any]:
        """Steps through a frame of a model that answers at once."""
        with inference_precision(self.model):
            ((_, instances),), state = self.model.step(frame, state)
        return instances, state

    def answer(self, frame: Frame, state: Any) -> tuple[InstanceData, Any]:
        """Gives a frame's instances, with ``rles`` instead of masks, and the state after it."""
        instances, state = self.step(frame, state)
        with self.clock.part('encode'):
            rles = instances.masks.rles()
        return _with_rles(instances, rles), state

    def run(self, state: Any) -> list[InstanceData]:
        """Answers the frames after the first of a video, whose state is given."""
        found = []
        for frame in self.encode(range(1, 1 + self.batch)):
            instances, state = self.answer(frame, state)
            found.append(instances)
        return found

    def parts(self, state: Any) -> tuple[Any, dict[str, str]]:
        """Gives the owner of the methods that are timed, and their names."""
        return self.model, OUR_PARTS

    def split(self, state: Any) -> dict[str, float]:
        """Runs once more and gives the seconds of each part."""
        with self.clock.watch(*self.parts(state)):
            self.run(state)
        return self.clock.seconds


class MMDetRunner(FrameRunner):
    """The same through mmdet's class, the way that mmdet's test goes."""

    def answer(self, frame: Frame, state: Any) -> tuple[InstanceData, Any]:
        """See the base class."""
        with torch.no_grad():
            instances = self.model.predict(frame, state)
        with self.clock.part('encode'):
            rles = encode_mask_results(instances.masks.detach().cpu().numpy())
        return _with_rles(instances, rles), state

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
        'encoded_at_once': {'ours': settings.batch, 'baseline': 1},
        'max_detections': settings.detections,
        'detections': counts,
        'history': 'full where there is one; no track is missing',
        'parts_s': parts,
    }
    return report('infer', settings, result, **measured)


def make(name: str, settings: Settings, runners: Runners | None = None) -> Variant:
    """Builds the test frame of ``'ours'`` or ``'baseline'``, and notes it in ``runners``."""
    model, data = build(name, settings)
    # The baseline stays as it comes.
    model = model.eval()
    kind = MMDetRunner if isinstance(model, MMDetMaskTrackRCNN) else FrameRunner
    runner = kind(model, data['inputs'][0][0], settings)
    images, metainfos = runner.load([0])
    limit_detections(model, images[0], metainfos[0], settings.detections)
    if name == 'ours':
        prepare_for_inference(model, settings.amp)
    _, state = runner.step(runner.encode([0])[0], model.init_state())
    state = _with_history(runner, state)

    def prepare() -> Any:
        return copy.deepcopy(state)  # mmdet's is changed by a run

    if runners is not None:
        runners[name] = runner, prepare
    return Variant(runner.run, prepare)


@torch.no_grad()
def limit_detections(model: VISDetector, image: Tensor, metainfo: dict, detections: int) -> None:
    """Sets limit and score threshold of a detector so that the limit is what binds.

    Args:
        model: Whose ``test_cfg`` is set.
        image: (3, H, W) preprocessed frame.
        metainfo: The frame's.
        detections: Limit.
    """
    detector = getattr(model, 'model', model).detector
    features = detector.extract_feat(image[None])
    sample = DetDataSample(metainfo=metainfo)
    proposals = detector.rpn_head.predict(features, [sample], rescale=False)
    scores = detector.roi_head.predict_bbox(features, [metainfo], proposals, None)[0].scores
    # The last column is the background.
    scores = scores[:, :-1].flatten().sort(descending=True).values
    threshold = scores[min(CANDIDATES * detections, len(scores)) - 1].item() if len(scores) else 0
    detector.roi_head.test_cfg.max_per_img = detections
    detector.roi_head.test_cfg.score_thr = threshold


def _with_rles(instances: InstanceData, rles: list[dict]) -> InstanceData:
    del instances.masks
    instances.rles = rles
    return instances


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
