import json
import sys
import tracemalloc

import av
import cv2
import numpy as np
import pytest

from tests.videos import read_video
from tests.visualization.blocks import FRAMES, HEIGHT, WIDTH, block, track
from vispropnet.errors import UserError
from vispropnet.evaluation.result_file import write_results
from vispropnet.fileio import write_json
from vispropnet.visualization import side_by_side
from vispropnet.visualization.grid import BAR, CAPTION
from vispropnet.visualization.palette import track_color
from vispropnet.visualization.side_by_side import Selection, show_results

TOP = BAR + CAPTION
WORST = dict(selection=Selection(worst='w.json'))


def show(files, *results, **options):
    results = [files / name for name in results or ('a.json', 'b.json')]
    out = files / 'out'
    return show_results(files / 'gt.json', results, files / 'images', out, **options)


def rows_of(path):
    """The numbers whose colours stand in the outlines of each row, from left to right."""
    sheet = cv2.imread(str(path))
    grays = [(sheet == 100 + 20 * frame).all(axis=2) for frame in range(FRAMES)]
    used = np.flatnonzero(grays[0].sum(axis=1) > 20)
    tops = [int(used[0]), *(int(y) for y in used[1:][np.diff(used) > 1])]
    left = np.flatnonzero(grays[0].any(axis=0))[0]
    found = []
    for top in tops:
        line = sheet[top + 70, left : left + WIDTH].astype(int)
        same = {n: (np.abs(line - track_color(n)) <= 1).all(axis=1) for n in range(1, 7)}
        starts = {number: some.argmax() for number, some in same.items() if some.any()}
        found.append(sorted(starts, key=starts.get))
    return found


def test_rows_are_truth_and_methods_and_an_object_has_one_colour(files):
    def rows(*results, **options):
        (path,) = show(files, *results, selection=Selection(ids=['12'], **options))
        assert path == files / 'out/12.png'
        assert [one.name for one in (files / 'out').iterdir()] == ['12.png']
        return rows_of(path)

    assert rows() == [[1, 2], [3, 2], [1, 3]]
    write_results(files / 'empty.json', [])
    assert rows('a.json', 'empty.json', score_threshold=0.85) == [[1, 2], [2], []]
    # Without truth, numbered by falling score.
    content = json.loads((files / 'gt.json').read_text())
    (files / 'gt.json').write_text(json.dumps({**content, 'annotations': None}))
    write_results(files / 'a.json', [track(12, 90, 0.8), track(12, 165)])
    assert rows('a.json') == [[2, 1]]
    assert rows() == [[2, 1], [3, 2]]


def test_videos_are_selected(files):
    worst = [dict(video_id=number, gain=0.1) for number in (13, 15, 12)]
    (files / 'worst.json').write_text(json.dumps(worst))
    for selection, names in (
        (Selection(), ['11', '12', '13', '14', '15']),
        (Selection(videos=3), ['11', '13', '15']),
        (Selection(videos=1), ['11']),
        (Selection(ids=['14', '12', '14']), ['14', '12']),
        (Selection(videos=2, worst=files / 'worst.json'), ['13', '15']),
        (Selection(worst=files / 'worst.json'), ['13', '15', '12']),
    ):
        assert [path.stem for path in show(files, selection=selection)] == names


def test_videos_have_all_frames_and_panels(files):
    paths = show(files, selection=Selection(ids=['12'], frames=1), mp4=True, fps=5)
    assert paths == [files / 'out/12.png', files / 'out/12.mp4']
    assert sorted((files / 'out').iterdir()) == sorted(paths)
    assert cv2.VideoCapture(str(paths[1])).get(cv2.CAP_PROP_FPS) == pytest.approx(5)
    frames = read_video(paths[1])
    # Enlarged twice; three panels and two gaps of 6.
    shape = (TOP + 2 * HEIGHT, 3 * 2 * WIDTH + 12, 3)
    assert [frame.shape for frame in frames] == [shape] * FRAMES
    assert abs(frames[2][TOP + 4 : TOP + 20, 4:40].mean() - 140) < 4
    # Blue against yellow: the second object is in the truth and in A, not in B.
    fills = [frames[0][TOP + 150, panel * 486 + 370].astype(int) for panel in range(3)]
    assert [fill[0] - fill[2] > 40 for fill in fills] == [True, True, False]


