import cv2
import numpy as np
import pytest
from pycocotools import mask as mask_utils

from vispropnet.errors import UserError
from vispropnet.visualization.palette import track_color
from vispropnet.visualization.panels import FOOTER, HEADER, panel_frames, panel_side
from vispropnet.visualization.shown_tracks import ShownTrack
from vispropnet.visualization.strips import GAP

WIDTH, HEIGHT = 480, 300


@pytest.fixture
def video(tmp_path):
    """Two frames of flat gray, 100 and 140."""
    for frame in range(2):
        picture = np.full((HEIGHT, WIDTH, 3), 100 + 40 * frame, np.uint8)
        cv2.imwrite(str(tmp_path / f'{frame}.png'), picture)
    return {'id': 3, 'width': WIDTH, 'height': HEIGHT, 'file_names': ['0.png', '1.png']}


def block(*frames, number=1, propagated=False):
    """A block of 100 x 100 pixels at (200, 150) in the frames with a 1."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8, order='F')
    mask[150:250, 200:300] = 1
    rle = mask_utils.encode(mask)
    rle = {'size': [HEIGHT, WIDTH], 'counts': rle['counts'].decode()}
    rles = [rle if frame else None for frame in frames]
    return ShownTrack(1, 0.9, rles, [propagated] * len(rles), number)


@pytest.mark.parametrize(
    ('size', 'panels', 'side'),
    [
        ((160, 96), 3, 480),
        ((640, 360), 3, 640),
        ((1280, 720), 3, 640),
        ((1280, 720), 2, 963),
        ((720, 1280), 2, 963),
        ((1280, 720), 1, 1280),
        ((100, 100), 1, 500),
    ],
)
def test_panels_are_large_enough_and_not_too_wide_together(size, panels, side):
    assert panel_side({'width': size[0], 'height': size[1]}, panels) == side
    assert panels * side + (panels - 1) * GAP <= 1932


def test_each_frame_has_a_panel_for_each_set_of_tracks(video, tmp_path):
    rows = [('truth', [block(1, 1)]), ('ours', [block(0, 1, number=2)]), ('none', [])]
    frames = list(panel_frames(video, rows, tmp_path, {1: 'cat'}))
    assert [frame.shape for frame in frames] == [
        (HEADER + HEIGHT + FOOTER, 3 * WIDTH + 2 * GAP, 3)
    ] * 2
    lefts = [number * (WIDTH + GAP) for number in range(3)]
    expected = [
        [track_color(1), (100, 100, 100), (100, 100, 100)],
        [track_color(1), track_color(2), (140, 140, 140)],
    ]
    for frame, colors in zip(frames, expected, strict=True):
        found = [tuple(frame[HEADER + 150, left + 250].tolist()) for left in lefts]
        assert found == colors
    titles = [frames[0][:HEADER, left : left + WIDTH] for left in lefts]
    assert all((title == 255).all(axis=2).sum() > 20 for title in titles)
    assert (titles[0] != titles[1]).any()
    assert (frames[0][:HEADER] == frames[1][:HEADER]).all()
    # The footer counts the frames.
    assert (frames[0][-FOOTER:] != frames[1][-FOOTER:]).any()


def test_footer_tells_of_dashes_where_there_are_some(video, tmp_path):
    lengths = []
    for propagated in (False, True):
        rows = [('ours', [block(1, 1, propagated=propagated)])]
        first = next(panel_frames(video, rows, tmp_path, {1: 'cat'}))
        rim = first[HEADER + 150, 200:300]
        assert ((rim == 255).all(axis=1).sum() > 20) == propagated
        lengths.append(np.flatnonzero((first[-FOOTER:] > 120).any(axis=(0, 2))).max())
    assert lengths[1] > lengths[0] + 100


def test_long_title_does_not_reach_into_the_next_panel(video, tmp_path):
    rows = [('x' * 200, []), ('', [])]
    first = next(panel_frames(video, rows, tmp_path, {}))
    assert (first[:HEADER, WIDTH + GAP :] == first[0, -1]).all()


def test_missing_frame_is_named(video, tmp_path):
    (tmp_path / '1.png').unlink()
    with pytest.raises(UserError, match=r'video 3, frame 1: .*1\.png not found'):
        list(panel_frames(video, [('ours', [])], tmp_path, {}))
