import numpy as np
import pytest
import torch
from pycocotools import mask as mask_utils

from vispropnet.errors import UserError
from vispropnet.evaluation.tracks import (
    TrackAccumulator,
    checked_rles,
    decode_counts,
    encode_masks,
)

# Comes from inside pycocotools at each call of decode.
pytestmark = pytest.mark.filterwarnings('ignore:__array__ implementation:DeprecationWarning')

VIDEO = {'id': 5, 'height': 3, 'width': 4, 'length': 2}
RLE = {'size': [3, 4], 'counts': '066'}  # the two left columns


def run_lengths(mask):
    """Runs of background and object in turn, column by column."""
    runs, value = [0], 0
    for pixel in mask.T.ravel():
        if pixel != value:
            runs.append(0)
            value = pixel
        runs[-1] += 1
    return runs


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


def test_decode_counts_equals_plain_runs():
    rng = np.random.default_rng(1)
    for scale in (1, 1, 1, 40):  # large runs need several digits, differences may be negative
        for _ in range(12):
            mask = rng.random(rng.integers(1, 40 // scale + 9, 2)) < rng.random()
            mask = np.kron(mask, np.ones((scale, scale))).astype(np.uint8)
            counts = mask_utils.encode(np.asfortranarray(mask))['counts']
            assert decode_counts(counts).tolist() == run_lengths(mask)
            assert decode_counts(counts.decode()).tolist() == run_lengths(mask)


def test_checked_rles_compresses():
    plain = {'size': [3, 4], 'counts': [0, 6, 6]}
    first, second = checked_rles([plain, None], VIDEO, 'x')
    assert first['counts'] == b'066'
    assert second is None
    assert plain == {'size': [3, 4], 'counts': [0, 6, 6]}
    assert checked_rles([RLE, RLE], VIDEO, 'x') == [RLE, RLE]
    assert checked_rles([RLE], {'id': 5}, 'x') == [RLE]
    with pytest.raises(UserError, match='has 1 entries, but video 5 has 2 frames'):
        checked_rles([RLE], {'id': 5, 'file_names': ['a', 'b']}, 'x')


@pytest.mark.parametrize(
    ('mask', 'message'),
    [
        ({'size': [4, 3], 'counts': '066'}, 'the mask is 3x4 pixels .* video 5 is 4x3'),
        ({'size': [3, 4], 'counts': '06'}, "'counts' of the RLE are damaged.*12 .* cover 6"),
        ({'size': [3, 4], 'counts': '0666'}, 'cover 24'),  # the fourth run: 6 + 6
        ({'size': [3, 4], 'counts': '06V'}, 'damaged'),  # stops inside a number
        ({'size': [3, 4], 'counts': ''}, 'cover 0'),
        ({'size': [3, 4], 'counts': [0, 6]}, 'cover 6'),
        ({'size': [3, 4], 'counts': [0, 18, -6]}, 'damaged'),
        ({'size': [3, 4], 'counts': ['a', 12]}, 'damaged'),
        ({'size': [12], 'counts': '066'}, r'\[height, width\], got \[12\]'),
        ({'size': [3, 4]}, 'null or an RLE'),
        ([[0, 0, 2, 0, 2, 2]], 'null or an RLE'),
    ],
)
def test_checked_rles_names_what_is_wrong(mask, message):
    with pytest.raises(UserError, match=message) as caught:
        checked_rles([None, mask], VIDEO, 'entry 8')
    assert str(caught.value).startswith('entry 8, frame 1: ')
