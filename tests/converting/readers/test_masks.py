"""Folders of frames and of id PNGs."""

import json

import numpy as np
import pytest
from PIL import Image

from tests.converting.sources import (
    converted,
    findings,
    masks_of,
    write_frames,
    write_json,
    write_mask,
)
from tests.videos import write_h264
from vispropnet.errors import UserError

# Object 2 is hidden on the second frame; 255 is void.
FIRST, SECOND = '110000/110022/000022/000000', '011000/011000/000000/000000'


@pytest.fixture
def source(tmp_path):
    """A video of two frames."""
    write_frames(tmp_path / 'in' / 'frames' / 'a', '00000.jpg', '00001.jpg')
    write_mask(tmp_path / 'in' / 'masks' / 'a' / '00000.png', FIRST)
    write_mask(tmp_path / 'in' / 'masks' / 'a' / '00001.png', SECOND)
    return tmp_path / 'in'


def errors_of(result):
    return [text for severity, text in findings(result) if severity == 'error']


def test_the_whole_file_as_worked_out_by_hand(source, tmp_path):
    result, content = converted('masks', source, tmp_path / 'out')
    assert content == {
        'videos': [
            {
                'id': 1,
                'name': 'a',
                'width': 6,
                'height': 4,
                'length': 2,
                'file_names': ['a/00000.jpg', 'a/00001.jpg'],
            }
        ],
        'categories': [{'id': 1, 'name': 'object'}],
        'annotations': [
            {
                'id': 1,
                'video_id': 1,
                'category_id': 1,
                'iscrowd': 0,
                'segmentations': [
                    '110000/110000/000000/000000',
                    '011000/011000/000000/000000',
                ],
                'bboxes': [[0, 0, 2, 2], [1, 0, 2, 2]],
                'areas': [4, 4],
            },
            {
                'id': 2,
                'video_id': 1,
                'category_id': 1,
                'iscrowd': 0,
                'segmentations': ['000000/000011/000011/000000', None],
                'bboxes': [[4, 1, 2, 2], None],
                'areas': [4, None],
            },
        ],
        'info': {'description': 'converted from in', 'form': 'masks'},
    }
    stored = json.loads((tmp_path / 'out' / 'instances.json').read_text())
    # Columns of four pixels, two of them the object's: runs of 0, 2, 2, 2 and 18; the last two as
    # differences to the last but one, 0 and 16 (of two digits).
    assert stored['annotations'][0]['segmentations'][0] == {'size': [4, 6], 'counts': '0220`0'}
    assert findings(result) == [] and (result.videos, result.frames) == (1, 2)
    assert result.objects == {'object': 2}


@pytest.mark.parametrize('names', ['frames masks', 'images annotations', 'JPEGImages Annotations'])
def test_layouts_give_the_same(source, tmp_path, names):
    expected = converted('masks', source, tmp_path / 'out')[1]['annotations']
    frames, masks = names.split()
    for at, (from_frames, from_masks) in enumerate(
        [(f'{frames}/a', f'{masks}/a'), (f'a/{frames}', f'a/{masks}'), (frames, masks)]
    ):
        other = tmp_path / f'layout{at}'
        for old, new in (('frames', from_frames), ('masks', from_masks)):
            (other / new).parent.mkdir(parents=True, exist_ok=True)
            (other / new).symlink_to(source / old / 'a')
        _, content = converted('masks', other, tmp_path / f'out{at}')
        assert content['annotations'] == expected


@pytest.mark.parametrize('kind', ['palette', 'grey', '16 bit', '1 bit'])
def test_kinds_of_pngs(source, tmp_path, kind):
    for path in (source / 'masks' / 'a').iterdir():
        array = np.array(Image.open(path))
        if kind == 'palette':
            image = Image.fromarray(array)
            image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
        elif kind == '16 bit':
            image = Image.fromarray(array.astype(np.uint16) * 300)
        else:
            image = Image.fromarray(array > 0 if kind == '1 bit' else array)
        image.save(path)
    _, content = converted('masks', source, tmp_path / 'out')
    found = masks_of(content)['a']
    if kind == '1 bit':
        assert found == [['110000/110011/000011/000000', '011000/011000/000000/000000']]
    else:
        assert found[1] == ['000000/000011/000011/000000', None]


