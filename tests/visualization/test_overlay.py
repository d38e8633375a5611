import numpy as np
import pytest

from tests.evaluation.content import encode
from vispropnet.visualization import overlay
from vispropnet.visualization.labels import Labeller
from vispropnet.visualization.overlay import draw_instances
from vispropnet.visualization.palette import track_color
from vispropnet.visualization.text import text_size

NAMES = ['star', 'disc']


def gray_image(height, width, value=100):
    return np.full((height, width, 3), value, np.uint8)


def noise(height, width):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def boxes_to_masks(boxes, height, width):
    masks = np.zeros((len(boxes), height, width), bool)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
        mask[y0:y1, x0:x1] = True
    return masks


def draw(image, masks, ids=None, **options):
    """Draws masks (N, H, W) with ids from 1, of the first category, without scores."""
    ids = range(1, len(masks) + 1) if ids is None else ids
    arguments = dict(labels=[0] * len(masks), scores=None, names=NAMES)
    return draw_instances(image, [encode(one) for one in masks], ids, **{**arguments, **options})


def draw_boxes(boxes, height, width, ids=None, gray=100, **options):
    masks = boxes_to_masks(boxes, height, width)
    return draw(gray_image(height, width, gray), masks, ids, **options)


@pytest.fixture
def no_labels(monkeypatch):
    monkeypatch.setattr(overlay, '_draw_labels', lambda *arguments: None)


def test_changes_exactly_the_pixels_of_the_masks(no_labels):
    image = noise(90, 120)
    before = image.copy()
    masks = boxes_to_masks([(0, 0, 40, 30), (60, 40, 100, 80), (119, 89, 120, 90)], 90, 120)
    masks[1] &= np.random.default_rng(1).random((90, 120)) < 0.7
    drawn = draw(image, masks)
    inside = masks.any(axis=0)
    assert (drawn[~inside] == image[~inside]).all() and (image == before).all()
    assert (drawn[inside] != image[inside]).any(axis=1).mean() > 0.99


def test_fill_mixes_brightness_and_track_colour_and_outline_is_the_colour(no_labels):
    drawn = draw_boxes([(20, 20, 80, 80)], 100, 100, [4])
    color = np.array(track_color(4))
    expected = np.rint(100 * (1 - overlay.FILL_OPACITY) + overlay.FILL_OPACITY * color)
    assert np.abs(drawn[50, 50] - expected).max() <= 1
    assert (drawn[[20, 79, 50, 50], [50, 50, 20, 79]] == color).all()
    # What is thinner than its outline has the full colour.
    drawn = draw_boxes([(10, 10, 11, 11), (20, 30, 22, 40)], 64, 64)
    assert tuple(drawn[10, 10]) == track_color(1)
    assert (drawn[30:40, 20:22] == track_color(2)).all()
    # A small object stays visible on a large one, whichever comes first.
    boxes = [(30, 30, 50, 50), (0, 0, 100, 100)]
    for some, ids in ((boxes, [7, 8]), (boxes[::-1], [8, 7])):
        assert tuple(draw_boxes(some, 100, 100, ids)[30, 40]) == track_color(7)


@pytest.mark.parametrize('scale', [2, 3, 5])
def test_scale_enlarges_frame_and_masks(no_labels, scale):
    drawn = draw_boxes([(10, 6, 30, 18)], 24, 40, scale=scale)
    assert drawn.shape == (24 * scale, 40 * scale, 3)
    changed = (drawn != 100).any(axis=2)
    # The rim is smoothed by less than one pixel of the small frame; corners are rounded.
    assert changed[7 * scale : 17 * scale, 11 * scale : 29 * scale].all()
    changed[5 * scale : 19 * scale, 9 * scale : 31 * scale] = False
    assert not changed.any()
    mask = boxes_to_masks([(10, 6, 30, 18)], 24, 40)[0].astype(np.uint8)
    assert overlay._enlarge(mask, scale).sum() == pytest.approx(240 * scale**2, rel=0.02)
    # A single pixel survives.
    drawn = draw_boxes([(5, 5, 6, 6)], 16, 16, scale=scale)
    assert (drawn != 100).any(axis=2).sum() == scale**2


