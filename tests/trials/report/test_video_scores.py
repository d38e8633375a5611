import json

import pytest

from tests.visualization.blocks import FRAMES, block, write_files
from vispropnet.datasets.annotation_file import read_annotation_file
from vispropnet.errors import UserError
from vispropnet.trials.report.video_scores import (
    most_different,
    score_videos,
    true_tracks_of,
    video_score,
)
from vispropnet.visualization.shown_tracks import ShownTrack


def test_scores_of_the_videos(tmp_path):
    write_files(tmp_path)
    content = read_annotation_file(tmp_path / 'gt.json')
    scores = score_videos(content, {name: tmp_path / f'{name}.json' for name in 'ab'})
    # Squares of 40 pixels: one that is off by 5 has an IoU of 35 / 45, by 2 of 38 / 42. The second
    # track of each method finds nothing; that of video 13 scores too low to count.
    assert scores['a'] == pytest.approx([0, 35 / 45 / 2, 0, 0, 0])
    assert scores['b'] == pytest.approx([0, 38 / 42 / 2, 0, 0, 0])
    assert most_different(scores, 2) == [1, 0]


@pytest.mark.parametrize(
    ('truth', 'tracks', 'score'),
    [
        # Missed objects and superfluous tracks lower it.
        ([20, 160], [20], 0.5),
        ([20], [20, 20, 160, 90], 0.25),
        ([20, 160], [160, 20], 1),
        ([], [], 1),
        ([], [20], 0),
        ([20], [], 0),
    ],
)
def test_the_score_of_a_video(truth, tracks, score):
    truth, tracks = (
        [ShownTrack(1, 0.9, [block(x)] * FRAMES, [False] * FRAMES) for x in places]
        for places in (truth, tracks)
    )
    assert video_score(truth, tracks) == score


def test_largest_gap_first_and_then_the_worst():
    scores = dict(a=[0.5, 0.25, 1.0, 0.75], b=[0.75, 0.5, 0.25, 0.75], c=[0.5, 0.25, 0.5, 0.75])
    assert most_different(scores, 9) == [2, 1, 0, 3]
    assert most_different({'a': [0.5, 0.25, 1.0]}, 2) == [1, 0]  # one trial: its worst


def test_crowds_are_no_objects(tmp_path):
    write_files(tmp_path)
    content = json.loads((tmp_path / 'gt.json').read_text())
    content['annotations'][0]['iscrowd'] = 1
    (video,) = [one for one in content['videos'] if one['id'] == 11]
    assert len(true_tracks_of(content, [video])[11]) == 1
    with pytest.raises(UserError, match="no 'annotations'"):
        true_tracks_of({**content, 'annotations': None}, [video])
