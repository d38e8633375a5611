import cv2
import numpy as np
import pytest

from tests.visualization.blocks import encode
from vispropnet.errors import UserError
from vispropnet.visualization.grid import BAR, CAPTION, GAP
from vispropnet.visualization.palette import track_color
from vispropnet.visualization.sheets import numbered_rows, panel_frames
from vispropnet.visualization.shown_tracks import ShownTrack

WIDTH, HEIGHT = 480, 300
TOP = BAR + CAPTION


@pytest.fixture
def video(tmp_path):
    """Two frames of flat gray, 100 and 140."""
    for frame in range(2):
        picture = np.full((HEIGHT, WIDTH, 3), 100 + 40 * frame, np.uint8)
        cv2.imwrite(str(tmp_path / f'{frame}.png'), picture)
    return {'id': 3, 'width': WIDTH, 'height': HEIGHT, 'file_names': ['0.png', '1.png']}


def block(*frames, number=1, propagated=False, score=0.9):
    """A block of 100 x 100 pixels at (200, 150) in the frames with a 1."""
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[150:250, 200:300] = True
    rles = [encode(mask) if frame else None for frame in frames]
    return ShownTrack(1, score, rles, [propagated] * len(rles), number)


def test_rows_begin_with_the_truth_and_go_by_score(video):
    truth = dict(video_id=3, category_id=2, segmentations=block(1, 0).rles)
    tracks = [block(0, 1, score=0.4), block(1, 0, score=0.6)]
    for content, numbers in (
        ({'annotations': [truth]}, {'ground truth': [1], 'ours': [1, 2]}),
        ({'annotations': None}, {'ours': [1, 2]}),
        ({}, {'ours': [1, 2]}),
    ):
        for track in tracks:
            track.number = 0
        rows = numbered_rows(content, video, [('ours', tracks)])
        assert {name: [one.number for one in some] for name, some in rows} == numbers
        assert [one.score for one in rows[-1][1]] == [0.6, 0.4]
        assert [name for name, _ in rows] == list(numbers)


def test_each_frame_has_a_panel_for_each_set_of_tracks(video, tmp_path):
    rows = [('truth', [block(1, 1)]), ('ours', [block(0, 1, number=2)]), ('none', [])]
    frames = list(panel_frames(video, rows, tmp_path, {1: 'cat'}))
    assert [frame.shape for frame in frames] == [(TOP + HEIGHT, 3 * WIDTH + 2 * GAP, 3)] * 2
    lefts = [number * (WIDTH + GAP) for number in range(3)]
    expected = [
        [track_color(1), (100, 100, 100), (100, 100, 100)],
        [track_color(1), track_color(2), (140, 140, 140)],
    ]
    for frame, colors in zip(frames, expected, strict=True):
        found = [tuple(frame[TOP + 150, left + 250].tolist()) for left in lefts]
        assert found == colors
    titles = [frames[0][BAR:TOP, left : left + WIDTH] for left in lefts]
    assert all((title > 200).all(axis=2).sum() > 20 for title in titles)
    assert (titles[0] != titles[1]).any()
    assert (frames[0][BAR:TOP] == frames[1][BAR:TOP]).all()
    # The bar counts the frames.
    assert (frames[0][:BAR] != frames[1][:BAR]).any()


def test_bar_explains_dashes_where_there_are_some(video, tmp_path):
    lengths = []
    for propagated in (False, True):
        rows = [('ours', [block(1, 1, propagated=propagated)])]
        first = next(panel_frames(video, rows, tmp_path, {1: 'cat'}))
        rim = first[TOP + 150, 200:300]
        assert ((rim == 255).all(axis=1).sum() > 20) == propagated
        lengths.append(np.flatnonzero((first[:BAR] > 120).any(axis=(0, 2))).max())
    assert lengths[1] > lengths[0] + 100


def test_missing_frame_is_named(video, tmp_path):
    (tmp_path / '1.png').unlink()
    with pytest.raises(UserError, match=r'video 3, frame 1: .*1\.png not found'):
        list(panel_frames(video, [('ours', [])], tmp_path, {}))
