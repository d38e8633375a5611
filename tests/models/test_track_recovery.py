import math

import pytest
import torch
from mmengine.structures import InstanceData

from tests.models.small_models import frame_metainfo
from vispropnet.models.prop_heads import PropagationHead
from vispropnet.models.trackers import HistoryFrame, PropagationMemory, TrackRecovery

CHANNELS, HEIGHT, WIDTH = 6, 4, 5
SIGMA = 3.0


@pytest.fixture
def head():
    torch.manual_seed(3)
    head = PropagationHead(
        in_channels=2, num_levels=1, level=0, channels=CHANNELS, num_mask_convs=2, num_classes=3,
        test_sigma=SIGMA,
    )  # fmt: skip
    head.init_weights()
    return head.eval()


def features():
    return torch.randn(CHANNELS, HEIGHT, WIDTH)


def frame(ids, boxes, labels, scores):
    return HistoryFrame(
        features(),
        torch.tensor(boxes, dtype=torch.float).reshape(-1, 4),
        torch.tensor(ids, dtype=torch.long),
        torch.tensor(labels, dtype=torch.long),
        torch.tensor(scores, dtype=torch.float),
    )


def memory_of(history):
    return PropagationMemory(tuple(history))


def recover(recovery, features, detections, memory, info, head, known=None):
    # Association knows what the history holds, unless it is told.
    held = sorted({one for entries in memory.history for one in entries.ids.tolist()})
    known = torch.tensor(held if known is None else known, dtype=torch.long)
    return recovery.recover(features, detections, known, memory, info, head)


def detections(ids=(), boxes=()):
    return InstanceData(
        ids=torch.tensor(ids, dtype=torch.long),
        labels=torch.zeros(len(ids), dtype=torch.long),
        scores=torch.full((len(ids),), 0.5),
        bboxes=torch.tensor(boxes, dtype=torch.float).reshape(-1, 4),
    )


def metainfo(**changes):
    size = (HEIGHT * 8, WIDTH * 8)
    return frame_metainfo(img_shape=size, ori_shape=size, **changes)


def plain_attention(head, reference, current, box, sigma):
    """The definition, position by position."""
    attention = torch.zeros(HEIGHT, WIDTH)
    cells = [(y, x) for y in range(HEIGHT) for x in range(WIDTH)]
    for y, x in cells:
        products = [float(reference[:, j, i] @ current[:, y, x]) for j, i in cells]
        total = sum(math.exp(one) for one in products)
        arrived = [0.0, 0.0]  # background, foreground
        for (j, i), product in zip(cells, products, strict=True):
            weight = math.exp(product) / total
            weight *= math.exp(-((j - y) ** 2 + (i - x) ** 2) / sigma**2)
            centre_x, centre_y = 8 * i + 4, 8 * j + 4
            inside = box[0] <= centre_x <= box[2] and box[1] <= centre_y <= box[3]
            arrived[inside] += weight
        if head.renormalize:
            arrived = [one / sum(arrived) for one in arrived]
        background, foreground = math.exp(arrived[0]), math.exp(arrived[1])
        attention[y, x] = foreground / (foreground + background)
    return attention


def plain_mask(head, current, attention, label):
    """Mask probability of one object from its attention, all categories computed."""
    out = (attention * current)[None]
    for conv in head.mask_convs:
        out = conv.conv(out).relu()
    logits = head.conv_logits(head.upsample(out).relu())
    size = (8 * HEIGHT, 8 * WIDTH)
    logits = torch.nn.functional.interpolate(logits, size=size, mode='bilinear')
    return logits[0, label].sigmoid()


HISTORY = [
    ([7, 2], [[0, 0, 20, 12], [8, 8, 32, 30]], [1, 2], [0.4, 0.9]),
    ([], [], [], []),
    ([2], [[10, 8, 34, 30]], [0], [0.7]),
    ([5, 7], [[20, 4, 39, 16], [4, 0, 24, 12]], [0, 1], [0.2, 0.6]),
]


