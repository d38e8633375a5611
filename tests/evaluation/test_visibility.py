import pytest

from tests.evaluation.strips import data_set, strip, track
from vispropnet.evaluation.ground_truth import ground_truth
from vispropnet.evaluation.overlaps import measure_tracks
from vispropnet.evaluation.visibility import found_by_visibility, visibility_lines


def strips(row, *pixels):
    return [strip(row, one) for one in pixels]


def parts_of(truths, results, length=5):
    truth = ground_truth(data_set({1: length}, [(1, *one) for one in truths]))
    parts = found_by_visibility(measure_tracks(truth, results, frame_by_frame=True))
    assert [(one['above'], one['up_to']) for one in parts] == [
        (0, 0.25),
        (0.25, 0.5),
        (0.5, 0.75),
        (0.75, 1),
    ]
    return [(one['frames'], one['found'], one['share']) for one in parts]


def test_frames_are_counted_by_the_share_of_the_largest_area():
    # Of 8 pixels: a quarter, a half, 5 and 6 of 8, all; and hidden once.
    truths = [(1, strips(0, 2, 4, 5, 6, 8, 0))]
    # IoUs of 1/2, 3/7, 3/5, 0 and 1.
    found = [strip(0, 1), strip(0, 7), strip(0, 3), None, strip(0, 8), strip(0, 1)]
    expected = [(1, 1, 1), (1, 1, 1), (2, 1, 0.5), (1, 1, 1)]
    assert parts_of(truths, [track(1, 1, 0.5, found)], 6) == expected
    assert parts_of(truths, [], 6) == [(1, 0, 0), (1, 0, 0), (2, 0, 0), (1, 0, 0)]


def test_the_best_track_of_its_category_is_the_object():
    truths = [(1, strips(0, 8, 8, 8, 8, 8))]
    results = [
        track(1, 2, 0.9, strips(0, 8, 8, 8, 8, 8)),
        track(1, 1, 0.8, strips(0, 8, 8, 0, 0, 0)),
        track(1, 1, 0.1, strips(0, 0, 0, 8, 8, 8)),
    ]
    assert parts_of(truths, results)[3] == (5, 3, 0.6)
    assert parts_of(truths, results[:2])[3] == (5, 2, 0.4)
    assert parts_of(truths, results[:1])[3] == (5, 0, 0)


def test_no_frames_crowds_and_tracks_without_frames():
    crowd, other = (1, strips(0, 8, 8, 8, 8, 8), True), (2, strips(1, 8, 0, 0, 0, 0))
    assert parts_of([crowd, other], []) == [*[(0, 0, None)] * 3, (1, 0, 0)]
    truth = ground_truth(data_set({1: 1}, [(1, 1, [strip(0)])]))
    with pytest.raises(ValueError, match='frame_by_frame=True'):
        found_by_visibility(measure_tracks(truth, []))


def test_the_table():
    lines = visibility_lines([dict(above=0.5, up_to=0.75, frames=8, found=2, share=0.25)], 'a.json')
    assert 'a.json' in lines[0] and lines[2].split() == ['50', 'to', '75', '%', '8', '2', '0.250']
    empty = dict(above=0.0, up_to=0.25, frames=0, found=0, share=None)
    assert visibility_lines([empty], 'a')[2].split()[-1] == '-'
