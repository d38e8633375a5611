import math
import shutil
import threading
from collections import namedtuple

import cv2
import numpy as np
import pytest

from tests.videos import number_of, numbered_frame, read_video
from vispropnet.errors import UserError
from vispropnet.visualization import video_writer
from vispropnet.visualization.video_writer import VideoWriter

Usage = namedtuple('Usage', 'total used free')


@pytest.fixture(autouse=True)
def nothing_left(tmp_path):
    yield
    assert 'video-writer' not in [thread.name for thread in threading.enumerate()]
    assert [path for path in tmp_path.rglob('*') if path.name.startswith('.')] == []


def frame_rate(path):
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    rate = capture.get(cv2.CAP_PROP_FPS)
    capture.release()
    return rate


@pytest.mark.parametrize('codec', ['vp9', 'mpeg4'])
def test_what_is_written_can_be_read(tmp_path, codec):
    path = tmp_path / 'new/clip.mp4'
    canvas = np.zeros((90, 160, 3), np.uint8)
    with VideoWriter(path, fps=12.5, codec=codec) as writer:
        for number in range(40):
            canvas[:] = numbered_frame(number, (160, 90))  # drawn on again and again
            writer.write(canvas)
        assert list(path.parent.glob('clip.mp4')) == []
    assert (writer.frames, writer.codec, writer.notes()) == (40, codec, [])
    frames = read_video(path)
    assert [number_of(frame) for frame in frames] == list(range(40))
    assert np.abs(frames[39].astype(int) - canvas).mean() < 12
    assert frame_rate(path) == 12.5


@pytest.mark.parametrize('codec', ['vp9', 'mpeg4'])
@pytest.mark.parametrize(
    ('size', 'padded'),
    [((1, 1), (16, 16)), ((17, 90), (18, 90)), ((101, 3), (102, 16)), ((32, 32), (32, 32))],
)
def test_odd_and_tiny_frames_repeat_their_edge(tmp_path, codec, size, padded):
    frame = np.full((size[1], size[0], 3), 60, np.uint8)
    frame[:, -1] = 200
    with VideoWriter(tmp_path / 'a.mp4', codec=codec) as writer:
        for _ in range(3):
            writer.write(frame)
    frames = read_video(tmp_path / 'a.mp4')
    assert len(frames) == 3
    assert frames[2].shape == (padded[1], padded[0], 3)
    assert np.abs(frames[2][:, -1].astype(int) - 200).max() < 30
    if size[0] > 8:
        assert np.abs(frames[2][:, : size[0] - 8].astype(int) - 60).max() < 30


def test_a_huge_frame(tmp_path):
    frame = np.full((4320, 7680, 3), (10, 200, 90), np.uint8)
    with VideoWriter(tmp_path / 'a.mp4') as writer:
        writer.write(frame)
    assert writer.codec == 'mpeg4' and '7680x4320' in writer.notes()[0]
    (found,) = read_video(tmp_path / 'a.mp4')
    assert np.abs(found[::100, ::100].astype(int) - (10, 200, 90)).max() < 12


@pytest.mark.parametrize('codec', ['vp9', 'mpeg4'])
@pytest.mark.parametrize('fps', [1 / 3, 4.995, 23.976, 29.97, 30000 / 1001, 119.88, 240, 123.4567])
def test_frame_rates(tmp_path, codec, fps):
    with VideoWriter(tmp_path / 'a.mp4', fps=fps, codec=codec) as writer:
        for number in range(3):
            writer.write(numbered_frame(number, (64, 36)))
    assert writer.notes() == []
    assert writer.codec == codec
    assert frame_rate(tmp_path / 'a.mp4') == pytest.approx(fps, abs=0.005)


def test_rates_that_no_player_takes(tmp_path):
    with VideoWriter(tmp_path / 'a.mp4', fps=0.001, codec='mpeg4') as writer:
        writer.write(numbered_frame(0, (64, 36)))
    (note,) = writer.notes()
    assert 'a.mp4 plays 0.01 frames a second instead of 0.001' in note
    assert frame_rate(tmp_path / 'a.mp4') == pytest.approx(0.01)
    with VideoWriter(tmp_path / 'b.mp4', codec='mpeg4') as writer:
        writer.write(numbered_frame(0, (64, 36)))
    assert frame_rate(tmp_path / 'b.mp4') == 10
    for bad in (0, -5, float('nan'), float('inf')):
        with pytest.raises(UserError, match='fps of video .* must be a number above 0'):
            VideoWriter(tmp_path / 'a.mp4', fps=bad)


