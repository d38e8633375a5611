import struct

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.videos import cut, number_of, numbered_frame, trim_by_list, write_h264, write_sound
from vispropnet.datasets.frame_sources import open_source
from vispropnet.datasets.frame_sources.containers import structure_of
from vispropnet.errors import UserError

SIZE = (320, 180)


@pytest.fixture(scope='module')
def videos(tmp_path_factory):
    return tmp_path_factory.mktemp('videos')


@pytest.fixture(scope='module')
def long_video(videos):
    """300 frames of 1280x720 with the index in front."""
    return write_h264(videos / 'long.mp4', 300, (1280, 720), fps=30, faststart=True)


@pytest.fixture(scope='module')
def video(videos):
    """60 frames at 25 a second."""
    return write_h264(videos / 'clip.mp4', 60)


def read(source, **options):
    """Positions of the frames, the numbers that they show, and the notes."""
    with open_source(source, **options) as frames:
        pairs = [(frame.index, number_of(frame.image)) for frame in frames]
        return [index for index, _ in pairs], [number for _, number in pairs], frames.notes()


def test_every_frame_of_a_video_comes_once_and_in_order(long_video):
    with open_source(long_video) as source:
        assert (source.kind, source.name, source.length) == ('video', 'long', 300)
        assert source.fps == 30
        for count, frame in enumerate(source):
            assert frame.index == number_of(frame.image) == count
            assert frame.name == f'{count:08d}'
            assert frame.image.shape == (720, 1280, 3)
            assert frame.image.dtype == np.uint8
        assert count == 299
        assert source.notes() == []
    blue, green, red = frame.image[700, 100].astype(int)
    assert red > 200 > 60 > max(blue, green)


def test_a_video_can_be_read_again_and_left_early(video):
    source = open_source(str(video))
    for frame in source:
        if frame.index == 5:
            break
    assert [frame.index for frame in source] == list(range(60))


@pytest.mark.parametrize(
    ('options', 'expected'),
    [
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
    ],
)
def test_exactly_the_wanted_frames_come(video, options, expected):
    with open_source(video, **options) as source:
        assert source.length == len(expected)
        assert source.fps == 25 / int(options.get('every', 1))
    indices, numbers, notes = read(video, **options)
    assert indices == numbers == list(expected)
    assert notes == []


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(every=0), r'every must be a whole number from 1 up \(frames\), got 0'),
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
        (dict(start=62), r'start=62 is behind the end of video .*clip.mp4: it has 60 frames'),
        (dict(max_size=0), r'max_size must be .* from 1 up \(pixels\), got 0'),
    ],
)
def test_a_bad_option_is_named_before_work_begins(video, options, message):
    with pytest.raises(UserError, match=message):
        open_source(video, **options)


def test_a_start_just_behind_the_end_is_found_out_by_reading(video):
    with pytest.raises(UserError, match='start=60 is behind the end .* it has 60 frames'):
        read(video, start=60)


@pytest.mark.parametrize(
    ('max_size', 'shape'), [(160, (90, 160)), (1, (1, 1)), (320, (180, 320)), (999, (180, 320))]
)
def test_large_frames_are_scaled_down_and_never_up(video, max_size, shape):
    (frame,) = open_source(video, end=1, max_size=max_size)
    assert frame.image.shape == (*shape, 3)


def test_a_cut_video_gives_what_can_be_decoded_and_tells_the_loss(long_video, tmp_path):
    path = cut(long_video, tmp_path / 'cut.mp4', 0.6)
    indices, numbers, (note,) = read(path)
    assert 100 < len(indices) < 300
    assert indices[:100] == numbers[:100] == list(range(100))
    assert indices == numbers
    assert note == (
        f'video {path}: {300 - len(indices)} of 300 frames are lost; decoding stopped after frame '
        f'{indices[-1]} ({indices[-1] / 30:.1f} s), because the file is cut short.'
    )
    assert read(path, end=100) == (list(range(100)), list(range(100)), [])
    with pytest.raises(UserError, match='no frame from 295 on can be read: .* of 300 .* are lost'):
        read(path, start=295)


