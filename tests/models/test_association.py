import itertools
import math

import pytest
import torch

from vispropnet.models.track_heads.embedding_head import matching_logits
from vispropnet.models.trackers import MatchingTracker, assign, matching_scores


def slow_iou(one, other):
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    inter = max(width, 0) * max(height, 0)
    return inter / (sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)) - inter)


def test_scores_equal_the_formula_written_out():
    logits = torch.randn(3, 3)
    scores, labels, track_labels = [0.9, 0.4, 0.05], [0, 1, 1], [0, 1]
    boxes = [[0.0, 0, 10, 10], [5, 5, 20, 9], [1, 1, 3, 30]]
    tracks = [[0.0, 0, 10, 12], [30, 30, 40, 40]]
    given = (torch.tensor(one) for one in (scores, boxes, labels, tracks, track_labels))
    found = matching_scores(logits, *given, 1, 2, 10)
    for d, row in enumerate(logits.tolist()):
        common = math.log(scores[d]) - math.log(sum(math.exp(one) for one in row))
        expected = [row[0] + common + 10]
        for m, logit in enumerate(row[1:]):
            same = 10 if labels[d] == track_labels[m] else 0
            expected.append(logit + common + 2 * slow_iou(boxes[d], tracks[m]) + same)
        assert found[d].tolist() == pytest.approx(expected, rel=1e-5)


def slow_assignment(matrix):
    """Walks all pairs from the best one on."""
    rows, tracks = range(len(matrix)), range(len(matrix[0]))
    taken, columns = set(), {}
    for row, column in sorted(itertools.product(rows, tracks), key=lambda p: -matrix[p[0]][p[1]]):
        if row not in columns and (column == 0 or column not in taken):
            columns[row] = column
            taken.add(column)
    return [columns[row] for row in rows]


def test_assignment_equals_walking_all_pairs_from_the_best():
    for shape in itertools.product(range(1, 8), repeat=2):
        matrix = torch.randn(shape)
        assert assign(matrix, 'next').tolist() == slow_assignment(matrix.tolist())


def columns(scores, *rule):
    return assign(torch.tensor(scores), *rule).tolist()


def test_losers_take_their_next_best_are_new_or_dropped():
    # Both want track 1; the second is surer of it. The first prefers track 2 over being new.
    wanted = [[0.0, 5, 1], [0, 6, 2]]
    assert columns(wanted, 'next') == columns(wanted, 'next', 0.9) == [2, 1]
    assert columns(wanted, 'next', 1.1) == columns([[2.0, 5, 1], [0, 6, 2]], 'next') == [0, 1]
    # The margin is for losers alone: the second has its first choice.
    assert columns([[0.0, 5, 1], [5.5, 6, 2]], 'next', 9) == [0, 1]
    # Three want track 1, the third most; the fourth wants to be new, the fifth has track 2.
    wanted = [[0.0, 5, 1], [0, 6, 2], [0, 7, 3], [9, 8, 0], [0, 1, 2]]
    assert columns(wanted, 'new') == [0, 0, 1, 0, 2]
    assert columns(wanted, 'drop') == [-1, -1, 1, 0, 2]
    # Of equals the first.
    assert columns([[0.0, 5], [0, 5]], 'drop') == [1, -1]


@pytest.mark.parametrize('on_conflict', ['new', 'drop', 'next', 'hungarian'])
def test_all_rules_agree_without_conflict_and_without_hope(on_conflict):
    assert columns([[0.0, 1, 5], [3, 1, 2], [0, 4, 1]], on_conflict) == [2, 0, 1]
    assert assign(torch.zeros(0, 3), on_conflict).tolist() == []
    assert columns([[0.5], [0.1]], on_conflict) == [0, 0]
    assert columns([[1.0, 3], [-math.inf, -math.inf], [math.nan] * 2], on_conflict) == [1, 0, 0]