def test_bad_paths_and_codecs_are_named_before_work_begins(tmp_path):
    with pytest.raises(UserError, match='video .*a.avi must be named .mp4'):
        VideoWriter(tmp_path / 'a.avi')
    with pytest.raises(UserError, match="codec must be one of auto, vp9, mpeg4, got 'h264'"):
        VideoWriter(tmp_path / 'a.mp4', codec='h264')
    (tmp_path / 'b.mp4').mkdir()
    with pytest.raises(UserError, match='cannot write .*b.mp4: it is a folder'):
        VideoWriter(tmp_path / 'b.mp4')
    (tmp_path / 'file').write_text('')
    with pytest.raises(UserError, match='cannot make the folder of .*c.mp4'):
        VideoWriter(tmp_path / 'file/c.mp4')


def test_without_a_frame_there_is_no_file(tmp_path):
    with VideoWriter(tmp_path / 'a.mp4'):
        pass
    assert list(tmp_path.iterdir()) == []


def test_frames_must_be_alike(tmp_path):
    with VideoWriter(tmp_path / 'a.mp4', codec='mpeg4') as writer:
        with pytest.raises(ValueError, match=r'frame must be .* got \(4, 4\) uint8'):
            writer.write(np.zeros((4, 4), np.uint8))
        with pytest.raises(ValueError, match='frame must be .* float64'):
            writer.write(np.zeros((4, 4, 3)))
        with pytest.raises(ValueError, match=r'frame must be .* got \(0, 4, 3\)'):
            writer.write(np.zeros((0, 4, 3), np.uint8))
        writer.write(np.zeros((40, 40, 3), np.uint8))
        with pytest.raises(ValueError, match=r'shape \(40, 42, 3\), those before it .*40, 40, 3'):
            writer.write(np.zeros((40, 42, 3), np.uint8))
    assert len(read_video(tmp_path / 'a.mp4')) == 1


@pytest.mark.parametrize('error', [ValueError, KeyboardInterrupt, UserError])
def test_what_was_written_before_an_error_is_kept(tmp_path, error):
    def work():
        with VideoWriter(tmp_path / 'a.mp4') as writer:
            for number in range(30):
                writer.write(numbered_frame(number))
                if number == 20:
                    raise error('enough')

    with pytest.raises(error, match='enough'):
        work()
    assert [number_of(frame) for frame in read_video(tmp_path / 'a.mp4')] == list(range(21))


def test_a_file_that_was_there_is_replaced_at_the_end_only(tmp_path):
    path = tmp_path / 'a.mp4'
    path.write_text('old')
    with VideoWriter(path, codec='mpeg4') as writer:
        writer.write(numbered_frame(0))
        assert path.read_text() == 'old'
    assert len(read_video(path)) == 1


def test_without_vp9_it_is_mpeg4_and_told(tmp_path, monkeypatch):
    monkeypatch.setitem(video_writer._FOURCC, 'vp9', 'none')
    with VideoWriter(tmp_path / 'a.mp4') as writer:
        writer.write(numbered_frame(3))
    assert writer.codec == 'mpeg4'
    (note,) = writer.notes()
    assert 'a.mp4 is in MPEG-4, which browsers do not play: this OpenCV cannot encode 320x' in note
    assert [number_of(frame) for frame in read_video(tmp_path / 'a.mp4')] == [3]


def test_without_any_encoder(tmp_path, monkeypatch):
    monkeypatch.setitem(video_writer._FOURCC, 'vp9', 'none')
    monkeypatch.setitem(video_writer._FOURCC, 'mpeg4', 'none')
    message = 'a.mp4 cannot be written: this OpenCV cannot encode 320x180 pixels at 10 frames'
    with pytest.raises(UserError, match=message), VideoWriter(tmp_path / 'a.mp4') as writer:
        writer.write(numbered_frame(3))
    assert list(tmp_path.iterdir()) == []


def fill_disk(monkeypatch, free):
    """Lets the disk have so many MiB free at one look after the other; the last one stays."""
    looks = list(free)

    def usage(_):
        return Usage(0, 0, int((looks.pop(0) if len(looks) > 1 else looks[0]) * 2**20))

    monkeypatch.setattr(shutil, 'disk_usage', usage)


