"""Runs a video through a model: encodes several frames at once, answers each once."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from mmengine.structures import InstanceData
from torch import Tensor

from vispropnet.engine.acceleration import inference_precision
from vispropnet.engine.gpu_memory import explain_lack_of_memory
from vispropnet.errors import UserError
from vispropnet.models.detectors import VISDetector
from vispropnet.models.frame_masks import FrameMasks
from vispropnet.models.frames import Answers, Frame, FrameSize, TrackScores, split_frames

# Frames that a GPU encodes at once by default.
GPU_BATCH = 4


def frames_at_once(batch: int | None, device: torch.device) -> int:
    """Chooses the number of frames of a video that are encoded at once.

    Args:
        batch: What was asked for; None for 1 on a CPU and 4 elsewhere.
        device: Device of the model.

    Raises:
        UserError: for what is no positive integer.
    """
    if batch is None:
        return 1 if device.type == 'cpu' else GPU_BATCH
    if type(batch) is not int or batch < 1:
        raise UserError(
            f'batch (frames of a video that are encoded at once) must be 1 or more, got {batch!r}.'
        )
    return batch


@torch.no_grad()
def encode_frames(
    model: VISDetector, inputs: Sequence[Tensor], samples: Sequence[Any]
) -> list[Frame]:
    """Encodes frames at once.

    Args:
        model: In evaluation mode.
        inputs: F frames, (3, H, W) uint8, of one size.
        samples: Their ``DetDataSample``s.

    Raises:
        UserError: if the model gives features of another number of frames.
    """
    data = dict(inputs=list(inputs), data_samples=list(samples))
    with explain_lack_of_memory(), inference_precision(model):
        batch = model.data_preprocessor(data, False)
        features = model.encode(batch['inputs'])
    try:
        return split_frames(features, [sample.metainfo for sample in batch['data_samples']])
    except ValueError as error:
        raise UserError(
            f'{type(model).__name__}.encode must give features whose first axis is the frames: '
            f'{error}.'
        ) from None


class _Place(NamedTuple):
    """Progress of a video: the model's state, and what is not yet answered or handed over."""

    state: Any
    waiting: tuple[tuple[int, FrameSize], ...] = ()  # numbers and sizes of frames
    last: int | None = None  # number of the last frame that the model has taken
    ready: tuple[tuple[int, InstanceData], ...] = ()


