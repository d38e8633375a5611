"""What is kept of bad numbers, and seeing them again."""

import math

import pytest
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.structures import InstanceData

from vispropnet.apis.running import train
from vispropnet.config import load_config
from vispropnet.datasets.moving_shapes import write_moving_shapes
from vispropnet.engine.bad_numbers import reproduce
from vispropnet.engine.bad_numbers_dump import non_finite_keys
from vispropnet.engine.plain_batch import from_plain, to_plain
from vispropnet.errors import UserError
from vispropnet.registry import MODELS

SMALL = 'configs/objprop/objprop_r18_fpn_2e_moving-shapes.py'


def test_non_finite_keys():
    found = non_finite_keys(
        dict(
            fine=torch.ones(2),
            nan=torch.tensor([1.0, math.nan]),
            count=torch.tensor(3),
            none=None,
            inf=torch.tensor(-math.inf, dtype=torch.bfloat16),
            empty=torch.zeros(0),
        )
    )
    assert found == ['nan', 'inf']


def test_plain_data_round_trip(tmp_path):
    instances = InstanceData(
        bboxes=torch.tensor([[1.0, 2, 3, 4]]),
        masks=BitmapMasks(torch.ones(1, 4, 5).byte().numpy(), 4, 5),
    )
    sample = DetDataSample(
        metainfo=dict(scale_factor=(1.0, 2.0), frame_id=4), gt_instances=instances
    )
    batch = dict(inputs=[[torch.arange(12).view(3, 4)[1]]], data_samples=[[sample]])
    torch.save(to_plain(batch), tmp_path / 'batch.pth')
    again = from_plain(torch.load(tmp_path / 'batch.pth', weights_only=True))
    assert again['inputs'][0][0].tolist() == [4, 5, 6, 7]
    found = again['data_samples'][0][0]
    assert found.metainfo == sample.metainfo
    assert found.gt_instances.masks.masks.tolist() == instances.masks.masks.tolist()
    assert torch.equal(found.gt_instances.bboxes, instances.bboxes)


def test_plain_data_refuses_code():
    with pytest.raises(TypeError, match='a function'):
        to_plain([1, test_plain_data_refuses_code])


@pytest.fixture(scope='module')
def shapes(tmp_path_factory):
    root = tmp_path_factory.mktemp('shapes') / 'data'
    write_moving_shapes(root, train_videos=2, val_videos=1, frames=3, size=(96, 64), progress=False)
    return root


def overrides(shapes, *more):
    return [
        f'data_root={shapes}',
        'train_cfg.max_epochs=8',
        'train_dataloader.batch_size=2',
        # Without warming up.
        'param_scheduler=None',
        *more,
    ]


@pytest.mark.parametrize('amp', [False, 'bf16'])
def test_training_that_explodes_stops_and_is_reproduced(pytestconfig, shapes, tmp_path, amp):
    config = pytestconfig.rootpath / SMALL
    more = overrides(shapes, 'optim_wrapper.optimizer.lr=1e30')
    with pytest.raises(UserError, match='not finite in epoch') as caught:
        train(config, tmp_path, overrides=more, amp=amp)
    assert 'key frame ' in str(caught.value) and '; reference frame ' in str(caught.value)
    (dump,) = (tmp_path / 'bad_numbers').iterdir()
    content = torch.load(dump, weights_only=True)
    assert content['precision'] == (amp or 'float32')
    again = reproduce(config, dump)
    for found, kept in zip(again.terms, content['passes'], strict=True):
        assert found.keys() == kept['terms'].keys()
        for name, value in kept['terms'].items():
            assert found[name] == pytest.approx(value, rel=1e-5, nan_ok=True), name
    if content['kind'] == 'loss':
        assert any(not math.isfinite(value) for value in again.terms[0].values())
    else:
        assert not math.isfinite(again.norm)


def test_dump_of_another_model_is_told(pytestconfig, tmp_path):
    torch.save(dict(state_dict={}), tmp_path / 'other.pth')
    config = load_config(pytestconfig.rootpath / SMALL)
    with pytest.raises(UserError, match='no dump of bad numbers'):
        reproduce(config, tmp_path / 'other.pth')


