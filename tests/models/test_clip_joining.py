import pytest
import torch

from tests.models.clip_videos import (
    best_assignment,
    example,
    ids_of,
    permuted,
    random_clips,
    slow_ids,
    slow_overlap,
    stream,
)
from vispropnet.models.trackers import ClipJoiner, JoinMemory
from vispropnet.models.trackers.clip_joining import joining_scores
from vispropnet.models.trackers.clip_tracks import ClipTracks, clip_overlaps

KINDS = ['frames', 'space-time']


def tracks(clips):
    """The clips as the joiner holds them."""
    found = []
    for centre, clip in enumerate(clips):
        masks = tuple(clip[frame] for frame in sorted(clip))
        count = len(masks[0])
        columns = torch.zeros(count, dtype=torch.long), torch.ones(count)
        found.append(ClipTracks(centre, min(clip), masks, *columns))
    return found


def overlaps(clips, number, earlier, kind):
    some = tracks(clips)
    return clip_overlaps(some[number], [some[one] for one in earlier], kind)


def test_the_worked_example():
    clips = example()
    second = overlaps(clips, 1, [0], 'frames')
    torch.testing.assert_close(second, torch.tensor([[0], [3 / 4]]))
    third = overlaps(clips, 2, [0, 1], 'frames')
    torch.testing.assert_close(third, torch.tensor([[2 / 3, 1 / 12, 5 / 8], [0, 5 / 6, 0]]))
    known, means = joining_scores(third, torch.tensor([1, 2, 1]))
    assert known.tolist() == [1, 2]
    torch.testing.assert_close(means, torch.tensor([[31 / 48, 1 / 12], [0, 5 / 6]]))
    assert ids_of(clips, reach=1, threshold=1 / 4) == [[0], [1, 0], [0, 1]]


def test_the_worked_example_in_space_time():
    clips = example()
    third = overlaps(clips, 2, [0, 1], 'space-time')
    assert third[1, 1].item() == pytest.approx(4 / 5)
    assert third[0, 1].item() == pytest.approx(1 / 10)
    assert third[0, 0].item() == pytest.approx(2 / 3) and third[1, 0] == third[1, 2] == 0
    assert ids_of(clips, reach=1, overlap='space-time') == [[0], [1, 0], [0, 1]]


@pytest.mark.parametrize('kind', KINDS)
def test_overlaps_are_symmetric_and_those_of_loops(kind):
    clips = random_clips(6, 2, seed=3)
    found = overlaps(clips, 4, [2, 3], kind)
    counts = [len(clips[number][number]) for number in (2, 3, 4)]
    assert found.shape == (counts[2], counts[0] + counts[1]) and found.max() > 0.3
    for row in range(counts[2]):
        for column in range(counts[0]):
            expected = slow_overlap(clips[4], row, clips[2], column, kind)
            assert found[row, column].item() == pytest.approx(expected, abs=1e-6)
            mirrored = slow_overlap(clips[2], column, clips[4], row, kind)
            assert mirrored == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize(
    ('length', 'reach'),
    [(1, 6), (2, 1), (3, 6), (5, 0), (7, 3), (13, 6), (18, 1), (25, 3), (40, 2)],
)
def test_streaming_equals_the_whole_video(length, reach, kind):
    clips = random_clips(length, reach, seed=100 * length + reach)
    found = ids_of(clips, reach=reach, overlap=kind)
    assert found == slow_ids(clips, reach, overlap=kind)
    for ids in found:
        assert len(set(ids)) == len(ids)
    numbers = sorted({one for ids in found for one in ids})
    assert numbers == list(range(len(numbers)))
    if reach and length > 6:
        assert len(numbers) < sum(len(ids) for ids in found) / 2


@pytest.mark.parametrize('seed', range(4))
def test_the_order_of_detections_does_not_matter(seed):
    clips = random_clips(20, 3, seed)
    shuffled, orders = permuted(clips, seed + 50)
    names = {}
    for ids, moved, order in zip(
        ids_of(clips, reach=3), ids_of(shuffled, reach=3), orders, strict=True
    ):
        for place, one in zip(order.tolist(), moved, strict=True):
            assert names.setdefault(one, ids[place]) == ids[place]
    assert len(set(names.values())) == len(names)


@pytest.mark.parametrize('delay', [0, 1, 2])
def test_a_smaller_delay_joins_with_what_is_known_by_then(delay):
    reach, length = 3, 15
    clips = random_clips(length, reach, seed=8)
    found = ids_of(clips, reach=reach, delay=delay)
    # Frame by frame the definition, on clips that end with the frame that arrived.
    for number in range(length):
        last = min(number + delay, length - 1)
        known = [{f: m for f, m in clip.items() if f <= last} for clip in clips[: number + 1]]
        ids = found[:number]
        expected = slow_next_ids(known, ids, reach)
        assert found[number] == expected


