"""Each field of the JSON forms with odd values: refused in words, or what is written is sound."""

import copy
import json

import pytest

from tests.converting.readers.test_coco import FRAMES, STILL
from tests.converting.readers.test_labelme import BOX_LEFT, content, corners, shape
from tests.converting.sources import rle, write_frames, write_json, write_mask
from tests.datasets.test_field_sweep import MISSING, VALUES
from vispropnet.converting.convert import convert
from vispropnet.datasets.annotation_file import read_annotation_file
from vispropnet.errors import UserError

LABELME = content(
    '0.jpg', shape('cat', corners(BOX_LEFT), 'polygon', 1), shape('cat', BOX_LEFT, group=2)
)
MASK = '110000/110022/000022/000000'
SAV = {'masklet': [[rle('110000/110000/000000/000000'), rle(MASK.replace('2', '0'))]]}
SAV['masklet_id'] = [0, 3]
VOS = {'videos': {'v': {'objects': {str(n): {'category': 'a', 'frames': ['0']} for n in (1, 2)}}}}

FIELDS = {
    'coco': [
        *('images', 'images/0', 'images/0/id', 'images/0/file_name', 'images/0/width'),
        *('categories', 'categories/0', 'categories/0/id', 'categories/0/name'),
        *('annotations', 'annotations/0', 'annotations/0/id', 'annotations/0/image_id'),
        *('annotations/0/category_id', 'annotations/2/iscrowd', 'annotations/0/segmentation'),
        *('annotations/0/segmentation/0', 'annotations/0/segmentation/0/0'),
        *('annotations/1/segmentation/size', 'annotations/1/segmentation/counts'),
    ],
    'coco-video': [
        *('videos', 'videos/0', 'videos/0/id', 'videos/0/name', 'images/0/video_id'),
        *('images/0/frame_id', 'annotations/0/track_id'),
    ],
    'labelme': [
        *('shapes', 'shapes/0', 'shapes/0/label', 'shapes/0/points', 'shapes/0/points/0'),
        *('shapes/0/points/0/0', 'shapes/0/group_id', 'shapes/0/shape_type', 'imagePath'),
        *('imageHeight', 'imageWidth', 'imageData'),
    ],
    'sav': [
        *('masklet', 'masklet/0', 'masklet/0/0', 'masklet/0/0/size', 'masklet/0/0/counts'),
        *('masklet_id', 'masklet_id/0'),
    ],
    'youtube-vos': [
        *('videos', 'videos/v', 'videos/v/objects', 'videos/v/objects/1'),
        *('videos/v/objects/1/category', 'videos/v/objects/1/frames'),
        'videos/v/objects/1/frames/0',
    ],
}
CASES = [(form, field) for form, fields in FIELDS.items() for field in fields]


def changes(content, field):
    """Values, each with the content that has it in the field."""
    *steps, key = field.split('/')
    for value in VALUES:
        changed = target = copy.deepcopy(content)
        for step in steps:
            target = target[int(step) if isinstance(target, list) else step]
        at = int(key) if isinstance(target, list) else key
        if value != MISSING:
            target[at] = value
        else:
            del target[at]
        yield value, changed


@pytest.fixture
def source(tmp_path):
    """Gives the file of a form, which is in its place, its content and the source to be named."""
    root = tmp_path / 'in'
    for folder in ('images/a', 'images/b', 'images/x'):
        write_frames(root / folder, 'one.jpg', 'two.jpg', 'a.jpg', 'b.jpg', 'c.jpg')
    write_frames(root / 'clip', '0.jpg')
    write_frames(root / 'JPEGImages/v', '0.jpg')
    write_mask(root / 'Annotations/v/0.png', MASK)

    def of(form):
        files = {'labelme': 'clip/0.json', 'sav': 'clip_manual.json', 'youtube-vos': 'meta.json'}
        contents = {'coco': STILL, 'coco-video': FRAMES, 'labelme': LABELME, 'sav': SAV}
        path = root / files.get(form, 'ann.json')
        return path, contents.get(form, VOS), path if form.startswith('coco') else root

    return of


@pytest.mark.parametrize(('form', 'field'), CASES)
def test_fields_of_other_forms(source, tmp_path, form, field):
    path, usual, named = source(form)
    out, refused = tmp_path / 'out', 0
    for value, changed in changes(usual, field):
        write_json(path, changed)
        try:
            result = convert(form, named, out, force=True, progress=False)
        except UserError as error:
            refused += 1
            assert str(path) in str(error) or str(named) in str(error), (value, error)
            continue
        if not result.is_written:
            refused += 1
            assert result.source.count('error'), (value, result.check.findings)
            continue
        assert result.check.count('error') == 0
        read_annotation_file(out / 'instances.json')
    # What no reader looks at; and a missing or an odd name goes by the id.
    free = ('annotations/0/id', 'imagePath', 'imageData', 'videos/0', 'videos/0/id')
    assert refused or field in free or field == 'videos/0/name' or form == 'sav', json.dumps(usual)
