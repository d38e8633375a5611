"""What training steps and test frames of two configs' models have in common."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.config import Config

from benchmarking.checks import check_device, check_positive
from benchmarking.frames import (
    build_model,
    draw_clips,
    num_classes,
    settle_model,
    share_weights,
)
from vispropnet.config import explain_config_errors, load_config
from vispropnet.errors import UserError
from vispropnet.models.detectors import VISDetector


@dataclass(frozen=True)
class Settings:
    """Whose steps are measured, and on what.

    Args:
        config: Config file of ours.
        baseline: Config file of the baseline.
        size: Width and height of the frames in pixels; the model pads them.
        batch_size: Clips of a training step.
        num_refs: Reference frames of a clip.
        objects: In each frame.
        same_test_cfg: Whether the baseline's detector takes as many proposals and detections as
            ours.
        seed: Of weights and inputs.
        device: Where it runs.
    """

    config: str
    baseline: str
    size: tuple[int, int] = (640, 360)
    batch_size: int = 2
    num_refs: int = 1
    objects: int = 2
    same_test_cfg: bool = True
    seed: int = 0
    device: str = 'cpu'

    def check(self) -> None:
        """Checks them.

        Raises:
            UserError: for what cannot be run.
        """
        check_positive(batch_size=self.batch_size, num_refs=self.num_refs, objects=self.objects)
        if min(self.size) < 32:
            raise UserError(
                f'--size takes a width and a height of 32 or more, got {self.size[0]} '
                f'{self.size[1]}.'
            )
        check_device(self.device)
        for path in (self.config, self.baseline):
            load_config(path)


def build(name: str, settings: Settings) -> tuple[VISDetector, dict]:
    """Builds one of the two models, and the input of both.

    What both models have has the same weights, so that both find as much.

    Args:
        name: ``'ours'`` or ``'baseline'``.
        settings: Whose, and on what.

    Returns:
        The model, and a batch of clips as a data loader gives it.

    Raises:
        UserError: if a config has no model that can be measured, or one that refuses the clips.
    """
    config, other = load_config(settings.config), load_config(settings.baseline)
    if settings.same_test_cfg:
        _take_test_cfg(config, other)
    model = build_model(config, settings.config, settings.seed).to(settings.device)
    classes = num_classes(model)
    second = None
    if name == 'baseline':
        second = build_model(other, settings.baseline, settings.seed).to(settings.device)
        classes = min(classes, num_classes(second))
    data = draw_clips(
        settings.size,
        settings.batch_size,
        settings.objects,
        classes,
        settings.seed,
        num_frames=1 + settings.num_refs,
    )
    for one, path in ((model, settings.config), (second, settings.baseline)):
        if one is not None:
            torch.manual_seed(settings.seed)
            # A model may refuse the number of references.
            with explain_config_errors(path):
                settle_model(one, copy.deepcopy(data))
    if second is None:
        return model, data
    share_weights(model, second)
    return second, data


def described(settings: Settings) -> dict[str, Any]:
    """Names what is compared, for the JSON object.

    Args:
        settings: Whose, and on what.
    """
    return {'ours': settings.config, 'baseline': settings.baseline, 'size': settings.size}


def _take_test_cfg(config: Config, other: Config) -> None:
    for one in (config, other):
        if one.get('model', {}).get('detector') is None:
            return
    if config.model.detector.get('test_cfg') is not None:
        other.model.detector.test_cfg = copy.deepcopy(config.model.detector.test_cfg)
