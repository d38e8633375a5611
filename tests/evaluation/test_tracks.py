import pytest
import torch

from tests.evaluation.content import track
from vispropnet.errors import UserError
from vispropnet.evaluation.tracks import TrackAccumulator, TrackStore
from vispropnet.models.frames import TrackScores

RLE = {'size': [3, 4], 'counts': '066'}  # the two left columns


def test_category_and_score_of_a_track():
    accumulator = TrackAccumulator()
    # Track 4: label 2 once with 0.9, label 0 twice with 0.5 each: 1.0 > 0.9. Track 1: 0.25 each.
    accumulator.add_frame(0, [4, 1], [2, 3], [0.9, 0.25], [RLE, RLE])
    accumulator.add_frame(1, torch.tensor([4]), torch.tensor([0]), torch.tensor([0.5]), [RLE])
    accumulator.add_frame(2, [], [], [], [])
    accumulator.add_frame(3, [1, 4], [1, 0], [0.25, 0.5], [RLE, RLE])
    first, second = accumulator.results(9, 5, [10, 20, 30, 40])
    assert first == track(9, 10, pytest.approx(1.9 / 3), [RLE, RLE, None, RLE, None])
    # Equal sums for labels 1 and 3: the smaller one.
    assert second == track(9, 20, 0.25, [RLE, None, None, RLE, None])


def test_propagated_masks_are_told():
    accumulator = TrackAccumulator()
    accumulator.add_frame(0, [4, 1], [0, 0], [0.9, 0.8], [RLE, RLE])
    # It says nothing of category and score.
    accumulator.add_frame(1, [4], [1], [0.3], [RLE], propagated=torch.tensor([True]))
    accumulator.add_frame(2, [1, 4], [0, 0], [0.8, 0.9], [RLE, RLE], propagated=[False, False])
    first, second = accumulator.results(9, 4, [10, 20])
    more = {'propagated': [False, True, False, False]}
    assert first == {**track(9, 10, pytest.approx(0.9), [RLE, RLE, RLE, None]), **more}
    assert 'propagated' not in second


def test_tracks_of_equal_score_go_by_id_and_none_comes_twice_or_without_a_category():
    accumulator = TrackAccumulator()
    accumulator.add_frame(0, [7, 3, 5], [0, 1, 2], [0.5, 0.5, 0.75], [RLE] * 3)
    results = accumulator.results(1, 1, [70, 30, 50])
    assert [one['category_id'] for one in results] == [50, 30, 70]
    assert list(TrackAccumulator().results(1, 3, [1])) == []
    # What a model may not give.
    accumulator = TrackAccumulator()
    with pytest.raises(UserError, match='track 2 is twice in frame 0'):
        accumulator.add_frame(0, [2, 2], [0, 0], [0.5, 0.5], [RLE, RLE])
    accumulator.add_frame(0, [2], [4], [0.5], [RLE])
    with pytest.raises(AssertionError, match='label 4, but there are 1'):
        list(accumulator.results(1, 1, [1]))


def test_a_model_may_rate_its_tracks_itself():
    accumulator = TrackAccumulator()
    accumulator.add_frame(0, [4, 1, 6], [0, 0, 0], [0.9, 0.8, 0.7], [RLE] * 3)
    accumulator.add_frame(2, [4], [1], [0.9], [RLE])
    # Track 4 in two categories, one of which scores as track 1; track 7 was in no frame; track 6
    # is not rated; the file has no category for label 2.
    ids, labels = torch.tensor([7, 4, 1, 4, 1]), torch.tensor([0, 1, 0, 0, 2])
    scores = TrackScores(ids, labels, torch.tensor([0.875, 0.25, 0.5, 0.5, 0.75]))
    assert list(accumulator.results(9, 3, [10, 20, None], scores)) == [
        track(9, 10, 0.5, [RLE, None, None]),
        track(9, 10, 0.5, [RLE, None, RLE]),
        track(9, 20, 0.25, [RLE, None, RLE]),
    ]
    none = TrackScores(*(one[:0] for one in (ids, labels, torch.zeros(1))))
    assert list(accumulator.results(9, 3, [10, 20, None], none)) == []


def test_stored_tracks_come_back_in_file_order():
    store = TrackStore()
    assert len(store) == 0 and list(store) == [] and store.propagated() == 0
    places = (3, 5, 1 / 3), (3, 3, 0.1), (3, 4, 0.1), (7, 2, 0.5), (7, 1, 0.25)
    first, second, third, fourth, last = tracks = [track(*one, [RLE, None]) for one in places]
    first['propagated'], fourth['propagated'] = [True, True], [False, True]
    store.extend([last, fourth])
    store.extend(iter([second, third, first]))
    store.extend([])
    assert list(store) == tracks
    assert list(store) == tracks  # and again
    assert len(store) == 5 and store.propagated() == 3


@pytest.mark.parametrize('kind', [TrackAccumulator, TrackStore])
def test_no_room_for_temporary_files(kind):
    keeper = kind()
    keeper._database.execute('PRAGMA max_page_count = 4')
    long = {'size': [3, 4], 'counts': '066' * 5000}
    with pytest.raises(UserError, match='temporary file: database or disk is full.*TMPDIR'):
        if kind is TrackStore:
            keeper.extend([track(1, 1, 0.5, [long])])
        else:
            keeper.add_frame(0, [1], [0], [0.5], [long])
