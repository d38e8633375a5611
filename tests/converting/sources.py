"""Small data sets of other forms; masks are written as text: rows of digits, with slashes."""

import json

import cv2
import numpy as np
from PIL import Image
from pycocotools import mask as mask_utils

from vispropnet.converting.convert import convert
from vispropnet.converting.interface import Options

H, W = 4, 6


def ids(text, dtype=np.uint8):
    """The array of a mask such as ``'1100/1100'``."""
    return np.array([[int(one) for one in row] for row in text.split('/')], dtype)


def picture(rle):
    """The text of an RLE; None for None."""
    return rle and '/'.join(''.join(map(str, row)) for row in mask_utils.decode(rle).tolist())


def rle(text):
    encoded = mask_utils.encode(np.asfortranarray(ids(text)))
    return {'size': encoded['size'], 'counts': encoded['counts'].decode()}


def write_frames(folder, *names, size=(H, W)):
    """Writes frames, each of another grey."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        image = np.full((*size, 3), 10 * number % 256, np.uint8)
        # Names with umlauts are no matter for OpenCV's encoder, but for its writer.
        content = cv2.imencode('.png' if name.endswith('.png') else '.jpg', image)[1]
        (folder / name).write_bytes(content.tobytes())


def write_mask(path, text, dtype=np.uint8):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(ids(text, dtype)).save(path)


def write_json(path, content, encoding='utf-8', newline=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open('w', encoding=encoding, newline=newline) as stream:
        json.dump(content, stream, indent=1)


def converted(form, source, out, **options):
    """The conversion and, if it was written, the content with masks as text."""
    given = {key: options.pop(key) for key in vars(Options()) if key in options}
    result = convert(form, source, out, Options(**given), progress=False, **options)
    if not result.is_written:
        assert not out.exists() and not list(out.parent.glob('.*')), 'half written'
        return result, None
    content = json.loads((out / 'instances.json').read_text(encoding='utf-8'))
    for one in content['annotations']:
        one['segmentations'] = [picture(mask) for mask in one['segmentations']]
    return result, content


def findings(result):
    """All that was found, without the name of the source."""
    return [
        (one.severity, one.line('').removeprefix(': '))
        for report in result.reports()
        for one in report.findings
    ]


def masks_of(content):
    """Masks by video's name, number of object in it and frame."""
    names = {video['id']: video['name'] for video in content['videos']}
    found = {}
    for one in content['annotations']:
        found.setdefault(names[one['video_id']], []).append(one['segmentations'])
    return found