def test_batches_of_clips_are_reproduced(pytestconfig, shapes, tmp_path):
    config = pytestconfig.rootpath / SMALL
    more = overrides(
        shapes, 'optim_wrapper.optimizer.lr=1e30', 'train_dataloader.dataset.num_refs=2'
    )
    with pytest.raises(UserError, match='not finite in epoch') as caught:
        train(config, tmp_path, overrides=more)
    samples = [line for line in str(caught.value).splitlines() if 'key frame ' in line]
    assert samples and all(line.count('; reference frame ') == 2 for line in samples)
    (dump,) = (tmp_path / 'bad_numbers').iterdir()
    (kept,) = torch.load(dump, weights_only=True)['passes']
    (found,) = reproduce(config, dump).terms
    assert found == pytest.approx(kept['terms'], rel=1e-5, nan_ok=True)


@pytest.fixture(scope='module')
def dump(pytestconfig):
    """A config, and a dump for it but for what is in the batch."""
    config = load_config(pytestconfig.rootpath / SMALL)
    weights = MODELS.build(config.model).state_dict()
    passes = [dict(epoch=0, iteration=0, seed=1, terms={}, batch=dict())]
    content = dict(kind='loss', precision='float32', channels_last=False, run_seed=0, rank=0)
    return config, dict(content, passes=passes, state_dict=weights)


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (dict(passes=5), "'passes' must be a list of dicts, found 5"),
        (dict(passes=[]), r"'passes' must be a list of dicts, found \[\]"),
        (dict(passes=[3]), r"passes\[0\] must be a dict with 'seed' and 'batch', found 3"),
        (dict(passes=[dict(seed=1)]), r"passes\[0\] must be a dict with 'seed' and 'batch'"),
        (dict(passes=[dict(seed='x', batch={})]), r"'seed' of passes\[0\] must be an integer"),
        (dict(channels_last=None), "'channels_last' must be true or false, found null"),
        (dict(state_dict=[1]), r"'state_dict' must be a dict of weights by name, found \[1\]"),
        (dict(state_dict={1: 2}), "'state_dict' must be a dict of weights by name"),
        (dict(precision='int4'), "'precision' must be one of float32, bf16, fp16, found 'int4'"),
        (dict(precision=[]), "'precision' must be one of"),
    ],
)
def test_damaged_dumps_are_told(dump, tmp_path, change, words):
    config, content = dump
    path = tmp_path / 'iter_1.pth'
    # What is wrong is found before the weights are looked at.
    torch.save({**content, 'state_dict': {}, **change}, path)
    with pytest.raises(UserError, match=f'iter_1.pth is damaged: {words}'):
        reproduce(config, path)


def test_dumps_of_pairs_are_told_to_be_older(dump, tmp_path):
    config, content = dump
    path = tmp_path / 'iter_1.pth'
    pairs = dict(key=[torch.zeros(3, 4, 4)], ref=[torch.zeros(3, 4, 4)])
    batch = dict(inputs=pairs, data_samples=dict(key=[], ref=[]))
    torch.save({**content, 'passes': [dict(seed=1, batch=batch)]}, path)
    with pytest.raises(UserError, match=r'iter_1\.pth was written by an older version') as caught:
        reproduce(config, path)
    assert '\n' not in str(caught.value)


def test_damaged_batches_and_weights_are_told(dump, tmp_path):
    config, content = dump
    path = tmp_path / 'iter_1.pth'
    for batch, words in (
        ({'__kind__': 'bomb'}, 'ValueError: plain data of an unknown kind'),
        ({'__kind__': []}, ''),
        ({'__kind__': 'array'}, 'KeyError'),
        ({'__kind__': 'array', 'data': 3}, 'AttributeError'),
        ([1], ''),
        (None, ''),
        ({}, ''),
        ({'inputs': [[3], [3]], 'data_samples': [[3], [3]]}, ''),
    ):
        torch.save({**content, 'passes': [dict(seed=1, batch=batch)]}, path)
        with pytest.raises(UserError, match=rf'iter_1\.pth: the batch of passes\[0\] .*{words}'):
            reproduce(config, path)
    name = next(iter(content['state_dict']))
    torch.save({**content, 'state_dict': {**content['state_dict'], name: 3}}, path)
    with pytest.raises(UserError, match=r'iter_1\.pth does not fit the model'):
        reproduce(config, path)
