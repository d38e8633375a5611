"""Track heads: embeddings of objects and how well they match."""

from vispropnet.models.track_heads.embedding_head import EmbeddingHead, matching_logits
from vispropnet.models.track_heads.track_head import TrackHead

__all__ = ['EmbeddingHead', 'TrackHead', 'matching_logits']
