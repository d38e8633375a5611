"""COCO style files of still images and of videos."""

import copy

import pytest

from tests.converting.sources import (
    converted,
    findings,
    masks_of,
    rle,
    write_frames,
    write_json,
)
from vispropnet.errors import UserError

LEFT, RIGHT = '111000/111000/000000/000000', '000110/000110/000000/000000'
STILL = {
    'images': [
        {'id': 7, 'file_name': 'a/one.jpg', 'width': 6, 'height': 4},
        {'id': 3, 'file_name': 'a/two.jpg', 'width': 6, 'height': 4},
        {'id': 4, 'file_name': 'b/one.jpg', 'width': 6, 'height': 4},
    ],
    'categories': [{'id': 18, 'name': 'dog'}, {'id': 5, 'name': 'cat'}],
    'annotations': [
        # A polygon, compressed and plain run lengths.
        {'id': 1, 'image_id': 7, 'category_id': 5, 'segmentation': [[0, 0, 3, 0, 3, 2, 0, 2]]},
        {'id': 2, 'image_id': 3, 'category_id': 5, 'segmentation': rle(LEFT), 'iscrowd': 0},
        {
            'id': 3,
            'image_id': 7,
            'category_id': 18,
            'iscrowd': 1,
            'segmentation': {'size': [4, 6], 'counts': [12, 2, 2, 2, 6]},
        },
    ],
}
FRAMES = {
    'videos': [{'id': 2, 'name': 'drive 1'}],
    'images': [
        {'id': 1, 'video_id': 2, 'frame_id': 12, 'file_name': 'x\\b.jpg'},
        {'id': 2, 'video_id': 2, 'frame_id': 11, 'file_name': 'x\\c.jpg'},
        {'id': 3, 'video_id': 2, 'frame_id': 10, 'file_name': 'x\\a.jpg'},
    ],
    'categories': [{'id': 1, 'name': 'car'}, {'id': 2, 'name': 'bus'}],
    'annotations': [
        {'id': 1, 'image_id': 1, 'category_id': 2, 'track_id': 9, 'segmentation': rle(LEFT)},
        {'id': 2, 'image_id': 3, 'category_id': 2, 'track_id': 9, 'segmentation': rle(RIGHT)},
        {'id': 3, 'image_id': 2, 'category_id': 1, 'track_id': 4, 'segmentation': rle(RIGHT)},
    ],
}


@pytest.fixture
def write(tmp_path):
    """Writes a file with its frames beside it."""
    write_frames(tmp_path / 'in' / 'images' / 'a', 'one.jpg', 'two.jpg')
    write_frames(tmp_path / 'in' / 'images' / 'b', 'one.jpg')
    write_frames(tmp_path / 'in' / 'images' / 'x', 'a.jpg', 'b.jpg', 'c.jpg')

    def at(content, **options):
        write_json(tmp_path / 'in' / 'ann.json', content, **options)
        return tmp_path / 'in' / 'ann.json'

    return at


def changed(content, *changes):
    """The content with values at paths such as ``'annotations/0/id'``."""
    content = copy.deepcopy(content)
    for path, value in changes:
        *steps, key = (int(step) if step.isdigit() else step for step in path.split('/'))
        target = content
        for step in steps:
            target = target[step]
        target[key] = value
    return content


def errors_of(form, path, out):
    result, content = converted(form, path, out)
    assert content is None
    return [text for severity, text in findings(result) if severity == 'error']


def test_still_images_are_videos_of_one_frame(write, tmp_path):
    result, content = converted('coco', write(STILL), tmp_path / 'out')
    assert [video['file_names'] for video in content['videos']] == [
        ['a/one.jpg'],
        ['a/two.jpg'],
        ['b/one.jpg'],
    ]
    assert content['categories'] == STILL['categories']
    keys = ('video_id', 'category_id', 'iscrowd', 'segmentations', 'bboxes', 'areas')
    assert [tuple(one[key] for key in keys) for one in content['annotations']] == [
        (1, 5, 0, [LEFT], [[0, 0, 3, 2]], [6]),
        (1, 18, 1, [RIGHT], [[3, 0, 2, 2]], [4]),
        (2, 5, 0, [LEFT], [[0, 0, 3, 2]], [6]),
    ]
    assert (tmp_path / 'out' / 'frames' / 'a' / 'two.jpg').is_file()
    assert 'each image is a video of one frame' in result.notes[0]
    # The folder of the file does as well.
    assert converted('coco', write(STILL).parent, tmp_path / 'folder')[1]['videos']


def test_still_images_linked_by_iou(write, tmp_path):
    more = {'id': 4, 'image_id': 3, 'category_id': 5, 'segmentation': rle(RIGHT)}
    content = {**STILL, 'annotations': [*STILL['annotations'], more]}
    result, content = converted('coco', write(content), tmp_path / 'out', id_from='iou')
    assert [video['file_names'] for video in content['videos']] == [
        ['a/one.jpg', 'a/two.jpg'],
        ['b/one.jpg'],
    ]
    assert masks_of(content) == {'a': [[LEFT, LEFT], [None, RIGHT], [RIGHT, None]]}
    assert [one['iscrowd'] for one in content['annotations']] == [0, 0, 1]
    assert 'linked over the images of each folder by mask IoU' in result.notes[0]
    with pytest.raises(UserError, match='--id-from group_id is not for coco'):
        converted('coco', write(STILL), tmp_path / 'other', id_from='group_id')


def test_a_byte_order_mark_and_windows_line_ends(write, tmp_path):
    path = write(STILL, encoding='utf-8-sig', newline='\r\n')
    assert len(converted('coco', path, tmp_path / 'out')[1]['annotations']) == 3


