"""Moving shapes in other forms, and back: masks are the same to the pixel, also of polygons."""

import itertools
import json
from collections import defaultdict

import cv2
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as mask_utils

from vispropnet.converting.convert import convert
from vispropnet.converting.export import export
from vispropnet.converting.interface import Options
from vispropnet.converting.outlines import outlines_of
from vispropnet.datasets.index_masks import write_index_mask
from vispropnet.datasets.moving_shapes import write_moving_shapes


class Shapes:
    """A data set of moving shapes."""

    def __init__(self, folder):
        write_moving_shapes(
            folder, 'occlusion', 2, 1, frames=5, size=(96, 64), seed=3, progress=False
        )
        self.frames = folder / 'train' / 'JPEGImages'
        self.path = folder / 'train' / 'instances.json'
        self.content = json.loads(self.path.read_text())
        self.names = {one['id']: one['name'] for one in self.content['categories']}
        self.videos = {
            one['id']: one['file_names'][0].split('/')[0] for one in self.content['videos']
        }

    def objects(self, video):
        """Number, from 1, category and masks of the objects of a video."""
        of_video = [one for one in self.content['annotations'] if one['video_id'] == video]
        return [
            (number, self.names[one['category_id']], one['segmentations'])
            for number, one in enumerate(of_video, 1)
        ]

    def id_maps(self, video, factor=lambda number, category: number):
        """The ids (H, W) of each frame."""
        for frame in range(5):
            ids = np.zeros((64, 96), np.uint16)
            for number, category, masks in self.objects(video):
                if masks[frame]:
                    ids[mask_utils.decode(masks[frame]) > 0] = factor(number, category)
            yield f'{frame:05d}', ids


def tracks_of(content, with_categories=True):
    """All objects as video, category and masks, in an order of their own."""
    names = {one['id']: one['name'] for one in content['categories']}
    videos = {one['id']: one['file_names'][0].split('/')[0] for one in content['videos']}
    found = []
    for one in content['annotations']:
        masks = [mask and mask['counts'] for mask in one['segmentations']]
        category = names[one['category_id']] if with_categories else ''
        found.append((videos[one['video_id']], category, masks))
    return sorted(found, key=str)


@pytest.fixture(scope='module')
def shapes(tmp_path_factory):
    return Shapes(tmp_path_factory.mktemp('shapes') / 'set')


