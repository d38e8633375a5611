import copy

import pytest
import torch

from tests.models import small_models
from tests.models.small_models import SIZE, frame_metainfo, frame_sample, same, seeded_model, step
from vispropnet.engine.checkpoints.weights import load_weights
from vispropnet.models.frames import split_frames
from vispropnet.models.trackers import MatchingTracker

BOXES = [[10, 10, 30, 30], [40, 20, 70, 50]]


@pytest.fixture
def small_model():
    return seeded_model(small_models.SMALL)


def clips_of(batch_size=2, num_refs=1):
    """Images (B * T, 3, H, W) and clips whose frames all show the same two objects."""
    torch.manual_seed(1)
    # Position by position, so that the first frames have the same noise for any number of them.
    images = torch.randn(1 + num_refs, batch_size, 3, *SIZE)
    shown = [(BOXES, [3, 1], [8, 5])] + [(BOXES[::-1], [1, 3], [5, 8])] * num_refs
    clips = [[frame_sample(*objects) for objects in shown] for _ in range(batch_size)]
    return images.transpose(0, 1).flatten(0, 1), clips


def test_rpn_is_trained_on_objects_of_every_category_alike(small_model):
    inputs, samples = clips_of()
    other = copy.deepcopy(samples)
    for sample, _ in other:
        sample.gt_instances.labels[:] = 0
    features, _ = small_model.encode_clips(inputs, 2)
    losses = []
    for clips in (samples, other):
        torch.manual_seed(0)
        loss, _ = small_model.propose_with_loss(features, [key for key, _ in clips])
        losses.append(loss['loss_rpn_cls'])
    assert same(*losses)
    # The ground truth itself keeps its labels for the heads behind.
    assert [one.gt_instances.labels.tolist() for one, _ in samples] == [[3, 1], [3, 1]]


@pytest.mark.parametrize(('batch_size', 'num_refs'), [(2, 1), (1, 2), (2, 2)])
def test_all_frames_of_all_clips_go_through_the_backbone_at_once(small_model, batch_size, num_refs):
    """And their features come position by position."""
    shapes, (images, clips) = [], clips_of(batch_size, num_refs)
    backbone = small_model.detector.backbone
    backbone.register_forward_pre_hook(lambda module, given: shapes.append(given[0].shape))
    small_model.loss(images, clips)
    assert shapes == [(batch_size * (1 + num_refs), 3, *SIZE)]
    positions = small_model.eval().encode_clips(images, 1 + num_refs)
    assert len(positions) == 1 + num_refs
    for place, levels in enumerate(positions):
        own = images[place :: 1 + num_refs]
        for level, expected in zip(levels, small_model.encode(own), strict=True):
            torch.testing.assert_close(level, expected)
            assert level.is_contiguous()


def losses_by_reference(model, batch_size, kept):
    """Losses on both references, the first and the second; this one lacks an object."""
    images, clips = clips_of(batch_size, num_refs=2)
    for clip in clips:
        clip[2].gt_instances = clip[2].gt_instances[kept]
    samples, features = list(zip(*clips, strict=True)), model.encode_clips(images, 3)
    losses = []
    for places in ((0, 1, 2), (0, 1), (0, 2)):
        torch.manual_seed(0)  # all draws, so of the proposals and RoIs, are the same
        some = [[one[place] for place in places] for one in (features, samples)]
        losses.append(model.loss_of_features(*some))
    return losses


@pytest.mark.parametrize('batch_size', [1, 2])
def test_track_loss_is_the_mean_over_the_references(small_model, batch_size):
    both, first, second = losses_by_reference(small_model, batch_size, kept=slice(1))
    assert first['loss_match'] != second['loss_match']
    for name in ('loss_match', 'match_accuracy'):
        torch.testing.assert_close(both[name], (first[name] + second[name]) / 2)
    for name in ('loss_cls', 'loss_bbox', 'loss_mask'):
        assert torch.equal(both[name], first[name]), name


def test_calls_and_mask_thresholds_that_are_refused(small_model):
    with pytest.raises(ValueError, match=r'one or more reference frames, .* \(T=1\)'):
        small_model.loss(*clips_of(2, num_refs=0))
    with pytest.raises(ValueError, match=r"mode must be 'loss', got 'predict'"):
        small_model(torch.zeros(1, 3, *SIZE), mode='predict')
    for value in (0, -1.0):  # every pixel would reach it
        with pytest.raises(ValueError, match=f'mask_thr_binary must be above 0, got {value}'):
            seeded_model(small_models.SMALL, **{'detector.test_cfg.rcnn.mask_thr_binary': value})


def run(model, images):
    state, frames = model.init_state(), []
    for number, image in enumerate(images):
        instances, state = step(model, image, frame_metainfo(frame_id=number), state)
        frames.append(instances)
    return frames


@pytest.fixture
def eager_model(small_model):
    """Finds something in noise."""
    small_model.detector.roi_head.test_cfg.score_thr = 0.0
    return small_model.eval()


