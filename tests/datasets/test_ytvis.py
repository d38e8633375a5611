import copy
import itertools
import json
import pickle

import cv2
import numpy as np
import pytest
import torch

from tests.datasets.annotation_contents import H, W, entry, good_content
from vispropnet.datasets.randomness import SampleIndex
from vispropnet.datasets.ytvis import YouTubeVIS
from vispropnet.errors import UserError

TRAIN = [
    dict(type='LoadVideoFrame'),
    dict(type='LoadTrackedAnnotations'),
    dict(type='Resize', scale_factor=1.0),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackFrameInputs'),
]
UPRIGHT = [*TRAIN[:3], TRAIN[4]]
TEST = [dict(type='LoadVideoFrame'), dict(type='PackFrameInputs')]
FIRST, SECOND = (2, 3, 5, 6), (20, 10, 8, 4)


@pytest.fixture
def content():
    """Video 7: two objects over 3 frames, the middle one empty; video 3: one frame, a crowd."""
    first, second = entry(0, 7, 11, [FIRST, None, SECOND]), entry(5, 7, 40, [None, None, FIRST])
    # Eight columns from column 20 on, of four pixels from row 10 on.
    runs = [20 * H + 10, *[4, H - 4] * 7, 4, 4 * H + H - 14]
    first['segmentations'][2] = {'size': [H, W], 'counts': runs}
    del second['bboxes']
    crowd = {**entry(6, 3, 40, [(0, 0, 4, 4)]), 'iscrowd': 1}
    annotations = [first, second, crowd, entry(9, 3, 40, [SECOND])]
    return {**good_content(), 'annotations': annotations}


@pytest.fixture
def root(tmp_path, content):
    """Frames are grey, 40 brighter each."""
    names = [name for video in content['videos'] for name in video['file_names']]
    for value, name in enumerate(names):
        path = tmp_path / 'images' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.full((H, W, 3), 40 * value, np.uint8))
    write(tmp_path, content)
    return tmp_path


def write(root, content):
    (root / 'ann.json').write_text(json.dumps(content))


def build(root, images='images', pipeline=TRAIN, **options):
    return YouTubeVIS('ann.json', str(root), dict(img=images), pipeline, **options)


def places(samples):
    return [(one.video_id, one.frame_id) for one in samples]


def box_mask(left, top, width, height):
    mask = np.zeros((H, W), np.uint8)
    mask[top : top + height, left : left + width] = 1
    return mask


def test_training_samples_are_the_frames_with_objects(root):
    dataset = build(root)
    assert dataset.metainfo['classes'] == ('disc', 'star')
    assert dataset.metainfo['category_ids'] == (40, 11)
    samples = [dataset[index]['data_samples'] for index in range(len(dataset))]
    assert places(key for key, _ in samples) == [(7, 0), (7, 2), (3, 0)]
    # A video of one frame is its own reference.
    assert places(ref for _, ref in samples) == [(7, 2), (7, 0), (3, 0)]
    # For mmdet's ClassBalancedDataset, without crowds.
    assert [dataset.get_cat_ids(index) for index in range(3)] == [[1], [1, 0], [0]]


def test_clip_holds_boxes_masks_labels_and_identities(root):
    key, ref = (one.gt_instances for one in build(root, pipeline=UPRIGHT)[1]['data_samples'])
    assert key.instances_ids.tolist() == [0, 5]
    assert key.labels.tolist() == [1, 0]
    assert key.bboxes.tensor.tolist() == [[20, 10, 28, 14], [2, 3, 7, 9]]
    np.testing.assert_array_equal(key.masks.masks, [box_mask(*SECOND), box_mask(*FIRST)])
    assert ref.instances_ids.tolist() == [0]
    # A crowd is ignored and does not shift masks.
    sample = build(root, pipeline=UPRIGHT)[2]['data_samples'][0]
    assert sample.gt_instances.instances_ids.tolist() == [9]
    np.testing.assert_array_equal(sample.gt_instances.masks.masks, [box_mask(*SECOND)])
    assert sample.ignored_instances.bboxes.tensor.tolist() == [[0, 0, 4, 4]]