def test_void_is_no_object(source, tmp_path):
    array = np.zeros((4, 6), np.uint8)
    array[0, :2], array[1:] = 255, 3
    Image.fromarray(array).save(source / 'masks' / 'a' / '00000.png')
    found = masks_of(converted('masks', source, tmp_path / 'out')[1])['a']
    assert found[1] == ['000000/111111/111111/111111', None]
    wide = np.zeros((4, 6), np.uint16)
    wide[0, 0], wide[1, 1], wide[2, 2] = 65535, 255, 254
    Image.fromarray(wide).save(source / 'masks' / 'a' / '00000.png')
    found = masks_of(converted('masks', source, tmp_path / 'wide')[1])['a']
    assert [one[0] for one in found] == [
        None,
        '000000/000000/001000/000000',
        '000000/010000/000000/000000',
    ]


def test_categories_of_all_videos_and_of_each(source, tmp_path):
    for number, content in enumerate(({'1': 'cat', '2': 'dog'}, {'a': {'1': 'cat', '2': 'dog'}})):
        path = tmp_path / f'categories{number}.json'
        write_json(path, content, 'utf-8-sig', newline='\r\n')
        _, found = converted('masks', source, tmp_path / f'out{number}', categories=path)
        assert found['categories'] == [{'id': 1, 'name': 'cat'}, {'id': 2, 'name': 'dog'}]
        assert [one['category_id'] for one in found['annotations']] == [1, 2]
    write_json(path, {'1': 'cat'})
    result, _ = converted('masks', source, tmp_path / 'other', categories=path)
    (error,) = errors_of(result)
    assert error.startswith('video a, frame 0 (') and 'id 2 has no category' in error
    write_json(path, ['cat'])
    with pytest.raises(UserError, match='must hold'):
        converted('masks', source, tmp_path / 'other', categories=path)


def test_a_video_file_with_masks_counted_from_0_or_1(tmp_path):
    source = tmp_path / 'in'
    source.mkdir()
    write_h264(source / 'clip.mp4', [0, 40, 100], size=(64, 48))
    for first in (0, 1):
        for path in (source / 'masks').glob('*.png'):
            path.unlink()
        for number in range(3):
            array = np.zeros((48, 64), np.uint8)
            array[:10, : 10 + number] = 1
            path = source / 'masks' / f'{first + number:05d}.png'
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(array).save(path)
        result, content = converted('masks', source, tmp_path / f'out{first}')
        (video,) = content['videos']
        assert video['file_names'] == [f'clip/00000{number}.jpg' for number in range(3)]
        assert video['timestamps'] == [0, 0.04, 0.1]
        assert content['annotations'][0]['areas'] == [100, 110, 120]
        assert [text for _, text in findings(result) if 'shifted' in text] == [
            f'video clip ({source / "masks"}): masks are numbered from 1 and frames from 0: '
            'shifted by 1'
        ] * first


def test_missing_masks_are_listed_or_said_what_they_are(source, tmp_path):
    frames = [f'{number:05d}.jpg' for number in range(4)]
    write_frames(source / 'frames' / 'a', *frames)
    result, _ = converted('masks', source, tmp_path / 'out')
    assert len(errors_of(result)) == 2
    for number, error in enumerate(errors_of(result), 2):
        path = source / 'frames' / 'a' / f'0000{number}.jpg'
        assert error.startswith(f'video a, frame {number} ({path}): there is no file of masks')
    _, content = converted('masks', source, tmp_path / 'empty', missing='empty')
    assert content['videos'][0]['length'] == 4 and 'annotated_frames' not in content['videos'][0]
    _, content = converted('masks', source, tmp_path / 'sparse', missing='unannotated')
    assert content['videos'][0]['annotated_frames'] == [0, 1]
    _, content = converted('masks', source, tmp_path / 'two', missing='unannotated', every=2)
    assert content['videos'][0]['file_names'] == ['a/00000.jpg', 'a/00002.jpg']
    assert content['videos'][0]['annotated_frames'] == [0]


