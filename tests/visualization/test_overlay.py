import itertools

import numpy as np
import pytest

from vispropnet.visualization import overlay
from vispropnet.visualization.overlay import draw_instances, draw_text, place_labels, text_size
from vispropnet.visualization.palette import track_color

NAMES = ['star', 'disc']


def gray_image(height, width, value=100):
    return np.full((height, width, 3), value, np.uint8)


def boxes_to_masks(boxes, height, width):
    masks = np.zeros((len(boxes), height, width), bool)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
        mask[y0:y1, x0:x1] = True
    return masks


@pytest.fixture
def no_labels(monkeypatch):
    monkeypatch.setattr(overlay, '_draw_labels', lambda *arguments: None)


def test_changes_exactly_the_pixels_of_the_masks(no_labels):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (90, 120, 3), dtype=np.uint8)
    before = image.copy()
    masks = boxes_to_masks([(0, 0, 40, 30), (60, 40, 100, 80), (119, 89, 120, 90)], 90, 120)
    masks[1] &= rng.random((90, 120)) < 0.7
    drawn = draw_instances(image, masks, [1, 2, 3], [0, 1, 0], [0.9, 0.8, 0.7], NAMES)
    inside = masks.any(axis=0)
    assert (drawn[~inside] == image[~inside]).all()
    assert (drawn[inside] != image[inside]).any(axis=1).mean() > 0.99
    assert (image == before).all()


def test_fill_mixes_brightness_and_track_colour_and_outline_is_the_colour(no_labels):
    image = gray_image(100, 100)
    masks = boxes_to_masks([(20, 20, 80, 80)], 100, 100)
    drawn = draw_instances(image, masks, [4], [0], [0.5], NAMES)
    color = np.array(track_color(4))
    expected = np.rint(100 * (1 - overlay.FILL_OPACITY) + overlay.FILL_OPACITY * color)
    assert np.abs(drawn[50, 50] - expected).max() <= 1
    for y, x in ((20, 50), (79, 50), (50, 20), (50, 79)):
        assert tuple(drawn[y, x]) == track_color(4)


def test_object_thinner_than_its_outline_has_the_full_colour(no_labels):
    masks = boxes_to_masks([(10, 10, 11, 11), (20, 30, 22, 40)], 64, 64)
    drawn = draw_instances(gray_image(64, 64), masks, [1, 2], [0, 0], [0.5, 0.5], NAMES)
    assert tuple(drawn[10, 10]) == track_color(1)
    assert (drawn[30:40, 20:22] == track_color(2)).all()


def test_small_object_stays_visible_on_a_large_one_in_any_order(no_labels):
    masks = boxes_to_masks([(30, 30, 50, 50), (0, 0, 100, 100)], 100, 100)
    for order in ([0, 1], [1, 0]):
        drawn = draw_instances(
            gray_image(100, 100), masks[order], np.array([7, 8])[order], [0, 0], None, NAMES
        )
        assert tuple(drawn[30, 40]) == track_color(7)


@pytest.mark.parametrize('scale', [2, 3, 5])
def test_scale_enlarges_frame_and_masks(no_labels, scale):
    image = gray_image(24, 40)
    masks = boxes_to_masks([(10, 6, 30, 18)], 24, 40)
    drawn = draw_instances(image, masks, [1], [0], [0.5], NAMES, scale=scale)
    assert drawn.shape == (24 * scale, 40 * scale, 3)
    changed = (drawn != 100).any(axis=2)
    # The rim is smoothed by less than one pixel of the small frame; corners are rounded.
    wide = boxes_to_masks([(9, 5, 31, 19)], 24, 40)[0].repeat(scale, 0).repeat(scale, 1)
    assert not changed[~wide].any()
    narrow = boxes_to_masks([(11, 7, 29, 17)], 24, 40)[0].repeat(scale, 0).repeat(scale, 1)
    assert changed[narrow].all()
    area = overlay._coverage(masks[0], scale).sum()
    assert area == pytest.approx(masks.sum() * scale**2, rel=0.02)