def test_before_the_disk_is_full_the_video_is_completed(tmp_path, monkeypatch):
    fill_disk(monkeypatch, [100] * 13 + [15])  # one look before the first frame

    def work():
        with VideoWriter(tmp_path / 'a.mp4') as writer:
            for number in range(1000):
                writer.write(numbered_frame(number))

    message = (
        'the disk is nearly full: 15.0 MiB are free for video .*a.mp4, expected at least 16.*; '
        'writing stopped after 12 frames, which are in the file'
    )
    with pytest.raises(UserError, match=message):
        work()
    assert [number_of(frame) for frame in read_video(tmp_path / 'a.mp4')] == list(range(12))


def test_before_a_file_is_as_large_as_it_may_be_it_is_completed(tmp_path, monkeypatch):
    limits = iter([math.inf] * 6)
    monkeypatch.setattr(video_writer, '_largest_file', lambda: next(limits, 2**20))
    with (
        pytest.raises(
            UserError, match=r'limits the size of files \(ulimit -f\): 1\.0 MiB .* 5 frames'
        ),
        VideoWriter(tmp_path / 'a.mp4', codec='mpeg4') as writer,
    ):
        for number in range(1000):
            writer.write(numbered_frame(number))
    assert len(read_video(tmp_path / 'a.mp4')) == 5


def test_a_disk_that_fills_with_the_last_frames_is_told_too(tmp_path, monkeypatch):
    fill_disk(monkeypatch, [100] * 3 + [15])
    all_handed_over = threading.Event()
    look = video_writer._check_space

    def look_late(path, frames, size):
        if threading.current_thread() is not threading.main_thread():
            all_handed_over.wait()
        look(path, frames, size)

    monkeypatch.setattr(video_writer, '_check_space', look_late)
    with (
        pytest.raises(UserError, match='writing stopped after 2 frames'),
        VideoWriter(tmp_path / 'a.mp4', codec='mpeg4') as writer,
    ):
        for number in range(4):
            writer.write(numbered_frame(number))
        all_handed_over.set()
    assert len(read_video(tmp_path / 'a.mp4')) == 2


def test_a_full_disk_is_told_before_the_first_frame(tmp_path, monkeypatch):
    fill_disk(monkeypatch, [3])
    message = '3.0 MiB are free for video .* expected at least 16.0; nothing was written'
    with pytest.raises(UserError, match=message), VideoWriter(tmp_path / 'a.mp4') as writer:
        writer.write(numbered_frame(0))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('codec', ['vp9', 'mpeg4'])
def test_writes_that_fail_are_no_quiet_loss(tmp_path, run_python, codec):
    pytest.importorskip('resource', reason='only Unix limits the size of files')
    process = run_python(
        '-c',
        'import resource, signal, sys\n'
        'import numpy as np\n'
        'from vispropnet.errors import report_user_errors\n'
        'from vispropnet.visualization.video_writer import VideoWriter\n'
        'from vispropnet.visualization import video_writer\n'
        # As with a quota, which nobody tells.
        'video_writer._largest_file = lambda: float("inf")\n'
        'signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n'
        'resource.setrlimit(resource.RLIMIT_FSIZE, (100000, 100000))\n'
        'generator = np.random.default_rng(0)\n'
        'with report_user_errors(), VideoWriter(sys.argv[1], codec=sys.argv[2]) as writer:\n'
        '    for _ in range(40):\n'
        '        writer.write(generator.integers(0, 256, (240, 320, 3)).astype(np.uint8))\n',
        tmp_path / 'a.mp4',
        codec,
    )
    assert process.returncode == 2
    assert process.stderr == (
        f'error: video {tmp_path}/a.mp4 cannot be written: 0 of 40 frames are in the file (is the '
        'disk full, or a quota or a limit on the size of files reached?).\n'
    )
    assert list(tmp_path.iterdir()) == []


class BrokenEncoder:
    """Stands for OpenCV's writer; breaks at a frame."""

    def __init__(self, *_):
        self.left = 2

    def isOpened(self):  # noqa: N802
        return True

    def write(self, _):
        self.left -= 1
        if self.left < 0:
            raise cv2.error('out of order')

    def release(self):
        pass


def test_an_error_of_the_encoder_reaches_the_caller(tmp_path, monkeypatch):
    monkeypatch.setattr(cv2, 'VideoWriter', BrokenEncoder)
    monkeypatch.setattr(cv2, 'VideoWriter_fourcc', lambda *_: 0, raising=False)

    def work(frames):
        with VideoWriter(tmp_path / 'a.mp4') as writer:
            for _ in range(frames):
                writer.write(numbered_frame(0))

    for frames in (3, 100):
        with pytest.raises(UserError, match='0 of 2 frames are in the file') as caught:
            work(frames)
        assert 'out of order' in str(caught.value)
    assert list(tmp_path.iterdir()) == []
