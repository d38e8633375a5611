import os
import pickle

import pytest
import torch
from mmengine.logging import HistoryBuffer
from torch import nn

from vispropnet.engine.checkpoint import (
    LoadReport,
    load_weights,
    read_checkpoint,
    trained_classes,
)
from vispropnet.errors import UserError


class Model(nn.Module):
    def __init__(self, width=3):
        super().__init__()
        self.detector = nn.Sequential(nn.Linear(2, width))
        self.head = nn.Linear(width, 1)


class Hostile:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def save(path, content):
    torch.save(content, path)
    return path


def test_reads_what_mmengine_saves(tmp_path):
    buffer = HistoryBuffer([1.0, 2.0], [1, 1])
    content = dict(state_dict=Model().state_dict(), meta=dict(epoch=3), message_hub=buffer)
    read = read_checkpoint(save(tmp_path / 'a.pth', content))
    assert read['meta'] == dict(epoch=3)
    assert read['message_hub'].mean() == 1.5


def test_refuses_files_that_run_code(tmp_path):
    target = tmp_path / 'made'
    path = save(tmp_path / 'a.pth', dict(state_dict={}, bomb=Hostile(str(target))))
    with pytest.raises(UserError, match=r'posix\.mkdir.*--trust-checkpoint'):
        read_checkpoint(path)
    assert not target.exists()
    read_checkpoint(path, trust=True)
    assert target.exists()


@pytest.mark.parametrize('damage', ['half', 'empty', 'text', 'pickle'])
def test_damaged_files(tmp_path, damage):
    path = save(tmp_path / 'a.pth', dict(state_dict=Model().state_dict()))
    content = path.read_bytes()
    damaged = {
        'half': content[: len(content) // 2],
        'empty': b'',
        'text': b'<html>not found</html>',
        'pickle': pickle.dumps([1, 2, 3]),
    }
    path.write_bytes(damaged[damage])
    with pytest.raises(UserError, match=r'checkpoint .*a\.pth') as caught:
        read_checkpoint(path)
    assert '\n' not in str(caught.value)


def test_missing_file(tmp_path):
    with pytest.raises(UserError, match='checkpoint not found: .*none.pth'):
        read_checkpoint(tmp_path / 'none.pth')


def test_loads_everything_that_fits():
    source, target = Model(), Model()
    report = load_weights(target, dict(state_dict=source.state_dict()), 'a.pth')
    assert report.complete and report.loaded == 4
    assert torch.equal(target.head.weight, source.head.weight)


def test_strict_by_default_and_tells_all_at_once():
    weights = Model(width=4).state_dict()
    del weights['head.bias']
    weights['neck.weight'] = torch.zeros(1)
    target = Model()
    before = target.head.weight.clone()
    with pytest.raises(UserError) as caught:
        load_weights(target, dict(state_dict=weights), 'a.pth')
    text = str(caught.value)
    assert 'checkpoint a.pth does not fit' in text
    assert 'missing in the checkpoint (1):\n    head.bias' in text
    assert 'not in the model (1):\n    neck.weight' in text
    assert 'detector.0.weight: (4, 2) in the file, (3, 2) wanted' in text
    assert torch.equal(target.head.weight, before)


def test_not_strict_loads_what_fits_and_reports_the_rest():
    source, target = Model(), Model()
    weights = source.state_dict()
    del weights['head.bias']
    report = load_weights(target, dict(state_dict=weights), 'a.pth', strict=False)
    assert report.missing == ['head.bias'] and report.loaded == 3
    assert torch.equal(target.detector[0].weight, source.detector[0].weight)


def test_nothing_fits_is_an_error_even_when_not_strict():
    with pytest.raises(UserError, match='does not fit'):
        load_weights(Model(), dict(state_dict={'x': torch.zeros(1)}), 'a.pth', strict=False)


def test_plain_detector_files_fill_the_detector():
    source, target = Model(), Model()
    report = load_weights(
        target, dict(state_dict=source.detector.state_dict()), 'coco.pth', strict=False
    )
    assert torch.equal(target.detector[0].weight, source.detector[0].weight)
    assert report.missing == ['head.weight', 'head.bias'] and report.unexpected == []


def test_prefix_of_distributed_training_is_dropped():
    source, target = Model(), Model()
    weights = {f'module.{key}': value for key, value in source.state_dict().items()}
    assert load_weights(target, weights, 'ddp.pth').complete


def test_unreachable_address_says_what_to_do(monkeypatch, tmp_path):
    def fail(url, target):
        raise OSError('no route to host')

    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, 'download_url_to_file', fail)
    with pytest.raises(UserError, match='no route to host.*load_from=FILE.*load_from=None'):
        read_checkpoint('https://example.org/a.pth')


