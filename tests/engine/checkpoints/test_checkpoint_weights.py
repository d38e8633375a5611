import math
import re

import pytest
import torch
from torch import nn

from vispropnet.engine.checkpoints.weights import LoadReport, load_weights
from vispropnet.errors import UserError


class Model(nn.Module):
    plain_weights = 'detector'

    def __init__(self, width=3):
        super().__init__()
        self.detector = nn.Sequential(nn.Linear(2, width))
        self.head = nn.Linear(width, 1)


class Extended(Model):
    def __init__(self):
        super().__init__()
        self.extra = nn.Linear(1, 1)

    def explain_missing(self, missing):
        return 'it has no extra part' if 'extra.weight' in missing else ''


class Choosy(Extended):
    def explain_misfit(self, shapes):
        return 'it is of other frames' if shapes.get('head.bias') == (7,) else ''


def without(model, key):
    return {name: weight for name, weight in model.state_dict().items() if name != key}


def refused(model, weights, strict=True):
    """The message; the model is left as it was."""
    before = {key: one.clone() for key, one in model.state_dict().items()}
    with pytest.raises(UserError) as caught:
        load_weights(model, weights, 'a.pth', strict)
    assert all(torch.equal(one, before[key]) for key, one in model.state_dict().items())
    return str(caught.value)


def test_loads_everything_that_fits():
    source = Model()
    for prefix in ('', 'module.'):  # the second is of distributed training
        weights = {f'{prefix}{key}': value for key, value in source.state_dict().items()}
        report = load_weights(target := Model(), dict(state_dict=weights), 'a.pth')
        assert report.complete and report.loaded == 4
        assert torch.equal(target.head.weight, source.head.weight)
    # Weights of other precisions, and of shapes alone.
    weights = {key: torch.full_like(one, 2) for key, one in Model().state_dict().items()}
    for dtype in (torch.float16, torch.bfloat16, torch.float64, torch.int64):
        model = Model()
        load_weights(model, {key: one.to(dtype) for key, one in weights.items()}, 'a.pth')
        assert all(torch.equal(one, weights[key]) for key, one in model.state_dict().items())
    with torch.device('meta'):
        model = Model()
    assert load_weights(model, model.state_dict(), 'a.pth').complete


def test_strict_by_default_and_reports_all_at_once_many_by_module():
    weights = {**without(Model(width=4), 'head.bias'), 'neck.weight': torch.zeros(1)}
    text = refused(Model(), dict(state_dict=weights))
    assert 'checkpoint a.pth does not fit' in text
    assert 'missing in the checkpoint (1):\n    head.bias' in text
    assert 'not in the model (1):\n    neck.weight' in text
    assert 'of another shape (3):\n    detector.0.bias: (4,) in the file, (3,) wanted' in text
    missing = [f'prop_head.convs.{n}.weight' for n in range(20)] + ['attn_neck.gamma']
    missing += [f'detector.roi_head.mask_head.convs.{n}.bias' for n in range(3)]
    title, *parts = str(LoadReport(missing=missing, plain='detector')).splitlines()[1:]
    counts = ['prop_head.* (20)', 'attn_neck.* (1)', 'detector.roi_head.mask_head.* (3)']
    assert title == '  missing in the checkpoint (24):'
    assert parts == [f'    {one}' for one in counts]


def test_not_strict_loads_what_fits_and_reports_the_rest():
    source = Model()
    for weights, missing in (
        (without(source, 'head.bias'), ['head.bias']),
        (source.detector.state_dict(), ['head.weight', 'head.bias']),  # of a plain detector
    ):
        report = load_weights(target := Model(), weights, 'a.pth', strict=False)
        assert torch.equal(target.detector[0].weight, source.detector[0].weight)
        assert (report.missing, report.unexpected) == (missing, [])
        assert report.loaded == 4 - len(missing)


@pytest.mark.parametrize('strict', [True, False])
@pytest.mark.parametrize('prefix', ['', 'module.'])
def test_old_layout_says_how_to_convert(strict, prefix):
    parts = ('backbone.conv1', 'rpn_head.rpn_cls', 'bbox_head.fc_cls')
    weights = {f'{prefix}{part}.weight': torch.zeros(1) for part in parts}
    weights[f'{prefix}head.weight'] = torch.ones(1, 3)
    text = refused(Model(), dict(state_dict=weights), strict)
    assert text.startswith('checkpoint a.pth has the layout of mmdetection 0.6')
    assert 'python tools/convert_checkpoint.py IN OUT' in text and '_legacy.py' in text


def test_a_model_explains_what_is_missing_and_nothing_else():
    for model, weights, strict in (
        (Model(), {'x': torch.zeros(1)}, False),  # nothing fits
        (Model(), dict(state_dict=[1, 2]), False),
        (Extended(), {'x': torch.zeros(1)}, True),
        # What a model does not explain.
        (Extended(), without(Extended(), 'extra.bias'), True),
        # A module that declares nothing.
        (nn.Sequential(nn.Linear(2, 3)), nn.Linear(2, 3).state_dict(), False),
    ):
        text = refused(model, weights, strict)
        assert 'a.pth does not fit the model of this config:\n' in text
        assert all(key in text for key in model.state_dict() if key not in weights)
    text = refused(Extended(), Model().state_dict())
    assert 'a.pth does not fit the model of this config: it has no extra part:\n' in text
    assert 'missing in the checkpoint (2):\n    extra.weight\n    extra.bias' in text
    report = load_weights(Extended(), Model().state_dict(), 'a.pth', strict=False)
    assert report.missing == ['extra.weight', 'extra.bias']


@pytest.mark.parametrize('strict', [True, False])
def test_tensors_that_cannot_be_weights_are_refused(strict):
    one, bad = torch.ones(1, 3), r'not finite \(NaN or infinity\), in head\.weight'
    for weight, words in (
        *((torch.tensor([[1, value, 1]]), bad) for value in (math.nan, math.inf)),
        (torch.empty(1, 3, device='meta'), r': head\.weight is .*device meta'),
        (torch.quantize_per_tensor(one, 0.1, 0, torch.qint8), 'is quantized'),
        (one.to_sparse(), 'is sparse'),
        (one.to(torch.complex64), 'of type torch.complex64'),
        (one.to(torch.float8_e4m3fn), 'of type torch.float8_e4m3fn'),
    ):
        text = refused(Model(), {**Model().state_dict(), 'head.weight': weight}, strict)
        assert re.match(rf'checkpoint a\.pth.*{words}', text)


def test_a_model_says_of_which_kind_a_checkpoint_is():
    model = Choosy()
    other = {'head.bias': torch.zeros(7)}
    kind = 'does not fit the model of this config: it is of other frames:'
    assert kind in refused(model, other)
    assert kind in refused(model, {**model.state_dict(), **other})
    # What is missing explains more.
    weights = {**without(model, 'extra.weight'), **other}
    assert 'this config: it has no extra part:' in refused(model, weights)
    assert 'does not fit the model of this config:\n' in refused(model, {'a': torch.zeros(7)})
