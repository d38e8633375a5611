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
NOISE = np.random.default_rng(0).integers(0, 255, (H, W, 3)).astype(np.uint8)


@pytest.fixture
def images(tmp_path):
    """Video 7 of three JPEGs, video 3 of two PNGs."""
    for name in (*NAMES[7], *NAMES[3]):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        assert cv2.imwrite(str(tmp_path / name), NOISE)
    return tmp_path


def check(images, deep=False, names=NAMES, **changed):
    size = {'width': W, 'height': H, **changed}
    videos = [{'id': number, 'file_names': one, **size} for number, one in names.items()]
    content = {'videos': videos, 'categories': [{'id': 1, 'name': 'x'}]}
    report = Report('ann.json')
    check_frames(AnnotationFile(content, report).videos, images, report, deep, progress=False)
    return report


def lines(*arguments, **options):
    report = check(*arguments, **options)
    return [f'{one.severity}: {one.kind}: {one.line("")}' for one in report.findings]


@pytest.mark.parametrize('deep', [False, True])
def test_missing_frames_are_all_listed(images, deep):
    report = check(images, deep)
    assert report.findings == []
    assert report.looked_at == {'frames': 5, 'images opened': 5 if deep else 2}
    first, second = 'videos[0], video 7', 'videos[1], video 3'
    gone = (first, 0, 'a/0.jpg'), (first, 2, 'a/2.jpg'), (second, 1, 'b/1.png')
    for _, _, name in gone:
        (images / name).unlink()
    (images / 'b/1.png').mkdir()  # a folder is no frame
    text = 'error: missing frame: {}, frame {} ({}): there is no file {}'
    assert lines(images, deep) == [text.format(*one, images / one[2]) for one in gone]


def test_without_any_frame_the_folder_is_doubted(images):
    report = check(images / 'a', names={7: ['a/0.jpg'], 3: ['b/0.png']})
    found = [(one.severity, one.kind) for one in report.findings]
    assert found == [('error', 'image folder'), *[('error', 'missing frame')] * 2]
    with pytest.raises(UserError, match='folder of frames not found: nowhere. Ask Ann.'):
        check_frames([], 'nowhere', Report('x'), hint='Ask Ann.')


def test_links_and_detours_are_followed(images):
    (images / 'a/1.jpg').rename(images / 'b/other.jpg')
    (images / 'a/1.jpg').symlink_to('../b/other.jpg')
    assert lines(images, names={7: ['b/../a/0.jpg', 'a/1.jpg', './a/2.jpg']}) == []
    (images / 'b/other.jpg').unlink()
    kinds = [one.kind for one in check(images, names={7: ['a/1.jpg']}).findings]
    assert kinds == ['image folder', 'missing frame']


def test_names_that_cannot_be_files_are_not_looked_for(images):
    outside = images.parent / 'c.jpg'
    outside.write_bytes(b'no image')
    names = [5, '', '../c.jpg', str(outside), 'a/0.jpg', 'a/1\0.jpg', 'a/1\ud800.jpg']
    report = check(images, deep=True, names={7: names})
    found = [(one.kind, one.where['frame']) for one in report.findings]
    kinds = {0: 'structure', 1: 'structure', **dict.fromkeys((2, 3, 5, 6), 'file name')}
    assert found == [(kind, frame) for frame, kind in kinds.items()]
    assert report.looked_at['frames'] == 1


def with_thumbnail(content):
    """A thumbnail, which has an end of its own, before the image."""
    application = b'\xff\xe1' + struct.pack('>H', 2 + 400) + bytes(398) + b'\xff\xd9'
    return content[:2] + application + content[2:]