def slow_next_ids(clips, ids, reach):
    """Ids of the last clip, where those of the others are known."""
    *before, clip = clips
    number, means = len(before), []
    for row in range(len(clip[number])):
        values = {}
        for earlier in range(max(number - 2 * reach, 0), number):
            if before[earlier].keys() & clip.keys():
                for column, known in enumerate(ids[earlier]):
                    value = slow_overlap(clip, row, before[earlier], column, 'frames')
                    values.setdefault(known, []).append(value)
        means.append({one: sum(m) / len(m) for one, m in values.items()})
    own, next_id = best_assignment(means, 0.25), max(sum(ids, [-1])) + 1
    for row, one in enumerate(own):
        if one is None:
            own[row], next_id = next_id, next_id + 1
    return own


def test_without_reach_every_detection_is_new():
    clips = random_clips(5, 0, seed=1)
    found = ids_of(clips, reach=0)
    count = sum(len(ids) for ids in found)
    assert sum(found, []) == list(range(count))


def test_ids_live_on_through_frames_without_detections():
    mask = torch.ones(1, 2, 2)
    none = mask[:0]
    shows = [True, False, False, True]
    clips = [{f: mask if shows[c] else none for f in range(4) if abs(f - c) <= 2} for c in range(4)]
    assert ids_of(clips, reach=2) == [[0], [], [], [0]]
    # Clips 3 frames apart share none with a reach of 1.
    clips = [{f: m for f, m in clip.items() if abs(f - c) <= 1} for c, clip in enumerate(clips)]
    assert ids_of(clips, reach=1) == [[0], [], [], [1]]


def test_the_threshold_itself_is_not_enough():
    half = {0: torch.tensor([[[1.0, 1, 0, 0]]]), 1: torch.tensor([[[1.0, 1, 0, 0]]])}
    other = {0: torch.tensor([[[1.0, 0, 0, 0]]]), 1: torch.tensor([[[1.0, 0, 0, 0]]])}
    assert ids_of([half, other], reach=1, threshold=0.5) == [[0], [1]]
    assert ids_of([half, other], reach=1, threshold=0.49) == [[0], [0]]


@pytest.mark.parametrize(
    ('weight', 'score', 'ids'),
    # Overlaps of 3/4 and 1/2; the second detection scores 0.3 more, which then counts 0.3 or 0.24.
    [(0.0, 0.9, [0, 1]), (1.0, 0.9, [1, 0]), (0.8, 0.9, [0, 1]), (1.0, 0.8, [0, 1])],
)
def test_scores_decide_who_gets_an_id_but_not_whether(weight, score, ids):
    whole = torch.ones(1, 1, 4)
    two = torch.tensor([[[1.0, 1, 1, 0]], [[1.0, 1, 0, 0]]])
    for threshold in (0.4, 0.75):
        joiner = ClipJoiner(reach=1, threshold=threshold, score_weight=weight)
        label = torch.zeros(1, dtype=torch.long)
        _, memory = joiner.take_in(JoinMemory(), [], [whole], label, torch.ones(1))
        scores = torch.tensor([0.6, score])
        joined, memory = joiner.take_in(memory, [whole], [two, two], label.repeat(2), scores)
        joined += joiner.finish(memory)
        expected = ids if threshold == 0.4 else [1, 2]
        assert [one.ids.tolist() for one in joined] == [[0], expected]


@pytest.mark.parametrize('fill', [False, True])
@pytest.mark.parametrize('delay', [0, 3])
def test_memory_is_bounded_by_the_reach(delay, fill):
    reach, sizes = 3, []
    clips = random_clips(60, reach, seed=5)

    def watch(memory):
        masks = sum(len(clip.masks) for clip in memory.clips)
        sizes.append((len(memory.clips), masks))
        assert len(memory.clips) <= 2 * reach + delay + 1

    stream(clips, ClipJoiner(reach=reach, delay=delay, fill_missed=fill), watch)
    assert max(sizes[30:]) == max(sizes[:30])


