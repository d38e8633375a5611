import json

import cv2
import numpy as np
import pytest

from tests.visualization.blocks import rectangle
from vispropnet.errors import UserError
from vispropnet.visualization.contact_sheet import contact_sheet
from vispropnet.visualization.grid import STRIP

WIDTH, HEIGHT = 160, 96


def gray_of(video, frame):
    """Every frame of the data set below has one gray of its own."""
    return 80 + 50 * video + 8 * frame


@pytest.fixture
def data(tmp_path):
    """Writes videos of flat gray frames; gives the content of the annotation file."""

    def write(lengths=(5, 5), drawn=None, size=(WIDTH, HEIGHT)):
        videos = []
        for number, length in enumerate(lengths):
            names = [f'clip{number}/{frame:05d}.png' for frame in range(length)]
            video = {'id': number + 10, 'width': size[0], 'height': size[1], 'length': length}
            videos.append({**video, 'file_names': names})
            for frame in range(length) if drawn is None else drawn:
                path = tmp_path / 'images' / names[frame]
                path.parent.mkdir(parents=True, exist_ok=True)
                picture = np.full((size[1], size[0], 3), gray_of(number, frame), np.uint8)
                assert cv2.imwrite(str(path), picture)
        categories = [{'id': 3, 'name': 'star'}, {'id': 7, 'name': 'disc'}]
        return {'videos': videos, 'categories': categories}

    return write


def rle(*corners, size=(WIDTH, HEIGHT)):
    return rectangle(*corners, *size)


def track(video, masks, score=0.9, category=3, **more):
    entry = {'video_id': video + 10, 'category_id': category, 'score': score}
    return {**entry, 'segmentations': masks, **more}


def truth(video, masks, number=1, category=3):
    return {'id': number, 'video_id': video + 10, 'category_id': category, 'segmentations': masks}


def cells(sheet, gray):
    """Boxes (x, y, w, h, pixels) of the areas of one gray, from top to bottom."""
    flat = (sheet == gray).all(axis=2).astype(np.uint8)
    count, _, stats, _ = cv2.connectedComponentsWithStats(flat, connectivity=4)
    found = [tuple(int(value) for value in stats[index]) for index in range(1, count)]
    return sorted((box for box in found if box[4] > 300), key=lambda box: (box[1], box[0]))


@pytest.fixture
def sheet_of(tmp_path):
    def make(annotations, results, **options):
        (tmp_path / 'valid.json').write_text(json.dumps(annotations))
        (tmp_path / 'results.json').write_text(json.dumps(results))
        paths = (tmp_path / name for name in ('valid.json', 'results.json', 'images'))
        out = tmp_path / 'out' / 'sheet.png'
        assert contact_sheet(*paths, out, **options) == out
        assert out.read_bytes().startswith(b'\x89PNG\r\n\x1a\n')
        assert [path.name for path in out.parent.iterdir()] == ['sheet.png']
        return cv2.imread(str(out))

    return make


def test_rows_are_videos_and_columns_are_frames(data, sheet_of):
    annotations = data(lengths=(5, 5), drawn=(0, 2, 4))  # the others are not on disk
    sheet = sheet_of(annotations, [], frames=3)
    boxes = np.array([[cells(sheet, gray_of(v, f)) for f in (0, 2, 4)] for v in (0, 1)])
    assert boxes.shape == (2, 3, 1, 5)  # each planned frame once
    boxes = boxes[:, :, 0]
    assert (boxes[..., 2] == 2 * WIDTH).all()
    assert (boxes[..., 3] == 2 * HEIGHT).all()
    assert (boxes[..., 4] == 4 * WIDTH * HEIGHT).all()
    assert (boxes[0, :, 0] == boxes[1, :, 0]).all()
    assert np.diff(boxes[0, :, 0]).tolist() == [2 * WIDTH + 6] * 2
    assert (boxes[:, 0, 1] == boxes[:, 2, 1]).all()
    assert boxes[1, 0, 1] >= boxes[0, 0, 1] + 2 * HEIGHT + 30
    assert sheet.shape[1] < boxes[0, 2, 0] + 2 * WIDTH + 40


