import numpy as np
import pytest
import torch
from pycocotools import mask as mask_utils

from vispropnet.evaluation.tracks import (
    TrackAccumulator,
    encode_masks,
)

# Comes from inside pycocotools at each call of decode.
pytestmark = pytest.mark.filterwarnings('ignore:__array__ implementation:DeprecationWarning')

VIDEO = {'id': 5, 'height': 3, 'width': 4, 'length': 2}
RLE = {'size': [3, 4], 'counts': '066'}  # the two left columns


def test_encode_masks():
    masks = torch.zeros(2, 3, 4, dtype=torch.bool)
    masks[0, :, :2] = True
    masks[1, 2, 3] = True
    expected = [RLE, {'size': [3, 4], 'counts': ';1'}]  # 11 off, 1 on: chr(48 + 11), chr(48 + 1)
    assert encode_masks(masks) == expected
    assert encode_masks(masks.numpy()) == expected
    assert encode_masks(masks[:0]) == []
    assert encode_masks(masks.flip(0)) == expected[::-1]


def test_encode_masks_round_trip_of_uneven_shapes():
    masks = np.random.default_rng(0).random((4, 13, 29)) < 0.4
    rles = encode_masks(torch.from_numpy(masks))
    assert all(isinstance(rle['counts'], str) for rle in rles)
    np.testing.assert_array_equal(mask_utils.decode(rles).transpose(2, 0, 1), masks)


@pytest.mark.parametrize(
    'masks', [torch.zeros(3, 4, dtype=torch.bool), torch.zeros(1, 3, 4), np.zeros((1, 3, 4))]
)
def test_encode_masks_refuses_other_input(masks):
    with pytest.raises(ValueError, match='masks must be bool'):
        encode_masks(masks)


def test_category_and_score_of_a_track():
    accumulator = TrackAccumulator()
    # Track 4: label 2 once with 0.9, label 0 twice with 0.5 each: 1.0 > 0.9. Track 1: 0.25 each.
    accumulator.add_frame(0, [4, 1], [2, 3], [0.9, 0.25], [RLE, RLE])
    accumulator.add_frame(1, torch.tensor([4]), torch.tensor([0]), torch.tensor([0.5]), [RLE])
    accumulator.add_frame(2, [], [], [], [])
    accumulator.add_frame(3, [1, 4], [1, 0], [0.25, 0.5], [RLE, RLE])
    assert len(accumulator) == 2
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
    assert [track['category_id'] for track in accumulator.results(1, 1, [70, 30, 50])] == [
        50,
        30,
        70,
    ]
    assert TrackAccumulator().results(1, 3, [1]) == []


def test_internal_errors():
    accumulator = TrackAccumulator()
    with pytest.raises(AssertionError, match='track 2 is twice in frame 0'):
        accumulator.add_frame(0, [2, 2], [0, 0], [0.5, 0.5], [RLE, RLE])
    with pytest.raises(AssertionError, match='must be equally many'):
        accumulator.add_frame(1, [2, 3], [0, 0], [0.5, 0.5], [RLE])
    accumulator.add_frame(6, [2], [4], [0.5], [RLE])
    with pytest.raises(AssertionError, match='has 5 frames, but track 2'):
        accumulator.results(1, 5, [1])
    with pytest.raises(AssertionError, match='label 4, but there are 1'):
        TrackAccumulatorWithLabel4().results(1, 1, [1])


class TrackAccumulatorWithLabel4(TrackAccumulator):
    def __init__(self):
        super().__init__()
        self.add_frame(0, [2], [4], [0.5], [RLE])
