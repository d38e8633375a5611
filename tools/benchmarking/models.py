"""Models of configs with drawn weights, and the clips that they run on."""

from __future__ import annotations

import copy
from typing import Any

import torch
from mmengine.config import Config, ConfigDict

from benchmarking.frames import draw_clips
from benchmarking.inputs import settle_norms
from benchmarking.settings import ModelSettings
from vispropnet.config import explain_config_errors, load_config
from vispropnet.datasets.configured_categories import fill_num_classes
from vispropnet.engine.quiet import quiet
from vispropnet.errors import UserError
from vispropnet.models.detectors import VISDetector
from vispropnet.registry import MODELS


def build(name: str, settings: ModelSettings) -> tuple[VISDetector, dict]:
    """Builds one of the two models, and the input of both.

    Weights that both models have are the same, so that both find as much.

    Args:
        name: ``'ours'`` or ``'baseline'``.
        settings: Whose, and on what.

    Returns:
        The model, and a batch of clips as a data loader gives it.

    Raises:
        UserError: if a config has no model that can be measured, or one that refuses the clips.
    """
    config = load_config(settings.config)
    model = build_model(config, settings.config, settings.seed).to(settings.device)
    models = [(model, settings.config)]
    if name == 'baseline':
        other = load_config(settings.baseline)
        if settings.same_test_cfg:
            _take_test_cfg(config, other)
        second = build_model(other, settings.baseline, settings.seed).to(settings.device)
        models.append((second, settings.baseline))
    # The fewest that any part has.
    classes = min(min(one.category_counts().values(), default=1) for one, _ in models)
    data = draw_clips(
        settings.size,
        settings.batch_size,
        settings.objects,
        classes,
        settings.seed,
        num_frames=1 + settings.num_refs,
    )
    for one, path in models:
        torch.manual_seed(settings.seed)
        # A model may refuse the number of references.
        with explain_config_errors(path):
            settle_model(one, copy.deepcopy(data))
    if name == 'ours':
        return model, data
    share_weights(model, second)
    return second, data


def build_model(config: Config, path: str, seed: int) -> VISDetector:
    """Builds the model of a config from the seed, without pretrained weights.

    Args:
        config: Read from ``path``.
        path: For messages.
        seed: Of the weights.

    Raises:
        UserError: if the config has no model, or not one that goes frame by frame.
    """
    if config.get('model') is None:
        raise UserError(f'config {path} has no model.')
    torch.manual_seed(seed)
    fill_num_classes(config)
    with explain_config_errors(path), quiet():
        model = MODELS.build(_without_pretrained(config.model))
        if not isinstance(model, VISDetector):
            raise UserError(
                f'config {path}: model is {type(model).__name__}, which is no VISDetector.'
            )
        model.init_weights()
    return model


def settle_model(model: VISDetector, data: dict) -> None:
    """Sets the running statistics of a model's norms to those of a batch of clips."""
    batch = model.data_preprocessor(data, True)
    model.train()
    settle_norms(model, lambda: model.loss(batch['inputs'], batch['data_samples']))


def share_weights(source: VISDetector, target: VISDetector) -> int:
    """Copies every weight and statistic that another model has too, so that both see the same.

    Args:
        source: Gives them.
        target: Takes them. mmdet's models are held one module deeper.

    Returns:
        How many tensors were shared.
    """
    given = source.state_dict()
    shared = {}
    for key, value in target.state_dict().items():
        found = given.get(key.removeprefix('model.'))
        if found is not None and found.shape == value.shape:
            shared[key] = found
    target.load_state_dict(shared, strict=False)
    return len(shared)


def _take_test_cfg(config: Config, other: Config) -> None:
    if all(one.get('model', {}).get('detector') is not None for one in (config, other)):
        given = config.model.detector.get('test_cfg')
        if given is not None:
            other.model.detector.test_cfg = copy.deepcopy(given)


def _without_pretrained(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {key: _without_pretrained(one) for key, one in value.items()}
        initial = kept.get('init_cfg')
        if isinstance(initial, dict) and initial.get('type') == 'Pretrained':
            del kept['init_cfg']
        return ConfigDict(kept)
    if isinstance(value, (list, tuple)):
        return type(value)(_without_pretrained(one) for one in value)
    return value
