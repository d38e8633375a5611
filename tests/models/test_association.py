import itertools
import math

import pytest
import torch

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
    for rows, columns in itertools.product(range(1, 8), repeat=2):
        matrix = torch.randn(rows, columns)
        assert assign(matrix, 'next').tolist() == slow_assignment(matrix.tolist())


def test_loser_takes_its_next_best_or_becomes_new():
    # Both want track 1; the second is surer of it. The first prefers track 2 over being new.
    wanted = torch.tensor([[0.0, 5, 1], [0, 6, 2]])
    assert assign(wanted, 'next').tolist() == [2, 1]
    assert assign(wanted, 'next', 0.9).tolist() == [2, 1]
    assert assign(wanted, 'next', 1.1).tolist() == [0, 1]
    assert assign(torch.tensor([[2.0, 5, 1], [0, 6, 2]]), 'next').tolist() == [0, 1]
    # The margin is for losers alone: the second has its first choice.
    assert assign(torch.tensor([[0.0, 5, 1], [5.5, 6, 2]]), 'next', 9).tolist() == [0, 1]


@pytest.mark.parametrize('on_conflict', ['new', 'drop', 'next', 'hungarian'])
def test_without_conflict_all_rules_agree(on_conflict):
    wanted = torch.tensor([[0.0, 1, 5], [3, 1, 2], [0, 4, 1]])
    assert assign(wanted, on_conflict).tolist() == [2, 0, 1]
    assert assign(torch.zeros(0, 3), on_conflict).tolist() == []
    assert assign(torch.tensor([[0.5], [0.1]]), on_conflict).tolist() == [0, 0]


def test_losers_are_new_or_dropped():
    # Three want track 1, the third most; the fourth wants to be new, the fifth has track 2.
    wanted = torch.tensor([[0.0, 5, 1], [0, 6, 2], [0, 7, 3], [9, 8, 0], [0, 1, 2]])
    assert assign(wanted, 'new').tolist() == [0, 0, 1, 0, 2]
    assert assign(wanted, 'drop').tolist() == [-1, -1, 1, 0, 2]
    # Of equals the first.
    assert assign(torch.tensor([[0.0, 5], [0, 5]]), 'drop').tolist() == [1, -1]


@pytest.mark.parametrize('rows', [1, 2, 3, 4])
@pytest.mark.parametrize('tracks', [0, 1, 2, 3])
def test_largest_sum_equals_trying_all(rows, tracks):
    matrix = torch.randn(rows, 1 + tracks, dtype=torch.float64)

    def total(columns):
        return sum(matrix[row, column].item() for row, column in enumerate(columns))

    def fits(columns):
        return all(columns.count(one) < 2 for one in range(1, 1 + tracks))

    best = max(filter(fits, itertools.product(range(1 + tracks), repeat=rows)), key=total)
    found = assign(matrix, 'hungarian').tolist()
    assert fits(found) and total(found) == pytest.approx(total(best))
    # The score of a detection, which adds to all of its row, changes nothing.
    assert assign(matrix + torch.randn(rows, 1), 'hungarian').tolist() == found


def test_hopeless_detections_are_assigned_too():
    hopeless = float('-inf')
    scores = torch.tensor([[1.0, 3], [hopeless, hopeless], [float('nan')] * 2])
    for on_conflict in ('new', 'drop', 'next', 'hungarian'):
        assert assign(scores, on_conflict).tolist() == [1, 0, 0]


def step(tracker, state, boxes, labels, embeddings, scores=None):
    boxes = torch.tensor(boxes, dtype=torch.float).reshape(-1, 4)
    return tracker.associate(
        torch.tensor(embeddings, dtype=torch.float).reshape(len(boxes), 2),
        boxes,
        torch.tensor(labels, dtype=torch.long),
        torch.tensor(scores or [0.9] * len(boxes)),
        state,
        lambda found, known: torch.nn.functional.pad(found @ known.t(), (1, 0)),
    )


def test_ids_follow_embeddings_and_are_never_given_twice():
    tracker, state = MatchingTracker(on_conflict='new'), MatchingTracker().init_memory()
    near, far = [0, 0, 4, 4], [20, 20, 24, 24]
    ids, state = step(tracker, state, [near, far], [1, 1], [[5, 0], [0, 5]])
    assert ids.tolist() == [0, 1]
    # They changed places: embeddings outweigh the boxes.
    ids, state = step(tracker, state, [near, far], [1, 1], [[0, 5], [5, 0]])
    assert ids.tolist() == [1, 0]
    # Two detections of one object: one keeps the id, the other is new.
    ids, state = step(tracker, state, [far, far], [1, 1], [[5, 0], [5, 0]], [0.5, 0.9])
    assert ids.tolist() == [2, 0]
    assert (state.next_id, state.num_frames) == (3, 3)