@pytest.mark.parametrize('strict', [True, False])
@pytest.mark.parametrize('prefix', ['', 'module.'])
def test_old_layout_says_how_to_convert(strict, prefix):
    parts = ('backbone.conv1', 'rpn_head.rpn_cls', 'bbox_head.fc_cls', 'head')
    weights = {f'{prefix}{part}.weight': torch.zeros(1) for part in parts}
    weights[f'{prefix}head.weight'] = torch.ones(1, 3)
    target = Model()
    before = target.head.weight.clone()
    with pytest.raises(UserError) as caught:
        load_weights(target, dict(state_dict=weights), 'old.pth', strict)
    text = str(caught.value)
    assert text.startswith('checkpoint old.pth has the layout of mmdetection 0.6')
    assert 'python tools/convert_checkpoint.py IN OUT' in text and '_legacy.py' in text
    assert torch.equal(target.head.weight, before)


class Propagating(Model):
    def __init__(self):
        super().__init__()
        self.prop_head = nn.Linear(1, 1)


def test_missing_propagation_head_says_what_to_do():
    weights = Model().state_dict()
    with pytest.raises(UserError) as caught:
        load_weights(Propagating(), weights, 'a.pth')
    text = str(caught.value)
    assert 'no propagation head (a MaskTrack R-CNN checkpoint?)' in text
    assert '--cfg-options load_from=FILE' in text
    assert 'missing in the checkpoint (2):\n    prop_head.weight\n    prop_head.bias' in text
    report = load_weights(Propagating(), weights, 'a.pth', strict=False)
    assert report.missing == ['prop_head.weight', 'prop_head.bias']


@pytest.mark.parametrize('lacking', ['prop_head.bias', 'head.bias'])
def test_other_misfits_do_not_speak_of_propagation(lacking):
    weights = Propagating().state_dict()
    del weights[lacking]
    with pytest.raises(UserError, match='does not fit the model of this config:\n') as caught:
        load_weights(Propagating(), weights, 'a.pth')
    assert lacking in str(caught.value) and 'propagation' not in str(caught.value)


def test_content_without_weights_is_an_error():
    with pytest.raises(UserError, match='does not fit'):
        load_weights(Model(), dict(state_dict=[1, 2]), 'a.pth')


def test_many_missing_tensors_are_told_by_module():
    report = LoadReport(
        missing=[f'prop_head.convs.{n}.weight' for n in range(20)]
        + [f'detector.roi_head.mask_head.convs.{n}.bias' for n in range(3)]
        + ['attn_neck.gamma']
    )
    assert str(report).splitlines()[1:] == [
        '  missing in the checkpoint (24):',
        '    prop_head.* (20)',
        '    detector.roi_head.mask_head.* (3)',
        '    attn_neck.* (1)',
    ]


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_weights_of_a_training_that_diverged_are_refused(value):
    weights = Model().state_dict()
    weights['head.bias'] = torch.full((1,), value)
    model = Model()
    before = {key: one.clone() for key, one in model.state_dict().items()}
    with pytest.raises(UserError, match=r'a\.pth holds numbers that are not finite .*head\.bias'):
        load_weights(model, dict(state_dict=weights), 'a.pth')
    assert all(torch.equal(one, before[key]) for key, one in model.state_dict().items())


