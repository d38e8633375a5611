"""Frames as disks and strangers leave them: arrays of the right size, or a UserError."""

import io
import os
import random
import struct
import zlib
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
KINDS = ('.jpg', '.png', '.bmp', '.webp', '.tiff', '.jp2', '.ppm')


def sound_image(kind='.jpg'):
    noise = np.random.default_rng(0).integers(0, 255, (H // 4, W // 4, 3)).astype(np.uint8)
    return cv2.imencode(kind, cv2.resize(noise, (W, H)))[1].tobytes()


def announcing(width, height):
    """A JPEG, a PNG and a BMP of a few bytes that announce a size."""
    jpeg, png, bmp = (sound_image(kind) for kind in ('.jpg', '.png', '.bmp'))
    place = jpeg.index(b'\xff\xc0') + 5
    header = png[12:16] + struct.pack('>II', width, height) + png[24:29]
    return [
        jpeg[:place] + struct.pack('>HH', height, width) + jpeg[place + 4 :],
        png[:12] + header + struct.pack('>I', zlib.crc32(header)) + png[33:],
        bmp[:18] + struct.pack('<ii', width, height) + bmp[26:],
    ]


def train_on(path):
    info = dict(img_path=str(path), frame_id=0, video_id=7, height=H, width=W)
    return LoadVideoFrame().transform(info)['img']


def show(folder, name='frame.jpg'):
    return read_frame(dict(id=7, file_names=[name], height=H, width=W), 0, folder)


def read_both(folder, content):
    """Reads a frame as training does and as drawing does; each gives an array or a message."""
    path = folder / 'frame.jpg'
    path.write_bytes(content)
    given = []
    for read in (lambda: train_on(path), lambda: show(folder)):
        try:
            given.append(read())
            assert (given[-1].shape, given[-1].dtype) == ((H, W, 3), np.uint8)
        except UserError as error:
            given.append(str(error))
            assert 'frame.jpg' in given[-1] and 'frame 0' in given[-1]
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


@pytest.mark.parametrize('kind', KINDS[:4])
def test_sound_images_are_read(tmp_path, kind):
    content = np.frombuffer(sound_image(kind), np.uint8)
    for image in read_both(tmp_path, content.tobytes()):
        np.testing.assert_array_equal(image, cv2.imdecode(content, cv2.IMREAD_COLOR))


def spoil_front(content, rng):
    """Other bytes in front, where the sizes and tables stand."""
    for _ in range(rng.randint(1, 10)):
        content[rng.randrange(200)] = rng.randrange(256)


@pytest.mark.parametrize('number', [168, pytest.param(10_500, marks=pytest.mark.long)])
def test_files_damaged_in_every_way(tmp_path, number):
    rng, damages = random.Random(number), (*DAMAGES, spoil_front)
    sound = {kind: sound_image(kind) for kind in KINDS}
    for index in range(number):
        kind, damage = KINDS[index % len(KINDS)], damages[index // len(KINDS) % len(damages)]
        content = bytearray(sound[kind])
        damage(content, rng)
        training, drawing = read_both(tmp_path, bytes(content))
        refused = isinstance(training, str)
        assert refused == isinstance(drawing, str)
        # What is cut in the middle would be filled up with grey.
        assert refused or damage is not truncate or len(content) > 0.99 * len(sound[kind])


@pytest.mark.parametrize(
    'content',
    [
        *(sound_image()[: int(part * len(sound_image()))] for part in (0, 0.01, 0.1, 0.5, 0.99)),
        *(sound_image('.png')[:length] for length in (20, 500, -1)),
        *(b'\0' * 5000, b'no image', b'\xff\xd8', b'\xff\xd8\xff\xd9'),
    ],
)
def test_cut_files_and_what_is_no_image_are_refused(tmp_path, content):
    for message in read_both(tmp_path, content):
        assert 'cannot be read as an image' in message


def test_images_that_announce_a_huge_size_are_not_decoded(tmp_path, no_large_arrays):
    # Also one within what OpenCV would decode.
    images = [*announcing(30000, 30000), *announcing(HUGE, HUGE)]
    # What decoders pass over: bytes between two parts, and fill bytes.
    images.append(images[0][:2] + b'junk' + images[0][2:])
    images.append(images[0].replace(b'\xff\xc0', b'\xff\xff\xc0', 1))
    for content in images:
        assert all(isinstance(message, str) for message in read_both(tmp_path, content))
    training, drawing = read_both(tmp_path, announcing(HUGE, 500)[0])
    assert f'the image is {HUGE}x500 pixels, the annotation file says {W}x{H}' in training
    assert f'is {HUGE} × 500, but the annotation file says {W} × {H}' in drawing
    assert no_large_arrays == []
    # Nor a PNG that claims so of one of its parts.
    png = sound_image('.png')
    place = png.index(b'IDAT') - 4
    for message in read_both(tmp_path, png[:place] + b'\xf0' + png[place + 1 :]):
        assert 'the PNG is cut short' in message
    for image in read_both(tmp_path, png + b'\0'):
        assert isinstance(image, np.ndarray)


@pytest.mark.parametrize('orientation', [6, 1])
def test_an_image_that_lies_on_its_side_is_read_upright(tmp_path, orientation):
    exif, stream = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    Image.fromarray(np.zeros((W, H, 3), np.uint8)).save(stream, 'JPEG', exif=exif)
    wanted = np.ndarray if orientation == 6 else str
    assert all(isinstance(one, wanted) for one in read_both(tmp_path, stream.getvalue()))


def point_to_zeros(path):
    path.symlink_to('/dev/zero')


@pytest.mark.parametrize('make', [os.mkfifo, point_to_zeros, Path.mkdir])
def test_what_is_no_file_is_not_opened(tmp_path, make):
    make(tmp_path / 'frame.jpg')
    fault = 'cannot be read' if make is Path.mkdir else ': is no regular file'
    with pytest.raises(UserError, match=f'frame 0 of video 7 .*{fault}'):
        train_on(tmp_path / 'frame.jpg')
    with pytest.raises(UserError, match=r'video 7, frame 0: .*frame\.jpg is no regular file'):
        show(tmp_path)


@pytest.mark.parametrize('name', ['b.jpg', 's3://frame.jpg', 'http://a://frame.jpg'])
def test_links_are_followed_and_names_that_look_like_addresses_are_files(tmp_path, name):
    with pytest.raises(UserError, match=r'frame 0 of video 7 .* does not exist'):
        train_on(f'{tmp_path}/{name}')
    (tmp_path / 'a.jpg').write_bytes(sound_image())
    (path := Path(f'{tmp_path}/{name}')).parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(tmp_path / 'a.jpg')
    assert train_on(f'{tmp_path}/{name}').shape == show(tmp_path, name).shape == (H, W, 3)


STRANGE = 'x' * 5000, 'a/' * 2400 + 'x.jpg', 'a.jpg/x.jpg', '.', '../frame.jpg', '/frame.jpg'


@pytest.mark.parametrize('name', [*STRANGE, 'a\0', 5])
def test_names_that_no_frame_can_have_are_told(tmp_path, name):
    (tmp_path / 'a.jpg').write_bytes(sound_image())
    with pytest.raises(UserError, match='video 7, frame 0') as caught:
        show(tmp_path, name)
    assert len(str(caught.value)) < 500 + len(str(tmp_path))
