"""Files of the mmdetection 0.6 era, in which MaskTrack R-CNN and ObjProp were released.

Their heads stand beside each other, and class 0 is the background, which today is the last of the
box head's classes and no channel at all of the masks. The weights are otherwise the same; the
conventions of that time are in the configs whose name ends in ``_legacy.py``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from vispropnet.engine.checkpoints.reading import (
    read_checkpoint,
    tensors_of,
    trained_classes,
)
from vispropnet.errors import UserError
from vispropnet.fileio import atomic_path
from vispropnet.text import first_of

# Part of an old model: what its keys look like, and what today's begin with.
_LAYOUT = {
    'backbone': (r'(conv1|bn1|layer\d+)\.', 'detector.backbone'),
    'neck': (r'(lateral_convs|fpn_convs)\.', 'detector.neck'),
    'rpn_head': (r'(rpn_conv|rpn_cls|rpn_reg)\.', 'detector.rpn_head'),
    'bbox_head': (r'(shared_fcs\.\d+|fc_cls|fc_reg)\.', 'detector.roi_head.bbox_head'),
    'mask_head': (r'(convs\.\d+|upsample|conv_logits)\.', 'detector.roi_head.mask_head'),
    'track_head': (r'fcs\.\d+\.', 'track_head.embed_head'),
    'prop_head': (r'(convs\.\d+|mask_convs\.\d+|upsample|conv_logits)\.', 'prop_head'),
    'neck_attn': (r'(gamma$|conv1\.|conv2\.)', 'attn_neck'),
}
# Made by the original, but never used.
_UNUSED = re.compile(r'prop_head\.(conv1|conv2)\.')
_DETECTOR = ('backbone', 'neck', 'rpn_head', 'bbox_head', 'mask_head')

METHODS = {
    'ObjProp': 'configs/objprop/objprop_r50_fpn_1x_ytvis2019_legacy.py',
    'MaskTrack R-CNN': 'configs/masktrack_rcnn/masktrack-rcnn_r50_fpn_1x_ytvis2019_legacy.py',
}


@dataclass
class Conversion:
    """An old file's weights under today's keys, and what became of them.

    Args:
        method: ``'ObjProp'``, ``'MaskTrack R-CNN'`` or, without a track head, ``'Mask R-CNN'``.
        num_classes: Categories, without the background.
        weights: State dict.
        dropped: What of the old file was left out, one text each.
    """

    method: str
    num_classes: int
    weights: dict[str, Tensor]
    dropped: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f'{self.method}: {len(self.weights)} tensors, {self.num_classes} categories']
        lines += [f'left out: {one}' for one in self.dropped]
        if self.method in METHODS:
            lines.append(f'run it with {METHODS[self.method]} or a config made like it')
        else:
            lines.append('no track head: good to start a training from, with load_from')
        if any(key.startswith('attn_neck.') for key in self.weights):
            lines.append(
                'it has an attention neck, so the config needs '
                "model.attn_neck = dict(type='AttentionNeck', channels=256)"
            )
        return '\n'.join(lines)


def _has_legacy_layout(keys: Iterable[str]) -> bool:
    return {'bbox_head', 'rpn_head'} <= {key.split('.')[0] for key in keys}


def refuse_legacy_layout(weights: Iterable[str], wanted: Iterable[str], source: str) -> None:
    """Refuses a file of the old layout for a model of another one.

    Args:
        weights: Keys of the file.
        wanted: Keys of the model.
        source: Where the file comes from, for the message.

    Raises:
        UserError: saying how to convert it.
    """
    if _has_legacy_layout(weights) and not _has_legacy_layout(wanted):
        raise UserError(
            f'checkpoint {source} has the layout of mmdetection 0.6 and 1 (keys bbox_head.* beside '
            'rpn_head.*), in which the released MaskTrack R-CNN and ObjProp files came. Convert it '
            'with "python tools/convert_checkpoint.py IN OUT", and use what that writes with a '
            'config whose name ends in _legacy.py, which has the conventions it was trained with.'
        )


def convert_file(
    source: str | os.PathLike, target: str | os.PathLike, trust: bool = False
) -> Conversion:
    """Converts a file of the old layout; optimizer and other state is not kept.

    Args:
        source: The old file.
        target: The new one, written whole or not at all.
        trust: Whether the old file may run code while it is read.

    Returns:
        What was converted.

    Raises:
        UserError: if both are the same file, the old one is missing, damaged or of another layout,
            or the new one cannot be written.
    """
    source = os.fspath(source)
    if os.path.realpath(source) == os.path.realpath(target):
        raise UserError(f'{target}: OUT is the same file as IN; choose another name.')
    checkpoint = read_checkpoint(source, trust=trust)
    converted = convert_weights(tensors_of(checkpoint), source)
    if 'state_dict' in checkpoint:
        converted.dropped += [f'{key} of the file' for key in checkpoint if key != 'state_dict']
    meta = dict(converted_from=os.path.basename(source))
    meta.update(method=converted.method, num_classes=converted.num_classes)
    if names := trained_classes(checkpoint):
        meta['dataset_meta'] = dict(classes=names)
    with atomic_path(target) as temporary:
        try:
            torch.save(dict(state_dict=converted.weights, meta=meta), temporary)
        except (OSError, RuntimeError) as error:  # a full disk is either
            raise UserError(f'cannot write {target}: {error}') from None
    return converted


def convert_weights(old: Mapping[str, Tensor], source: str) -> Conversion:
    """Converts weights of the old layout.

    Args:
        old: State dict.
        source: Where it comes from, for messages.

    Returns:
        What was converted. Nothing shares memory with ``old`` that is larger than what is kept.

    Raises:
        UserError: if they have another layout, lack a part, have unknown keys, or heads disagree on
            the number of categories.
    """
    _check_layout(old, source)
    weights, dropped, unknown = {}, [], []
    for key, value in old.items():
        part, _, name = key.partition('.')
        pattern, prefix = _LAYOUT.get(part, ('$', ''))
        if _UNUSED.match(key):
            dropped.append(f'{key} (unused by the original too)')
        elif re.match(pattern, name):
            weights[f'{prefix}.{name}'] = value
        else:
            unknown.append(key)
    if unknown:
        raise UserError(
            f'checkpoint {source} has the old layout, but {len(unknown)} keys that no released '
            f'MaskTrack R-CNN or ObjProp has: {first_of(unknown, 5)}. A changed model cannot be '
            'converted.'
        )
    num_classes = _count_categories(old, source)
    _move_background(weights)
    parts = {key.split('.')[0] for key in old}
    method = 'Mask R-CNN'
    if 'track_head' in parts:
        method = 'ObjProp' if 'prop_head' in parts else 'MaskTrack R-CNN'
    dropped.append("the background's rows of fc_reg and conv_logits (those of fc_cls are last now)")
    return Conversion(method, num_classes, weights, dropped)


def _check_layout(old: Mapping[str, Tensor], source: str) -> None:
    parts = {key.split('.')[0] for key in old}
    if 'detector' in parts:
        raise UserError(
            f"checkpoint {source} already has today's layout (keys detector.*): there is nothing "
            'to convert.'
        )
    if not _has_legacy_layout(old):
        found = f'found {first_of(old, 5)}' if old else 'found no tensors'
        raise UserError(
            f'checkpoint {source} is no MaskTrack R-CNN or ObjProp file of the old layout: '
            f'expected keys backbone.*, rpn_head.*, bbox_head.* ..., {found}.'
        )
    wanted = _DETECTOR + (('track_head',) if 'prop_head' in parts else ())
    missing = [part for part in wanted if part not in parts]
    if missing:
        raise UserError(
            f'checkpoint {source} has the old layout, but no {", ".join(missing)}: is it another '
            'method, or a part of a file?'
        )


def _count_categories(old: Mapping[str, Tensor], source: str) -> int:
    """Number of categories without the background, on which all heads have to agree."""
    per_row = {'bbox_head.fc_cls': 1, 'bbox_head.fc_reg': 4, 'mask_head.conv_logits': 1}
    if any(key.startswith('prop_head.') for key in old):
        per_row['prop_head.conv_logits'] = 1
    names = [f'{layer}.{kind}' for layer in per_row for kind in ('weight', 'bias')]
    missing = [name for name in names if name not in old]
    if missing:
        raise UserError(f'checkpoint {source} has the old layout, but no {", ".join(missing)}.')
    rows = {name: old[name].shape[0] if old[name].ndim else 0 for name in names}
    classes = rows['bbox_head.fc_cls.weight']
    wanted = {name: classes * per_row[name.rpartition('.')[0]] for name in names}
    wrong = [f'{name} {rows[name]} ({n})' for name, n in wanted.items() if rows[name] != n]
    if wrong or classes < 2:
        raise UserError(
            f'checkpoint {source}: its heads disagree on the number of categories. '
            f'bbox_head.fc_cls.weight has {classes} rows, one of them the background; '
            f'rows found (and expected) of others: {", ".join(wrong) or "none"}.'
        )
    return classes - 1


def _move_background(weights: dict[str, Tensor]) -> None:
    """Class 0 was the background: makes it the last one, or leaves it out."""
    for kind in ('weight', 'bias'):
        name = f'detector.roi_head.bbox_head.fc_cls.{kind}'
        weights[name] = torch.cat([weights[name][1:], weights[name][:1]])
        for layer, rows in (
            ('detector.roi_head.bbox_head.fc_reg', 4),
            ('detector.roi_head.mask_head.conv_logits', 1),
            ('prop_head.conv_logits', 1),
        ):
            if f'{layer}.{kind}' in weights:
                # A copy: torch saves the whole storage that a slice lies in.
                weights[f'{layer}.{kind}'] = weights[f'{layer}.{kind}'][rows:].clone()


def other_conventions(checkpoint: Mapping[str, Any], model: Mapping[str, Any]) -> str | None:
    """Gives a warning if a checkpoint was converted and a model's config has other conventions."""
    source = (checkpoint.get('meta') or {}).get('converted_from')
    if source is None or 'Legacy' in str(model):
        return None
    return (
        f'the checkpoint was converted from {source}, which was trained with other conventions of '
        'boxes, anchors and RoIAlign than this config has; use a config whose name ends in _legacy.'
    )
