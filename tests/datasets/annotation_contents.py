"""A small annotation file, and ways to change it."""

import numpy as np
from pycocotools import mask as mask_utils

H, W = 24, 32


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
            {
                'id': 7,
                'width': W,
                'height': H,
                'length': 3,
                'file_names': [f'a/{frame}.jpg' for frame in (8, 9, 10)],
            },
            {'id': 3, 'width': W, 'height': H, 'length': 1, 'file_names': ['b/0.jpg']},
        ],
        'categories': [{'id': 40, 'name': 'disc'}, {'id': 11, 'name': 'star'}],
        'annotations': [
            entry(1, 7, 11, [(2, 3, 5, 6), None, (20, 10, 8, 4)]),
            entry(5, 7, 40, [(0, 0, 4, 4), (1, 0, 4, 4), (2, 0, 32 - 2, 24)]),
            entry(6, 3, 40, [(5, 5, 3, 3)]),
        ],
    }


def set_in(*path):
    """Sets what lies at a path through the content: keys and numbers, then the value."""
    *steps, key, value = path

    def damage(content):
        for step in steps:
            content = content[step]
        content[key] = value

    return damage


def delete_in(*path):
    *steps, key = path

    def damage(content):
        for step in steps:
            content = content[step]
        del content[key]

    return damage