@pytest.mark.parametrize('delay', [0, 2])
def test_missed_objects_are_filled_in_from_both_sides(delay):
    # One object at rest; the detector misses it in frames 2 and 3, and it is gone after frame 5.
    there = torch.tensor([[[0.9, 0.9, 0.0, 0.0]]])
    shows = [True, True, False, False, True, True, False, False, False, False]
    clips = []
    for centre, shown in enumerate(shows):
        frames = range(max(centre - 2, 0), min(centre + 3, len(shows)))
        clips.append({f: (there * (1 if f < 6 else 0.1)) if shown else there[:0] for f in frames})
    joiner = ClipJoiner(reach=2, delay=delay, fill_missed=True)
    assert joiner.look_ahead == delay + 2
    joined = stream(clips, joiner)
    assert [one.ids.tolist() for one in joined] == [[0] if shown else [] for shown in shows]
    missed = [one.missed for one in joined]
    assert [one.ids.tolist() for one in missed] == [
        [0] if 2 <= number <= 7 and not shown else [] for number, shown in enumerate(shows)
    ]
    for number in (2, 3):
        torch.testing.assert_close(missed[number].masks, there)
    # Where it has left, the masks of the clips say so.
    assert missed[6].masks.max() < 0.1
    assert missed[3].scores.item() == pytest.approx(0.9) and missed[3].labels.tolist() == [0]


def test_fillings_are_means_with_the_label_of_the_largest_score():
    joiner, memory, joined = ClipJoiner(reach=1, threshold=0.1, fill_missed=True), JoinMemory(), []
    values, labels, scores = [0.8, None, 0.6], [1, None, 2], [0.5, None, 0.7]
    for number, value in enumerate(values):
        count = int(value is not None)
        masks = torch.full((count, 1, 2), value or 0.0)
        column = torch.tensor([labels[number]] * count, dtype=torch.long)
        score = torch.tensor([scores[number]] * count)
        known = torch.full((int(number == 1), 1, 2), 0.8)
        before = max(number - 1, 0)
        carried = [known if before == 0 else masks[:0]] if number else []
        own = [masks] * (2 if number else 1)
        some, memory = joiner.take_in(memory, carried, own, column, score)
        joined += some
    joined += joiner.finish(memory)
    # Frame 1 is known of by the clips around 0 and 2, which share it.
    assert [one.ids.tolist() for one in joined] == [[0], [], [0]]
    missed = joined[1].missed
    assert missed.ids.tolist() == [0] and missed.labels.tolist() == [2]
    torch.testing.assert_close(missed.masks, torch.full((1, 1, 2), 0.7))
    torch.testing.assert_close(missed.scores, torch.tensor([0.6]))


def test_finishing_twice_gives_the_same():
    clips, joiner, memory = random_clips(5, 3, seed=2), ClipJoiner(reach=3), JoinMemory()
    for number in range(5):
        before = range(max(number - 3, 0), number)
        own = [clips[number][frame] for frame in (*before, number)]
        columns = torch.zeros(len(own[0]), dtype=torch.long), torch.ones(len(own[0]))
        carried = [clips[one][number] for one in before]
        _, memory = joiner.take_in(memory, carried, own, *columns)
    first, again = ([one.ids.tolist() for one in joiner.finish(memory)] for _ in range(2))
    assert first == again and len(first) == 3
    assert joiner.finish(JoinMemory()) == []


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(reach=-1), 'reach must be a whole number of 0 or more, got -1'),
        (dict(reach=1.5), 'reach must be .* got 1.5'),
        (dict(reach=2, delay=3), 'delay must be None or a whole number from 0 to reach=2, got 3'),
        (dict(delay=-1), 'delay must be .* got -1'),
        (dict(threshold=1.1), r'threshold must be in \[0, 1\], got 1.1'),
        (dict(threshold=-0.1), r'threshold must be in \[0, 1\], got -0.1'),
        (dict(threshold='x'), r"threshold must be in \[0, 1\], got 'x'"),
        (dict(threshold=float('nan')), r'threshold must be in \[0, 1\], got nan'),
        (dict(overlap='boxes'), "overlap must be one of frames, space-time, got 'boxes'"),
        (dict(score_weight=-1), 'score_weight must be a number of 0 or more, got -1'),
        (dict(score_weight='x'), "score_weight must be a number of 0 or more, got 'x'"),
        (dict(fill_missed='no'), "fill_missed must be True or False, got 'no'"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=f'tracker: {message}'):
        ClipJoiner(**options)


@pytest.mark.gpu
def test_on_a_gpu():
    clips = random_clips(9, 2, seed=4)
    there = [{frame: masks.cuda() for frame, masks in clip.items()} for clip in clips]
    for fill in (False, True):
        assert ids_of(there, reach=2, fill_missed=fill) == ids_of(clips, reach=2)