def test_a_video_cut_before_its_index_is_told_so(video, tmp_path):
    path = cut(video, tmp_path / 'cut.mp4', 0.6)
    with pytest.raises(UserError, match=r'cut.mp4 cannot be opened: it has no index \(moov\)'):
        open_source(path)


def test_reading_goes_on_behind_damage(videos, tmp_path):
    # A key frame every 10: the index is in front, the pictures in the last part of the file.
    content = bytearray(
        write_h264(videos / 'keys.mp4', 100, faststart=True, every_key=10).read_bytes()
    )
    middle = content.index(b'mdat') + (len(content) - content.index(b'mdat')) // 2
    content[middle : middle + 600] = b'\xff' * 600
    path = tmp_path / 'damaged.mp4'
    path.write_bytes(content)
    indices, numbers, notes = read(path)
    assert indices[:30] == numbers[:30] == list(range(30))
    assert indices[-20:] == numbers[-20:] == list(range(80, 100))
    lost = 100 - len(indices)
    assert lost > 2
    assert notes == [
        f'video {path}: {lost} of 100 frames are lost; they are damaged and were left out.'
    ]
    assert read(path, end=90)[2] == [
        f'video {path}: {lost} of the first 90 frames are damaged and were left out.'
    ]


@pytest.mark.parametrize('suffix', ['.mkv', '.ts', '.avi'])
def test_other_containers_are_read_whole(tmp_path, suffix):
    path = write_h264(tmp_path / f'clip{suffix}', 50)
    assert read(path) == (list(range(50)), list(range(50)), [])


def test_a_cut_matroska_is_told_by_its_length(tmp_path):
    path = cut(write_h264(tmp_path / 'whole.mkv', 200), tmp_path / 'cut.mkv', 0.5)
    indices, numbers, (note,) = read(path)
    assert indices[:50] == numbers[:50] == list(range(50))
    assert f'{len(indices)} frames of about 200 announced were read' in note
    assert note.endswith('because the file is cut short.')


def test_frames_at_uneven_times_are_no_loss(tmp_path):
    times = np.cumsum(np.random.default_rng(0).integers(10, 200, 60)).tolist()
    for suffix in ('.mp4', '.mkv'):
        path = write_h264(tmp_path / f'uneven{suffix}', times)
        assert read(path) == (list(range(60)), list(range(60)), [])


def test_sound_that_goes_on_is_no_loss_where_frames_are_counted(tmp_path):
    assert read(write_h264(tmp_path / 'a.mp4', 50, sound=4))[2] == []
    (note,) = read(write_h264(tmp_path / 'a.mkv', 50, sound=4))[2]
    assert note.endswith('its end is damaged, or only its sound goes on.')


def test_a_trimmed_video_has_lost_nothing(video, tmp_path):
    path = trim_by_list(video, tmp_path / 'trimmed.mp4', frames=10)
    with open_source(path) as source:
        assert source.length == 50
    assert read(path) == (list(range(50)), list(range(10, 60)), [])


def test_a_video_of_one_frame(tmp_path):
    path = write_h264(tmp_path / 'one.mp4', 1)
    assert read(path) == ([0], [0], [])
    assert read(path, every=5) == ([0], [0], [])


def test_a_turned_video_comes_upright(video, tmp_path):
    content = bytearray(video.read_bytes())
    matrix = content.index(b'tkhd') + 44
    assert content[matrix : matrix + 4] == b'\0\1\0\0'
    one, turned = 1 << 16, (0, 1 << 16, 0, -(1 << 16), 0, 0, SIZE[1] << 16, 0, 1 << 30)
    assert struct.unpack_from('>i', content, matrix)[0] == one
    struct.pack_into('>9i', content, matrix, *turned)
    path = tmp_path / 'turned.mp4'
    path.write_bytes(content)
    (frame,) = open_source(path, end=1)
    assert frame.image.shape == (320, 180, 3)
    # What was the bottom left is now the top left.
    assert (frame.image[40, 20] > (-1, -1, 200)).all()


