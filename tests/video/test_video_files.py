import struct
from fractions import Fraction
from itertools import islice

import av
import cv2
import numpy as np
import pytest

from tests.videos import (
    cut,
    number_of,
    numbered_frame,
    trim_by_list,
    write_h264,
    write_sound,
    write_uneven,
)
from tests.videos import read_source as read
from vispropnet.errors import UserError
from vispropnet.video import open_source


@pytest.fixture(scope='module')
def long_video(tmp_path_factory):
    """300 frames of 640x360 with the index in front."""
    path = tmp_path_factory.mktemp('videos') / 'long.mp4'
    return write_h264(path, 300, (640, 360), fps=30, faststart=True)


@pytest.fixture(scope='module')
def video(tmp_path_factory):
    """60 frames at 25 a second."""
    return write_h264(tmp_path_factory.mktemp('videos') / 'clip.mp4', 60)


@pytest.fixture(scope='module')
def many_keys(tmp_path_factory):
    """100 frames with a key frame every 10; the pictures are in the last part of the file."""
    path = tmp_path_factory.mktemp('videos') / 'keys.mp4'
    return write_h264(path, 100, faststart=True, every_key=10)


def test_frames_spread_over_a_video(video, tmp_path):
    source = open_source(video)
    found = [(place, frame.index, number_of(frame.image)) for place, frame in source.evenly(4)]
    assert found == [(0, 0, 0), (20, 20, 20), (39, 39, 39), (59, 59, 59)]
    # Of the frames 10, 13, ... 58; then the source is read as if nothing had been.
    source = open_source(video, every=3, start=10)
    assert [(place, frame.index) for place, frame in source.evenly(2)] == [(0, 10), (16, 58)]
    assert [frame.index for frame in source] == list(range(10, 60, 3)) and source.notes() == []
    assert len(list(open_source(video, end=1).evenly(3))) == 1
    # It announces frames that are lost.
    cut(write_h264(tmp_path / 'a.mp4', 60, faststart=True, every_key=10), tmp_path / 'cut.mp4', 0.6)
    places = [place for place, _ in open_source(tmp_path / 'cut.mp4').evenly(4)]
    assert places == [0, 20]


def test_every_frame_comes_once_and_in_order(long_video):
    source = open_source(long_video)
    assert (source.kind, source.name, source.length) == ('video', 'long', 300)
    assert source.fps == 30
    for count, frame in enumerate(source):
        assert frame.index == number_of(frame.image) == count and frame.name == f'{count:08d}'
        assert frame.seconds == pytest.approx(count / 30)
        assert frame.image.shape == (360, 640, 3) and frame.image.dtype == np.uint8
        assert frame.image.flags.writeable
    assert count == 299 and source.notes() == []
    blue, green, red = frame.image[350, 50].astype(int)
    assert red > 200 > 60 > max(blue, green)


def test_a_video_of_one_frame_and_one_that_is_left_early_and_read_again(video, tmp_path):
    path = write_h264(tmp_path / 'one.mp4', 1)
    assert read(path) == read(path, every=5) == ([0], [0], [])
    source = open_source(str(video))
    assert [frame.index for frame in islice(source, 6)] == list(range(6))
    assert [frame.index for frame in source] == list(range(60))


def test_exactly_the_wanted_frames_come(video):
    for options, expected in (
        (dict(every=7), range(0, 60, 7)),
        (dict(start=11), range(11, 60)),
        (dict(end=9), range(9)),
        (dict(start=3, end=50, every=10), range(3, 50, 10)),
        (dict(start='3', end='50', every='10'), range(3, 50, 10)),
        (dict(start=40, end=1000), range(40, 60)),
        (dict(start=59), range(59, 60)),
        (dict(every=1000), range(1)),
        # Frame 25 begins at 1 s, 26 at 1.04 s; half a second ends between frames 12 and 13.
        (dict(start='1s', end='1.1s'), range(25, 28)),
        (dict(start='1.01s', end=28), range(26, 28)),
        (dict(end='.5 s'), range(13)),
        (dict(start='1s', every=10), range(25, 60, 10)),
        # One frame for each begun fifth of a second from the start on: every 5th.
        (dict(every='.2s'), range(0, 60, 5)),
        (dict(start='0.9s', every='0.2s'), range(23, 60, 5)),
        (dict(start=3, every='1s'), range(3, 60, 25)),
        # At 0, 0.03, 0.06 s and so on, the first frame of each.
        (dict(every='0.03s', end=5), range(5)),
    ):
        source = open_source(video, **options)
        assert source.length == len(expected)
        if len(expected) > 1:
            step = (expected[-1] - expected[0]) / (len(expected) - 1)
            assert source.fps == pytest.approx(25 / step)
        assert read(video, **options) == (list(expected), list(expected), []), options


