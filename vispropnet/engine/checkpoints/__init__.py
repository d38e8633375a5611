"""Checkpoints: reading, checking, loading, writing and resuming from them."""
