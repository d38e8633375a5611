from unittest import mock

import pytest
import torch
from mmengine.structures import InstanceData

from tests.models.small_models import frame_metainfo
from tests.models.test_propagation_head import CHANNELS, SlowHead
from vispropnet.models.frame_masks import FrameMasks
from vispropnet.models.prop_heads import PropagationHead
from vispropnet.models.prop_heads.boxes import mask_boxes
from vispropnet.models.trackers import CarriedTracks, HistoryFrame, TrackRecovery

# The features have a cell for 8 x 8 pixels.
SIZE, SIGMA = (32, 40), 3.0
INFO = frame_metainfo(img_shape=SIZE, ori_shape=SIZE)


@pytest.fixture
def head():
    torch.manual_seed(3)
    sizes = dict(in_channels=2, num_levels=1, channels=CHANNELS, num_mask_convs=2, num_classes=3)
    head = PropagationHead(**sizes, level=0, test_sigma=SIGMA)
    head.init_weights()
    return head.eval()


def features():
    return torch.randn(CHANNELS, 4, 5)


def longs(numbers):
    return torch.tensor(numbers, dtype=torch.long)


def boxes_of(sides):
    return torch.tensor(sides, dtype=torch.float).reshape(-1, 4)


# Boxes, ids, labels and scores.
HISTORY = [
    ([[0, 0, 20, 12], [8, 8, 32, 30]], [7, 2], [1, 0], [0.25, 0.7]),
    ([], [], [], []),
    ([[10, 8, 34, 30]], [2], [2], [0.9]),
    ([[20, 4, 39, 16], [4, 0, 24, 12]], [5, 7], [0, 1], [0.2, 0.75]),
]


@pytest.fixture
def history():
    return tuple(
        HistoryFrame(features(), boxes_of(boxes), longs(ids), longs(labels), torch.tensor(scores))
        for boxes, ids, labels, scores in HISTORY
    )


def recover(recovery, features, detections, history, info, head, known=None):
    # Association knows what the history holds, unless it is told.
    held = sorted({one for entries in history for one in entries.ids.tolist()})
    known = longs(held if known is None else known)
    with torch.no_grad():
        return recovery.recover(features, detections, detections.ids, known, history, info, head)


def detections(ids=(), boxes=()):
    made = InstanceData(ids=longs(ids), labels=longs([0] * len(ids)), bboxes=boxes_of(boxes))
    made.scores = torch.full((len(ids),), 0.5)
    return made


@torch.no_grad()
@pytest.mark.parametrize('fusion', ['masks', 'attention'])
@pytest.mark.parametrize('at_once', [1, 3, 9])
@pytest.mark.parametrize('renormalize', [True, False])
def test_probabilities_are_those_of_the_definition(head, history, fusion, at_once, renormalize):
    head.renormalize = renormalize
    current, slow = features(), SlowHead(head)
    # A mask's largest tensor has four single precision numbers for each of the features.
    recovery = TrackRecovery(fusion=fusion, batch_mib=at_once * 16 * current.numel() / 2**20)
    # 5 is in the current frame, 2 and 7 are missing; 2 has label 0 with 0.7, label 2 with 0.9.
    missing = recovery.find_missing(history, torch.tensor([5]))
    assert (missing.ids, missing.labels) == ([2, 7], [2, 1])
    assert missing.scores == pytest.approx([0.8, 0.5])
    found = recovery.probabilities(current, missing, history, head)
    # Frame, row and label of each.
    held = {2: [(0, 1, 0), (2, 0, 2)], 7: [(0, 0, 1), (3, 1, 1)]}
    for one, track, voted in zip(found, (2, 7), (2, 1), strict=True):
        masks, maps = [], []
        for number, row, label in held[track]:
            frames = history[number].features.double(), current.double()
            box = history[number].boxes[row].tolist()
            maps.append(slow.softmax(*slow.attention(*frames, box, label, SIGMA)))
            masks.append(slow.mask(frames[1], maps[-1], label).sigmoid())
        expected = sum(masks) / 2
        if fusion == 'attention':
            expected = slow.mask(current.double(), sum(maps) / 2, voted).sigmoid()
        torch.testing.assert_close(one.double(), expected, rtol=1e-4, atol=1e-5)


