"""Data of video object segmentation: clips, given objects, and the layouts of data sets."""

import json

import cv2
import numpy as np
import pytest

from tests.shared_fixtures import shapes  # noqa: F401
from vispropnet.config import load_config
from vispropnet.datasets.index_masks import write_index_mask
from vispropnet.datasets.randomness import SampleIndex
from vispropnet.datasets.video_objects import ClipSampler
from vispropnet.errors import UserError
from vispropnet.registry import DATASETS

PIPELINE = [
    dict(type='LoadVideoFrame'),
    dict(type='LoadTrackedAnnotations'),
    dict(type='Resize', scale_factor=1.0),
    dict(type='PackFrameInputs'),
]
SIZE = (48, 64)


def drawn(objects):
    """A mask with squares of 12 pixels: by id, their left sides."""
    ids = np.zeros(SIZE, np.uint8)
    for one, left in objects.items():
        ids[8 + one : 20 + one, left : left + 12] = one
    return ids


def write(folder, kind, video, frames, masks=True):
    """Writes frames and their masks; of a frame without a mask no PNG."""
    images, annotations = (
        folder / 'JPEGImages' / kind / video,
        folder / 'Annotations' / kind / video,
    )
    images.mkdir(parents=True)
    for number, ids in enumerate(frames):
        image = np.zeros((*SIZE, 3), np.uint8)
        if ids is not None:
            image[ids > 0] = 255
            write_index_mask(annotations / f'{number:05}.png', ids)
        cv2.imwrite(str(images / f'{number:05}.jpg'), image)


@pytest.fixture
def davis(tmp_path):
    """Two sequences; one is listed in each split."""
    write(tmp_path, '480p', 'a', [drawn({1: 4 * n, 3: 40}) for n in range(6)])
    write(tmp_path, '480p', 'b', [drawn({2: 10}), None, None])
    (tmp_path / 'ImageSets/2017').mkdir(parents=True)
    (tmp_path / 'ImageSets/2017/train.txt').write_text('a\n')
    (tmp_path / 'ImageSets/2017/val.txt').write_text('b\n')
    return tmp_path


def make(kind, root, **options):
    return DATASETS.build(dict(type=kind, data_root=str(root), pipeline=PIPELINE, **options))


@pytest.mark.parametrize(
    ('length', 'key', 'gaps'),
    [(20, 0, {1, 2, 3}), (20, 19, {1, 2, 3}), (20, 10, {1, 2, 3}), (3, 0, {1}), (4, 3, {1, 2})],
)
def test_clips_have_different_frames_in_order(length, key, gaps):
    sampler, found = ClipSampler(np.array([7, length]), 2), set()
    sampler.max_gap = 3
    for seed in range(60):
        frames = [7 + key, *sampler.sample(7 + key, np.random.default_rng(seed))]
        assert min(frames) >= 7 and max(frames) < 7 + length
        steps = np.diff(frames)
        assert (steps > 0).all() or (steps < 0).all()
        found |= set(np.abs(steps).tolist())
    assert found == gaps


def test_clips_of_short_videos_and_without_bad_frames():
    generator = np.random.default_rng(0)
    sampler = ClipSampler(np.array([3, 5]), 2)
    assert sampler.sample(1, generator) == [0, 2]
    assert sampler.sample(3, generator, without=[4, 6]) == [5, 7]
    with pytest.raises(UserError, match='frame 1 has 2 frames that can be used, a clip needs 3'):
        sampler.sample(1, generator, without=[2])


def test_the_largest_gap_follows_the_epoch(davis):
    data = make('DAVIS', davis, clip_length=2, max_gap=[(0, 1), (2, 3)])

    def gaps(epoch):
        found = set()
        for seed in range(40):
            clip = data[SampleIndex(0, (seed, epoch, 0))]['data_samples']
            found.add(clip[1].frame_id - clip[0].frame_id)
        return found

    assert gaps(0) == gaps(1) == {1} and gaps(2) == gaps(9) == {1, 2, 3}
    for wrong in (0, [(1, 5)], [(0, 5), (3, 0)]):
        with pytest.raises(UserError, match='max_gap must be 1 or more'):
            make('DAVIS', davis, max_gap=wrong)


