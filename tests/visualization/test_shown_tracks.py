import json

import numpy as np
import pytest

from tests.evaluation.content import encode
from vispropnet.errors import UserError
from vispropnet.visualization import shown_tracks
from vispropnet.visualization.shown_tracks import ShownTrack, select_tracks, track_ious

HEIGHT, WIDTH = 8, 12
VIDEO = {'id': 4, 'width': WIDTH, 'height': HEIGHT, 'file_names': ['0.png', '1.png']}


def columns(begin, end):
    """The mask of some whole columns; None for none."""
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[:, begin:end] = True
    return encode(mask) if end > begin else None


def shown(*spans):
    """A track of columns, one span (begin, end) a frame."""
    rles = [columns(*span) for span in spans]
    return ShownTrack(1, 0.5, rles, [False] * len(rles))


def entry(video=4, score=0.9, category=1, masks=None, **more):
    masks = [columns(0, 2), None] if masks is None else masks
    return dict(video_id=video, category_id=category, score=score, segmentations=masks, **more)


def test_ious_of_whole_tracks():
    first = [shown((0, 4), (0, 4)), shown((4, 6), (0, 0))]
    second = [shown((2, 6), (0, 4)), shown((0, 0), (0, 0)), shown((4, 6), (4, 6))]
    # In columns: 2 + 4 of 6 + 4; nothing; nothing. Then 2 of 4 + 4; nothing; 2 of 2 + 2.
    expected = [[6 / 10, 0, 0], [2 / 8, 0, 2 / 4]]
    assert track_ious(first, second) == pytest.approx(np.array(expected))
    assert track_ious([], second).shape == (0, 3)
    assert track_ious(first, []).shape == (2, 0)


def test_more_tracks_than_a_byte_counts():
    """pycocotools counts the masks whose area it is asked for in 8 bits."""
    many = [shown((0, 4))] * 300
    assert track_ious(many, [shown((0, 2))]) == pytest.approx(np.full((300, 1), 1 / 2))
    # Scattered masks.
    masks = np.random.default_rng(1).random((2, 3, 4, HEIGHT, WIDTH)) < 0.5
    masks[0, 1, 2] = masks[1, 2, 1] = False
    rles = [[[encode(m) if m.any() else None for m in one] for one in some] for some in masks]
    groups = [[ShownTrack(1, None, one, [False]) for one in some] for some in rles]
    expected = [[(a & b).sum() / (a | b).sum() for b in masks[1]] for a in masks[0]]
    assert track_ious(*groups) == pytest.approx(np.array(expected))


def test_one_object_has_one_number_everywhere():
    def numbered(*groups):
        tracks = [[shown(*spans) for spans in group] for group in groups]
        shown_tracks.number_tracks(*tracks)
        return [[track.number for track in group] for group in tracks]

    # The first result follows nothing, the second object, and the first one by 3 / 8 only; the
    # second result the first object, what the first result has as well, and nothing.
    truth = [((0, 4), (0, 4)), ((6, 9), (6, 9))]
    first = [((10, 12), (10, 12)), ((6, 9), (6, 8)), ((0, 0), (0, 3))]
    second = [((0, 3), (0, 4)), ((10, 12), (10, 11)), ((4, 5), (4, 5))]
    assert numbered(truth, first, second) == [[1, 2], [3, 2, 4], [1, 3, 5]]
    # Without truth results share the numbers of each other.
    second = [truth[1], ((10, 12), (10, 12)), ((0, 4), (0, 3))]
    assert numbered([], truth, second) == [[], [1, 2], [2, 3, 1]]
    # Two tracks on one object do not share its number.
    assert numbered(truth[:1], [((0, 3), (0, 4)), truth[0]]) == [[1], [2, 1]]
    assert numbered([], [], []) == [[], [], []]


def test_tracks_of_the_videos_shown_and_at_the_threshold_are_kept():
    entries = [entry(score=0.3, masks=[None, columns(1, 3)], propagated=[False, True])]
    entries += [entry(score=0.29), entry(video=5), entry(score=0.8, category=2)]
    # Of a video that is not shown, nothing is looked at.
    entries.insert(3, entry(video=6, category=99, masks=[]))
    videos = [VIDEO, {**VIDEO, 'id': 5}, {**VIDEO, 'id': 9}]
    found = select_tracks(iter(entries), videos, 0.3, {1: 'cat', 2: 'dog'})
    scores = {key: [track.score for track in some] for key, some in found.items()}
    assert scores == {4: [0.3, 0.8], 5: [0.9], 9: []}
    assert found[4] == [
        ShownTrack(1, 0.3, [None, columns(1, 3)], [False, True], 0),
        ShownTrack(2, 0.8, [columns(0, 2), None], [False, False], 0),
    ]


def test_entries_that_do_not_fit_are_named(tmp_path):
    for wrong, message in (
        (entry(category=3), 'category_id 3 is not among the categories'),
        (entry(masks=[None]), '.* has 1 entries, but video 4 has 2 frames'),
        (entry(propagated=[True]), "'propagated' has 1 entries"),
        (entry(propagated=3), "'propagated' must be a list, found 3"),
        (entry(propagated=True), "'propagated' must be a list, found true"),
    ):
        with pytest.raises(UserError, match='file x: result entry 1: ' + message):
            select_tracks([entry(), wrong], [VIDEO], 0.3, {1: 'cat'}, 'file x: ')
    path = tmp_path / 'results.json'
    path.write_text(json.dumps([entry(), {'video_id': 4}]))
    entries = shown_tracks.sound_entries(path)
    assert next(entries) == entry()
    with pytest.raises(UserError, match=r"results\.json: entry 1 has no 'category_id'"):
        next(entries)


def test_true_tracks_of_a_video():
    first, second = [columns(0, 2), None], [None, columns(3, 5)]
    annotations = [entry(category=2, masks=first), entry(5, masks=second), entry(masks=second)]
    assert shown_tracks.true_tracks({'annotations': annotations}, VIDEO) == [
        ShownTrack(category, None, masks, [False, False], 0)
        for category, masks in ((2, first), (1, second))
    ]