@torch.no_grad()
@pytest.mark.parametrize('fusion', ['masks', 'attention'])
@pytest.mark.parametrize('batch_mib', [None, 64])
@pytest.mark.parametrize('renormalize', [True, False])
def test_probabilities_are_those_of_the_definition(head, fusion, batch_mib, renormalize):
    head.renormalize = renormalize
    history = [frame(*one) for one in HISTORY]
    current = features()
    recovery = TrackRecovery(fusion=fusion, batch_mib=batch_mib)
    # 5 is in the current frame; 2 and 7 are missing. Label 2 has 0.9 of track 2, label 0 has 0.7.
    missing = recovery.find_missing(tuple(history), torch.tensor([5]))
    assert (missing.ids, missing.labels) == ([2, 7], [2, 1])
    assert missing.scores == pytest.approx([0.8, 0.5])
    found = recovery.probabilities(current, missing, tuple(history), head)
    held = {2: [(0, 1, 2), (2, 0, 0)], 7: [(0, 0, 1), (3, 1, 1)]}
    for position, track in enumerate([2, 7]):
        masks, maps = [], []
        for number, row, label in held[track]:
            reference, box = history[number].features, history[number].boxes[row].tolist()
            maps.append(plain_attention(head, reference, current, box, SIGMA))
            masks.append(plain_mask(head, current, maps[-1], label))
        expected = torch.stack(masks).mean(dim=0)
        if fusion == 'attention':
            expected = plain_mask(head, current, torch.stack(maps).mean(dim=0), [2, 1][position])
        torch.testing.assert_close(found[position], expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_recovered_instances_and_what_is_remembered(head):
    history = [frame(*one) for one in HISTORY]
    current = features()
    memory = memory_of(history)
    recovery = TrackRecovery(mask_threshold=0.0)
    seen = detections([5], [[18, 4, 37, 16]])
    # The frame as it came is half as large, and the last 8 columns of the input are padding.
    info = metainfo() | dict(img_shape=(32, 32), ori_shape=(16, 16), scale_factor=(2.0, 2.0))
    found, after = recover(recovery, current, seen, memory, info, head)
    # With a threshold of 0 everything is kept: whole frames, without the padding.
    assert found.ids.tolist() == [2, 7]
    assert found.labels.tolist() == [2, 1]
    assert found.scores.tolist() == pytest.approx([0.8, 0.5])
    assert found.masks.shape == (2, 16, 16) and found.masks.all()
    assert found.bboxes.tolist() == [[0, 0, 16, 16]] * 2
    # Remembered like detections, with boxes in pixels of the network's input.
    last = after.history[-1]
    assert len(after.history) == 5 and last.features is current
    assert last.ids.tolist() == [5, 2, 7] and last.labels.tolist() == [0, 2, 1]
    assert last.scores.tolist() == pytest.approx([0.5, 0.8, 0.5])
    assert last.boxes.tolist() == [[18, 4, 37, 16], [0, 0, 32, 32], [0, 0, 32, 32]]
    recovery.remember_recovered = False
    _, after = recover(recovery, current, seen, memory, info, head)
    assert after.history[-1].ids.tolist() == [5]
    assert after.history[-1].boxes.tolist() == [[18, 4, 37, 16]]


@torch.no_grad()
def test_threshold_applies_at_the_size_of_the_frame(head):
    history = [frame(*one) for one in HISTORY]
    current, memory = features(), memory_of([frame(*one) for one in HISTORY])
    memory = memory_of(history)
    recovery = TrackRecovery()
    missing = recovery.find_missing(memory.history, torch.tensor([], dtype=torch.long))
    probabilities = recovery.probabilities(current, missing, memory.history, head)
    recovery.mask_threshold = float(probabilities.median())
    found, _ = recover(recovery, current, detections(), memory, metainfo(), head)
    expected = probabilities > recovery.mask_threshold
    kept = expected.flatten(1).any(dim=1)
    assert torch.equal(found.masks, expected[kept])
    for mask, box in zip(found.masks, found.bboxes.tolist(), strict=True):
        rows, columns = mask.nonzero(as_tuple=True)
        assert box == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    recovery.min_area = int(expected.sum(dim=(1, 2)).max())
    fewer, _ = recover(recovery, current, detections(), memory, metainfo(), head)
    assert len(fewer) == 1 <= len(found)


@torch.no_grad()
def test_nothing_left_of_a_mask(head):
    recovery = TrackRecovery(mask_threshold=1 - 1e-7)
    memory = memory_of([frame(*one) for one in HISTORY])
    found, after = recover(recovery, features(), detections(), memory, metainfo(), head)
    assert len(found) == 0 and found.masks.shape == (0, 32, 40) and found.bboxes.shape == (0, 4)
    assert len(after.history[-1].ids) == 0


@torch.no_grad()
def test_only_missing_tracks_are_propagated(head):
    calls = []
    original = head.segment
    head.segment = lambda current, attention, labels: (
        calls.append(len(labels)) or original(current, attention, labels)
    )
    memory = memory_of([frame(*one) for one in HISTORY])
    recovery = TrackRecovery()
    everything = detections([2, 5, 7], [[0, 0, 8, 8]] * 3)
    found, _ = recover(recovery, features(), everything, memory, metainfo(), head)
    assert len(found) == 0 and calls == []
    # Track 5 is in one frame of the history.
    some = detections([2, 7], [[0, 0, 8, 8]] * 2)
    recover(recovery, features(), some, memory, metainfo(), head)
    assert calls == [1]


@torch.no_grad()
def test_history_is_bounded_and_forgets(head):
    recovery = TrackRecovery(history_length=2, mask_threshold=1 - 1e-7)
    memory = memory_of([])
    for number in range(4):
        seen = detections([number], [[0, 0, 16, 16]])
        _, memory = recover(recovery, features(), seen, memory, metainfo(), head)
    assert [one.ids.tolist() for one in memory.history] == [[2], [3]]
    missing = recovery.find_missing(memory.history, torch.tensor([3]))
    assert missing.ids == [2]


@torch.no_grad()
def test_tracks_that_association_forgot_are_not_carried_on(head):
    recovery = TrackRecovery(mask_threshold=0.0)
    history = [frame(*one) for one in HISTORY]
    assert recovery.find_missing(tuple(history), torch.tensor([5]), torch.tensor([2])).ids == [2]
    found, _ = recover(
        recovery,
        features(),
        detections([5], [[0, 0, 8, 8]]),
        memory_of(history),
        metainfo(),
        head,
        [5, 7],
    )
    assert found.ids.tolist() == [7]


@torch.no_grad()
def test_unsure_tracks_can_be_left_out():
    memory = memory_of([frame(*one) for one in HISTORY])
    nobody = torch.tensor([], dtype=torch.long)
    assert TrackRecovery(min_score=0.5).find_missing(memory.history, nobody).ids == [2, 7]
    assert TrackRecovery(min_score=0.51).find_missing(memory.history, nobody).ids == [2]


@torch.no_grad()
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision(head, dtype):
    history = [frame(*one) for one in HISTORY]
    current = features()
    recovery = TrackRecovery()
    missing = recovery.find_missing(tuple(history), torch.tensor([5]))
    expected = recovery.probabilities(current, missing, tuple(history), head)
    with torch.autocast('cpu', dtype=dtype):
        found = recovery.probabilities(current.to(dtype), missing, tuple(history), head)
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
    ],
)
def test_settings_that_make_no_sense(arguments, message):
    with pytest.raises(ValueError, match=message):
        TrackRecovery(**arguments)


@pytest.mark.parametrize(
    'arguments', [dict(enabled='no'), dict(remember_recovered='off'), dict(mask_threshold='abc')]
)
def test_words_for_switches_and_numbers(arguments):
    (name,) = arguments
    with pytest.raises(ValueError, match=f'{name} must be'):
        TrackRecovery(**arguments)
