import pytest
import torch
from mmengine.structures import InstanceData

from tests.models.small_models import MMDET, SIZE, frame_metainfo, seeded_model, step
from tests.models.test_masktrack_rcnn import clips_of
from vispropnet.models.detectors.mmdet_masktrack_rcnn import _best_of_each_id


@pytest.fixture
def model():
    return seeded_model(MMDET)


@pytest.fixture
def eager(model):
    """Finds something in noise."""
    model.model.detector.roi_head.test_cfg.score_thr = 0.0
    return model.eval()


def test_it_is_mmdets_class_and_trains_with_one_reference(model):
    assert type(model.model).__module__ == 'mmdet.models.vis.masktrack_rcnn'
    value, log = model.parse_losses(model.loss(*clips_of()))
    assert {'loss_rpn_cls', 'loss_cls', 'loss_bbox', 'loss_mask', 'loss_match'} <= set(log)
    value.backward()
    assert all(one.grad is not None for one in model.parameters())
    for num_refs, words in ((0, r'\(T=1\)'), (2, 'got 2 reference frames')):
        with pytest.raises(ValueError, match=words):
            model.loss(*clips_of(num_refs=num_refs))


def test_clips_arrive_as_mmdet_takes_them(model, monkeypatch):
    images, clips = clips_of(2)
    monkeypatch.setattr(model.model, 'loss', lambda *given: given)
    frames, samples = model.loss(images, clips)
    assert torch.equal(frames[1, 0], images[2]) and torch.equal(frames[1, 1], images[3])
    for sample, (key, ref) in zip(samples, clips, strict=True):
        assert sample.get_key_frames()[0] is key and sample.get_ref_frames()[0] is ref


def test_it_passes_categories_to_the_rpn(model):
    """The defect that ours does not have: only the first category counts as an object."""
    inputs, samples = clips_of()
    # Away from logit 0, where an object and background cost the same.
    torch.nn.init.constant_(model.model.detector.rpn_head.rpn_cls.bias, 2.0)
    losses = []
    for label in (0, 3):
        for sample, _ in samples:
            sample.gt_instances.labels[:] = label
        torch.manual_seed(0)
        losses.append(sum(model.loss(inputs, samples)['loss_rpn_cls']).item())
    assert losses[0] != pytest.approx(losses[1], abs=1e-4)


def test_of_two_instances_with_one_id_the_better_is_kept():
    instances = InstanceData(instances_id=torch.tensor([3, 5, 3, 5, 7]))
    instances.scores = torch.tensor([0.2, 0.9, 0.6, 0.1, 0.3])
    kept = _best_of_each_id(instances)
    assert kept.instances_id.tolist() == [5, 3, 7]
    torch.testing.assert_close(kept.scores, torch.tensor([0.9, 0.6, 0.3]))
    assert len(_best_of_each_id(instances[:0])) == 0


def test_frames_without_detections(model):
    model.model.detector.roi_head.test_cfg.score_thr = 1.0
    state = model.eval().init_state()
    for frame in range(2):
        instances, state = step(model, torch.randn(3, *SIZE), frame_metainfo(frame_id=frame), state)
        assert instances.ids.tolist() == [] and instances.masks.shape == (0, *SIZE)


def test_each_video_has_a_tracker_of_its_own(eager):
    images = torch.randn(2, 3, *SIZE)
    one, first = step(eager, images[0], frame_metainfo(), eager.init_state())
    two, second = step(eager, images[1], frame_metainfo(), eager.init_state())
    assert len(first.tracker.tracks) == len(one.ids) and len(second.tracker.tracks) == len(two.ids)
    assert two.ids.min() == 0
    again, first = step(eager, images[0], frame_metainfo(frame_id=1), first)
    assert set(again.ids.tolist()) <= set(first.tracker.tracks)
    assert len(eager.model.tracker.tracks) == 0


@pytest.mark.gpu
def test_frames_on_a_gpu(eager):
    state = eager.cuda().init_state()
    for number, image in enumerate(torch.randn(2, 3, *SIZE).cuda()):
        instances, state = step(eager, image, frame_metainfo(frame_id=number), state)
        assert len(instances) > 0 and instances.ids.is_cuda
        assert len(instances.masks.rles()) == len(instances)
