import pytest

from tests.models.small_models import SMALL, model_config, seeded_model


@pytest.fixture
def small_config():
    return model_config(SMALL)


@pytest.fixture
def small_model():
    return seeded_model(SMALL)