@pytest.mark.parametrize(
    ('weight', 'words'),
    [
        (torch.empty(1, 3, device='meta'), 'device meta'),
        (torch.quantize_per_tensor(torch.ones(1, 3), 0.1, 0, torch.qint8), 'quantized'),
        (torch.ones(1, 3).to_sparse(), 'sparse'),
        (torch.ones(1, 3, dtype=torch.complex64), 'of type torch.complex64'),
        (torch.ones(1, 3).to(torch.float8_e4m3fn), 'of type torch.float8_e4m3fn'),
    ],
)
@pytest.mark.parametrize('strict', [True, False])
def test_tensors_that_cannot_be_weights_are_refused(tmp_path, weight, words, strict):
    content = dict(state_dict={**Model().state_dict(), 'head.weight': weight})
    model = Model()
    before = {key: one.clone() for key, one in model.state_dict().items()}
    read = read_checkpoint(save(tmp_path / 'a.pth', content))
    with pytest.raises(UserError, match=rf'checkpoint a\.pth: head\.weight is .*{words}'):
        load_weights(model, read, 'a.pth', strict)
    assert all(torch.equal(one, before[key]) for key, one in model.state_dict().items())


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64, torch.int64])
def test_weights_of_other_precisions_are_loaded(dtype):
    weights = {key: torch.full_like(one, 2) for key, one in Model().state_dict().items()}
    model = Model()
    load_weights(model, {key: one.to(dtype) for key, one in weights.items()}, 'a.pth')
    assert all(torch.equal(one, weights[key]) for key, one in model.state_dict().items())


def test_shapes_fill_a_model_of_shapes():
    with torch.device('meta'):
        model = Model()
    assert load_weights(model, model.state_dict(), 'a.pth').complete


def test_meta_must_be_a_dict(tmp_path):
    for meta, found in (([1], r'\[1\]'), ('x', "'x'"), (5, '5'), (torch.ones(2), 'tensor')):
        path = save(tmp_path / 'a.pth', dict(state_dict={}, meta=meta))
        with pytest.raises(UserError, match=rf'a\.pth: meta must be a dict, found {found}'):
            read_checkpoint(path)
    assert read_checkpoint(save(tmp_path / 'a.pth', dict(state_dict={}, meta=None)))


@pytest.mark.parametrize(
    ('meta', 'classes'),
    [
        (dict(dataset_meta=dict(classes=('a', 'b'))), ('a', 'b')),
        (dict(dataset_meta=dict(classes=['a'])), ('a',)),
        (dict(dataset_meta=dict(classes='ab')), None),
        (dict(dataset_meta=dict(classes=['a', 1])), None),
        (dict(dataset_meta=dict(classes=5)), None),
        (dict(dataset_meta=dict(classes=None)), None),
        (dict(dataset_meta=dict()), None),
        (dict(dataset_meta=[1]), None),
        (dict(dataset_meta=None), None),
        (dict(), None),
        (None, None),
    ],
)
def test_trained_classes(meta, classes):
    assert trained_classes(dict(state_dict={}, meta=meta)) == classes
    assert trained_classes({}) is None


def test_only_regular_files_are_opened(tmp_path):
    os.mkfifo(tmp_path / 'pipe.pth')
    (tmp_path / 'zero.pth').symlink_to('/dev/zero')
    (tmp_path / 'folder.pth').mkdir()
    (tmp_path / 'empty.pth').touch()
    for name, words in (
        ('pipe', 'is no regular file'),
        ('zero', 'is no regular file'),
        ('folder', 'is a folder; expected a file'),
        ('empty', 'is empty'),
    ):
        with pytest.raises(UserError, match=rf'checkpoint .*{name}\.pth {words}'):
            read_checkpoint(tmp_path / f'{name}.pth')
    with pytest.raises(UserError, match='cannot be read: File name too long'):
        read_checkpoint(tmp_path / ('x' * 300))


@pytest.mark.parametrize('trust', [False, True])
@pytest.mark.parametrize(
    'content', [b'\x80', b'\x80\x02', b'e', b'h\x05.', b'\x80\x02.', b'garbage', b'\x00' * 40]
)
def test_noise_of_unpickling_is_no_reason(tmp_path, trust, content):
    path = tmp_path / 'a.pth'
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_checkpoint(path, trust=trust)
    assert str(caught.value) in {
        f'checkpoint {path} cannot be read: the file is damaged or no checkpoint.',
        f'checkpoint {path} cannot be read ({len(content)} bytes; truncated or damaged?); expected '
        'what torch.save wrote.',
    }