def test_davis_in_training(davis):
    data = make('DAVIS', davis)
    assert len(data) == 6 and data.metainfo['classes'] == ('object',)
    clip = data[SampleIndex(2, (0, 0, 2))]['data_samples']
    assert [one.video_id for one in clip] == ['a'] * 3
    for sample in clip:
        masks = sample.gt_instances.masks.masks
        assert sample.gt_instances.instances_ids.tolist() == [1, 3]
        expected = drawn({1: 4 * sample.frame_id, 3: 40})
        assert (masks == [expected == one for one in (1, 3)]).all()
    one = make('DAVIS', davis, per_video=True)
    firsts = {one[SampleIndex(0, (s, 0, 0))]['data_samples'][0].frame_id for s in range(30)}
    assert len(one) == 1 and firsts == set(range(6))


def test_crops_keep_an_object_in_the_first_frame(davis):
    crop = dict(type='RandomCrop', crop_size=(24, 24), allow_negative_crop=True)
    options = dict(type='DAVIS', data_root=str(davis), pipeline=[*PIPELINE[:3], crop, PIPELINE[3]])
    data = DATASETS.build(options)
    clips = [data[SampleIndex(3, (seed, 0, 3))]['data_samples'] for seed in range(30)]
    assert sum(len(clip[0].gt_instances) == 0 for clip in clips) <= 1
    assert any(len(clip[2].gt_instances) < 2 for clip in clips)


def test_davis_in_test(davis):
    data = make('DAVIS', davis, split='val', test_mode=True)
    assert data.videos() == [('b', range(3))] and not data.late_objects
    given = data.given_objects(0)
    assert list(given) == [2] and (given[2] == (drawn({2: 10}) == 2)).all()
    assert data.given_objects(1) == {} and data.index_mask(1) is None
    assert data[1]['data_samples'].frame_id == 1
    assert (data[0]['data_samples'].given_objects[2].numpy() == given[2]).all()
    assert data.missing_truth(range(3)) == 1 and data.object_labels(range(3)) == {}
    assert data.metainfo['skipped_ids'] and not data.metainfo['late_objects']


@pytest.mark.parametrize(
    ('fault', 'message'),
    [
        (lambda p: (p / 'ImageSets/2017/val.txt').write_text('c'), 'sequence c: no frames'),
        (lambda p: (p / 'Annotations/480p/b/00000.png').unlink(), 'sequence b: mask not found'),
        (
            lambda p: write_index_mask(p / 'Annotations/480p/b/00000.png', drawn({})),
            'sequence b: .*00000.png should give objects and shows none',
        ),
        (
            lambda p: write_index_mask(p / 'Annotations/480p/b/00000.png', drawn({})[1:]),
            '00000.png has 64x47 pixels, expected 64x48',
        ),
    ],
)
def test_faults_of_davis(davis, fault, message):
    fault(davis)
    with pytest.raises(UserError, match=message):
        make('DAVIS', davis, split='val', test_mode=True).given_objects(0)


def test_youtube_vos_gives_objects_where_the_meta_file_says(tmp_path):
    write(tmp_path, '', 'v', [drawn({1: 5}), None, drawn({1: 5, 4: 30}), None])
    objects = {'1': dict(category='a', frames=['00000']), '4': dict(category='b', frames=['00002'])}
    meta = tmp_path / 'meta.json'
    meta.write_text(json.dumps(dict(videos=dict(v=dict(objects=objects)))))
    data = make('YouTubeVOS', tmp_path, test_mode=True)
    assert [list(data.given_objects(frame)) for frame in range(4)] == [[1], [], [4], []]
    assert len(make('YouTubeVOS', tmp_path)) == 2 and data.late_objects
    meta.write_text('{"videos": {"v": {}}}')
    with pytest.raises(UserError, match=r'meta file .*meta.json must hold'):
        make('YouTubeVOS', tmp_path)


