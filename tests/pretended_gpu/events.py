"""What happened on the pretended GPU, and where in the code."""

from __future__ import annotations

import os
import sys
import sysconfig
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

HERE = str(Path(__file__).parent) + os.sep
OURS = str(Path(__file__).resolve().parents[2] / 'vispropnet') + os.sep
# These only pass on what others ask for: the stand-in for mmcv's operators, mmengine's containers.
PASSING = OURS + os.path.join('ops', 'mmcv_ext.py'), os.path.join('mmengine', 'structures', '')
TORCH = os.path.dirname(torch.__file__) + os.sep
STANDARD = sysconfig.get_paths()['stdlib'] + os.sep
PACKAGES = tuple(sysconfig.get_paths()[kind] + os.sep for kind in ('purelib', 'platlib'))


@dataclass(frozen=True)
class Event:
    """Something that happened on the device; its way are ``file:line function`` of the frames.

    They are those that are neither PyTorch's nor Python's, innermost first.
    """

    what: str
    way: tuple[str, ...]
    backward: bool = False

    @property
    def place(self) -> str:
        """The innermost frame."""
        return self.way[0] if self.way else 'unknown'

    @property
    def ours(self) -> bool:
        """Tells waits of vispropnet's code from those of the libraries it calls."""
        return self.place.startswith(OURS)

    def __str__(self) -> str:
        text = self.what + (' (in backward)' if self.backward else '') + f': {short(self.place)}'
        if self.ours:
            return text
        via = next((place for place in self.way if place.startswith(OURS)), '')
        return text + (f' <- {short(via)}' if via else '')


def places() -> tuple[str, ...]:
    """Frames of the stack that are neither PyTorch's, Python's nor the pretended GPU's."""
    found = []
    frame = sys._getframe(1)
    while frame is not None:
        path = frame.f_code.co_filename
        standard = path.startswith(STANDARD) and not path.startswith(PACKAGES)
        own = path.startswith(HERE) and not os.path.basename(path).startswith('test_')
        passing = any(part in path for part in PASSING)
        if not (standard or own or passing or path.startswith((TORCH, '<'))):
            found.append(f'{path}:{frame.f_lineno} {frame.f_code.co_name}')
        frame = frame.f_back
    return tuple(found)


def short(place: str) -> str:
    """Cuts a place down to what follows the packages' folder or the checkout."""
    for mark in ('site-packages/', OURS.removesuffix('vispropnet' + os.sep)):
        if mark in place:
            return place.split(mark)[-1]
    return place


def listed(events: Sequence[Event]) -> str:
    """Lists events by their places, vispropnet's first: a line each, with how often it happened."""
    lines = Counter((not event.ours, str(event)) for event in events)
    return '\n'.join(f'{count:4} x {text}' for (_, text), count in sorted(lines.items()))
