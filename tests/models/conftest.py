import pytest
import torch

from tests.models.small_models import SMALL, SMALL_OBJPROP
from vispropnet.config import load_config
from vispropnet.registry import MODELS


@pytest.fixture
def small_config(root):
    return load_config(root / SMALL).model


@pytest.fixture
def small_model(small_config):
    torch.manual_seed(0)
    model = MODELS.build(small_config)
    model.init_weights()
    return model


@pytest.fixture
def objprop_config(root):
    return load_config(root / SMALL_OBJPROP)
