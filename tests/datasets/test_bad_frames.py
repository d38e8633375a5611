"""Samples with frames that cannot be used: the error, and others in their place."""

import json
from unittest.mock import Mock

import cv2
import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from torch.utils.data import DataLoader

from tests.datasets.test_ytvis import TRAIN, places
from vispropnet.datasets.bad_frames import METAINFO_KEY, BadFrameError
from vispropnet.datasets.samplers import SeededSampler
from vispropnet.datasets.ytvis import YouTubeVIS
from vispropnet.errors import UserError

H, W = 16, 24
# A mask of the first column.
MASK = {'size': [H, W], 'counts': [0, H, H * (W - 1)]}
ALL = [(video, frame) for video in (1, 2, 3) for frame in range(4)]


@pytest.fixture
def root(tmp_path):
    """Three videos (1, 2, 3) of four frames, an object in each frame."""
    content = dict(videos=[], annotations=[], categories=[dict(id=1, name='disc')])
    for video in (1, 2, 3):
        names = [f'{video}/{frame}.jpg' for frame in range(4)]
        content['videos'].append(dict(id=video, width=W, height=H, file_names=names))
        track = dict(id=video, video_id=video, category_id=1, segmentations=[MASK] * 4)
        content['annotations'].append(track)
        (tmp_path / f'images/{video}').mkdir(parents=True)
        for name in names:
            cv2.imwrite(str(tmp_path / 'images' / name), np.zeros((H, W, 3), np.uint8))
    (tmp_path / 'ann.json').write_text(json.dumps(content))
    return tmp_path


def damage(root, *frames):
    for video, frame in frames:
        (root / f'images/{video}/{frame}.jpg').write_bytes(b'no image')


def build(root, action='skip', pipeline=TRAIN, fraction=0.6, **options):
    options.update(on_bad_sample=action, max_bad_fraction=fraction)
    return YouTubeVIS('ann.json', str(root), dict(img='images'), pipeline, **options)


def left_out(sample):
    return [one['frame'] for one in sample.get(METAINFO_KEY, ())]


def drawn(dataset, num_workers=0, epochs=(0, 1), seed=0):
    """(key, reference, flip, frames left out) of all samples of some epochs."""
    sampler, found = SeededSampler(dataset, shuffle=True, seed=seed), []
    options = dict(num_workers=num_workers, collate_fn=pseudo_collate)
    loader = DataLoader(dataset, 2, sampler=sampler, **options)
    for epoch in epochs:
        sampler.set_epoch(epoch)
        for batch in loader:
            for clip in zip(*batch['data_samples'], strict=True):
                found.append((*places(clip), clip[0].flip, left_out(clip[0])))
    return found


@pytest.mark.parametrize('num_workers', [0, 1])
def test_a_bad_frame_is_an_error_that_says_what_to_do(root, num_workers):
    damage(root, (2, 1))
    with pytest.raises(BadFrameError) as caught:
        drawn(build(root, 'raise'), num_workers)
    message = str(caught.value)
    # torch's frames hold the error and it holds them: a loader left to the garbage collector takes
    # seconds to end its worker.
    caught.value.__traceback__ = None
    del caught
    assert message.startswith(f'frame 1 of video 2 ({root}/images/2/1.jpg): cannot be read as an')
    assert 'tools/check_data.py CONFIG --deep' in message and 'Traceback' not in message
    assert message.endswith('train_dataloader.dataset.on_bad_sample=skip.')


def test_in_test_mode_a_bad_frame_is_an_error_without_a_way_around_it(root):
    damage(root, (1, 0))
    with pytest.raises(BadFrameError, match='(?s)frame 0 of video 1.*tools/check_data') as caught:
        build(root, 'raise', test_mode=True)[0]
    assert 'on_bad_sample' not in str(caught.value)


def test_other_samples_come_in_place_of_bad_ones(root):
    sound = drawn(build(root, 'raise'))
    assert drawn(build(root)) == sound
    damage(root, (2, 1))
    found = drawn(build(root))
    assert len(found) == len(sound) == 24
    for (key, ref, flip, bad), before in zip(found, sound, strict=True):
        assert (2, 1) not in (key, ref)
        if (2, 1) not in before[:2]:
            assert (key, ref, flip, bad) == before
            continue
        assert bad == [5] and key[0] == ref[0] and key != ref
        # Where only the reference was bad, the key frame stays.
        assert before[0] in ((2, 1), key)
    assert sum(one != before for one, before in zip(found, sound, strict=True)) >= 2