def test_a_bad_option_is_named_before_work_begins(video, tmp_path):
    for options, message in (
        (dict(every=0), r"every must be a whole number from 1 up .frames, .* '0.5s'\), got 0"),
        (dict(every='0s'), "every must be .* got '0s'"),
        (dict(every='x'), "every must be .* got 'x'"),
        (dict(every=1.5), 'every must be .* got 1.5'),
        (dict(every=True), 'every must be .* got True'),
        (dict(start=-1), "start must be .* seconds such as '12.5s'.* got -1"),
        (dict(start='-2s'), "start must be .* got '-2s'"),
        (dict(end='1m'), "end must be .* got '1m'"),
        (dict(end=0), 'end=0 leaves no frame'),
        (dict(end='0s'), 'end=0s leaves no frame'),
        (dict(start=5, end=5), 'start=5 and end=5 leave no frame'),
        (dict(start='2s', end='1s'), 'start=2s and end=1s leave no frame'),
        (dict(start='2s', end=50), 'start=2s and end=50 leave no frame'),
        (dict(start=60), r'start=60 is behind the end of video .*clip.mp4: it has 60 frames'),
        (dict(start='2.5s'), r'start=2.5s is behind the end of video .*clip.mp4: it has 60 frames'),
        (dict(max_size=0), r'max_size must be .* from 1 up \(pixels\), got 0'),
    ):
        with pytest.raises(UserError, match=message):
            open_source(video, **options)
    # Of a file that announces nothing, the end is found by reading.
    source = open_source(write_h264(tmp_path / 'clip.ts', 20), start=20)
    with pytest.raises(UserError, match='start=20 is behind the end .* it has 20 frames'):
        list(source)


def test_large_frames_are_scaled_down_and_never_up(video):
    for size, shape in ((160, (90, 160)), (1, (1, 1)), (320, (180, 320)), (999, (180, 320))):
        (frame,) = open_source(video, end=1, max_size=size)
        assert frame.image.shape == (*shape, 3)


def test_a_cut_video_gives_what_can_be_decoded_and_the_loss(long_video, tmp_path):
    path = cut(long_video, tmp_path / 'cut.mp4', 0.6)
    indices, numbers, (note,) = read(path)
    assert indices == numbers and indices[:100] == list(range(100)) and len(indices) < 200
    assert note == (
        f'video {path}: {300 - len(indices)} of 300 frames are lost; decoding stopped after frame '
        f'{indices[-1]} ({indices[-1] / 30:.1f} s), because the file is cut short.'
    )
    assert read(path, end=100) == (list(range(100)), list(range(100)), [])
    with pytest.raises(UserError, match='no frame from 295 on can be read: .* of 300 .* are lost'):
        read(path, start=295)


@pytest.mark.parametrize('suffix', ['.mp4', '.avi'])
def test_frames_of_a_cut_video_are_whole(tmp_path, suffix):
    whole = write_h264(tmp_path / f'whole{suffix}', 60, faststart=True)
    path = cut(whole, tmp_path / f'cut{suffix}', 0.8)
    frames = list(open_source(path))
    assert len(frames) > 10
    for frame, expected in zip(frames, open_source(whole), strict=False):
        np.testing.assert_array_equal(frame.image, expected.image)


def test_one_frame_less_is_a_loss_where_the_file_is_cut(tmp_path):
    path = write_h264(tmp_path / 'cut.mp4', 41, faststart=True, every_key=10)
    path.write_bytes(path.read_bytes()[:-5])
    indices, _, (note,) = read(path)
    assert indices == list(range(40))
    lost = '1 of 41 frames are lost; decoding stopped after frame 39'
    assert note.startswith(f'video {path}: {lost}')


