"""A training step, and a test frame, of two configs' models on the same input."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Any

import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.structures import InstanceData
from torch import Tensor

from vispropnet.apis.config import load_config
from vispropnet.benchmarks.checks import check_device, check_positive, check_size
from vispropnet.benchmarks.frames import (
    build_model,
    draw_pairs,
    metainfo_of_frame,
    num_classes,
    settle_model,
    share_weights,
)
from vispropnet.benchmarks.measure import (
    NAMES,
    Variant,
    circumstances,
    compare,
    report,
    say,
)
from vispropnet.errors import UserError
from vispropnet.models.detectors import VISDetector


@dataclass(frozen=True)
class Settings:
    """Whose steps are measured, and on what.

    Args:
        config: Config file of ours.
        baseline: Config file of the baseline.
        size: Width and height of the frames in pixels.
        batch_size: Pairs of a training step.
        objects: In each frame.
        same_test_cfg: Whether the baseline's detector takes as many proposals and detections as
            ours.
        seed: Of weights and inputs.
        device: Where it runs.
    """

    config: str
    baseline: str
    size: tuple[int, int] = (640, 384)
    batch_size: int = 2
    objects: int = 4
    same_test_cfg: bool = True
    seed: int = 0
    device: str = 'cpu'

    def check(self) -> None:
        """Checks them.

        Raises:
            UserError: for what cannot be run.
        """
        check_positive(batch_size=self.batch_size, objects=self.objects)
        check_size(self.size)
        check_device(self.device)
        for path in (self.config, self.baseline):
            load_config(path)


def benchmark_train(settings: Settings, repeats: int, memory: bool = True) -> dict[str, Any]:
    """Measures a training step: forward, backward and the step of the config's optimiser.

    Args:
        settings: Whose, and on what.
        repeats: Timed runs of each.
        memory: Whether memory is measured.

    Returns:
        The JSON object of the last line.

    Raises:
        UserError: for settings that cannot be run.
    """
    settings.check()
    check_positive(repeats=repeats)
    small = replace(settings, size=(64, 64), batch_size=1)
    result = compare(make_train, settings, small, repeats, settings.device, memory)
    measured = {
        **_described(settings),
        'batch_size': settings.batch_size,
        'objects': settings.objects,
        'learning_rate': 'zero: every step does the same work',
        'losses': result.outputs,
        **circumstances(settings.device, repeats, settings.seed),
    }
    return report('train', result, None, measured)


def benchmark_infer(settings: Settings, repeats: int, memory: bool = True) -> dict[str, Any]:
    """Measures a test frame.

    The tracks of a frame before are known. A model that recovers tracks has a full history, and no
    track of it is missing: what is measured is the frame that most frames are.

    Args:
        settings: Whose, and on what.
        repeats: Timed runs of each.
        memory: Whether memory is measured.

    Returns:
        The JSON object of the last line.

    Raises:
        UserError: for settings that cannot be run.
    """
    settings.check()
    check_positive(repeats=repeats)
    small = replace(settings, size=(64, 64))
    result = compare(make_infer, settings, small, repeats, settings.device, memory)
    counts = {name: len(found) for name, found in result.outputs.items()}
    measured = {
        **_described(settings),
        'objects': settings.objects,
        'test_cfg': "the config's for both" if settings.same_test_cfg else "each config's own",
        'detections': counts,
        'history': 'full where there is one; no track is missing',
        **circumstances(settings.device, repeats, settings.seed),
    }
    if counts['ours'] != counts['baseline']:
        say(f'note: {counts["ours"]} detections against {counts["baseline"]} of the baseline')
    return report('infer', result, None, measured)


def make_train(name: str, settings: Settings) -> Variant:
    """Builds one of the two training steps for :func:`~vispropnet.benchmarks.measure.compare`.

    Args:
        name: ``'ours'`` or ``'baseline'``.
        settings: Whose, and on what.
    """
    model, data = build(name, settings)
    wrapper = build_optim_wrapper(model, _optimiser(name, settings))
    for group in wrapper.param_groups:
        group['lr'] = 0.0
    model.train()

    def prepare() -> dict:
        # Ground truth is padded in place, and RoIs are drawn.
        torch.manual_seed(settings.seed)
        return copy.deepcopy(data)

    def run(batch: dict) -> float:
        return model.train_step(batch, wrapper)['loss'].item()

    # What the optimiser remembers is made in its first step, and is not memory of the others.
    run(prepare())
    return Variant(run, prepare)


def make_infer(name: str, settings: Settings) -> Variant:
    """Builds one of the two test frames for :func:`~vispropnet.benchmarks.measure.compare`.

    Args:
        name: ``'ours'`` or ``'baseline'``.
        settings: Whose, and on what.
    """
    model, data = build(name, settings)
    model.eval()
    batch = model.data_preprocessor(copy.deepcopy(data), False)
    image = batch['inputs'][0]
    first = metainfo_of_frame(settings.size, 0)
    _, state = model.step(image, first, model.init_state())
    state = _with_history(model, image, settings, state)
    # A mutable state (mmdet's) is copied for each run, one that is never changed need not be.
    mutable = isinstance(state, torch.nn.Module)

    def prepare() -> Any:
        return copy.deepcopy(state) if mutable else state

    def run(state: Any) -> InstanceData:
        return model.step(image, metainfo_of_frame(settings.size, 1), state)[0]

    return Variant(run, prepare)


def build(name: str, settings: Settings) -> tuple[VISDetector, dict]:
    """Builds one of the two models, and the input of both.

    What both models have has the same weights, so that both find as much.

    Args:
        name: ``'ours'`` or ``'baseline'``.
        settings: Whose, and on what.

    Returns:
        The model, and a batch of pairs as a data loader gives it.
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
    data = draw_pairs(settings.size, settings.batch_size, settings.objects, classes, settings.seed)
    for one in (model, second):
        if one is not None:
            torch.manual_seed(settings.seed)
            settle_model(one, copy.deepcopy(data))
    if second is None:
        return model, data
    share_weights(model, second)
    return second, data


def _with_history(model: VISDetector, image: Tensor, settings: Settings, state: Any) -> Any:
    """A state whose history is full, and holds exactly the tracks that the next frame shows.

    Association does not look at the history, so the ids that the frame's detections get are known
    from a run without one.
    """
    recovery = getattr(model, 'recovery', None)
    if recovery is None or not recovery.enabled:
        return state
    _, after = model.step(image, metainfo_of_frame(settings.size, 1), replace(state, history=()))
    return replace(state, history=after.history[-1:] * recovery.history_length)


def _take_test_cfg(config: Config, other: Config) -> None:
    for one in (config, other):
        if one.get('model', {}).get('detector') is None:
            return
    if config.model.detector.get('test_cfg') is not None:
        other.model.detector.test_cfg = copy.deepcopy(config.model.detector.test_cfg)


def _optimiser(name: str, settings: Settings) -> dict:
    """The config's own; a config that has none (a model alone) takes the other's."""
    paths = dict(zip(NAMES, (settings.config, settings.baseline), strict=True))
    found = {one: load_config(path).get('optim_wrapper') for one, path in paths.items()}
    wrapper = found[name] or found['ours'] or found['baseline']
    if wrapper is None:
        raise UserError(f'neither {settings.config} nor {settings.baseline} has an optim_wrapper.')
    return copy.deepcopy(wrapper)


def _described(settings: Settings) -> dict[str, Any]:
    return {'ours': settings.config, 'baseline': settings.baseline, 'size': settings.size}