def test_video_shorter_than_the_columns_leaves_them_empty(data, sheet_of):
    annotations = data(lengths=(4, 1))
    sheet = sheet_of(annotations, [], frames=6)
    grays = [len(cells(sheet, gray_of(0, frame))) for frame in range(4)]
    assert grays == [1, 1, 1, 1]
    (alone,) = cells(sheet, gray_of(1, 0))
    assert alone[0] == cells(sheet, gray_of(0, 0))[0][0]


def test_tracks_are_shown_below_the_truth(data, sheet_of):
    annotations = data(lengths=(1, 1, 1, 1))
    annotations['annotations'] = [truth(0, [rle(80, 0, 160, 96)])]
    results = [
        track(0, [rle(0, 0, 80, 96)], score=0.29),
        track(0, [rle(80, 0, 160, 96)], score=0.3),
    ]
    sheet = sheet_of(annotations, results, videos=2)
    assert [bool(cells(sheet, gray_of(video, 0))) for video in range(4)] == [1, 0, 0, 1]
    # Of each cell the left half is free, and the right one covered.
    above, below = cells(sheet, gray_of(0, 0))
    assert above[2] == below[2] == pytest.approx(WIDTH, abs=2)
    assert above[0] == below[0] and below[1] == above[1] + 2 * HEIGHT + 6
    hidden = sheet_of(annotations, results, score_threshold=0.95)
    assert cells(hidden, gray_of(0, 0))[1][4] == 4 * WIDTH * HEIGHT
    both = sheet_of({**annotations, 'annotations': None}, results, score_threshold=0)
    assert cells(both, gray_of(0, 0)) == []


def test_legend_explains_dashes_where_there_are_some(data, sheet_of):
    annotations = data(lengths=(1,))
    plain, dashed = (
        sheet_of(annotations, [track(0, [rle(20, 20, 140, 80)], propagated=[carried])])
        for carried in (False, True)
    )
    tops = [(sheet == STRIP).all(axis=2).any(axis=1).argmax() for sheet in (plain, dashed)]
    texts = [
        (sheet[:top] > 100).any(axis=2).sum()
        for sheet, top in zip((plain, dashed), tops, strict=True)
    ]
    assert texts[1] > texts[0] + 300


@pytest.mark.parametrize(
    ('size', 'frames', 'width', 'height'),
    [
        ((32, 32), 2, 256, 256),
        ((1280, 720), 6, None, None),
        ((360, 640), 6, None, None),
        ((160, 96), 12, 160, 96),
    ],
)
def test_cells_are_wide_enough_and_the_sheet_is_not_too_wide(
    data, sheet_of, size, frames, width, height
):
    annotations = data(lengths=(frames,), size=size)
    sheet = sheet_of(annotations, [], frames=frames)
    assert sheet.shape[1] <= 2400
    (cell,) = cells(sheet, gray_of(0, 0))
    if width is None:
        assert max(cell[2:4]) > 2200 / frames
        assert cell[2] / cell[3] == pytest.approx(size[0] / size[1], rel=0.02)
    else:
        assert cell[2:4] == (width, height)


def test_missing_damaged_and_odd_frames_are_named(data, sheet_of, tmp_path):
    annotations = data(lengths=(3,))
    path = tmp_path / 'images/clip0/00002.png'
    path.unlink()
    with pytest.raises(UserError, match=r'video 10, frame 2: .*clip0/00002\.png not found'):
        sheet_of(annotations, [])
    path.write_bytes(b'no picture')
    with pytest.raises(UserError, match=r'video 10, frame 2: .*00002\.png is not a readable'):
        sheet_of(annotations, [])
    cv2.imwrite(str(path), np.zeros((10, 20, 3), np.uint8))
    with pytest.raises(UserError, match='is 20 × 10, but the annotation file says 160 × 96'):
        sheet_of(annotations, [])
    assert not (tmp_path / 'out').exists()


def test_arguments_and_results_that_do_not_fit_are_named(data, sheet_of):
    annotations = data(lengths=(2,))
    wrong = track(0, [rle(0, 0, 9, 9, size=(20, 20)), None])
    with pytest.raises(
        UserError, match=r'results\.json: result entry 0, frame 0: the mask is 20x2'
    ):
        sheet_of(annotations, [wrong])
    with pytest.raises(UserError, match=r'valid\.json has no videos to show'):
        sheet_of({'videos': [], 'categories': []}, [])
    for options in ({'videos': 0}, {'frames': 0}, {'frames': 38}):
        with pytest.raises(ValueError, match='videos and frames'):
            sheet_of(annotations, [], **options)
