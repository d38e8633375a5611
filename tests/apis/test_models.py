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
    names, ids = ['disc', 'star', 'ring', 'cross'], [7, 3, 9, 1]
    path = checkpoint_of(first, tmp_path / 'a.pth', classes=names, category_ids=ids)
    torch.manual_seed(2)
    again = init_model(small, path, 'cpu')
    assert again.classes == tuple(names) and again.category_ids == tuple(ids)
    # As mmdetection 2 wrote them, without ids.
    older = dict(state_dict=first.state_dict(), meta=dict(CLASSES=names))
    torch.save(older, tmp_path / 'b.pth')
    model = init_model(small, tmp_path / 'b.pth', 'cpu', ['num_classes=auto'])
    assert (model.classes, model.category_ids) == (tuple(names), (1, 2, 3, 4))
    weights = again.state_dict()
    for key, value in first.state_dict().items():
        assert torch.equal(weights[key], value.cpu())


def test_config_objects_and_overrides(small):
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


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (dict(config='nothing.py'), 'config not found: nothing.py'),
        (dict(checkpoint='nothing.pth'), 'checkpoint not found: nothing.pth'),
        (dict(device='gpu'), "device must be 'cpu', 'cuda' or 'cuda:N', got 'gpu'"),
        (dict(device='cuda:99'), 'device cuda:99: this machine has'),
        (dict(overrides=['model.type=ObjPop']), "unknown type 'ObjPop'"),
        (dict(config='configs/_base_/schedules/schedule_1x.py'), 'has no model'),
        (dict(checkpoint='other.pth'), 'does not fit the model of this config'),
    ],
)
def test_bad_input(small, root, tmp_path, monkeypatch, options, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'configs').symlink_to(root / 'configs')
    checkpoint_of(torch.nn.Linear(2, 2), tmp_path / 'other.pth')
    with pytest.raises(UserError, match=words):
        init_model(**{'config': small, **options})