@pytest.mark.parametrize('rows', [1, 2, 3, 4])
@pytest.mark.parametrize('tracks', [0, 1, 2, 3])
def test_largest_sum_equals_trying_all(rows, tracks):
    matrix = torch.randn(rows, 1 + tracks, dtype=torch.float64)

    def total(chosen):
        return sum(matrix[row, column].item() for row, column in enumerate(chosen))

    def fits(chosen):
        return all(chosen.count(one) < 2 for one in range(1, 1 + tracks))

    best = max(filter(fits, itertools.product(range(1 + tracks), repeat=rows)), key=total)
    found = assign(matrix, 'hungarian').tolist()
    assert fits(found) and total(found) == pytest.approx(total(best))
    # The score of a detection, which adds to all of its row, changes nothing.
    assert assign(matrix + torch.randn(rows, 1), 'hungarian').tolist() == found


NEAR, FAR = [0, 0, 4, 4], [20, 20, 24, 24]


def step(tracker, state, boxes, embeddings, labels=None, scores=None, carry=None):
    boxes = torch.tensor(boxes, dtype=torch.float).reshape(-1, 4)
    embeddings = torch.tensor(embeddings, dtype=torch.float).reshape(-1, 2)
    labels = torch.tensor(labels or [1] * len(boxes), dtype=torch.long)
    scores = torch.tensor(scores or [0.9] * len(boxes))
    given = embeddings, boxes, labels, scores, state, matching_logits, carry
    ids, state = tracker.associate(*given)
    return ids.tolist(), state


def test_ids_follow_embeddings_and_are_never_given_twice():
    tracker, state = MatchingTracker(on_conflict='new'), MatchingTracker().init_memory()
    ids, state = step(tracker, state, [NEAR, FAR], [[5, 0], [0, 5]])
    assert ids == [0, 1]
    # They changed places: embeddings outweigh the boxes.
    ids, state = step(tracker, state, [NEAR, FAR], [[0, 5], [5, 0]])
    assert ids == [1, 0]
    # Two detections of one object: one keeps the id, the other is new.
    ids, state = step(tracker, state, [FAR, FAR], [[5, 0], [5, 0]], scores=[0.5, 0.9])
    assert (ids, state.next_id, state.num_frames) == ([2, 0], 3, 3)


def test_memory_holds_the_latest_of_each_track():
    tracker, state = MatchingTracker(), MatchingTracker().init_memory()
    _, state = step(tracker, state, [NEAR, FAR], [[5, 0], [0, 5]], [1, 2])
    _, state = step(tracker, state, [[1, 0, 5, 4]], [[6, 1]])
    found = [one.tolist() for one in (state.ids, state.boxes, state.embeddings, state.labels)]
    assert found == [[0, 1], [[1, 0, 5, 4], FAR], [[6, 1], [0, 5]], [1, 2]]


def test_empty_frames_keep_the_memory_and_the_old_state_is_untouched():
    tracker, first = MatchingTracker(), MatchingTracker().init_memory()
    ids, state = step(tracker, first, [], [])
    assert ids == [] and state.num_frames == 1
    _, known = step(tracker, state, [NEAR], [[5, 0]])
    ids, after = step(tracker, known, [], [])
    assert ids == [] and after.ids.tolist() == [0]
    assert step(tracker, after, [NEAR], [[5, 0]])[0] == [0]
    assert known.boxes.tolist() == [NEAR] and first.next_id == 0


def test_another_label_makes_a_new_track():
    tracker, state = MatchingTracker(), MatchingTracker().init_memory()
    _, state = step(tracker, state, [NEAR], [[2, 0]], [0])
    assert step(tracker, state, [NEAR], [[2, 0]], [1])[0] == [1]
    assert step(MatchingTracker(label_weight=0.0), state, [NEAR], [[2, 0]], [1])[0] == [0]


def test_tracks_unseen_for_long_are_forgotten():
    tracker, state = MatchingTracker(num_frames_retain=2), MatchingTracker().init_memory()
    _, state = step(tracker, state, [NEAR, FAR], [[5, 0], [0, 5]])
    for _ in range(2):
        ids, state = step(tracker, state, [NEAR], [[5, 0]])
        assert ids == [0]
    # Track 1 was last seen three frames ago: the last two did not show it.
    ids, state = step(tracker, state, [FAR], [[0, 5]])
    assert ids == [2] and state.ids.tolist() == [0, 2] and state.last_seen.tolist() == [3, 4]
    assert state.boxes.tolist() == [NEAR, FAR] and len(state.embeddings) == len(state.labels) == 2
    # Frames without detections count, and may leave nothing.
    for _ in range(3):
        _, state = step(tracker, state, [], [])
    ids, state = step(tracker, state, [NEAR], [[5, 0]])
    assert ids == state.ids.tolist() == [3]