def test_all_that_is_wrong_is_listed_with_its_frame(source, tmp_path):
    write_frames(source / 'frames' / 'a', '00002.jpg', '00003.jpg', '00003.png', '00004.jpg')
    write_mask(source / 'masks' / 'a' / '00000.png', '110/110')
    (source / 'masks' / 'a' / '00001.png').write_bytes(b'no image')
    Image.new('RGB', (6, 4)).save(source / 'masks' / 'a' / '00002.png')
    write_mask(source / 'masks' / 'a' / '00003.png', FIRST)
    write_mask(source / 'masks' / 'b' / '00000.png', FIRST)
    result, _ = converted('masks', source, tmp_path / 'out')
    found = '\n'.join(errors_of(result))
    for expected in (
        'frame 4 (',
        'two files for one frame: this and 00003.jpg',
        f'video b: there are no frames for the masks in {source / "masks" / "b"}',
    ):
        assert expected in found
    # Masks are looked at once the frames are sound.
    (source / 'frames' / 'a' / '00003.png').unlink()
    write_frames(source / 'frames' / 'b', '00000.jpg')
    found = errors_of(converted('masks', source, tmp_path / 'out')[0])
    place = [
        f'video a, frame {number} ({source}/frames/a/0000{number}.jpg): ' for number in range(5)
    ]
    assert [one for one in found if one.startswith(place[4])]
    for number, words in enumerate(('has 3x2 pixels, expected 6x4', 'cannot be read', 'colours')):
        assert [one for one in found if one.startswith(place[number]) and words in one]
    assert len(found) == 4


def test_a_mask_without_a_frame_two_for_one_and_gaps(source, tmp_path):
    write_mask(source / 'masks' / 'a' / '7.png', FIRST)
    write_mask(source / 'masks' / 'a' / '1.png', FIRST)
    found = errors_of(converted('masks', source, tmp_path / 'out')[0])
    masks = source / 'masks' / 'a'
    assert (
        found
        == [
            f'video a ({masks / "7.png"}): there is no frame for the mask 7.png',
            f'video a, frame 1 ({source}/frames/a/00001.jpg): two masks for one frame: 00001.png '
            'and 1.png',
        ]
        or found[::-1] == found
    )
    for name in ('7.png', '1.png'):
        (masks / name).unlink()
    write_frames(source / 'frames' / 'a', '00002.jpg', '00009.jpg')
    write_mask(masks / '00002.png', FIRST)
    write_mask(masks / '00009.png', FIRST)
    result, content = converted('masks', source, tmp_path / 'out')
    assert findings(result) == [
        (
            'warning',
            f'video a, frame 3 ({source}/frames/a/00009.jpg): it follows number 2: this frame is '
            'taken for the next one',
        )
    ]
    assert content['videos'][0]['length'] == 4


def test_frames_of_two_sizes_and_damaged_ones(source, tmp_path):
    write_frames(source / 'frames' / 'a', '00001.jpg', size=(5, 6))
    (error,) = errors_of(converted('masks', source, tmp_path / 'out')[0])
    assert error.startswith('video a, frame 1 (') and 'is 6x5 pixels' in error
    (source / 'frames' / 'a' / '00001.jpg').write_bytes(b'')
    (error,) = errors_of(converted('masks', source, tmp_path / 'out')[0])
    assert error.startswith('video a, frame 1 (') and 'the file is empty' in error


def test_names_with_spaces_and_umlauts_in_the_order_of_their_numbers(tmp_path):
    frames = tmp_path / 'Bär 1' / 'frames' / 'Straße 7'
    names = [f'bild {number}.jpg' for number in (8, 9, 10)]
    write_frames(frames, *names)
    for number in (8, 9, 10):
        text = f'{"1" * (number - 7):0<6}/000000/000000/000000'
        write_mask(tmp_path / 'Bär 1' / 'masks' / 'Straße 7' / f'bild {number}.png', text)
    result, content = converted('masks', tmp_path / 'Bär 1', tmp_path / 'Ausgabe ö')
    assert content['videos'][0]['file_names'] == [f'Straße 7/{name}' for name in names]
    assert content['annotations'][0]['areas'] == [1, 2, 3] and findings(result) == []


def test_binary_masks_of_255_are_explained(source, tmp_path):
    for path in (source / 'masks' / 'a').iterdir():
        Image.fromarray((np.array(Image.open(path)) > 0).astype(np.uint8) * 255).save(path)
    result, _ = converted('masks', source, tmp_path / 'out')
    assert any('255 is void' in text for _, text in findings(result))


def test_what_is_no_such_data_set(tmp_path):
    (tmp_path / 'empty').mkdir()
    with pytest.raises(UserError, match='has no folders of masks: expected frames/VIDEO'):
        converted('masks', tmp_path / 'empty', tmp_path / 'out')
