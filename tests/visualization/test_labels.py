import itertools

import numpy as np
import pytest

from vispropnet.visualization.labels import Labeller, Place


def owners_of(boxes, width, height):
    """Boxes as objects that are filled, the smallest in front."""
    owners = np.zeros((height, width), int)
    order = sorted(range(len(boxes)), key=lambda n: np.subtract(boxes[n][:2], boxes[n][2:]).prod())
    for index in reversed(order):
        x0, y0, x1, y1 = boxes[index]
        owners[y0:y1, x0:x1] = index + 1
    return owners


def place(sizes, boxes, width, height, labeller=None, ids=None):
    """Places labels of one form, or of several where ``sizes`` holds lists."""
    forms = [size if isinstance(size, list) else [size] for size in sizes]
    ids = range(len(boxes)) if ids is None else ids
    return (labeller or Labeller()).place(
        ids, forms, boxes, owners_of(boxes, width, height), 1, (width, height)
    )


def rects_of(sizes, places):
    return [(x, y, x + w, y + h) for (w, h), (_, x, y) in zip(sizes, places, strict=True)]


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
    assert place([(60, 16)], [(100, 100, 140, 140)], 320, 192) == [(0, 90, 82)]


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
    places = place(sizes, boxes, 320, 192)
    assert_apart_and_inside(rects_of(sizes, places), 320, 192)


def test_many_labels_on_one_spot_all_find_a_place():
    sizes = [(90, 15)] * 20
    places = place(sizes, [(150, 90, 170, 110)] * 20, 320, 192)
    assert_apart_and_inside(rects_of(sizes, places), 320, 192)


def test_label_avoids_hiding_another_object():
    boxes = [(100, 100, 160, 160), (100, 60, 160, 98)]  # the second lies right above the first
    (_, x, y), _ = place([(60, 16), (60, 16)], boxes, 320, 240)
    assert y >= 98
    assert abs(x - 100) <= 64


def test_more_labels_than_room_overlap_but_stay_inside():
    places = place([(30, 12)] * 9, [(0, 0, 32, 32)] * 9, 32, 32)
    assert all(x <= 2 and y <= 20 for _, x, y in places)


def test_label_larger_than_the_picture_has_no_place():
    assert place([(50, 10), (20, 10)], [(0, 0, 9, 9)] * 2, 32, 32)[0] is None


FORMS = [(150, 15), (110, 15), (30, 15)]


def test_lone_label_has_its_fullest_form():
    assert place([FORMS], [(100, 100, 140, 140)], 320, 192) == [(0, 45, 83)]


def test_form_too_large_for_the_picture_gives_way_to_the_next():
    assert place([FORMS], [(20, 20, 60, 60)], 120, 90)[0].form == 1
    assert place([FORMS], [(10, 20, 30, 60)], 60, 90)[0].form == 2
    assert place([FORMS], [(1, 1, 9, 9)], 20, 90) == [None]


def test_crowd_on_a_small_picture_has_ids_only_and_they_do_not_meet():
    boxes = [(20 + 13 * i, 40 + 20 * (i % 3), 60 + 13 * i, 120 + 20 * (i % 3)) for i in range(20)]
    places = place([FORMS] * 20, boxes, 320, 192)
    assert [one.form for one in places] == [2] * 20
    assert_apart_and_inside(rects_of([FORMS[2]] * 20, places), 320, 192)


def test_id_in_a_crowd_stands_on_its_own_object():
    # Surrounded by another object, whose hole of 40 x 24 has room for the shortest form.
    owners = np.full((400, 600), 2)
    owners[188:212, 280:320] = 1
    boxes = [(280, 188, 320, 212), (0, 0, 600, 400)]
    for step in (1, 4):
        cells = owners[::step, ::step]
        own, other = Labeller().place([1, 2], [FORMS, FORMS], boxes, cells, step, (600, 400))
        assert own.form == 2
        assert 278 <= own.x <= 292
        assert 186 <= own.y <= 199
        assert other.form == 0


