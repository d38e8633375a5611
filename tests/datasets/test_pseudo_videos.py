"""Clips of still images, and their mixture with videos."""

import json

import cv2
import numpy as np
import pytest
from mmengine.registry import DefaultScope

from tests.datasets.annotation_contents import H, W, entry
from tests.shared_fixtures import shapes  # noqa: F401
from vispropnet.datasets.randomness import SampleIndex
from vispropnet.errors import UserError
from vispropnet.registry import DATASETS

LOAD = [dict(type='LoadVideoFrame'), dict(type='LoadTrackedAnnotations')]
PACK = [dict(type='Resize', scale_factor=1.0), dict(type='PackFrameInputs')]
AFFINE = dict(type='RandomObjectAffine', degrees=8.0, shift=0.15)
MOVED = [*LOAD, dict(type='EachFrame', transforms=[AFFINE]), *PACK]
BOXES = {1: (4, 4, 8, 8), 2: (18, 12, 8, 6)}


@pytest.fixture
def images(tmp_path):
    """Three images with two objects each, as videos of one frame."""
    videos, annotations = [], []
    for number in range(3):
        image = np.full((H, W, 3), 40, np.uint8)
        for at, (key, box) in enumerate(BOXES.items()):
            left, top, width, height = box
            image[top : top + height, left : left + width] = 100 + 100 * at
            annotations.append(entry(10 * number + key, number, key, [box]))
        cv2.imwrite(str(tmp_path / f'{number}.png'), image)
        size = dict(width=W, height=H, length=1)
        videos.append(dict(id=number, **size, file_names=[f'{number}.png']))
    categories = [{'id': 1, 'name': 'cat'}, {'id': 2, 'name': 'dog'}]
    content = dict(videos=videos, categories=categories, annotations=annotations)
    (tmp_path / 'ann.json').write_text(json.dumps(content))
    return tmp_path


def make(images, pipeline=MOVED, **options):
    fixed = dict(type='PseudoVideos', data_root=str(images), ann_file='ann.json')
    return DATASETS.build(dict(fixed, pipeline=pipeline, **options))


def masks_by_id(sample):
    found = sample.gt_instances
    return dict(zip(found.instances_ids.tolist(), found.masks.masks, strict=True))


def test_objects_keep_their_ids_while_each_frame_moves_otherwise(images):
    data = make(images, num_refs=3)
    clip = data[SampleIndex(1, (0, 0, 1))]
    assert len(data) == 3 and len(clip['inputs']) == len(clip['data_samples']) == 4
    found = [masks_by_id(sample) for sample in clip['data_samples']]
    assert all(one.keys() == {11, 12} for one in found)
    for first, second in zip(found, found[1:], strict=False):
        assert (first[11] != second[11]).any()
    for image, masks, sample in zip(clip['inputs'], found, clip['data_samples'], strict=True):
        labels = sample.gt_instances.labels.tolist()
        assert labels == [0, 1]
        # The image moves as the masks do.
        for key, value in ((11, 100), (12, 200)):
            inside = cv2.erode(masks[key], np.ones((3, 3), np.uint8)).astype(bool)
            assert inside.any() and (image[0].numpy()[inside] == value).mean() > 0.9


def test_the_same_sample_is_the_same_clip_and_others_are_not(images):
    data = make(images)
    clips = [data[SampleIndex(0, (0, epoch, 0))]['inputs'] for epoch in (0, 0, 1)]
    same, other = ([a.equal(b) for a, b in zip(clips[0], one, strict=True)] for one in clips[1:])
    assert same == [True, True] and other == [False, False]


def test_what_is_not_in_each_frame_is_drawn_once_a_clip(images):
    flip = dict(type='RandomFlip', prob=0.5)
    for outside in (True, False):
        pipeline = [*LOAD, dict(type='EachFrame', transforms=[] if outside else [flip]), PACK[0]]
        pipeline += [flip, PACK[1]] if outside else [PACK[1]]
        data = make(images, pipeline, num_refs=2)
        drawn = [
            tuple(one.flip for one in data[SampleIndex(0, (0, epoch, 0))]['data_samples'])
            for epoch in range(24)
        ]
        assert len(set(drawn)) == 2 if outside else len(set(drawn)) > 4


STRONGER = {
    'scales': [
        dict(
            type='RandomChoiceResize',
            scales=[(999, at) for at in range(16, 40, 4)],
            keep_ratio=True,
        )
    ],
    'colours': [PACK[0], dict(type='PhotoMetricDistortion')],
    'jitter': [
        dict(type='RandomResize', scale=(W, H), ratio_range=(0.5, 2.0), keep_ratio=True),
        dict(type='RandomCrop', crop_size=(16, 20), allow_negative_crop=True, recompute_bbox=True),
    ],
}


