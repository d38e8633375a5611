"""Conversion: whole or not at all, and what it makes of all forms."""

import json
import os

import numpy as np
import pytest
from PIL import Image

from tests.converting.sources import converted, findings, masks_of, write_frames, write_mask
from tests.videos import read_source, write_h264
from vispropnet.converting import FORMATS
from vispropnet.converting.convert import convert, reader_class, summary
from vispropnet.converting.interface import Options, Reader
from vispropnet.datasets.ytvis import YouTubeVIS
from vispropnet.errors import UserError

MASK = '110000/110022/000022/000000'


@pytest.fixture
def source(tmp_path):
    """Two videos, of two frames and of one."""
    for video, frames in (('a', 2), ('b', 1)):
        names = [f'{at:05d}.jpg' for at in range(frames)]
        write_frames(tmp_path / 'in' / 'frames' / video, *names)
        for at in range(frames):
            write_mask(tmp_path / 'in' / 'masks' / video / f'{at:05d}.png', MASK)
    return tmp_path / 'in'


def test_every_form_has_a_reader_with_known_options():
    for form in FORMATS:
        kind = reader_class(form)
        assert issubclass(kind, Reader) and kind.takes <= set(vars(Options()))
    with pytest.raises(UserError, match="unknown format 'x'; expected one of masks, davis"):
        reader_class('x')


def test_training_reads_what_was_written(source, tmp_path):
    result, content = converted('masks', source, tmp_path / 'out')
    assert [video['length'] for video in content['videos']] == [2, 1]
    assert summary(result) == '2 videos, 3 frames, 4 objects (object 4)'
    dataset = YouTubeVIS(
        'instances.json', data_root=str(tmp_path / 'out'), data_prefix=dict(img='frames')
    )
    dataset.full_init()
    assert len(dataset) == 3 and len(dataset.get_data_info(0)['instances']) == 2
    assert os.path.isfile(dataset.get_data_info(2)['img_path'])


@pytest.mark.parametrize('frames', ['link', 'copy'])
def test_frames_are_linked_or_copied(source, tmp_path, frames):
    converted('masks', source, tmp_path / 'out', frames=frames)
    made = tmp_path / 'out' / 'frames' / 'a' / '00000.jpg'
    original = source / 'frames' / 'a' / '00000.jpg'
    assert made.is_symlink() == (frames == 'link')
    assert made.read_bytes() == original.read_bytes() and not original.is_symlink()


