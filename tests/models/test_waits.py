"""How often the host waits for a GPU, in training and at test.

Each wait leaves the GPU idle until the host has launched something new. Waits of mmdet's and mmcv's
code are not counted; of ours those in ``models/fewer_waits.py`` are counted apart, as they take the
place of more that mmdet's parts would make.
"""

from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import RuntimeInfoHook
from mmengine.logging import MessageHub
from mmengine.optim import OptimWrapper

from tests.models.small_models import (
    MINVIS,
    MMDET,
    SIZE,
    SMALL,
    SMALL_MASK_PROP,
    SMALL_OBJPROP,
    frame_metainfo,
    seeded_model,
    step,
)
from tests.models.test_masktrack_rcnn import clips_of
from tests.pretended_gpu.context import pretended_gpu
from tests.pretended_gpu.events import listed
from vispropnet.engine.hooks.non_finite import NonFiniteHook
from vispropnet.evaluation.tracks import TrackAccumulator

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason='only a pretended GPU counts')


def assert_waits(gpu, ours, in_place_of_mmdet, most):
    """Ours, and at most how many there are with mmdet's, which are not to come back unseen."""
    counts = [0, 0]
    for event in gpu.waits:
        counts['models/fewer_waits.py' in event.place] += event.ours
    assert counts == [ours, in_place_of_mmdet], f'waits, ours first:\n{listed(gpu.waits)}'
    assert len(gpu.waits) <= most, f'{len(gpu.waits)} waits:\n{listed(gpu.waits)}'
    assert not gpu.hazards, listed(gpu.hazards)


@pytest.mark.parametrize(
    ('path', 'ours', 'samplings', 'all_waits'),
    [
        (SMALL, 1, 4, 76),
        (SMALL_OBJPROP, 2, 4, 77),
        (SMALL_MASK_PROP, 2, 2, 75),
        (MMDET, 1, 6, 126),
    ],
)
def test_waits_of_a_training_step(path, ours, samplings, all_waits):
    model = seeded_model(path)
    images, clips = clips_of(2)
    images = images.mul(50).clamp(0, 255).byte().unflatten(0, (2, 2)).transpose(0, 1)
    samples = [list(position) for position in zip(*clips, strict=True)]
    with pretended_gpu() as gpu:
        model.cuda()
        wrapper = OptimWrapper(
            torch.optim.SGD(model.parameters(), 0.001), clip_grad=dict(max_norm=35.0)
        )
        runner = SimpleNamespace(model=model, optim_wrapper=wrapper, epoch=0, iter=0)
        guard, log = NonFiniteHook(), RuntimeInfoHook()
        guard.before_train(runner)
        runner.message_hub = MessageHub.get_instance('waits')
        gpu.clear()
        batch = dict(inputs=[list(position) for position in images], data_samples=samples)
        guard.before_train_iter(runner, 0, batch)
        log.after_train_iter(runner, 0, batch, model.train_step(batch, wrapper))
    # The guard's check, with all that is logged; the objects of all frames, for propagation. Of
    # two images: samplings, mmdet's track head has its own; 4 poolings.
    assert_waits(gpu, ours, samplings + 4, all_waits)


def frame_waits(model, dropped=0, still=False):
    """The GPU after a video's fourth frame, of fewer detections; or of one that stays."""
    model.eval()
    test_cfg = getattr(model, 'model', model).detector.roi_head.test_cfg
    test_cfg.score_thr, test_cfg.max_per_img = 0.0, 6
    torch.manual_seed(0)
    with pretended_gpu() as gpu:
        model.cuda()
        tracks = TrackAccumulator()
        images, state = torch.randn(1 if still else 4, 3, *SIZE).cuda(), model.init_state()
        for number, image in enumerate(images.expand(4, -1, -1, -1)):
            gpu.clear()
            if number == 3:
                test_cfg.max_per_img -= dropped
            instances, state = step(model, image, frame_metainfo(frame_id=number), state)
            columns = (instances[name] for name in ('ids', 'labels', 'scores'))
            tracks.add_frame(number, *columns, instances.masks.rles(), instances.get('propagated'))
        return gpu, instances


