import struct

import cv2
import numpy as np
import pytest
from PIL import Image

from vispropnet.datasets.annotation_rules import AnnotationFile
from vispropnet.datasets.check_frames import check_frames
from vispropnet.datasets.check_report import Report
from vispropnet.errors import UserError

H, W = 24, 32
NAMES = {7: ['a/0.jpg', 'a/1.jpg', 'a/2.jpg'], 3: ['b/0.png', 'b/1.png']}


def noise(height=H, width=W):
    return np.random.default_rng(0).integers(0, 255, (height, width, 3)).astype(np.uint8)


@pytest.fixture
def images(tmp_path):
    """Video 7 of three JPEGs, video 3 of two PNGs."""
    for names in NAMES.values():
        for name in names:
            path = tmp_path / 'images' / name
            path.parent.mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(path), noise())
    return tmp_path / 'images'


def check(images, deep=False, names=NAMES, **changed):
    videos = [
        {'id': number, 'width': W, 'height': H, 'file_names': one, **changed}
        for number, one in names.items()
    ]
    content = {'videos': videos, 'categories': [{'id': 1, 'name': 'x'}]}
    report = Report('ann.json')
    contents = AnnotationFile(content, report)
    check_frames(contents.videos, images, report, deep=deep, progress=False)
    return report


def lines(report):
    return [f'{one.severity}: {one.kind}: {one.line("")}' for one in report.findings]


@pytest.mark.parametrize('deep', [False, True])
def test_good_frames_have_no_findings(images, deep):
    report = check(images, deep)
    assert lines(report) == []
    assert report.looked_at == {'frames': 5, 'images opened': 5 if deep else 2}


@pytest.mark.parametrize('deep', [False, True])
def test_missing_frames_are_all_listed(images, deep):
    (images / 'a/0.jpg').unlink()
    (images / 'a/2.jpg').unlink()
    (images / 'b/1.png').unlink()
    (images / 'b/1.png').mkdir()  # a folder is no frame
    found = lines(check(images, deep))
    places = [
        ('videos[0], video 7, frame 0', 'a/0.jpg'),
        ('videos[0], video 7, frame 2', 'a/2.jpg'),
        ('videos[1], video 3, frame 1', 'b/1.png'),
    ]
    assert found == [
        f'error: missing frame: {place} ({name}): there is no file {images}/{name}'
        for place, name in places
    ]


def test_without_any_frame_the_folder_is_doubted(images):
    report = check(images.parent, names={7: ['a/0.jpg'], 3: ['b/0.png']})
    kinds = [(one.severity, one.kind) for one in report.findings]
    assert kinds == [('error', 'image folder')] + [('error', 'missing frame')] * 2


def test_a_missing_folder(images):
    with pytest.raises(UserError, match='folder of frames not found: nowhere. Ask Ann.'):
        check_frames([], 'nowhere', Report('x'), hint='Ask Ann.')


def test_links_and_detours_are_followed(images):
    (images / 'a/1.jpg').rename(images / 'b/other.jpg')
    (images / 'a/1.jpg').symlink_to('../b/other.jpg')
    assert lines(check(images, names={7: ['a/1.jpg', './a/2.jpg', 'b/../a/0.jpg']})) == [
        'warning: frame order: videos[0], video 7, frame 2 (b/../a/0.jpg): sorts before the frame '
        'before it (a/2.jpg): expected the order in time'
    ]
    (images / 'b/other.jpg').unlink()
    assert [one.kind for one in check(images, names={7: ['a/1.jpg']}).findings] == [
        'image folder',
        'missing frame',
    ]


def test_names_that_cannot_be_files_are_not_looked_for(images):
    outside = images.parent / 'c.jpg'
    outside.write_bytes(b'no image')
    names = {7: [5, '', '../c.jpg', str(outside), 'a/0.jpg']}
    report = check(images, deep=True, names=names)
    assert [one.kind for one in report.findings] == ['structure'] * 2 + ['file name'] * 2
    assert report.looked_at['frames'] == 1
    report = check(images, names={7: ['a/0.jpg', 'a/1\0.jpg', 'a/1\ud800.jpg']})
    assert [(one.kind, one.where['frame']) for one in report.findings] == [
        ('file name', 1),
        ('file name', 2),
    ]


def cut(path, share=0.6):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


def plant_jpeg_without_end(path):
    path.write_bytes(path.read_bytes()[:-2])


