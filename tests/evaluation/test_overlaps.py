"""Overlaps of tracks and objects, against decoded masks in loops."""

import copy
import itertools
import weakref

import numpy as np
import pytest

from tests.evaluation.content import encode
from vispropnet.errors import UserError
from vispropnet.evaluation.ground_truth import ground_truth
from vispropnet.evaluation.overlaps import measure_tracks

# Height, width and frames of each video; none is given in the order of its id.
VIDEOS = {9: (12, 17, 3), 2: (1, 30, 2), 5: (30, 1, 2), 3: (25, 20, 1), 7: (16, 16, 5)}
CATEGORIES = (4, 1, 6)


def random_masks(rng, video_id):
    """Boxes or noise, empty, full or absent."""
    height, width, length = VIDEOS[video_id]
    masks = []
    top, left = rng.integers(0, height), rng.integers(0, width)
    for _ in range(length):
        mask = np.zeros((height, width), bool)
        kind = rng.random()
        if kind < 0.5:
            mask[top : top + rng.integers(1, height + 1), left : left + rng.integers(1, 9)] = True
        elif kind < 0.7:
            mask = rng.random((height, width)) < rng.choice([0.02, 0.5, 0.9])
        elif kind < 0.75:
            mask = ~mask
        masks.append(None if kind > 0.9 else mask)
    return masks


def random_scene(seed):
    """An annotation file and results, and the masks of both before they were encoded."""
    rng = np.random.default_rng(seed)
    truths, results, truth_masks, track_masks = [], [], [], []
    for video_id in rng.choice(list(VIDEOS), 25).tolist():
        masks = random_masks(rng, video_id)
        place = {'video_id': video_id, 'category_id': int(rng.choice(CATEGORIES))}
        if video_id != 3 and rng.random() < 0.5:
            truths.append({**place, 'segmentations': coded(rng, masks, ('text', 'bytes', 'runs'))})
            truth_masks.append(masks)
        for _ in range(rng.integers(0, 3)):
            if rng.random() < 0.3:
                masks = random_masks(rng, video_id)
            forms = ('text', 'text', 'text', 'bytes', 'runs')
            result = {**place, 'score': rng.random(), 'segmentations': coded(rng, masks, forms)}
            results.append(result)
            track_masks.append(masks)
    # Something to score against, in a category of its own.
    masks = random_masks(rng, 9)
    truths.append({'video_id': 9, 'category_id': 8, 'segmentations': coded(rng, masks, ('text',))})
    truth_masks.append(masks)
    return annotation_file(truths), results, truth_masks, track_masks


def coded(rng, masks, forms):
    return [None if mask is None else encode(mask, rng.choice(forms)) for mask in masks]


def annotation_file(truths):
    return {
        'videos': [
            {'id': video_id, 'height': height, 'width': width, 'length': length}
            for video_id, (height, width, length) in VIDEOS.items()
        ],
        'categories': [{'id': category, 'name': f'n{category}'} for category in (*CATEGORIES, 8)],
        'annotations': truths,
    }


def one_pair(object_rle, track_rle):
    """A file with one object in one frame, and a track."""
    entry = {'video_id': 1, 'category_id': 1}
    height, width = object_rle['size']
    content = {
        'videos': [{'id': 1, 'height': height, 'width': width, 'length': 1}],
        'categories': [{'id': 1}],
        'annotations': [{**entry, 'segmentations': [object_rle]}],
    }
    return ground_truth(content), [{**entry, 'score': 1, 'segmentations': [track_rle]}]


def pixels(one, other=None):
    """Pixels of a mask, or those that two have in common; of an absent one none."""
    if one is None:
        return 0
    if other is None:
        return int(one.sum())
    return sum(bool(a) and bool(b) for a, b in zip(one.ravel(), other.ravel(), strict=True))


def in_common(one, other):
    return 0 if one is None or other is None else pixels(one, other)