@pytest.mark.parametrize(
    ('name', 'damage', 'text'),
    [
        ('a/1.jpg', lambda jpeg: jpeg[: len(jpeg) * 6 // 10], ': the JPEG is cut short'),
        ('a/1.jpg', lambda jpeg: jpeg[:-2], ': the JPEG is cut short'),
        # As a copy that was interrupted: the right size, the rest zero.
        ('a/1.jpg', lambda jpeg: jpeg[:400] + bytes(len(jpeg) - 400), ': the JPEG is cut short'),
        ('a/1.jpg', lambda jpeg: with_thumbnail(jpeg)[:700], ': the JPEG is cut short'),
        ('a/1.jpg', lambda _: b'no image', ' (damaged, or not one?)'),
        ('a/1.jpg', lambda _: b'', ': the file is empty'),
        ('b/1.png', lambda png: png[: len(png) * 6 // 10], ': the PNG is cut short'),
        ('b/1.png', lambda _: b'no image', ' (damaged, or not one?)'),
    ],
)
def test_deep_finds_what_cannot_be_decoded(images, name, damage, text):
    (images / name).write_bytes(damage((images / name).read_bytes()))
    place = 'videos[0], video 7' if name[0] == 'a' else 'videos[1], video 3'
    fault = f'frame 1 ({name}): cannot be read as an image{text}: {images / name}'
    assert lines(images, deep=True) == [f'error: unreadable frame: {place}, {fault}']
    # Beyond the first frames, whose headers are always read, only --deep looks.
    assert lines(images) == []
    for content, text in ((b'no image', ' (damaged, or not one?)'), (b'', ': the file is empty')):
        (images / 'a/0.jpg').write_bytes(content)
        (line,) = lines(images)
        assert f'video 7, frame 0 (a/0.jpg): cannot be read as an image{text}' in line


def test_sound_jpegs_of_other_makers_and_a_format_that_only_opencv_reads(images):
    """A thumbnail before the image, fill bytes, a little behind the end, no colour."""
    content = with_thumbnail(b'\xff\xd8\xff' + (images / 'a/0.jpg').read_bytes()[2:])
    (images / 'a/0.jpg').write_bytes(content + b'  \0')
    Image.fromarray(NOISE[..., 0]).save(images / 'a/1.jpg', progressive=True)
    Image.fromarray(NOISE).convert('CMYK').save(images / 'a/2.jpg')
    assert lines(images, deep=True) == []
    assert cv2.imwrite(str(images / 'a/0.hdr'), NOISE.astype(np.float32))
    with pytest.raises(OSError):
        Image.open(images / 'a/0.hdr')
    for deep in (False, True):
        assert lines(images, deep, names={7: ['a/0.hdr']}) == []


@pytest.mark.parametrize('deep', [False, True])
def test_frames_of_another_size(images, deep):
    for name in ('a/0.jpg', 'a/1.jpg'):
        cv2.imwrite(str(images / name), NOISE[:10, :20])
    wanted = (
        'error: frame of another size than its video: videos[0], video 7, frame {0} (a/{0}.jpg)'
    )
    wanted += ': the image is 20x10 pixels (width x height), the annotation file says 32x24'
    assert lines(images, deep) == [wanted.format(frame) for frame in ((0, 1) if deep else (0,))]
    # A size that the file does not say is not checked.
    report = check(images, deep, names={7: ['a/0.jpg']}, width=None, height=10)
    assert {one.kind for one in report.findings} == {'structure'}
    # If it lies on its side, decoders turn it upright: the annotation file has to say that size.
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(NOISE).save(images / 'a/0.jpg', exif=exif)
    assert cv2.imread(str(images / 'a/0.jpg')).shape == (W, H, 3)
    (line,) = lines(images, deep, names={7: ['a/0.jpg']})
    assert 'the image is 24x32 pixels' in line
    assert lines(images, deep, names={7: ['a/0.jpg']}, width=H, height=W) == []


def test_places_hold_beyond_what_is_opened_at_once(images, monkeypatch):
    monkeypatch.setattr('vispropnet.datasets.check_frames._FRAMES_AHEAD', 2)
    for name in ('a/1.jpg', 'b/1.png'):
        (images / name).write_bytes(b'no image')
    found = [(one.where['video_id'], one.where['frame']) for one in check(images, True).findings]
    assert found == [(7, 1), (3, 1)]