def test_frames_are_shown_at_their_times(files):
    def write(times):
        content = json.loads((files / 'gt.json').read_text())
        for video in content['videos']:
            video['timestamps'] = times
        write_json(files / 'gt.json', content)

    def shown_at(**options):
        paths = show(files, selection=Selection(ids=['12']), mp4=True, **options)
        with av.open(str(paths[1])) as clip:
            return [frame.time for frame in clip.decode(video=0)]

    uneven = [0.5 + 0.1 * number**2 for number in range(FRAMES)]
    write(uneven)
    assert shown_at() == pytest.approx([one - 0.5 for one in uneven], abs=1e-4)
    assert shown_at(fps=4) == pytest.approx([number / 4 for number in range(FRAMES)])
    for bad in ('soon', uneven[1:], uneven[::-1], [*uneven[:-1], None], [0.0] * FRAMES):
        write(bad)
        words = f'gt.json: timestamps of video 12 must be {FRAMES} rising numbers'
        with pytest.raises(UserError, match=words):
            shown_at()
        assert len(shown_at(fps=4)) == FRAMES
    write(None)
    assert shown_at() == pytest.approx([number / 6 for number in range(FRAMES)], abs=1e-4)


def test_missing_and_broken_frames(files):
    wanted = dict(selection=Selection(ids=['12'], frames=2), mp4=True)
    (files / 'images/1.png').unlink()
    # Of frames that are picked evenly, only those are read.
    (path,) = show(files, selection=Selection(videos=1, frames=2))
    sheet = cv2.imread(str(path))
    assert (sheet == 100).all(axis=2).any() and (sheet == 140).all(axis=2).any()
    path.unlink()
    with pytest.raises(UserError, match=r'video 11, frame 1: .*1\.png not found'):
        show(files, selection=Selection(videos=1))
    with pytest.raises(UserError, match=r'frame 1: .*1\.png not found'):
        show(files, **wanted)
    assert not list((files / 'out').glob('*'))  # a missing one is found before the work
    (files / 'images/1.png').write_bytes(b'no picture')
    with pytest.raises(UserError, match=r'frame 1: .*1\.png is not a readable picture'):
        show(files, **wanted)
    assert [one.name for one in (files / 'out').iterdir()] == ['12.png']


def test_rows_are_called_as_files_or_as_given(files, monkeypatch):
    seen = []
    monkeypatch.setattr(side_by_side, 'write_sheet', lambda *given: seen.extend(given[2][0][1]))
    for names in (None, ['first method', 'second']):
        show(files, names=names, selection=Selection(videos=1))
    truth = 'ground truth'
    assert [name for name, _ in seen] == [truth, 'a', 'b', truth, 'first method', 'second']


def test_tracks_of_videos_that_are_not_shown_are_let_go_of(files):
    """Reading holds fewer than half of what the file holds at a time."""
    noise = [block(n) for n in range(200)]
    others = [dict(track(15, 0), segmentations=noise)] * 120
    write_results(files / 'a.json', [track(12, 165), *others])
    size = sum(sys.getsizeof(mask['counts']) + 300 for mask in noise) * len(others)
    tracemalloc.start()
    show(files, 'a.json', selection=Selection(ids=['12'], frames=1))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < size / 2


@pytest.mark.parametrize(
    ('change', 'options', 'message'),
    [
        ({}, dict(names=['x']), r'1 names are given for 2 result files: x\.'),
        ({}, dict(selection=Selection(ids=['12', '99'])), 'video 99 is not in .*gt.json, which'),
        ({'images': None}, {}, 'folder of images not found: .*images'),
        ({'b.json': None}, {}, 'result file not found: .*b.json'),
        ({'b.json': '[{'}, {}, 'result file .*b.json is not valid JSON'),
        ({'gt.json': '{"videos": [], "categories": []}'}, {}, 'gt.json: there are no videos'),
        ({'b.json': json.dumps([track(1, 0)])}, {}, r'b\.json has no video in common with .*gt\.'),
        ({'out/11.png/x': ''}, {}, r'cannot write .*11\.png: it is a folder'),
        ({'out': ''}, {}, 'cannot make the folder of .*: File exists'),
        ({}, WORST, 'list of worst videos not found: w.json'),
        ({'w.json': '{}'}, WORST, 'w.json must be a list of'),
        ({'w.json': '[]'}, WORST, 'w.json is empty'),
        ({'w.json': '[{"video_id": 7}]'}, WORST, 'of worst videos w.json: video 7 is not in .*gt.'),
    ],
)
def test_what_does_not_fit_is_named(files, monkeypatch, change, options, message):
    monkeypatch.chdir(files)
    for name, text in change.items():
        if text is None:
            (files / name).rename(files / 'away')
        else:
            (files / name).parent.mkdir(parents=True, exist_ok=True)
            (files / name).write_text(text)
    with pytest.raises(UserError, match=message):
        show(files, **options)
    assert not list(files.glob('out/*.png')) or 'out/11.png/x' in change
