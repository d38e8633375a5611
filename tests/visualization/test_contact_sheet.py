import json

import cv2
import numpy as np
import pytest

from tests.visualization.blocks import FRAMES, HEIGHT, WIDTH, rectangle, track, write_files
from vispropnet.errors import UserError
from vispropnet.evaluation.result_file import write_results
from vispropnet.visualization.grid import GAP, STRIP
from vispropnet.visualization.results import contact_sheet


@pytest.fixture
def files(tmp_path):
    """Five videos of three frames (gray 100, 120, 140), of which the second has good results."""
    write_files(tmp_path)
    return tmp_path


def draw(files, **options):
    out = files / 'out' / 'sheet.png'
    paths = (files / name for name in ('gt.json', 'a.json', 'images'))
    assert contact_sheet(*paths, out, **options) == out
    assert out.read_bytes().startswith(b'\x89PNG\r\n\x1a\n')
    assert [path.name for path in out.parent.iterdir()] == ['sheet.png']
    return cv2.imread(str(out))


def change(files, **values):
    content = json.loads((files / 'gt.json').read_text())
    (files / 'gt.json').write_text(json.dumps({**content, **values}))
    return content


def cells(sheet, gray):
    """Boxes (x, y, w, h) of the areas of one gray, from top to bottom."""
    flat = (sheet == gray).all(axis=2).astype(np.uint8)
    count, _, stats, _ = cv2.connectedComponentsWithStats(flat, connectivity=4)
    found = [tuple(stats[index, :4].tolist()) for index in range(1, count)]
    return sorted((box for box in found if box[2] * box[3] > 5000), key=lambda box: box[1])


def test_rows_are_videos_with_the_truth_above_and_columns_are_frames(files):
    sheet = draw(files, videos=2, frames=2)
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
    assert len(cells(draw(files, videos=2), 100)) == 2


def test_short_videos_leave_columns_empty_and_large_frames_are_shrunk(files):
    (files / 'images/large').mkdir()
    for frame in range(FRAMES):
        picture = np.full((500, 1000, 3), 60 + frame, np.uint8)
        cv2.imwrite(str(files / f'images/large/{frame}.png'), picture)
    names = [f'large/{frame}.png' for frame in range(FRAMES)]
    large = dict(id=1, width=1000, height=500, file_names=names)
    short = dict(id=2, width=1000, height=500, file_names=names[:1])
    change(files, videos=[large, short], annotations=[])
    sheet = draw(files)
    assert sheet.shape[1] <= 2400
    assert [len(cells(sheet, gray)) for gray in (60, 61, 62)] == [4, 2, 2]
    assert len({box[0] for box in cells(sheet, 60)}) == 1
    (width, height), *_ = {box[2:] for box in cells(sheet, 61)}
    assert 700 < width < 800 and height == pytest.approx(width / 2, abs=1)


def test_videos_threshold_and_dashes(files):
    whole = rectangle(0, 0, WIDTH, HEIGHT)
    covered = dict(track(11, 0, 0.4), segmentations=[whole] * FRAMES)
    write_results(files / 'a.json', [covered])
    # The first video of all, whose results cover the frame.
    assert len(cells(draw(files, videos=1), 100)) == 1
    plain = draw(files, videos=1, score_threshold=0.5)
    assert len(cells(plain, 100)) == 2
    write_results(files / 'a.json', [dict(covered, propagated=[True] * FRAMES)])
    legends = [
        sheet[: (sheet == STRIP).all(axis=2).any(axis=1).argmax()]
        for sheet in (plain, draw(files, videos=1))
    ]
    texts = [(legend > 100).any(axis=2).sum() for legend in legends]
    assert texts[1] > texts[0] + 300


def test_frames_that_are_missing_damaged_or_of_another_size_are_named(files):
    path = files / 'images/2.png'
    path.unlink()
    with pytest.raises(UserError, match=r'video 11, frame 2: .*images/2\.png not found'):
        draw(files)
    path.write_bytes(b'no picture')
    with pytest.raises(UserError, match=r'video 11, frame 2: .*2\.png is not a readable'):
        draw(files)
    cv2.imwrite(str(path), np.zeros((10, 20, 3), np.uint8))
    with pytest.raises(UserError, match='is 20 × 10, but the annotation file says 240 × 96'):
        draw(files)
    assert not (files / 'out').exists()


def test_arguments_and_results_that_do_not_fit_are_named(files):
    for options in ({'videos': 0}, {'frames': 0}, {'frames': 38}):
        with pytest.raises(ValueError, match='videos and frames'):
            draw(files, **options)
    wrong = dict(track(11, 0), segmentations=[rectangle(0, 0, 9, 9, 20, 20)] * FRAMES)
    (files / 'a.json').write_text(json.dumps([wrong]))
    with pytest.raises(UserError, match=r'a\.json: result entry 0, frame 0: the mask is 20x20'):
        draw(files)
    change(files, videos=[], annotations=[])
    with pytest.raises(UserError, match=r'gt\.json: there are no videos'):
        draw(files)
