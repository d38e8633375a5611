"""Configs that validate on a part of the training set, which tools/split_ytvis.py splits off."""

import pytest

from tests.configs.test_trials import differences
from vispropnet.config import load_config
from vispropnet.datasets.splits import FILE_NAMES
from vispropnet.errors import UserError
from vispropnet.registry import DATASETS

LEAVES = [
    'masktrack_rcnn/masktrack-rcnn_r50_fpn_1x_ytvis2021',
    'objprop/objprop_r50_fpn_1x_ytvis2021',
]
SOURCES = {'2019': 'train.json', '2021': 'train/instances.json'}


@pytest.fixture(params=SOURCES)
def year(request):
    return request.param


@pytest.fixture
def local(root, year, tmp_path):
    """A config of the data alone, so that both years are tested without a model."""
    path = tmp_path / 'local.py'
    path.write_text(f"_base_ = '{root}/configs/_base_/datasets/youtube-vis-{year}-local.py'\n")
    return path


@pytest.mark.parametrize('overrides', [[], ['data_root=/there']])
def test_trains_and_validates_on_the_split(local, year, overrides):
    config = load_config(local, overrides)
    base = '/there' if overrides else f'data/youtube_vis_{year}'
    for part, name in (('train', 'train.json'), ('val', 'valid.json'), ('test', 'valid.json')):
        assert name in FILE_NAMES
        dataset = config[f'{part}_dataloader'].dataset
        assert dataset.data_root.rstrip('/') == base
        assert dataset.ann_file == f'local/{name}'
        assert dataset.data_prefix.img == 'train/JPEGImages'
        assert bool(dataset.get('test_mode')) == (part != 'train')
    for part in ('val', 'test'):
        evaluator = config[f'{part}_evaluator']
        assert evaluator.type == 'YouTubeVISMetric' and evaluator.get('evaluate', True)
        assert evaluator.ann_file == f'{base}/local/valid.json'
    assert (config.val_cfg.type, config.test_cfg.type) == ('VideoValLoop', 'VideoTestLoop')
    assert config.val_dataloader == config.test_dataloader
    assert config.val_dataloader.batch_size == 1
    assert config.val_dataloader.sampler.type == 'VideoSampler'
    assert '_delete_' not in config.pretty_text


def test_without_the_split_one_is_told_how_to_make_it(local, year, tmp_path):
    config = load_config(local, [f'data_root={tmp_path}'])
    for part in ('train', 'val', 'test'):
        with pytest.raises(UserError, match=r'annotation file not found') as caught:
            DATASETS.build(config[f'{part}_dataloader'].dataset)
        data = f'data/youtube_vis_{year}'
        command = (
            f'python tools/split_ytvis.py {data}/{SOURCES[year]} --val-fraction 0.1 --seed 0 '
            f'--out-dir {data}/local'
        )
        assert command in str(caught.value)
        assert f'YouTube-VIS {year} has to be downloaded' in str(caught.value)


@pytest.mark.parametrize('leaf', LEAVES)
def test_a_leaf_differs_in_its_data_only(root, leaf):
    official = load_config(root / f'configs/{leaf}.py').to_dict()
    local = load_config(root / f'configs/{leaf}-local.py').to_dict()
    found = {key.split('.')[0] for key in differences(official, local)}
    data = {f'{part}_{what}' for part in ('val', 'test') for what in ('dataloader', 'evaluator')}
    data |= {'train_dataloader', 'val_cfg', 'hint', 'valid'}
    assert found == data | ({'load_from'} if 'objprop' in leaf else set())


@pytest.mark.parametrize('leaf', LEAVES)
def test_no_weights_have_seen_the_validation_videos(root, leaf):
    """What was trained on the whole training set would make their scores too good."""
    source = load_config(root / f'configs/{leaf}-local.py').load_from
    assert 'coco' in source or source.startswith('work_dirs/') and '-local/' in source
    if source.startswith('work_dirs/'):
        assert source.split('/')[1] + '.py' in {
            path.name for path in (root / 'configs').glob('*/*-local.py')
        }
