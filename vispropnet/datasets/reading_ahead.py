"""Reading in the background while the caller works."""

from __future__ import annotations

import threading
from collections import deque
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
    return _drawn(_Row(items, depth))


def _drawn(row: _Row) -> Generator[Any, None, None]:
    try:
        row.start()
        while row.has_next():
            # No name here: it would keep an item alive while the next is waited for.
            yield row.take()
    finally:
        row.stop()


class _Row:
    """Items that lie ready, and the thread that puts them there.

    Args:
        items: What to draw from.
        depth: How many may lie ready.
    """

    def __init__(self, items: Iterable[Any], depth: int) -> None:
        self._items = items
        self._depth = depth
        self._ready: deque[Any] = deque()
        self._error: BaseException | None = None
        self._is_drawn = self._is_stopped = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._draw, name='read-ahead', daemon=True)

    def start(self) -> None:
        """Begins to draw."""
        self._thread.start()

    def has_next(self) -> bool:
        """Waits for the next item; False at the end.

        Raises:
            BaseException: that of the items, once those before it are taken.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._ready or self._is_drawn)
            if not self._ready and self._error is not None:
                raise self._error
            return bool(self._ready)

    def take(self) -> Any:
        """Gives an item that lies ready."""
        with self._changed:
            self._changed.notify_all()
            return self._ready.popleft()

    def stop(self) -> None:
        """Ends the thread; an item that is being made is finished first."""
        with self._changed:
            self._is_stopped = True
            self._ready.clear()
            self._changed.notify_all()
        if self._thread.is_alive():  # not if Ctrl-C came while it was started
            self._thread.join()

    def _draw(self) -> None:
        try:
            iterator = iter(self._items)
            try:
                while self._draw_one(iterator):
                    pass
            finally:
                if hasattr(iterator, 'close'):
                    iterator.close()
        except BaseException as error:
            self._error = error
        with self._changed:
            self._is_drawn = True
            self._changed.notify_all()

    def _draw_one(self, iterator: Any) -> bool:
        """Puts the next item into the row; False when there is none, or none is wanted."""
        try:
            item = next(iterator)
        except StopIteration:
            return False
        with self._changed:
            self._changed.wait_for(lambda: self._is_stopped or len(self._ready) < self._depth)
            if not self._is_stopped:
                self._ready.append(item)
                self._changed.notify_all()
            return not self._is_stopped