def test_a_rate_that_cannot_be_is_none(tmp_path):
    path = write_h264(tmp_path / 'fast.mkv', 5, fps=2000)
    source = open_source(path)
    assert (source.fps, source.length) == (None, 5)
    assert [frame.index for frame in source] == list(range(5))
    # The file counts milliseconds, so they are at 0, 1, 1, 2 and 2; times need no rate.
    assert read(path, start='0.001s')[0] == [1, 2, 3, 4]


def damage(source, path, share, length=600, value=255):
    """Copies a file with a part of its pictures (of an MP4), or of all, overwritten."""
    content = bytearray(source.read_bytes())
    begin = content.find(b'mdat') + 4
    begin += int(share * (len(content) - begin))
    content[begin : begin + length] = bytes([value]) * length
    path.write_bytes(content)
    return path


def test_reading_continues_behind_damage_and_losses_are_counted(many_keys, tmp_path):
    path = damage(many_keys, tmp_path / 'damaged.mp4', 0.5)
    indices, numbers, notes = read(path)
    assert indices[:30] == numbers[:30] == list(range(30))
    assert indices[-20:] == numbers[-20:] == list(range(80, 100))
    lost = 100 - len(indices)
    assert lost > 2
    for count, found in ((100, notes), (90, read(path, end=90)[2])):
        assert found == [f'video {path}: {lost} of {count} frames are damaged and were left out.']
    # Not those that are not shown.
    path = trim_by_list(many_keys, tmp_path / 'trimmed.mp4', frames=10)
    indices, _, notes = read(damage(path, path, 0.5))
    lost = 90 - len(indices)
    assert 0 < lost < 40
    assert notes == [f'video {path}: {lost} of 90 frames are damaged and were left out.']
    # In a container without times.
    whole = write_h264(tmp_path / 'whole.avi', 60, every_key=10)
    path = damage(whole, tmp_path / 'damaged.avi', 0.5, 200, value=0)
    indices, numbers, notes = read(path)
    assert indices[:7] == numbers[:7] == list(range(7))
    assert notes == [f'video {path}: {60 - len(indices)} of 60 frames are lost.']


def test_frames_behind_a_damaged_beginning_keep_their_place_and_time(many_keys, tmp_path):
    path = damage(many_keys, tmp_path / 'damaged.mp4', 0.0, 1500)
    frames = list(open_source(path))
    assert 0 < frames[0].index <= 10
    for frame in frames:
        assert frame.index == number_of(frame.image) == pytest.approx(25 * frame.seconds)
    assert read(path, start='2s')[0] == list(range(50, 100))
    assert read(path, every=20)[0] == [20, 40, 60, 80]


# Raw streams have no times, AVI has no good ones; TS begins at another time than 0.
@pytest.mark.parametrize('suffix', ['.mp4', '.mkv', '.ts', '.avi', '.mov', '.flv', '.h264'])
def test_containers_are_read_whole(tmp_path, suffix):
    path = write_h264(tmp_path / f'clip{suffix}', 50)
    assert read(path) == (list(range(50)), list(range(50)), [])
    seconds = [frame.seconds for frame in open_source(path)]
    np.testing.assert_allclose(seconds, np.arange(50) / 25, atol=1e-3)
    assert 50 <= open_source(path).length <= 52  # FLV may overstate it
    assert read(path, start='1s')[0] == list(range(25, 50))


def test_a_cut_matroska_is_known_by_its_length(tmp_path):
    path = cut(write_h264(tmp_path / 'whole.mkv', 200), tmp_path / 'cut.mkv', 0.5)
    indices, numbers, (note,) = read(path)
    assert indices == numbers == list(range(len(indices))) and 50 < len(indices) < 150
    assert note == (
        f'video {path}: decoding stopped after frame {indices[-1]} ({indices[-1] / 25:.1f} s), but '
        'the file announces 8.0 s: it is cut short, its end is damaged, or its last frame stays, '
        'or only its sound goes on.'
    )


