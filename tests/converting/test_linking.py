"""Objects put together from masks on single frames."""

from itertools import pairwise

from tests.converting.sources import rle
from vispropnet.converting.interface import SourceVideo
from vispropnet.converting.linking import TrackBook, link_by_iou
from vispropnet.datasets.check_report import Report


def bar(start, length=4):
    """A bar in a frame of twelve pixels."""
    return rle(('0' * start + '1' * length).ljust(12, '0')[:12])


def linked(frames):
    """By object: its category and its frames, with the places of the bars."""
    masks = {at: [(kind, bar(start)) for kind, start in some] for at, some in frames.items()}
    return [
        (one.category, {at: mask['counts'] for at, mask in one.masks.items()})
        for one in link_by_iou(masks)
    ]


def test_the_larger_sum_of_overlaps_wins():
    # The bars at 0 and 3 go on at 1 and 4; the one at 1 overlaps both.
    found = linked({0: [('a', 0), ('a', 3)], 1: [('a', 4), ('a', 1)]})
    counts = [bar(start)['counts'] for start in (0, 1, 3, 4)]
    assert found == [('a', {0: counts[0], 1: counts[1]}), ('a', {0: counts[2], 1: counts[3]})]


def test_other_categories_and_too_small_overlaps_begin_objects():
    assert len(linked({0: [('a', 0)], 1: [('b', 0)]})) == 2
    # Two of six pixels (0.33) are enough, one of seven is not.
    assert len(linked({0: [('a', 0)], 1: [('a', 2)]})) == 1
    assert len(linked({0: [('a', 0)], 1: [('a', 3)]})) == 2


def test_hidden_objects_are_found_again_for_five_frames():
    for gap, objects in ((5, 1), (6, 2)):
        frames = {at: [] for at in range(gap)} | {0: [('a', 0)], gap: [('a', 0)]}
        assert len(linked(frames)) == objects
    assert linked({}) == [] and linked({0: [], 1: []}) == []


def test_many_objects_that_move_are_kept_apart():
    frames = {at: [('a', 8 - at), ('a', at)] for at in range(3)}
    found = linked(frames)
    starts = [[8 - at for at in range(3)], list(range(3))]
    assert [list(masks.values()) for _, masks in found] == [
        [bar(start)['counts'] for start in some] for some in starts
    ]
    assert all(a != b for a, b in pairwise(starts))


def test_ids_that_change_their_category_or_are_there_twice():
    report = Report('source')
    book = TrackBook(SourceVideo('v'), report)
    book.add(1, 'cat', 0, bar(0))
    book.add(1, 'dog', 1, bar(0))
    book.add(1, 'cat', 1, bar(1))
    book.add(2, 'cat', 1, None)
    assert [(one.kind, one.where['frame']) for one in report.findings] == [
        ('id of two categories', 1),
        ('id twice', 1),
    ]
    assert [(one.key, sorted(one.masks)) for one in book.tracks()] == [(1, [0, 1]), (2, [])]