def test_recovered_instances_and_what_is_remembered(head, history):
    current, recovery = features(), TrackRecovery(mask_threshold=0.0)
    seen = detections([5], [[18, 4, 37, 16]])
    # The frame as it came is half as large, and the last 8 columns of the input are padding.
    info = INFO | dict(img_shape=(32, 32), ori_shape=(16, 16), scale_factor=(2.0, 2.0))
    found, after = recover(recovery, current, seen, history, info, head)
    # With a threshold of 0 everything is kept: whole frames, without the padding.
    assert (found.ids.tolist(), found.labels.tolist()) == ([2, 7], [2, 1])
    assert found.scores.tolist() == pytest.approx([0.8, 0.5])
    assert found.masks.shape == (2, 16, 16) and found.masks.all()
    assert found.bboxes.tolist() == [[0, 0, 16, 16]] * 2
    # Remembered like detections, with boxes in pixels of the network's input.
    *before, last = after
    assert len(before) == 4 and last.features is current
    assert (last.ids.tolist(), last.labels.tolist()) == ([5, 2, 7], [0, 2, 1])
    assert last.scores.tolist() == pytest.approx([0.5, 0.8, 0.5])
    assert last.boxes.tolist() == [[18, 4, 37, 16], [0, 0, 32, 32], [0, 0, 32, 32]]
    recovery.remember_recovered = False
    _, (*_, last) = recover(recovery, current, seen, history, info, head)
    assert (last.ids.tolist(), last.boxes.tolist()) == ([5], [[18, 4, 37, 16]])


@pytest.mark.parametrize('width', [40, 32])  # beyond it is padding
def test_threshold_applies_at_the_size_of_the_frame(head, history, width):
    current, recovery = features(), TrackRecovery()
    missing = recovery.find_missing(history, torch.tensor([]))
    with torch.no_grad():
        probabilities = recovery.probabilities(current, missing, history, head)
    probabilities = probabilities[:, :, :width]
    recovery.mask_threshold = float(probabilities.median())
    info = INFO | dict(img_shape=(32, width), ori_shape=(32, width))
    found, _ = recover(recovery, current, detections(), history, info, head)
    expected = probabilities > recovery.mask_threshold
    kept = expected.flatten(1).any(dim=1)
    assert torch.equal(found.masks, expected[kept])
    for mask, box in zip(found.masks, found.bboxes.tolist(), strict=True):
        rows, columns = mask.nonzero(as_tuple=True)
        assert box == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    recovery.min_area = int(expected.sum(dim=(1, 2)).max())
    fewer, _ = recover(recovery, current, detections(), history, info, head)
    assert len(fewer) == 1 <= len(found)
    recovery = TrackRecovery(mask_threshold=1 - 1e-7)
    found, after = recover(recovery, current, detections(), history, info, head)
    assert found.masks.shape == (0, 32, width) and found.bboxes.shape == (0, 4)
    assert len(found) == len(after[-1].ids) == 0


def test_only_missing_tracks_are_propagated(head, history):
    head.segment = mock.Mock(wraps=head.segment)
    recovery, box = TrackRecovery(), [0, 0, 8, 8]
    everything = detections([2, 5, 7], [box] * 3)
    found, _ = recover(recovery, features(), everything, history, INFO, head)
    assert len(found) == 0 and not head.segment.called
    assert found.masks.shape == (0, 32, 40) and found.ids.dtype == found.labels.dtype == torch.long
    # Track 5 is in one frame of the history.
    recover(recovery, features(), detections([2, 7], [box] * 2), history, INFO, head)
    assert [len(call.args[2]) for call in head.segment.call_args_list] == [1]


def test_what_was_carried_before_is_not_carried_again(head, history):
    recovery, current = TrackRecovery(mask_threshold=0.0), features()
    seen = detections([2], [[0, 0, 8, 8]])
    with torch.no_grad():
        carried = recovery.carry(current, longs([]), longs([2, 7]), history, INFO, head)
    assert carried.ids.tolist() == [2, 7]
    head.segment = mock.Mock(wraps=head.segment)
    # Track 2 has become a detection meanwhile.
    found, after = recovery.recover(
        current, seen, longs([2]), longs([2, 7]), history, INFO, head, carried
    )
    assert not head.segment.called and found.ids.tolist() == [7]
    plain, expected = recover(recovery, current, seen, history, INFO, head, known=[2, 7])
    assert torch.equal(found.masks, plain.masks) and torch.equal(found.bboxes, plain.bboxes)
    assert torch.equal(after[-1].ids, expected[-1].ids)


