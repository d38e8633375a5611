"""The page of public weights, held to mmdet's list and to the classes that made the files."""

import re
from pathlib import Path

import mmdet
import pytest
import torch
from mmengine.config import Config
from mmengine.fileio import load
from mmengine.registry import DefaultScope

from vispropnet.config import load_config
from vispropnet.registry import MODELS

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = ROOT / 'configs' / 'masktrack_rcnn'
THEIRS = Path(mmdet.__file__).parent / '.mim' / 'configs' / 'masktrack_rcnn'
TEXT = (ROOT / 'docs' / 'model-zoo.md').read_text()
BASE = re.search(r'below `(https://\S+)`', TEXT)[1]
ROWS = re.findall(r'^\| `(masktrack\S+\.py)` \| `(\S+\.pth)` \| ([0-9.]+) \|$', TEXT, re.MULTILINE)


@pytest.fixture(scope='module')
def listed():
    """By address, what mmdet says of a file."""
    return {one['Weights']: one for one in load(THEIRS / 'metafile.yml')['Models']}


def shapes_of(model):
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def test_all_files_of_the_list_are_on_the_page(listed):
    assert len(ROWS) == 6 and {BASE + path for _, path, _ in ROWS} == set(listed)


@pytest.mark.parametrize(('name', 'path', 'metric'), ROWS)
def test_a_config_has_the_tensors_of_the_file(listed, name, path, metric):
    entry = listed[BASE + path]
    (result,) = entry['Results']
    assert result['Metrics']['AP'] == float(metric)
    # The same year and backbone.
    assert result['Dataset'].split()[-1] in name and f'_{path.split("_")[2]}' in name
    with torch.device('meta'):
        ours = shapes_of(MODELS.build(load_config(CONFIGS / name).model))
        config = Config.fromfile(THEIRS / Path(entry['Config']).name).model
        with DefaultScope.overwrite_default_scope('mmdet'):
            theirs = shapes_of(MODELS.build({**config, '_scope_': 'mmdet'}))
    assert ours == theirs
