"""Serves ``mmcv._ext`` when mmcv was installed without compiled operators.

mmcv's wheels with compiled operators do not exist for current torch, and compiling them takes a
toolchain and a quarter of an hour. ``import mmdet.models`` needs the module all the same. The
finder below stands at the very end of ``sys.meta_path``: where a compiled ``mmcv._ext`` exists, the
ordinary finders have already found it and this one is never asked.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
from types import ModuleType

EXTENSION = 'mmcv._ext'
IMPLEMENTATION = 'vispropnet.ops.mmcv_ext'


class _StandInLoader(importlib.abc.Loader):
    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        implementation = importlib.import_module(IMPLEMENTATION)
        for name in implementation.__all__:
            setattr(module, name, getattr(implementation, name))
        # mmcv asserts at import that each of its operators is there; those that are not provided
        # exist as functions that say so when called.
        module.__getattr__ = implementation.missing_operator


class StandInFinder(importlib.abc.MetaPathFinder):
    """Finds ``mmcv._ext`` and nothing else."""

    def find_spec(self, fullname, path=None, target=None):
        """Returns a module spec for ``mmcv._ext``, ``None`` for every other name."""
        if fullname != EXTENSION:
            return None
        return importlib.machinery.ModuleSpec(
            fullname, _StandInLoader(), origin=f'{IMPLEMENTATION} (torchvision kernels)'
        )


def register_stand_in() -> None:
    """Appends the finder to ``sys.meta_path``, once however often it is called."""
    if not any(isinstance(finder, StandInFinder) for finder in sys.meta_path):
        sys.meta_path.append(StandInFinder())