def test_nothing_to_draw_and_frames_of_any_size():
    image = noise(20, 30)
    assert (draw(image, [], scores=[]) == image).all()
    assert draw(image, [], scale=3).shape == (60, 90, 3)
    assert (draw(image, np.zeros((1, 20, 30), bool)) == image).all()
    for height, width in ((32, 32), (8, 8), (720, 1280), (3, 200)):
        boxes = [(0, 0, width // 2, height), (width // 2, 0, width, height)]
        drawn = draw_boxes(boxes, height, width, scores=[0.9, 0.8])
        assert drawn.shape == (height, width, 3) and (drawn != 100).any(axis=2).all()


def test_propagated_masks_have_white_dashes_in_their_outline_only(no_labels):
    image = gray_image(120, 220)
    masks = boxes_to_masks([(20, 20, 100, 100), (120, 20, 200, 100)], 120, 220)
    plain, marked = draw(image, masks), draw(image, masks, propagated=[False, True])
    assert (marked[:, :110] == plain[:, :110]).all()
    white = (marked == 255).all(axis=2)
    assert not (plain == 255).all(axis=2).any()
    rim = white[20, 120:200]
    assert 0.3 < rim.mean() < 0.8
    assert np.abs(np.diff(rim.astype(int))).sum() >= 6  # at least three dashes on one side
    assert not white[25:95, 125:195].any()
    assert (draw(image, masks, propagated=[False, False]) == plain).all()
    # Not hidden by what is small.
    boxes = [(20, 20, 100, 100), (40, 20, 60, 40)]
    drawn = draw_boxes(boxes, 120, 220, propagated=[True, False])
    assert (drawn[20, 40:60] == 255).all(axis=1).any()


def test_label_says_id_category_and_score(monkeypatch):
    texts = []
    monkeypatch.setattr(overlay, '_draw_labels', lambda canvas, given, *rest: texts.extend(given))
    boxes = [(0, 0, 0, 0), (20, 20, 40, 40), (20, 20, 40, 40)]
    options = dict(labels=[9, 7, 9], scores=[0, 0.874, 1], names={7: 'star', 9: 'disc'})
    draw_boxes(boxes, 100, 100, [2, 3, 4], **options)
    draw_boxes(boxes[1:2], 100, 100, [5], labels=[1])
    assert texts == [('#3', 'star', '0.87'), ('#4', 'disc', '1.00'), ('#5', 'disc', '')]


@pytest.mark.parametrize('scale', [1, 2])
def test_label_is_dark_with_white_text_above_the_object(scale):
    box, side = [one // scale for one in (100, 100, 200, 180)], 300 // scale
    options = dict(gray=200, scores=[0.87], scale=scale)
    drawn, yellow = (draw_boxes([box], side, side, [number], **options) for number in (1, 3))
    changed = (drawn[70:99] != 200).any(axis=2)
    rows, columns = changed.any(axis=1), changed.any(axis=0)
    assert rows.sum() > 10
    widths = text_size('#1', 13, bold=True)[0], text_size('star 0.87', 13)[0]
    assert columns.sum() == pytest.approx(sum(widths) + 16, abs=2)
    label = drawn[70:99][rows][:, columns]
    assert np.median(label) < 80 and (label > 240).all(axis=2).sum() > 30
    chip = (label == track_color(1)).all(axis=2)
    assert chip.sum() > 100 and not chip[:, widths[0] + 8 :].any()
    assert (drawn[:70] == 200).all()
    # The id is dark on yellow.
    yellow = yellow[70:99][rows][:, columns]
    assert not (yellow[:, : widths[0] + 6] > 240).all(axis=2).any()


def test_label_wider_than_the_picture_is_cut_to_the_id_or_left_out(monkeypatch):
    written = []
    monkeypatch.setattr(overlay, 'draw_text', lambda canvas, text, *_, **__: written.append(text))
    for width in (400, 40, 6):
        draw_boxes([(1, 1, 5, 5)], 32, width, [3], scores=[0.5], names=['giant_panda'])
    assert written == ['#3', 'giant_panda 0.50', '#3']


def test_wrong_arguments_are_named():
    right = dict(image=gray_image(20, 30), masks=np.zeros((2, 20, 30), bool))
    for change, message in (
        (dict(ids=[1, 2, 3], labels=[0] * 3), r'masks must have one entry per id \(3\), got 2'),
        (dict(labels=[0]), r'labels must have one entry per id \(2\), got 1'),
        (dict(scores=[0.5]), r'scores must have one entry per id \(2\), got 1'),
        (dict(propagated=[True]), r'propagated must have one entry per id \(2\), got 1'),
        (dict(image=gray_image(30, 20)), r'masks must be \(30, 20\), got one of \(20, 30\)'),
    ):
        with pytest.raises(ValueError, match=message):
            draw(**{**right, **change})


def test_encodings_as_bytes_and_as_text_are_drawn_alike():
    masks = boxes_to_masks([(0, 0, 30, 60), (20, 10, 80, 50), (79, 59, 80, 60)], 60, 80)
    masks[1] &= np.random.default_rng(3).random((60, 80)) < 0.8
    text, as_bytes = (
        draw_instances(noise(60, 80), rles, [1, 2, 3], [0, 1, 0], None, NAMES, 3)
        for rles in ([encode(one, form) for one in masks] for form in ('text', 'bytes'))
    )
    assert (text == as_bytes).all()


def test_id_can_be_read_on_every_colour():
    def brightness(color):  # linear, as WCAG 2 has it
        shares = np.array(color) / 255
        linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
        return np.dot(linear, (0.0722, 0.7152, 0.2126))

    for number in range(1, 200):
        color = track_color(number)
        dark, light = sorted([brightness(color), brightness(overlay._ink_on(color))])
        assert (light + 0.05) / (dark + 0.05) > 4, number


def test_with_a_labeller_labels_stand_still_while_objects_move_a_little():
    def label_of(left, labeller):
        options = dict(gray=200, scores=[0.87], labeller=labeller)
        drawn = draw_boxes([(left, 100, left + 100, 180)], 300, 400, **options)
        return np.flatnonzero((drawn[:100] != 200).any(axis=(0, 2)))[0]

    labeller = Labeller()
    first = label_of(100, labeller)
    assert label_of(102, labeller) == first
    assert label_of(102, None) == first + 2
    assert label_of(150, labeller) == first + 50
