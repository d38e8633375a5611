"""Parts in place of mmdet's on a GPU: the same results, draws and gradients."""

import pytest
import torch
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from mmdet.models.task_modules.assigners import MaxIoUAssigner
from mmdet.models.task_modules.samplers import RandomSampler
from mmengine.structures import InstanceData

from vispropnet.models import fewer_waits

pytestmark = pytest.mark.gpu

RPN = dict(pos_iou_thr=0.7, neg_iou_thr=0.3, min_pos_iou=0.3, match_low_quality=True)
RCNN = dict(pos_iou_thr=0.5, neg_iou_thr=0.5, min_pos_iou=0.5, match_low_quality=True)
ASSIGNERS = [
    RPN,
    RCNN,
    dict(RPN, neg_iou_thr=(0.1, 0.3)),
    dict(RPN, match_low_quality=False),
    dict(RPN, gt_max_assign_all=False),
    dict(RPN, ignore_iof_thr=0.5),
]


def boxes_of(count, side=40):
    """Boxes of whole pixels, so that many overlap an object equally."""
    corners = torch.randint(0, side // 2, (count, 2)).float()
    return torch.cat([corners, corners + torch.randint(1, side // 2, (count, 2))], dim=1).cuda()


def objects_of(count):
    return InstanceData(bboxes=boxes_of(count), labels=torch.randint(0, 5, (count,)).cuda())


def assigned(kind, options, boxes, objects):
    priors = InstanceData(priors=boxes.clone())
    return kind(**options).assign(priors, objects, InstanceData(bboxes=boxes_of(3)))


@pytest.mark.parametrize('num_objects', [5, 1, 0])
@pytest.mark.parametrize('options', ASSIGNERS)
def test_boxes_are_assigned_as_by_mmdet(options, num_objects):
    for seed in range(5):
        torch.manual_seed(seed)
        # With equal boxes and with two equal objects.
        boxes, objects = boxes_of(80).repeat(2, 1), objects_of(num_objects)
        objects = InstanceData.cat([objects, objects[-1:]]) if num_objects else objects
        results = []
        for kind in (fewer_waits.WaitlessMaxIoUAssigner, MaxIoUAssigner):
            torch.manual_seed(seed)
            results.append(assigned(kind, options, boxes, objects))
        found, expected = results
        for name in ('gt_inds', 'max_overlaps', 'labels'):
            one, other = getattr(found, name), getattr(expected, name)
            assert torch.equal(one, other) and one.dtype == other.dtype
        assert found.num_gts == expected.num_gts


def test_no_boxes_to_assign():
    found = assigned(fewer_waits.WaitlessMaxIoUAssigner, RPN, boxes_of(0), objects_of(2))
    assert found.gt_inds.shape == found.labels.shape == (0,)


@pytest.mark.parametrize('num_objects', [4, 0])
@pytest.mark.parametrize(
    'options',
    [
        dict(num=64, pos_fraction=0.5, add_gt_as_proposals=False),
        dict(num=32, pos_fraction=0.25),
        dict(num=16, pos_fraction=0.1, neg_pos_ub=3),
        dict(num=8, pos_fraction=0.5, neg_pos_ub=3),
        dict(num=500, pos_fraction=0.9),  # more than there are
    ],
)
def test_boxes_are_sampled_as_by_mmdet(options, num_objects):
    boxes, objects = boxes_of(200), objects_of(num_objects)
    results, draws = [], []
    for kind in (fewer_waits.HostRandomSampler, RandomSampler):
        torch.manual_seed(3)
        result = assigned(MaxIoUAssigner, RCNN, boxes, objects)
        priors = InstanceData(priors=boxes)
        results.append(kind(**options).sample(result, priors, objects, feats=None))
        draws.append(torch.rand(1))
    found, expected = results
    assert draws[0] == draws[1] and found.avg_factor == expected.avg_factor
    names = 'pos_inds neg_inds priors pos_is_gt pos_assigned_gt_inds pos_gt_labels pos_gt_bboxes'
    for name in names.split():
        assert torch.equal(getattr(found, name), getattr(expected, name)), name


@pytest.mark.parametrize('num_levels', [4, 2, 1])
@pytest.mark.parametrize(('num_rois', 'scale'), [(60, None), (60, 1.5), (7, None), (0, None)])
def test_features_are_pooled_as_by_mmdet(num_levels, num_rois, scale):
    layer = dict(type='RoIAlign', output_size=3, sampling_ratio=0)
    options = layer, 2, [4, 8, 16, 32][:num_levels], 8
    images = torch.randint(0, 2, (num_rois, 1)).float().cuda()
    rois = torch.cat([images, boxes_of(num_rois, 120)], dim=1)
    outcomes = []
    for kind in (fewer_waits.HostLevelRoIExtractor, SingleRoIExtractor):
        torch.manual_seed(5)
        levels = [torch.randn(2, 2, 32 >> n, 32 >> n) for n in range(num_levels)]
        levels = [level.cuda().requires_grad_() for level in levels]
        pooled = kind(*options)(levels, rois, roi_scale_factor=scale)
        total = pooled.square().sum() + sum(level.sum() for level in levels)
        outcomes.append([pooled, *torch.autograd.grad(total, levels)])
    for found, expected in zip(*outcomes, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_levels_without_rois_get_gradients():
    """Ranks wait for the gradients of every level."""
    layer = dict(type='RoIAlign', output_size=3)
    extractor = fewer_waits.HostLevelRoIExtractor(layer, 2, [4, 8], finest_scale=8)
    levels = [torch.randn(1, 2, side, side).cuda().requires_grad_() for side in (8, 4)]
    extractor(levels, torch.tensor([[0.0, 0, 0, 8, 8]]).cuda()).sum().backward()
    assert levels[0].grad.abs().sum() > 0 and levels[1].grad.eq(0).all()
