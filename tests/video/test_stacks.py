"""Files of several images: all of them come, or an error."""

import cv2
import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from tests.videos import number_of, numbered_frame
from vispropnet.errors import UserError
from vispropnet.video import open_source

DURATIONS = [100, 250, 50, 400]
TIMES = [0, 0.1, 0.35, 0.4]


def write(path, count=4, **options):
    """Numbered frames of 160x96; numbers from 1 on, so that each shows something."""
    images = [Image.fromarray(numbered_frame(n, (160, 96))[..., ::-1]) for n in range(1, count + 1)]
    images[0].save(path, save_all=True, append_images=images[1:], **options)
    return path


@pytest.mark.parametrize(
    ('name', 'options', 'numbers'),
    [
        ('a.png', {}, [1, 2, 3, 4]),
        ('a.webp', dict(lossless=True), [1, 2, 3, 4]),
        ('a.avif', dict(quality=90), [1, 2, 3, 4]),
        ('a.gif', {}, [1, 2, 3, 4]),
        # The first image is for viewers that cannot play it.
        ('a.png', dict(default_image=True, duration=DURATIONS[:3]), [2, 3, 4]),
    ],
)
def test_animations_come_whole_and_at_their_times(tmp_path, name, options, numbers):
    path = write(tmp_path / name, **{'duration': DURATIONS, **options})
    frames = list(open_source(path))
    assert [number_of(frame.image) for frame in frames] == numbers
    assert [frame.seconds for frame in frames] == pytest.approx(TIMES[: len(numbers)])
    late = list(open_source(path, start='0.3s', every='0.2s'))
    assert [number_of(frame.image) for frame in late] == numbers[2:3]
    # Whatever its name says.
    other = path.rename(tmp_path / 'b.jpg')
    assert [number_of(frame.image) for frame in open_source(other)] == numbers


def test_frames_spread_over_pages_and_times(tmp_path):
    path = write(tmp_path / 'a.tif', 6)
    found = [(place, number_of(frame.image)) for place, frame in open_source(path).evenly(3)]
    assert found == [(0, 1), (2, 3), (5, 6)]
    path = write(tmp_path / 'a.webp', duration=DURATIONS, lossless=True)
    source = open_source(path, start='0.1s')
    assert source.length is None
    found = [(place, number_of(frame.image)) for place, frame in source.evenly(2)]
    assert found == [(0, 2), (2, 4)]


def test_pages_of_a_tiff(tmp_path):
    path = write(tmp_path / 'a.tif', 6, compression='tiff_lzw')
    source = open_source(path, start=1, every=2, max_size=80)
    assert (source.kind, source.length, source.name) == ('stack', 3, 'a')
    frames = list(source)
    assert [number_of(frame.image) for frame in frames] == [2, 4, 6]
    assert [(frame.index, frame.name) for frame in frames][-1] == (5, '00000005')
    assert frames[0].image.shape == (48, 80, 3) and frames[0].seconds is None
    for options, message in [
        (dict(start='1s'), 'start=1s is in seconds, but image .*a.tif has no frame rate'),
        (dict(start=6), 'start=6 is behind the end of image .*a.tif: it has 6 images'),
    ]:
        with pytest.raises(UserError, match=message):
            open_source(path, **options)


def test_pages_of_all_kinds_become_8_bit_bgr(tmp_path):
    values = np.array([[0, 100], [200, 255]], np.uint8)
    wide = values.astype(np.uint16) * 257
    grey = np.repeat(values[..., None], 3, axis=2)
    for image in (values, wide, grey, np.dstack([grey, values])):
        page = Image.fromarray(image)
        page.save(tmp_path / 'a.tif', save_all=True, append_images=[page])
        for frame in open_source(tmp_path / 'a.tif'):
            assert frame.image.tolist() == grey.tolist()
    page = Image.fromarray(wide.astype(np.float32))
    page.save(tmp_path / 'a.tif', save_all=True, append_images=[page])
    with pytest.raises(UserError, match='its pixels have 32 bits each: save it with 8 or 16'):
        list(open_source(tmp_path / 'a.tif'))


def write_pages(path, sizes, reduced=(), description=None):
    with TiffImagePlugin.AppendingTiffWriter(str(path), new=True) as stack:
        for number, size in enumerate(sizes):
            tags = TiffImagePlugin.ImageFileDirectory_v2()
            tags[254] = int(number in reduced)
            if description:
                tags[270] = description
            Image.new('RGB', size, (9, 9, 9)).save(stack, format='TIFF', tiffinfo=tags)
            stack.newFrame()


def test_small_copies_of_a_page_are_no_frames(tmp_path):
    write_pages(tmp_path / 'a.tif', [(32, 16), (8, 4), (32, 16)], reduced=[1])
    assert [frame.image.shape for frame in open_source(tmp_path / 'a.tif')] == [(16, 32, 3)] * 2
    write_pages(tmp_path / 'a.tif', [(32, 16), (8, 4)], reduced=[1])
    assert len(list(open_source(tmp_path / 'a.tif'))) == 1


def test_stacks_that_would_lose_something_are_refused(tmp_path):
    path = tmp_path / 'a.tif'
    write_pages(path, [(32, 16), (8, 4)])
    with pytest.raises(UserError, match='the first has 32x16 pixels .*, page 2 has 8x4'):
        open_source(path)
    write_pages(path, [(32, 16)], description='ImageJ=1.54f\nimages=500\nslices=500\n')
    with pytest.raises(UserError, match='ImageJ has put 500 images into one page'):
        open_source(path)
    content = write(path).read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.warns(UserWarning), pytest.raises(UserError, match='list of its pages is damaged'):
        open_source(path)
    path.write_bytes(content[:-2000])
    with pytest.raises(UserError, match='image 4 of 4 cannot be decoded'):
        list(open_source(path))
    content = write(tmp_path / 'a.png').read_bytes()
    (tmp_path / 'a.png').write_bytes(content[:-40])
    with pytest.raises(UserError, match=r'a\.png: the PNG is cut short'):
        open_source(tmp_path / 'a.png')


@pytest.mark.parametrize('name', ['b.tif', 'b.png', 'b.webp', 'b.avif', 'b.gif'])
def test_a_folder_takes_one_frame_from_each_file(tmp_path, name):
    cv2.imwrite(str(tmp_path / 'a.png'), numbered_frame(1, (160, 96)))
    write(tmp_path / name)
    with pytest.raises(UserError, match=f'{name} holds 4 images, but of a folder each file is one'):
        open_source(tmp_path)