def test_all_that_is_wrong_with_still_images(write, tmp_path):
    bad = [
        ('annotations/0/segmentation', [[0, 0, 3, 2]]),
        ('annotations/1/segmentation', {'size': [5, 6], 'counts': rle(LEFT)['counts']}),
        ('annotations/2/segmentation', [[100, 100, 90, 0, 0, 90]]),
    ]
    found = errors_of('coco', write(changed(STILL, *bad)), tmp_path / 'out')
    images = tmp_path / 'in' / 'images' / 'a'
    for begin, text in (
        (f'annotation 1, video a/one.jpg, frame 0 ({images}/one.jpg)', 'at least 3 points'),
        (f'annotation 2, video a/two.jpg, frame 0 ({images}/two.jpg)', '6x5 pixels'),
        (f'annotation 3, video a/one.jpg, frame 0 ({images}/one.jpg)', 'far out of the frame'),
    ):
        assert [one for one in found if one.startswith(begin) and text in one]
    assert len(found) == 3
    bad = [
        ('annotations/0/image_id', 99),
        ('annotations/1/category_id', None),
        ('annotations/2/iscrowd', 'no'),
        ('images/1/id', 7),
        ('categories/1/name', 3),
    ]
    assert errors_of('coco', write(changed(STILL, *bad)), tmp_path / 'out') == [
        "categories[1]: must be an object with an id and a name, found {'id': 5, 'name': 3}",
        'images[1]: the id 7 is there twice',
        'annotations[0]: image_id 99 is not among the images of the file',
        'annotations[0]: category_id 5 is not among the categories of the file',
        'annotations[1]: image_id 3 is not among the images of the file',
        'annotations[1]: category_id null is not among the categories of the file',
        "annotations[2]: 'iscrowd' must be 0 or 1, found 'no'",
    ]
    bad = [('images/0/file_name', 'c/one.jpg'), ('images/1/file_name', 'nowhere.jpg')]
    found = errors_of('coco', write(changed(STILL, *bad)), tmp_path / 'out')
    assert [one.partition(': there is no file')[0] for one in found] == [
        'video c/one.jpg, frame 0 (c/one.jpg)',
        'video nowhere.jpg, frame 0 (nowhere.jpg)',
    ]
    (found,) = errors_of('coco', write(changed(STILL, ('images/0/width', 7))), tmp_path / 'out')
    assert found.startswith('video a/one.jpg, frame 0 (') and 'says 7x4 pixels' in found


def test_what_is_odd_and_read_all_the_same(write, tmp_path):
    odd = [
        ('annotations/0/segmentation', [[2, 1, 2, 1, 2, 1]]),
        ('annotations/1/segmentation', [[-2, 0, 3, 0, 3, 2, -2, 2]]),
        ('annotations/2/segmentation', []),
    ]
    result, content = converted('coco', write(changed(STILL, *odd)), tmp_path / 'out')
    assert masks_of(content) == {'a/two.jpg': [[LEFT]]}
    texts = [text.split('jpg): ')[1] for _, text in findings(result) if 'annotation ' in text]
    assert texts == [
        'the shape covers no pixel of the frame: left out',
        'the object has no mask here: left out',
        'the polygon reaches out of the frame, from (-2, 0) to (3, 2) in 6x4: cut',
    ]


def test_videos_in_the_order_of_their_frame_numbers(write, tmp_path):
    result, content = converted('coco-video', write(FRAMES), tmp_path / 'out')
    assert content['videos'][0]['file_names'] == [f'drive 1/{one}.jpg' for one in 'acb']
    assert masks_of(content) == {'drive 1': [[RIGHT, None, LEFT], [None, RIGHT, None]]}
    assert [one['category_id'] for one in content['annotations']] == [2, 1]
    ((severity, text),) = findings(result)
    assert severity == 'warning' and 'sorts before the frame before it' in text


def test_all_that_is_wrong_with_videos(write, tmp_path):
    bad = [
        ('annotations/0/category_id', 1),
        ('annotations/2/track_id', None),
        ('images/0/frame_id', 15),
    ]
    result, _ = converted('coco-video', write(changed(FRAMES, *bad)), tmp_path / 'out')
    folder = tmp_path / 'in' / 'images' / 'x'
    assert [text for _, text in findings(result)] == [
        'video drive 1, frame 2 (x\\b.jpg): it follows number 11: this frame is taken for the '
        'next one',
        f'annotation 3, video drive 1, frame 1 ({folder}/c.jpg): an annotation must have '
        "'instance_id' or 'track_id', found null",
        f"video drive 1, frame 2 ({folder}/b.jpg): id 9 is of category 'car', before it was 'bus'",
    ]
    bad = [('images/0/frame_id', 11), ('images/2/video_id', None)]
    found = errors_of('coco-video', write(changed(FRAMES, *bad)), tmp_path / 'out')
    assert found[0].startswith('video drive 1 (x\\c.jpg): two images have frame number 11')
    assert 'an image must have video_id and frame_id' in found[1] and len(found) == 2
    bad = [('annotations/0/image_id', 3), ('annotations/0/track_id', 9)]
    (found,) = errors_of('coco-video', write(changed(FRAMES, *bad)), tmp_path / 'out')
    assert found.endswith('id 9 is twice on this frame')


def test_what_is_no_coco_file(write, tmp_path):
    with pytest.raises(UserError, match='is not in the COCO form'):
        converted('coco', write([1]), tmp_path / 'out')
    write_json(tmp_path / 'in' / 'other.json', STILL)
    with pytest.raises(UserError, match='holds 2 JSON files: give the annotation file itself'):
        converted('coco', tmp_path / 'in', tmp_path / 'out')
