import json

import cv2
import numpy as np
import pytest

from tests.visualization.blocks import rectangle
from vispropnet.errors import UserError
from vispropnet.visualization.contact_sheet import contact_sheet
from vispropnet.visualization.palette import track_color

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


def has_color(picture, color, tolerance=2):
    return int((np.abs(picture.astype(int) - color).max(axis=2) <= tolerance).sum())


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


def test_videos_are_picked_evenly_and_the_same_each_time(data, sheet_of):
    annotations = data(lengths=(1, 1, 1, 1))
    first = sheet_of(annotations, [], videos=2)
    shown = [bool(cells(first, gray_of(video, 0))) for video in range(4)]
    assert shown == [True, False, False, True]
    assert (sheet_of(annotations, [], videos=2) == first).all()


def test_video_shorter_than_the_columns_leaves_them_empty(data, sheet_of):
    annotations = data(lengths=(4, 1))
    sheet = sheet_of(annotations, [], frames=6)
    grays = [len(cells(sheet, gray_of(0, frame))) for frame in range(4)]
    assert grays == [1, 1, 1, 1]
    (alone,) = cells(sheet, gray_of(1, 0))
    assert alone[0] == cells(sheet, gray_of(0, 0))[0][0]


def test_score_threshold_hides_a_track(data, sheet_of):
    annotations = data(lengths=(1,))
    results = [
        track(0, [rle(0, 0, 80, 96)], score=0.29),
        track(0, [rle(80, 0, 160, 96)], score=0.3),
    ]
    (cell,) = cells(sheet_of(annotations, results), gray_of(0, 0))
    assert cell[2] == pytest.approx(WIDTH, abs=2)  # the left half is free, the right one covered
    hidden = sheet_of(annotations, results, score_threshold=0.95)
    assert cells(hidden, gray_of(0, 0))[0][4] == 4 * WIDTH * HEIGHT
    both = sheet_of(annotations, results, score_threshold=0)
    assert cells(both, gray_of(0, 0)) == []


def test_null_masks_draw_nothing_and_numbers_follow_the_score(data, sheet_of):
    annotations = data(lengths=(2,))
    results = [
        track(0, [None, rle(20, 20, 60, 60)], score=0.5),
        track(0, [rle(20, 20, 60, 60), None], score=0.8),
        track(1, [rle(0, 0, 160, 96)] * 2, score=0.9),  # of a video that is not in the file
    ]
    sheet = sheet_of(annotations, results)
    left, right = cells(sheet, gray_of(0, 0))[0], cells(sheet, gray_of(0, 1))[0]
    for box, number in ((left, 1), (right, 2)):
        picture = sheet[box[1] : box[1] + 2 * HEIGHT, box[0] : box[0] + 2 * WIDTH]
        assert has_color(picture, track_color(number)) > 100
        assert has_color(picture, track_color(3 - number)) == 0


def test_truth_row_stands_above_and_matched_results_take_its_colours(data, sheet_of):
    annotations = data(lengths=(2, 2))
    uncompressed = {'size': [HEIGHT, WIDTH], 'counts': [100 * HEIGHT, 40 * HEIGHT, 20 * HEIGHT]}
    annotations['annotations'] = [
        truth(0, [rle(10, 40, 50, 80), None]),
        truth(0, [rle(100, 40, 140, 80), uncompressed], 2),
    ]
    results = [
        track(0, [rle(102, 40, 142, 80)] * 2, score=0.9),  # follows the second
        track(0, [rle(30, 10, 70, 30)] * 2, score=0.8),  # follows none
        track(0, [rle(10, 40, 50, 80), rle(0, 0, 160, 30)], score=0.7),  # the first, at IoU < 0.5
    ]
    sheet = sheet_of(annotations, results)
    above, below = cells(sheet, gray_of(0, 0))
    assert above[0] == below[0]
    assert below[1] == above[1] + 2 * HEIGHT + 6
    assert len(cells(sheet, gray_of(1, 0))) == 2
    top, bottom = (
        sheet[box[1] : box[1] + 2 * HEIGHT, box[0] : box[0] + 2 * WIDTH] for box in (above, below)
    )
    assert [has_color(top, track_color(number)) > 50 for number in (1, 2, 3, 4)] == [1, 1, 0, 0]
    assert [has_color(bottom, track_color(number)) > 50 for number in (1, 2, 3, 4)] == [0, 1, 1, 1]
    assert has_color(bottom[:, 2 * WIDTH // 2 + 20 :], track_color(2)) > 50


def test_validation_file_without_annotations_has_no_truth_rows(data, sheet_of):
    annotations = data(lengths=(1,))
    annotations['annotations'] = None
    assert len(cells(sheet_of(annotations, []), gray_of(0, 0))) == 1


def test_propagated_masks_are_dashed(data, sheet_of):
    annotations = data(lengths=(2,))
    masks = [rle(20, 20, 140, 80)] * 2
    plain = sheet_of(annotations, [track(0, masks)])
    sheet = sheet_of(annotations, [track(0, masks, propagated=[False, True])])
    (x, y, *_) = cells(sheet, gray_of(0, 0))[0]
    other = cells(sheet, gray_of(0, 1))[0][0]
    rim = slice(y + 2 * 45, y + 2 * 70)  # away from the label
    assert has_color(plain[rim, x:], (255, 255, 255)) == 0
    assert has_color(sheet[rim, x : x + 2 * WIDTH], (255, 255, 255)) == 0
    assert has_color(sheet[rim, other : other + 2 * WIDTH], (255, 255, 255)) > 20


@pytest.mark.parametrize(
    ('size', 'frames', 'width', 'height'),
    [
        ((160, 96), 6, 320, 192),
        ((32, 32), 2, 256, 256),
        ((640, 360), 3, 640, 360),
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


def test_object_lost_by_shrinking_is_still_shown(data, sheet_of):
    annotations = data(lengths=(6,), size=(1280, 720))
    tiny = rle(200, 300, 201, 301, size=(1280, 720))
    sheet = sheet_of(annotations, [track(0, [tiny] * 6)])
    (cell,) = cells(sheet, gray_of(0, 0))
    full = cell[2] * cell[3]
    assert cell[4] <= full - 1
    assert (
        (sheet[cell[1] : cell[1] + cell[3], cell[0] : cell[0] + cell[2]] == track_color(1))
        .all(axis=2)
        .any()
    )


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
