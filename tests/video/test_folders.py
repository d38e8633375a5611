from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.videos import cut, number_of, numbered_frame
from tests.videos import read_source as read
from vispropnet.errors import UserError
from vispropnet.video import open_source


@pytest.fixture
def folder(tmp_path):
    """Frames 0 to 11 as frame_0.png to frame_11.png, 64x36 pixels."""
    path = tmp_path / 'frames'
    path.mkdir()
    for number in range(12):
        cv2.imwrite(str(path / f'frame_{number}.png'), numbered_frame(number, (64, 36)))
    return path


def test_images_come_in_the_natural_order_of_their_names_or_a_part_of_them(folder):
    source = open_source(folder)
    found = (source.kind, source.name, source.fps, source.length)
    assert found == ('folder', 'frames', None, 12)
    for count, frame in enumerate(source):
        assert (frame.index, frame.name, frame.seconds) == (count, f'frame_{count}.png', None)
        assert (frame.image == numbered_frame(count, (64, 36))).all()
    assert count == 11 and source.notes() == []
    assert read(folder, start=2, end=9, every=3) == ([2, 5, 8], [2, 5, 8], [])
    for part, message in (
        (dict(start='1s'), 'start=1s is in seconds, but folder .* no frame rate'),
        (dict(start=5, end=5), 'start=5 and end=5 leave no frame between them'),
        (dict(start=12), 'start=12 is behind the end .* it has 12 images'),
    ):
        with pytest.raises(UserError, match=message):
            open_source(folder, **part)


def test_frames_spread_over_a_folder_are_all_that_is_read(folder, monkeypatch):
    read_paths, read_bytes = [], Path.read_bytes
    monkeypatch.setattr(
        Path, 'read_bytes', lambda path: read_paths.append(path.name) or read_bytes(path)
    )
    found = list(open_source(folder, start=1, end=10, max_size=32).evenly(3))
    # Of the frames 1 to 9, whose places are 0 to 8.
    assert [(place, frame.index) for place, frame in found] == [(0, 1), (4, 5), (8, 9)]
    assert [frame.name for _, frame in found] == read_paths
    assert read_paths == ['frame_1.png', 'frame_5.png', 'frame_9.png']
    assert [number_of(frame.image) for _, frame in found] == [1, 5, 9]
    assert {frame.image.shape for _, frame in found} == {(18, 32, 3)}
    assert [place for place, _ in open_source(folder, end=2).evenly(5)] == [0, 1]
    # What cannot be decoded gives way to the next; at the end there is none.
    for number in (0, 1, 11):
        cut(folder / f'frame_{number}.png', folder / f'frame_{number}.png', 0.8)
    assert [place for place, _ in open_source(folder).evenly(3)] == [2, 6]


def test_other_files_and_damaged_images_are_left_out_and_named(folder):
    for name in ('notes.txt', 'sums.md5', 'b.json', 'c.xml', '.hidden'):
        (folder / name).write_text('x')
    (folder / 'sub.png').mkdir()
    others = f'folder {folder}: left out what is no image by its name: b.json, c.xml, notes.txt'
    numbers = list(range(12))
    assert read(folder) == (numbers, numbers, [f'{others} and 2 more.'])
    cv2.imwrite(str(folder / 'frame_12.jpg'), numbered_frame(12, (64, 36)))
    cut(folder / 'frame_12.jpg', folder / 'frame_12.jpg', 0.7)
    cut(folder / 'frame_3.png', folder / 'frame_3.png', 0.8)
    (folder / 'frame_5.png').write_bytes(b'')
    assert open_source(folder).length == 12  # a look at the headers finds one of them
    sound = [0, 1, 2, 4, 6, 7, 8, 9, 10, 11]
    indices, numbers, notes = read(folder)
    assert indices == numbers == sound and len(notes) == 2
    assert (
        f'folder {folder}: 3 of 13 images cannot be read and were left out: frame_5.png (the file '
        'is empty), frame_3.png (the PNG is cut short), frame_12.jpg (the JPEG is cut short).'
    ) in notes


def test_a_folder_without_a_frame(tmp_path, folder):
    with pytest.raises(UserError, match='has no images, only frames. Name the folder that the'):
        open_source(tmp_path)
    (tmp_path / 'empty').mkdir()
    with pytest.raises(UserError, match='folder .*empty is empty: expected images'):
        open_source(tmp_path / 'empty')
    for path in folder.iterdir():
        cut(path, path, 0.9)
    with pytest.raises(UserError, match='none of the images can be decoded: frame_0.png .the PNG'):
        list(open_source(folder))
    for path in folder.iterdir():
        path.write_bytes(b'')
    with pytest.raises(UserError, match='none of 12 images can be read: frame_0.png'):
        open_source(folder)


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
    grey, deep = np.repeat(values[..., None], 3, axis=2), values.astype(np.uint16) * 257
    alpha = np.dstack([grey, np.array([[0, 9], [128, 255]], np.uint8)])
    for name, image in {'0.png': values, '1.png': deep, '2.tiff': deep, '3.png': alpha}.items():
        cv2.imwrite(str(tmp_path / name), image)
    palette = Image.fromarray(np.array([[2, 1], [0, 3]], np.uint8))
    palette.putpalette([200] * 3 + [100] * 3 + [0] * 3 + [255] * 3)
    palette.save(tmp_path / '4.png', transparency=1)
    for frame in open_source(tmp_path):
        assert frame.image.dtype == np.uint8 and frame.image.tolist() == grey.tolist(), frame.name
    assert frame.index == 4


def test_a_single_image_is_a_folder_of_one(folder, tmp_path):
    path = folder / 'frame_9.png'
    source = open_source(path)
    assert (source.kind, source.name, source.length) == ('folder', 'frame_9', 1)
    assert read(path) == ([0], [9], [])
    misnamed = path.rename(tmp_path / 'clip.mp4')
    assert read(misnamed) == ([0], [9], [])
    (tmp_path / 'bad.jpg').write_bytes(b'\xff\xd8\xff')
    with pytest.raises(UserError, match='image .*bad.jpg: none of 1 images can be read'):
        open_source(tmp_path / 'bad.jpg')


def test_tiny_and_huge_frames(tmp_path):
    for shape, small_shape in (((1, 1), (1, 1)), ((1, 200), (1, 64)), ((4320, 7680), (36, 64))):
        image = np.full((*shape, 3), (10, 20, 30), np.uint8)
        cv2.imwrite(str(tmp_path / 'frame.bmp'), image)
        (frame,) = open_source(tmp_path)
        assert frame.image.shape == image.shape
        (small,) = open_source(tmp_path, max_size=64)
        assert small.image.shape == (*small_shape, 3) and (small.image == (10, 20, 30)).all()
