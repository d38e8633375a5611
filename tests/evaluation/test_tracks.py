import pytest
import torch

from vispropnet.errors import UserError
from vispropnet.evaluation.tracks import TrackAccumulator, TrackStore

RLE = {'size': [3, 4], 'counts': '066'}  # the two left columns


def test_category_and_score_of_a_track():
    accumulator = TrackAccumulator()
    # Track 4: label 2 once with 0.9, label 0 twice with 0.5 each: 1.0 > 0.9. Track 1: 0.25 each.
    accumulator.add_frame(0, [4, 1], [2, 3], [0.9, 0.25], [RLE, RLE])
    accumulator.add_frame(1, torch.tensor([4]), torch.tensor([0]), torch.tensor([0.5]), [RLE])
    accumulator.add_frame(2, [], [], [], [])
    accumulator.add_frame(3, [1, 4], [1, 0], [0.25, 0.5], [RLE, RLE])
    first, second = accumulator.results(9, 5, [10, 20, 30, 40])
    assert first == {
        'video_id': 9,
        'category_id': 10,
        'score': pytest.approx(1.9 / 3),
        'segmentations': [RLE, RLE, None, RLE, None],
    }
    # Equal sums for labels 1 and 3: the smaller one.
    assert second == {
        'video_id': 9,
        'category_id': 20,
        'score': 0.25,
        'segmentations': [RLE, None, None, RLE, None],
    }


def test_propagated_masks_are_told():
    accumulator = TrackAccumulator()
    accumulator.add_frame(0, [4, 1], [0, 0], [0.9, 0.8], [RLE, RLE])
    # It says nothing of category and score.
    accumulator.add_frame(1, [4], [1], [0.3], [RLE], propagated=torch.tensor([True]))
    accumulator.add_frame(2, [1, 4], [0, 0], [0.8, 0.9], [RLE, RLE], propagated=[False, False])
    first, second = accumulator.results(9, 4, [10, 20])
    assert first['propagated'] == [False, True, False, False]
    assert first['category_id'] == 10 and first['score'] == pytest.approx(0.9)
    assert 'propagated' not in second


def test_tracks_of_equal_score_go_by_id():
    accumulator = TrackAccumulator()
    accumulator.add_frame(0, [7, 3, 5], [0, 1, 2], [0.5, 0.5, 0.75], [RLE] * 3)
    categories = [track['category_id'] for track in accumulator.results(1, 1, [70, 30, 50])]
    assert categories == [50, 30, 70]
    assert list(TrackAccumulator().results(1, 3, [1])) == []


def test_what_a_model_may_not_give():
    accumulator = TrackAccumulator()
    with pytest.raises(UserError, match='track 2 is twice in frame 0'):
        accumulator.add_frame(0, [2, 2], [0, 0], [0.5, 0.5], [RLE, RLE])
    accumulator.add_frame(0, [2], [4], [0.5], [RLE])
    with pytest.raises(AssertionError, match='label 4, but there are 1'):
        list(accumulator.results(1, 1, [1]))


def entry(video, score, name, propagated=None):
    found = {'video_id': video, 'category_id': name, 'score': score, 'segmentations': [RLE, None]}
    return found if propagated is None else {**found, 'propagated': propagated}


def test_stored_tracks_come_back_in_file_order():
    store = TrackStore()
    assert len(store) == 0 and list(store) == [] and store.propagated() == 0
    store.extend([entry(7, 0.25, 1), entry(7, 0.5, 2, [False, True])])
    store.extend(iter([entry(3, 0.1, 3), entry(3, 0.1, 4), entry(3, 1 / 3, 5, [True, True])]))
    store.extend([])
    expected = [entry(3, 1 / 3, 5, [True, True]), entry(3, 0.1, 3), entry(3, 0.1, 4)]
    expected += [entry(7, 0.5, 2, [False, True]), entry(7, 0.25, 1)]
    assert list(store) == expected
    assert list(store) == expected  # and again
    assert len(store) == 5 and store.propagated() == 3


@pytest.mark.parametrize('kind', [TrackAccumulator, TrackStore])
def test_no_room_for_temporary_files(kind):
    keeper = kind()
    keeper._database.execute('PRAGMA max_page_count = 4')
    long = {'size': [3, 4], 'counts': '066' * 5000}
    with pytest.raises(UserError, match='temporary file: database or disk is full.*TMPDIR'):
        if kind is TrackStore:
            keeper.extend([{**entry(1, 0.5, 1), 'segmentations': [long]}])
        else:
            keeper.add_frame(0, [1], [0], [0.5], [long])
