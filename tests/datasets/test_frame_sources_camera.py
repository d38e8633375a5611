import threading
import time

import cv2
import numpy as np
import pytest

from tests.videos import number_of, numbered_frame
from vispropnet.datasets.frame_sources import open_source
from vispropnet.datasets.reading_ahead import read_ahead
from vispropnet.errors import UserError


class FakeCamera:
    """Shows how many frames it gave; ``give`` lets more of them come."""

    def __init__(self, frames, fps=30.0):
        self.fps = fps
        self.given = -1  # the first frame goes into the look whether there is a camera
        self.is_released = False
        self.readers = set()
        self._ready = threading.Semaphore(1 + frames)
        self._is_gone = False

    def isOpened(self):  # noqa: N802
        return True

    def get(self, what):
        return self.fps if what == cv2.CAP_PROP_FPS else 0.0

    def read(self):
        self.readers.add(threading.current_thread().name)
        if not self._is_gone:
            self._ready.acquire()
        if self._is_gone:
            return False, None
        self.given += 1
        return True, numbered_frame(max(self.given - 1, 0), (64, 36))

    def release(self):
        self.is_released = True

    def give(self, frames):
        self._ready.release(frames)

    def pull_out(self):
        self._is_gone = True
        self._ready.release()


@pytest.fixture
def plug(monkeypatch):
    """Makes a camera the one that OpenCV finds."""
    monkeypatch.setattr('vispropnet.datasets.frame_sources.camera._PAUSE_AFTER_FAILURE', 0)

    def plug_in(camera):
        monkeypatch.setattr(cv2, 'VideoCapture', lambda number: camera)
        return camera

    return plug_in


def wait_until(met):
    for _ in range(5000):
        if met():
            return
        time.sleep(0.001)
    raise AssertionError('it did not happen within 5 seconds')


def test_a_camera_that_is_not_there_is_named():
    with pytest.raises(UserError, match='camera 77 cannot be opened: not plugged in'):
        open_source(77)
    with pytest.raises(UserError, match='camera 77 cannot be opened'):
        open_source('77')
    with pytest.raises(UserError, match='camera -1 does not exist'):
        open_source(-1)


def test_a_camera_without_a_picture_is_refused_and_let_go(plug):
    camera = plug(FakeCamera(0))
    camera.pull_out()
    with pytest.raises(UserError, match='camera 0 cannot be opened'):
        open_source(0)
    assert camera.is_released


def test_a_folder_named_like_a_number_is_a_folder(tmp_path, monkeypatch):
    (tmp_path / '0').mkdir()
    cv2.imwrite(str(tmp_path / '0/a.png'), np.zeros((4, 4, 3), np.uint8))
    monkeypatch.chdir(tmp_path)
    assert open_source('0').kind == 'folder'


def test_what_comes_meanwhile_is_passed_over(plug):
    camera = plug(FakeCamera(1))
    with open_source(0, max_size=32) as source:
        assert (source.kind, source.name, source.fps) == ('camera', 'camera0', 30)
        assert source.length is None
        frames = iter(source)
        first = next(frames)
        assert (first.index, first.name) == (0, '00000000')
        assert first.image.shape == (18, 32, 3)
        camera.give(6)  # while the first frame is worked on
        wait_until(lambda: camera.given == 7)
        newest = next(frames)
        assert newest.index == number_of(newest.image) == 6
        camera.give(1)
        assert next(frames).index == 7
        camera.give(99)  # cameras go on when nobody looks
        frames.close()
        assert 'camera' in camera.readers
        assert 'camera' not in [thread.name for thread in threading.enumerate()]
    assert camera.is_released


def test_the_wanted_frames_of_a_camera(plug):
    camera = plug(FakeCamera(0, fps=0.0))
    is_over = threading.Event()

    def feed():
        while not is_over.is_set():
            camera.give(1)
            time.sleep(0.002)

    feeder = threading.Thread(target=feed)
    with open_source('0', start=2, end=100, every=3) as source:
        assert source.fps is None
        feeder.start()
        seen = []
        for frame in source:
            seen.append(frame.index)
            assert frame.index == number_of(frame.image)
    is_over.set()
    feeder.join()
    assert seen[0] >= 2
    assert seen[-1] < 100
    assert all(later - earlier >= 3 for earlier, later in zip(seen, seen[1:], strict=False))


def test_seconds_of_a_camera_are_of_the_clock(plug, monkeypatch):
    camera = plug(FakeCamera(0))
    seconds = iter(range(100))

    def look_at_the_clock():
        second = next(seconds)
        camera.give(1 if second < 4 else 99)
        return second

    monkeypatch.setattr(time, 'monotonic', look_at_the_clock)
    with open_source(0, start='2s', end='4s') as source:
        # The iteration begins at second 0; frame 0 comes at second 1, frame 1 at second 2.
        assert [frame.index for frame in source] == [1, 2]


def test_a_camera_that_is_pulled_out_ends_the_frames_with_a_note(plug):
    camera = plug(FakeCamera(3))
    with open_source(0) as source:
        frames = iter(source)
        next(frames)
        wait_until(lambda: camera.given == 3)
        camera.pull_out()
        rest = [frame.index for frame in frames]
        assert rest in ([], [2])
        assert source.notes() == ['camera 0 gave no more frames after 3: pulled out?']


def test_an_error_of_a_camera_reaches_the_caller(plug):
    camera = plug(FakeCamera(1))
    with open_source(0) as source:
        frames = read_ahead(source)
        next(frames)

        def fail():
            raise OSError('burnt')

        camera.read = fail
        camera.give(1)
        with pytest.raises(OSError, match='burnt'):
            list(frames)