@pytest.mark.parametrize(('limit', 'expected'), [(None, [2, 7]), (0.6, [2, 7]), (0.4, [7])])
def test_what_lies_on_a_detection_is_not_recovered(head, history, limit, expected):
    masks = torch.zeros(2, *SIZE, dtype=torch.bool)
    masks[0, :10, :10], masks[1, 20:, :10] = True, True
    carried = CarriedTracks(
        longs([2, 7]), longs([0, 1]), torch.tensor([0.5, 0.6]), mask_boxes(masks), masks
    )
    # Half of the first, and as large: IoU 1 / 3 with the smaller one, 1 / 2 with the other.
    seen = detections([5, 6], [[0, 5, 10, 15], [0, 0, 10, 5]])
    found = torch.zeros(2, *SIZE, dtype=torch.bool)
    found[0, 5:15, :10], found[1, :5, :10] = True, True
    seen.masks = FrameMasks.dense(found)
    recovery = TrackRecovery(duplicate_iou=limit)
    given = longs([5, 6]), longs([2, 5, 6, 7]), history, INFO, head, carried
    recovered, after = recovery.recover(features(), seen, *given)
    assert recovered.ids.tolist() == expected
    assert after[-1].ids.tolist() == [5, 6, *expected]


def test_history_is_bounded_and_forgets(head):
    recovery, history = TrackRecovery(history_length=2, mask_threshold=1 - 1e-7), ()
    for number in range(4):
        seen = detections([number], [[0, 0, 16, 16]])
        _, history = recover(recovery, features(), seen, history, INFO, head)
    assert [one.ids.tolist() for one in history] == [[2], [3]]
    assert recovery.find_missing(history, torch.tensor([3])).ids == [2]


def test_forgotten_and_unsure_tracks_are_not_carried_on(head, history):
    for least, expected in ((0.5, [2, 7]), (0.51, [2])):
        assert TrackRecovery(min_score=least).find_missing(history, longs([])).ids == expected
    recovery, seen = TrackRecovery(mask_threshold=0.0), detections([5], [[0, 0, 8, 8]])
    assert recovery.find_missing(history, torch.tensor([5]), torch.tensor([2])).ids == [2]
    found, _ = recover(recovery, features(), seen, history, INFO, head, known=[5, 7])
    assert found.ids.tolist() == [7]


@torch.no_grad()
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision(head, history, dtype):
    current, recovery = features(), TrackRecovery()
    missing = recovery.find_missing(history, torch.tensor([5]))
    expected = recovery.probabilities(current, missing, history, head)
    with torch.autocast('cpu', dtype=dtype):
        found = recovery.probabilities(current.to(dtype), missing, history, head)
    torch.testing.assert_close(found.float(), expected, rtol=0, atol=0.02)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(history_length=0), 'history_length must be at least 1, got 0'),
        (dict(history_length=-3), 'history_length must be at least 1, got -3'),
        (dict(history_length=2.5), 'history_length must be an integer, got 2.5'),
        (dict(fusion='mean'), "fusion must be 'masks' or 'attention', got 'mean'"),
        (dict(mask_threshold=1.5), r'mask_threshold must be in \[0, 1\), got 1.5'),
        (dict(min_score=-1), r'min_score must be in \[0, 1\), got -1'),
        (dict(mask_threshold='abc'), 'mask_threshold must be'),
        (dict(masks='both'), "masks must be 'propagation' or 'detector', got 'both'"),
        (dict(duplicate_iou=1.5), r'duplicate_iou must be in \[0, 1\), got 1.5'),
        (dict(enabled='no'), "enabled must be True or False, got 'no'"),
        (dict(remember_recovered='off'), "remember_recovered must be True or False, got 'off'"),
    ],
)
def test_settings_that_make_no_sense(arguments, message):
    with pytest.raises(ValueError, match=message):
        TrackRecovery(**arguments)