def write_others(folder):
    (folder / 'text.mp4').write_text('no video at all\n' * 100)
    (folder / 'links.m3u8').write_text('#EXTM3U\nhttp://localhost/clip.ts\n')
    (folder / 'empty.mp4').write_bytes(b'')
    noise = np.random.default_rng(0).integers(0, 256, 5000)
    (folder / 'noise.mp4').write_bytes(noise.astype(np.uint8).tobytes())


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('nothing.mp4', "'.*nothing.mp4' not found: expected a video file, a folder of frames"),
        ('text.mp4', 'video .*text.mp4 is a text, not a video'),
        ('links.m3u8', 'links.m3u8 is a text, not a video'),
        ('empty.mp4', r'video .*empty.mp4 is empty \(0 bytes\)'),
        ('noise.mp4', 'video .*noise.mp4 cannot be opened: no pictures in it that can be decoded'),
    ],
)
def test_what_is_no_video_is_named(tmp_path, name, message):
    write_others(tmp_path)
    with pytest.raises(UserError, match=message):
        open_source(tmp_path / name)


def test_sound_alone_is_no_video(tmp_path):
    with pytest.raises(UserError, match='it has no pictures, only sound'):
        open_source(write_sound(tmp_path / 'sound.mp4'))


def test_nothing_is_printed_about_a_broken_video(long_video, tmp_path, run_python):
    cut(long_video, tmp_path / 'cut.mp4', 0.5)
    write_others(tmp_path)
    process = run_python(
        '-c',
        'import sys\n'
        'from vispropnet.datasets.frame_sources import open_source\n'
        'from vispropnet.errors import UserError\n'
        'for name in ("noise.mp4", "empty.mp4"):\n'
        '    try:\n'
        '        open_source(f"{sys.argv[1]}/{name}")\n'
        '    except UserError:\n'
        '        print("refused")\n'
        'print(sum(1 for frame in open_source(f"{sys.argv[1]}/cut.mp4")) > 50)\n',
        tmp_path,
    )
    assert process.stdout == 'refused\nrefused\nTrue\n'
    assert process.stderr == ''


def test_a_size_that_changes_is_named(video, monkeypatch):
    class Changing:
        def __init__(self, *_):
            self.count = 0

        def isOpened(self):  # noqa: N802
            return True

        def get(self, _):
            return 0.0

        def grab(self):
            self.count += 1
            return self.count < 9

        def retrieve(self):
            return True, numbered_frame(0, (32, 18) if self.count < 4 else (64, 36))

        def release(self):
            pass

    monkeypatch.setattr(cv2, 'VideoCapture', Changing)
    with pytest.raises(UserError, match='clip.mp4, frame 3: the image is 64x36 pixels, .* 32x18'):
        list(open_source(video))


def test_structures_by_hand(tmp_path):
    def of(content):
        path = tmp_path / 'file'
        path.write_bytes(content)
        return structure_of(path)

    def box(kind, content):
        return struct.pack('>I4s', 8 + len(content), kind) + content

    def track(kind, edits):
        handler = box(b'hdlr', struct.pack('>8x4s', kind))
        entries = b''.join(struct.pack('>IiI', *edit, 1 << 16) for edit in edits)
        edit_list = box(b'elst', struct.pack('>4xI', len(edits)) + entries)
        return box(b'trak', box(b'edts', edit_list) + box(b'mdia', handler))

    movie = box(b'mvhd', struct.pack('>4xIIII', 0, 0, 1000, 0))
    start = box(b'ftyp', b'isom')
    sound = track(b'soun', [(1000, 0)])
    # An empty edit (media time -1) delays; the other plays 4 seconds.
    pictures = track(b'vide', [(700, -1), (4000, 100)])
    whole = of(start + box(b'moov', movie + sound + pictures) + box(b'mdat', bytes(100)))
    assert whole.counts_frames
    assert whole.has_index
    assert whole.has_pictures
    assert not whole.is_cut
    assert whole.played == 4
    assert not of(start + box(b'moov', movie + sound)).has_pictures
    assert not of(start + box(b'mdat', bytes(100))).has_index
    assert of(start + box(b'moov', movie + pictures) + box(b'mdat', bytes(100))[:-1]).is_cut
    damaged = of(start + struct.pack('>I4s', 3, b'moov') + bytes(50))
    assert (damaged.counts_frames, damaged.has_index, damaged.is_cut) == (False, True, False)

    def avi(missing=0):
        content = b'AVI ' + bytes(100)
        return b'RIFF' + struct.pack('<I', len(content)) + content[: len(content) - missing]

    assert not of(avi()).is_cut
    assert of(avi(missing=5)).is_cut
    assert of(avi() + avi(missing=5)).is_cut
    header = b'\x1a\x45\xdf\xa3\x84' + bytes(4) + b'\x18\x53\x80\x67'
    assert not of(header + b'\x88' + bytes(8)).is_cut
    assert of(header + b'\x88' + bytes(7)).is_cut
    assert of(header + b'\x40\x08' + bytes(7)).is_cut  # the same number in two bytes
    assert not of(header + b'\xff' + bytes(7)).is_cut  # length not known
    assert not of(b'anything else').is_cut


