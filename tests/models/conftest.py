import pytest
import torch
from mmengine.config import Config

from tests.models.small_models import SMALL, SMALL_OBJPROP
from vispropnet.registry import MODELS


@pytest.fixture
def small_config(pytestconfig):
    return Config.fromfile(pytestconfig.rootpath / SMALL).model


@pytest.fixture
def small_model(small_config):
    torch.manual_seed(0)
    model = MODELS.build(small_config)
    model.init_weights()
    return model


@pytest.fixture
def objprop_config(pytestconfig):
    return Config(dict(model=Config.fromfile(pytestconfig.rootpath / SMALL_OBJPROP).model))