def plant_jpeg_with_lost_tail(path):
    """As a copy that was interrupted: the right size, the rest zero."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] + bytes(len(content) - len(content) // 2))


def plant_jpeg_with_thumbnail(path):
    """A cut JPEG whose thumbnail, in the second half of what is left, has an end."""
    content = path.read_bytes()
    application = b'\xff\xe1' + struct.pack('>H', 2 + 400) + bytes(398) + b'\xff\xd9'
    path.write_bytes(content[:2] + application + content[2:300])


def plant_text(path):
    path.write_text('no image')


def plant_nothing(path):
    path.write_bytes(b'')


@pytest.mark.parametrize(
    ('name', 'damage', 'text'),
    [
        ('a/1.jpg', cut, 'cannot be read as an image: the JPEG is cut short'),
        ('a/1.jpg', plant_jpeg_without_end, 'cannot be read as an image: the JPEG is cut short'),
        ('a/1.jpg', plant_jpeg_with_lost_tail, 'cannot be read as an image: the JPEG is cut short'),
        ('a/1.jpg', plant_jpeg_with_thumbnail, 'cannot be read as an image: the JPEG is cut short'),
        ('a/1.jpg', plant_text, 'cannot be read as an image (damaged, or not one?)'),
        ('a/1.jpg', plant_nothing, 'cannot be read as an image: the file is empty'),
        ('b/1.png', cut, 'cannot be read as an image'),
        ('b/1.png', plant_text, 'cannot be read as an image (damaged, or not one?)'),
    ],
)
def test_deep_finds_what_cannot_be_decoded(images, name, damage, text):
    damage(images / name)
    (line,) = lines(check(images, deep=True))
    place = 'videos[0], video 7' if name[0] == 'a' else 'videos[1], video 3'
    assert line.startswith(f'error: unreadable frame: {place}, frame 1 ({name}): {text}')
    # Beyond the first frames only --deep looks.
    assert lines(check(images)) == []


@pytest.mark.parametrize(
    ('damage', 'text'),
    [(plant_text, 'cannot be'), (plant_nothing, 'cannot be read as an image: the file is empty')],
)
def test_the_header_of_first_frames_is_always_read(images, damage, text):
    damage(images / 'a/0.jpg')
    (line,) = lines(check(images))
    assert line.startswith(
        f'error: unreadable frame: videos[0], video 7, frame 0 (a/0.jpg): {text}'
    )


def test_sound_jpegs_of_other_makers(images):
    """A thumbnail before the image, fill bytes, a little behind the end, no colour."""
    content = (images / 'a/0.jpg').read_bytes()
    application = b'\xff\xe1' + struct.pack('>H', 2 + 8) + b'thumb.\xff\xd9'
    (images / 'a/0.jpg').write_bytes(content[:2] + application + b'\xff' + content[2:] + b'  \0')
    Image.fromarray(noise()[..., 0]).save(images / 'a/1.jpg', progressive=True)
    Image.fromarray(noise()).convert('CMYK').save(images / 'a/2.jpg')
    assert lines(check(images, deep=True)) == []


@pytest.mark.parametrize('deep', [False, True])
def test_frames_of_another_size(images, deep):
    for name in ('a/0.jpg', 'a/1.jpg'):
        cv2.imwrite(str(images / name), noise(10, 20))
    found = lines(check(images, deep))
    wanted = (
        'error: frame of another size than its video: videos[0], video 7, frame {0} (a/{0}.jpg): '
        'the image is 20x10 pixels (width x height), the annotation file says 32x24'
    )
    assert found == [wanted.format(frame) for frame in ((0, 1) if deep else (0,))]


def test_sizes_that_the_file_does_not_say_are_not_checked(images):
    report = check(images, deep=True, width=None)
    assert {one.kind for one in report.findings} == {'structure'}


@pytest.mark.parametrize('deep', [False, True])
def test_size_of_a_frame_that_lies_on_its_side(images, deep):
    """Decoders turn it upright: the annotation file has to say that size."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(noise()).save(images / 'a/0.jpg', exif=exif)
    assert cv2.imread(str(images / 'a/0.jpg')).shape == (W, H, 3)
    (line,) = lines(check(images, deep, names={7: ['a/0.jpg']}))
    assert 'the image is 24x32 pixels' in line
    assert lines(check(images, deep, names={7: ['a/0.jpg']}, width=H, height=W)) == []


def test_a_format_that_only_opencv_reads(images):
    path = images / 'a/0.hdr'
    assert cv2.imwrite(str(path), noise().astype(np.float32))
    with pytest.raises(OSError):
        Image.open(path)
    for deep in (False, True):
        assert lines(check(images, deep, names={7: ['a/0.hdr']})) == []


def test_places_hold_beyond_what_is_opened_at_once(images, monkeypatch):
    monkeypatch.setattr('vispropnet.datasets.check_frames._FRAMES_AHEAD', 2)
    plant_text(images / 'a/1.jpg')
    plant_text(images / 'b/1.png')
    found = [(one.where['video_id'], one.where['frame']) for one in check(images, True).findings]
    assert found == [(7, 1), (3, 1)]