def assert_measured(content, results, truth_masks, track_masks, tracks, frame_by_frame):
    truth = tracks.truth
    video_ids = sorted(VIDEOS)
    category_ids = sorted((*CATEGORIES, 8))
    assert [video.entry['id'] for video in truth.videos] == video_ids
    assert truth.category_ids == category_ids
    assert len(tracks.ious) == len(results)
    assert (tracks.frames is not None) == frame_by_frame
    reached = 0
    for index, (result, masks) in enumerate(zip(results, track_masks, strict=True)):
        assert video_ids[tracks.video[index]] == result['video_id']
        assert category_ids[tracks.category[index]] == result['category_id']
        assert tracks.score[index] == result['score']
        sizes = [pixels(mask) for mask in masks]
        shown = [size for size in sizes if size]
        assert tracks.length[index] == len(shown)
        assert tracks.area[index] == (sum(shown) / len(shown) if shown else 0)
        # The objects of its video, in the order of the file.
        objects = [
            (entry, other)
            for entry, other in zip(content['annotations'], truth_masks, strict=True)
            if entry['video_id'] == result['video_id']
        ]
        assert tracks.ious[index].shape == (len(objects),)
        for column, (entry, other) in enumerate(objects):
            common = [in_common(a, b) for a, b in zip(masks, other, strict=True)]
            union = sum(sizes) + sum(pixels(mask) for mask in other) - sum(common)
            iou = sum(common) / union if union else 0
            same = entry['category_id'] == result['category_id']
            reached += same and iou >= 0.5
            measured = tracks.ious[index][column]
            if frame_by_frame:
                assert tracks.frames[index][0][column].tolist() == common
            # In the fast mode pairs that decide nothing may be left out.
            assert measured == iou or (
                measured == 0 and not frame_by_frame and not (same and iou >= 0.5)
            )
        if frame_by_frame:
            assert tracks.frames[index][1].tolist() == sizes
            assert tracks.frames[index][0].shape == (len(objects), len(masks))
    return reached


@pytest.mark.parametrize('frame_by_frame', [False, True])
@pytest.mark.parametrize('seed', range(8))
def test_equals_decoded_masks_in_loops(seed, frame_by_frame, monkeypatch):
    content, results, truth_masks, track_masks = random_scene(seed)
    # From a batch per track to all at once.
    monkeypatch.setattr('vispropnet.evaluation.overlaps._BATCH_MASKS', (1, 9, 50, 10_000)[seed % 4])
    before = copy.deepcopy((content, results))
    tracks = measure_tracks(ground_truth(content), results, frame_by_frame)
    reached = assert_measured(content, results, truth_masks, track_masks, tracks, frame_by_frame)
    assert reached >= 3
    assert (content, results) == before
    # A generator gives the same.
    again = measure_tracks(ground_truth(content), (one for one in results), frame_by_frame)
    for one, other in zip(tracks.ious, again.ious, strict=True):
        assert np.array_equal(one, other)
    assert np.array_equal(tracks.area, again.area)


@pytest.mark.parametrize('seed', range(4))
def test_what_the_objects_look_like(seed):
    content, _, truth_masks, _ = random_scene(seed)
    truth = ground_truth(content)
    order = sorted(  # by video; stable
        range(len(truth_masks)), key=lambda index: content['annotations'][index]['video_id']
    )
    assert len(truth.video) == len(order)
    for position, index in enumerate(order):
        entry, masks = content['annotations'][index], truth_masks[index]
        video = truth.videos[truth.video[position]]
        assert video.entry['id'] == entry['video_id']
        assert truth.category_ids[truth.category[position]] == entry['category_id']
        row = video.objects.tolist().index(position)
        sizes = [pixels(mask) for mask in masks]
        assert video.areas[row].tolist() == sizes
        assert [mask is None for mask in video.masks[row]] == [mask is None for mask in masks]
        shown = [frame for frame, size in enumerate(sizes) if size]
        assert truth.length[position] == len(shown)
        span = shown[-1] - shown[0] + 1 if shown else 1
        assert truth.hidden[position] == pytest.approx(1 - len(shown) / span if shown else 0)
        assert truth.area[position] == (sum(sizes) / len(shown) if shown else 0)
        assert not truth.crowd[position]


