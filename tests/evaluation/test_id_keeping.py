import numpy as np
import pytest

from tests.evaluation.content import annotation_file, encode, track
from vispropnet.evaluation.ground_truth import ground_truth
from vispropnet.evaluation.id_keeping import gap_lines, ids_after_gaps
from vispropnet.evaluation.overlaps import measure_tracks

SIZE = (6, 8)


def masks(frames, left=0, width=4):
    """Masks of whole columns in the frames marked by anything but a dot."""
    full = np.zeros(SIZE, bool)
    full[:, left : left + width] = True
    return [None if mark == '.' else encode(full) for mark in frames]


def counts(truths, tracks, annotated_only=False, **options):
    """{length: (kept, changed, lost)} of objects and tracks of one video."""
    length = len(truths[0][0])
    objects = [(1, 1, masks(*one[:3]), *one[3:]) for one in truths]
    results = [track(1, category, score, masks(*one)) for category, score, one in tracks]
    truth = ground_truth(annotation_file({1: length}, objects, (1, 2), SIZE), '', annotated_only)
    gaps = ids_after_gaps(measure_tracks(truth, results, frame_by_frame=True), **options)
    assert all(one['gaps'] == one['kept'] + one['changed'] + one['lost'] for one in gaps)
    assert all(one['kept_share'] == one['kept'] / one['gaps'] for one in gaps)
    return {one['shortest']: (one['kept'], one['changed'], one['lost']) for one in gaps}


def test_each_outcome_at_its_length():
    #                 gaps of 1, 2 and 3 frames
    truth = [('xx.xx..xx...xx',)]
    first = (1, 0.9, ('xx.xx.........',))
    second = (2, 0.9, ('.......xx.....',))  # of another category, which plays no part
    assert counts(truth, [first, second]) == {1: (1, 0, 0), 2: (0, 1, 0), 3: (0, 0, 1)}
    assert counts(truth, [(1, 0.9, ('xxxxxxxxxxxxxx',))]) == {
        1: (1, 0, 0),
        2: (1, 0, 0),
        3: (1, 0, 0),
    }


def test_the_last_track_before_and_the_first_after_count():
    truth = [('xxxx..xxxx',)]
    early, late = (1, 0.9, ('x......xxx',)), (1, 0.8, ('.xx.......',))
    assert counts(truth, [early, late]) == {2: (0, 1, 0)}
    # Found in the run after the next gap only, which this gap does not know of.
    truth = [('xx.xx.xx',)]
    assert counts(truth, [(1, 0.9, ('xx....xx',))]) == {1: (1, 0, 1)}


def test_who_was_not_found_before_does_not_count():
    truth = [('xx.xx',)]
    assert counts(truth, [(1, 0.9, ('...xx',))]) == {}
    assert counts(truth, []) == {}
    # Columns 0 to 3 of the object, 2 to 5 of the track: 2 of 6.
    assert counts(truth, [(1, 0.9, ('xx.xx', 2))]) == {}
    # 0 to 3 of 0 to 7 is a half, and enough.
    assert counts(truth, [(1, 0.9, ('xx.xx', 0, 8))]) == {1: (1, 0, 0)}
    assert counts(truth, [(1, 0.2, ('xx.xx',))]) == {}
    assert counts(truth, [(1, 0.2, ('xx.xx',))], score_threshold=0.1) == {1: (1, 0, 0)}


def test_the_best_of_two_tracks_is_the_object():
    truth = [('xx.xx',)]
    worse, better = (1, 0.9, ('xx.xx', 0, 6)), (1, 0.5, ('xx.xx', 0, 5))
    assert counts(truth, [worse, better]) == {1: (1, 0, 0)}
    better_after = (1, 0.5, ('...xx', 0, 4))
    assert counts(truth, [worse, better_after]) == {1: (0, 1, 0)}


def test_objects_that_come_late_leave_early_or_are_crowds():
    assert counts([('..xx..',)], [(1, 0.9, ('xxxxxx',))]) == {}
    crowd, other = ('xx.xx', 0, 4, True), ('xxxxx', 4)
    assert counts([crowd, other], [(1, 0.9, ('xx.xx',))]) == {}
    assert counts([('x',)], [(1, 0.9, ('x',))]) == {}


def test_frames_that_are_not_annotated_are_no_gap():
    # No object shows in frame 2.
    truth = [('xx.xxx',), ('xx.x.x', 4)]
    tracks = [(1, 0.9, ('xxxxxx',)), (1, 0.9, ('xxxxxx', 4))]
    assert counts(truth, tracks) == {1: (3, 0, 0)}
    assert counts(truth, tracks, annotated_only=True) == {1: (1, 0, 0)}


def test_long_gaps_are_counted_together():
    truth = [('x....x......x..........x',)]
    gaps = counts(truth, [(1, 0.9, ('x' * 24,))])
    assert gaps == {4: (1, 0, 0), 6: (1, 0, 0), 10: (1, 0, 0)}


def test_the_table():
    one = dict(shortest=4, longest=5, gaps=4, kept=3, changed=1, lost=0, kept_share=0.75)
    last = dict(one, shortest=10, longest=None)
    lines = gap_lines([one, last], 'a.json')
    assert lines[2].split() == ['4', 'to', '5', '4', '3', '1', '0', '0.750']
    assert lines[3].split()[:3] == ['10', 'to', 'all']
    assert 'no object' in gap_lines([], 'a.json')[1]


def test_tracks_measured_as_wholes_are_refused():
    truth = ground_truth(annotation_file({1: 2}, [(1, 1, masks('xx'))], (1,), SIZE))
    with pytest.raises(ValueError, match='frame_by_frame'):
        ids_after_gaps(measure_tracks(truth, []))