def write_json(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def as_masks(shapes, folder):
    (folder / 'frames').symlink_to(shapes.frames)
    categories = defaultdict(dict)
    for video, name in shapes.videos.items():
        for stem, ids in shapes.id_maps(video):
            path = folder / 'masks' / name / f'{stem}.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(ids).save(path)
        categories[name] = {str(number): kind for number, kind, _ in shapes.objects(video)}
    write_json(folder / 'categories.json', categories)
    return folder, {'categories': folder / 'categories.json'}


def as_davis(shapes, folder):
    (folder / 'JPEGImages').mkdir(parents=True)
    (folder / 'JPEGImages' / '480p').symlink_to(shapes.frames)
    for video, name in shapes.videos.items():
        for stem, ids in shapes.id_maps(video):
            path = folder / 'Annotations' / '480p' / name / f'{stem}.png'
            write_index_mask(path, ids.astype(np.uint8))
    return folder, {}


def as_youtube_vos(shapes, folder):
    (folder / 'JPEGImages').symlink_to(shapes.frames)
    meta = {}
    for video, name in shapes.videos.items():
        for stem, ids in shapes.id_maps(video):
            write_index_mask(folder / 'Annotations' / name / f'{stem}.png', ids.astype(np.uint8))
        objects = {
            str(number): {'category': kind, 'frames': [f'{at:05d}' for at in range(5) if masks[at]]}
            for number, kind, masks in shapes.objects(video)
        }
        meta[name] = {'objects': objects}
    write_json(folder / 'meta.json', {'videos': meta})
    return folder, {}


def as_mots_png(shapes, folder):
    (folder / 'images').symlink_to(shapes.frames)
    kinds = {name: number for number, name in shapes.names.items()}
    for video, name in shapes.videos.items():
        maps = shapes.id_maps(video, lambda number, kind: 1000 * kinds[kind] + number)
        for stem, ids in maps:
            path = folder / 'instances' / name / f'{stem}.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(ids).save(path)
    write_json(folder / 'categories.json', shapes.names)
    return folder, {'categories': folder / 'categories.json'}


def as_coco_video(shapes, folder, polygons=False):
    images, annotations, track = [], [], itertools.count(1)
    for video in shapes.content['videos']:
        first = len(images) + 1
        for frame, name in enumerate(video['file_names']):
            image = {'id': len(images) + 1, 'file_name': name, 'video_id': video['id']}
            images.append({**image, 'frame_id': frame})
        for _, kind, masks in shapes.objects(video['id']):
            number = next(track)
            kind = next(one for one, name in shapes.names.items() if name == kind)
            for frame, mask in enumerate(masks):
                if mask:
                    shape = outlines_of(mask_utils.decode(mask)) if polygons else mask
                    one = {'image_id': first + frame, 'category_id': kind, 'track_id': number}
                    annotations.append({**one, 'id': len(annotations) + 1, 'segmentation': shape})
    videos = [{'id': number, 'name': name} for number, name in shapes.videos.items()]
    content = {'videos': videos, 'images': images, 'annotations': annotations}
    path = folder / 'a.json'
    write_json(path, {**content, 'categories': shapes.content['categories']})
    return path, {'images': shapes.frames}


def as_coco_polygons(shapes, folder):
    return as_coco_video(shapes, folder, polygons=True)


def as_cvat(shapes, folder):
    for video, name in shapes.videos.items():
        (folder / name).symlink_to(shapes.frames / name)
        lines = ['<annotations>']
        for number, kind, masks in shapes.objects(video):
            lines.append(f'<track id="{number}" label="{kind}">')
            for frame, mask in enumerate(masks):
                lines.append(_cvat_shape(frame, mask and mask_utils.decode(mask)))
            lines.append('</track>')
        (folder / f'{name}.xml').write_text('\n'.join([*lines, '</annotations>']))
    return folder, {}


def _cvat_shape(frame, mask):
    if mask is None:
        return f'<polygon frame="{frame}" outside="1" points="0,0;1,0;0,1"/>'
    left, top, width, height = cv2.boundingRect(mask)
    part = mask[top : top + height, left : left + width].ravel()
    runs = [len(list(run)) for _, run in itertools.groupby(part)]
    text = ','.join(map(str, [0, *runs] if part[0] else runs))
    place = f'left="{left}" top="{top}" width="{width}" height="{height}"'
    return f'<mask frame="{frame}" outside="0" rle="{text}" {place}/>'


@pytest.mark.parametrize(
    ('form', 'write'),
    [
        ('masks', as_masks),
        ('youtube-vos', as_youtube_vos),
        ('mots', as_mots_png),
        ('coco-video', as_coco_video),
        ('coco-video', as_coco_polygons),
        ('cvat', as_cvat),
    ],
)
def test_there_and_back(shapes, tmp_path, form, write):
    (tmp_path / 'in').mkdir()
    source, options = write(shapes, tmp_path / 'in')
    result = convert(form, source, tmp_path / 'out', Options(**options), progress=False)
    content = json.loads((tmp_path / 'out' / 'instances.json').read_text())
    assert tracks_of(content) == tracks_of(shapes.content) and result.source.findings == []


def test_davis_has_no_categories(shapes, tmp_path):
    source, _ = as_davis(shapes, tmp_path / 'in')
    convert('davis', source, tmp_path / 'out', progress=False)
    content = json.loads((tmp_path / 'out' / 'instances.json').read_text())
    assert tracks_of(content, False) == tracks_of(shapes.content, False)


def test_sa_v_has_every_fourth_frame_and_no_categories(shapes, tmp_path):
    (tmp_path / 'in').mkdir()
    for video, name in shapes.videos.items():
        (tmp_path / 'in' / name).symlink_to(shapes.frames / name)
        objects = shapes.objects(video)
        empty = {'size': [64, 96], 'counts': [64 * 96]}
        masklet = [[masks[frame] or empty for _, _, masks in objects] for frame in (0, 4)]
        ids = [number for number, _, _ in objects]
        content = {'masklet': masklet, 'masklet_id': ids}
        write_json(tmp_path / 'in' / f'{name}_manual.json', content)
    convert('sav', tmp_path / 'in', tmp_path / 'out', progress=False)
    content = json.loads((tmp_path / 'out' / 'instances.json').read_text())
    expected = [(name, kind, masks[::4]) for name, kind, masks in tracks_of(shapes.content, False)]
    assert tracks_of(content, False) == [one for one in expected if any(one[2])]


@pytest.mark.parametrize('form', ['masks', 'mots', 'labelme'])
def test_results_exported_and_converted_again(shapes, tmp_path, form):
    keys = ('video_id', 'category_id', 'segmentations')
    results = [
        {**{key: one[key] for key in keys}, 'score': 1} for one in shapes.content['annotations']
    ]
    write_json(tmp_path / 'results.json', results)
    files = tmp_path / 'results.json', shapes.path, tmp_path / 'exported'
    export(form, *files, images=shapes.frames, progress=False)
    source, options = tmp_path / 'exported', {'images': shapes.frames}
    if form == 'labelme':
        source, options = source / 'labels', {}
    else:
        options['categories'] = source / 'categories.json'
    convert(form, source, tmp_path / 'out', Options(**options), progress=False)
    content = json.loads((tmp_path / 'out' / 'instances.json').read_text())
    assert tracks_of(content) == tracks_of(shapes.content)
