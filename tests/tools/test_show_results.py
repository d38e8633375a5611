import json

import cv2
import pytest
import show_results

from tests.visualization.blocks import FRAMES, write_files
from vispropnet.visualization.sheets import MAX_FRAMES

TWO = ('gt.json', 'a.json', 'b.json', '--images', 'images')


@pytest.fixture
def show(tool, tmp_path, monkeypatch):
    """Runs the tool in a folder with a data set: exit status, stdout, stderr."""
    write_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tool


def test_writes_a_picture_of_each_video_or_of_the_worst(show, tmp_path):
    status, out, err = show(*TWO)
    names = [f'work_dirs/show_results/{number}.png' for number in range(11, 16)]
    assert (status, out.splitlines()) == (0, names)
    assert 'drawing: 100%' in err
    assert all(cv2.imread(str(tmp_path / name)) is not None for name in names)
    assert show(*TWO, '--videos', 1)[1].split() == names[:1]
    worst = [dict(video_id=one) for one in (14, 12, 11)]
    (tmp_path / 'worst.json').write_text(json.dumps(worst))
    # Of one result.
    status, out, _ = show(*TWO[:2], *TWO[3:], '--videos', 2, '--worst', 'worst.json')
    assert (status, out.split()) == (0, [names[3], names[1]])


def test_the_ground_truth_alone(show, tmp_path):
    status, out, _ = show(TWO[0], *TWO[3:], '--video', 12)
    assert (status, out) == (0, 'work_dirs/show_results/12.png\n')
    alone = cv2.imread(str(tmp_path / out.strip()))
    show(*TWO[:2], *TWO[3:], '--video', 12)
    beside = cv2.imread(str(tmp_path / out.strip()))
    # A row less.
    assert alone.shape[1] == beside.shape[1] and alone.shape[0] < beside.shape[0]


def test_options_are_heeded(show, tmp_path):
    options = ('--out', 'o', '--frames', 2, '--score-thr', 0.85, '--names', 'A', 'B')
    status, out, _ = show(*TWO, '--video', 12, *options, '--mp4', '--fps', 4)
    assert (status, out) == (0, 'o/12.png\no/12.mp4\n')
    capture = cv2.VideoCapture(str(tmp_path / 'o/12.mp4'))
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(4)
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == FRAMES
    plain = (tmp_path / 'o/12.png').read_bytes()
    for changed in ([], ['--frames', 2], options[2:6], options[2:]):
        assert show(*TWO, '--video', 12, '--out', 'o', *changed)[0] == 0
        same = (tmp_path / 'o/12.png').read_bytes() == plain
        assert same == (changed == options[2:])


def test_wrong_options_give_one_message(show, tmp_path):
    before = sorted(tmp_path.iterdir())
    for options, message in (
        (['--videos', 0], '--videos must be 1 or more, got 0.'),
        (['--frames', 0], '--frames must be within 1 .. 37, got 0.'),
        (['--frames', 38], '--frames must be within 1 .. 37, got 38.'),
        (['--score-thr', 2], '--score-thr must be within [0, 1], got 2.0.'),
        (['--score-thr', 'nan'], '--score-thr must be within [0, 1], got nan.'),
        (['--fps', 0], '--fps must be within 0.1 .. 240, got 0.0.'),
        (['--video', 12, '--worst', 'w'], '--video names the videos to show: it does not go'),
        (['--out', 'gt.json'], 'cannot make the folder of gt.json/11.png: '),
        (['--out', 'images'], 'cannot write into images: it holds the frames; give another'),
    ):
        status, out, err = show(*TWO, *options)
        assert (status, out) == (2, '')
        assert err.startswith('error: ' + message) and len(err.splitlines()) == 1
    assert sorted(tmp_path.iterdir()) == before
    status, _, err = show(*TWO, '--video', 11, '--videos', 2)
    assert status == 2 and 'not allowed with' in err
    assert show_results.MOST_FRAMES == MAX_FRAMES
