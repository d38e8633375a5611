import gc
import signal
import threading
import time
import weakref

import pytest

from vispropnet.datasets.reading_ahead import read_ahead


class Source:
    """Counts to a number; tells in which thread it was closed."""

    def __init__(self, count, error=None, closing=None):
        self.count, self.error, self.closing = count, error, closing
        self.made = 0
        self.closed_in = ''

    def __iter__(self):
        try:
            for number in range(self.count):
                self.made += 1
                yield number
            if self.error is not None:
                raise self.error
        finally:
            self.closed_in = threading.current_thread().name
            if self.closing is not None:
                raise self.closing


@pytest.fixture(autouse=True)
def no_thread_left():
    yield
    assert not any(thread.name.startswith('read-ahead') for thread in threading.enumerate())


def settle(met):
    for _ in range(5000):
        if met():
            break
        time.sleep(0.001)
    time.sleep(0.02)  # what should not happen has time to happen


@pytest.mark.parametrize('depth', [1, 4, 1000])
def test_all_items_come_in_order(depth):
    source = Source(500)
    assert list(read_ahead(source, depth=depth)) == list(range(500))
    assert source.closed_in.startswith('read-ahead')


@pytest.mark.parametrize('items', [[], 'abc', [None, None]])
def test_plain_iterables(items):
    assert list(read_ahead(items)) == list(items)


def test_depth_must_be_positive():
    with pytest.raises(ValueError, match='depth must be 1 or more, got 0'):
        read_ahead([], depth=0)


@pytest.mark.parametrize('depth', [1, 3])
def test_it_reads_ahead_no_further_than_asked_and_is_closed_early(depth):
    source = Source(10**9)
    items = read_ahead(source, depth=depth)
    time.sleep(0.02)
    assert source.made == 0
    for taken in range(1, 6):
        assert next(items) == taken - 1
        # Those taken, those that lie ready, and one more.
        expected = taken + depth + 1
        settle(lambda expected=expected: source.made >= expected)
        assert source.made == expected
    items.close()
    assert source.closed_in.startswith('read-ahead') and source.made == expected


def test_closed_early_it_makes_no_more_items():
    made = []

    def items():
        while True:
            made.append(len(made))
            time.sleep(0.01)
            yield made[-1]

    ahead = read_ahead(items(), depth=100)
    assert next(ahead) == 0
    ahead.close()
    assert len(made) < 50


def test_an_error_comes_in_its_place():
    items = read_ahead(Source(3, error=OSError('no more')), depth=10)
    assert [next(items) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(OSError, match='no more'):
        next(items)
    with pytest.raises(StopIteration):
        next(items)


def test_an_error_while_closing_is_not_swallowed_at_the_end():
    with pytest.raises(OSError, match='cannot close'):
        list(read_ahead(Source(1, closing=OSError('cannot close'))))


@pytest.mark.parametrize('error', [ValueError, KeyboardInterrupt])
def test_an_error_of_the_caller_ends_the_thread(error):
    source = Source(10**9)

    def work():
        for item in read_ahead(source):
            if item == 7:
                raise error('enough')

    with pytest.raises(error, match='enough'):
        work()
    gc.collect()  # the traceback held the generator
    assert source.closed_in.startswith('read-ahead')


def test_ctrl_c_while_waiting_ends_the_thread():
    waiting, seen = threading.Event(), []

    def items():
        try:
            yield 1
            waiting.wait()
            time.sleep(0.05)
            signal.raise_signal(signal.SIGINT)
            time.sleep(0.3)
            yield 2
        finally:
            seen.append('closed')

    with pytest.raises(KeyboardInterrupt):
        for item in read_ahead(items()):
            seen.append(item)
            waiting.set()
    assert seen == [1, 'closed']


BLOCKED = """
import os, runpy, signal, time

def items():
    yield 1
    time.sleep(0.1)  # the caller waits by now
    os.kill(os.getpid(), signal.SIGINT)
    yield os.read(os.pipe()[0], 1)

read_ahead = runpy.run_path('vispropnet/datasets/reading_ahead.py')['read_ahead']
print(list(read_ahead(items())))
"""


def test_ctrl_c_ends_a_process_whose_source_blocks(run_python):
    done = run_python('-c', BLOCKED, timeout=5)
    assert done.returncode == -signal.SIGINT and done.stderr.endswith('KeyboardInterrupt\n')


def test_items_are_let_go_of_once_taken():
    class Item:
        pass

    alive, most = weakref.WeakSet(), 0

    def items():
        for _ in range(50):
            item = Item()
            alive.add(item)
            yield item
            del item

    for item in read_ahead(items(), depth=2):
        del item
        most = max(most, len(alive))
    # Two lie ready, and one more.
    assert most <= 3
