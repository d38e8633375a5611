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
    weights = again.state_dict()
    for key, value in first.state_dict().items():
        assert torch.equal(weights[key], value.cpu())


def test_config_objects_and_overrides(small):
    assert init_model(small, device='cpu', overrides=['video_scale=(32,32)']).cfg.video_scale == (
        32,
        32,
    )
    config = Config.fromfile(small)
    assert init_model(config, device=torch.device('cpu')).cfg is config


def test_names_of_the_package():
    assert set(vispropnet.apis.__all__) >= {'init_model', 'VideoSegmenter', 'segment_video'}
    for name in vispropnet.apis.__all__:
        assert getattr(vispropnet.apis, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'segment'"):
        _ = vispropnet.apis.segment


def test_bad_input(small, pytestconfig, tmp_path):
    with pytest.raises(UserError, match='config not found: nothing.py'):
        init_model('nothing.py')
    with pytest.raises(UserError, match='checkpoint not found: .*nothing.pth'):
        init_model(small, tmp_path / 'nothing.pth')
    with pytest.raises(UserError, match="device must be 'cpu', 'cuda' or 'cuda:N', got 'gpu'"):
        init_model(small, device='gpu')
    with pytest.raises(UserError, match='device cuda:99: this machine has'):
        init_model(small, device='cuda:99')
    with pytest.raises(UserError, match="unknown type 'ObjPop'"):
        init_model(small, overrides=['model.type=ObjPop'])
    with pytest.raises(UserError, match='has no model'):
        init_model(pytestconfig.rootpath / 'configs/_base_/schedules/schedule_1x.py')
    path = checkpoint_of(torch.nn.Linear(2, 2), tmp_path / 'other.pth')
    with pytest.raises(UserError, match='does not fit the model of this config'):
        init_model(small, path)
