"""Masks, outlines and labels drawn on a frame.

Legend: H, W the frame; N instances; a box is (x0, y0, x1, y1) in pixels, its end exclusive.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as mask_utils

from vispropnet.datasets.run_lengths import decode_counts
from vispropnet.visualization.labels import Labeller
from vispropnet.visualization.palette import track_color
from vispropnet.visualization.text import WHITE, draw_text, text_size

FILL_OPACITY = 0.45
FILL_MUTING = 0.7
SHADOW_OPACITY = 0.35
LABEL_BACKGROUND = (26, 20, 18)
LABEL_OPACITY = 0.78
_GRAY = (0.114, 0.587, 0.299)  # share of blue, green and red in brightness
_MIN_WIDTH, _MAX_HEIGHT = 480, 1920
# Above this luminance of a colour, dark text on it is easier to read than white.
_BRIGHT = 0.2


def readable_scale(width: int, height: int) -> int:
    """Gives the whole factor that enlarges a frame for its labels to be read: at least 1.

    It becomes 480 pixels wide, as long as it does not become taller than 1920.
    """
    return max(1, min(-(-_MIN_WIDTH // width), _MAX_HEIGHT // height))


def draw_instances(
    image: np.ndarray,
    masks: Sequence[Mapping[str, Any]],
    ids: Sequence[int],
    labels: Sequence[int],
    scores: Sequence[float] | None,
    names: Sequence[str] | Mapping[int, str],
    scale: int = 1,
    propagated: Sequence[bool] | None = None,
    labeller: Labeller | None = None,
) -> np.ndarray:
    """Draws instances on a copy of a frame: a translucent fill, an outline and a label each.

    Large masks are drawn first, so that small ones in front of them stay visible, and propagated
    ones last, so that their dashes do. Outlines lie inside the masks; with ``scale`` 1 no pixel
    outside the masks and the label boxes changes. An instance whose mask is empty is left out. A
    label begins with the id on the track's colour; where room is scarce, it loses its score, then
    its category.

    Args:
        image: (H, W, 3) uint8, BGR. Not changed.
        masks: (N,) compressed RLEs.
        ids: (N,) track ids; each has its own colour and stands in the label as ``#id``.
        labels: (N,) keys or positions into ``names``.
        scores: (N,) in [0, 1], or None to leave scores out (ground truth).
        names: Category names.
        scale: Whole factor by which frame and masks are enlarged first, for the text to be read.
        propagated: (N,) bool; True, for a mask carried over from another frame, dashes its outline.
        labeller: Of the video, given with each frame in turn, so that labels do not hop.

    Returns:
        (H * scale, W * scale, 3) uint8, BGR.

    Raises:
        ValueError: if a length, or the size of a mask, does not fit.
    """
    height, width = image.shape[:2]
    carried = [False] * len(ids) if propagated is None else propagated
    written = [''] * len(ids) if scores is None else [f'{one:.2f}' for one in scores]
    given = dict(masks=masks, labels=labels, scores=written, propagated=carried)
    for key, values in given.items():
        if len(values) != len(ids):
            raise ValueError(f'{key} must have one entry per id ({len(ids)}), got {len(values)}')
    for mask in masks:
        if tuple(mask['size']) != (height, width):
            raise ValueError(f'masks must be {(height, width)}, got one of {tuple(mask["size"])}')
    canvas = image.copy()
    if scale > 1:
        canvas = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
    areas = [int(mask_utils.area(mask)) for mask in masks]
    present = [index for index, area in enumerate(areas) if area]
    size = round(8 + 0.0155 * (canvas.shape[0] * canvas.shape[1]) ** 0.5)  # of text
    step = max(1, size // 3 // scale)
    owners = np.zeros((-(-height // step), -(-width // step)), int)
    for index in sorted(present, key=lambda index: (carried[index], -areas[index])):
        mask, (x, y) = _cut_out(masks[index])
        _draw_mask(canvas, mask, (x, y), track_color(ids[index]), scale, carried[index])
        # Cells are looked at in their upper left pixel.
        seen = mask[-y % step :: step, -x % step :: step] > 0
        rest = owners[-(-y // step) :, -(-x // step) :]
        rest[: seen.shape[0], : seen.shape[1]][seen] = present.index(index) + 1
    texts = [(f'#{ids[n]}', str(names[labels[n]]), written[n]) for n in present]
    boxes = [[side * scale for side in _box_of(masks[n])] for n in present]
    find_places = partial(
        (labeller or Labeller()).place, boxes=boxes, owners=owners, step=step * scale
    )
    _draw_labels(canvas, texts, [ids[n] for n in present], size, find_places)
    return canvas


def _box_of(rle):
    x, y, width, height = mask_utils.toBbox(rle).astype(int).tolist()
    return x, y, x + width, y + height


def _cut_out(rle):
    """Cuts out one mask, with a rim of one empty pixel where the frame has it.

    Only the columns of its box are decoded: a small part of the time for a large frame. Returns
    (h, w) uint8, 1 inside the mask, contiguous; and (x, y) of its upper left corner.
    """
    (height, width), (x0, y0, x1, y1) = rle['size'], _box_of(rle)
    x0, y0, x1 = max(x0 - 1, 0), max(y0 - 1, 0), min(x1 + 1, width)
    # Runs go down the columns, so that columns lie together.
    ends = np.cumsum(decode_counts(rle['counts']), dtype=np.int64)
    runs = np.diff(np.clip(ends, x0 * height, x1 * height) - x0 * height, prepend=0)
    inside = np.repeat(np.arange(len(runs), dtype=np.uint8) % 2, runs)
    return np.ascontiguousarray(inside.reshape(x1 - x0, height).T[y0 : y1 + 1]), (x0, y0)


def _draw_mask(canvas, mask, corner, color, scale, dashed):
    """Paints one mask, a cut-out, into the canvas; works on that part only."""
    thickness = max(1, round(0.9 + 0.0025 * (canvas.shape[0] * canvas.shape[1]) ** 0.5))
    mask = _enlarge(mask, scale)
    reach = 2 * thickness + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
    inner = cv2.erode(mask, kernel)
    outline = mask - inner
    shadow = inner - cv2.erode(inner, np.ones((3, 3), np.uint8))  # sets outline off from fill

    region = canvas[corner[1] * scale :, corner[0] * scale :][: mask.shape[0], : mask.shape[1]]
    # Within the mask only the brightness of the frame shows through: the hue is the track's.
    mixing = (1 - FILL_MUTING) * np.eye(3) + FILL_MUTING * np.array(_GRAY)
    tint = FILL_OPACITY * np.array(color)[:, None]
    filled = cv2.transform(region, np.hstack([(1 - FILL_OPACITY) * mixing, tint]))
    cv2.copyTo(cv2.convertScaleAbs(filled, alpha=1 - SHADOW_OPACITY), shadow, filled)
    paint = np.empty_like(filled)
    cv2.rectangle(paint, (0, 0), paint.shape[1::-1], color, cv2.FILLED)  # NumPy takes far longer
    if dashed:
        white = np.full_like(filled, 255)
        cv2.copyTo(white, _dashes(mask, 4 * thickness + 2, kernel), paint)
    cv2.copyTo(paint, outline, filled)
    cv2.copyTo(filled, mask, region)


def _enlarge(mask, scale):
    """Enlarges a mask by a whole factor and rounds the steps of its rim: uint8, 0 or 1."""
    if scale == 1:
        return mask
    large = cv2.resize(mask, None, fx=scale, fy=scale, interpolation=cv2.INTER_NEAREST)
    soft = cv2.GaussianBlur(
        large.astype(np.float32), (0, 0), 0.7 * scale, borderType=cv2.BORDER_REPLICATE
    )
    # What is too thin to keep a core would vanish.
    return (soft > 0.5).astype(np.uint8) if soft.max() > 0.6 else large


def _dashes(mask, length, kernel):
    """Marks stretches of about ``length`` pixels along the rim of a mask: uint8, 0 or 1."""
    marks = np.zeros(mask.shape, np.uint8)
    contours, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    for contour in contours:
        points = contour[:, 0]
        pairs = max(1, round(len(points) / (2 * length)))
        on = np.arange(len(points)) * pairs / len(points) % 1 < 0.4
        marks[points[on, 1], points[on, 0]] = 1
    return cv2.dilate(marks, kernel)


def _draw_labels(canvas, texts, ids, size, find_places):
    """Draws labels; each text is (id, category, score), the score '' to leave it out."""
    pad, edge = max(2, round(0.28 * size)), max(1, size // 16)
    forms, sizes = [], []
    for number, category, score in texts:
        chip, label_h = text_size(number, size, bold=True)
        rests = [f'{category} {score}', category, ''] if score else [category, '']
        widths = [text_size(rest, size)[0] + 2 * pad if rest else 0 for rest in rests]
        forms.append(rests)
        sizes.append([(chip + 2 * pad + rest, label_h) for rest in widths])
    places = find_places(ids, sizes, picture=canvas.shape[1::-1])
    for index, place in enumerate(places):
        if place is None:
            continue
        form, x, y = place
        label_w, label_h = sizes[index][form]
        chip, color = sizes[index][-1][0], track_color(ids[index])
        region = canvas[y : y + label_h, x : x + label_w]
        background = np.full_like(region, LABEL_BACKGROUND)
        cv2.addWeighted(region, 1 - LABEL_OPACITY, background, LABEL_OPACITY, 0, dst=region)
        region[edge:-edge, edge : chip - edge] = color
        draw_text(canvas, texts[index][0], (x + pad, y), size, _ink_on(color), bold=True)
        if forms[index][form]:
            draw_text(canvas, forms[index][form], (x + chip + pad, y), size)


def _ink_on(color):
    """Gives the dark or the light ink, whichever can be read on a colour."""
    luminance = np.dot((np.array(color) / 255) ** 2.2, (0.0722, 0.7152, 0.2126))
    return LABEL_BACKGROUND if luminance > _BRIGHT else WHITE
