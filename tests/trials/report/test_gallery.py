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
from vispropnet.trials.report.gallery import Detail, build_gallery, most_different, video_score
from vispropnet.visualization.palette import track_color
from vispropnet.visualization.shown_tracks import ShownTrack


@pytest.fixture
def build(tmp_path):
    """Builds the gallery of the two methods, and gives it with its videos read."""
    write_files(tmp_path)

    def build(count=2, names='ab', titles=('First', 'Second'), category='cat', **options):
        results = {name: tmp_path / f'{name}.json' for name in names}
        titles = dict(zip('ab', titles, strict=True))
        content = read_annotation_file(tmp_path / 'gt.json')
        content['categories'][0]['name'] = category
        made = build_gallery(content, results, titles, tmp_path / 'images', count, **options)
        return made, list(map(json.loads, made.videos))

    return build


def test_what_a_video_holds(build):
    made, (video, other) = build()
    assert made.notes == [] and (video['name'], other['name']) == ('Video 12', 'Video 11')
    assert [video[key] for key in ('width', 'height', 'numbers')] == [WIDTH, HEIGHT, [1, 2, 3]]
    for frame, text in enumerate(video['frames']):
        picture = cv2.imdecode(np.frombuffer(base64.b64decode(text), np.uint8), cv2.IMREAD_COLOR)
        assert picture.shape == (HEIGHT, WIDTH, 3)
        assert picture.mean() == pytest.approx(100 + 20 * frame, abs=1)
    truth, first, second = video['panels']
    assert [one['title'] for one in video['panels']] == ['Ground truth', 'First', 'Second']
    assert (truth['score'], first['score']) == (None, round(35 / 45 / 2, 3))
    # The second object has number 2 in the first method; the track beside it is the same in both.
    numbers = [[track['number'] for track in one['tracks']] for one in video['panels']]
    assert numbers == [[1, 2], [2, 3], [1, 3]]
    for track in (track for panel in video['panels'] for track in panel['tracks']):
        assert track['color'] == list(track_color(track['number'])[::-1])
    assert truth['tracks'][0]['masks'] == [block(20)['counts']] * FRAMES
    assert [track['carried'] for track in second['tracks']] == [[1] * FRAMES, [0] * FRAMES]
    left = dict(number=3, label='cat', score=0.8, carried=[0] * FRAMES)
    assert first['tracks'][1].items() >= left.items()
    # Names cannot end the element of the data.
    made, (video,) = build(1, titles=('<b>', '&'), category='</script><!--')
    assert '<' not in made.videos[0] and '&' not in made.videos[0]
    assert [panel['title'] for panel in video['panels']] == ['Ground truth', '<b>', '&']
    assert video['panels'][0]['tracks'][0]['label'] == '</script><!--'


def test_smaller_masks_have_the_middle_of_each_pixel_and_do_not_vanish():
    def scaled(mask, width, height):
        counts = gallery.scaled_counts(mask_utils.encode(np.asfortranarray(mask)), width, height)
        return mask_utils.decode({'size': [height, width], 'counts': counts}).tolist()

    mask = (np.random.default_rng(0).random((8, 12)) < 0.5).astype(np.uint8)
    expected = [[int(mask[2 * y + 1][2 * x + 1]) for x in range(6)] for y in range(4)]
    assert scaled(mask, 6, 4) == expected
    mask = np.zeros((8, 12), np.uint8)
    assert scaled(mask, 3, 2) == [[0, 0, 0], [0, 0, 0]]
    mask[3, 5] = 1
    assert scaled(mask, 3, 2) == [[0, 1, 0], [0, 0, 0]]


def test_within_the_budget_with_fewer_and_smaller_frames(build, monkeypatch):
    budget = sum(map(len, build()[0].videos)) - 1
    monkeypatch.setattr(gallery, 'DETAILS', (Detail(None, 240, 80), Detail(2, 120, 80)))
    assert build(budget=budget + 1)[1][0]['numbers'] == [1, 2, 3]
    made, videos = build(budget=budget)
    assert len(videos) == 2 and sum(map(len, made.videos)) <= budget
    assert [videos[0][key] for key in ('width', 'height', 'numbers')] == [120, 48, [1, 3]]
    frames, pixels = made.notes
    assert '2 frames' in frames and '120 pixels' in pixels


def test_within_the_budget_with_fewer_videos_that_are_whole(build, tmp_path):
    made, (_,) = build(3, budget=len(build(1)[0].videos[0]))
    assert made.notes == ['Only 1 of 3 videos are shown: the page would be too large.']
    assert build(3, budget=10)[1] == [] == build(8, names='')[1]
    (tmp_path / 'images/1.png').unlink()
    with pytest.raises(UserError, match='video 12, frame 1'):
        build()


def test_scores_are_of_objects_that_are_no_crowds(tmp_path):
    write_files(tmp_path)
    content = read_annotation_file(tmp_path / 'gt.json')
    scores = gallery.score_videos(content, {name: tmp_path / f'{name}.json' for name in 'ab'})
    # Squares of 40 pixels: one that is off by 5 has an IoU of 35 / 45, by 2 of 38 / 42. The second
    # track of each method finds nothing; that of video 13 scores too low to count.
    for name, iou in dict(a=35 / 45, b=38 / 42).items():
        assert scores[name] == pytest.approx([0, iou / 2, 0, 0, 0])
    assert most_different(scores, 2) == [1, 0]
    # The largest gap first and then the worst; of one trial its worst.
    scores = dict(a=[0.5, 0.25, 1.0, 0.75], b=[0.75, 0.5, 0.25, 0.75], c=[0.5, 0.25, 0.5, 0.75])
    assert most_different(scores, 9) == [2, 1, 0, 3]
    assert most_different({'a': [0.5, 0.25, 1.0]}, 2) == [1, 0]
    content['annotations'][0]['iscrowd'] = 1
    assert len(gallery.true_tracks_of(content, content['videos'])[11]) == 1
    with pytest.raises(UserError, match="no 'annotations'"):
        gallery.true_tracks_of({**content, 'annotations': None}, content['videos'])


def test_missed_objects_and_superfluous_tracks_lower_the_score_of_a_video():
    def tracks(*places):
        return [ShownTrack(1, 0.9, [block(x)] * FRAMES, [False] * FRAMES) for x in places]

    some = ([20, 160], [20], 0.5), ([20], [20, 20, 160, 90], 0.25), ([20, 160], [160, 20], 1)
    for truth, found, score in (*some, ([], [], 1), ([], [20], 0), ([20], [], 0)):
        assert video_score(tracks(*truth), tracks(*found)) == score
