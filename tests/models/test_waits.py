"""How often the host waits for a GPU, in training and at test.

Each wait leaves the GPU idle until the host has launched something new. Waits of mmdet's and mmcv's
code are not counted; of ours those in ``models/fewer_waits.py`` are counted apart, as they take the
place of more that mmdet's parts would make.
"""

import pytest
import torch
from mmengine.optim import OptimWrapper

from tests.models.small_models import SIZE, SMALL, SMALL_OBJPROP, frame_metainfo, seeded_model, step
from tests.models.test_masktrack_rcnn import clips_of
from tests.pretended_gpu.context import pretended_gpu
from tests.pretended_gpu.events import listed

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason='only a pretended GPU counts')


def assert_waits(gpu, ours, in_place_of_mmdet, most):
    """Ours, and at most how many there are with mmdet's, which are not to come back unseen."""
    counts = [0, 0]
    for event in gpu.waits:
        counts['models/fewer_waits.py' in event.place] += event.ours
    assert counts == [ours, in_place_of_mmdet], f'waits, ours first:\n{listed(gpu.waits)}'
    assert len(gpu.waits) <= most, f'{len(gpu.waits)} waits:\n{listed(gpu.waits)}'
    assert not gpu.hazards, listed(gpu.hazards)


@pytest.mark.parametrize(('path', 'ours', 'all_waits'), [(SMALL, 0, 75), (SMALL_OBJPROP, 1, 76)])
def test_waits_of_a_training_step(path, ours, all_waits):
    model = seeded_model(path)
    images, clips = clips_of(2)
    images = images.mul(50).clamp(0, 255).byte().unflatten(0, (2, 2)).transpose(0, 1)
    samples = [list(position) for position in zip(*clips, strict=True)]
    with pretended_gpu() as gpu:
        model.cuda()
        wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), 0.001))
        gpu.clear()
        batch = dict(inputs=[list(position) for position in images], data_samples=samples)
        model.train_step(batch, wrapper)
    # Two images: 4 samplings; 4 poolings.
    assert_waits(gpu, ours, 8, all_waits)


def frame_waits(model, dropped=0):
    """The GPU after a video's fourth frame, in which the detector finds fewer."""
    model.eval()
    test_cfg = model.detector.roi_head.test_cfg
    test_cfg.score_thr, test_cfg.max_per_img = 0.0, 6
    torch.manual_seed(0)
    with pretended_gpu() as gpu:
        model.cuda()
        images, state = torch.randn(4, 3, *SIZE).cuda(), model.init_state()
        for number, image in enumerate(images):
            gpu.clear()
            if number == 3:
                test_cfg.max_per_img -= dropped
            instances, state = step(model, image, frame_metainfo(frame_id=number), state)
            instances.masks.rles()
        return gpu, instances


def test_waits_of_a_frame():
    gpu, instances = frame_waits(seeded_model(SMALL))
    assert len(instances) > 0
    # Association, pasting, encoding. Three poolings.
    assert_waits(gpu, 3, 3, 19)


@pytest.mark.parametrize(('history', 'dropped'), [(2, 2), (24, 3)])
def test_waits_of_a_frame_with_missing_tracks(history, dropped):
    """The same number for any number of tracks and frames to recover from."""
    model = seeded_model(SMALL_OBJPROP)
    model.recovery.history_length, model.recovery.mask_threshold = history, 0.0
    gpu, instances = frame_waits(model, dropped)
    assert instances.propagated.sum() >= dropped
    # And the detections, which of the recovered masks are large enough, and their boxes.
    assert_waits(gpu, 6, 3, 23)


def test_waits_of_a_frame_without_missing_tracks():
    model = seeded_model(SMALL_OBJPROP)
    model.tracker.on_conflict = 'new'
    model.recovery.history_length, model.recovery.min_score = 1, 0.999
    gpu, instances = frame_waits(model)
    assert not instances.propagated.any()
    assert_waits(gpu, 4, 3, 21)
