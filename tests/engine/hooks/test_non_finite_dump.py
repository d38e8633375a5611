"""Dumps of steps with non-finite values, and running them again."""

import math
import os

import pytest
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.structures import InstanceData

from tests.small_runs import quick
from vispropnet.apis.training import train
from vispropnet.config import load_config
from vispropnet.engine.checkpoints.reading import read_checkpoint
from vispropnet.engine.hooks.non_finite import BATCH_CLASSES, reproduce
from vispropnet.errors import UserError
from vispropnet.registry import MODELS


def test_batches_are_read_as_data(tmp_path):
    masks = BitmapMasks(torch.ones(1, 4, 5).byte().numpy(), 4, 5)
    boxes = HorizontalBoxes(torch.tensor([[1.0, 2, 3, 4]]))
    sample = DetDataSample(metainfo=dict(scale_factor=(1.0, 2.0), frame_id=4))
    sample.gt_instances = InstanceData(bboxes=boxes, masks=masks)
    batch = dict(inputs=[[torch.arange(4)]], data_samples=[[sample]])
    path = tmp_path / 'batch.pth'
    torch.save(batch, path)
    again = read_checkpoint(path, classes=BATCH_CLASSES)
    assert again['inputs'][0][0].tolist() == [0, 1, 2, 3]
    found = again['data_samples'][0][0]
    assert found.metainfo == sample.metainfo
    assert found.gt_instances.masks.masks.tolist() == masks.masks.tolist()
    assert found.gt_instances.bboxes.tensor.tolist() == [[1, 2, 3, 4]]
    torch.save(dict(masks=masks[:0]), path)  # Python writes empty arrays otherwise
    assert read_checkpoint(path, classes=BATCH_CLASSES)['masks'].masks.shape == (0, 4, 5)


@pytest.mark.parametrize(('amp', 'num_refs'), [(False, 1), (False, 2), ('bf16', 1)])
def test_training_that_explodes_stops_and_is_reproduced(small, shapes, tmp_path, amp, num_refs):
    overrides = quick(
        shapes,
        'train_cfg.max_epochs=8',
        f'train_dataloader.dataset.num_refs={num_refs}',
        'param_scheduler=None',  # no warm-up
        'optim_wrapper.optimizer.lr=1e30',
    )
    with pytest.raises(UserError, match='not finite in epoch') as caught:
        train(small, tmp_path, overrides=overrides, amp=amp)
    samples = [line for line in str(caught.value).splitlines() if 'key frame ' in line]
    assert samples and all(line.count('; reference frame ') == num_refs for line in samples)
    (dump,) = (tmp_path / 'non_finite').iterdir()
    (kept,) = read_checkpoint(dump, classes=BATCH_CLASSES)['passes']
    (terms,), gradients = reproduce(small, dump)
    wanted = {name: float(value) for name, value in kept['terms'].items()}
    assert terms == pytest.approx(wanted, rel=1e-5, nan_ok=True)
    norm = torch.stack([value.norm() for value in gradients.values()]).norm()
    assert not (math.isfinite(terms['loss']) and math.isfinite(norm))


@MODELS.register_module()
class Noisy(BaseModel):
    """Its loss is a weight times a random number and the input."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))

    def forward(self, inputs, mode):
        return dict(loss=self.weight * torch.rand(()) * inputs)


def test_passes_have_their_seeds_and_gradients_are_averaged(tmp_path):
    passes = [dict(batch=dict(inputs=torch.tensor(one))) for one in (1.0, 3.0)]
    weights = Noisy().state_dict()
    content = dict(format=2, acceleration={}, passes=passes, seeds=[5, 6], state_dict=weights)
    torch.save(content, tmp_path / 'iter_1.pth')
    wanted = [
        torch.rand((), generator=torch.Generator().manual_seed(seed)).item() * factor
        for seed, factor in ((5, 1), (6, 3))
    ]
    terms, gradients = reproduce(Config(dict(model=dict(type='Noisy'))), tmp_path / 'iter_1.pth')
    assert [one['loss'] for one in terms] == pytest.approx(wanted)
    assert gradients['weight'].item() == pytest.approx(sum(wanted) / 2)


@pytest.fixture(scope='module')
def dump(small):
    """A config, and a dump for it but for what is in the batch."""
    config = load_config(small)
    weights = MODELS.build(config.model).state_dict()
    passes = [dict(epoch=0, iteration=0, terms={}, batch=dict())]
    return config, dict(format=2, acceleration={}, passes=passes, seeds=[1], state_dict=weights)


def with_batch(batch):
    return dict(passes=[dict(batch=batch)])


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (dict(format=1), 'it is no dump of non-finite values, or one of another version'),
        (dict(acceleration=dict(amp='int4')), "amp must be 'bf16', 'fp16' or None, got 'int4'"),
        pytest.param(
            dict(acceleration=dict(amp='fp16')),
            'fp16 .* needs a GPU',
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU'),
        ),
        (dict(state_dict=[1]), 'is damaged or not of the model of this config .TypeError'),
        (dict(state_dict={}), 'is damaged or not of the model of this config .RuntimeError'),
        (dict(passes=5), 'is damaged .*TypeError'),
        (dict(passes=[{}]), "is damaged .*KeyError: 'batch'"),
        (dict(seeds=['x']), 'is damaged .*Error'),
        (dict(seeds=[]), 'is damaged .*ValueError'),
        (with_batch(None), 'is damaged .*Error'),
        (with_batch(dict(inputs=[[3], [3]], data_samples=[[3], [3]])), 'is damaged .*Error'),
    ],
)
def test_damaged_dumps_are_refused(dump, tmp_path, change, words):
    config, content = dump
    path = tmp_path / 'iter_1.pth'
    torch.save({**content, **change}, path)
    with pytest.raises(UserError, match=words) as caught:
        reproduce(config, path)
    assert str(path) in str(caught.value) or 'acceleration' in change


class Payload:
    def __reduce__(self):
        return os.mkdir, ('made',)


def test_dumps_that_would_run_code_are_refused(dump, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config, content = dump
    sample = DetDataSample()
    sample.__dict__['payload'] = Payload()
    torch.save({**content, **with_batch(dict(data_samples=[sample]))}, 'iter_1.pth')
    with pytest.raises(UserError, match='would run code'):
        reproduce(config, 'iter_1.pth')
    assert os.listdir() == ['iter_1.pth']
