import cv2
import numpy as np
import pytest

from tests.evaluation.content import decode, encode
from tests.visualization.blocks import rectangle
from vispropnet.apis import init_model
from vispropnet.apis.attention_maps.requests import draw_request, parse_request
from vispropnet.errors import UserError

OBJPROP = 'configs/objprop/objprop_r18_fpn_2e_moving-shapes'


@pytest.fixture
def content(tmp_path):
    """Seven videos of three frames; the fifth has a large object (20) with a small one (21) on it,
    which is gone in the last frame."""
    names = [f'{frame}.png' for frame in range(3)]
    for frame, name in enumerate(names):
        picture = np.random.default_rng(frame).integers(0, 256, (64, 96, 3), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / name), picture)
    videos = [dict(id=n, width=96, height=64, file_names=names) for n in range(11, 18)]
    large, small = rectangle(8, 8, 56, 48, 96, 64), rectangle(24, 16, 40, 32, 96, 64)
    truths = [
        dict(id=20, video_id=15, category_id=2, segmentations=[large] * 3),
        dict(id=21, video_id=15, category_id=4, segmentations=[small, small, None]),
    ]
    categories = [dict(id=n, name=f'kind {n}') for n in range(1, 5)]
    return dict(videos=videos, categories=categories, annotations=truths)


def test_pictures_of_objects_and_positions(content, root, tmp_path):
    model = init_model(root / f'{OBJPROP}.py', device='cpu')
    affinity = 'affinity of the propagation head'
    ends = affinity, f'{affinity}, with the distance as at test (sigma 6 cells)'
    for request, start, takes, gone in (
        ('15:0:1:#21', 'frame 0 → 1, object #21 (kind 4)', True, False),
        # Both objects are there; the small one counts.
        ('15:0:2:30,20', 'frame 0 → 2, position 30,20 on object #21 (kind 4)', False, True),
        ('15:1:0:90,60', 'frame 1 → 0, position 90,60', False, False),
    ):
        found = draw_request(model, request, content, tmp_path)
        assert [one['title'] for one in found] == [f'video 15, {start}: {end}' for end in ends]
        for one in found:
            picture = cv2.imdecode(np.frombuffer(one['jpeg'], np.uint8), cv2.IMREAD_COLOR)
            assert picture.shape[1] >= 2 * 480
            # Of 96 x 64 pixels the box takes 16 x 16, where the object is.
            assert ('takes 4.2% of the frame' in one['caption']) == takes
            assert ('not visible in the reference' in one['caption']) == gone


def test_models_by_category_or_without_attention_and_missing_frames(content, root, small, tmp_path):
    model = init_model(root / f'{OBJPROP}_category-affinity.py', device='cpu')
    # The category of the annotation is the label; of a position on nothing it is not known.
    assert len(draw_request(model, '15:0:1:#20', content, tmp_path)) == 2
    with pytest.raises(UserError, match="request '15:0:1:90,60': the affinity .* by category"):
        draw_request(model, '15:0:1:90,60', content, tmp_path)
    with pytest.raises(UserError, match='MaskTrackRCNN, which has no attention between frames'):
        draw_request(init_model(small), '15:0:1:3,4', content, tmp_path)
    (tmp_path / '2.png').unlink()
    with pytest.raises(UserError, match='video 15, frame 2: .* not found'):
        draw_request(model, '15:0:2:#20', content, tmp_path)


def test_requests_are_read(content):
    request = parse_request(' 15:2:0:10,9 ', content)
    assert (request.video['id'], request.current, request.reference) == (15, 2, 0)
    assert request.position == (10, 9) and request.truth['id'] == 20
    request = parse_request('15:0:0:#21', content)
    assert request.position is None and request.truth['id'] == 21
    assert parse_request('11:0:1:95,63', content).truth is None
    # Masks may be uncompressed.
    places = ('15:0:1:#21', '15:0:1:30,20')
    expected = [parse_request(one, content) for one in places]
    for truth in content['annotations']:
        masks = [one and decode(one) for one in truth['segmentations']]
        truth['segmentations'] = [encode(mask, 'runs') for mask in masks]
    assert [parse_request(one, content) for one in places] == expected
    # Ids may be text, with colons in it; the file may have no annotations.
    content['videos'][0]['id'], content['annotations'] = 'a:1', None
    assert parse_request('a:1:0:2:0,0', content).video['id'] == 'a:1'
    assert parse_request('15:0:1:30,20', content).truth is None
    with pytest.raises(UserError, match='object 20 is not in video 15, which has none'):
        parse_request('15:0:1:#20', content)


def test_bad_requests(content):
    forms = ('15:0:1', '15:0:1:3', '15:0:-1:3,4', '15:0:1:3,4,5', '15:0:1:#', '')
    form = 'expected VIDEO:FRAME:REFERENCE:X,Y or VIDEO:FRAME:REFERENCE:#OBJECT'
    for request, message in (
        *((request, form) for request in forms),
        ('9:0:1:3,4', r'video 9 is not in .*, which has 11, 12, 13, 14, 15 and 2 more'),
        ('15:3:1:3,4', 'video 15 has no frame 3, expected 0 to 2'),
        ('15:0:7:3,4', 'video 15 has no frame 7, expected 0 to 2'),
        ('15:0:1:96,4', 'position 96,4 is outside of the frame of 96x64 pixels'),
        ('15:0:1:4,64', 'position 4,64 is outside'),
        ('15:0:1:#3', 'object 3 is not in video 15, which has 20, 21'),
        ('11:0:1:#20', 'object 20 is not in video 11, which has none'),
        ('15:2:1:#21', 'object 21 is not visible in frame 2; it is in frames 0, 1'),
    ):
        with pytest.raises(UserError, match=f'^attention request {request!r}.*{message}'):
            parse_request(request, content)
