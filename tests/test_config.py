import copy
import pickle
from unittest.mock import Mock

import pytest
from mmengine.config import Config
from yapf.yapflib import yapf_api

from tests.small_runs import SMALL
from vispropnet.config import FormattedOnceConfig, explain_config_errors, load_config
from vispropnet.config_variables import dotted_keys
from vispropnet.errors import UserError
from vispropnet.registry import MODELS


@pytest.fixture
def small(pytestconfig):
    return str(pytestconfig.rootpath / SMALL)


def test_overrides_take_effect(small):
    overrides = ['optim_wrapper.optimizer.lr=0.5', 'optim_wrapper.clip_grad=None', 'load_from=None']
    # Texts keep their spaces.
    overrides += ['data_root=/my data/set 1', "work_dir='out put'", 'visualizer=None']
    overrides += ['model.detector.rpn_head.anchor_generator.scales=[4, 8]']
    overrides += ['model.detector.backbone.type=mmdet.ResNet', 'test_evaluator.ann_file=mine.json']
    config = load_config(small, overrides)
    assert config.optim_wrapper.optimizer.lr == 0.5
    roots = [config[f'{part}_dataloader'].dataset.data_root for part in ('train', 'val', 'test')]
    assert roots == ['/my data/set 1'] * 3
    assert (config.work_dir, config.load_from) == ('out put', None)
    assert config.model.detector.rpn_head.anchor_generator.scales == [4, 8]
    # A group of keys may be dropped.
    assert config.optim_wrapper.clip_grad is config.visualizer is None
    assert config.model.detector.backbone.type == 'mmdet.ResNet'
    # Evaluators score against the file of their data set.
    assert config.val_evaluator.ann_file == '/my data/set 1/valid/instances.json'
    assert config.test_evaluator.ann_file == 'mine.json'


PATHS = ['data_root', 'train_dataloader.dataset.ann_file', 'load_from', 'work_dir']
PATHS += ['val_dataloader.dataset.data_prefix.img', 'model.detector.backbone.init_cfg.checkpoint']


def test_paths_are_texts(small, tmp_path):
    keys = [key.replace('data_root', 'test_dataloader.dataset.data_root') for key in PATHS]
    for value in ('2019', '1e3', 'a,b', '[x]', '(1,2)', 'True', 'a(b', '-1', '1_0'):
        config = load_config(small, [f'{key}={value}' for key in PATHS])
        found = dict(dotted_keys(config.to_dict()))
        assert [found[key] for key in keys] == [value] * len(PATHS)
    # Other texts of the config stay texts too.
    hint = load_config(small, ['hint=1, 2']).train_dataloader.dataset.hint
    assert hint == '1, 2' and load_config(small, ['load_from=None']).load_from is None
    path, wrong = tmp_path / 'config.py', ['data_root = 2019', "load_from = ['a', 'b']"]
    for text in (*wrong, 'val_dataloader = dict(dataset=dict(ann_file=7))'):
        path.write_text(f'_base_ = {small!r}\n{text}\n')
        with pytest.raises(UserError, match='must be a text with a path, found'):
            load_config(path)


def test_options_of_all_parts(small, tmp_path):
    path = tmp_path / 'joined.py'
    path.write_text(
        f'_base_ = {small!r}\none = dict(_base_.train_dataloader.dataset, data_root="a/")\n'
        "both = dict(type='ConcatDataset', data_root='b/', datasets=[one, one])\n"
        "train_dataloader = dict(dataset=dict(_delete_=True, type='RepeatDataset', dataset=both))\n"
    )
    for options, root in (([], 'b/'), (['data_root=c'], 'c')):
        config = load_config(path, options)
        inner = config.train_dataloader.dataset.dataset
        assert 'data_root' not in inner and [one.data_root for one in inner.datasets] == [root] * 2
    heads = load_config(small, ['num_classes=auto']).model.detector.roi_head
    assert heads.bbox_head.num_classes == heads.mask_head.num_classes == 'auto'
    apart = 'train_dataloader.dataset.dataset.datasets.0.data_root=d'
    path.write_text(path.read_text().replace("data_root='b/', ", ''))
    with pytest.raises(UserError, match=r'of train_dataloader are in 2 folders \(a/, d\); set'):
        load_config(path, [apart, 'data_root=c'])
    path.write_text(path.read_text().replace('train_dataloader = ', 'val_dataloader = '))
    with pytest.raises(UserError, match=r'val_dataloader\.dataset is a RepeatDataset, but results'):
        load_config(path)


def test_missing_and_broken_config(tmp_path):
    path = tmp_path / 'broken.py'
    with pytest.raises(UserError, match=r'config not found: .*broken\.py'):
        load_config(path)
    for text in ('model = dict(', "_base_ = './none.py'", 'x = 1 / 0'):
        path.write_text(text)
        with pytest.raises(UserError, match=r'config .*broken\.py cannot be read'):
            load_config(path)


