"""A test frame of two configs' models, from the JPEG to its encoded masks."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import cv2
import mmcv
import torch
from mmdet.structures import DetDataSample, TrackDataSample
from mmdet.structures.mask import encode_mask_results
from mmengine.structures import InstanceData
from torch import Tensor

from vispropnet.benchmarks.checks import check_positive
from vispropnet.benchmarks.measure import NAMES, Variant, circumstances, compare, report, say
from vispropnet.benchmarks.parts import BASELINE_PARTS, OUR_PARTS, PartClock, print_parts
from vispropnet.benchmarks.steps import Settings, build, described
from vispropnet.engine.acceleration import prepare_for_inference
from vispropnet.models.detectors import MMDetMaskTrackRCNN, VISDetector
from vispropnet.registry import TRANSFORMS

# Boxes that pass the score threshold, for each that is to be left. With drawn weights no score
# means anything; a trained model leaves the suppression about as many to choose from.
CANDIDATES = 20


@dataclass(frozen=True)
class InferSettings(Settings):
    """Whose test frames are measured, and on what.

    Args:
        detections: That each model is to find in a frame, as a limit that binds.
    """

    detections: int = 10

    def check(self) -> None:
        """Checks them.

        Raises:
            UserError: for what cannot be run.
        """
        check_positive(detections=self.detections)
        super().check()


class FrameRunner:
    """One of the two models, and the way of a frame through it.

    Args:
        model: Whose; mmdet's class goes the way that mmdet's test goes.
        image: (3, H, W) uint8 frame.
        size: Width and height that frames are resized to.
    """

    def __init__(self, model: VISDetector, image: Tensor, size: tuple[int, int]) -> None:
        self.model = model
        self.jpeg = cv2.imencode('.jpg', image.permute(1, 2, 0).numpy())[1].tobytes()
        self.resize = TRANSFORMS.build(dict(type='Resize', scale=size, keep_ratio=True))
        self.pack = TRANSFORMS.build(dict(type='PackFrameInputs'))
        self.clock = PartClock(next(model.parameters()).device)

    def load(self, frame: int) -> tuple[Tensor, dict[str, Any]]:
        """Decodes, resizes, normalises and pads the frame.

        Args:
            frame: Its number in the video.

        Returns:
            (3, H, W) and what the model is told of it.
        """
        with self.clock.part('decode'):
            image = mmcv.imfrombytes(self.jpeg)
        with self.clock.part('preprocess'):
            shape = image.shape[:2]
            loaded = dict(img=image, img_shape=shape, ori_shape=shape, frame_id=frame)
            packed = self.pack(self.resize(loaded))
            data = {name: [value] for name, value in packed.items()}
            batch = self.model.data_preprocessor(data, False)
        return batch['inputs'][0], batch['data_samples'][0].metainfo

    def run(self, state: Any) -> InstanceData:
        """Takes the second frame of a video from the JPEG to encoded masks.

        Args:
            state: After the first.

        Returns:
            Its instances, with ``rles`` instead of masks.
        """
        image, metainfo = self.load(1)
        if isinstance(self.model, MMDetMaskTrackRCNN):
            instances = self._predict_as_mmdet(image, metainfo, state)
            with self.clock.part('encode'):
                rles = encode_mask_results(instances.masks.detach().cpu().numpy())
        else:
            instances, _ = self.model.step(image, metainfo, state)
            with self.clock.part('encode'):
                rles = instances.masks.rles()
        del instances.masks
        instances.rles = rles
        return instances

    @torch.no_grad()
    def _predict_as_mmdet(self, image: Tensor, metainfo: dict, tracker: Any) -> InstanceData:
        sample = DetDataSample(metainfo=metainfo)
        self.model.model.tracker = tracker
        self.model.model.predict(image[None, None], [TrackDataSample(video_data_samples=[sample])])
        return sample.pred_track_instances

    def split(self, state: Any) -> dict[str, float]:
        """Runs once more and says what each part took.

        Args:
            state: As for :meth:`run`.

        Returns:
            Seconds by part.
        """
        if isinstance(self.model, MMDetMaskTrackRCNN):
            self.model.model.tracker = state
            owner, parts = self.model.model, BASELINE_PARTS
        else:
            owner, parts = self.model, OUR_PARTS
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
    counts = {name: len(found) for name, found in result.outputs.items()}
    measured = {
        **described(settings),
        'objects': settings.objects,
        'from_to': 'JPEG to run-length encoded masks',
        'test_cfg': "the config's for both" if settings.same_test_cfg else "each config's own",
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
    """Builds one of the two test frames for :func:`~vispropnet.benchmarks.measure.compare`.

    Args:
        name: ``'ours'`` or ``'baseline'``.
        settings: Whose, and on what.
    """
    runner, prepare = _make_runner(name, settings)
    return Variant(runner.run, prepare)


def _make_runner(name: str, settings: InferSettings) -> tuple[FrameRunner, Callable[[], Any]]:
    model, data = build(name, settings)
    # The baseline stays as it comes.
    model = prepare_for_inference(model) if name == 'ours' else model.eval()
    runner = FrameRunner(model, data['inputs']['key'][0], settings.size)
    image, metainfo = runner.load(0)
    limit_detections(model, image, metainfo, settings.detections)
    _, state = model.step(image, metainfo, model.init_state())
    state = _with_history(model, image, dict(metainfo, frame_id=1), state)
    # A mutable state (mmdet's) is copied for each run, one that is never changed need not be.
    mutable = isinstance(state, torch.nn.Module)

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


def _with_history(model: VISDetector, image: Tensor, metainfo: dict, state: Any) -> Any:
    """A state whose history is full, and holds exactly the tracks that the next frame shows.

    Association does not look at the history, so the ids that the frame's detections get are known
    from a run without one.
    """
    recovery = getattr(model, 'recovery', None)
    if recovery is None or not recovery.enabled:
        return state
    _, after = model.step(image, metainfo, replace(state, history=()))
    return replace(state, history=after.history[-1:] * recovery.history_length)
