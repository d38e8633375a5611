"""Attention maps on request, of frames and places of a data set.

A request is ``VIDEO:FRAME:REFERENCE:X,Y``, a pixel of frame ``FRAME`` that looks in frame
``REFERENCE``, or ``VIDEO:FRAME:REFERENCE:#OBJECT``, an annotated object. ``VIDEO`` and ``OBJECT``
are ids of the annotation file, frames count from 0.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
from pycocotools import mask as mask_utils

from vispropnet.apis.attention_maps.drawing import draw_attention
from vispropnet.apis.attention_maps.recording import record_attention
from vispropnet.datasets.rle import checked_rles
from vispropnet.errors import UserError
from vispropnet.models.detectors import VISDetector
from vispropnet.text import first_of
from vispropnet.visualization.frames import read_frame

JPEG_QUALITY = 90
SHOWN_IDS = 5
_FORM = re.compile(r'(.+):(\d+):(\d+):(?:(\d+),(\d+)|#(.+))', re.ASCII)


class Request(NamedTuple):
    """Frames and a place to draw maps of."""

    video: Mapping[str, Any]  # entry of the annotation file
    current: int  # frame where the place is, from 0
    reference: int  # frame where it looks
    position: tuple[int, int] | None  # (x, y) of a pixel; None for an object
    truth: Mapping[str, Any] | None  # annotation of the object, or of one at the position


def draw_request(
    model: VISDetector, text: str, content: Mapping[str, Any], images: Path
) -> list[dict[str, Any]]:
    """Draws where a model looks, for a place of a data set.

    A position that lies on an annotated object (the smallest, where several overlap) has that
    object's category and reference box.

    Args:
        model: Made by :func:`~vispropnet.apis.models.init_model`.
        text: The request, see the top of this module.
        content: Annotation file.
        images: Folder that the ``file_names`` of the videos start from.

    Returns:
        For each way of looking a dict with ``title``, ``caption`` and ``jpeg`` (bytes).

    Raises:
        UserError: naming the request, if it is malformed or what it asks for is not there, or if
            the model has no attention between frames.
    """
    request = parse_request(text, content)
    video, now, then, place, truth = request
    frames = [read_frame(video, one, images) for one in (now, then)]
    label = box = None
    if truth is not None:
        if truth['category_id'] in model.category_ids:
            label = model.category_ids.index(truth['category_id'])
        if place is None:
            place = mask_utils.decode(truth['segmentations'][now]).astype(bool)
        if truth['segmentations'][then]:
            x, y, w, h = mask_utils.toBbox(truth['segmentations'][then]).tolist()
            box = (x, y, x + w, y + h)
    try:
        maps = record_attention(model, *frames, place, label, box)
    except UserError as error:
        raise UserError(f'attention request {text!r}: {error}') from None
    subject = _subject(request, content['categories'])
    heads = f'frame {now} (current): {subject}', f'frame {then} (reference)'
    pictures = []
    for found in maps:
        notes = list(found.notes)
        if truth is not None and box is None:
            notes.append('the object is not visible in the reference frame')
        title = f'video {video["id"]}: {found.title}'
        picture = draw_attention(*frames, found.values, found.cell, place, box, title, heads, notes)
        jpeg = cv2.imencode('.jpg', picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
        title = f'video {video["id"]}, frame {now} → {then}, {subject}: {found.title}'
        pictures.append(dict(title=title, caption='. '.join(notes) + '.', jpeg=jpeg.tobytes()))
    return pictures


def parse_request(text: str, content: Mapping[str, Any]) -> Request:
    """Reads a request and finds what it names in annotations; a UserError if it is not there."""
    where = f'attention request {text!r}'
    match = _FORM.fullmatch(text.strip())
    if match is None:
        raise UserError(
            f'{where}: expected VIDEO:FRAME:REFERENCE:X,Y or VIDEO:FRAME:REFERENCE:#OBJECT, as in '
            '3:5:0:84,30 or 3:5:0:#7.'
        )
    number, current, reference, x, y, object_id = match.groups()
    video = _found(number, content['videos'], f'{where}: video', 'the annotation file')
    current, reference = int(current), int(reference)
    length = len(video['file_names'])
    for frame in (current, reference):
        if frame >= length:
            raise UserError(
                f'{where}: video {number} has no frame {frame}, expected 0 to {length - 1}.'
            )
    truths = [
        {**one, 'segmentations': checked_rles(one['segmentations'], video, where)}
        for one in content.get('annotations') or []
        if one['video_id'] == video['id']
    ]
    if object_id is not None:
        truth = _found(object_id, truths, f'{where}: object', f'video {number}')
        if not truth['segmentations'][current]:
            visible = [frame for frame, mask in enumerate(truth['segmentations']) if mask]
            raise UserError(
                f'{where}: object {object_id} is not visible in frame {current}; it is in frames '
                f'{first_of(visible, SHOWN_IDS) or "none"}.'
            )
        return Request(video, current, reference, None, truth)
    position = int(x), int(y)
    if position[0] >= video['width'] or position[1] >= video['height']:
        raise UserError(
            f'{where}: position {x},{y} is outside of the frame of '
            f'{video["width"]}x{video["height"]} pixels.'
        )
    return Request(video, current, reference, position, _at(position, truths, current))


def _found(
    number: str, entries: Sequence[Mapping[str, Any]], what: str, where: str
) -> Mapping[str, Any]:
    for entry in entries:
        if str(entry['id']) == number:
            return entry
    known = first_of([entry['id'] for entry in entries], SHOWN_IDS) or 'none'
    raise UserError(f'{what} {number} is not in {where}, which has {known}.')


def _at(
    position: tuple[int, int], truths: Sequence[Mapping[str, Any]], frame: int
) -> Mapping[str, Any] | None:
    """The smallest object at a position."""
    x, y = position
    visible = [(truth['segmentations'][frame], truth) for truth in truths]
    there = [pair for pair in visible if pair[0] and mask_utils.decode(pair[0])[y, x]]
    smallest = min(there, key=lambda pair: int(mask_utils.area(pair[0])), default=(None, None))
    return smallest[1]


def _subject(request: Request, categories: Sequence[Mapping[str, Any]]) -> str:
    names = {category['id']: category['name'] for category in categories}
    truth = request.truth
    known = '' if truth is None else f'object #{truth["id"]} ({names[truth["category_id"]]})'
    if request.position is None:
        return known
    place = f'position {request.position[0]},{request.position[1]}'
    return f'{place} on {known}' if known else place