def test_overrides_that_do_not_fit_and_parts_that_cannot_be_built(small):
    by_path = ['model.type=os.system', 'model.detector.backbone.type=torch.hub.load']
    by_path += ['custom_hooks.0.type=mmengine.utils.misc', 'model.type=mmdet..x']
    for override, message in (
        ('model.x=[1,2', 'each bracket that is opened must be closed'),
        ('seed', "expected KEY=VALUE, found 'seed'"),
        ('optim_wraper.optimizer.lr=1', "no key 'optim_wraper'. Did you mean 'optim_wrapper'"),
        ('optim_wrapper.optimizer.lr=abc', r'lr is [0-9.]+ in the config and takes a number'),
        ('train_cfg.max_epochs=abc', "takes a number, got 'abc'"),
        ("param_scheduler.0.end='x'", 'param_scheduler.0.end is .* takes a number'),
        ('train_cfg=now', 'train_cfg is a group of keys'),
        ('model.detector.backbone.norm_eval=maybe', 'takes True or False'),
        (
            'model.detector.test_cfg.rcnn.score_threshold=0.3',
            r"model.detector.test_cfg.rcnn of config .* has no key 'score_threshold'.*; it has "
            "score_thr, nms, .* Did you mean 'score_thr'",
        ),
        ('model.detector.train_cfg.rcn.sampler.num=9', "no key 'rcn'.* Did you mean 'rcnn'"),
        *((one, f'{one} names a type by its import path') for one in by_path),
    ):
        with pytest.raises(UserError, match=message):
            load_config(small, [override])
    typo, unknown = 'model.type=MaskTrackRCN', "unknown type 'MaskTrackRCN' .*'MaskTrackRCNN'"
    message = "EmbeddingHead.*unexpected keyword argument 'num_fc'"
    words = {typo: unknown, 'model.track_head.embed_head.num_fc=3': message}
    for override, message in words.items():
        config = load_config(small, [override])
        with pytest.raises(UserError, match=message), explain_config_errors(small):
            MODELS.build(config.model)
    # What is there, and arguments of groups with a type, can be set.
    group = 'model.detector.test_cfg.rcnn'
    for options in (
        [f'{group}.nms.class_agnostic=True'],
        [f'{group}=None'],
        [f'{group}.min_bbox_size=3'],
        [f'{group}._delete_=True', f'{group}.mine=1'],
    ):
        load_config(small, options)
    # Bugs are not taken for errors of the config.
    with pytest.raises(KeyError), explain_config_errors(small):
        {}['missing']


@pytest.mark.parametrize('name', ['r50_fpn_1x', 'r18_fpn_10e'])
def test_own_data_is_described_by_variables(pytestconfig, name):
    path = f'configs/masktrack_rcnn/masktrack-rcnn_{name}_own-data.py'
    options = ['num_classes=7', 'img_scale=960,540', 'anchor_scales=[2,4]', 'anchor_ratios=[0.25]']
    options += ['data_root=/mine', 'train_file=a.json', 'train_frames=2019', 'valid_file=b,c.json']
    config = load_config(pytestconfig.rootpath / path, options)
    assert set(MODELS.build(config.model).category_counts().values()) == {7}
    anchors = config.model.detector.rpn_head.anchor_generator
    assert (anchors.scales, anchors.ratios) == ([2, 4], [0.25])
    for part, file, frames in (('train', 'a.json', '2019'), ('val', 'b,c.json', 'frames')):
        data = config[f'{part}_dataloader'].dataset
        assert (data.data_root, data.ann_file, data.data_prefix.img) == ('/mine', file, frames)
        assert [one.scale for one in data.pipeline if one.type == 'Resize'] == [(960, 540)]
    assert config.test_dataloader == config.val_dataloader
    assert config.test_evaluator.ann_file == '/mine/b,c.json'


@pytest.mark.slow
def test_every_config_is_read_and_backbones_have_their_depths(pytestconfig):
    paths = sorted((pytestconfig.rootpath / 'configs').glob('[!_]*/*.py'))
    paths, depths = [path for path in paths if path.parent.name != 'studies'], {}
    assert len(paths) >= 10
    for path in paths:
        config = load_config(path)
        assert config.default_scope == 'vispropnet', path
        # Index masks have none.
        named = 'ann_file' in config.test_dataloader.dataset
        assert config.test_evaluator.get('ann_file', '').endswith('.json') == named, path
        if path.match('masktrack_rcnn/*2019.py'):
            weights = MODELS.build(config.model).parameters()
            depths[path.stem.split('_')[1]] = sum(one.numel() for one in weights)
    assert set(depths) == {'r50', 'r101', 'x101-32x4d', 'x101-64x4d'}
    # R101 has 17 bottlenecks more than R50 in its third stage: 3 convolutions, 3 norms each.
    bottleneck = 1024 * 256 + 256 * 256 * 9 + 256 * 1024 + 2 * (256 + 256 + 1024)
    assert depths['r101'] - depths['r50'] == 17 * bottleneck
    assert depths['x101-64x4d'] > depths['x101-32x4d'] > 0.95 * depths['r101']


def test_text_is_that_of_the_library_follows_changes_and_goes_with_copies(monkeypatch):
    formatted = Mock(wraps=yapf_api.FormatCode)
    monkeypatch.setattr(yapf_api, 'FormatCode', formatted)
    theirs = Config(dict(model=dict(type='A', size=2), epochs=3))
    ours = FormattedOnceConfig.of(theirs)
    text = theirs.pretty_text
    assert [ours.pretty_text for _ in range(3)] == [text] * 3
    other = copy.deepcopy(ours)
    assert other.pretty_text == text and formatted.call_count == 2
    ours.model.size = 5
    assert 'size=5' in ours.pretty_text and formatted.call_count == 3
    ours.epochs = 4
    assert 'epochs = 4' in ours.pretty_text and formatted.call_count == 4
    other.model.type = 'B'
    assert "type='B'" in other.pretty_text and "type='A'" in ours.pretty_text
    again = pickle.loads(pickle.dumps(ours))
    assert type(again) is FormattedOnceConfig and again.pretty_text == ours.pretty_text