@pytest.mark.parametrize(('retain', 'expected'), [(3, [0]), (None, [0]), (2, [1])])
def test_for_how_many_frames_a_track_is_remembered(retain, expected):
    tracker, state = MatchingTracker(num_frames_retain=retain), MatchingTracker().init_memory()
    for boxes in ([NEAR], [], []):
        _, state = step(tracker, state, boxes, [[5, 0]] * len(boxes))
    assert step(tracker, state, [NEAR], [[5, 0]])[0] == expected


def carried_to(places, asked):
    """Gives where tracks were carried to, and notes which were asked for."""

    def carry(ids):
        asked.append(ids.tolist())
        found = [one for one in places if one in asked[-1]]
        boxes = torch.tensor([places[one] for one in found], dtype=torch.float).reshape(-1, 4)
        return torch.tensor(found, dtype=torch.long), boxes

    return carry


LATER = [40, 40, 44, 44]


def test_all_tracks_are_carried_before_association():
    tracker = MatchingTracker(
        iou_weight=0.0, label_weight=0.0, carried='all', carried_weight=4.0, carried_iou=0.25
    )
    _, memory = step(tracker, tracker.init_memory(), [NEAR, FAR], [[5, 0], [0, 5]])
    # Logits: new 0, track 0 2, track 1 0; the look says track 0.
    look, asked = [[0.4, 0.0]], []
    for box, places, expected in (
        (LATER, {}, 0),
        (LATER, {1: LATER}, 1),  # 0 + 4 * 1 is more than 2
        (LATER, {0: LATER, 1: LATER}, 0),
        ([40, 40, 44, 41.6], {1: LATER}, 0),  # 4 * 2/5
        ([40, 40, 44, 43], {1: LATER}, 1),  # 4 * 3/4
        ([40, 40, 44, 40.9], {1: LATER, 0: FAR}, 0),  # less than carried_iou
    ):
        ids, _ = step(tracker, memory, [box], look, carry=carried_to(places, asked))
        assert ids == [expected], (box, places)
    assert asked == [[0, 1]] * 6
    # The same that it finds are not asked for again, and those it lacks are new.
    ids, after = step(tracker, memory, [FAR, LATER], [[5, 0], [-9, -9]], carry=carried_to({}, []))
    assert ids == [0, 2] and after.ids.tolist() == [0, 1, 2]
    # Nothing to carry, or nothing detected.
    step(tracker, tracker.init_memory(), [NEAR], [[5, 0]], carry=carried_to({}, asked))
    step(tracker, memory, [], [], carry=carried_to({}, asked))
    assert len(asked) == 6


@pytest.mark.parametrize(
    ('options', 'place', 'expected'),
    [
        # "New" is better by 5 than either track.
        (dict(carried_weight=5.5), LATER, 1),
        (dict(carried_weight=4.5), LATER, 2),
        # An IoU of 1/2.
        (dict(carried_weight=11), [40, 40, 44, 42], 1),
        (dict(carried_weight=9), [40, 40, 44, 42], 2),
        (dict(carried_weight=100, carried_iou=0.51), [40, 40, 44, 42], 2),
        (dict(carried_weight=100), FAR, 2),
    ],
)
def test_a_detection_where_a_track_was_carried_is_that_track(options, place, expected):
    tracker = MatchingTracker(iou_weight=0.0, label_weight=0.0, **options)
    _, memory = step(tracker, tracker.init_memory(), [NEAR, FAR], [[5, 0], [0, 5]])
    asked = []
    ids, after = step(tracker, memory, [LATER], [[-1, -1]], carry=carried_to({1: place}, asked))
    assert (ids, asked) == ([expected], [[0, 1]])
    assert after.ids.tolist() == list(range(3 if expected == 2 else 2))
    if expected == 1:
        assert after.boxes.tolist() == [NEAR, LATER] and after.last_seen.tolist() == [1, 2]


