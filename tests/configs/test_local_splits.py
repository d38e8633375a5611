"""Configs that validate on a part of the training set, which tools/split_ytvis.py splits off."""

import pytest

from tests.configs.test_trials import differences
from vispropnet.config import load_config
from vispropnet.datasets.splits import FILE_NAMES
from vispropnet.errors import UserError
from vispropnet.registry import DATASETS

METHODS = 'masktrack_rcnn/masktrack-rcnn', 'objprop/objprop'
SOURCES = {'2019': 'train.json', '2021': 'train/instances.json'}


@pytest.fixture(params=SOURCES)
def local(request, root, tmp_path):
    """A year, and a config of its data alone, so that both years are tested without a model."""
    path, base = tmp_path / 'local.py', root / 'configs/_base_/datasets'
    path.write_text(f"_base_ = '{base}/youtube-vis-{request.param}-local.py'\n")
    return request.param, path


@pytest.mark.parametrize('moved', [False, True])
def test_trains_and_validates_on_the_split(local, moved):
    year, path = local
    config = load_config(path, ['data_root=/there'] if moved else [])
    base = '/there' if moved else f'data/youtube_vis_{year}'
    for part, name in (('train', 'train.json'), ('val', 'valid.json'), ('test', 'valid.json')):
        dataset = config[f'{part}_dataloader'].dataset
        assert name in FILE_NAMES and dataset.data_root.rstrip('/') == base
        assert dataset.ann_file == f'local/{name}'
        assert dataset.data_prefix.img == 'train/JPEGImages'
        assert bool(dataset.get('test_mode')) == (part != 'train')
    for evaluator in (config.val_evaluator, config.test_evaluator):
        assert evaluator.type == 'YouTubeVISMetric' and evaluator.get('evaluate', True)
        assert evaluator.ann_file == f'{base}/local/valid.json'
    assert (config.val_cfg.type, config.test_cfg.type) == ('VideoValLoop', 'VideoTestLoop')
    loader = config.val_dataloader
    assert loader == config.test_dataloader and loader.batch_size == 1
    assert loader.sampler.type == 'VideoSampler' and '_delete_' not in config.pretty_text


def test_without_the_split_one_is_told_how_to_make_it(local, tmp_path):
    year, path = local
    config, data = load_config(path, [f'data_root={tmp_path}']), f'data/youtube_vis_{year}'
    options = f'--val-fraction 0.1 --seed 0 --out-dir {data}/local'
    for part in ('train', 'val', 'test'):
        with pytest.raises(UserError, match=r'annotation file not found') as caught:
            DATASETS.build(config[f'{part}_dataloader'].dataset)
        words = f'python tools/split_ytvis.py {data}/{SOURCES[year]} {options}'
        assert words in str(caught.value)
        assert f'YouTube-VIS {year} has to be downloaded' in str(caught.value)


@pytest.mark.parametrize('method', METHODS)
def test_a_leaf_differs_in_its_data_and_its_weights_have_not_seen_those_to_validate(root, method):
    leaf = f'configs/{method}_r50_fpn_1x_ytvis2021'
    official, local = (load_config(root / f'{leaf}{end}.py') for end in ('', '-local'))
    found = {key.split('.')[0] for key in differences(official.to_dict(), local.to_dict())}
    data = {f'{part}_{what}' for part in ('val', 'test') for what in ('dataloader', 'evaluator')}
    data |= {'train_dataloader', 'val_cfg', 'hint', 'valid'}
    assert found == data | ({'load_from'} if 'objprop' in method else set())
    # What was trained on the whole training set would make their scores too good.
    source = local.load_from
    assert 'coco' in source or source.startswith('work_dirs/') and '-local/' in source
    if source.startswith('work_dirs/'):
        names = {path.name for path in (root / 'configs').glob('*/*-local.py')}
        assert f'{source.split("/")[1]}.py' in names
