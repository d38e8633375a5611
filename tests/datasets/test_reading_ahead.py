import gc
import threading
import time
import weakref

import pytest

from vispropnet.datasets.reading_ahead import read_ahead


class Source:
    """Counts to a number; tells in which thread it ran and was closed."""

    def __init__(self, count, error=None):
        self.count = count
        self.error = error
        self.made = 0
        self.closed_in = None

    def __iter__(self):
        try:
            for number in range(self.count):
                self.made += 1
                yield number
            if self.error is not None:
                raise self.error
        finally:
            self.closed_in = threading.current_thread().name


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


def test_no_items_and_plain_iterables():
    assert list(read_ahead([])) == []
    assert list(read_ahead('abc')) == ['a', 'b', 'c']
    assert list(read_ahead([None, None])) == [None, None]


def test_depth_must_be_positive():
    with pytest.raises(ValueError, match='depth must be 1 or more, got 0'):
        read_ahead([], depth=0)


def test_nothing_is_drawn_before_the_first_item_is_asked_for():
    source = Source(5)
    items = read_ahead(source)
    time.sleep(0.02)
    assert source.made == 0
    items.close()
    assert source.made == 0


@pytest.mark.parametrize('depth', [1, 3])
def test_it_reads_ahead_no_further_than_asked(depth):
    source = Source(100)
    items = read_ahead(source, depth=depth)
    for taken in range(1, 6):
        next(items)
        # Those taken, those that lie ready, and the one that waits for room.
        expected = taken + depth + 1
        settle(lambda expected=expected: source.made >= expected)
        assert source.made == expected
    items.close()


def test_an_error_comes_in_its_place():
    source = Source(3, error=OSError('no more'))
    items = read_ahead(source, depth=10)
    assert [next(items) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(OSError, match='no more'):
        next(items)
    with pytest.raises(StopIteration):
        next(items)


def test_an_error_before_the_first_item():
    class Broken:
        def __iter__(self):
            raise KeyError('broken')

    with pytest.raises(KeyError, match='broken'):
        list(read_ahead(Broken()))


def test_an_error_while_closing_is_not_swallowed_at_the_end():
    def items():
        try:
            yield 1
        finally:
            raise OSError('cannot close')

    with pytest.raises(OSError, match='cannot close'):
        list(read_ahead(items()))


@pytest.mark.parametrize('depth', [1, 4])
def test_closed_early_with_a_full_row(depth):
    source = Source(10**9)
    items = read_ahead(source, depth=depth)
    assert next(items) == 0
    settle(lambda: source.made == depth + 2)
    items.close()
    assert source.closed_in.startswith('read-ahead')
    assert source.made == depth + 2


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


def test_ctrl_c_while_waiting_ends_the_thread(run_python):
    process = run_python(
        '-c',
        'import signal, threading, time\n'
        'from vispropnet.datasets.reading_ahead import read_ahead\n'
        'printed = threading.Event()\n'
        'def items():\n'
        '    try:\n'
        '        yield 1\n'
        '        printed.wait()\n'
        '        signal.raise_signal(signal.SIGINT)\n'
        '        time.sleep(0.3)\n'
        '        yield 2\n'
        '    finally:\n'
        '        print("closed", flush=True)\n'
        'try:\n'
        '    for item in read_ahead(items()):\n'
        '        print(item, flush=True)\n'
        '        printed.set()\n'
        'except KeyboardInterrupt:\n'
        '    print("interrupted", threading.active_count())\n',
        timeout=60,
    )
    assert process.stderr == ''
    assert process.stdout == '1\nclosed\ninterrupted 1\n'


def test_items_are_let_go_of_once_taken():
    class Item:
        pass

    alive = weakref.WeakSet()

    def items():
        for _ in range(50):
            item = Item()
            alive.add(item)
            yield item
            del item

    most = 0
    for item in read_ahead(items(), depth=2):
        del item
        most = max(most, len(alive))
    # Two lie ready and one waits for room.
    assert most <= 3