def test_any_youtube_vis_file(shapes):  # noqa: F811
    options = dict(ann_file='valid/instances.json', data_prefix=dict(img='valid/JPEGImages'))
    data = make('VideoObjects', shapes, test_mode=True, **options)
    content = json.loads((shapes / 'valid/instances.json').read_text())
    assert len(data.videos()) == 3
    for (_, frames), video in zip(data.videos(), content['videos'], strict=True):
        objects = [one for one in content['annotations'] if one['video_id'] == video['id']]
        given = {}
        for at, frame in enumerate(frames):
            for number, mask in data.given_objects(frame).items():
                assert number not in given
                given[number] = at
                assert (data.index_mask(frame)[mask] == number).all()
        firsts = {
            number: next((at for at, mask in enumerate(one['segmentations']) if mask), None)
            for number, one in enumerate(objects, 1)
        }
        assert given == {number: at for number, at in firsts.items() if at is not None}
        ids = data.metainfo['category_ids']
        labels = {number: ids[label] for number, label in data.object_labels(frames).items()}
        assert labels == {number: objects[number - 1]['category_id'] for number in given}
        # A sample has what it gives; the truth where it is asked for.
        sample = data[frames[0]]['data_samples']
        assert list(sample.given_objects) == list(data.given_objects(frames[0]))
        assert 'index_mask' not in sample and data.missing_truth(frames) is None
        scored = make('VideoObjects', shapes, test_mode=True, with_truth=True, **options)
        mask = scored[frames[-1]]['data_samples'].index_mask
        assert (mask == data.index_mask(frames[-1])).all()


def test_clips_of_the_small_config(root, shapes):  # noqa: F811
    config = load_config(
        root / 'configs/stcn/stcn_tiny_40e_moving-shapes.py', [f'data_root={shapes}']
    )
    data = DATASETS.build(config.train_dataloader.dataset)
    clip = data[SampleIndex(1, (0, 0, 1))]
    assert len(data) == 2 and len({one.frame_id for one in clip['data_samples']}) == 3
    with pytest.raises(UserError, match='in a video of 5 frames or more, as clips need'):
        DATASETS.build(dict(config.train_dataloader.dataset, clip_length=5))


AFFINE = [*PIPELINE[:3], dict(type='RandomObjectAffine'), PIPELINE[3]]


def still_images(folder, listed):
    """An image with two objects, with a PNG or in an annotation file."""
    ids = drawn({1: 10, 2: 40})
    image = np.full((*SIZE, 3), 90, np.uint8)
    image[ids > 0] = 200
    cv2.imwrite(str(folder / 'x.jpg'), image)
    if not listed:
        write_index_mask(folder / 'x.png', ids)
        return dict()
    boxes = {number: cv2.boundingRect((ids == number).view(np.uint8)) for number in (1, 2)}
    polygons = {n: [[x, y, x + w, y, x + w, y + h, x, y + h]] for n, (x, y, w, h) in boxes.items()}
    annotations = [dict(id=n, image_id=1, segmentation=polygons[n]) for n in (1, 2)]
    images = [dict(id=1, file_name='x.jpg', width=64, height=48)]
    (folder / 'ann.json').write_text(json.dumps(dict(images=images, annotations=annotations)))
    return dict(ann_file='ann.json')


@pytest.mark.parametrize('listed', [False, True])
def test_clips_of_still_images_move_one_object(tmp_path, listed):
    options = still_images(tmp_path, listed)
    data = DATASETS.build(
        dict(type='StillImages', data_root=str(tmp_path), pipeline=AFFINE, **options)
    )
    clip = data[SampleIndex(0, (0, 0, 0))]
    again = data[SampleIndex(0, (0, 0, 0))]
    masks = [sample.gt_instances.masks.masks for sample in clip['data_samples']]
    ids = {tuple(sample.gt_instances.instances_ids.tolist()) for sample in clip['data_samples']}
    assert len(data) == 1 and len(ids) == 1 and ids <= {(1,), (2,)}
    assert all(100 < mask.sum() < 200 for mask in masks)
    assert (masks[0] != masks[1]).any() and (masks[1] != masks[2]).any()
    for image, other, mask in zip(clip['inputs'], again['inputs'], masks, strict=True):
        assert (image == other).all()
        # The image moves as the mask does.
        inside = cv2.erode(mask[0], np.ones((3, 3), np.uint8)).astype(bool)
        assert (np.abs(image[0].numpy()[inside].astype(int) - 200) < 30).all()