def test_step_gives_unique_ids_and_masks_of_the_original_size(eager_model):
    eager_model.tracker = MatchingTracker(on_conflict='next')  # every detection gets an id
    half = frame_metainfo(ori_shape=(32, 48), scale_factor=(2.0, 2.0))
    state = eager_model.init_state()
    for image in torch.randn(3, 3, *SIZE):
        instances, state = step(eager_model, image, half, state)
        assert len(set(instances.ids.tolist())) == len(instances.ids) == 10
        assert instances.masks.shape == (10, 32, 48)
        assert instances.bboxes[:, 2].max() <= 48 and instances.bboxes[:, 3].max() <= 32
        # What is remembered is in pixels of the network's input.
        rows = [state.tracks.ids.tolist().index(one) for one in instances.ids.tolist()]
        torch.testing.assert_close(state.tracks.boxes[rows], instances.bboxes * 2)


def test_frames_of_two_videos_are_encoded_at_once(eager_model):
    videos = torch.randn(2, 2, 3, *SIZE)
    together = eager_model.encode(videos.flatten(0, 1))
    frames = split_frames(together, [frame_metainfo(frame_id=number) for number in (0, 1, 0, 1)])
    for video in videos:
        state = eager_model.init_state()
        for image, expected in zip(video, run(eager_model, video), strict=True):
            frame = frames.pop(0)
            for level, own in zip(frame.features, eager_model.encode(image[None]), strict=True):
                torch.testing.assert_close(level, own)
            # They are stepped through as if each had been encoded by itself.
            ((number, instances),), state = eager_model.step(frame, state)
            assert number == frame.number and torch.equal(instances.ids, expected.ids)
            torch.testing.assert_close(instances.bboxes, expected.bboxes)
    assert eager_model.look_ahead == 0 and eager_model.finish(state) == []


def test_a_state_of_another_model_is_refused(eager_model):
    other = seeded_model(small_models.SMALL_OBJPROP).eval()
    image = torch.randn(3, *SIZE)
    for model, state, told in (
        (eager_model, other.init_state(), 'MaskTrackRCNNState.*MaskTrackRCNN.*ObjPropState'),
        (other, eager_model.init_state(), 'ObjPropState.*ObjProp makes.*MaskTrackRCNNState'),
        (other, None, 'ObjPropState.*NoneType'),
    ):
        with pytest.raises(ValueError, match=f'step: state must be a {told}'):
            step(model, image, frame_metainfo(), state)


def test_frames_without_detections(small_model):
    small_model.eval().detector.roi_head.test_cfg.score_thr = 1.0
    for instances in run(small_model, torch.randn(2, 3, *SIZE)):
        assert instances.ids.shape == (0,) and instances.masks.shape == (0, *SIZE)


def test_loss_of_a_seeded_step(small_model):
    """Refactors leave it; a change of the method changes it on purpose."""
    torch.manual_seed(0)
    _, log = small_model.parse_losses(small_model.loss(*clips_of()))
    assert {'acc', 'match_accuracy'} <= set(log)
    expected = dict(loss=3.79938, loss_rpn_cls=0.693125, loss_rpn_bbox=0.0221164, loss_cls=1.56194)
    expected |= dict(loss_bbox=0.000681348, loss_mask=0.445741, loss_match=1.07578)
    found = {name: value.item() for name, value in log.items() if 'loss' in name}
    assert found == pytest.approx(expected, rel=1e-3)


@pytest.mark.gpu
def test_cpu_and_gpu_agree(small_model):
    inputs, samples = clips_of()
    features, _ = small_model.encode_clips(inputs, 2)
    small_model.cuda()
    on_gpu, _ = small_model.encode_clips(inputs.cuda(), 2)
    for one, other in zip(features, on_gpu, strict=True):
        torch.testing.assert_close(one, other.cpu(), rtol=1e-3, atol=1e-3)
    state = small_model.eval().init_state()
    instances, state = step(small_model, inputs[0].cuda(), frame_metainfo(), state)
    assert instances.bboxes.device.type == state.tracks.boxes.device.type == 'cuda'


def test_zoo_layout_loads_strictly_and_matches_alike():
    """mmdet's class has the layout of its zoo's files."""
    theirs = seeded_model(small_models.MMDET).model
    ours = seeded_model(small_models.SMALL, **{'track_head.embed_head.final_relu': True})
    report = load_weights(ours, dict(state_dict=theirs.state_dict()), 'zoo file', strict=True)
    assert report.complete and report.loaded == len(ours.state_dict())
    features = torch.randn(3, 64, 7, 7)
    (expected,) = theirs.track_head.embed_head.extract_feat(features, [3])
    torch.testing.assert_close(ours.track_head.embed_head(features), expected)


def test_dropped_detections_are_in_no_answer(eager_model):
    """Two boxes alike match alike: the better one has the track, the other is dropped."""
    eager_model.tracker = MatchingTracker(on_conflict='drop')
    detect, image = eager_model.detect, torch.randn(3, *SIZE)
    _, state = step(eager_model, image, frame_metainfo(), eager_model.init_state())
    eager_model.detect = lambda *given: detect(*given)[torch.tensor([0, 0, 1])]
    second, state = step(eager_model, image, frame_metainfo(frame_id=1), state)
    ids = second.ids.tolist()
    assert len(ids) == len(set(ids)) == len(second.scores) == len(second.masks) <= 2
    assert -1 not in ids and set(ids) <= set(state.tracks.ids.tolist())
