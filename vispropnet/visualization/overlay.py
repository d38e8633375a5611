"""Masks, outlines and labels drawn on a frame.

Legend: H, W the frame; N instances; a box is (x0, y0, x1, y1) in pixels, its end exclusive.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vispropnet.visualization.palette import track_color

FILL_OPACITY = 0.45
FILL_MUTING = 0.7
SHADOW_OPACITY = 0.35
LABEL_BACKGROUND = (26, 20, 18)
LABEL_OPACITY = 0.78
WHITE = (255, 255, 255)


def draw_instances(
    image: np.ndarray,
    masks: np.ndarray,
    ids: Sequence[int],
    labels: Sequence[int],
    scores: Sequence[float] | None,
    names: Sequence[str] | Mapping[int, str],
    scale: int = 1,
    propagated: Sequence[bool] | None = None,
) -> np.ndarray:
    """Draws instances on a copy of a frame: a translucent fill, an outline and a label each.

    Large masks are drawn first, so that small ones in front of them stay visible, and propagated
    ones last, so that their dashes do. Outlines lie inside the masks; with ``scale`` 1 no pixel
    outside the masks and the label boxes changes. An instance whose mask is empty is left out.

    Args:
        image: (H, W, 3) uint8, BGR. Not changed.
        masks: (N, H, W) bool.
        ids: (N,) track ids; each has its own colour and stands in the label as ``#id``.
        labels: (N,) keys or positions into ``names``.
        scores: (N,) in [0, 1], or None to leave scores out (ground truth).
        names: Category names.
        scale: Whole factor by which frame and masks are enlarged before anything is drawn, so that
            text on small frames can be read.
        propagated: (N,) bool; True puts white dashes on the outline: a mask carried over from
            another frame.

    Returns:
        (H * scale, W * scale, 3) uint8, BGR.

    Raises:
        ValueError: if a shape, a length or ``scale`` does not fit.
    """
    masks = np.asarray(masks, dtype=bool)
    _check(image, masks, ids, labels, scores, propagated, scale)
    if scale > 1:
        canvas = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
    else:
        canvas = image.copy()
    boxes = [_mask_box(mask) for mask in masks]
    present = [index for index, box in enumerate(boxes) if box is not None]
    carried = [False] * len(masks) if propagated is None else [bool(one) for one in propagated]
    for index in sorted(present, key=lambda index: (carried[index], -int(masks[index].sum()))):
        _draw_mask(
            canvas, masks[index], boxes[index], track_color(ids[index]), scale, carried[index]
        )
    texts = []
    for index in present:
        score = '' if scores is None else f' {float(scores[index]):.2f}'
        texts.append(f'#{int(ids[index])} {names[labels[index]]}{score}')
    colors = [track_color(ids[index]) for index in present]
    _draw_labels(canvas, texts, [np.multiply(boxes[index], scale) for index in present], colors)
    return canvas


def text_size(text: str, size: int, bold: bool = False) -> tuple[int, int]:
    """Gives (width, height) in pixels of a line that :func:`draw_text` writes."""
    height, width = _text_mask(text, size, bold).shape
    return width, height


def draw_text(
    canvas: np.ndarray,
    text: str,
    place: tuple[int, int],
    size: int,
    color: tuple[int, int, int] = WHITE,
    bold: bool = False,
) -> tuple[int, int]:
    """Writes one line of text into a picture, in place; what lies outside is cut.

    Args:
        canvas: (H, W, 3) uint8, BGR. Changed.
        text: The line.
        place: (x, y) of its upper left corner.
        size: Text size in pixels.
        color: (blue, green, red).
        bold: Heavier letters.

    Returns:
        (width, height) in pixels of the line.
    """
    mask = _text_mask(text, size, bold)
    height, width = mask.shape
    x, y = place
    left, top = max(x, 0), max(y, 0)
    region = canvas[top : max(y + height, 0), left : max(x + width, 0)]
    weight = mask[top - y :, left - x :][: region.shape[0], : region.shape[1], None] / 255.0
    region[:] = np.rint(region * (1 - weight) + np.array(color) * weight)
    return width, height


def place_labels(
    sizes: Sequence[tuple[int, int]],
    boxes: Sequence[tuple[int, int, int, int]],
    width: int,
    height: int,
) -> list[tuple[int, int] | None]:
    """Finds a place for every label: inside the picture, free of other labels, near its box.

    Places around and inside the box come first, those that hide no other box preferred; where all
    of them meet a label that is already placed, a near and free place on a grid is taken.

    Args:
        sizes: (width, height) of each label.
        boxes: The box that each label belongs to.
        width: Width of the picture.
        height: Height of the picture.

    Returns:
        (x, y) of the upper left corner of each label; None for one larger than the picture.
    """
    boxes = np.array(boxes, dtype=np.float64).reshape(-1, 4)
    placed = np.zeros((0, 4))
    places: list[tuple[int, int] | None] = []
    for index, label in enumerate(sizes):
        room = (width - label[0], height - label[1])
        if min(room) < 0:
            places.append(None)
            continue
        around = _around_box(boxes[index], *label)
        corners = np.clip(np.concatenate([around, _grid(room, *label)]), 0, room)
        rects = np.concatenate([corners, corners + label], axis=1)
        cost = 100 * _overlap(rects, placed) + _overlap(rects, np.delete(boxes, index, axis=0))
        cost = (cost + 0.2 * _overlap(rects, boxes[index : index + 1])) / (label[0] * label[1])
        cost += 2 * np.abs(corners - around[0]).sum(axis=1) / (width + height)
        cost[len(around) :] += 1
        placed = np.concatenate([placed, rects[[cost.argmin()]]])
        places.append(tuple(int(side) for side in placed[-1, :2]))
    return places


def _around_box(box, label_w, label_h):
    x0, y0, x1, y1 = box
    columns = ((x0 + x1 - label_w) // 2, x0, x1 - label_w)
    middle = (y0 + y1 - label_h) // 2
    rows = (y0 - label_h - 2, y1 + 2, y0 + 2, y1 - label_h - 2, middle)
    beside = [(x1 + 2, middle), (x0 - label_w - 2, middle)]
    return np.array([(x, y) for y in rows for x in columns] + beside)


def _grid(room, label_w, label_h):
    xs = np.append(np.arange(0, room[0], max(1, label_w // 4)), room[0])
    ys = np.append(np.arange(0, room[1], max(1, label_h // 2)), room[1])
    return np.stack(np.meshgrid(xs, ys), axis=-1).reshape(-1, 2)


def _overlap(rects, others):
    """Area of each of (M, 4) rects that (P, 4) others hide, counted once per other: (M,)."""
    low = np.maximum(rects[:, None, :2], others[None, :, :2])
    high = np.minimum(rects[:, None, 2:], others[None, :, 2:])
    return np.clip(high - low, 0, None).prod(axis=2).sum(axis=1)


def _check(image, masks, ids, labels, scores, propagated, scale):
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f'image must be (H, W, 3) uint8, got {image.shape} {image.dtype}')
    if masks.shape != (len(ids), *image.shape[:2]):
        raise ValueError(
            f'masks must be (N, H, W) = {(len(ids), *image.shape[:2])}, got {masks.shape}'
        )
    given = {'labels': labels, 'scores': scores, 'propagated': propagated}
    for key, values in given.items():
        if values is not None and len(values) != len(ids):
            raise ValueError(f'{key} must have one entry per id ({len(ids)}), got {len(values)}')
    if int(scale) != scale or scale < 1:
        raise ValueError(f'scale must be a whole number of at least 1, got {scale}')


def _mask_box(mask):
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    if not len(rows):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _draw_mask(canvas, mask, box, color, scale, dashed):
    """Blends one mask into the canvas; works on the part around its box only."""
    thickness = max(1, round(0.9 + 0.0025 * (canvas.shape[0] * canvas.shape[1]) ** 0.5))
    x0, y0 = max(box[0] - 1, 0), max(box[1] - 1, 0)
    crop = mask[y0 : box[3] + 1, x0 : box[2] + 1]
    cover = _coverage(crop, scale)
    reach = 2 * (thickness + (scale > 1)) + 1  # a smoothed rim takes a pixel to reach full colour
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
    inner = cv2.erode(cover, kernel)
    outline = cover - inner
    shadow = inner - cv2.erode(inner, np.ones((3, 3), np.uint8))  # sets outline off from fill

    region = canvas[y0 * scale :, x0 * scale :][: cover.shape[0], : cover.shape[1]]
    paint = np.full_like(region, color)
    # Within the mask only the brightness of the frame shows through: the hue is the track's.
    gray = cv2.cvtColor(cv2.cvtColor(region, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    base = cv2.addWeighted(region, 1 - FILL_MUTING, gray, FILL_MUTING, 0)
    drawn = cv2.addWeighted(base, 1 - FILL_OPACITY, paint, FILL_OPACITY, 0)
    drawn = _blend(drawn, np.zeros_like(drawn), SHADOW_OPACITY * shadow)
    if dashed:
        paint[(outline > 0.3) & _dashes(cover, 4 * thickness + 2, kernel)] = 255
    drawn = _blend(drawn, paint, outline)
    region[:] = _blend(region, drawn, cover)


def _blend(below, above, weight):
    return cv2.blendLinear(np.ascontiguousarray(below), above, 1 - weight, weight)


def _coverage(mask, scale):
    """Enlarges a mask to coverage in [0, 1] with a smooth rim: (h * scale, w * scale) float32."""
    cover = mask.astype(np.float32)
    if scale == 1:
        return cover
    cover = cv2.resize(cover, None, fx=scale, fy=scale, interpolation=cv2.INTER_NEAREST)
    soft = cv2.GaussianBlur(cover, (0, 0), 0.7 * scale, borderType=cv2.BORDER_REPLICATE)
    soft = np.clip((soft - 0.5) * scale + 0.5, 0, 1)
    return soft if soft.max() > 0.9 else cover


def _dashes(cover, length, kernel):
    """Marks stretches of about ``length`` pixels along the rim of a mask: bool."""
    marks = np.zeros(cover.shape, np.uint8)
    solid = (cover > 0.5).astype(np.uint8)
    contours, _ = cv2.findContours(solid, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    for contour in contours:
        points = contour[:, 0]
        pairs = max(1, round(len(points) / (2 * length)))
        on = np.arange(len(points)) * pairs / len(points) % 1 < 0.4
        marks[points[on, 1], points[on, 0]] = 1
    return cv2.dilate(marks, kernel) > 0


def _draw_labels(canvas, texts, boxes, colors):
    height, width = canvas.shape[:2]
    size = round(8 + 0.0155 * (height * width) ** 0.5)
    bar, pad = max(2, round(0.3 * size)), max(1, round(0.28 * size))
    extra = bar + 2 * pad
    texts = [
        text if text_size(text, size)[0] + extra <= width else text.split(' ')[0] for text in texts
    ]
    sizes = [(text_size(text, size)[0] + extra, text_size(text, size)[1]) for text in texts]
    places = place_labels(sizes, boxes, width, height)
    for text, (label_w, label_h), place, color in zip(texts, sizes, places, colors, strict=True):
        if place is None:
            continue
        x, y = place
        region = canvas[y : y + label_h, x : x + label_w]
        background = np.full_like(region, LABEL_BACKGROUND)
        cv2.addWeighted(region, 1 - LABEL_OPACITY, background, LABEL_OPACITY, 0, dst=region)
        region[:, :bar] = color
        draw_text(canvas, text, (x + bar + pad, y), size)


@functools.lru_cache(maxsize=8)
def _font(size, bold):
    import matplotlib  # carries the font; imported here because only text needs it

    name = 'DejaVuSans-Bold.ttf' if bold else 'DejaVuSans.ttf'
    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), 'fonts', 'ttf', name)), size)


@functools.lru_cache(maxsize=2048)
def _text_mask(text, size, bold=False):
    """Renders one line: (h, w) uint8, letters 255; h depends on ``size`` alone."""
    font = _font(size, bold)
    ascent, descent = font.getmetrics()
    picture = Image.new('L', (max(1, round(font.getlength(text))), ascent + descent))
    ImageDraw.Draw(picture).text((0, 0), text, fill=255, font=font)
    return np.asarray(picture)
