"""A small annotation file, and ways to change it."""

import json

import numpy as np
from pycocotools import mask as mask_utils

H, W = 24, 32
FRAMES = 11  # of the sparse content
FIRST = 'annotations[0], annotation 1, video 7'


def rle(left, top, width, height):
    mask = np.zeros((H, W), np.uint8, order='F')
    mask[top : top + height, left : left + width] = 1
    counts = mask_utils.encode(mask)['counts'].decode()
    return {'size': [H, W], 'counts': counts}


def entry(identity, video, category, boxes):
    return {
        'id': identity,
        'video_id': video,
        'category_id': category,
        'iscrowd': 0,
        'segmentations': [box and rle(*box) for box in boxes],
        'bboxes': [box and list(map(float, box)) for box in boxes],
        'areas': [box and box[2] * box[3] for box in boxes],
    }


def good_content():
    """Video 7 of three frames with two objects, video 3 of one frame with one."""
    return {
        'videos': [
            dict(id=7, width=W, height=H, length=3, file_names=['a/8.jpg', 'a/9.jpg', 'a/10.jpg']),
            dict(id=3, width=W, height=H, length=1, file_names=['b/0.jpg']),
        ],
        'categories': [{'id': 40, 'name': 'disc'}, {'id': 11, 'name': 'star'}],
        'annotations': [
            entry(1, 7, 11, [(2, 3, 5, 6), None, (20, 10, 8, 4)]),
            entry(5, 7, 40, [(0, 0, 4, 4), (1, 0, 4, 4), (2, 0, 32 - 2, 24)]),
            entry(6, 3, 40, [(5, 5, 3, 3)]),
        ],
    }


def sparse_content(**of_video):
    """An object on the frames 0, 5 and 10 of a video; another one on frame 0 only."""
    names = [f'a/{frame}.jpg' for frame in range(FRAMES)]
    video = dict(id=7, width=W, height=H, length=FRAMES, file_names=names, **of_video)
    boxes = [(frame, 3, 5, 6) if frame % 5 == 0 else None for frame in range(FRAMES)]
    others = [(20, 10, 8, 4), *[None] * (FRAMES - 1)]
    return {
        **good_content(),
        'videos': [video],
        'annotations': [entry(1, 7, 11, boxes), entry(5, 7, 40, others)],
    }


def sparse_results():
    """The first object on all frames, the second one on the first five."""
    first = [rle(frame, 3, 5, 6) for frame in range(FRAMES)]
    masks = [first, [rle(20, 10, 8, 4)] * 5 + [None] * 6]
    return [
        dict(video_id=7, category_id=category, score=0.9, segmentations=one)
        for category, one in zip((11, 40), masks, strict=True)
    ]


def changed(*changes):
    """The content after changes such as ``set annotations/0/id 5``; MASK stands for an RLE.

    The others are ``del PATH`` and ``add PATH VALUE``, which appends to a list.
    """
    content = good_content()
    for change in changes:
        action, path, value = f'{change} '.split(' ', 2)
        *steps, key = (int(step) if step.isdigit() else step for step in path.split('/'))
        target = content
        for step in steps:
            target = target[step]
        value = json.loads(value.replace('MASK', json.dumps(rle(0, 0, 2, 2))) or 'null')
        if action == 'del':
            del target[key]
        elif action == 'set':
            target[key] = value
        else:
            target[key].append(value)
    return content


def parsed(table):
    """Findings by change, of a table with changes and, indented, all that each one leads to.

    Findings below several changes belong to each. {} is the first annotation, {0} its frame 0.
    """
    changes, findings, cases = [], [], {}
    for line in [*filter(None, table.splitlines()), 'end']:
        if not line.startswith('  ') and findings:
            cases.update(dict.fromkeys(changes, tuple(findings)))
            changes, findings = [], []
        text = line.strip().replace(': {}:', f': {FIRST}:')
        for frame, name in enumerate((8, 9, 10)):
            place = f': {FIRST}, frame {frame} (a/{name}.jpg):'
            text = text.replace(f': {{{frame}}}:', place)
        (findings if line.startswith('  ') else changes).append(text)
    return cases
