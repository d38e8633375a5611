"""Reading in the background while the caller works."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable, Iterator
from typing import Any, TypeVar

Item = TypeVar('Item')
# Seconds that the thread may take to end; a source that blocks longer must not hold up the program.
_PATIENCE = 1.0


def read_ahead(items: Iterable[Item], depth: int = 4) -> Generator[Item, None, None]:
    """Draws from an iterable in a thread of its own, a few items ahead.

    The thread starts with the first item asked for and has ended when this generator has, however
    that comes about: at the end, closed early, or by an exception. Only if ``items`` blocks for a
    second, as a pipe or a network stream may, it is left behind, and ends with the item that it
    waits for or with the process. A generator given as ``items`` runs and is closed in that thread.

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
    drawn: queue.SimpleQueue = queue.SimpleQueue()
    room, stopped = threading.Semaphore(depth + 1), threading.Event()
    arguments = (iter(items), drawn, room, stopped)
    # A daemon: the end of the process waits for other threads.
    thread = threading.Thread(target=_draw, args=arguments, name='read-ahead', daemon=True)
    thread.start()
    try:
        # No name for an item here: it would be kept alive while the next is waited for.
        while len(entry := drawn.get()) == 1:
            room.release()
            yield entry.pop()
        if entry:
            raise entry.pop()
    finally:
        stopped.set()
        room.release()
        thread.join(_PATIENCE)


def _draw(
    iterator: Iterator[Any],
    drawn: queue.SimpleQueue,
    room: threading.Semaphore,
    stopped: threading.Event,
) -> None:
    """Puts ``[item]`` for each into the queue; then ``[]``, or ``[None, error]``."""
    last: list[Any] = []
    try:
        try:
            while room.acquire() and not stopped.is_set():
                drawn.put([next(iterator)])
        except StopIteration:
            pass
        finally:
            if hasattr(iterator, 'close'):
                iterator.close()
    except BaseException as error:
        last = [None, error]
    drawn.put(last)