@pytest.fixture
def folder(tmp_path):
    """Frames 0 to 11 as frame_0.png to frame_11.png, 64x36 pixels."""
    path = tmp_path / 'frames'
    path.mkdir()
    for number in range(12):
        cv2.imwrite(str(path / f'frame_{number}.png'), numbered_frame(number, (64, 36)))
    return path


def test_images_come_in_the_natural_order_of_their_names(folder):
    with open_source(folder) as source:
        assert (source.kind, source.name) == ('folder', 'frames')
        assert (source.fps, source.length) == (None, 12)
        frames = list(source)
    assert [frame.name for frame in frames] == [f'frame_{number}.png' for number in range(12)]
    assert [frame.index for frame in frames] == list(range(12))
    for number, frame in enumerate(frames):
        assert (frame.image == numbered_frame(number, (64, 36))).all()
    assert source.notes() == []


def test_a_part_of_a_folder(folder):
    assert read(folder, start=2, end=9, every=3)[:2] == ([2, 5, 8], [2, 5, 8])
    with pytest.raises(UserError, match='start=1s is in seconds, but folder .* no frame rate'):
        open_source(folder, start='1s')
    with pytest.raises(UserError, match='start=12 is behind the end .* it has 12 images'):
        open_source(folder, start=12)


def test_other_files_are_left_out_and_named(folder):
    for name in ('notes.txt', 'sums.md5', 'b.json', 'c.xml', '.hidden'):
        (folder / name).write_text('x')
    (folder / 'sub.png').mkdir()
    indices, _, notes = read(folder)
    assert indices == list(range(12))
    assert notes == [
        f'folder {folder}: left out what is no image by its name: b.json, c.xml, notes.txt and '
        '2 more.'
    ]


def test_damaged_images_are_left_out_and_counted(folder):
    cv2.imwrite(str(folder / 'frame_12.jpg'), numbered_frame(12, (64, 36)))
    cut(folder / 'frame_12.jpg', folder / 'frame_12.jpg', 0.7)
    cut(folder / 'frame_3.png', folder / 'frame_3.png', 0.8)
    (folder / 'frame_5.png').write_bytes(b'')
    with open_source(folder) as source:
        assert source.length == 12  # a look at the headers finds one of them
    indices, numbers, (note,) = read(folder)
    assert indices == numbers == [0, 1, 2, 4, 6, 7, 8, 9, 10, 11]
    assert note == (
        f'folder {folder}: 3 of 13 images cannot be read and were left out: frame_5.png (the file '
        'is empty), frame_3.png (the PNG is cut short), frame_12.jpg (the JPEG is cut short).'
    )


def test_a_folder_without_a_frame(tmp_path, folder):
    (tmp_path / 'empty').mkdir()
    with pytest.raises(UserError, match='folder .*empty is empty: expected images'):
        open_source(tmp_path / 'empty')
    with pytest.raises(UserError, match='has no images, only frames. Name the folder that the'):
        (tmp_path / 'empty').rmdir()
        open_source(tmp_path)
    for path in folder.iterdir():
        path.write_bytes(b'')
    with pytest.raises(UserError, match='none of 12 images can be read: frame_0.png'):
        open_source(folder)
    for path in folder.iterdir():
        cv2.imwrite(str(path), numbered_frame(0, (64, 36)))
        cut(path, path, 0.9)
    with pytest.raises(UserError, match='none of the images can be decoded: frame_0.png .the PNG'):
        list(open_source(folder))


