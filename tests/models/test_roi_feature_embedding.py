from pathlib import Path

import mmdet
import pytest
import torch
from mmengine.config import Config

from tests.models.small_models import (
    SIZE,
    SMALL,
    frame_metainfo,
    model_config,
    seeded_model,
    step,
)
from tests.models.test_masktrack_rcnn import clips_of
from vispropnet.engine.checkpoints.weights import load_weights
from vispropnet.models.track_heads import RoIFeatureEmbedding
from vispropnet.registry import MODELS

COCO = 'configs/masktrack_rcnn/masktrack-rcnn_r50_fpn_coco.py'
DEVICES = ['cpu', pytest.param('cuda', marks=pytest.mark.gpu)]


@pytest.mark.parametrize('device', DEVICES)
def test_logits_are_cosines_by_hand(device):
    head = RoIFeatureEmbedding(min_similarity=0.5, temperature=10.0)
    features = torch.tensor([[3.0, 4.0], [0.0, -2.0]], device=device).reshape(2, 1, 1, 2)
    found = head(features)
    torch.testing.assert_close(found.cpu(), torch.tensor([[0.6, 0.8], [0.0, -1.0]]))
    known = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]], device=device)
    # Cosines 0.6, 1, 0.8 and 0, -0.8, -1.
    expected = torch.tensor([[0, 1.0, 5.0, 3.0], [0, -5.0, -13.0, -15.0]])
    torch.testing.assert_close(head.match(found, known).cpu(), expected)
    assert head.match(found, known[:0]).shape == (2, 1)
    assert head.match(found[:0], known).shape == (0, 4)
    assert head(features.half()).dtype == torch.float32
    assert not list(head.parameters())


def small_model():
    config = model_config(SMALL)
    config.track_head.embed_head = dict(type='RoIFeatureEmbedding')
    torch.manual_seed(0)
    return MODELS.build(config)


def test_the_detector_is_trained_without_a_matching_loss():
    model = small_model()
    torch.manual_seed(0)
    losses = model.loss(*clips_of())
    torch.manual_seed(0)
    expected = seeded_model(SMALL).loss(*clips_of())
    assert set(expected) - set(losses) == {'loss_match', 'match_accuracy'}


def test_the_same_frame_again_shows_the_same_tracks():
    model = small_model().eval()
    model.detector.roi_head.test_cfg.score_thr = 0.0
    image, state = torch.randn(3, *SIZE), model.init_state()
    first, state = step(model, image, frame_metainfo(), state)
    second, state = step(model, image, frame_metainfo(frame_id=1), state)
    assert len(first) > 3 and first.ids.tolist() == second.ids.tolist()


def test_mmdet_files_of_coco_load_strictly():
    path = Path(mmdet.__file__).parent / '.mim/configs/mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py'
    config = Config.fromfile(path).model
    config.backbone.init_cfg = None
    with torch.device('meta'):
        weights = MODELS.build(dict(config, _scope_='mmdet')).state_dict()
        model = MODELS.build(model_config(COCO))
    report = load_weights(model, weights, 'coco.pth')
    assert report.complete and report.loaded == len(model.state_dict()) > 200
    assert set(model.category_counts().values()) == {80}