def test_memory_holds_the_latest_of_each_track():
    tracker = MatchingTracker()
    state = tracker.init_memory()
    _, state = step(tracker, state, [[0, 0, 4, 4], [9, 9, 12, 12]], [1, 2], [[5, 0], [0, 5]])
    _, state = step(tracker, state, [[1, 0, 5, 4]], [1], [[6, 1]])
    found = [one.tolist() for one in (state.ids, state.boxes, state.embeddings, state.labels)]
    assert found == [[0, 1], [[1, 0, 5, 4], [9, 9, 12, 12]], [[6, 1], [0, 5]], [1, 2]]


def test_empty_frames_keep_the_memory_and_the_old_state_is_untouched():
    tracker, first = MatchingTracker(), MatchingTracker().init_memory()
    ids, state = step(tracker, first, [], [], [])
    assert ids.tolist() == [] and state.num_frames == 1
    _, known = step(tracker, state, [[0, 0, 4, 4]], [0], [[5, 0]])
    ids, after = step(tracker, known, [], [], [])
    assert ids.tolist() == []
    assert after.ids.tolist() == [0]
    ids, _ = step(tracker, after, [[0, 0, 4, 4]], [0], [[5, 0]])
    assert ids.tolist() == [0]
    assert known.boxes.tolist() == [[0, 0, 4, 4]] and first.next_id == 0


def test_another_label_makes_a_new_track():
    tracker, state = MatchingTracker(), MatchingTracker().init_memory()
    _, state = step(tracker, state, [[0, 0, 4, 4]], [0], [[2, 0]])
    ids, _ = step(tracker, state, [[0, 0, 4, 4]], [1], [[2, 0]])
    assert ids.tolist() == [1]
    lenient = MatchingTracker(label_weight=0.0)
    ids, _ = step(lenient, state, [[0, 0, 4, 4]], [1], [[2, 0]])
    assert ids.tolist() == [0]


def test_tracks_unseen_for_long_are_forgotten():
    tracker, state = MatchingTracker(num_frames_retain=2), MatchingTracker().init_memory()
    near, far = [0, 0, 4, 4], [20, 20, 24, 24]
    _, state = step(tracker, state, [near, far], [1, 1], [[5, 0], [0, 5]])
    for _ in range(2):
        ids, state = step(tracker, state, [near], [1], [[5, 0]])
        assert ids.tolist() == [0]
    # Track 1 was last seen three frames ago: the last two did not show it.
    ids, state = step(tracker, state, [far], [1], [[0, 5]])
    assert ids.tolist() == [2]
    assert state.ids.tolist() == [0, 2] and state.last_seen.tolist() == [3, 4]
    assert state.boxes.tolist() == [near, far] and len(state.embeddings) == len(state.labels) == 2
    # Frames without detections count, and may leave nothing.
    for _ in range(3):
        _, state = step(tracker, state, [], [], [])
    ids, state = step(tracker, state, [near], [1], [[5, 0]])
    assert ids.tolist() == [3] and state.ids.tolist() == [3]


@pytest.mark.parametrize(('retain', 'expected'), [(3, [0]), (None, [0]), (2, [1])])
def test_for_how_many_frames_a_track_is_remembered(retain, expected):
    tracker, state = MatchingTracker(num_frames_retain=retain), MatchingTracker().init_memory()
    _, state = step(tracker, state, [[0, 0, 4, 4]], [0], [[5, 0]])
    for _ in range(2):
        _, state = step(tracker, state, [], [], [])
    ids, _ = step(tracker, state, [[0, 0, 4, 4]], [0], [[5, 0]])
    assert ids.tolist() == expected


def test_dropped_detections_leave_no_trace():
    tracker, memory = MatchingTracker(), MatchingTracker().init_memory()
    near = [0, 0, 4, 4]
    _, memory = step(tracker, memory, [near], [1], [[5, 0]])
    ids, after = step(
        tracker, memory, [near, near, [9, 9, 12, 12]], [1, 1, 2], [[0.1, 0], [5, 0], [-1, 3]]
    )
    assert ids.tolist() == [-1, 0, 1]
    assert after.ids.tolist() == [0, 1] and after.next_id == 2
    assert after.embeddings.tolist() == [[5, 0], [-1, 3]]


RETAIN = 'num_frames_retain must be a positive integer or None'


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        *((dict(num_frames_retain=value), RETAIN) for value in (0, -1, 2.5, True, 'all')),
        (dict(on_conflict='first'), "on_conflict must be one of drop, next, .* got 'first'"),
        (
            dict(on_conflict='new', conflict_margin=0.5),
            r"conflict_margin is for on_conflict='next', got 0.5",
        ),
        (
            dict(on_conflict='next', conflict_margin='1'),
            "conflict_margin must be a number, got '1'",
        ),
    ],
)
def test_bad_rules_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        MatchingTracker(**options)
