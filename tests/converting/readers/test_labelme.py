"""JSON files of LabelMe."""

import base64

import cv2
import numpy as np
import pytest

from tests.converting.sources import converted, findings, masks_of, write_frames, write_json
from vispropnet.errors import UserError

LEFT, RIGHT = '111000/111000/000000/000000', '000000/000000/000011/000011'
BOX_LEFT, BOX_RIGHT = [[0, 0], [3, 2]], [[4, 2], [6, 4]]


def shape(label, points, kind='rectangle', group=None, **more):
    return {'label': label, 'points': points, 'group_id': group, 'shape_type': kind, **more}


def corners(box):
    (left, top), (right, bottom) = box
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


def content(name, *shapes, **more):
    size = {'imageHeight': 4, 'imageWidth': 6}
    fixed = {'version': '5.4.1', 'flags': {}, 'imagePath': name, 'imageData': None, **size}
    return {**fixed, 'shapes': list(shapes), **more}


@pytest.fixture
def write(tmp_path):
    """Writes the files of a video with its frames."""
    folder = tmp_path / 'in' / 'clip'
    write_frames(folder, 'f 8.jpg', 'f 9.jpg', 'f 10.jpg')

    def at(*frames, **options):
        for number, shapes in enumerate(frames, 8):
            write_json(folder / f'f {number}.json', content(f'f {number}.jpg', *shapes), **options)
        return tmp_path / 'in'

    return at


def test_polygons_with_group_ids(write, tmp_path):
    first = [
        shape('cat', corners(BOX_LEFT), 'polygon', 1),
        shape('dog', corners(BOX_RIGHT), 'polygon', 2),
    ]
    second = [shape('dog', BOX_RIGHT, group=2), shape('dog', BOX_LEFT, group=2)]
    result, found = converted('labelme', write(first, second, []), tmp_path / 'out')
    assert masks_of(found)['clip'] == [
        [LEFT, None, None],
        [RIGHT, '111000/111000/000011/000011', None],
    ]
    assert found['categories'] == [{'id': 1, 'name': 'cat'}, {'id': 2, 'name': 'dog'}]
    assert found['videos'][0]['file_names'] == ['clip/f 8.jpg', 'clip/f 9.jpg', 'clip/f 10.jpg']
    assert findings(result) == []
    assert 'by the group_id of their shapes' in result.notes[0]


def test_ids_in_labels_and_by_overlap(write, tmp_path):
    source = write(
        [shape('cat_1', BOX_LEFT), shape('cat_2', BOX_RIGHT)],
        [shape('cat_2', BOX_RIGHT), shape('cat_1', BOX_LEFT)],
        [],
    )
    result, found = converted('labelme', source, tmp_path / 'out')
    assert masks_of(found)['clip'] == [[LEFT, LEFT, None], [RIGHT, RIGHT, None]]
    assert found['categories'] == [{'id': 1, 'name': 'cat'}]
    assert 'by the number at the end of their labels' in result.notes[0]
    # Labels are categories, of which there are two on each frame.
    result, found = converted('labelme', source, tmp_path / 'iou', id_from='iou')
    assert [one['name'] for one in found['categories']] == ['cat_1', 'cat_2']
    source = write([shape('cat', BOX_LEFT)], [shape('cat', BOX_RIGHT), shape('cat', BOX_LEFT)])
    result, found = converted('labelme', source, tmp_path / 'plain')
    assert masks_of(found)['clip'] == [[LEFT, LEFT, None], [None, RIGHT, None]]
    assert 'linked from frame to frame by mask IoU' in result.notes[0]


def test_shapes_that_are_no_polygons(write, tmp_path):
    stored = cv2.imencode('.png', np.array([[1, 0], [1, 1]], np.uint8))[1].tobytes()
    mask = base64.b64encode(stored).decode()
    source = write(
        [
            shape('disc', [[3, 2], [3, 0.5]], 'circle', 1),
            shape('mask', [[4, 1], [5, 2]], 'mask', 2, mask=mask),
            shape('mask', [[5, 3], [6, 4]], 'mask', 3, mask=mask),
            shape('line', [[0, 0], [3, 3]], 'line', 4),
        ],
        [],
        [],
    )
    result, found = converted('labelme', source, tmp_path / 'out')
    assert [one[0] for one in masks_of(found)['clip']] == [
        '000000/001100/001100/000000',
        '000000/000010/000011/000000',
        '000000/000000/000000/000001',
    ]
    place = f'video clip, frame 0 ({tmp_path}/in/clip/f 8.json): '
    assert [text.split(place)[1] for _, text in findings(result)] == [
        'the mask reaches out of the frame: cut',
        'a line has no area: left out',
    ]


