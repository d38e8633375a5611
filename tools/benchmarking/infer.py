"""A test frame of two configs' models, from the JPEG to its encoded masks."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import cv2
import mmcv
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.mask import encode_mask_results
from mmengine.structures import InstanceData
from torch import Tensor

from benchmarking.checks import check_positive
from benchmarking.measure import NAMES, Variant, circumstances, compare, report, say
from benchmarking.models import Settings, build, described
from benchmarking.parts import BASELINE_PARTS, OUR_PARTS, PartClock, print_parts
from vispropnet.engine.acceleration import (
    Acceleration,
    inference_precision,
    prepare_for_inference,
)
from vispropnet.models.detectors import MMDetMaskTrackRCNN, VISDetector
from vispropnet.models.frames import Frame, split_frames
from vispropnet.registry import TRANSFORMS

# Boxes that pass the score threshold, for each that is to be left. With drawn weights no score
# means anything; a trained model leaves the suppression about as many to choose from.
CANDIDATES = 20


@dataclass(frozen=True)
class InferSettings(Settings):
    """Whose test frames are measured, and on what.

    Args:
        detections: That each model is to find in a frame, as a limit that binds.
        batch: Frames of the video that ours encodes at once; both go through so many in a run.
        amp: Mixed precision of ours, ``'bf16'`` or ``'fp16'``; the baseline computes in float32.
    """

    detections: int = 10
    batch: int = 1
    amp: str | None = None

    def check(self) -> None:
        """Checks them.

        Raises:
            UserError: for what cannot be run.
        """
        check_positive(detections=self.detections, batch=self.batch)
        super().check()
        Acceleration(amp=self.amp).check(self.device)


class FrameRunner:
    """One of the two models, and the way of frames through it.

    Args:
        model: Whose; mmdet's class goes the way that mmdet's test goes.
        image: (3, H, W) uint8 frame.
        size: Width and height that frames are resized to.
        batch: Frames of a run.
    """

    def __init__(
        self, model: VISDetector, image: Tensor, size: tuple[int, int], batch: int = 1
    ) -> None:
        self.model = model
        self.jpeg = cv2.imencode('.jpg', image.permute(1, 2, 0).numpy())[1].tobytes()
        self.resize = TRANSFORMS.build(dict(type='Resize', scale=size, keep_ratio=True))
        self.pack = TRANSFORMS.build(dict(type='PackFrameInputs'))
        self.clock = PartClock(next(model.parameters()).device)
        self.batch = batch

    def load(self, numbers: Sequence[int]) -> tuple[Tensor, list[dict[str, Any]]]:
        """Decodes, resizes, normalises and pads frames.

        Args:
            numbers: Of the frames in the video.

        Returns:
            (F, 3, H, W) and what the model is told of each.
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
        """Loads frames and encodes them at once.

        Args:
            numbers: Of the frames in the video.
        """
        images, metainfos = self.load(numbers)
        with torch.no_grad(), inference_precision(self.model):
            return split_frames(self.model.encode(images), metainfos)

    def step(self, frame: Frame, state: Any) -> tuple[InstanceData, Any]:
        """Steps through a frame of a model that answers at once.

        Args:
            frame: The frame.
            state: Before it.

        Returns:
            Its instances, and the state after it.
        """
        with inference_precision(self.model):
            ((_, instances),), state = self.model.step(frame, state)
        return instances, state

    def run(self, state: Any) -> list[InstanceData]:
        """Takes the frames after the first of a video from the JPEG to encoded masks.

        Args:
            state: After the first.

        Returns:
            The instances of each, with ``rles`` instead of masks.
        """
        found = []
        for frame in self.encode(range(1, 1 + self.batch)):
            if isinstance(self.model, MMDetMaskTrackRCNN):
                with torch.no_grad():
                    instances = self.model.predict(frame, state)
                with self.clock.part('encode'):
                    rles = encode_mask_results(instances.masks.detach().cpu().numpy())
            else:
                instances, state = self.step(frame, state)
                with self.clock.part('encode'):
                    rles = instances.masks.rles()
            del instances.masks
            instances.rles = rles
            found.append(instances)
        return found

    def split(self, state: Any) -> dict[str, float]:
        """Runs once more and says what each part took.

        Args:
            state: As for :meth:`run`.

        Returns:
            Seconds by part.
        """
        owner, parts = self.model, OUR_PARTS
        if isinstance(self.model, MMDetMaskTrackRCNN):
            owner = SimpleNamespace(detector=self.model.model.detector, tracker=state.tracker)
            parts = BASELINE_PARTS
        with self.clock.watch(owner, parts):
            self.run(state)
        return self.clock.seconds


