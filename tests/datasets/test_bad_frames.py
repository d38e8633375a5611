"""Samples with frames that cannot be used: the error, and others in their place."""

import json

import cv2
import numpy as np
import pytest
from mmengine.dataset import pseudo_collate
from torch.utils.data import DataLoader

from tests.datasets.test_ytvis import TRAIN
from vispropnet.datasets.bad_frames import METAINFO_KEY, BadFrameError
from vispropnet.datasets.samplers import SeededSampler
from vispropnet.datasets.ytvis import YouTubeVIS
from vispropnet.errors import UserError

H, W = 16, 24
# A mask of the first column.
MASK = {'size': [H, W], 'counts': [0, H, H * (W - 1)]}


@pytest.fixture
def root(tmp_path):
    """Three videos (1, 2, 3) of four frames, an object in each frame."""
    videos, annotations = [], []
    for video in (1, 2, 3):
        names = [f'{video}/{frame}.jpg' for frame in range(4)]
        videos.append(dict(id=video, width=W, height=H, file_names=names))
        annotations.append(dict(id=video, video_id=video, category_id=1, segmentations=[MASK] * 4))
        (tmp_path / f'images/{video}').mkdir(parents=True)
        for name in names:
            cv2.imwrite(str(tmp_path / 'images' / name), np.zeros((H, W, 3), np.uint8))
    write(tmp_path, dict(videos=videos, annotations=annotations))
    return tmp_path


def write(root, content):
    content.setdefault('categories', [dict(id=1, name='disc')])
    (root / 'ann.json').write_text(json.dumps(content))


def damage(root, *frames):
    for video, frame in frames:
        (root / f'images/{video}/{frame}.jpg').write_bytes(b'no image')


def build(root, action='skip', **options):
    options = dict(dict(pipeline=TRAIN), **options)
    prefix = dict(img='images')
    return YouTubeVIS('ann.json', str(root), prefix, on_bad_sample=action, **options)


def place(sample):
    return sample.video_id, sample.frame_id


def drawn(dataset, num_workers=0, epochs=(0, 1), seed=0):
    """(key, reference, flip, frames left out) of all samples of some epochs."""
    sampler = SeededSampler(dataset, shuffle=True, seed=seed)
    loader = DataLoader(
        dataset, 2, sampler=sampler, num_workers=num_workers, collate_fn=pseudo_collate
    )
    found = []
    for epoch in epochs:
        sampler.set_epoch(epoch)
        for batch in loader:
            for key, ref in zip(*batch['data_samples'], strict=True):
                left_out = [one['frame'] for one in key.get(METAINFO_KEY, ())]
                found.append((place(key), place(ref), key.flip, left_out))
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
    assert 'tools/check_data.py CONFIG --deep' in message
    assert message.endswith('train_dataloader.dataset.on_bad_sample=skip.')


def test_in_test_mode_a_bad_frame_is_an_error_without_a_way_around_it(root):
    damage(root, (1, 0))
    dataset = build(root, 'raise', test_mode=True)
    with pytest.raises(BadFrameError, match='frame 0 of video 1') as caught:
        dataset[0]
    assert 'tools/check_data.py' in str(caught.value)
    assert 'on_bad_sample' not in str(caught.value)
    with pytest.raises(UserError, match="on_bad_sample='skip' is for training only"):
        build(root, 'skip', test_mode=True)


def test_other_samples_come_in_place_of_bad_ones(root):
    sound = drawn(build(root, 'raise'))
    assert drawn(build(root)) == sound
    damage(root, (2, 1))
    found = drawn(build(root, max_bad_fraction=0.2))
    assert len(found) == len(sound) == 24
    changed = 0
    for (key, ref, flip, left_out), before in zip(found, sound, strict=True):
        assert (2, 1) not in (key, ref)
        if (2, 1) not in before[:2]:
            assert (key, ref, flip, left_out) == before
            continue
        changed += 1
        assert left_out == [5]
        assert key[0] == ref[0]
        assert key != ref
        if before[0] != (2, 1):  # the reference was bad: the key frame stays
            assert key == before[0]
    assert changed >= 2  # as a key frame, once in each epoch


def test_what_is_drawn_depends_on_seed_epoch_and_sample_only(root):
    damage(root, (2, 1), (3, 0))
    dataset = build(root, max_bad_fraction=0.2)
    both = drawn(dataset)
    assert drawn(dataset, num_workers=2) == both
    assert drawn(dataset, epochs=(1,)) == both[12:]
    assert drawn(dataset, seed=1) != both