def test_a_frame_without_a_file(write, tmp_path):
    source = write([shape('cat', BOX_LEFT, group=1)], [shape('cat', BOX_LEFT, group=1)])
    ((_, text),) = findings(converted('labelme', source, tmp_path / 'out')[0])
    assert text.startswith(f'video clip, frame 2 ({source}/clip/f 10.jpg): there is no file')
    _, found = converted('labelme', source, tmp_path / 'empty', missing='empty')
    assert masks_of(found)['clip'] == [[LEFT, LEFT, None]]
    _, found = converted('labelme', source, tmp_path / 'sparse', missing='unannotated')
    assert found['videos'][0]['annotated_frames'] == [0, 1]


def test_files_of_one_video_with_images_elsewhere_under_a_windows_path(tmp_path):
    write_frames(tmp_path / 'Bilder ä', 'eins 1.png')
    shapes = [shape('katze', BOX_LEFT, group=0)]
    source = tmp_path / 'Etiketten'
    path = source / 'eins 1.json'
    write_json(path, content('..\\Bilder ä\\eins 1.png', *shapes), 'utf-8-sig', newline='\r\n')
    _, found = converted('labelme', source, tmp_path / 'out')
    assert masks_of(found) == {'Etiketten': [[LEFT]]}
    write_json(path, content('gone.png', *shapes))
    ((_, text),) = findings(converted('labelme', source, tmp_path / 'other')[0])
    assert text == f'video Etiketten ({source}): there are no images for the JSON files'
    _, found = converted('labelme', source, tmp_path / 'given', images=tmp_path / 'Bilder ä')
    assert masks_of(found) == {'Etiketten': [[LEFT]]}


def test_all_that_is_wrong_is_listed_with_its_frame(write, tmp_path):
    source = write(
        [
            shape('cat', [[0, 0], [3, 2]], 'polygon', 1),
            shape('cat', [[0, 0], 'x', [3, 2]], 'polygon', 1),
            shape('cat', [[0, 0], [99, 0], [99, 99]], 'polygon', 2),
            shape('cat', BOX_LEFT),
            shape('cat', BOX_LEFT, group=3),
        ],
        [
            shape('dog', BOX_LEFT, group=3),
            shape('cat', BOX_LEFT, group=4),
            shape('dog', BOX_LEFT, group=4),
            shape('cat', [[2, 2], [2, 2], [2, 2]], 'polygon', 5),
            shape('cat', BOX_LEFT, 'mask', 6, mask='?'),
        ],
        [],
    )
    result, _ = converted('labelme', source, tmp_path / 'out', id_from='group_id')
    first, second = (f'({source}/clip/f {number}.json): ' for number in (8, 9))
    found = [text for _, text in findings(result)]
    for number, words in (
        (0, 'at least 3 points'),
        (1, "'points' of a polygon must be [[x, y], ...]"),
        (2, 'far out of the frame'),
        (3, "the shape 'cat' has no group_id"),
    ):
        begin = f'shapes[{number}], video clip, frame 0 {first}'
        assert [one for one in found if one.startswith(begin) and words in one], words
    for begin, words in (
        ('video clip, frame 1 ', "id 3 is of category 'dog', before it was 'cat'"),
        ('video clip, frame 1 ', 'id 4 has several labels on this frame'),
        ('shapes[3], video clip, frame 1 ', 'the shape covers no pixel'),
        ('shapes[4], video clip, frame 1 ', "'mask' must be a PNG in base64"),
    ):
        assert [one for one in found if one.startswith(begin + second) and words in one], words
    assert len(found) == 8


def test_damaged_files_and_other_sizes(write, tmp_path):
    source = write([], [], [])
    (source / 'clip' / 'f 8.json').write_text('{"shapes": [{}]}')
    (source / 'clip' / 'f 9.json').write_text('{')
    wide = content('f 10.jpg', shape('cat', BOX_LEFT, group=1), imageWidth=7)
    write_json(source / 'clip' / 'f 10.json', wide)
    found = [text for _, text in findings(converted('labelme', source, tmp_path / 'out')[0])]
    assert found[0].startswith(f'shapes[0], video clip ({source}/clip/f 8.json): a shape must be')
    assert found[1].startswith(f'video clip ({source}/clip/f 9.json): LabelMe file')
    assert any('the file says 7x4 pixels, the image has 6x4' in one for one in found)
    (tmp_path / 'empty').mkdir()
    with pytest.raises(UserError, match='holds no JSON files'):
        converted('labelme', tmp_path / 'empty', tmp_path / 'out')
