import json

import cv2
import numpy as np
import pytest

from vispropnet.errors import UserError
from vispropnet.visualization import results
from vispropnet.visualization.palette import track_color
from vispropnet.visualization.results import draw_results

H, W = 40, 60


@pytest.fixture
def files(tmp_path, monkeypatch):
    """One grey video of two frames; a sure track in the first and an unsure one in both."""
    monkeypatch.setattr(results, 'MIN_WIDTH', W)
    (tmp_path / 'images').mkdir()
    for frame in range(2):
        cv2.imwrite(str(tmp_path / f'images/{frame}.png'), np.full((H, W, 3), 128, np.uint8))
    video = dict(id=9, width=W, height=H, file_names=['0.png', '1.png'])
    truth = dict(videos=[video], categories=[dict(id=3, name='cat')])
    (tmp_path / 'truth.json').write_text(json.dumps(truth))
    # Column order: the left 20 columns, and the right 20.
    left = dict(size=[H, W], counts=[0, 20 * H, 40 * H])
    right = dict(size=[H, W], counts=[40 * H, 20 * H])
    tracks = [
        dict(video_id=9, category_id=3, score=0.9, segmentations=[left, None]),
        dict(video_id=9, category_id=3, score=0.2, segmentations=[right, right]),
    ]
    (tmp_path / 'results.json').write_text(json.dumps(tracks))
    return tmp_path


def draw(files, **options):
    out = files / 'out'
    paths = (files / name for name in ('truth.json', 'results.json', 'images'))
    assert draw_results(*paths, out, **options) == (1 + bool(options), 2)
    return [cv2.imread(str(out / f'9/0000{frame}.jpg')).astype(int) for frame in range(2)]


def test_sure_tracks_are_drawn_where_they_are(files):
    first, second = draw(files)
    color = np.array(track_color(1))
    towards = np.sign(color - 128)
    inside = first[30:36, 5:15].mean(axis=(0, 1)) - 128
    assert (inside * towards)[np.abs(color - 128) > 40].min() > 5
    assert np.abs(first[30:36, 45:55] - 128).max() < 12
    assert np.abs(second - 128).max() < 12


def test_propagated_masks_are_dashed(files):
    plain = draw(files, score_threshold=0.1)
    tracks = json.loads((files / 'results.json').read_text())
    tracks[1]['propagated'] = [False, True]
    (files / 'results.json').write_text(json.dumps(tracks))
    first, second = draw(files, score_threshold=0.1)
    assert np.abs(first - plain[0]).max() == 0
    # White dashes on the outline of the right 20 columns; JPEG blurs them.
    assert second[:, 40:42].max() > 220 > plain[1][15:, 40:42].max()


def test_threshold_lets_unsure_tracks_in(files):
    _, second = draw(files, score_threshold=0.1)
    assert np.abs(second[30:36, 45:55] - 128).max() > 20
    assert np.abs(second[30:36, 5:15] - 128).max() < 12


def test_small_frames_are_enlarged_by_a_whole_factor(files, monkeypatch):
    monkeypatch.setattr(results, 'MIN_WIDTH', 100)
    assert draw(files)[0].shape == (2 * H, 2 * W, 3)


def test_missing_frame_is_named(files):
    (files / 'images/1.png').unlink()
    with pytest.raises(UserError, match=r'video 9, frame 1: .*1\.png'):
        draw(files)
