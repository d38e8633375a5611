import copy
import json
import pickle

import cv2
import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from pycocotools import mask as mask_utils
from torch.utils.data import DataLoader

from vispropnet.datasets.samplers import SeededSampler
from vispropnet.datasets.ytvis import YouTubeVIS
from vispropnet.errors import UserError

H, W = 24, 32
TRAIN = [
    dict(type='LoadVideoFrame'),
    dict(type='LoadTrackedAnnotations'),
    dict(type='Resize', scale_factor=1.0),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackFrameInputs'),
]
TEST = [dict(type='LoadVideoFrame'), dict(type='PackFrameInputs')]


def box_mask(left, top, width, height):
    mask = np.zeros((H, W), np.uint8, order='F')
    mask[top : top + height, left : left + width] = 1
    return mask


def compressed(mask):
    rle = mask_utils.encode(mask)
    return {'size': list(rle['size']), 'counts': rle['counts'].decode()}


def uncompressed(mask):
    flat = np.concatenate([[0], mask.flatten(order='F'), [2]])
    runs = np.diff(np.flatnonzero(np.diff(flat))).tolist()
    leading = int(np.argmax(flat[1:] != 0))
    return {'size': [H, W], 'counts': [leading, *runs]}


@pytest.fixture
def content():
    """Video 7: two objects over 3 frames, the middle one empty; video 3: one frame, a crowd."""
    first, second, crowd = box_mask(2, 3, 5, 6), box_mask(20, 10, 8, 4), box_mask(0, 0, 4, 4)
    return {
        'videos': [
            {
                'id': 7,
                'width': W,
                'height': H,
                'length': 3,
                'file_names': [f'a/{frame}.jpg' for frame in range(3)],
            },
            {'id': 3, 'width': W, 'height': H, 'file_names': ['b/0.jpg']},
        ],
        'categories': [{'id': 40, 'name': 'disc'}, {'id': 11, 'name': 'star'}],
        'annotations': [
            {
                'id': 0,
                'video_id': 7,
                'category_id': 11,
                'iscrowd': 0,
                'segmentations': [compressed(first), None, uncompressed(second)],
                'bboxes': [[2, 3, 5, 6], None, [20, 10, 8, 4]],
                'areas': [30, None, 32],
            },
            {
                'id': 5,
                'video_id': 7,
                'category_id': 40,
                'iscrowd': 0,
                'segmentations': [None, None, compressed(first)],
            },
            {
                'id': 6,
                'video_id': 3,
                'category_id': 40,
                'iscrowd': 1,
                'segmentations': [compressed(crowd)],
                'bboxes': [[0, 0, 4, 4]],
            },
            {
                'id': 9,
                'video_id': 3,
                'category_id': 40,
                'iscrowd': 0,
                'segmentations': [compressed(second)],
                'bboxes': [[20, 10, 8, 4]],
            },
        ],
    }


@pytest.fixture
def root(tmp_path, content):
    for value, name in enumerate(['a/0', 'a/1', 'a/2', 'b/0']):
        path = tmp_path / 'images' / f'{name}.jpg'
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.full((H, W, 3), 40 * value, np.uint8))
    write(tmp_path, content)
    return tmp_path


def write(root, content):
    (root / 'ann.json').write_text(json.dumps(content))


def build(root, **options):
    options.setdefault('pipeline', TRAIN)
    return YouTubeVIS(
        ann_file='ann.json', data_root=str(root), data_prefix=dict(img='images'), **options
    )


def test_categories_come_from_the_file(root):
    dataset = build(root)
    assert dataset.metainfo['classes'] == ('disc', 'star')
    assert dataset.metainfo['category_ids'] == (40, 11)


def test_training_samples_are_the_frames_with_objects(root):
    dataset = build(root)
    assert len(dataset) == 3
    keys = [dataset[index]['data_samples'][0] for index in range(3)]
    assert [(key.video_id, key.frame_id) for key in keys] == [(7, 0), (7, 2), (3, 0)]


