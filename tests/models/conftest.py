import pytest

from tests.models.small_models import SMALL, SMALL_OBJPROP, seeded_model
from vispropnet.config import load_config


@pytest.fixture
def small_config(root):
    return load_config(root / SMALL).model


@pytest.fixture
def small_model(small_config):
    return seeded_model(small_config)


@pytest.fixture
def objprop_config(root):
    return load_config(root / SMALL_OBJPROP)
