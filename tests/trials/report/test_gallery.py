import base64
import json

import cv2
import numpy as np
import pytest
from pycocotools import mask as mask_utils

from tests.visualization.blocks import FRAMES, HEIGHT, WIDTH, block, write_files
from vispropnet.datasets.annotation_file import read_annotation_file
from vispropnet.errors import UserError
from vispropnet.trials.report import gallery
from vispropnet.trials.report.gallery import Detail, build_gallery, scaled_counts
from vispropnet.visualization.palette import track_color


@pytest.fixture
def files(tmp_path):
    write_files(tmp_path)
    return tmp_path


def build(files, count=2, **options):
    results = {name: files / f'{name}.json' for name in 'ab'}
    titles = {'a': 'First', 'b': 'Second'}
    content = read_annotation_file(files / 'gt.json')
    return build_gallery(content, results, titles, files / 'images', count, **options)


def test_what_a_video_holds(files):
    made = build(files)
    assert made.notes == []
    video, other = map(json.loads, made.videos)
    assert (video['name'], other['name']) == ('Video 12', 'Video 11')
    assert (video['width'], video['height'], video['numbers']) == (WIDTH, HEIGHT, [1, 2, 3])
    truth, first, second = video['panels']
    assert [one['title'] for one in video['panels']] == ['Ground truth', 'First', 'Second']
    assert (truth['score'], first['score']) == (None, round(35 / 45 / 2, 3))
    # The second object has number 2 in the first method; the track beside it is the same in both.
    numbers = [[track['number'] for track in one['tracks']] for one in video['panels']]
    assert numbers == [[1, 2], [2, 3], [1, 3]]
    for panel in video['panels']:
        for track in panel['tracks']:
            assert track['color'] == list(track_color(track['number'])[::-1])
    assert truth['tracks'][0]['masks'] == [block(20)['counts']] * FRAMES
    assert [track['carried'] for track in second['tracks']] == [[1] * FRAMES, [0] * FRAMES]
    assert first['tracks'][1] | {'masks': 0, 'color': 0} == dict(
        number=3, label='cat', score=0.8, carried=[0] * FRAMES, masks=0, color=0
    )


def test_frames_are_jpegs_of_the_frames(files):
    video = json.loads(build(files, 1).videos[0])
    for frame, text in enumerate(video['frames']):
        picture = cv2.imdecode(np.frombuffer(base64.b64decode(text), np.uint8), cv2.IMREAD_COLOR)
        assert picture.shape == (HEIGHT, WIDTH, 3)
        assert abs(int(picture.mean()) - (100 + 20 * frame)) <= 1


def test_smaller_masks_against_a_slow_reference():
    rng = np.random.default_rng(0)
    mask = (rng.random((8, 12)) < 0.5).astype(np.uint8)
    rle = mask_utils.encode(np.asfortranarray(mask))
    small = mask_utils.decode({'size': [4, 6], 'counts': scaled_counts(rle, 6, 4)})
    expected = [[int(mask[2 * y + 1][2 * x + 1]) for x in range(6)] for y in range(4)]
    assert small.tolist() == expected


def test_a_small_object_does_not_vanish():
    mask = np.zeros((8, 12), np.uint8, order='F')
    mask[3, 5] = 1
    small = scaled_counts(mask_utils.encode(mask), 3, 2)
    assert np.argwhere(mask_utils.decode({'size': [2, 3], 'counts': small})).tolist() == [[0, 1]]
    empty = scaled_counts(mask_utils.encode(np.zeros_like(mask)), 3, 2)
    assert mask_utils.area({'size': [2, 3], 'counts': empty}) == 0


def test_within_the_budget_with_fewer_and_smaller_frames(files, monkeypatch):
    budget = sum(map(len, build(files).videos)) - 1
    monkeypatch.setattr(gallery, 'DETAILS', (Detail(None, 240, 80), Detail(2, 120, 80)))
    made = build(files, budget=budget)
    assert len(made.videos) == 2
    assert sum(map(len, made.videos)) <= budget
    video = json.loads(made.videos[0])
    assert (video['width'], video['height'], video['numbers']) == (120, 48, [1, 3])
    assert len(made.notes) == 2
    assert '2 frames' in made.notes[0]
    assert '120 pixels' in made.notes[1]


def test_within_the_budget_with_fewer_videos(files):
    one = len(build(files, 1).videos[0])
    made = build(files, 3, budget=one)
    assert len(made.videos) == 1
    assert made.notes == ['Only 1 of 3 videos are shown: the page would be too large.']
    assert build(files, 3, budget=10).videos == []


def test_without_results(files):
    content = read_annotation_file(files / 'gt.json')
    assert build_gallery(content, {}, {}, files / 'images', 8).videos == []


def test_a_missing_frame_is_named(files):
    (files / 'images/1.png').unlink()
    with pytest.raises(UserError, match='video 12, frame 1'):
        build(files)


def test_names_cannot_end_the_element_of_the_data(files):
    results = {name: files / f'{name}.json' for name in 'ab'}
    content = read_annotation_file(files / 'gt.json')
    content['categories'][0]['name'] = '</script><!--'
    titles = {'a': '<b>', 'b': '&'}
    (text,) = build_gallery(content, results, titles, files / 'images', 1).videos
    assert '<' not in text and '&' not in text
    panels = json.loads(text)['panels']
    assert [panel['title'] for panel in panels] == ['Ground truth', '<b>', '&']
    assert panels[0]['tracks'][0]['label'] == '</script><!--'
