import json

import cv2
import numpy as np
import pytest

from tests.visualization.blocks import FRAMES, HEIGHT, WIDTH, rectangle, track
from vispropnet.errors import UserError
from vispropnet.evaluation.result_file import write_results
from vispropnet.visualization import overlay
from vispropnet.visualization.grid import GAP, STRIP
from vispropnet.visualization.palette import track_color
from vispropnet.visualization.results import contact_sheet, draw_results


def paths(files):
    return [files / name for name in ('gt.json', 'a.json', 'images')]


def change(files, **values):
    content = json.loads((files / 'gt.json').read_text())
    (files / 'gt.json').write_text(json.dumps({**content, **values}))


def test_tracks_are_drawn_on_all_frames(files, monkeypatch):
    monkeypatch.setattr(overlay, '_MIN_WIDTH', WIDTH)
    sure = track(11, 180)
    sure['segmentations'][1] = None
    write_results(files / 'a.json', [sure, track(11, 20, 0.2, propagated=[False, False, True])])

    def draw(**options):
        counts = draw_results(*paths(files), files / 'out', **options)
        pictures = [cv2.imread(str(files / f'out/11/0000{n}.jpg')) for n in range(FRAMES)]
        return counts, np.array(pictures).astype(int) - np.reshape([100, 120, 140], (3, 1, 1, 1))

    counts, pictures = draw()
    assert counts == (1, 2) and len(list((files / 'out').glob('*/*.jpg'))) == 5 * FRAMES
    towards = np.sign(np.array(track_color(1)) - 100)
    # The object is in the first frame and the third; what scores less than 0.3 is nowhere.
    inside = (pictures[:, 60:80, 190:210].mean(axis=(1, 2)) * towards)[:, [0, 2]]
    assert inside[[0, 2]].min() > 5 and np.abs(inside[1]).max() < 2
    assert np.abs(pictures[:, 60:80, 30:50]).max() < 12
    counts, all_pictures = draw(score_threshold=0.1)
    assert counts == (2, 2) and np.abs(all_pictures[1, 60:80, 30:50]).max() > 20
    # White dashes on the outline in the last frame; JPEG blurs them.
    rims = [picture[50:90, 20:22].max() + 100 + 20 * n for n, picture in enumerate(all_pictures)]
    assert max(rims[:2]) < 240 < rims[2]
    # Small frames are enlarged by a whole factor.
    monkeypatch.setattr(overlay, '_MIN_WIDTH', WIDTH + 1)
    draw()
    assert cv2.imread(str(files / 'out/11/00000.jpg')).shape == (2 * HEIGHT, 2 * WIDTH, 3)


def draw_sheet(files, **options):
    out = files / 'out' / 'sheet.png'
    assert contact_sheet(*paths(files), out, **options) == out
    assert out.read_bytes().startswith(b'\x89PNG\r\n\x1a\n')
    assert [path.name for path in out.parent.iterdir()] == ['sheet.png']
    return cv2.imread(str(out))


def cells(sheet, gray):
    """Boxes (x, y, w, h) of the areas of one gray, from top to bottom."""
    flat = (sheet == gray).all(axis=2).astype(np.uint8)
    count, _, stats, _ = cv2.connectedComponentsWithStats(flat, connectivity=4)
    found = [tuple(stats[index, :4].tolist()) for index in range(1, count)]
    return sorted((box for box in found if box[2] * box[3] > 5000), key=lambda box: box[1])


def test_rows_are_videos_with_the_truth_above_and_columns_are_frames(files):
    sheet = draw_sheet(files, videos=2, frames=2)
    first, last = cells(sheet, 100), cells(sheet, 140)
    assert len(first) == len(last) == 4 and cells(sheet, 120) == []
    assert {box[2:] for box in first + last} == {(WIDTH, HEIGHT)}
    (left,), (right,) = ({box[0] for box in column} for column in (first, last))
    assert right - left == WIDTH + GAP and sheet.shape[1] >= 640 + 40
    tops = [box[1] for box in first]
    assert tops == [box[1] for box in last]
    assert tops[1] - tops[0] == tops[3] - tops[2] == HEIGHT + GAP
    assert tops[2] - tops[1] >= HEIGHT + 30
    change(files, annotations=None)
    found = cells(draw_sheet(files, videos=2, frames=2), 100)
    # The truth's rows are not there, nor the line above about its colours.
    assert len(found) == 2 and found[0][1] == tops[0] - 22


def test_short_videos_leave_columns_empty_and_large_frames_are_shrunk(files):
    names = [f'large{frame}.png' for frame in range(FRAMES)]
    for frame, name in enumerate(names):
        cv2.imwrite(str(files / 'images' / name), np.full((500, 1000, 3), 60 + frame, np.uint8))
    large = dict(id=1, width=1000, height=500, file_names=names)
    change(files, videos=[large, {**large, 'id': 2, 'file_names': names[:1]}], annotations=[])
    sheet = draw_sheet(files)
    assert sheet.shape[1] <= 2400
    assert [len(cells(sheet, gray)) for gray in (60, 61, 62)] == [4, 2, 2]
    assert len({box[0] for box in cells(sheet, 60)}) == 1
    (width, height), *_ = {box[2:] for box in cells(sheet, 61)}
    assert 700 < width < 800 and height == pytest.approx(width / 2, abs=1)


def test_threshold_and_dashes_of_a_sheet(files):
    covered = dict(track(11, 0, 0.4), segmentations=[rectangle(0, 0, WIDTH, HEIGHT)] * FRAMES)
    write_results(files / 'a.json', [covered])
    # The first video of all, whose results cover the frame.
    assert len(cells(draw_sheet(files, videos=1), 100)) == 1
    plain = draw_sheet(files, videos=1, score_threshold=0.5)
    assert len(cells(plain, 100)) == 2
    write_results(files / 'a.json', [dict(covered, propagated=[True] * FRAMES)])
    # Dashes are explained above.
    texts = []
    for sheet in (plain, draw_sheet(files, videos=1)):
        legend = sheet[: (sheet == STRIP).all(axis=2).any(axis=1).argmax()]
        texts.append((legend > 100).any(axis=2).sum())
    assert texts[1] > texts[0] + 300


def test_a_frame_that_cannot_be_drawn_on_is_named(files):
    frame, small = files / 'images/2.png', cv2.imencode('.png', np.zeros((10, 20, 3)))[1].tobytes()
    frame.unlink()
    for content, message in (
        (None, r'video 11, frame 2: .*images/2\.png not found'),
        (b'no picture', r'video 11, frame 2: .*2\.png is not a readable'),
        (small, 'is 20 × 10, but the ann.* 240'),
    ):
        if content is not None:
            frame.write_bytes(content)
        with pytest.raises(UserError, match=message):
            draw_sheet(files)
        assert not (files / 'out/sheet.png').exists()
        with pytest.raises(UserError, match=message):
            draw_results(*paths(files), files / 'out')


def test_arguments_and_results_that_do_not_fit_are_named(files):
    for options in (dict(videos=0), dict(frames=0), dict(frames=38)):
        with pytest.raises(ValueError, match='videos and frames'):
            draw_sheet(files, **options)
    wrong = dict(track(11, 0), segmentations=[rectangle(0, 0, 9, 9, 20, 20)] * FRAMES)
    (files / 'a.json').write_text(json.dumps([wrong]))
    with pytest.raises(UserError, match=r'a\.json: result entry 0, frame 0: the mask is 20x20'):
        draw_sheet(files)
    change(files, videos=[], annotations=[])
    with pytest.raises(UserError, match=r'gt\.json: there are no videos'):
        draw_sheet(files)
