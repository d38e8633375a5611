"""Times of the parts of a test frame."""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

# Methods, by their path from the model, and the part that they are.
OUR_PARTS = {
    'encode': 'backbone and neck',
    'attend': 'attention',
    'propose': 'proposals',
    'detect': 'heads',
    'associate': 'association',
    'carry': 'propagation',
    'recover': 'propagation',
    'segment': 'masks',
}
# Of MinVIS; what encode calls, so that parts do not nest.
QUERY_PARTS = {
    'detector.extract_feat': 'backbone and neck',
    'find_queries': 'queries',
    'associate': 'association',
    'segment': 'masks',
}
BASELINE_PARTS = {
    'detector.extract_feat': 'backbone and neck',
    'detector.rpn_head.predict': 'proposals',
    'detector.roi_head.predict_bbox': 'heads',
    'tracker.track': 'association',
    'detector.roi_head.predict_mask': 'masks',
}
_LATER = tuple(OUR_PARTS.values())[1:]
ORDER = ('decode', 'preprocess', OUR_PARTS['encode'], 'queries', *_LATER, 'encode', 'rest')


class PartClock:
    """Times parts of a run; outside :meth:`watch` it does nothing, and takes no time.

    Args:
        device: Waited for at the ends of a part.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: dict[str, float] = {}
        self._running = False

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Times a block, without the parts within it; parts of one name are added up."""
        if not self._running:
            yield
            return
        start, before = self._now(), sum(self.seconds.values())
        yield
        within = sum(self.seconds.values()) - before
        self.seconds[name] = self.seconds.get(name, 0.0) + self._now() - start - within

    @contextmanager
    def watch(self, owner: Any, methods: Mapping[str, str]) -> Iterator[None]:
        """Times the parts of a block, and as ``rest`` what is in none of them.

        Args:
            owner: Has the methods.
            methods: Part by method, ``a.b.method`` being one of ``owner.a.b``; those that there
                are not are left out.
        """
        with ExitStack() as stack:
            for path, part in methods.items():
                holder, _, method = path.rpartition('.')
                one = functools.reduce(getattr, holder.split('.') if holder else [], owner)
                if hasattr(one, method):
                    setattr(one, method, self._timed(getattr(one, method), part))
                    stack.callback(delattr, one, method)
            self.seconds, self._running = {}, True
            start = self._now()
            try:
                yield
                whole = self._now() - start
            finally:
                self._running = False
        self.seconds['rest'] = whole - sum(self.seconds.values())

    @staticmethod
    def medians(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
        """Median of each part over runs of the same parts, in the order of a frame."""
        return {
            part: statistics.median(run[part] for run in runs) for part in ORDER if part in runs[0]
        }

    def _timed(self, method: Callable, part: str) -> Callable:
        @functools.wraps(method)
        def timed(*arguments: Any, **options: Any) -> Any:
            with self.part(part):
                return method(*arguments, **options)

        return timed

    def _now(self) -> float:
        if self.device.type == 'cuda':
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


def print_parts(parts: Mapping[str, Mapping[str, float]]) -> None:
    """Prints a table of seconds, by variant and part."""
    print(f'{"part (median, ms)":20}' + ''.join(f'{name:>12}' for name in parts))
    for part in ORDER:
        if any(part in one for one in parts.values()):
            cells = (f'{1000 * one[part]:.1f}' if part in one else '-' for one in parts.values())
            print(f'{part:20}' + ''.join(f'{cell:>12}' for cell in cells))
