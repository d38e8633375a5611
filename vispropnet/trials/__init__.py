"""The trials: the same data, one change at a time, and what can be said of it."""