class VideoRun:
    """Takes the frames of one video through a model, which runs of several videos may share.

    Checks that the model answers every frame once, in order, and not later than it says.
    """

    def __init__(self, model: VISDetector) -> None:
        self.model = model
        # One attribute, so that an interruption leaves it as it was or as it is to be.
        self._place = _Place(model.init_state())
        self._video: Any = None

    @property
    def num_frames(self) -> int:
        """Number of the next frame: how many the model has taken."""
        return 0 if self._place.last is None else self._place.last + 1

    @property
    def frames_kept(self) -> int:
        """Number of frames that the model holds in its memory."""
        return self.model.frames_kept(self._place.state)

    @torch.no_grad()
    def look_over(self, inputs: Sequence[Tensor], samples: Sequence[Any]) -> None:
        """Shows the model the next frames of its overview of the video, encoded at once.

        Args:
            inputs: F frames, (3, H, W) uint8, of one size.
            samples: Their ``DetDataSample``s.

        Raises:
            UserError: if the model refuses a frame.
            ValueError: after the first frame of the video.
        """
        if self.num_frames:
            raise ValueError(f'the overview comes before the first frame, not {self.num_frames}')
        for frame in encode_frames(self.model, inputs, samples):
            with explain_lack_of_memory(), inference_precision(self.model):
                state = self.model.look_over(frame, self._place.state)
            self._place = self._place._replace(state=state)

    @torch.no_grad()
    def answers(
        self,
        inputs: Sequence[Tensor],
        samples: Sequence[Any],
        objects: Sequence[Mapping[int, Tensor] | None] | None = None,
    ) -> Iterator[tuple[int, InstanceData]]:
        """Encodes the next frames at once, and steps through them.

        Args:
            inputs: F frames, (3, H, W) uint8, of one size.
            samples: Their ``DetDataSample``s, whose meta information has ``frame_id``.
            objects: Given objects of each, for models that take them.

        Yields:
            Answers as they are ready.

        Raises:
            UserError: if the model answers a frame twice, never, late, out of order or with
                something else than instances, or refuses a frame; answers before the fault have
                been given by then.
        """
        frames = encode_frames(self.model, inputs, samples)
        for frame, given in zip(frames, objects or [None] * len(frames), strict=True):
            self._step(frame if given is None else frame.with_objects(given))
            while self._place.ready:
                yield self._place.ready[0]
                # Not before: should the caller be interrupted meanwhile, finish() gives it again.
                self._place = self._place._replace(ready=self._place.ready[1:])

    @torch.no_grad()
    def finish(self) -> Answers:
        """Gives the answers that are still due when the video has ended.

        Returns:
            They follow those that :meth:`answers` did not hand over, if its caller was interrupted.

        Raises:
            UserError: as :meth:`answers`.
        """
        with explain_lack_of_memory(), inference_precision(self.model):
            answers = self.model.finish(self._place.state)
        waiting = self._settle(self._place.waiting, answers, self._place.last)
        if waiting:
            numbers = ', '.join(str(number) for number, _ in waiting)
            raise self._fault(f'never answered frame{"s" * (len(waiting) > 1)} {numbers}')
        ready, self._place = self._place.ready, self._place._replace(waiting=(), ready=())
        return [*ready, *answers]

    def track_scores(self) -> TrackScores | None:
        """Categories and scores of the tracks by the model's own rule, up to the last frame."""
        return self.model.track_scores(self._place.state)

    def _step(self, frame: Frame) -> None:
        self._video = frame.metainfo.get('video_id')
        with explain_lack_of_memory(), inference_precision(self.model):
            given = self.model.step(frame, self._place.state)
        if not isinstance(given, tuple) or len(given) != 2:
            raise self._fault(f'gave {_kind(given)} from step, expected (answers, state)')
        answers, state = given
        taken = frame.number, tuple(int(side) for side in frame.metainfo['ori_shape'][:2])
        waiting = self._settle((*self._place.waiting, taken), answers, frame.number)
        if len(waiting) > self.model.look_ahead:
            raise self._fault(
                f'has not answered frame {waiting[0][0]} after frame {frame.number} (its '
                f'look_ahead is {self.model.look_ahead})'
            )
        self._place = _Place(state, waiting, frame.number, (*self._place.ready, *answers))

    def _settle(
        self, waiting: tuple[tuple[int, FrameSize], ...], answers: Answers, last: int | None
    ) -> tuple[tuple[int, FrameSize], ...]:
        """Checks answers, and takes what is answered off what is waited for."""
        listed = answers if isinstance(answers, (list, tuple)) else [None]
        if not all(isinstance(one, tuple) and len(one) == 2 for one in listed):
            raise self._fault(
                f'gave {_kind(answers)} as answers, expected a list of (frame number, instances)'
            )
        due = deque(waiting)
        for number, instances in answers:
            if due and number == due[0][0]:
                self._check(number, instances, due.popleft()[1])
            elif number in dict(due):
                raise self._fault(f'answered frame {number} before frame {due[0][0]}')
            elif last is not None and number <= last:
                raise self._fault(f'answered frame {number} twice')
            else:
                raise self._fault(f'answered frame {number}, which it was not given')
        return tuple(due)

    def _check(self, number: int, instances: InstanceData, size: FrameSize) -> None:
        """Checks what an answer holds, as far as a GPU need not be waited for."""
        for name in ('ids', 'labels', 'scores', 'bboxes', 'masks'):
            if name not in instances:
                raise self._fault(f'gave no {name} for frame {number}')
        masks = instances.masks
        if not isinstance(masks, FrameMasks):
            raise self._fault(
                f'gave masks of frame {number} as {_kind(masks)}, expected FrameMasks, such as '
                'FrameMasks.dense(masks)'
            )
        if masks.size != size:
            raise self._fault(
                f'gave masks of {masks.size[1]}x{masks.size[0]} pixels for frame {number}, which '
                f'has {size[1]}x{size[0]}'
            )
        ids = instances.ids
        if ids.is_floating_point() or ids.ndim != 1:
            raise self._fault(f'gave ids of frame {number} as {_kind(ids)}, expected (N,) int64')

    def _fault(self, what: str) -> UserError:
        video = '' if self._video is None else f', video {self._video}'
        return UserError(f'{type(self.model).__name__}{video}: it {what}. See VISDetector.step.')


def _kind(value: Any) -> str:
    if isinstance(value, Tensor):
        return f'a {value.dtype} tensor of shape {tuple(value.shape)}'
    length = f' of {len(value)}' if isinstance(value, (tuple, list)) else ''
    return f'a {type(value).__name__}{length}'
