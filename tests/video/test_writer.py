import re
import shutil
from fractions import Fraction
from unittest.mock import Mock

import av
import cv2
import numpy as np
import pytest

from tests.videos import number_of, numbered_frame, read_video
from vispropnet.errors import UserError
from vispropnet.video import writer as writer_module
from vispropnet.video.writer import VideoWriter


@pytest.fixture(autouse=True)
def nothing_left(tmp_path):
    yield
    assert [path for path in tmp_path.rglob('*') if path.name.startswith('.')] == []


def write(path, frames, fps=None, times=None):
    """Writes frames."""
    with VideoWriter(path, fps) as writer:
        for number, frame in enumerate(frames):
            writer.write(frame, None if times is None else times[number])
    return writer


def frame_rate(path):
    return cv2.VideoCapture(str(path), cv2.CAP_FFMPEG).get(cv2.CAP_PROP_FPS)


def times_of(path):
    """Times of the frames in seconds, and the duration."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return [frame.time for frame in container.decode(stream)], container.duration / av.time_base


def test_written_frames_can_be_read(tmp_path):
    path = tmp_path / 'new/clip.mp4'
    path.parent.mkdir()
    path.write_text('old')
    canvas = np.zeros((90, 160, 3), np.uint8)
    with VideoWriter(path, fps=12.5) as writer:
        for number in range(40):
            canvas[:] = numbered_frame(number, (160, 90))  # drawn on again and again
            writer.write(canvas)
        assert path.read_text() == 'old'
    assert writer.frames == 40
    frames = read_video(path)
    assert [number_of(frame) for frame in frames] == list(range(40))
    assert np.abs(frames[39].astype(int) - canvas).mean() < 4
    assert frame_rate(path) == 12.5
    # The file has the form that browsers and phones play.
    assert path.read_bytes().index(b'moov') < path.read_bytes().index(b'mdat')
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.pix_fmt, context.profile) == ('h264', 'yuv420p', 'High')
        standard = (context.colorspace, context.color_primaries, context.color_trc)
        assert standard == (1, 1, 1) and context.color_range == 1  # BT.709, limited range
        assert container.format.name.startswith('mov,mp4')


def test_colours_are_kept_and_missing_folders_made(tmp_path):
    colours = np.array([(200, 40, 60), (30, 180, 90), (255, 255, 255), (0, 0, 0)], np.uint8)
    write(tmp_path / 'new/a.mp4', [np.repeat(np.repeat(colours[None], 64, 0), 32, 1)])
    with av.open(str(tmp_path / 'new/a.mp4')) as container:
        (frame,) = container.decode(video=0)
        found = frame.to_ndarray(format='bgr24', src_colorspace='ITU709')[32, 16::32]
    assert np.abs(found.astype(int) - colours).max() < 5


def test_odd_and_tiny_frames_repeat_their_edge(tmp_path):
    for width, height, *padded in ((1, 1, 16, 16), (17, 90, 18, 90), (101, 3, 102, 16), [32] * 4):
        frame = np.full((height, width, 3), 60, np.uint8)
        frame[:, -1] = 200
        write(tmp_path / 'a.mp4', [frame] * 3)
        frames = read_video(tmp_path / 'a.mp4')
        assert len(frames) == 3 and frames[2].shape == (*padded[::-1], 3)
        assert np.abs(frames[2][:, -1].astype(int) - 200).max() < 30
        if width > 8:
            assert np.abs(frames[2][:, : width - 8].astype(int) - 60).max() < 30


def test_a_huge_frame(tmp_path):
    write(tmp_path / 'a.mp4', [np.full((4320, 7680, 3), 90, np.uint8)])
    (found,) = read_video(tmp_path / 'a.mp4')
    assert found.shape == (4320, 7680, 3) and np.abs(found[::100, ::100] - 90.0).max() < 4
    with pytest.raises(UserError, match=r'b.mp4 cannot be written, frame 0: .* frame too large\?'):
        write(tmp_path / 'b.mp4', [np.zeros((16, 17000, 3), np.uint8)])
    assert [path.name for path in tmp_path.iterdir()] == ['a.mp4']


@pytest.mark.parametrize('fps', [0.001, 1 / 3, 4.995, 29.97, 30000 / 1001, 119.88, 123.4567, 1000])
def test_frame_rates(tmp_path, fps):
    write(tmp_path / 'a.mp4', [numbered_frame(n, (64, 36)) for n in range(3)], fps)
    assert frame_rate(tmp_path / 'a.mp4') == pytest.approx(fps, rel=1e-6)
    times, duration = times_of(tmp_path / 'a.mp4')
    assert times == pytest.approx([0, 1 / fps, 2 / fps])
    assert duration == pytest.approx(3 / fps, abs=1e-3)


def test_rates_that_are_not_given_or_do_not_fit(tmp_path):
    for fps, rate in ((None, 10), (1e-9, 0.001)):
        write(tmp_path / 'a.mp4', [numbered_frame(0, (64, 36))], fps)
        assert frame_rate(tmp_path / 'a.mp4') == pytest.approx(rate)
    for fps in (0, -5, 1000.1, float('nan'), float('inf')):
        with pytest.raises(UserError, match='fps of video .* must be above 0 and at most 1000'):
            VideoWriter('a.mp4', fps)


def test_times_are_kept_from_the_first_frame_on(tmp_path):
    times = 7.5 + np.cumsum(np.random.default_rng(0).integers(10, 400, 50)) / 1000
    write(tmp_path / 'a.mp4', [numbered_frame(n, (64, 36)) for n in range(50)], 25, times)
    assert [number_of(frame) for frame in read_video(tmp_path / 'a.mp4')] == list(range(50))
    found, duration = times_of(tmp_path / 'a.mp4')
    np.testing.assert_allclose(found, times - times[0], atol=2e-5)
    assert duration == pytest.approx(times[-1] - times[0] + 1 / 25, abs=1e-3)


# As given after the last time; frames of more than 8 megapixels are encoded otherwise.
@pytest.mark.parametrize(('size', 'count'), [((64, 36), 20), ((64, 36), 1), ((4096, 2048), 4)])
@pytest.mark.parametrize('stay', [3.0, -1.0, None])
def test_the_last_frame_stays_to_the_end(tmp_path, size, count, stay):
    times = 5 + np.cumsum(np.random.default_rng(0).integers(10, 400, count)) / 1000
    with VideoWriter(tmp_path / 'a.mp4', 10) as writer:
        for number, seconds in enumerate(times):
            writer.write(numbered_frame(number, size), seconds)
        writer.end = None if stay is None else times[-1] + stay
    found, duration = times_of(tmp_path / 'a.mp4')
    np.testing.assert_allclose(found, times - times[0], atol=2e-5)
    assert duration == pytest.approx(times[-1] - times[0] + (3 if stay == 3 else 0.1), abs=1e-3)


def test_pixels_keep_their_aspect(tmp_path):
    with VideoWriter(tmp_path / 'a.mp4', 5, Fraction(16, 11)) as writer:
        writer.write(numbered_frame(0, (64, 36)))
    with av.open(str(tmp_path / 'a.mp4')) as container:
        assert container.streams.video[0].sample_aspect_ratio == Fraction(16, 11)
    assert b'pasp' in (tmp_path / 'a.mp4').read_bytes()  # for players that read the container


def test_times_that_do_not_increase_are_moved(tmp_path):
    frames = [numbered_frame(n, (64, 36)) for n in range(5)]
    write(tmp_path / 'a.mp4', frames, 25, [0, 0.5, 0.5, 0.2, 1.0])
    assert times_of(tmp_path / 'a.mp4')[0] == pytest.approx([0, 0.5, 0.5, 0.5, 1], abs=1e-4)
    assert len(read_video(tmp_path / 'a.mp4')) == 5


def test_bad_paths_are_named(tmp_path):
    with pytest.raises(UserError, match='video .*a.avi must be named .mp4'):
        VideoWriter(tmp_path / 'a.avi')
    (tmp_path / 'b.mp4').mkdir()
    (tmp_path / 'file').write_text('')
    for name, message in (('b.mp4', 'it is a folder'), ('file/c.mp4', 'File exists')):
        with pytest.raises(UserError, match=f'cannot write .*{name}: {message}'):
            VideoWriter(tmp_path / name).__enter__()


def test_without_a_whole_frame_there_is_no_file(tmp_path, monkeypatch):
    assert write(tmp_path / 'a.mp4', []).frames == 0
    with pytest.raises(KeyError), VideoWriter(tmp_path / 'a.mp4'):
        raise KeyError('before the first frame')
    # A second interruption.
    monkeypatch.setattr(writer_module._Encoder, 'finish', Mock(side_effect=KeyboardInterrupt))
    writer = VideoWriter(tmp_path / 'a.mp4')
    with pytest.raises(KeyboardInterrupt), writer:
        writer.write(numbered_frame(0))
    monkeypatch.setattr(writer_module, '_CODEC', 'no such codec')
    with pytest.raises(UserError, match=r'a.mp4 cannot be written: this PyAV has no encoder for H'):
        write(tmp_path / 'a.mp4', [numbered_frame(3)])
    assert writer.frames == 0 and list(tmp_path.iterdir()) == []


def test_frames_must_be_alike(tmp_path):
    with VideoWriter(tmp_path / 'a.mp4') as writer:
        writer.write(np.zeros((40, 40, 3), np.uint8))
        for frame, message in (
            (np.zeros((4, 4), np.uint8), r'frame must be .* got \(4, 4\) uint8'),
            (np.zeros((4, 4, 3)), 'frame must be .* float64'),
            (np.zeros((0, 4, 3), np.uint8), r'frame must be .* got \(0, 4, 3\)'),
            (np.zeros((40, 42, 3), np.uint8), r'\(40, 42, 3\), those before it .*40, 40, 3'),
        ):
            with pytest.raises(ValueError, match=message):
                writer.write(frame)
    assert writer.frames == len(read_video(tmp_path / 'a.mp4')) == 1


def test_frames_before_an_error_are_kept(tmp_path):
    for error in (ValueError, KeyboardInterrupt, UserError):
        path = tmp_path / f'{error.__name__}.mp4'
        with pytest.raises(error, match='enough'), VideoWriter(path) as writer:
            for number in range(21):
                writer.write(numbered_frame(number))
            raise error('enough')
        assert [number_of(frame) for frame in read_video(path)] == list(range(21))


def test_before_the_disk_is_full_the_video_is_completed(tmp_path, monkeypatch):
    stopped = 'writing stopped after 12 frames, which are in the file'
    for path, kept, end in (('a.mp4', 0, 'nothing was written'), ('b.mp4', 12, stopped)):
        usage = [Mock(free=100 << 20)] * kept + [Mock(free=15 << 20)] * 20
        monkeypatch.setattr(shutil, 'disk_usage', Mock(side_effect=usage))
        text = f'the disk is nearly full: 15.0 MiB are free for video .*{path}, of 16.2 .*; {end}'
        with pytest.raises(UserError, match=text):
            write(tmp_path / path, [numbered_frame(number) for number in range(20)])
    assert [path.name for path in tmp_path.iterdir()] == ['b.mp4']
    assert [number_of(frame) for frame in read_video(tmp_path / 'b.mp4')] == list(range(12))


@pytest.mark.parametrize('limit', [100_000, 2000])
def test_writes_that_fail_are_no_quiet_loss(tmp_path, run_python, limit):
    """Among many frames, and with the last ones: the system limits the size of files here."""
    pytest.importorskip('resource', reason='only Unix limits the size of files')
    code = f"""
import numpy as np, resource
from vispropnet.errors import report_user_errors
from vispropnet.video.writer import VideoWriter
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
generator = np.random.default_rng(0)
with report_user_errors(), VideoWriter('{tmp_path}/a.mp4') as writer:
    for _ in range({40 if limit > 9999 else 2}):
        writer.write(generator.integers(0, 256, (240, 320, 3)).astype(np.uint8))
"""
    process = run_python('-c', code)
    assert process.returncode == 2
    place = r'frame \d+' if limit > 9999 else 'the end'
    pattern = rf'error: video .*a.mp4 cannot be written, {place}: File too large \(is the disk full'
    assert re.match(pattern, process.stderr), process.stderr
    assert list(tmp_path.iterdir()) == []