def test_label_stays_where_it_was_while_its_object_moves_a_little():
    labeller = Labeller()
    (first,) = place([FORMS], [(100, 100, 140, 140)], 320, 192, labeller)
    for step in (1, 3, 4, 2, 0):  # less than 0.3 of 15 pixels
        box = (100 + step, 100 - step, 140 + step, 140 - step)
        assert place([FORMS], [box], 320, 192, labeller) == [first]
    # Beyond, it keeps its place as seen from the object.
    moved = place([FORMS], [(106, 110, 146, 150)], 320, 192, labeller)
    assert moved == [(0, first.x + 6, first.y + 10)]


def test_label_does_not_hop_for_a_slightly_better_place():
    # The object above is in the way of a new label, not of one that stands there.
    boxes = [(100, 100, 160, 140), (40, 70, 90, 98)]
    fresh = place([FORMS, FORMS], boxes, 320, 240)[0]
    labeller = Labeller()
    (before,) = place([FORMS], boxes[:1], 320, 240, labeller)
    assert before == (0, 55, 83)
    assert fresh != before
    assert place([FORMS, FORMS], boxes, 320, 240, labeller)[0] == before


def test_label_leaves_a_place_that_has_become_bad():
    labeller = Labeller()
    (before,) = place([FORMS], [(100, 100, 160, 140)], 320, 240, labeller)
    assert before == (0, 55, 83)
    boxes = [(100, 100, 160, 140), (40, 60, 220, 99)]
    after = place([FORMS, FORMS], boxes, 320, 240, labeller)[0]
    assert after.y >= 98


def test_new_label_does_not_push_an_old_one_away():
    labeller = Labeller()
    box, size = (100, 100, 140, 140), (60, 16)
    (before,) = place([size], [box], 320, 192, labeller, ids=[7])
    # The new one comes first in the frame and would like the same place.
    new, old = place([size, size], [box, box], 320, 192, labeller, ids=[3, 7])
    assert old == before
    assert new != before


def test_track_that_was_away_is_placed_anew():
    labeller = Labeller()
    boxes = [(100, 100, 140, 140), (102, 100, 142, 140)]
    assert place([(60, 16)], boxes[:1], 320, 192, labeller) == [(0, 90, 82)]
    assert place([], [], 320, 192, labeller) == []
    assert place([(60, 16)], boxes[1:], 320, 192, labeller) == [(0, 92, 82)]


def test_label_that_grows_stays_inside():
    labeller = Labeller()
    (before,) = place([(60, 16)], [(280, 100, 320, 140)], 320, 192, labeller)
    assert before.x + 60 == 320
    assert place([(64, 16)], [(280, 100, 320, 140)], 320, 192, labeller) == [(0, 256, before.y)]
    # Too large for the picture, it is placed anew, and follows its object from there.
    assert place([[(330, 16), (60, 16)]], [(0, 100, 40, 140)], 320, 192, labeller)[0].form == 1
    assert place([(60, 16)], [(100, 100, 140, 140)], 320, 192, labeller) == [(0, 90, 82)]


def test_labels_away_from_their_objects_move_with_them():
    labeller = Labeller()

    def shifts(dx):
        box = (250 + dx, 160, 262 + dx, 172)
        places = place([(60, 16)] * 14, [box] * 14, 500, 360, labeller)
        return {
            (one.x - before.x, one.y - before.y)
            for one, before in zip(places, start or places, strict=True)
        }, places

    start = None
    _, start = shifts(0)
    # Around one box are four spots at most that do not meet; the others stand elsewhere.
    assert len({(one.x, one.y) for one in start if abs(one.y - 160) < 30}) < 14
    # Up to 0.3 of 16 pixels from where it was last put, a label stands still.
    assert [shifts(dx)[0] for dx in (4, 3, 6, 10, 11)] == [
        {(0, 0)},
        {(0, 0)},
        {(6, 0)},
        {(6, 0)},
        {(11, 0)},
    ]


def test_places_are_plain_numbers():
    (found,) = place([(60, 16)], [(100, 100, 140, 140)], 320, 192)
    assert isinstance(found, Place)
    assert [type(one) for one in found] == [int, int, int]
