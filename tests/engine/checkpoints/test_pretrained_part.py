import copy
from argparse import Namespace
from unittest.mock import Mock

import pytest
import torch
import torchvision
from mmengine.config import ConfigDict
from mmengine.model import BaseModule
from mmengine.registry import DefaultScope
from torch import nn

from vispropnet.engine.checkpoints.pretrained import PretrainedPart
from vispropnet.errors import UserError
from vispropnet.registry import MODELS


class Net(BaseModule):
    def __init__(self, width=3, init_cfg=None):
        super().__init__(init_cfg)
        self.stem = nn.Conv2d(3, width, 1)
        self.norm = nn.BatchNorm2d(width)
        self.last = nn.Linear(width, 2)


class Wrapped(BaseModule):
    def __init__(self, init_cfg=None):
        super().__init__(init_cfg)
        self.net = Net()


@pytest.fixture
def initialise(tmp_path):
    """Gives a module weights from a file with the given content."""

    def initialise(module, content, **more):
        path = tmp_path / 'weights.pth'
        torch.save(content, path)
        module.init_cfg = dict(type='Pretrained', checkpoint=str(path), **more)
        with DefaultScope.overwrite_default_scope('vispropnet'):
            module.init_weights()
        return module

    return initialise


def below(prefix, weights):
    return {f'{prefix}{key}': value for key, value in weights.items()}


SOURCE = Net().state_dict()
OTHER = {'neck.stem.weight': torch.zeros(9), 'head.last.weight': torch.zeros(7)}


@pytest.mark.parametrize(
    'content',
    [
        SOURCE,
        {'state_dict': SOURCE, 'optimizer': below('stem.', SOURCE)},
        {'model': SOURCE, 'optimizer': {'state': {0: {'exp_avg': torch.zeros(3)}}}},
        {'state_dict': below('module.', SOURCE)},
        {'state_dict': below('backbone.', SOURCE) | OTHER},
        {'model_state': below('module.encoder.body.', SOURCE) | OTHER, 'epoch': 3},
        {key: value for key, value in SOURCE.items() if 'num_batches' not in key},
    ],
)
@pytest.mark.parametrize('kind', [Net, Wrapped])
def test_weights_are_found_below_any_prefix(initialise, kind, content):
    module = initialise(kind(), content)
    net = getattr(module, 'net', module)
    for key in ('stem.weight', 'norm.running_var', 'last.bias'):
        assert torch.equal(net.state_dict()[key], SOURCE[key]), key


def test_the_report_lists_what_does_not_fit(initialise, monkeypatch):
    said = Mock()
    monkeypatch.setattr('vispropnet.engine.checkpoints.pretrained.print_log', said)
    content = below('backbone.', Net(width=3).state_dict()) | {'backbone.fc.bias': torch.zeros(2)}
    content['backbone.last.weight'] = torch.zeros(2, 9)
    del content['backbone.stem.bias']
    initialise(Net(), content)
    text = said.call_args.args[0]
    assert '(its keys below backbone.) into Net: 7 tensors fit' in text
    assert 'missing in the checkpoint (1):\n    stem.bias' in text
    assert 'not in the model (1):\n    fc.bias' in text
    assert 'last.weight: (2, 9) in the file, (2, 3) wanted' in text


@pytest.mark.parametrize(
    ('content', 'more', 'words'),
    [
        (
            {'res1.w': torch.zeros(2)},
            {},
            ['fits Net.', 'file has res1.w', 'Net has stem.weight'],
        ),
        ({}, {}, ['the file has no tensors']),
        (below('a.', SOURCE), {'prefix': 'b'}, ['nothing of it below b. fits', 'file has a.stem']),
        # One layer in common by chance is no match.
        (
            {f'x.{name}': torch.zeros(2) for name in 'abcdefgh'} | {'x.last.bias': torch.zeros(2)},
            {},
            ['nothing of it fits Net'],
        ),
        (
            {'stem.weight': torch.zeros(8, 3, 1, 1)},
            {},
            ['(of another shape: stem.weight (8, 3, 1, 1), (3, 3, 1'],
        ),
        (below('q.', SOURCE) | below('k.', SOURCE), {}, ["'q.', 'k.' fit alike"]),
    ],
)
def test_files_of_which_nothing_fits_are_refused(initialise, tmp_path, content, more, words):
    module = Net()
    before = copy.deepcopy(module.state_dict())
    with pytest.raises(UserError) as caught:
        initialise(module, content, **more)
    for one in (f'checkpoint {tmp_path}', *words):
        assert one in str(caught.value)
    assert all(torch.equal(one, before[key]) for key, one in module.state_dict().items())


@pytest.mark.parametrize('name', ['none.pth', 'torchvision://resnet9000'])
def test_files_that_cannot_be_had(name):
    module = Net(init_cfg=dict(type='Pretrained', checkpoint=name))
    with (
        DefaultScope.overwrite_default_scope('vispropnet'),
        pytest.raises(UserError, match=f'(not found: {name}|{name} cannot be fetched)'),
    ):
        module.init_weights()


def test_torchvision_weights_fit_the_backbone(initialise):
    source = torchvision.models.resnet18(weights=None).state_dict()
    backbone = MODELS.build(dict(type='mmdet.ResNet', depth=18))
    found = initialise(backbone, source).state_dict()
    assert len(found) == 120 and all(torch.equal(one, source[key]) for key, one in found.items())


def test_files_with_code_need_trust(tmp_path, monkeypatch):
    torch.save({'state_dict': SOURCE, 'args': Namespace(lr=1)}, tmp_path / 'a.pth')
    with DefaultScope.overwrite_default_scope('vispropnet'):
        module = Net(init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'a.pth')))
        with pytest.raises(UserError, match='--trust-checkpoint'):
            module.init_weights()
        monkeypatch.setattr(PretrainedPart, 'trust', True)
        module = Net(init_cfg=module.init_cfg)
        module.init_weights()
    assert torch.equal(module.stem.weight, SOURCE['stem.weight'])


def test_parts_that_load_by_themselves_read_files_as_data(tmp_path, monkeypatch):
    path = tmp_path / 'swin.pth'
    options = dict(type='mmdet.SwinTransformer', embed_dims=4, depths=[1], num_heads=[1])
    options.update(out_indices=[0], init_cfg=ConfigDict(type='Pretrained', checkpoint=str(path)))
    source = MODELS.build(options).state_dict()
    with pytest.raises(UserError, match='checkpoint not found: .*swin.pth'):
        MODELS.build(options).init_weights()
    torch.save({'state_dict': below('backbone.', source), 'args': Namespace(lr=1)}, path)
    with pytest.raises(UserError, match='--trust-checkpoint'):
        MODELS.build(options).init_weights()
    monkeypatch.setattr(PretrainedPart, 'trust', True)
    module = MODELS.build(options)
    module.init_weights()
    assert all(torch.equal(one, source[key]) for key, one in module.state_dict().items())
