"""Reading in the background while the caller works."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar('Item')
_END = object()


def read_ahead(items: Iterable[Item], depth: int = 4) -> Generator[Item, None, None]:
    """Draws from an iterable in a thread of its own, a few items ahead.

    The thread starts with the first item asked for and has ended when this generator has, however
    that comes about: at the end, closed early, or by an exception. A generator given as ``items``
    runs and is closed in that thread.

    Args:
        items: What to draw from.
        depth: How many items may lie ready; one more is being made meanwhile.

    Yields:
        The items, in order.

    Raises:
        ValueError: if ``depth`` is less than 1.
        BaseException: what ``items`` raises, after the items before it.
    """
    if depth < 1:
        raise ValueError(f'depth must be 1 or more, got {depth}')
    return _drawn(items, depth)


def _drawn(items: Iterable[Item], depth: int) -> Generator[Item, None, None]:
    iterator = iter(items)
    with ThreadPoolExecutor(1, thread_name_prefix='read-ahead') as thread:
        pending = deque(thread.submit(next, iterator, _END) for _ in range(depth + 1))
        try:
            # No name for an item here: it would be kept alive while the next is waited for.
            while pending[0].result() is not _END:
                pending.append(thread.submit(next, iterator, _END))
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
            if hasattr(iterator, 'close'):
                thread.submit(iterator.close)
