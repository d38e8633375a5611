import itertools

import numpy as np

from vispropnet.visualization.labels import Labeller

FORMS = [(150, 15), (110, 15), (30, 15)]
SIZE = (60, 16)  # of labels of one form


def place(sizes, boxes, labeller=None, ids=None, picture=(320, 192)):
    """Places labels of one form, or of several where ``sizes`` holds lists, on boxes as objects."""
    forms = [size if isinstance(size, list) else [size] for size in sizes]
    owners = np.zeros(picture[::-1], int)
    areas = [(x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in boxes]
    # Filled, the smallest in front.
    for index in sorted(range(len(boxes)), key=lambda n: (-areas[n], -n)):
        x0, y0, x1, y1 = boxes[index]
        owners[y0:y1, x0:x1] = index + 1
    ids = ids or range(len(boxes))
    return (labeller or Labeller()).place(ids, forms, boxes, owners, 1, picture)


def assert_apart_and_inside(size, places, width=320, height=192):
    for _, x, y in places:
        assert 0 <= x <= width - size[0] and 0 <= y <= height - size[1]
    for (_, x, y), (_, other_x, other_y) in itertools.combinations(places, 2):
        assert abs(x - other_x) >= size[0] or abs(y - other_y) >= size[1]


def test_lone_label_stands_above_the_middle_of_its_box_in_its_fullest_form():
    (found,) = place([SIZE], [(100, 100, 140, 140)])
    assert found == (0, 90, 82)
    assert [type(one) for one in found] == [int, int, int]
    assert place([FORMS], [(100, 100, 140, 140)]) == [(0, 45, 83)]
    # Where the picture is too small for one form, the next is tried.
    for width, box, form in ((120, (20, 20, 60, 60), 1), (60, (10, 20, 30, 60), 2)):
        assert place([FORMS], [box], picture=(width, 90))[0].form == form
    assert place([FORMS], [(1, 1, 9, 9)], picture=(20, 90)) == [None]


def test_labels_do_not_meet_and_stay_inside():
    for boxes in (
        [(100, 60, 140, 100), (140, 60, 180, 100)],  # side by side
        [(100, 60, 140, 100), (102, 62, 142, 102)],  # nearly the same
        [(0, 0, 30, 30), (10, 0, 40, 30)],  # in the corner
        [(290, 160, 320, 192), (280, 150, 310, 192)],
        [(0, 0, 320, 192), (0, 0, 320, 192), (50, 50, 60, 60)],
        [(150, 90, 170, 110)] * 20,  # many on one spot
    ):
        assert_apart_and_inside((90, 15), place([(90, 15)] * len(boxes), boxes))
    # More than there is room for overlap, but stay inside.
    places = place([(30, 12)] * 9, [(0, 0, 32, 32)] * 9, picture=(32, 32))
    assert all(0 <= x <= 2 and 0 <= y <= 20 for _, x, y in places)
    # A crowd on a small picture has ids only.
    boxes = [(20 + 13 * i, 40 + 20 * (i % 3), 60 + 13 * i, 120 + 20 * (i % 3)) for i in range(20)]
    places = place([FORMS] * 20, boxes)
    assert [one.form for one in places] == [2] * 20
    assert_apart_and_inside(FORMS[2], places)


def test_label_avoids_hiding_another_object():
    boxes = [(100, 100, 160, 160), (100, 60, 160, 98)]  # the second lies right above the first
    (_, x, y), _ = place([SIZE, SIZE], boxes, picture=(320, 240))
    assert y >= 98 and abs(x - 100) <= 64


def test_id_in_a_crowd_stands_on_its_own_object():
    # Surrounded by another object, whose hole of 40 x 24 has room for the shortest form.
    owners = np.full((400, 600), 2)
    owners[188:212, 280:320] = 1
    boxes = [(280, 188, 320, 212), (0, 0, 600, 400)]
    for step in (1, 4):
        cells = owners[::step, ::step]
        own, other = Labeller().place([1, 2], [FORMS, FORMS], boxes, cells, step, (600, 400))
        assert own.form == 2 and other.form == 0
        assert 278 <= own.x <= 292 and 186 <= own.y <= 199


def test_label_stays_where_it_was_while_its_object_moves_a_little():
    labeller = Labeller()
    (first,) = place([FORMS], [(100, 100, 140, 140)], labeller)
    for step in (1, 3, 4, 2, 0):  # less than 0.3 of 15 pixels
        box = (100 + step, 100 - step, 140 + step, 140 - step)
        assert place([FORMS], [box], labeller) == [first]
    # Beyond, it keeps its place as seen from the object.
    moved = place([FORMS], [(106, 110, 146, 150)], labeller)
    assert moved == [(0, first.x + 6, first.y + 10)]


def test_label_hops_only_from_a_bad_place():
    # The first is in the way of a new label, not of one that stands there.
    for other, stays in (((40, 70, 90, 98), True), ((40, 60, 220, 99), False)):
        boxes, labeller = [(100, 100, 160, 140), other], Labeller()
        fresh = place([FORMS, FORMS], boxes, picture=(320, 240))[0]
        assert place([FORMS], boxes[:1], labeller, picture=(320, 240)) == [(0, 55, 83)] != [fresh]
        after = place([FORMS, FORMS], boxes, labeller, picture=(320, 240))[0]
        assert after == (0, 55, 83) if stays else after.y >= 98


def test_old_labels_come_first_and_one_that_was_away_is_new():
    labeller, box = Labeller(), (100, 100, 140, 140)
    (before,) = place([SIZE], [box], labeller, ids=[7])
    # The new one comes first in the frame and would like the same place.
    new, old = place([SIZE, SIZE], [box, box], labeller, ids=[3, 7])
    assert old == before == (0, 90, 82) != new
    assert place([], [], labeller) == []
    assert place([SIZE], [(102, 100, 142, 140)], labeller, ids=[7]) == [(0, 92, 82)]


def test_label_that_grows_stays_inside():
    labeller = Labeller()
    (before,) = place([SIZE], [(280, 100, 320, 140)], labeller)
    assert before.x + 60 == 320
    assert place([(64, 16)], [(280, 100, 320, 140)], labeller) == [(0, 256, before.y)]
    # Too large for the picture, it is placed anew, and follows its object from there.
    assert place([[(330, 16), SIZE]], [(0, 100, 40, 140)], labeller)[0].form == 1
    assert place([SIZE], [(100, 100, 140, 140)], labeller) == [(0, 90, 82)]


def test_labels_away_from_their_objects_move_with_them():
    labeller, start = Labeller(), None
    # First of all, each has an object of its own.
    corners = [(70 * column, 150 * row) for row in range(2) for column in range(7)]
    boxes = [(x + 10, y + 40, x + 50, y + 80) for x, y in corners]
    place([SIZE] * 14, boxes, labeller, picture=(500, 360))
    # Up to 0.3 of 16 pixels from where it was last put, a label stands still.
    for dx, shift in ((0, 0), (4, 0), (3, 0), (6, 6), (10, 6), (11, 11)):
        box = (250 + dx, 160, 262 + dx, 172)
        places = np.array(place([SIZE] * 14, [box] * 14, labeller, picture=(500, 360)))
        start = places if start is None else start
        assert (places - start == (0, shift, 0)).all()
    # Around one box are four spots at most that do not meet; the others stand elsewhere.
    assert (abs(start[:, 2] - 160) < 30).sum() < 14