@pytest.mark.parametrize(('path', 'all_waits'), [(SMALL, 20), (MMDET, 74)])
def test_waits_of_a_frame(path, all_waits):
    gpu, instances = frame_waits(seeded_model(path))
    assert len(instances) > 0
    # Association, pasting, encoding, the numbers of a result file; with mmdet's class the best of
    # each id and the masks' boxes instead of the first two. Three poolings.
    assert_waits(gpu, 4, 3, all_waits)


@pytest.mark.parametrize(('history', 'dropped'), [(2, 2), (24, 3)])
def test_waits_of_a_frame_with_missing_tracks(history, dropped):
    """The same number for any number of tracks and frames to recover from."""
    model = seeded_model(SMALL_OBJPROP, **{'tracker.carried_weight': 0.0})
    model.recovery.history_length, model.recovery.mask_threshold = history, 0.0
    gpu, instances = frame_waits(model, dropped)
    assert instances.propagated.sum() >= dropped
    # And labels and scores of the history, which recovered masks are large enough, and their boxes.
    assert_waits(gpu, 7, 3, 24)


def test_waits_of_a_frame_without_missing_tracks():
    model = seeded_model(SMALL_OBJPROP, **{'tracker.carried_weight': 0.0})
    model.tracker.on_conflict = 'hungarian'
    gpu, instances = frame_waits(model, still=True)
    assert len(instances) == 6 and not instances.propagated.any()
    assert_waits(gpu, 4, 3, 21)


@pytest.mark.parametrize(('history', 'dropped'), [(2, 2), (24, 3), (24, 0)])
def test_waits_of_a_frame_to_which_all_tracks_are_carried(history, dropped):
    """As many as with missing tracks, and one of mmdet for another table of overlaps."""
    model = seeded_model(SMALL_OBJPROP)
    model.recovery.history_length, model.recovery.mask_threshold = history, 0.0
    gpu, instances = frame_waits(model, dropped)
    assert instances.propagated.sum() >= dropped
    assert_waits(gpu, 7, 3, 25)


def test_waits_of_a_frame_whose_missing_tracks_score_too_little():
    model = seeded_model(SMALL_OBJPROP, **{'tracker.carried_weight': 0.0})
    model.tracker.on_conflict = 'new'
    model.recovery.history_length, model.recovery.min_score = 1, 0.999
    gpu, instances = frame_waits(model)
    assert not instances.propagated.any()
    # And labels and scores of the history.
    assert_waits(gpu, 5, 3, 22)


@pytest.mark.parametrize('reach', [1, 3])
def test_waits_of_a_frame_of_joined_clips(reach):
    """The same number for clips of any length."""
    model = seeded_model(SMALL_MASK_PROP, tracker=dict(reach=reach, delay=0))
    gpu, instances = frame_waits(model)
    assert len(instances) > 0
    assert_waits(gpu, 4, 2, 20)


def test_waits_of_a_frame_of_queries():
    model = seeded_model(MINVIS).eval()
    model.score_threshold = 0.0
    with pretended_gpu() as gpu:
        model.cuda()
        tracks, state = TrackAccumulator(), model.init_state()
        for number, image in enumerate(torch.randn(3, 3, *SIZE).cuda()):
            gpu.clear()
            instances, state = step(model, image, frame_metainfo(frame_id=number), state)
            columns = (instances[name] for name in ('ids', 'labels', 'scores'))
            tracks.add_frame(number, *columns, instances.masks.rles())
        list(tracks.results(1, 3, range(4), model.track_scores(state)))
    assert len(instances) > 0
    # Similarities and class logits together, the masks' boxes, encoding, the numbers of a result
    # file; what the video scores is on the host.
    assert_waits(gpu, 4, 0, 60)