def test_with_an_error_the_older_output_stays(source, tmp_path):
    out = tmp_path / 'out'
    converted('masks', source, out)
    before = (out / 'instances.json').read_bytes()
    with pytest.raises(UserError, match='exists and is not empty'):
        convert('masks', source, out)
    (source / 'masks' / 'a' / '00000.png').unlink()
    result = convert('masks', source, out, force=True, progress=False)
    assert not result.is_written and (out / 'instances.json').read_bytes() == before
    result = convert('masks', source, out, Options(missing='empty'), force=True, progress=False)
    assert result.is_written and (out / 'instances.json').read_bytes() != before
    (out / 'train.json').write_text('made by split_ytvis.py')
    convert('masks', source, out, Options(missing='empty'), force=True, progress=False)
    assert sorted(path.name for path in out.iterdir()) == ['frames', 'instances.json']
    (out / 'notes.txt').write_text('mine')
    with pytest.raises(UserError, match=r"holds 'notes.txt', which is no part of a converted"):
        convert('masks', source, out, Options(missing='empty'), force=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['in', 'out']


def test_places_that_cannot_be_the_output_or_the_source(source, tmp_path):
    for out in (source, source / 'masks' / 'out'):
        with pytest.raises(UserError, match='choose a folder outside of the source'):
            convert('masks', source, out)
    with pytest.raises(UserError, match='gone not found: expected the data set'):
        convert('masks', tmp_path / 'gone', tmp_path / 'out')
    with pytest.raises(UserError, match='max_size must be a whole number from 1 up'):
        convert('masks', source, tmp_path / 'out', max_size=0)
    with pytest.raises(UserError, match=r'every=0.5s is in seconds, but video a has no frame rate'):
        convert('masks', source, tmp_path / 'out', every='0.5s', progress=False)
    with pytest.raises(UserError, match='--id-from is not for this form, which takes --categories'):
        convert('masks', source, tmp_path / 'out', Options(id_from='iou'))
    assert sorted(path.name for path in tmp_path.iterdir()) == ['in']


def test_frames_are_left_out_and_scaled_down_with_their_masks(tmp_path):
    source = tmp_path / 'in'
    write_frames(source / 'frames' / 'a', *(f'{at}.png' for at in range(5)), size=(40, 60))
    for at in range(5):
        array = np.zeros((40, 60), np.uint8)
        array[10:30, 20 : 40 + 2 * at] = 1
        (source / 'masks' / 'a').mkdir(parents=True, exist_ok=True)
        Image.fromarray(array).save(source / 'masks' / 'a' / f'{at}.png')
    _, content = converted('masks', source, tmp_path / 'out', every=2, max_size=30)
    (video,) = content['videos']
    assert (video['width'], video['height'], video['length']) == (30, 20, 3)
    assert video['file_names'] == ['a/0.jpg', 'a/2.jpg', 'a/4.jpg']
    assert content['annotations'][0]['bboxes'] == [
        [10, 5, 10, 10],
        [10, 5, 12, 10],
        [10, 5, 14, 10],
    ]
    with Image.open(tmp_path / 'out' / 'frames' / 'a' / '4.jpg') as image:
        assert image.size == (30, 20)
    assert not (tmp_path / 'out' / 'frames' / 'a' / '4.jpg').is_symlink()


def test_frames_out_of_a_video_by_number_and_by_time(tmp_path):
    source = tmp_path / 'in'
    source.mkdir()
    write_h264(source / 'clip.mp4', 10, fps=10)
    for at in range(10):
        array = np.zeros((180, 320), np.uint8)
        array[:10, : 2 * at + 2] = 1
        (source / 'masks').mkdir(exist_ok=True)
        Image.fromarray(array).save(source / 'masks' / f'{at}.png')
    for name, every, numbers in (('count', 4, [0, 4, 8]), ('time', '0.3s', [0, 3, 6, 9])):
        _, content = converted('masks', source, tmp_path / name, every=every, max_size=160)
        (video,) = content['videos']
        assert video['file_names'] == [f'clip/{at:06d}.jpg' for at in numbers]
        assert video['timestamps'] == [at / 10 for at in numbers] and video['width'] == 160
        assert read_source(tmp_path / name / 'frames' / 'clip')[1] == numbers
        assert content['annotations'][0]['areas'] == [5 * (at + 1) for at in numbers]


def test_a_damaged_video_file_is_named(tmp_path):
    source = tmp_path / 'in'
    write_mask(source / 'masks' / '0.png', MASK)
    (source / 'clip.mp4').write_bytes(b'\0\1\2\3' * 99)
    result, _ = converted('masks', source, tmp_path / 'out')
    ((_, text),) = findings(result)
    assert text.startswith(f'video clip ({source}/clip.mp4): video {source}/clip.mp4 cannot be')


def test_objects_on_no_frame_that_is_kept_are_left_out_with_a_warning(source, tmp_path):
    write_mask(source / 'masks' / 'a' / '00001.png', MASK.replace('2', '3'))
    result, content = converted('masks', source, tmp_path / 'out', every=2)
    assert {name: len(some) for name, some in masks_of(content).items()} == {'a': 2, 'b': 2}
    # Masks of other frames are not read at all.
    assert findings(result) == []


def test_the_same_source_gives_the_same_bytes(source, tmp_path):
    for name in ('one', 'two'):
        converted('masks', source, tmp_path / name)
    first, second = (tmp_path / name / 'instances.json' for name in ('one', 'two'))
    assert first.read_bytes() == second.read_bytes()
    assert json.loads(first.read_text())['info']['form'] == 'masks'


def test_a_long_video_with_more_masks_than_a_byte_counts(tmp_path):
    source = tmp_path / 'in'
    write_frames(source / 'frames', *(f'{at}.jpg' for at in range(300)))
    for at in range(300):
        write_mask(source / 'masks' / f'{at}.png', MASK if at else MASK.replace('2', '0'))
    _, content = converted('masks', source, tmp_path / 'out')
    assert [one['areas'] for one in content['annotations']] == [[4] * 300, [None] + [4] * 299]