def test_what_is_drawn_depends_on_seed_epoch_and_sample_only(root):
    damage(root, (2, 1), (3, 0))
    dataset = build(root)
    both = drawn(dataset)
    torch.manual_seed(123)
    np.random.seed(5)  # noqa: NPY002
    assert drawn(dataset, num_workers=2) == both
    assert drawn(dataset, epochs=(1,)) == both[12:]
    assert drawn(dataset, seed=1) != both


@pytest.mark.parametrize(('reference', 'num_refs'), [('random', 1), ('ordered', 1), ('random', 3)])
def test_the_last_sound_frame_of_a_video_is_its_own_reference(root, reference, num_refs):
    damage(root, (1, 0), (1, 1), (1, 3))
    clip = build(root, reference=reference, num_refs=num_refs)[2]['data_samples']
    assert places(clip) == [(1, 2)] * (num_refs + 1)
    assert sorted(left_out(clip[0])) == [0, 1, 3]
    assert not any(METAINFO_KEY in one for one in clip[1:])


def test_a_bad_reference_of_one_candidate_does_not_spoil_the_next(root):
    damage(root, (1, 1), (1, 2), (1, 3), (2, 0), (2, 1), (3, 0), (3, 1))
    for key, ref, _, _ in drawn(build(root), epochs=range(5)):
        assert key in {(1, 0), (2, 2), (2, 3), (3, 2), (3, 3)}
        assert ref[0] == key[0] and (ref == key) is (key == (1, 0))


@pytest.mark.parametrize('reference', ['random', 'ordered', 'window'])
def test_bad_references_of_a_clip_are_replaced(root, reference):
    damage(root, (2, 1), (3, 0))
    distance = 3 if reference == 'window' else None
    dataset = build(root, reference=reference, num_refs=2, max_distance=distance)
    sound = {*ALL} - {(2, 1), (3, 0)}
    for index, wanted in enumerate(ALL):
        clip = places(dataset[index]['data_samples'])
        assert set(clip) <= sound and len(set(clip)) == 3
        assert len({video for video, _ in clip}) == 1
        assert (clip[0] == wanted) is (wanted in sound)


def test_no_frame_of_a_clip_is_loaded_twice(root):
    note = Mock(side_effect=lambda frame: frame)
    damage(root, (1, 1), (1, 0))
    dataset = build(root, reference='ordered', num_refs=3, pipeline=[note, *TRAIN])
    clip = dataset[2]['data_samples']
    loads = [(call.args[0]['video_id'], call.args[0]['frame_id']) for call in note.call_args_list]
    assert loads == [(1, 2), (1, 1), (1, 0), (1, 3)]
    assert places(clip) == [(1, 2), (1, 3), (1, 3), (1, 3)]
    assert left_out(clip[0]) == [1, 0]


def test_damaged_masks_count_as_a_bad_frame(root):
    content = json.loads((path := root / 'ann.json').read_text())
    content['annotations'][0]['segmentations'][2] = dict(MASK, counts=[5, 6])
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r'annotation 1, video 1, frame 2 \(1/2\.jpg\)'):
        build(root, 'raise')
    sample = build(root, fraction=0.01)[2]['data_samples'][0]
    assert places([sample]) != [(1, 2)]
    (told,) = sample.get(METAINFO_KEY)
    assert (told['frame'], told['frames'], told['limit']) == (2, 12, 1)
    for part in ('frame 2 of video 1', "annotation 1: 'counts' of the RLE are damaged"):
        assert part in told['message']


def test_too_many_bad_frames_are_an_error(root):
    damage(root, *ALL)
    with pytest.raises(UserError) as caught:
        build(root, fraction=0.5)[0]
    message = str(caught.value)
    assert '7 of 12 frames turned out bad so far; max_bad_fraction allows 6:' in message
    assert message.count('cannot be read as an image') == 5 and 'and 2 more' in message
    with pytest.raises(UserError, match='none of its frames can be trained on'):
        build(root, fraction=1.0)[0]


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(action='ignore'), "on_bad_sample must be 'raise' or 'skip', got 'ignore'"),
        (dict(fraction=1.5), r'max_bad_fraction must be within \[0, 1\], got 1\.5'),
        (dict(fraction='1'), "max_bad_fraction must be within .* got '1'"),
        (dict(test_mode=True), "on_bad_sample='skip' is for training only"),
    ],
)
def test_bad_options(root, options, message):
    with pytest.raises(UserError, match=message):
        build(root, **options)