def test_no_tracks():
    content = random_scene(0)[0]
    for frame_by_frame in (False, True):
        tracks = measure_tracks(ground_truth(content), iter([]), frame_by_frame)
        assert len(tracks.video) == len(tracks.score) == len(tracks.area) == len(tracks.ious) == 0
        assert tracks.frames == ([] if frame_by_frame else None)


@pytest.mark.parametrize('pixels_of', [(300, 100, 100), (90, 60, 50), (150, 149, 100)])
def test_pairs_on_the_edge_of_what_is_left_out(pixels_of):
    # Two masks of these sizes and this overlap: x / (a + b - x), on both sides of 1/2.
    one, other, common = pixels_of
    masks = np.zeros((2, 16 * 32), bool)
    masks[0, :one] = True
    masks[1, one - common : one - common + other] = True
    masks = masks.reshape(2, 16, 32)
    pair = one_pair(*(encode(mask) for mask in masks))
    iou = common / (one + other - common)
    assert measure_tracks(*pair, True).ious[0].tolist() == [iou]
    fast = measure_tracks(*pair).ious[0].tolist()
    assert fast == [iou] or (fast == [0] and iou < 0.5)


def test_an_iou_of_exactly_one_half_is_not_left_out():
    # The smaller mask lies in the larger one: as much overlap as can be.
    for size in range(1, 450):
        runs = [0, 2 * size, 1000 - 2 * size], [0, size, 1000 - size]
        pair = one_pair(*({'size': [10, 100], 'counts': counts} for counts in runs))
        assert measure_tracks(*pair).ious[0].tolist() == [0.5]


class Masks(list):
    """A list whose life can be watched."""


def test_tracks_are_let_go_of_batch_by_batch(monkeypatch):
    monkeypatch.setattr('vispropnet.evaluation.overlaps._BATCH_MASKS', 20)
    content = random_scene(1)[0]
    mask = encode(np.ones((16, 16), bool), 'text')
    watched = []

    def results():
        for _ in range(60):
            masks = Masks([mask] * 5)
            watched.append(weakref.ref(masks))
            assert sum(one() is not None for one in watched) <= 6  # a batch of four, and this one
            yield {'video_id': 7, 'category_id': 4, 'score': 0.5, 'segmentations': masks}

    tracks = measure_tracks(ground_truth(content), results())
    assert tracks.area.tolist() == [256] * 60
    assert not any(one() is not None for one in watched)


# --- what does not fit ----------------------------------------------------------------------------

GOOD = {
    'video_id': 9,
    'category_id': 4,
    'score': 0.5,
    'segmentations': [None, {'size': [12, 17], 'counts': [200, 4]}, None],
}


def small_file():
    return annotation_file([{key: GOOD[key] for key in GOOD if key != 'score'}])


def cut_short(mask):
    rle = encode(mask)
    return {**rle, 'counts': rle['counts'][:-1]}


def with_mask(mask):
    return {'segmentations': [GOOD['segmentations'][1], None, mask]}


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'video_id': 8}, r'result entry 2: video_id 8 is not in the annotations\.'),
        ({'category_id': 5}, r'video 9, result entry 2: category_id 5 is not .* have 1, 4, 6, 8\.'),
        ({'score': float('nan')}, 'video 9, result entry 2: score must be a finite .* got nan'),
        ({'score': float('-inf')}, 'video 9, result entry 2: score must be a finite .* got -inf'),
        ({'segmentations': [None] * 4}, 'video 9, result entry 2: .*4 entries, but video 9 has 3'),
        ({'segmentations': None}, "video 9, result entry 2: 'segmentations' must be a list"),
        ({'video_id': 7}, 'video 7, result entry 2: .* has 3 entries, but video 7 has 5 frames'),
        *(
            (with_mask(mask), rf'video 9, result entry 2, frame 2 \(9/c.jpg\): {fault}')
            for mask, fault in [
                ({'size': [17, 12], 'counts': [200, 4]}, 'the mask is 12x17 pixels .* is 17x12'),
                ({'size': [12, 17], 'counts': [200, 5]}, "'counts' .* cover 204 .* cover 205"),
                ({'size': [12, 17], 'counts': '0'}, "'counts' of the RLE are damaged"),
                (cut_short(np.eye(12, 17)), "'counts' of the RLE are damaged"),
                ([[0, 0, 5, 0, 5, 5]], 'a mask must be null or an RLE'),
                ({'size': [12], 'counts': '0'}, "'size' of an RLE must be"),
            ]
        ),
    ],
)
@pytest.mark.parametrize('batch', [1, 10_000])
def test_tracks_that_do_not_fit(change, message, batch, monkeypatch):
    monkeypatch.setattr('vispropnet.evaluation.overlaps._BATCH_MASKS', batch)
    content = small_file()
    content['videos'][0]['file_names'] = ['9/a.jpg', '9/b.jpg', '9/c.jpg']
    results = [GOOD, GOOD, {**GOOD, **change}, GOOD]
    for frame_by_frame, given in itertools.product((False, True), (list, iter)):
        with pytest.raises(UserError, match=f'^{message}'):
            measure_tracks(ground_truth(content), given(results), frame_by_frame)


