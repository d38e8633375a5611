import pytest
import torch
from mmengine.config import Config

import vispropnet.apis
from vispropnet.apis import init_model
from vispropnet.errors import UserError


def checkpoint_of(model, path, **meta):
    torch.save(dict(state_dict=model.state_dict(), meta=dict(dataset_meta=meta)), path)
    return path


def test_weights_and_categories_of_a_checkpoint(small, tmp_path):
    torch.manual_seed(1)
    first = init_model(small)
    assert not first.training and next(first.parameters()).device.type in ('cpu', 'cuda')
    assert first.classes == ('category 1', 'category 2', 'category 3', 'category 4')
    assert first.category_ids == (1, 2, 3, 4)
    meta = dict(classes=['disc', 'star', 'ring', 'cross'], category_ids=[7, 3, 9, 1])
    torch.manual_seed(2)
    again = init_model(small, checkpoint_of(first, tmp_path / 'a.pth', **meta), 'cpu')
    assert dict(classes=[*again.classes], category_ids=[*again.category_ids]) == meta
    # As mmdetection 2 wrote them, without ids.
    older = dict(state_dict=first.state_dict(), meta=dict(CLASSES=meta['classes']))
    torch.save(older, tmp_path / 'b.pth')
    model = init_model(small, tmp_path / 'b.pth', 'cpu', ['num_classes=auto'])
    assert ([*model.classes], model.category_ids) == (meta['classes'], (1, 2, 3, 4))
    weights = again.state_dict()
    assert all(torch.equal(weights[key], one.cpu()) for key, one in first.state_dict().items())
    # Changes, and a config that is read already.
    model = init_model(small, device='cpu', overrides=['video_scale=(32,32)'])
    assert model.cfg.video_scale == (32, 32)
    config = Config.fromfile(small)
    assert init_model(config, device=torch.device('cpu')).cfg is config


def test_names_of_the_package():
    assert set(vispropnet.apis.__all__) >= {'init_model', 'VideoSegmenter', 'segment_video'}
    for name in vispropnet.apis.__all__:
        assert getattr(vispropnet.apis, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'segment'"):
        _ = vispropnet.apis.segment


def test_bad_input(small, root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    checkpoint_of(torch.nn.Linear(2, 2), tmp_path / 'other.pth')
    schedule = root / 'configs/_base_/schedules/schedule_1x.py'
    for options, words in (
        (dict(config='nothing.py'), 'config not found: nothing.py'),
        (dict(checkpoint='nothing.pth'), 'checkpoint not found: nothing.pth'),
        (dict(device='gpu'), "device must be 'cpu', 'cuda' or 'cuda:N', got 'gpu'"),
        (dict(device='cuda:99'), 'device cuda:99: this machine has'),
        (dict(overrides=['model.type=ObjPop']), "unknown type 'ObjPop'"),
        (dict(config=schedule), 'has no model'),
        (dict(checkpoint='other.pth'), 'does not fit the model of this config'),
    ):
        with pytest.raises(UserError, match=words):
            init_model(**{'config': small, **options})
