"""Frames as disks and strangers leave them: arrays of the right size, or a UserError."""

import io
import os
import random
import struct
import zlib
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.faults.damage import DAMAGES, truncate
from vispropnet.datasets.transforms import LoadVideoFrame
from vispropnet.errors import UserError
from vispropnet.visualization.frames import read_frame

H, W = 48, 64
HUGE = 65000


def sound_image(kind):
    noise = np.random.default_rng(0).integers(0, 255, (H // 4, W // 4, 3)).astype(np.uint8)
    picture = cv2.resize(noise, (W, H))
    return cv2.imencode(kind, picture)[1].tobytes()


@pytest.fixture(scope='module')
def jpeg():
    return sound_image('.jpg')


def with_size(jpeg, width, height):
    """The JPEG with another size in its header."""
    place = jpeg.index(b'\xff\xc0') + 5
    return jpeg[:place] + struct.pack('>HH', height, width) + jpeg[place + 4 :]


def png_header(width, height):
    """A PNG of a few bytes that announces a size."""

    def chunk(name, data):
        return (
            struct.pack('>I', len(data)) + name + data + struct.pack('>I', zlib.crc32(name + data))
        )

    header = chunk(b'IHDR', struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0))
    data = chunk(b'IDAT', zlib.compress(b'\0' * 100))
    return b'\x89PNG\r\n\x1a\n' + header + data + chunk(b'IEND', b'')


def bmp_header(width, height):
    head = struct.pack('<2sIHHI', b'BM', 54, 0, 0, 54)
    return head + struct.pack('<IiiHHIIiiII', 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)


def read_both(folder, content):
    """Reads a frame as training does and as drawing does; each gives an array or a message."""
    path = folder / 'frame.jpg'
    path.write_bytes(content)
    info = dict(img_path=str(path), frame_id=0, video_id=7, height=H, width=W)
    video = dict(id=7, file_names=['frame.jpg'], height=H, width=W)
    given = []
    for read in (
        lambda: LoadVideoFrame().transform(info)['img'],
        lambda: read_frame(video, 0, folder),
    ):
        try:
            image = read()
        except UserError as error:
            assert 'frame.jpg' in str(error)
            assert 'frame 0' in str(error)
            given.append(str(error))
        else:
            assert image.shape == (H, W, 3)
            assert image.dtype == np.uint8
            given.append(image)
    return given


@pytest.fixture(autouse=True)
def no_large_arrays(monkeypatch):
    """Fails where a decoder is asked for what announces more than the frame."""
    decode, sizes = cv2.imdecode, []

    def watched(content, *arguments):
        image = decode(content, *arguments)
        sizes.append(0 if image is None else image.size)
        return image

    monkeypatch.setattr(cv2, 'imdecode', watched)
    # Not asserted where it is decoded: readers turn all exceptions there into their own.
    yield sizes
    assert max(sizes, default=0) <= 4 * H * W * 3


@pytest.mark.parametrize('kind', ['.jpg', '.png', '.bmp', '.webp'])
def test_sound_images_are_read(tmp_path, kind):
    content = sound_image(kind)
    expected = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    for image in read_both(tmp_path, content):
        np.testing.assert_array_equal(image, expected)


@pytest.mark.parametrize('kind', ['.jpg', '.png', '.bmp', '.webp'])
@pytest.mark.parametrize('seed', range(10))
def test_damaged_bytes(tmp_path, kind, seed):
    rng = np.random.default_rng(seed)
    content = bytearray(sound_image(kind))
    for _ in range(int(rng.integers(1, 30))):
        # Often in front, where the sizes and tables stand.
        end = len(content) if rng.random() < 0.5 else 200
        content[int(rng.integers(end))] = int(rng.integers(256))
    if seed % 2:
        begin = int(rng.integers(len(content)))
        content[begin : begin + 100] = bytes(len(content[begin : begin + 100]))
    read_both(tmp_path, bytes(content))


KINDS = ('.jpg', '.png', '.bmp', '.webp', '.tiff', '.jp2', '.ppm')


@pytest.mark.parametrize('number', [140, pytest.param(10_500, marks=pytest.mark.slow)])
def test_files_damaged_in_every_way(tmp_path, number):
    outcomes, rng = Counter(), random.Random(number)
    sound = {kind: sound_image(kind) for kind in KINDS}
    for index in range(number):
        kind, damage = KINDS[index % len(KINDS)], DAMAGES[index // len(KINDS) % len(DAMAGES)]
        content = bytearray(sound[kind])
        damage(content, rng)
        training, drawing = read_both(tmp_path, bytes(content))
        assert isinstance(training, str) == isinstance(drawing, str)
        refused = isinstance(training, str)
        outcomes[kind, 'refused' if refused else 'read'] += 1
        # What is cut in the middle would be filled up with grey.
        assert refused or damage is not truncate or len(content) > 0.99 * len(sound[kind])
    print({' '.join(key): value for key, value in sorted(outcomes.items())})


@pytest.mark.parametrize('part', [0.0, 0.01, 0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize('kind', ['.jpg', '.png'])
def test_cut_files_are_refused(tmp_path, kind, part):
    content = sound_image(kind)
    for message in read_both(tmp_path, content[: int(part * len(content))]):
        assert 'cannot be read as an image' in message


@pytest.mark.parametrize('content', [b'\0' * 5000, b'no image', b'\xff\xd8', b'\xff\xd8\xff\xd9'])
def test_what_is_no_image_is_refused(tmp_path, content):
    for message in read_both(tmp_path, content):
        assert 'cannot be read as an image' in message


def test_images_that_announce_a_huge_size_are_not_decoded(tmp_path, jpeg, no_large_arrays):
    junk = jpeg[:2] + b'junk' + jpeg[2:]
    for content in (
        with_size(jpeg, HUGE, HUGE),
        with_size(junk, HUGE, HUGE),
        with_size(jpeg, 30000, 30000),  # within what OpenCV would decode
        png_header(HUGE, HUGE),
        png_header(30000, 30000),
        bmp_header(30000, 30000),
    ):
        assert all(isinstance(message, str) for message in read_both(tmp_path, content))
    assert no_large_arrays == []


def test_a_png_whose_part_claims_to_be_huge_is_not_decoded(tmp_path):
    png = sound_image('.png')
    place = png.index(b'IDAT') - 4
    for message in read_both(tmp_path, png[:place] + b'\xf0' + png[place + 1 :]):
        assert 'the PNG is cut short' in message
    for image in read_both(tmp_path, png + b'\0'):
        assert isinstance(image, np.ndarray)


def test_size_in_the_header_is_told(tmp_path, jpeg):
    training, drawing = read_both(tmp_path, with_size(jpeg, HUGE, 500))
    assert f'the image is {HUGE}x500 pixels, the annotation file says {W}x{H}' in training
    assert f'is {HUGE} × 500, but the annotation file says {W} × {H}' in drawing


def test_an_image_that_lies_on_its_side_is_read_upright(tmp_path):
    lying = Image.fromarray(np.zeros((W, H, 3), np.uint8))
    exif = lying.getexif()
    exif[0x0112] = 6
    stream = io.BytesIO()
    lying.save(stream, 'JPEG', exif=exif)
    assert all(isinstance(one, np.ndarray) for one in read_both(tmp_path, stream.getvalue()))
    stream = io.BytesIO()
    lying.save(stream, 'JPEG')
    for message in read_both(tmp_path, stream.getvalue()):
        assert isinstance(message, str)


def test_a_folder_in_place_of_a_frame(tmp_path):
    (tmp_path / 'frame.jpg').mkdir()
    info = dict(img_path=str(tmp_path / 'frame.jpg'), frame_id=0, video_id=7, height=H, width=W)
    with pytest.raises(UserError, match=r'frame 0 of video 7 .* cannot be read'):
        LoadVideoFrame().transform(info)


@pytest.mark.parametrize('kind', ['pipe', 'device'])
def test_what_is_no_regular_file_is_not_opened(tmp_path, kind):
    path = tmp_path / 'frame.jpg'
    if kind == 'pipe':
        os.mkfifo(path)
    else:
        path.symlink_to('/dev/zero')
    info = dict(img_path=str(path), frame_id=0, video_id=7, height=H, width=W)
    with pytest.raises(UserError, match=r'frame 0 of video 7 .*: is no regular file'):
        LoadVideoFrame().transform(info)
    video = dict(id=7, file_names=['frame.jpg'], height=H, width=W)
    with pytest.raises(UserError, match=r'video 7, frame 0: .*frame\.jpg is no regular file'):
        read_frame(video, 0, tmp_path)


def test_links_to_frames_are_followed(tmp_path, jpeg):
    (tmp_path / 'a.jpg').write_bytes(jpeg)
    (tmp_path / 'b.jpg').symlink_to('a.jpg')
    info = dict(img_path=str(tmp_path / 'b.jpg'), frame_id=0, video_id=7, height=H, width=W)
    assert LoadVideoFrame().transform(info)['img'].shape == (H, W, 3)
    video = dict(id=7, file_names=['b.jpg'], height=H, width=W)
    assert read_frame(video, 0, tmp_path).shape == (H, W, 3)


@pytest.mark.parametrize('name', ['x' * 5000, 'a/' * 2400 + 'x.jpg', 'a.jpg/x.jpg', '.'])
def test_names_that_no_file_can_have_are_told(tmp_path, jpeg, name):
    (tmp_path / 'a.jpg').write_bytes(jpeg)
    video = dict(id=7, file_names=[name], height=H, width=W)
    with pytest.raises(UserError, match='video 7, frame 0') as caught:
        read_frame(video, 0, tmp_path)
    assert len(str(caught.value)) < 500 + len(str(tmp_path))


@pytest.mark.parametrize('name', ['s3://frame.jpg', 'http://a://frame.jpg'])
def test_names_that_look_like_addresses_are_files(tmp_path, jpeg, name):
    path = f'{tmp_path}/{name}'
    info = dict(img_path=path, frame_id=0, video_id=7, height=H, width=W)
    with pytest.raises(UserError, match=r'frame 0 of video 7 .* does not exist'):
        LoadVideoFrame().transform(info)
    Path(path).parent.mkdir(parents=True)
    Path(path).write_bytes(jpeg)
    assert LoadVideoFrame().transform(info)['img'].shape == (H, W, 3)


@pytest.mark.parametrize('name', ['../frame.jpg', '/frame.jpg', 'a\0', 5])
def test_names_that_leave_the_folder_are_not_opened(tmp_path, name):
    video = dict(id=7, file_names=[name], height=H, width=W)
    with pytest.raises(UserError, match='video 7, frame 0'):
        read_frame(video, 0, tmp_path)