def benchmark_infer(settings: InferSettings, repeats: int, memory: bool = True) -> dict[str, Any]:
    """Measures a test frame, end to end, and then its parts.

    The tracks of a frame before are known. A model that recovers tracks has a full history, and no
    track of it is missing: what is measured is the frame that most frames are.

    Args:
        settings: Whose, and on what.
        repeats: Timed runs of each.
        memory: Whether memory is measured.

    Returns:
        The JSON object of the last line.

    Raises:
        UserError: for settings that cannot be run.
    """
    settings.check()
    check_positive(repeats=repeats)
    small = replace(settings, size=(64, 64))
    result = compare(make_infer, settings, small, repeats, settings.device, memory)
    say('parts ...')
    parts = _time_parts(settings, repeats)
    counts = {name: len(found[-1]) for name, found in result.outputs.items()}
    measured = {
        **described(settings),
        'objects': settings.objects,
        'from_to': 'JPEG to run-length encoded masks',
        'test_cfg': "the config's for both" if settings.same_test_cfg else "each config's own",
        'frames_of_a_run': settings.batch,
        'encoded_at_once': {'ours': settings.batch, 'baseline': 1},
        'amp': settings.amp,
        'max_detections': settings.detections,
        'detections': counts,
        'history': 'full where there is one; no track is missing',
        'parts_s': parts,
        **circumstances(settings.device, repeats, settings.seed),
    }
    if set(counts.values()) != {settings.detections}:
        say(
            f'note: {counts["ours"]} instances against {counts["baseline"]} of the baseline, '
            f'of {settings.detections} detections wanted'
        )
    print_parts(parts)
    return report('infer', result, None, measured)


def make_infer(name: str, settings: InferSettings) -> Variant:
    """Builds one of the two test frames for :func:`~benchmarking.measure.compare`.

    Args:
        name: ``'ours'`` or ``'baseline'``.
        settings: Whose, and on what.
    """
    runner, prepare = _make_runner(name, settings)
    return Variant(runner.run, prepare)


def _make_runner(name: str, settings: InferSettings) -> tuple[FrameRunner, Callable[[], Any]]:
    model, data = build(name, settings)
    # The baseline stays as it comes.
    model = model.eval()
    runner = FrameRunner(model, data['inputs'][0][0], settings.size, settings.batch)
    images, metainfos = runner.load([0])
    limit_detections(model, images[0], metainfos[0], settings.detections)
    if name == 'ours':
        prepare_for_inference(model, settings.amp)
    _, state = runner.step(runner.encode([0])[0], model.init_state())
    state = _with_history(runner, state)
    # mmdet's state is changed by a run, so each gets a copy; ours is never changed.
    mutable = isinstance(model, MMDetMaskTrackRCNN)

    def prepare() -> Any:
        return copy.deepcopy(state) if mutable else state

    return runner, prepare


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


def _time_parts(settings: InferSettings, repeats: int) -> dict[str, dict[str, float]]:
    """Median seconds of each part of both models."""
    runners = {name: _make_runner(name, settings) for name in NAMES}
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
    if getattr(state, 'propagation', None) is None:
        return state
    recovery = runner.model.recovery
    without = replace(state, propagation=recovery.init_memory())
    _, after = runner.step(runner.encode([1])[0], without)
    history = after.propagation.history[-1:] * recovery.history_length
    return replace(state, propagation=replace(after.propagation, history=history))
