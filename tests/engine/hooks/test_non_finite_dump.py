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
    path = tmp_path / 'batch.pth'
    torch.save(dict(inputs=[[torch.arange(4)]], data_samples=[[sample]]), path)
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
    more = ['train_cfg.max_epochs=8', f'train_dataloader.dataset.num_refs={num_refs}']
    more += ['param_scheduler=None', 'optim_wrapper.optimizer.lr=1e30']  # no warm-up
    with pytest.raises(UserError, match='not finite in epoch') as caught:
        train(small, tmp_path, overrides=quick(shapes, *more), amp=amp)
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
    draws = [torch.rand((), generator=torch.Generator().manual_seed(seed)) for seed in (5, 6)]
    wanted = [draws[0].item(), 3 * draws[1].item()]
    terms, gradients = reproduce(Config(dict(model=dict(type='Noisy'))), tmp_path / 'iter_1.pth')
    assert [one['loss'] for one in terms] == pytest.approx(wanted)
    assert gradients['weight'].item() == pytest.approx(sum(wanted) / 2)


class Payload:
    def __reduce__(self):
        return os.mkdir, ('made',)


def test_dumps_that_are_damaged_or_would_run_code_are_refused(small, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = load_config(small)
    weights, passes = MODELS.build(config.model).state_dict(), [dict(batch={})]
    content = dict(format=2, acceleration={}, passes=passes, seeds=[1], state_dict=weights)
    sample, lists = DetDataSample(), [[3], [3]]
    sample.__dict__['payload'] = Payload()
    for change, words in (
        (dict(format=1), 'it is no dump of non-finite values, or one of another version'),
        (dict(acceleration=dict(amp='int4')), "amp must be 'bf16', 'fp16' or None, got 'int4'"),
        (dict(acceleration=dict(amp='fp16')), 'fp16 .* needs a GPU'),
        (dict(state_dict=[1]), 'is damaged or not of the model of this config .TypeError'),
        (dict(state_dict={}), 'is damaged or not of the model of this config .RuntimeError'),
        (dict(passes=5), 'is damaged .*TypeError'),
        (dict(passes=[{}]), "is damaged .*KeyError: 'batch'"),
        (dict(seeds=['x']), 'is damaged .*Error'),
        (dict(seeds=[]), 'is damaged .*ValueError'),
        (dict(passes=[dict(batch=None)]), 'is damaged .*Error'),
        (dict(passes=[dict(batch=dict(inputs=lists, data_samples=lists))]), 'is damaged .*Error'),
        (dict(passes=[dict(batch=dict(data_samples=[sample]))]), 'would run code'),
    ):
        if torch.cuda.is_available() and 'fp16 .*' in words:
            continue
        torch.save({**content, **change}, 'iter_1.pth')
        with pytest.raises(UserError, match=words) as caught:
            reproduce(config, 'iter_1.pth')
        assert 'iter_1.pth' in str(caught.value) or 'acceleration' in change
    assert os.listdir() == ['iter_1.pth']