def test_single_pixel_survives_enlarging(no_labels):
    masks = boxes_to_masks([(5, 5, 6, 6)], 16, 16)
    drawn = draw_instances(gray_image(16, 16), masks, [1], [0], None, NAMES, scale=4)
    assert (drawn != 100).any(axis=2).sum() == 16


def test_nothing_to_draw_gives_the_frame():
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    empty = np.zeros((0, 20, 30), bool)
    assert (draw_instances(image, empty, [], [], [], NAMES) == image).all()
    assert draw_instances(image, empty, [], [], None, NAMES, scale=3).shape == (60, 90, 3)
    absent = np.zeros((1, 20, 30), bool)
    assert (draw_instances(image, absent, [1], [0], [0.9], NAMES) == image).all()


@pytest.mark.parametrize(('height', 'width'), [(32, 32), (8, 8), (720, 1280), (3, 200)])
def test_works_at_any_size(height, width):
    masks = boxes_to_masks(
        [(0, 0, width // 2, height), (width // 2, 0, width, height)], height, width
    )
    drawn = draw_instances(gray_image(height, width), masks, [1, 2], [0, 1], [0.9, 0.8], NAMES)
    assert drawn.shape == (height, width, 3)
    assert (drawn != 100).any(axis=2).all()


def test_propagated_masks_have_white_dashes_in_their_outline_only(no_labels):
    masks = boxes_to_masks([(20, 20, 100, 100), (120, 20, 200, 100)], 120, 220)
    arguments = (gray_image(120, 220), masks, [1, 2], [0, 0], None, NAMES)
    plain = draw_instances(*arguments)
    marked = draw_instances(*arguments, propagated=[False, True])
    assert (marked[:, :110] == plain[:, :110]).all()
    white = (marked == 255).all(axis=2)
    assert not (plain == 255).all(axis=2).any()
    rim = white[20, 120:200]
    assert 0.3 < rim.mean() < 0.8
    assert np.abs(np.diff(rim.astype(int))).sum() >= 6  # at least three dashes on one side
    assert not white[25:95, 125:195].any()
    assert (draw_instances(*arguments, propagated=[False, False]) == plain).all()


def test_label_says_id_category_and_score(monkeypatch):
    texts = []
    monkeypatch.setattr(overlay, '_draw_labels', lambda canvas, given, *rest: texts.extend(given))
    masks = boxes_to_masks([(20, 20, 40, 40)] * 2, 100, 100)
    draw_instances(gray_image(100, 100), masks, [3, 4], [7, 9], [0.874, 1], {7: 'star', 9: 'disc'})
    draw_instances(gray_image(100, 100), masks[:1], [5], [1], None, NAMES)
    assert texts == ['#3 star 0.87', '#4 disc 1.00', '#5 disc']


def test_label_is_dark_with_white_text_above_the_object():
    masks = boxes_to_masks([(100, 100, 200, 180)], 300, 300)
    drawn = draw_instances(gray_image(300, 300, 200), masks, [1], [0], [0.87], NAMES)
    strip = drawn[70:99]
    changed = (strip != 200).any(axis=2)
    rows, columns = changed.any(axis=1), changed.any(axis=0)
    assert rows.sum() > 10
    assert columns.sum() == pytest.approx(text_size('#1 star 0.87', 13)[0] + 9, abs=4)
    label = strip[rows][:, columns]
    assert np.median(label) < 80
    assert (label > 240).all(axis=2).sum() > 30
    assert (drawn[:70] == 200).all()


def test_label_wider_than_the_picture_is_cut_to_the_id_or_left_out(monkeypatch):
    written = []
    monkeypatch.setattr(overlay, 'draw_text', lambda canvas, text, *rest: written.append(text))
    for width in (400, 40, 6):
        masks = boxes_to_masks([(1, 1, 5, 5)], 32, width)
        draw_instances(gray_image(32, width), masks, [3], [0], [0.5], ['giant_panda'])
    assert written == ['#3 giant_panda 0.50', '#3']


def test_wrong_arguments_are_named():
    image, masks = gray_image(20, 30), np.zeros((2, 20, 30), bool)
    with pytest.raises(ValueError, match=r'masks .*\(3, 20, 30\), got \(2, 20, 30\)'):
        draw_instances(image, masks, [1, 2, 3], [0] * 3, None, NAMES)
    with pytest.raises(ValueError, match=r'labels must have one entry per id \(2\), got 1'):
        draw_instances(image, masks, [1, 2], [0], None, NAMES)
    with pytest.raises(ValueError, match='scale .* got 0'):
        draw_instances(image, masks, [1, 2], [0, 0], None, NAMES, scale=0)
    with pytest.raises(ValueError, match='image must be .* float64'):
        draw_instances(image / 255, masks, [1, 2], [0, 0], None, NAMES)


def rects_of(sizes, places):
    return [(x, y, x + w, y + h) for (w, h), (x, y) in zip(sizes, places, strict=True)]


def assert_apart_and_inside(rects, width, height):
    for x0, y0, x1, y1 in rects:
        assert x0 >= 0
        assert y0 >= 0
        assert x1 <= width
        assert y1 <= height
    for one, other in itertools.combinations(rects, 2):
        overlap_x = min(one[2], other[2]) - max(one[0], other[0])
        overlap_y = min(one[3], other[3]) - max(one[1], other[1])
        assert min(overlap_x, overlap_y) <= 0, f'{one} meets {other}'


def test_lone_label_stands_above_the_middle_of_its_box():
    assert place_labels([(60, 16)], [(100, 100, 140, 140)], 320, 192) == [(90, 82)]


@pytest.mark.parametrize(
    'boxes',
    [
        [(100, 60, 140, 100), (140, 60, 180, 100)],  # side by side
        [(100, 60, 140, 100), (102, 62, 142, 102)],  # nearly the same
        [(0, 0, 30, 30), (10, 0, 40, 30)],  # in the corner
        [(290, 160, 320, 192), (280, 150, 310, 192)],
        [(0, 0, 320, 192), (0, 0, 320, 192), (50, 50, 60, 60)],
    ],
)
def test_labels_do_not_meet_and_stay_inside(boxes):
    sizes = [(90, 15)] * len(boxes)
    places = place_labels(sizes, boxes, 320, 192)
    assert_apart_and_inside(rects_of(sizes, places), 320, 192)


def test_many_labels_on_one_spot_all_find_a_place():
    sizes = [(90, 15)] * 20
    places = place_labels(sizes, [(150, 90, 170, 110)] * 20, 320, 192)
    assert_apart_and_inside(rects_of(sizes, places), 320, 192)


def test_label_avoids_hiding_another_object():
    boxes = [(100, 100, 160, 160), (100, 60, 160, 98)]  # the second lies right above the first
    (x, y), _ = place_labels([(60, 16), (60, 16)], boxes, 320, 240)
    assert y >= 98
    assert abs(x - 100) <= 64


def test_more_labels_than_room_overlap_but_stay_inside():
    places = place_labels([(30, 12)] * 9, [(0, 0, 32, 32)] * 9, 32, 32)
    assert all(x <= 2 and y <= 20 for x, y in places)


def test_label_larger_than_the_picture_has_no_place():
    assert place_labels([(50, 10), (20, 10)], [(0, 0, 9, 9)] * 2, 32, 32)[0] is None


def test_text_is_drawn_where_asked_and_cut_at_the_edge():
    canvas = np.zeros((40, 100, 3), np.uint8)
    width, height = draw_text(canvas, 'star', (10, 5), 14, (0, 0, 255))
    assert (width, height) == text_size('star', 14)
    ys, xs = np.nonzero(canvas[..., 2])
    assert xs.min() >= 10
    assert xs.max() < 10 + width
    assert ys.min() >= 5
    assert ys.max() < 5 + height
    assert not canvas[..., :2].any()
    for place in ((-8, -4), (90, 35), (200, 0), (0, 200), (-500, 0)):
        draw_text(canvas, 'star', place, 14)
