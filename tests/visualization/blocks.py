"""A small data set of square objects on gray frames, and two results on it."""

import json

import cv2
import numpy as np

from tests.evaluation.content import encode
from vispropnet.evaluation.result_file import write_results

WIDTH, HEIGHT, FRAMES = 240, 96, 3


def rectangle(x0, y0, x1, y1, width=WIDTH, height=HEIGHT):
    """The compressed RLE of a rectangle in a frame."""
    mask = np.zeros((height, width), bool)
    mask[y0:y1, x0:x1] = True
    return encode(mask)


def block(x):
    """The mask of 40 x 40 pixels at (x, 50)."""
    return rectangle(x, 50, x + 40, 90)


def track(video, x, score=0.9, **more):
    masks = [block(x)] * FRAMES
    return dict(video_id=video, category_id=1, score=score, segmentations=masks, **more)


def write_files(folder):
    """Writes videos 11 to 15 of two objects each, and two methods that know video 12 best.

    In ``folder`` come about ``gt.json``, ``images/``, ``a.json`` and ``b.json``.
    """
    (folder / 'images').mkdir()
    names = [f'{frame}.png' for frame in range(FRAMES)]
    for frame, name in enumerate(names):
        picture = np.full((HEIGHT, WIDTH, 3), 100 + 20 * frame, np.uint8)
        cv2.imwrite(str(folder / 'images' / name), picture)
    videos = [dict(id=n, width=WIDTH, height=HEIGHT, file_names=names) for n in range(11, 16)]
    truths = [
        dict(id=2 * v + n, video_id=v, category_id=1, segmentations=[block(x)] * FRAMES)
        for v in range(11, 16)
        for n, x in enumerate((20, 160))
    ]
    content = dict(videos=videos, categories=[dict(id=1, name='cat')], annotations=truths)
    (folder / 'gt.json').write_text(json.dumps(content))
    # The first follows the second object, the second method the first one, and what A has beside.
    write_results(folder / 'a.json', [track(12, 165), track(12, 90, 0.8), track(13, 0, 0.1)])
    second = [track(12, 90), track(12, 22, 0.5, propagated=[True] * FRAMES)]
    write_results(folder / 'b.json', second)