# Name, encoder, times in a second, and options of the container.
UNEVEN = [
    ('a.mp4', 'libx264', 1000, {}),
    ('b.mp4', 'libx264', 1000, {'movflags': 'frag_keyframe+empty_moov'}),  # announces no frames
    ('a.mkv', 'libx264', 1000, {}),
    ('a.webm', 'libvpx', 1000, {'live': '1'}),  # as browsers record: announces no length
    ('a.ts', 'libx264', 1000, {}),
    ('a.flv', 'libx264', 1000, {}),
    ('a.wmv', 'wmv2', 1000, {}),
    ('a.gif', 'gif', 100, {}),
    ('a.avi', 'mpeg4', 30, {}),  # with empty slots in between
]


@pytest.mark.parametrize(('name', 'codec', 'ticks', 'options'), UNEVEN)
def test_time_is_that_of_the_frames(tmp_path, name, codec, ticks, options):
    """In what comes, in selection, in length and rate: not the number by an announced rate."""
    steps = np.random.default_rng(0).choice([40, 70, 100, 400], 39)
    times = np.array([0, *np.cumsum(steps)]) * ticks // 1000 / ticks
    path = write_uneven(tmp_path / name, times, codec, ticks, options)
    source = open_source(path)
    frames = list(source)
    assert [number_of(frame.image) for frame in frames] == list(range(40))
    np.testing.assert_allclose([frame.seconds for frame in frames], times, atol=1.1e-3)
    assert source.notes() == []
    assert source.length == 40
    for options, expected in [
        (dict(start='2.5s'), times >= 2.5),
        (dict(end='1.5s'), times < 1.5),
        (dict(start='1.5s', end='3s'), (times >= 1.5) & (times < 3)),
        (dict(start='1.5s', end=25), (times >= 1.5) & (np.arange(40) < 25)),
        (dict(every='1s'), np.diff(times // 1, prepend=-1) > 0),
    ]:
        part = open_source(path, **options)
        wanted = np.flatnonzero(expected)
        assert [number_of(frame.image) for frame in part] == wanted.tolist(), options
        assert part.length == len(wanted)
        assert part.fps == pytest.approx((len(wanted) - 1) / np.ptp(times[wanted]), rel=1e-2)


def test_avi_without_an_index(tmp_path):
    """Its header counts the empty slots: 12 of 30 hold frames."""
    times = np.array([0, 1, 2, 3, 4, 5, 10, 14, 15, 20, 25, 29]) / 10
    path = write_uneven(tmp_path / 'a.avi', times, 'mpeg4', 10, {})
    path.write_bytes(path.read_bytes().replace(b'idx1', b'JUNK'))
    source = open_source(path)
    assert source.length == 12
    assert [frame.seconds for frame in source] == pytest.approx(times.tolist())
    assert source.notes() == []


def test_frames_of_avi_that_repeat_the_one_before(tmp_path):
    """Encoders write them as a header alone, which is no frame, but has its slot."""
    repeat = av.Packet(bytes.fromhex('000001b6504f'))
    with av.open(str(tmp_path / 'a.avi'), 'w') as container:
        stream = container.add_stream('mpeg4', rate=25)
        stream.width, stream.height, stream.pix_fmt = 320, 180, 'yuv420p'
        slots = iter(range(100))
        for number in range(9):
            frame = av.VideoFrame.from_ndarray(numbered_frame(number), format='bgr24')
            for packet in [*stream.encode(frame), *[repeat] * (2 if number % 4 == 3 else 0)]:
                packet.pts = packet.dts = next(slots)
                packet.time_base, packet.stream = Fraction(1, 25), stream
                container.mux(packet)
    source = open_source(tmp_path / 'a.avi')
    slots = [0, 1, 2, 3, 6, 7, 8, 9, 12]
    assert [frame.index for frame in source] == slots
    assert [frame.seconds for frame in source] == pytest.approx(np.array(slots) / 25)
    assert source.notes() == []


@pytest.mark.parametrize(
    ('name', 'codec'), [('a.mjpeg', 'mjpeg'), ('a.mpg', 'mpeg2video'), ('a.m2v', 'mpeg2video')]
)
def test_streams_without_times_of_their_own(tmp_path, name, codec):
    path = write_uneven(tmp_path / name, np.arange(50) / 25, codec, 25, {})
    source = open_source(path, start='1s', every='0.2s')
    assert source.length == 5
    assert [number_of(frame.image) for frame in source] == [25, 30, 35, 40, 45]


def test_pixels_that_are_not_square(tmp_path):
    path = write_uneven(tmp_path / 'a.mp4', [0, 0.1], 'libx264', 10, {}, Fraction(16, 11))
    assert open_source(path).pixel_aspect == Fraction(16, 11)
    content = bytearray(path.read_bytes())
    turn(content, (0, 1, -1, 0))
    path.write_bytes(content)
    assert open_source(path).pixel_aspect == Fraction(11, 16)


def test_sound_that_lasts_longer_is_no_loss(tmp_path):
    for name in ('a.mp4', 'a.mkv'):
        path = write_h264(tmp_path / name, 50, sound=4)
        assert open_source(path).length == 50 and read(path)[2] == []
    # Where a file announces one duration for both, a little.
    assert read(write_h264(tmp_path / 'a.flv', 50, sound=2.5))[2] == []
    (note,) = read(write_h264(tmp_path / 'a.flv', 50, sound=5))[2]
    assert 'stopped after frame 49 (2.0 s), but the file announces 5' in note
    assert note.endswith('or its last frame stays, or only its sound goes on.')


def test_a_trimmed_video_has_lost_nothing(video, tmp_path):
    path = trim_by_list(video, tmp_path / 'trimmed.mp4', frames=10)
    source = open_source(path)
    assert source.length == 50
    assert read(path) == (list(range(50)), list(range(10, 60)), [])
    assert [frame.seconds for frame in source] == pytest.approx(np.arange(50) / 25)


def test_a_video_that_was_cut_out_of_another_begins_with_its_first_whole_frame(tmp_path):
    """The frames in front, which need those that were cut off, are no damage."""
    whole = write_h264(tmp_path / 'whole.mkv', 40, open_gop=12)
    path = tmp_path / 'part.mkv'
    with av.open(str(whole)) as given, av.open(str(path), 'w') as container:
        stream = container.add_stream_from_template(given.streams.video[0])
        packets = [packet for packet in given.demux(video=0) if packet.size]
        second_key = [number for number, packet in enumerate(packets) if packet.is_keyframe][1]
        assert packets[second_key + 1].pts < packets[second_key].pts
        for packet in packets[second_key:]:
            packet.stream = stream
            container.mux(packet)
    assert read(path) == (list(range(28)), list(range(12, 40)), [])
    assert next(iter(open_source(path))).seconds == 0


def turn(content, matrix):
    place = content.index(b'tkhd') + 44
    a, b, c, d = (value << 16 for value in matrix)
    assert struct.unpack_from('>i', content, place)[0] == 1 << 16
    struct.pack_into('>9i', content, place, a, b, 0, c, d, 0, 0, 0, 1 << 30)


def test_a_turned_video_comes_upright(video, tmp_path):
    path, content = tmp_path / 'turned.mp4', bytearray(video.read_bytes())
    (lying,) = open_source(video, end=1)
    # Rows of the matrix in a track's header by which a player turns what is coded, clockwise.
    for quarters, rows in ((1, (0, 1, -1, 0)), (2, (-1, 0, 0, -1)), (3, (0, -1, 1, 0))):
        turned = bytearray(content)
        turn(turned, rows)
        path.write_bytes(turned)
        (frame,) = open_source(path, end=1)
        np.testing.assert_array_equal(frame.image, np.rot90(lying.image, -quarters))
        assert frame.image.flags.c_contiguous


def test_a_recording_behind_another_continues_in_its_size_and_time(tmp_path):
    path = tmp_path / 'both.ts'
    parts = [write_h264(tmp_path / f'{w}.ts', 60, (w, w // 2)) for w in (320, 640)]
    path.write_bytes(b''.join(part.read_bytes() for part in parts))
    frames = list(open_source(path))
    assert {frame.image.shape for frame in frames} == {(160, 320, 3)}
    numbers = [number_of(frame.image) for frame in frames]
    # A few frames may be lost where they meet.
    assert numbers[:50] == list(range(50)) and numbers[-60:] == list(range(60))
    steps = np.diff([frame.seconds for frame in frames])
    np.testing.assert_allclose(steps, 1 / 25, atol=1e-6)


def test_colours_are_those_of_the_file_s_standard(tmp_path):
    colours = np.array([(200, 40, 60), (30, 180, 90)], np.uint8)
    image = np.repeat(np.repeat(colours[None], 64, 0), 32, 1)
    with av.open(str(tmp_path / 'a.mp4'), 'w') as container:
        stream = container.add_stream('libx264', rate=Fraction(5), options={'crf': '1'})
        stream.width, stream.height, stream.pix_fmt = 64, 64, 'yuv444p'
        stream.codec_context.colorspace = stream.codec_context.color_range = 1
        frame = av.VideoFrame.from_ndarray(image, 'bgr24')
        frame = frame.reformat(format='yuv444p', dst_colorspace='ITU709', dst_color_range='MPEG')
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    (frame,) = open_source(tmp_path / 'a.mp4')
    assert np.abs(frame.image[32, [10, 50]].astype(int) - colours).max() < 4


def write_others(folder):
    (folder / 'text.mp4').write_text('no video at all\n' * 100)
    (folder / 'links.m3u8').write_text('#EXTM3U\nhttp://localhost/clip.ts\n')
    (folder / 'empty.mp4').write_bytes(b'')
    noise = np.random.default_rng(0).integers(0, 256, 5000)
    (folder / 'noise.mp4').write_bytes(noise.astype(np.uint8).tobytes())
    # Without the signs that no text has, and yet no text in UTF-8.
    (folder / 'high.mp4').write_bytes(bytes(range(128, 256)) * 8)
    damage(write_h264(folder / 'a.mp4', 5, faststart=True), folder / 'b.mp4', 0, 10**6, value=0)
    write_sound(folder / 'sound.mp4')
    write_sound(folder / 'song.mka', cover=cv2.imencode('.png', numbered_frame(1))[1].tobytes())


def test_what_is_no_video_is_named(tmp_path, video):
    write_others(tmp_path)
    cut(video, tmp_path / 'cut.mp4', 0.6)
    for name, message in (
        ('nothing.mp4', "'.*nothing.mp4' not found: expected a video file or a folder of frames"),
        ('7', "'.*7' not found: expected a video file or a folder of frames"),
        ('text.mp4', 'video .*text.mp4 is a text, not a video'),
        ('links.m3u8', 'links.m3u8 is a text, not a video'),
        ('empty.mp4', r'video .*empty.mp4 is empty \(0 bytes\)'),
        ('noise.mp4', r'noise.mp4 cannot be opened: Invalid data .*\(not a video, or damag'),
        ('high.mp4', r'high.mp4 cannot be opened: Invalid data'),
        ('sound.mp4', 'sound.mp4 cannot be opened: it has no pictures, only sound'),
        ('song.mka', 'song.mka cannot be opened: it has no pictures, only sound'),
        ('cut.mp4', r'cut.mp4 cannot be opened: its index \(moov\), .* miss'),
        ('b.mp4', r'b.mp4: no frame can be decoded \(damaged\?\)'),
    ):
        with pytest.raises(UserError, match=message):
            open_source(tmp_path / name)


def test_libraries_print_nothing_about_a_broken_file(long_video, tmp_path, run_python):
    cut(long_video, tmp_path / 'cut.mp4', 0.5)
    write_others(tmp_path)
    cv2.imwrite(str(tmp_path / 'cut.hdr'), numbered_frame(1).astype(np.float32))
    cut(tmp_path / 'cut.hdr', tmp_path / 'cut.hdr', 0.5)
    code = f"""
from vispropnet.errors import UserError
from vispropnet.video import open_source
for name in ('noise.mp4', 'cut.hdr', 'cut.mp4'):
    try:
        print(len(list(open_source('{tmp_path}/' + name))) > 50)
    except UserError:
        print('refused')
"""
    process = run_python('-c', code)
    assert (process.stdout, process.stderr) == ('refused\nrefused\nTrue\n', '')
