"""RoI features themselves as embeddings, for detectors that no track head was trained with."""

from __future__ import annotations

from collections.abc import Sequence

from mmengine.model import BaseModule
from torch import Tensor
from torch.nn import functional

from vispropnet.models.trackers.query_matching import cosine_similarities
from vispropnet.registry import MODELS


@MODELS.register_module()
class RoIFeatureEmbedding(BaseModule):
    """Embeds objects by their RoI features and compares them by the cosine; nothing is trained.

    Args:
        min_similarity: Cosine at which a detection is as likely a new object as the known one.
        temperature: How fast that changes: matching logits are the difference times this.
    """

    def __init__(self, min_similarity: float = 0.5, temperature: float = 10.0) -> None:
        super().__init__()
        self.min_similarity = min_similarity
        self.temperature = temperature

    def forward(self, roi_features: Tensor) -> Tensor:
        """Embeds RoI features (N, C, height, width): (N, C * height * width) of length 1."""
        return functional.normalize(roi_features.flatten(1).float(), dim=1)

    def match(self, embeddings: Tensor, references: Tensor) -> Tensor:
        """Matching logits, with "a new object" as column 0.

        Args:
            embeddings: (N, C) of objects in the current frame.
            references: (M, C) of known objects.

        Returns:
            (N, 1 + M) float32: 0, and ``temperature * (cosine - min_similarity)``.
        """
        similarities = cosine_similarities(embeddings, references)
        logits = self.temperature * (similarities - self.min_similarity)
        return functional.pad(logits, (1, 0))

    def loss_by_feat(
        self,
        embeddings: Sequence[Tensor],
        references: Sequence[Tensor],
        identities: Sequence[Tensor],
        reference_identities: Sequence[Tensor],
    ) -> dict[str, Tensor]:
        """Gives no losses: there is nothing to train. The arguments are those of other heads."""
        return {}
