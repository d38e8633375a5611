"""Contract of every video instance segmentation detector."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from mmdet.structures import DetDataSample
from mmengine.model import BaseModel
from torch import Tensor, nn

from vispropnet.models.frames import Answers, Frame, TrackScores
from vispropnet.models.looks import BoxLook, Look
from vispropnet.registry import MODELS

# The samples of each clip, the key frame's first.
Clips = Sequence[Sequence[DetDataSample]]


class VISDetector(BaseModel):
    """Training on clips of frames, inference frame by frame.

    A detector holds weights and settings, and nothing of a video: that is in the state, which
    :meth:`step` takes and gives. So videos can be interleaved, and validation, test and the Python
    API all run the same code.

    Args:
        data_preprocessor: Config of the preprocessing.
        init_cfg: Initialisation, as in mmengine.

    Attributes:
        look_ahead: By how many frames, at most, answers lag behind the frames given to
            :meth:`step`.
        state_type: Class of the model's states.
        plain_weights: Name of the part that the weights of a plain detector, of single images,
            fill; '' if there is none.
        takes_objects: Whether objects are given with the frames (:attr:`Frame.objects`), and only
            these are segmented.
        overview: How many frames of a video, spread evenly over it, :meth:`look_over` is shown
            before the first step; all of a shorter video.
    """

    look_ahead: int = 0
    overview: int = 0
    state_type: type = object
    plain_weights: str = ''
    takes_objects: bool = False

    def __init__(self, data_preprocessor: dict | None = None, init_cfg: dict | None = None) -> None:
        # Built here, in our scope: mmengine's own look-up depends on a global default scope.
        built = MODELS.build(data_preprocessor or dict(type='VISDataPreprocessor'))
        super().__init__(data_preprocessor=built, init_cfg=init_cfg)

    @abstractmethod
    def loss(self, inputs: Tensor, clips: Clips) -> dict[str, Tensor]:
        """Losses of a batch of clips of a key frame and its references.

        Args:
            inputs: (B * T, 3, H, W) preprocessed frames, clip by clip, the key frame first in each.
            clips: Ground truth: B clips of T samples each.

        Returns:
            Named losses (names with ``loss`` are summed up) and other values to log.

        Raises:
            ValueError: if the model needs reference frames and the clips have none.
        """

    @abstractmethod
    def encode(self, images: Tensor) -> Any:
        """Computes the features of frames, each by itself.

        Args:
            images: (F, 3, H, W) preprocessed frames, of one video or of several.

        Returns:
            A tensor whose first axis is the frames, or tuples, lists and dicts of such.
        """

    @abstractmethod
    def init_state(self) -> Any:
        """Makes the state of a video before its first frame: a frozen dataclass of the model's."""

    def look_over(self, frame: Frame, state: Any) -> Any:
        """Takes the next frame of the :attr:`overview` of a video, before the first step.

        Called only for models that have one, and not for frames that come one by one without an
        end, as those of a camera.

        Args:
            frame: The frame, in the order of the video.
            state: What :meth:`init_state` or the call before gave.

        Returns:
            The state.
        """
        raise NotImplementedError(f'{type(self).__name__} sets overview without look_over()')

    @abstractmethod
    def step(self, frame: Frame, state: Any) -> tuple[Answers, Any]:
        """Takes the next frame of a video.

        Every frame of a video is answered once, in order, at the latest :attr:`look_ahead` frames
        later or by :meth:`finish`.

        Args:
            frame: The frame.
            state: What :meth:`init_state`, :meth:`look_over` or the step before gave.

        Returns:
            Answers that are ready: a list of numbers of frames, each with the frame's N instances:
            ``ids`` ((N,) int64, no two alike), ``labels`` ((N,) int64), ``scores`` ((N,) in
            [0, 1]), ``bboxes`` ((N, 4) in pixels of the original frame) and ``masks``
            (:class:`~vispropnet.models.frame_masks.FrameMasks` of the same size), and from models
            that propagate ``propagated`` ((N,) bool); and the state for the next frame.

        Raises:
            UserError: if the frame has another size than those before it.
            ValueError: if the state is of another model.
        """

    def finish(self, state: Any) -> Answers:
        """Gives, as :meth:`step`, the answers that are still due when a video has ended.

        Args:
            state: After the last frame.
        """
        return []

    def frames_kept(self, state: Any) -> int:
        """Counts the frames that a state holds in a memory for later ones; 0 without a memory."""
        return 0

    def track_scores(self, state: Any) -> TrackScores | None:
        """Rates the tracks of a video, for models that do so over all of its frames.

        Args:
            state: After the last frame.

        Returns:
            Categories and scores; None, as by default, has them follow from the frames' answers:
            the category with the largest sum of scores, and the mean of the scores.
        """
        return None

    def check_state(self, state: Any) -> None:
        """Raises a ValueError if a state given to :meth:`step` is not of this kind of model."""
        if self.state_type is object:
            name = type(self).__name__
            raise ValueError(f'{name} must set state_type to the class that its init_state() makes')
        if type(state) is not self.state_type:
            raise ValueError(
                f'step: state must be a {self.state_type.__name__}, as init_state() of '
                f'{type(self).__name__} makes it, got a {type(state).__name__}'
            )

    def forward(
        self, inputs: Tensor, data_samples: Any = None, mode: str = 'loss'
    ) -> dict[str, Tensor]:
        """Computes losses (``mode`` is ``'loss'``); mmengine's training step calls this.

        Raises:
            ValueError: for another mode: inference goes through :meth:`encode` and :meth:`step`.
        """
        if mode != 'loss':
            raise ValueError(f"mode must be 'loss', got {mode!r}; use step() for inference")
        return self.loss(inputs, data_samples)

    def float32_outputs(self) -> list[nn.Module]:
        """Modules whose outputs are cast to float32 under mixed precision; none by default.

        Those before RoIAlign and the losses, which need float32.
        """
        return []

    def category_counts(self) -> dict[str, int]:
        """Number of categories of each part that tells them apart, by dotted name.

        Parts that treat all categories alike are left out, and classifiers of other things, as an
        encoder may carry one. Empty by default.
        """
        return {}

    def looks(self, current: Any, reference: Any, label: int | None = None) -> list[Look]:
        """Ways in which places of a frame look at another frame, for analysis; none by default.

        Args:
            current: Features of one frame, as :meth:`encode` gives them.
            reference: The same of the other frame.
            label: Category of the places that look, where it is known.

        Raises:
            UserError: if a way differs by category and none is given.
        """
        return []

    def supporting_frames(self, number: int, length: int) -> list[int]:
        """Lists the frames of a video that support a frame at test; none by default.

        Args:
            number: Of the frame in its video, from 0.
            length: Of the video, in frames.
        """
        return []

    def box_looks(self, frame: Frame, support: Sequence[Frame], box: Tensor) -> list[BoxLook]:
        """Places in supporting frames that parts read for a box, for analysis; none by default.

        Args:
            frame: The frame of the box.
            support: Frames as :meth:`supporting_frames` lists them.
            box: (4,) x1, y1, x2, y2 in pixels of the network's input.
        """
        return []

    def explain_missing(self, missing: Collection[str]) -> str:
        """Explains, for a message, why a checkpoint may lack weights of this model, and what to do.

        Args:
            missing: Keys of the model that the checkpoint lacks.

        Returns:
            The explanation; '' if there is none.
        """
        return ''

    def explain_misfit(self, shapes: Mapping[str, tuple[int, ...]]) -> str:
        """Explains, for a message, of which kind a checkpoint is that does not fit this model.

        Args:
            shapes: Shape of each tensor of the checkpoint, by the keys that they have there.

        Returns:
            The explanation; '' if there is none.
        """
        return ''


def frames_of_clips(clips: Clips) -> list[tuple[DetDataSample, ...]]:
    """Sorts the samples of B clips by position: tuples of B key frames, of first references ...

    Raises:
        ValueError: for clips without a reference frame.
    """
    samples = list(zip(*clips, strict=True))
    if len(samples) < 2:
        raise ValueError(
            'training takes clips of a key frame and one or more reference frames, got clips '
            f'without a reference frame (T={len(samples)})'
        )
    return samples


def mean_of_losses(losses: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Means of the scalars, by name, that a head gives for each reference frame to lose or log."""
    first = losses[0]
    if len(losses) == 1:
        return first
    return {name: torch.stack([one[name] for one in losses]).mean() for name in first}
