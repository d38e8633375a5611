import json

import cv2
import numpy as np
import pytest
from pycocotools import mask as mask_utils

from tests.visualization.blocks import rectangle
from vispropnet.apis.attention_maps.requests import attention_of_results, parse_request
from vispropnet.errors import UserError

OBJPROP = 'configs/objprop/objprop_r18_fpn_2e_moving-shapes.py'
CATEGORY = 'configs/objprop/objprop_r18_fpn_2e_moving-shapes_category-affinity.py'


def rle_of(*corners):
    return rectangle(*corners, 96, 64)


def uncompressed(rle):
    """The same mask with its runs as numbers, as the official files have it."""
    flat = mask_utils.decode(rle).ravel(order='F').astype(int)
    ends = np.flatnonzero(np.diff(flat)) + 1
    return {**rle, 'counts': np.diff(ends, prepend=0, append=flat.size).tolist()}


@pytest.fixture
def clips(tmp_path):
    """Seven videos of three frames; the fifth has a large object (20) with a small one (21) on it,
    which is gone in the last frame."""
    names = [f'{frame}.png' for frame in range(3)]
    for frame, name in enumerate(names):
        picture = np.random.default_rng(frame).integers(0, 256, (64, 96, 3), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / name), picture)
    videos = [dict(id=n, width=96, height=64, file_names=names) for n in range(11, 18)]
    large, small = rle_of(8, 8, 56, 48), rle_of(24, 16, 40, 32)
    truths = [
        dict(id=20, video_id=15, category_id=2, segmentations=[large] * 3),
        dict(id=21, video_id=15, category_id=4, segmentations=[small, small, None]),
    ]
    categories = [dict(id=n, name=f'kind {n}') for n in range(1, 5)]
    content = dict(videos=videos, categories=categories, annotations=truths)
    (tmp_path / 'gt.json').write_text(json.dumps(content))
    return tmp_path, content


def test_pictures_of_objects_and_positions(clips, root):
    folder, _ = clips
    found = attention_of_results(
        root / OBJPROP,
        None,
        folder / 'gt.json',
        folder,
        ['15:0:1:#21', '15:0:2:30,20', '15:1:0:90,60'],
    )
    assert len(found) == 3 * 2
    assert all(set(one) == {'title', 'caption', 'jpeg'} for one in found)
    starts = [
        'video 15, frame 0 → 1, object #21 (kind 4): ',
        # Both objects are there; the small one counts.
        'video 15, frame 0 → 2, position 30,20 on object #21 (kind 4): ',
        'video 15, frame 1 → 0, position 90,60: ',
    ]
    for number, one in enumerate(found):
        assert one['title'].startswith(starts[number // 2])
        picture = cv2.imdecode(np.frombuffer(one['jpeg'], np.uint8), cv2.IMREAD_COLOR)
        assert picture.shape[1] >= 2 * 480
        # Of 96 x 64 pixels the box takes 16 x 16, where the object is.
        assert ('takes 4.2% of the frame' in one['caption']) == (number < 2)
        assert ('not visible in the reference' in one['caption']) == (2 <= number < 4)
    assert found[0]['title'].endswith(': affinity of the propagation head')
    assert found[5]['title'].endswith(', with the distance as at test (sigma 3 cells)')


def test_category_of_the_annotation_is_the_label(clips, root):
    folder, content = clips
    # Of a position on nothing the category is not known.
    found = attention_of_results(root / CATEGORY, None, content, folder, ['15:0:1:#20'])
    assert len(found) == 2
    with pytest.raises(UserError, match="request '15:0:1:90,60': the affinity .* by category"):
        attention_of_results(root / CATEGORY, None, content, folder, ['15:0:1:90,60'])


def test_requests_are_read(clips):
    _, content = clips
    request = parse_request(' 15:2:0:10,9 ', content)
    assert (request.video['id'], request.current, request.reference) == (15, 2, 0)
    assert request.position == (10, 9) and request.truth['id'] == 20
    request = parse_request('15:0:0:#21', content)
    assert request.position is None and request.truth['id'] == 21
    assert parse_request('11:0:1:95,63', content).truth is None
    # Ids may be text, with colons in it.
    content['videos'][0]['id'] = 'a:1'
    assert parse_request('a:1:0:2:0,0', content).video['id'] == 'a:1'


@pytest.mark.parametrize(
    ('request_text', 'message'),
    [
        ('15:0:1', 'expected VIDEO:FRAME:REFERENCE:X,Y or VIDEO:FRAME:REFERENCE:#OBJECT'),
        ('15:0:1:3', 'expected VIDEO'),
        ('15:0:-1:3,4', 'expected VIDEO'),
        ('15:0:1:3,4,5', 'expected VIDEO'),
        ('15:0:1:#', 'expected VIDEO'),
        ('', 'expected VIDEO'),
        ('9:0:1:3,4', r'video 9 is not in .*, which has 11, 12, 13, 14, 15 and 2 more'),
        ('15:3:1:3,4', 'video 15 has no frame 3, expected 0 to 2'),
        ('15:0:7:3,4', 'video 15 has no frame 7, expected 0 to 2'),
        ('15:0:1:96,4', 'position 96,4 is outside of the frame of 96x64 pixels'),
        ('15:0:1:4,64', 'position 4,64 is outside'),
        ('15:0:1:#3', 'object 3 is not in video 15, which has 20, 21'),
        ('11:0:1:#20', 'object 20 is not in video 11, which has none'),
        ('15:2:1:#21', 'object 21 is not visible in frame 2; it is in frames 0, 1'),
    ],
)
def test_bad_requests(clips, request_text, message):
    folder, content = clips
    with pytest.raises(UserError, match=message) as caught:
        # No such config: requests come first.
        attention_of_results('nothing.py', None, content, folder, ['15:0:1:3,4', request_text])
    assert str(caught.value).startswith(f'attention request {request_text!r}')


def test_masks_may_be_uncompressed(clips):
    _, content = clips
    places = ('15:0:1:#21', '15:0:1:30,20')
    expected = [parse_request(one, content) for one in places]
    for truth in content['annotations']:
        truth['segmentations'] = [one and uncompressed(one) for one in truth['segmentations']]
    assert [parse_request(one, content) for one in places] == expected


def test_objects_of_a_file_without_annotations(clips):
    _, content = clips
    content['annotations'] = None
    assert parse_request('15:0:1:30,20', content).truth is None
    with pytest.raises(UserError, match='object 20 is not in video 15, which has none'):
        parse_request('15:0:1:#20', content)


def test_missing_frames_and_models_that_do_not_look(clips, small, root):
    folder, content = clips
    with pytest.raises(UserError, match='MaskTrackRCNN, which has no attention between frames'):
        attention_of_results(small, None, content, folder, ['15:0:1:3,4'])
    (folder / '2.png').unlink()
    with pytest.raises(UserError, match='video 15, frame 2: .* not found'):
        attention_of_results(root / OBJPROP, None, content, folder, ['15:0:2:3,4'])
