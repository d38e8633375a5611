"""Track heads: embeddings of objects and how well they match."""

from vispropnet.models.track_heads.embedding_head import EmbeddingHead, matching_logits
from vispropnet.models.track_heads.roi_feature_embedding import RoIFeatureEmbedding
from vispropnet.models.track_heads.track_head import TrackHead

__all__ = ['EmbeddingHead', 'RoIFeatureEmbedding', 'TrackHead', 'matching_logits']
