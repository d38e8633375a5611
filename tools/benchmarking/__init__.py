"""Ours beside a named baseline, in one run: what ``tools/benchmark.py`` calls."""