def test_clip_holds_boxes_masks_labels_and_identities(root):
    clip = build(root, pipeline=[*TRAIN[:3], TRAIN[4]])[1]['data_samples']
    key, ref = (frame.gt_instances for frame in clip)
    assert clip[1].frame_id == 0
    assert key.instances_ids.tolist() == [0, 5]
    assert key.labels.tolist() == [1, 0]
    assert key.bboxes.tensor.tolist() == [[20, 10, 28, 14], [2, 3, 7, 9]]
    np.testing.assert_array_equal(key.masks.masks, [box_mask(20, 10, 8, 4), box_mask(2, 3, 5, 6)])
    assert ref.instances_ids.tolist() == [0]


def test_crowd_is_ignored_and_does_not_shift_masks(root):
    sample = build(root, pipeline=[*TRAIN[:3], TRAIN[4]])[2]['data_samples'][0]
    assert sample.gt_instances.instances_ids.tolist() == [9]
    np.testing.assert_array_equal(sample.gt_instances.masks.masks, [box_mask(20, 10, 8, 4)])
    assert sample.ignored_instances.bboxes.tensor.tolist() == [[0, 0, 4, 4]]


def test_video_with_one_frame_is_its_own_reference(root):
    _, ref = build(root)[2]['data_samples']
    assert (ref.video_id, ref.frame_id) == (3, 0)


def test_references_of_a_clip_come_in_the_order_of_the_sampler(root, content):
    content['annotations'][0]['segmentations'][1] = compressed(box_mask(1, 1, 2, 2))
    content['annotations'][0]['bboxes'][1] = [1, 1, 2, 2]
    write(root, content)
    clip = build(root, reference='ordered', num_refs=2)[2]
    assert [one.frame_id for one in clip['data_samples']] == [2, 1, 0]
    # Frames are grey, 40 brighter each.
    assert [one.float().mean().item() for one in clip['inputs']] == pytest.approx(
        [80, 40, 0], abs=2
    )


def test_frames_that_come_again_are_objects_of_their_own(root):
    clip = build(root, num_refs=2)[2]
    for one, other in [(0, 1), (0, 2), (1, 2)]:
        first, second = clip['data_samples'][one], clip['data_samples'][other]
        masks = first.gt_instances.masks.masks, second.gt_instances.masks.masks
        np.testing.assert_array_equal(*masks)
        assert not np.shares_memory(*masks)
        assert torch.equal(clip['inputs'][one], clip['inputs'][other])
        assert clip['inputs'][one].data_ptr() != clip['inputs'][other].data_ptr()


def test_a_batch_of_clips_is_a_list_for_each_position(root):
    dataset = build(root, reference='ordered', num_refs=2)
    batch = pseudo_collate([dataset[0], dataset[1]])
    places = [
        [(one.video_id, one.frame_id) for one in samples] for samples in batch['data_samples']
    ]
    assert places == [[(7, 0), (7, 2)], [(7, 2), (7, 0)], [(7, 2), (7, 0)]]
    assert [len(images) for images in batch['inputs']] == [2, 2, 2]


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(num_refs=0), 'num_refs must be a whole number of 1 or more, got 0'),
        (dict(reference='window'), 'takes max_distance'),
        (dict(max_distance=2), "for reference='window' only"),
    ],
)
def test_bad_options_of_references(root, options, message):
    with pytest.raises(ValueError, match=message):
        build(root, **options)


def test_window_reaches_as_far_as_it_is_told(root):
    # The middle frame of the video shows no object.
    for distance, frame in ((1, 0), (2, 2)):
        _, ref = build(root, reference='window', max_distance=distance)[0]['data_samples']
        assert ref.frame_id == frame


@pytest.mark.parametrize('num_refs', [1, 3])
def test_all_frames_of_a_clip_flip_alike(root, num_refs):
    dataset = build(root, num_refs=num_refs)
    sampler = SeededSampler(dataset, seed=1)
    flips = []
    for epoch in range(12):
        sampler.set_epoch(epoch)
        for index in sampler:
            key, *refs = dataset[index]['data_samples']
            assert [ref.flip for ref in refs] == [key.flip] * num_refs
            flips.append(key.flip)
    assert 5 < sum(flips) < 31


