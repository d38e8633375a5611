"""Ours beside a named baseline, in one run: the work of ``tools/benchmark.py``."""

import vispropnet  # noqa: F401  (first of all, also in new processes: modules import mmdet and torch)
