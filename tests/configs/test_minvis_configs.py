"""Configs of MinVIS, and mmdet's own of Mask2Former, whose files they load."""

from pathlib import Path

import mmdet
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from tests.configs.test_trials import differences
from vispropnet.config import load_config
from vispropnet.engine.checkpoints.weights import load_weights
from vispropnet.errors import UserError
from vispropnet.models import detectors  # noqa: F401 (registers)
from vispropnet.registry import MODELS, TRANSFORMS

FOLDER = Path(__file__).parents[2] / 'configs/minvis'
MMDET = Path(mmdet.__file__).parent / '.mim/configs/mask2former'
COCO = 'minvis_r50_coco'
NAMES = sorted(path.stem for path in FOLDER.glob('*.py'))
PUBLISHED = [name for name in NAMES if '-shapes' not in name and name != COCO]


def config_of(name):
    return load_config(FOLDER / f'{name}.py')


def on(backbone):
    """The device of shapes alone, where a model takes no time; mmdet's Swin needs numbers."""
    return torch.device('cpu' if backbone.type == 'SwinTransformer' else 'meta')


def built(model):
    with on(model.detector.backbone):
        return MODELS.build(model)


def weights_of_mmdet(name):
    config = Config.fromfile(MMDET / f'{name}.py').model
    config.backbone.init_cfg = config.data_preprocessor.batch_augments = None
    init_default_scope('mmdet')
    try:
        with on(config.backbone):
            return MODELS.build(dict(config, _scope_='mmdet')).state_dict()
    finally:
        init_default_scope('vispropnet')


@pytest.mark.parametrize('name', PUBLISHED)
def test_published_settings(name):
    config = config_of(name)
    _, backbone, epochs, data = name.split('_')
    large = backbone == 'swin-l'
    assert config.model.num_classes == (25 if data.startswith('ovis') else 40)
    assert config.model.detector.panoptic_head.num_queries == (200 if large else 100)
    assert config.train_cfg.max_epochs == config.param_scheduler[-1].end == int(epochs[0])
    loader = config.train_dataloader
    assert loader.batch_size * (16 if large else 8) == 32
    assert loader.dataset.num_refs == 0
    scales = [one.scales for one in loader.dataset.pipeline if one.type == 'RandomChoiceResize']
    assert scales == [[(640, 360), (854, 480)]]
    assert data.endswith('-local') == (config.val_dataloader is not None)
    assert f'mask2former_{backbone}' in config.load_from


def test_the_steps_of_training_are_built():
    for step in config_of('minvis_r50_3e_ytvis2019').train_dataloader.dataset.pipeline:
        TRANSFORMS.build(step)


def test_backbones_differ_in_the_model_and_the_file_it_starts_from():
    base = config_of('minvis_r50_3e_ytvis2019').to_dict()
    other = config_of('minvis_swin-t_3e_ytvis2019').to_dict()
    places = {key.rpartition('.')[0] for key in differences(base, other)}
    allowed = ('', 'model.detector.backbone', 'model.detector.panoptic_head')
    assert all(one.startswith(allowed[1:]) or one == '' for one in places)


@pytest.mark.parametrize('name', ['r50_8xb2', 'swin-t-p4-w7-224_8xb2'])
def test_mmdet_files_of_coco_load_strictly(name):
    weights = weights_of_mmdet(f'mask2former_{name}-lsj-50e_coco')
    config = config_of(COCO)
    if name.startswith('swin'):
        other = config_of('minvis_swin-t_3e_ytvis2019')
        config.model.detector = other.model.detector
    model = built(config.model)
    report = load_weights(model, weights, 'coco.pth')
    assert report.complete and report.loaded == len(model.state_dict()) > 300


def test_files_that_are_near_are_named():
    panoptic = weights_of_mmdet('mask2former_r50_8xb2-lsj-50e_coco-panoptic')
    with pytest.raises(UserError) as caught:
        load_weights(built(config_of(COCO).model), panoptic, 'panoptic.pth')
    assert (
        "panoptic.pth does not fit the model of this config: it is a file of COCO's panoptic"
        in (str(caught.value))
    )
    # Training starts from it all the same, with class layers of its own.
    model = built(config_of('minvis_r50_3e_ytvis2019').model)
    report = load_weights(model, panoptic, 'panoptic.pth', strict=False)
    assert [key for key, _, _ in report.mismatched] == [
        f'detector.panoptic_head.cls_embed.{one}' for one in ('bias', 'weight')
    ]
    assert not report.missing and not report.unexpected
    coco = built(config_of(COCO).model).state_dict()
    with pytest.raises(UserError, match=r'80 categories apart and the config 40: .*num_classes=80'):
        load_weights(model, coco, 'coco.pth')
    more = load_config(FOLDER / f'{COCO}.py', ['model.detector.panoptic_head.num_queries=200'])
    with pytest.raises(UserError, match='it has 100 queries and the config 200'):
        load_weights(built(more.model), coco, 'coco.pth')


def test_all_categories_by_one_number():
    config = load_config(FOLDER / 'minvis_r50_3e_ytvis2019.py', ['num_classes=7'])
    assert built(config.model).category_counts() == {'detector.panoptic_head': 7}
