"""What the README shows is run as it stands there."""

import re

import pytest
import torch

from vispropnet.config import load_config
from vispropnet.datasets.moving_shapes import write_moving_shapes
from vispropnet.registry import MODELS

SMALL = 'configs/masktrack_rcnn/masktrack-rcnn_r18_fpn_2e_moving-shapes.py'


@pytest.fixture
def readme(pytestconfig):
    return (pytestconfig.rootpath / 'README.md').read_text(encoding='utf-8')


def test_python_example_runs(readme, pytestconfig, tmp_path, monkeypatch, capsys):
    example = next(
        code for code in re.findall(r'```python\n(.*?)```', readme, re.DOTALL) if 'step(' in code
    )
    config = str(pytestconfig.rootpath / SMALL)
    monkeypatch.chdir(tmp_path)
    write_moving_shapes(
        'data/moving_shapes', train_videos=1, val_videos=1, frames=3, size=(96, 64), progress=False
    )
    torch.save(dict(state_dict=MODELS.build(load_config(config).model).state_dict()), 'weights.pth')
    (video,) = (tmp_path / 'data/moving_shapes/valid/JPEGImages').iterdir()
    names = dict(CONFIG=config, CHECKPOINT='weights.pth', VIDEO=video)
    exec(compile(example, 'README.md', 'exec'), names)
    # One line for each frame of the video, and one for the frame that is given by itself.
    assert len(capsys.readouterr().out.splitlines()) == 3 + 1
    assert names['frame'].index == 2 and names['masks'].shape[1:] == (64, 96)
    assert names['found'].masks.size == (64, 96) and names['segmenter'].num_frames == 0


def test_files_and_configs_that_it_names_exist(readme, pytestconfig):
    root = pytestconfig.rootpath
    named = set(re.findall(r'(?:configs|tools|docs)/[\w./-]+\.(?:py|png|jpg|md)', readme))
    assert len(named) > 8
    assert [name for name in sorted(named) if not (root / name).exists()] == []
    for pattern in re.findall(r'\| `((?:\.\./\w+/)?[\w{},.-]+\.py)` \|', readme):
        for year in ('2019', '2021'):
            name = pattern.replace('{2019,2021}', year)
            assert (root / 'configs/masktrack_rcnn' / name).exists(), name