def test_references_of_a_clip_come_in_the_order_of_the_sampler(root, content):
    content['annotations'][0] = entry(0, 7, 11, [FIRST, (1, 1, 2, 2), SECOND])
    write(root, content)
    clip = build(root, reference='ordered', num_refs=2)[2]
    assert places(clip['data_samples']) == [(7, 2), (7, 1), (7, 0)]
    grey = [one.float().mean().item() for one in clip['inputs']]
    assert grey == pytest.approx([80, 40, 0], abs=2)


def test_clips_of_one_frame(root):
    clip = build(root, num_refs=0)[0]
    assert {name: len(one) for name, one in clip.items()} == dict(inputs=1, data_samples=1)
    assert places(clip['data_samples']) == [(7, 0)]


def test_frames_that_come_again_are_objects_of_their_own(root):
    clip = build(root, num_refs=2)[2]
    images = clip['inputs']
    masks = [one.gt_instances.masks.masks for one in clip['data_samples']]
    for one, other in [(0, 1), (0, 2), (1, 2)]:
        np.testing.assert_array_equal(masks[one], masks[other])
        assert not np.shares_memory(masks[one], masks[other])
        assert torch.equal(images[one], images[other])
        assert images[one].data_ptr() != images[other].data_ptr()


def test_window_reaches_as_far_as_it_is_told(root):
    # The middle frame of the video shows no object.
    for distance, frame in ((1, 0), (2, 2)):
        clip = build(root, reference='window', max_distance=distance)[0]['data_samples']
        assert places(clip) == [(7, 0), (7, frame)]
    with pytest.raises(ValueError, match='takes max_distance'):
        build(root, reference='window')


@pytest.mark.parametrize('num_refs', [1, 3])
def test_all_frames_of_a_clip_flip_alike(root, num_refs):
    dataset = build(root, num_refs=num_refs)
    flips = []
    for index, epoch in itertools.product(range(3), range(8)):
        key, *refs = dataset[SampleIndex(index, (0, epoch, index))]['data_samples']
        assert [ref.flip for ref in refs] == [key.flip] * num_refs
        flips.append(key.flip)
    assert 3 < sum(flips) < 21
    # A plain index stands for seed and epoch zero.
    assert [dataset[index]['data_samples'][0].flip for index in range(3)] == flips[::8]


def test_test_mode_runs_through_all_frames_in_order(root):
    dataset = build(root, pipeline=TEST, test_mode=True)
    samples = [dataset[index]['data_samples'] for index in range(len(dataset))]
    assert places(samples) == [(7, 0), (7, 1), (7, 2), (3, 0)]
    assert [one.video_length for one in samples] == [3, 3, 3, 1]
    assert dataset.video_lengths.tolist() == [3, 1]
    assert samples[0].category_ids == (40, 11)
    assert dataset[2]['inputs'].float().mean() == pytest.approx(80, abs=2)


@pytest.mark.parametrize('missing', ['key', 'null'])
def test_validation_file_without_annotations(root, content, missing):
    content['annotations'] = None
    if missing == 'key':
        del content['annotations']
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


def test_what_is_missing_is_named(root):
    with pytest.raises(UserError, match=r'annotation file not found: .*ann\.json\. Ask Ann\.'):
        build(root / 'images', hint='Ask Ann.')
    with pytest.raises(UserError, match=r'folder of frames not found: .*pictures\. Ask Ann\.'):
        build(root, 'pictures', hint='Ask Ann.')
    (root / 'images/a/10.jpg').unlink()
    with pytest.raises(UserError, match=r'frame 2 of video 7 \(.*a/10\.jpg\): .*does not exist'):
        build(root, pipeline=TEST, test_mode=True)[2]