@pytest.mark.parametrize('kind', STRONGER)
def test_augmentations_of_mmdet_are_drawn_once_a_clip(images, kind):
    # As configs have it: some transforms build others.
    with DefaultScope.overwrite_default_scope('vispropnet'):
        data = make(images, [*LOAD, *STRONGER[kind], PACK[1]], num_refs=2)
    clips = [data[SampleIndex(0, (0, epoch, 0))] for epoch in range(8)]
    for clip in clips:
        first, *others = clip['inputs']
        assert all(one.equal(first) for one in others)
        masks = [masks_by_id(sample) for sample in clip['data_samples']]
        for one in masks[1:]:
            assert one.keys() == masks[0].keys()
            assert all((one[key] == mask).all() for key, mask in masks[0].items())
    assert len({clip['inputs'][0].float().sum().item() for clip in clips}) > 2


def test_the_key_frame_shows_an_object_where_a_draw_does(images):
    # A crop of a sixth of the frame mostly misses both objects.
    crop = dict(type='RandomCrop', crop_size=(8, 8), allow_negative_crop=True, recompute_bbox=True)
    data = make(images, [*LOAD, dict(type='EachFrame', transforms=[crop]), *PACK])
    clips = [data[SampleIndex(0, (0, epoch, 0))]['data_samples'] for epoch in range(40)]
    empty = [sum(len(clip[place].gt_instances) == 0 for clip in clips) for place in (0, 1)]
    assert empty[0] < empty[1]


def test_an_image_that_cannot_be_read(images):
    (images / '1.png').write_bytes(b'')
    with pytest.raises(UserError, match=r'frame 0 of video 1 .*1\.png.*the file is empty'):
        make(images)[1]
    clip = make(images, on_bad_sample='skip')[SampleIndex(1, (0, 0, 1))]
    assert clip['data_samples'][0].video_id != 1
    assert clip['data_samples'][0].bad_frames[0]['frame'] == 1


def joined(images, ratios, *more):
    one = dict(type='PseudoVideos', data_root=str(images), ann_file='ann.json', pipeline=MOVED)
    return DATASETS.build(
        dict(type='ConcatDataset', ratios=ratios, datasets=[one, dict(one, **dict(more))])
    )


@pytest.mark.parametrize(
    ('ratio', 'counts'), [(2, [2, 2, 2]), (1 / 3, [1, 0, 0]), (4 / 3, [2, 1, 1]), (0.01, [1, 0, 0])]
)
def test_ratios_say_how_many_samples_an_epoch_has(images, ratio, counts):
    data = joined(images, [1, ratio])
    assert len(data) == 3 + sum(counts)
    found = [
        data[SampleIndex(at, (5, 0, at))]['data_samples'][0].video_id for at in range(len(data))
    ]
    assert found[:3] == [0, 1, 2]
    assert sorted((found[3:].count(one) for one in range(3)), reverse=True) == counts


def test_no_sample_comes_again_before_all_have_come(images):
    data = joined(images, [1, 2 / 3])
    assert len(data) == 5
    keys = [(5, epoch, at) for epoch in range(6) for at in (3, 4)]
    found = [data[SampleIndex(key[2], key)]['data_samples'][0].video_id for key in keys]
    turns = [found[at : at + 3] for at in range(0, 12, 3)]
    assert all(sorted(turn) == [0, 1, 2] for turn in turns) and len(set(map(tuple, turns))) > 1
    # Whoever loads a sample, in whatever order.
    again = joined(images, [1, 2 / 3])
    backwards = [again[SampleIndex(key[2], key)] for key in reversed(keys)]
    assert [clip['data_samples'][0].video_id for clip in reversed(backwards)] == found
    assert joined(images, None).cumulative_sizes == [3, 6]


def test_labels_and_what_is_said_of_categories(images, monkeypatch):
    logged = []
    monkeypatch.setattr(
        'vispropnet.datasets.concat.print_log', lambda text, **_: logged.append(text)
    )
    more = {'category_map': {'dog': 'wolf'}, 'metainfo': {'classes': ['wolf']}}
    data = joined(images, [1, 2], *more.items())
    assert data.metainfo['classes'] == ('cat', 'dog', 'wolf')
    assert data.get_cat_ids(0) == [0, 1] and data.get_cat_ids(5) == [2]
    file = f'{images}/ann.json'
    assert logged == [
        f'{file}: 3 samples, 3 in an epoch; categories: cat, dog',
        f'{file}: 3 samples, 6 in an epoch; categories: dog as wolf; left out: cat',
    ]


@pytest.mark.parametrize('ratios', [[1], [1, 0], [1, 'x'], [1, -1]])
def test_ratios_that_do_not_fit(images, ratios):
    with pytest.raises(UserError, match='ratios of a ConcatDataset must be 2 numbers above 0'):
        joined(images, ratios)
