import cv2
import numpy as np
import pytest

from tests.evaluation.content import encode
from vispropnet.visualization.grid import BAR, CAPTION, GAP
from vispropnet.visualization.palette import track_color
from vispropnet.visualization.sheets import panel_frames
from vispropnet.visualization.shown_tracks import ShownTrack

WIDTH, HEIGHT = 480, 300
TOP = BAR + CAPTION


@pytest.fixture
def panels(tmp_path):
    """Draws panels of a video of two frames of flat gray, 100 and 140."""
    for frame in range(2):
        picture = np.full((HEIGHT, WIDTH, 3), 100 + 40 * frame, np.uint8)
        cv2.imwrite(str(tmp_path / f'{frame}.png'), picture)
    video = {'id': 3, 'width': WIDTH, 'height': HEIGHT, 'file_names': ['0.png', '1.png']}
    return lambda *rows: list(panel_frames(video, rows, tmp_path, {1: 'cat'}))


def block(*frames, number=1, propagated=False, step=0):
    """A block of 100 x 100 pixels at (200, 150), moving right, in the frames with a 1."""
    rles = []
    for place, frame in enumerate(frames):
        mask = np.zeros((HEIGHT, WIDTH), bool)
        mask[150:250, 200 + place * step : 300 + place * step] = True
        rles.append(encode(mask) if frame else None)
    return ShownTrack(1, 0.9, rles, [propagated] * len(rles), number)


def test_each_frame_has_a_panel_for_each_set_of_tracks(panels):
    frames = panels(('truth', [block(1, 1)]), ('ours', [block(0, 1, number=2)]), ('none', []))
    assert [frame.shape for frame in frames] == [(TOP + HEIGHT, 3 * WIDTH + 2 * GAP, 3)] * 2
    lefts = [number * (WIDTH + GAP) for number in range(3)]
    found = [[tuple(one[TOP + 150, left + 250].tolist()) for left in lefts] for one in frames]
    assert found == [
        [track_color(1), (100, 100, 100), (100, 100, 100)],
        [track_color(1), track_color(2), (140, 140, 140)],
    ]
    titles = [frames[0][BAR:TOP, left : left + WIDTH] for left in lefts]
    assert all((title > 200).all(axis=2).sum() > 20 for title in titles)
    assert (titles[0] != titles[1]).any()
    # The bar counts the frames.
    assert (frames[0][BAR:TOP] == frames[1][BAR:TOP]).all()
    assert (frames[0][:BAR] != frames[1][:BAR]).any()


def test_bar_explains_dashes_where_there_are_some(panels):
    lengths = []
    for propagated in (False, True):
        first, _ = panels(('ours', [block(1, 1, propagated=propagated)]))
        rim = first[TOP + 150, 200:300]
        assert ((rim == 255).all(axis=1).sum() > 20) == propagated
        lengths.append(np.flatnonzero((first[:BAR] > 120).any(axis=(0, 2))).max())
    assert lengths[1] > lengths[0] + 100


def test_labels_stand_still_while_objects_move_a_little(panels):
    frames = [frame[TOP : TOP + 150] for frame in panels(('ours', [block(1, 1, step=2)]))]
    labels = frames[0] != 100, frames[1] != 140
    first, second = (np.flatnonzero(label.any(axis=(0, 2))) for label in labels)
    assert first[0] == second[0] and first[-1] == second[-1]