def test_samples_depend_on_seed_and_epoch_not_on_workers(root):
    dataset = build(root)

    def flips(num_workers, seed):
        sampler = SeededSampler(dataset, shuffle=True, seed=seed)
        loader = DataLoader(
            dataset, 1, sampler=sampler, num_workers=num_workers, collate_fn=pseudo_collate
        )
        found = []
        for epoch in range(8):
            sampler.set_epoch(epoch)
            for batch in loader:
                (sample,), (ref,) = batch['data_samples']
                found.append((sample.video_id, sample.frame_id, ref.frame_id, sample.flip))
        return found

    torch.manual_seed(0)
    expected = flips(0, 3)
    torch.manual_seed(123)
    np.random.seed(5)  # noqa: NPY002
    assert flips(2, 3) == expected
    assert flips(0, 4) != expected


def test_test_mode_runs_through_all_frames_in_order(root):
    dataset = build(root, pipeline=TEST, test_mode=True)
    samples = [dataset[index]['data_samples'] for index in range(len(dataset))]
    assert [(one.video_id, one.frame_id, one.video_length) for one in samples] == [
        (7, 0, 3),
        (7, 1, 3),
        (7, 2, 3),
        (3, 0, 1),
    ]
    assert samples[0].category_ids == (40, 11)
    assert dataset[2]['inputs'].float().mean() == pytest.approx(80, abs=2)
    assert dataset.video_lengths.tolist() == [3, 1]


@pytest.mark.parametrize('missing', ['key', 'null'])
def test_validation_file_without_annotations(root, content, missing):
    if missing == 'key':
        del content['annotations']
    else:
        content['annotations'] = None
    write(root, content)
    assert len(build(root, pipeline=TEST, test_mode=True)) == 4
    with pytest.raises(UserError, match='has no annotations'):
        build(root)


def test_annotations_are_kept_as_one_array_of_bytes(root):
    dataset = build(root)
    assert dataset.data_list == []
    assert dataset.data_bytes.dtype == np.uint8
    # What a worker would get a copy of, beside that array, does not grow with the annotations.
    shell = copy.copy(dataset)
    shell.data_bytes = None
    assert len(pickle.dumps(shell)) < 6000


def test_category_ids_for_class_balancing(root):
    assert [build(root).get_cat_ids(index) for index in range(3)] == [[1], [1, 0], [0]]


def test_missing_annotation_file_says_how_to_get_it(tmp_path):
    with pytest.raises(UserError, match=r'annotation file not found: .*ann\.json\. Ask Ann\.'):
        build(tmp_path, hint='Ask Ann.')


def test_missing_image_folder(root):
    with pytest.raises(UserError, match='folder of frames not found: .*pictures'):
        YouTubeVIS(ann_file='ann.json', data_root=str(root), data_prefix=dict(img='pictures'))


def test_missing_frame_is_named(root):
    (root / 'images/a/2.jpg').unlink()
    with pytest.raises(UserError, match=r'frame 2 of video 7 \(.*a/2\.jpg\): .*does not exist'):
        build(root, pipeline=TEST, test_mode=True)[2]


@pytest.mark.parametrize('damage', [b'', b'no image', b'\xff\xd8\xff\xe0 cut'])
def test_unreadable_frame_is_named(root, damage):
    (root / 'images/a/1.jpg').write_bytes(damage)
    with pytest.raises(UserError, match=r'frame 1 of video 7 \(.*a/1\.jpg\): cannot be read'):
        build(root, pipeline=TEST, test_mode=True)[1]


def test_frame_of_another_size_is_named(root):
    cv2.imwrite(str(root / 'images/a/1.jpg'), np.zeros((10, 20, 3), np.uint8))
    with pytest.raises(UserError, match='frame 1 of video 7 .*is 20x10 pixels.*says 32x24'):
        build(root, pipeline=TEST, test_mode=True)[1]


def test_error_in_a_worker_arrives_as_one_message(root):
    (root / 'images/a/0.jpg').unlink()
    dataset = build(root, pipeline=TEST, test_mode=True)
    with pytest.raises(UserError) as caught:
        list(DataLoader(dataset, 1, num_workers=1, collate_fn=pseudo_collate))
    assert str(caught.value).startswith('frame 0 of video 7')
    assert 'Traceback' not in str(caught.value)


def test_truncated_annotation_file(root):
    text = (root / 'ann.json').read_text()
    (root / 'ann.json').write_text(text[: len(text) // 2])
    with pytest.raises(UserError, match=r'ann\.json is not valid JSON \(truncated or damaged'):
        build(root)
