"""Reading in the background while the caller works."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable
from typing import Any, TypeVar

Item = TypeVar('Item')


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
    ready: queue.Queue = queue.Queue(depth)
    stopped = threading.Event()
    thread = threading.Thread(
        target=_draw, args=(items, ready, stopped), name='read-ahead', daemon=True
    )
    try:
        thread.start()
        # No name for an item here: it would be kept alive while the next is waited for.
        while (entry := ready.get()) and len(entry) == 1:
            yield entry.pop()
        if entry:
            raise entry[1]
    finally:
        stopped.set()
        # Whoever waits for room finds some, and that nothing more is wanted.
        while thread.is_alive():
            _empty(ready)
            thread.join(0.01)


def _draw(items: Iterable[Any], ready: queue.Queue, stopped: threading.Event) -> None:
    """Puts ``[item]`` for each into the queue; then ``[]``, or ``[None, error]``."""
    last: list[Any] = []
    try:
        iterator = iter(items)
        try:
            while not stopped.is_set():
                try:
                    entry = [next(iterator)]
                except StopIteration:
                    break
                ready.put(entry)
                del entry
        finally:
            if hasattr(iterator, 'close'):
                iterator.close()
    except BaseException as error:
        last = [None, error]
    ready.put(last)


def _empty(ready: queue.Queue) -> None:
    try:
        while True:
            ready.get_nowait()
    except queue.Empty:
        pass