@pytest.mark.parametrize(('margin', 'second'), [(0.0, 1), (3.0, 2)])
def test_who_loses_a_carried_track_keeps_to_the_margin(margin, second):
    options = dict(iou_weight=0.0, label_weight=0.0, on_conflict='next', conflict_margin=margin)
    tracker = MatchingTracker(**options, carried_weight=10.0)
    _, memory = step(tracker, tracker.init_memory(), [NEAR, FAR], [[5, 0], [0, 5]])
    # "New" is better by 5 than either track. With track 0 the IoUs are 1 and 4/5, which makes 5 and
    # 3 more than "new"; with track 1 3/5 and 3/4, which makes 1 and 2.5.
    boxes, places = [LATER, [40, 40, 44, 43.2]], {0: LATER, 1: [40, 40, 44, 42.4]}
    carry = carried_to(places, [])
    assert step(tracker, memory, boxes, [[-1, -1]] * 2, carry=carry)[0] == [0, second]


@pytest.mark.parametrize('on_conflict', ['drop', 'new'])
def test_detections_without_a_track_share_what_was_carried(on_conflict):
    tracker = MatchingTracker(on_conflict=on_conflict, carried_weight=100.0)
    _, memory = step(tracker, tracker.init_memory(), [NEAR, FAR, LATER], [[5, 0], [0, 5], [0, 0]])
    # Two look like track 0, a third like none; tracks 2 and 1 were carried to the last two.
    boxes, embeddings = [NEAR, [1, 0, 5, 4], [30, 0, 34, 4]], [[5, 0], [4, 0], [-1, -1]]
    asked = []
    carry = carried_to({2: boxes[1], 1: boxes[2]}, asked)
    assert step(tracker, memory, boxes, embeddings, carry=carry)[0] == [0, 2, 1]
    assert asked == [[1, 2]]
    # All have their track, or there is no other: nothing is asked for.
    for some, looks in (([NEAR], [[5, 0]]), ([], [])):
        step(tracker, memory, some, looks, carry=carried_to({}, asked))
    step(tracker, tracker.init_memory(), [NEAR], [[5, 0]], carry=carried_to({}, asked))
    assert asked == [[1, 2]]
    # Nothing was found: as without.
    alone = step(tracker, memory, boxes, embeddings)[0]
    assert step(tracker, memory, boxes, embeddings, carry=carried_to({}, asked))[0] == alone


def test_dropped_detections_leave_no_trace():
    tracker, memory = MatchingTracker(), MatchingTracker().init_memory()
    _, memory = step(tracker, memory, [NEAR], [[5, 0]])
    embeddings = [[0.1, 0], [5, 0], [-1, 3]]
    ids, after = step(tracker, memory, [NEAR, NEAR, FAR], embeddings, [1, 1, 2])
    assert ids == [-1, 0, 1] and after.ids.tolist() == [0, 1] and after.next_id == 2
    assert after.embeddings.tolist() == [[5, 0], [-1, 3]]


RETAIN = 'num_frames_retain must be a positive integer or None'


@pytest.mark.parametrize(
    ('on_conflict', 'options', 'message'),
    [
        *(('drop', dict(num_frames_retain=value), RETAIN) for value in (0, -1, 2.5, True, 'all')),
        ('first', {}, "on_conflict must be one of drop, next, .* got 'first'"),
        ('new', dict(conflict_margin=0.5), "conflict_margin is for on_conflict='next', got 0.5"),
        ('next', dict(conflict_margin='1'), "conflict_margin must be a number, got '1'"),
        ('drop', dict(carried_weight=-1), 'carried_weight must be a number from 0, got -1'),
        ('drop', dict(carried_weight=True), 'carried_weight must be a number from 0, got True'),
        ('drop', dict(carried_weight=math.inf), 'carried_weight must be a number from 0, got inf'),
        ('drop', dict(carried_iou=-0.1), r'carried_iou must be a number in \[0, 1\], got -0.1'),
        ('drop', dict(carried_iou=1.5), r'carried_iou must be a number in \[0, 1\], got 1.5'),
        ('drop', dict(carried='some'), "carried must be one of missing, all, got 'some'"),
    ],
)
def test_bad_rules_are_refused(on_conflict, options, message):
    with pytest.raises(ValueError, match=message):
        MatchingTracker(on_conflict=on_conflict, **options)