def test_frames_of_different_sizes_are_refused_before_work_begins(folder):
    cv2.imwrite(str(folder / 'frame_7.png'), numbered_frame(7, (128, 72)))
    message = 'frame_0.png has 64x36 pixels .width x height., frame_7.png has 128x72. Put the'
    with pytest.raises(UserError, match=message):
        open_source(folder)
    # Scaled to 32x18, both are of one size; and the frame may not be wanted at all.
    assert read(folder, max_size=32)[:2] == (list(range(12)), list(range(12)))
    assert read(folder, end=7)[0] == list(range(7))


def test_turned_images_come_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    lying = Image.fromarray(numbered_frame(1, (64, 36))[..., ::-1])
    lying.save(tmp_path / '0.jpg', exif=exif, quality=95)
    standing = cv2.rotate(numbered_frame(1, (64, 36)), cv2.ROTATE_90_CLOCKWISE)
    cv2.imwrite(str(tmp_path / '1.jpg'), standing)
    for frame in open_source(tmp_path):
        assert np.abs(frame.image.astype(int) - standing).mean() < 5
    # Of a PNG, its header does not tell.
    lying.save(tmp_path / '2.png', exif=exif)
    with pytest.raises(UserError, match='0.jpg has 36x64 pixels .*, 2.png has 64x36'):
        open_source(tmp_path)


def test_images_of_all_kinds_become_8_bit_bgr(tmp_path):
    values = np.array([[0, 100], [200, 255]], np.uint8)
    grey = np.repeat(values[..., None], 3, axis=2)
    cv2.imwrite(str(tmp_path / '0.png'), values)
    cv2.imwrite(str(tmp_path / '1.png'), values.astype(np.uint16) * 257)
    cv2.imwrite(str(tmp_path / '2.tiff'), values.astype(np.uint16) * 257)
    alpha = np.dstack([grey, np.array([[0, 9], [128, 255]], np.uint8)])
    cv2.imwrite(str(tmp_path / '3.png'), alpha)
    palette = Image.fromarray(np.array([[2, 1], [0, 3]], np.uint8))
    palette.putpalette([200] * 3 + [100] * 3 + [0] * 3 + [255] * 3)
    palette.save(tmp_path / '4.png', transparency=1)
    for frame in open_source(tmp_path):
        assert frame.image.dtype == np.uint8
        assert frame.image.tolist() == grey.tolist(), frame.name
    assert frame.index == 4


def test_a_single_image_is_a_folder_of_one(folder, tmp_path):
    path = folder / 'frame_9.png'
    with open_source(path) as source:
        assert (source.kind, source.name, source.length) == ('folder', 'frame_9', 1)
    assert read(path) == ([0], [9], [])
    misnamed = path.rename(tmp_path / 'clip.mp4')
    assert read(misnamed) == ([0], [9], [])
    (tmp_path / 'bad.jpg').write_bytes(b'\xff\xd8\xff')
    with pytest.raises(UserError, match='image .*bad.jpg: none of 1 images can be read'):
        open_source(tmp_path / 'bad.jpg')


@pytest.mark.parametrize('size', [(1, 1), (7680, 4320)])
def test_tiny_and_huge_frames(tmp_path, size):
    image = np.full((size[1], size[0], 3), (10, 20, 30), np.uint8)
    cv2.imwrite(str(tmp_path / 'frame.bmp'), image)
    (frame,) = open_source(tmp_path)
    assert frame.image.shape == image.shape
    (small,) = open_source(tmp_path, max_size=64)
    assert small.image.shape == ((1, 1, 3) if size == (1, 1) else (36, 64, 3))
    assert small.image[0, 0].tolist() == [10, 20, 30]
