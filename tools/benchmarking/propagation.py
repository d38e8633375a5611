"""Recovery of missing tracks beside the definition written plainly (ObjProp, section 3)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from benchmarking.inputs import moving_pyramids, settle_norms
from benchmarking.measure import Variant, compare, largest_difference, report
from benchmarking.plain_propagation import plain_logits, plain_probabilities
from benchmarking.settings import PropagationSettings as Settings
from vispropnet.engine.quiet import quiet
from vispropnet.models.prop_heads.propagation_head import PropagationHead
from vispropnet.models.trackers.track_recovery import HistoryFrame, TrackRecovery
from vispropnet.registry import MODELS

BASELINE = (
    'the definition: a dense affinity per frame, then every track (missing or not) by itself, with '
    'the mask logits of all categories'
)


@dataclass(frozen=True)
class Scene:
    """A current frame, what is remembered of earlier ones, and who recovers the missing tracks.

    Args:
        features: (C, h, w) of the current frame.
        history: Earlier frames; the tracks have the ids 0, 1, 2 and so on.
        present: (N,) ids of the tracks that are not missing.
        head: Carries and segments.
        recovery: Ours.
    """

    features: Tensor
    history: tuple[HistoryFrame, ...]
    present: Tensor
    head: PropagationHead
    recovery: TrackRecovery


def benchmark(settings: Settings) -> dict[str, Any]:
    """Measures, prints and returns the JSON object of the last line."""
    result = compare(make, settings, replace(settings, size=(64, 64), history=2))
    ours, plain = result.outputs['ours'], result.outputs['baseline']
    threshold = TrackRecovery().mask_threshold
    return report(
        'propagation',
        settings,
        result,
        largest_difference(ours, plain),
        baseline=BASELINE,
        mean_iou=mean_iou(ours > threshold, plain > threshold),
        mask_share=(plain > threshold).float().mean().item(),
    )


def make(name: str, settings: Settings) -> Variant:
    """Builds ``'ours'`` or ``'baseline'``."""
    scene = build_scene(settings)
    missing = scene.recovery.find_missing(scene.history, scene.present)

    @torch.no_grad()
    def ours(_: None) -> Tensor:
        return scene.recovery.probabilities(scene.features, missing, scene.history, scene.head)

    @torch.no_grad()
    def baseline(_: None) -> Tensor:
        return plain_probabilities(scene.features, scene.history, scene.head)[missing.ids]

    return Variant(ours if name == 'ours' else baseline)


def build_scene(settings: Settings) -> Scene:
    """Makes head and inputs from the seed, on the settings' device."""
    torch.manual_seed(settings.seed)
    device = settings.device
    with quiet():
        head = MODELS.build(
            dict(
                type='PropagationHead',
                in_channels=settings.channels,
                channels=settings.channels,
                num_classes=settings.classes,
            )
        )
        head.init_weights()
    head = head.to(device).eval()
    frames = moving_pyramids(
        settings.size, settings.history + 1, settings.channels, head.num_levels, settings.seed
    )
    generator = torch.Generator().manual_seed(settings.seed)
    boxes = _boxes(settings, generator)
    labels = torch.randint(settings.classes, (settings.tracks,), generator=generator)
    scores = torch.rand(settings.tracks, generator=generator) * 0.5 + 0.5
    features = []
    with torch.no_grad():
        for levels in frames:
            levels = [level.to(device) for level in levels]
            if not features:
                settle_norms(head, lambda levels=levels: head.features(levels))
            features.append(head.features(levels)[0])
    history = tuple(
        HistoryFrame(
            features=one,
            # The fields move towards the origin, and so do the objects.
            boxes=(boxes - frame).to(device),
            ids=torch.arange(settings.tracks),
            labels=labels.to(device),
            scores=scores.to(device),
        )
        for frame, one in enumerate(features[:-1])
    )
    _spread_logits(head, features[-1], history[len(history) // 2])
    return Scene(
        features=features[-1],
        history=history,
        present=torch.arange(settings.missing, settings.tracks),
        head=head,
        recovery=TrackRecovery(history_length=settings.history, fusion=settings.fusion),
    )


def mean_iou(masks: Tensor, others: Tensor) -> float:
    """Mean IoU of masks (N, H, W), bool, with others of the same objects; two empty ones have 1."""
    union = (masks | others).sum(dim=(1, 2)).double()
    shared = (masks & others).sum(dim=(1, 2)).double()
    return torch.where(union > 0, shared / union.clamp(min=1), 1.0).mean().item()


@torch.no_grad()
def _spread_logits(head: PropagationHead, features: Tensor, frame: HistoryFrame) -> None:
    """Rescales the last layer, so that masks have an inside and an outside.

    A fresh one says about the same everywhere, and then all masks are alike, however they are made.
    """
    boxes, labels = frame.boxes[-1:], frame.labels[-1:].to(features.device)
    arrived = head.attention(frame.features, features, boxes, labels, head.test_sigma)
    logits = plain_logits(head.attend(*arrived)[0] * features, head).flatten(1)
    layer = head.conv_logits
    scale = 3 / logits.std(dim=1).clamp(min=1e-6)
    layer.weight *= scale[:, None, None, None]
    # An eighth of the frame is mask.
    layer.bias -= scale * logits.kthvalue(logits.shape[1] * 7 // 8, dim=1).values


def _boxes(settings: Settings, generator: torch.Generator) -> Tensor:
    """(tracks, 4) boxes of several sizes, a twentieth to a half of the frame's sides."""
    size = torch.tensor(settings.size, dtype=torch.float)
    share = torch.linspace(0.05, 0.5, settings.tracks)[:, None]
    stretch = torch.rand(settings.tracks, 2, generator=generator) * 0.4 + 0.8
    sides = share * stretch * size
    corner = torch.rand(settings.tracks, 2, generator=generator) * (size - sides)
    return torch.cat([corner, corner + sides], dim=1)