@pytest.mark.parametrize('key', ['video_id', 'category_id', 'score', 'segmentations'])
def test_a_key_that_is_missing(key):
    track = {name: value for name, value in GOOD.items() if name != key}
    with pytest.raises(UserError, match=f"^result entry 1: no key '{key}'"):
        measure_tracks(ground_truth(small_file()), [GOOD, track])


def test_an_object_that_does_not_fit():
    content = small_file()
    content['videos'][0]['file_names'] = ['9/a.jpg', '9/b.jpg', '9/c.jpg']
    content['annotations'].append({**content['annotations'][0], 'id': 31})
    content['annotations'][1]['segmentations'] = [None, {'size': [12, 17], 'counts': '0'}, None]
    where = r'annotations\[1\], annotation 31, video 9'
    with pytest.raises(UserError, match=rf"^{where}, frame 1 \(9/b.jpg\): 'counts' .* damaged"):
        ground_truth(content)
    content['annotations'][1]['segmentations'] = [None] * 2
    with pytest.raises(UserError, match=rf'^{where}: .*2 entries, but the video has 3 frames'):
        ground_truth(content)


@pytest.mark.parametrize('frame_by_frame', [False, True])
def test_videos_whose_length_and_size_the_file_does_not_say(frame_by_frame):
    content = small_file()
    for video in content['videos']:
        for key in ('length', 'height', 'width'):
            del video[key]
    # In a video without objects any number of frames goes.
    other = [{**GOOD, 'video_id': 2, 'segmentations': [None] * length} for length in (1, 4)]
    tracks = measure_tracks(ground_truth(content), [GOOD, *other], frame_by_frame)
    assert [iou.tolist() for iou in tracks.ious] == [[1], [], []]
    assert tracks.area.tolist() == [4, 0, 0]
    if frame_by_frame:
        assert [one[0].shape for one in tracks.frames] == [(1, 3), (0, 1), (0, 4)]
        assert [one[1].tolist() for one in tracks.frames] == [[0, 4, 0], [0], [0] * 4]
    with pytest.raises(UserError, match='result entry 1.* has 2 entries, but video 9 has 3 frames'):
        measure_tracks(ground_truth(content), [GOOD, {**GOOD, 'segmentations': [None] * 2}])


@pytest.mark.parametrize('frame_by_frame', [False, True])
def test_masks_of_unequal_size_where_the_file_does_not_say(frame_by_frame):
    content = small_file()
    for key in ('height', 'width'):
        del content['videos'][0][key]
    track = {**GOOD, **with_mask({'size': [17, 12], 'counts': [200, 4]})}
    with pytest.raises(UserError, match='result entry 0, frame 2: the mask is 12x17 pixels'):
        measure_tracks(ground_truth(content), [track], frame_by_frame)
    content['annotations'].append({**content['annotations'][0], **with_mask(None)})
    content['annotations'][1]['segmentations'][0] = {'size': [6, 34], 'counts': [200, 4]}
    with pytest.raises(UserError, match=r'annotations\[1\], .*, frame 0: the mask is 34x6 pixels'):
        ground_truth(content)
