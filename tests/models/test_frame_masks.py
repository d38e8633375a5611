from unittest import mock

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData
from pycocotools import mask as mask_utils

from vispropnet.models import frame_masks
from vispropnet.models.frame_masks import FrameMasks


def squares(*sides, size=(6, 8)):
    """Full small masks whose boxes are squares at the upper left corner."""
    boxes = torch.tensor([[0, 0, side, side] for side in sides], dtype=torch.float).reshape(-1, 4)
    return FrameMasks.pasted(torch.ones(len(sides), 28, 28), boxes, size, 0.5)


def areas(masks):
    return masks.to_tensor().flatten(1).sum(1).tolist()


def random_masks(count=5, size=(13, 29)):
    return torch.from_numpy(np.random.default_rng(0).random((count, *size)) < 0.4)


def test_arrays_and_run_lengths():
    masks = squares(2, 5)
    assert len(masks) == 2 and masks.shape == (2, 6, 8)
    expected = torch.zeros(2, 6, 8, dtype=torch.bool)
    expected[0, :2, :2] = expected[1, :5, :5] = True
    assert torch.equal(masks.to_tensor(), expected)
    np.testing.assert_array_equal(masks.numpy(), expected.numpy())
    # 0 off, 2 on, 4 off, 2 on, 40 off; from the fourth on, less the one before the last.
    assert masks.rles()[0] == {'size': [6, 8], 'counts': '024' + chr(48) + 'T1'}


@pytest.mark.parametrize('masks', [random_masks(), random_masks().numpy()])
def test_dense_masks_come_back(masks):
    held = FrameMasks.dense(masks)
    for found in (held.numpy(), mask_utils.decode(held.rles()).transpose(2, 0, 1)):
        np.testing.assert_array_equal(found, np.asarray(masks))


def test_dense_masks_hold_their_boxes_only():
    masks = torch.zeros(2, 100, 200, dtype=torch.bool)
    masks[0, 20:30, 50:80] = True
    full, empty = FrameMasks.dense(masks).windows()
    assert (full.left, full.top, full.width, full.height) == (50, 20, 30, 10)
    assert full.bits.untyped_storage().nbytes() == 30 * 11
    assert (empty.width, empty.height) == (0, 0)


def test_logits_of_the_right_category():
    # Category 1 fills the left half of the box, category 0 and 2 nothing.
    logits = torch.full((2, 3, 4, 4), -20.0)
    logits[:, 1, :, :2] = 20.0
    given = torch.tensor([1, 2]), torch.tensor([[0.0, 0, 8, 4]] * 2), (4, 8), 0.5
    assert areas(FrameMasks.of_logits(logits, *given)) == [16, 0]
    single = FrameMasks.of_logits(logits[:, 1:2], *given, class_agnostic=True)
    assert areas(single) == [16, 16]


def test_no_masks_and_other_input():
    for masks in (squares(), FrameMasks((6, 8)), FrameMasks.dense(torch.zeros(0, 6, 8).bool())):
        assert masks.shape == masks.to_tensor().shape == (0, 6, 8) and masks.rles() == []
    for masks in (torch.zeros(3, 4).bool(), torch.zeros(1, 3, 4), np.zeros((1, 3, 4))):
        with pytest.raises(ValueError, match='masks must be bool'):
            FrameMasks.dense(masks)


def test_indexing_and_joining():
    masks = squares(1, 2, 3, 4)
    assert areas(masks[1:3]) == [4, 9]
    assert areas(masks[2]) == [9] and areas(masks[-1]) == [16]
    assert areas(masks[[3, 0]]) == areas(masks[torch.tensor([3, 0])]) == [16, 1]
    assert areas(masks[torch.tensor([True, False, False, True])]) == [1, 16]
    assert areas(masks[np.array([], dtype=int)]) == [] and len(masks[[]]) == 0
    dense = torch.zeros(1, 6, 8, dtype=torch.bool)
    dense[0, 1, 2:4] = True
    joined = FrameMasks.cat([squares(2), FrameMasks.dense(dense), squares()])
    assert areas(joined) == [4, 2]
    with pytest.raises(ValueError, match=r'one size, got \[\(6, 8\), \(8, 6\)\]'):
        FrameMasks.cat([squares(1), squares(1, size=(8, 6))])


def test_among_instances():
    instances = InstanceData(scores=torch.tensor([0.2, 0.9, 0.5]), masks=squares(1, 2, 3))
    assert areas(instances[instances.scores > 0.3].masks) == [4, 9]
    assert areas(instances[instances.scores.argsort()].masks) == [1, 9, 4]
    assert areas(instances[1].masks) == [4] and areas(instances[1:].masks) == [4, 9]
    assert len(instances[instances.scores > 1].masks) == 0
    assert areas(InstanceData.cat([instances, instances[:1]]).masks) == [1, 4, 9, 1]


def test_each_mask_is_pasted_once_and_only_if_asked_for(monkeypatch):
    paste = mock.Mock(wraps=frame_masks.paste)
    monkeypatch.setattr(frame_masks, 'paste', paste)
    masks = squares(1, 2, 3, 4)
    kept = masks[[1, 3]]
    assert not paste.called
    kept.rles()
    kept.to_tensor()
    kept[:1].rles()
    assert [len(call.args[0]) for call in paste.call_args_list] == [2]
    assert areas(masks) == [1, 4, 9, 16]
    assert [len(call.args[0]) for call in paste.call_args_list] == [2, 2]


@pytest.mark.gpu
def test_on_a_gpu():
    masks = FrameMasks.dense(random_masks().cuda())
    assert torch.equal(masks.to_tensor(), random_masks())
    assert masks.rles() == FrameMasks.dense(random_masks()).rles()
