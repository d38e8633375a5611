"""What every video instance segmentation detector offers."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from mmdet.structures import DetDataSample
from mmengine.model import BaseModel
from mmengine.structures import InstanceData
from torch import Tensor

from vispropnet.registry import MODELS

Pairs = dict[str, list[DetDataSample]]


class VISDetector(BaseModel):
    """Training on pairs of frames, inference frame by frame.

    A detector holds weights and settings, and nothing of a video: that is in the state, which
    :meth:`step` takes and gives. So videos can be interleaved, and validation, test and the Python
    API all run the same code.

    Args:
        data_preprocessor: Config of the preprocessing.
        init_cfg: Initialisation, as in mmengine.
    """

    def __init__(self, data_preprocessor: dict | None = None, init_cfg: dict | None = None) -> None:
        # Built here, in our scope: mmengine's own look-up depends on a global default scope.
        built = MODELS.build(data_preprocessor or dict(type='VISDataPreprocessor'))
        super().__init__(data_preprocessor=built, init_cfg=init_cfg)

    @abstractmethod
    def loss(self, inputs: Tensor, data_samples: Pairs) -> dict[str, Tensor]:
        """Losses of a batch of pairs.

        Args:
            inputs: (2B, 3, H, W) preprocessed frames, the B key frames first.
            data_samples: Ground truth: ``key`` and ``ref``, a list of B samples each.

        Returns:
            Named losses (names with ``loss`` are summed up) and other figures to log.
        """

    @abstractmethod
    def init_state(self) -> Any:
        """Makes the state of a video before its first frame."""

    @abstractmethod
    def step(self, image: Tensor, metainfo: dict, state: Any) -> tuple[InstanceData, Any]:
        """Segments and associates the next frame of a video.

        Args:
            image: (3, H, W) preprocessed frame.
            metainfo: ``img_shape``, ``ori_shape``: (height, width) before padding, and of the frame
                as it came; ``scale_factor``: (x, y) network pixels per frame pixel.
            state: What :meth:`init_state` or the step before gave.

        Returns:
            Instances of this frame: ``ids``, ``labels``, ``scores``, ``bboxes`` ((N, 4) in pixels
            of the frame as it came) and ``masks`` (N
            :class:`~vispropnet.models.frame_masks.FrameMasks` of the same size), and from models
            that propagate ``propagated`` ((N,) bool); and the state for the next frame.

        Raises:
            UserError: if the frame has another size than those before it.
        """

    def forward(
        self, inputs: Tensor, data_samples: Any = None, mode: str = 'loss'
    ) -> dict[str, Tensor]:
        """Computes losses; mmengine's training step calls this.

        Args:
            inputs: As in :meth:`loss`.
            data_samples: As in :meth:`loss`.
            mode: ``'loss'``.

        Raises:
            ValueError: for another mode: inference goes frame by frame, through :meth:`step`.
        """
        if mode != 'loss':
            raise ValueError(f"mode must be 'loss', got {mode!r}; use step() for inference")
        return self.loss(inputs, data_samples)