def test_the_last_sound_frame_of_a_video_is_its_own_reference(root):
    damage(root, (1, 0), (1, 1), (1, 3))
    for reference in ('random', 'ordered'):
        dataset = build(root, max_bad_fraction=0.25, reference=reference)
        assert [place(one) for one in dataset[2]['data_samples']] == [(1, 2), (1, 2)]


def test_a_bad_reference_of_one_candidate_does_not_spoil_the_next(root):
    damage(root, *((1, frame) for frame in range(1, 4)), (2, 0), (2, 1), (3, 0), (3, 1))
    dataset = build(root, max_bad_fraction=0.6)
    for key, ref, _, _ in drawn(dataset, epochs=range(5)):
        assert key in {(1, 0), (2, 2), (2, 3), (3, 2), (3, 3)}
        assert ref[0] == key[0]
        assert (ref == key) is (key == (1, 0))


@pytest.mark.parametrize('reference', ['random', 'ordered', 'window'])
def test_bad_references_of_a_clip_are_replaced(root, reference):
    damage(root, (2, 1), (3, 0))
    window = dict(max_distance=3) if reference == 'window' else {}
    dataset = build(root, max_bad_fraction=0.2, reference=reference, num_refs=2, **window)
    sound = {(video, frame) for video in (1, 2, 3) for frame in range(4)} - {(2, 1), (3, 0)}
    for index in range(12):
        places = [place(one) for one in dataset[index]['data_samples']]
        assert set(places) <= sound and len(set(places)) == 3
        assert len({video for video, _ in places}) == 1
        wanted = 1 + index // 4, index % 4
        assert (places[0] == wanted) is (wanted in sound)


def test_no_frame_of_a_clip_is_loaded_twice(root):
    loads = []

    def note(frame):
        loads.append((frame['video_id'], frame['frame_id']))
        return frame

    damage(root, (1, 1), (1, 0))
    dataset = build(
        root, max_bad_fraction=0.2, reference='ordered', num_refs=3, pipeline=[note, *TRAIN]
    )
    clip = dataset[2]['data_samples']
    assert loads == [(1, 2), (1, 1), (1, 0), (1, 3)]
    assert [place(one) for one in clip] == [(1, 2), (1, 3), (1, 3), (1, 3)]
    assert [one['frame'] for one in clip[0].get(METAINFO_KEY)] == [1, 0]
    assert not any(METAINFO_KEY in one for one in clip[1:])


def test_clips_of_a_video_with_one_sound_frame_are_of_that(root):
    damage(root, (1, 0), (1, 1), (1, 3))
    dataset = build(root, max_bad_fraction=0.25, num_refs=3)
    clip = dataset[2]['data_samples']
    assert [place(one) for one in clip] == [(1, 2)] * 4
    assert len(clip[0].get(METAINFO_KEY)) == 3 and METAINFO_KEY not in clip[1]


def test_damaged_masks_count_as_a_bad_frame(root):
    content = json.loads((root / 'ann.json').read_text())
    content['annotations'][0]['segmentations'][2] = dict(MASK, counts=[5, 6])
    write(root, content)
    with pytest.raises(UserError, match=r'annotation 1, video 1, frame 2 \(1/2\.jpg\)'):
        build(root, 'raise')
    dataset = build(root)
    assert len(dataset) == 12
    sample = dataset[2]['data_samples'][0]
    (told,) = sample.get(METAINFO_KEY)
    assert place(sample) != (1, 2)
    assert (told['frame'], told['frames'], told['limit']) == (2, 12, 1)
    assert 'frame 2 of video 1' in told['message']
    assert "annotation 1: 'counts' of the RLE are damaged" in told['message']


def test_one_sample_that_meets_too_many_bad_frames_is_an_error(root):
    damage(root, *((video, frame) for video in (1, 2, 3) for frame in range(4)))
    with pytest.raises(UserError) as caught:
        build(root, max_bad_fraction=0.5)[0]
    message = str(caught.value)
    assert '7 of 12 frames turned out bad so far; max_bad_fraction allows 6:' in message
    assert message.count('cannot be read as an image') == 5
    assert 'and 2 more' in message


def test_nothing_but_bad_frames_ends_with_an_error(root):
    damage(root, *((video, frame) for video in (1, 2, 3) for frame in range(4)))
    with pytest.raises(UserError, match='none of its frames can be trained on'):
        build(root, max_bad_fraction=1.0)[0]


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(action='ignore'), "on_bad_sample must be 'raise' or 'skip', got 'ignore'"),
        (dict(max_bad_fraction=1.5), r'max_bad_fraction must be within \[0, 1\], got 1\.5'),
        (dict(max_bad_fraction='1'), "max_bad_fraction must be within .* got '1'"),
    ],
)
def test_bad_options(root, options, message):
    with pytest.raises(UserError, match=message):
        build(root, **options)
