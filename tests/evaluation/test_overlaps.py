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


def pixels(mask):
    return 0 if mask is None else int(mask.sum())


def in_common(one, other):
    if one is None or other is None:
        return 0
    return sum(bool(a) and bool(b) for a, b in zip(one.ravel(), other.ravel(), strict=True))


def row_of(masks):
    """The frames where a track shows and its mean area over them."""
    shown = [frame for frame, mask in enumerate(masks) if pixels(mask)]
    return shown, sum(map(pixels, masks)) / len(shown) if shown else 0


def assert_measured(content, results, truth_masks, track_masks, tracks, frame_by_frame):
    truth = tracks.truth
    assert [video.entry['id'] for video in truth.videos] == sorted(VIDEOS)
    assert truth.category_ids == sorted((*CATEGORIES, 8))
    assert len(tracks.ious) == len(results)
    assert (tracks.frames is not None) == frame_by_frame
    reached = 0
    for index, (result, masks) in enumerate(zip(results, track_masks, strict=True)):
        assert truth.videos[tracks.video[index]].entry['id'] == result['video_id']
        assert truth.category_ids[tracks.category[index]] == result['category_id']
        assert tracks.score[index] == result['score']
        sizes = [pixels(mask) for mask in masks]
        shown, area = row_of(masks)
        assert (tracks.length[index], tracks.area[index]) == (len(shown), area)
        # The objects of its video, in the order of the file.
        objects = [
            (entry, other)
            for entry, other in zip(content['annotations'], truth_masks, strict=True)
            if entry['video_id'] == result['video_id']
        ]
        assert tracks.ious[index].shape == (len(objects),)
        for column, (entry, other) in enumerate(objects):
            common = [in_common(a, b) for a, b in zip(masks, other, strict=True)]
            union = sum(sizes) + sum(map(pixels, other)) - sum(common)
            iou = sum(common) / union if union else 0
            matters = entry['category_id'] == result['category_id'] and iou >= 0.5
            reached += matters
            measured = tracks.ious[index][column]
            # In the fast mode pairs that decide nothing may be left out.
            assert measured == iou or (measured == 0 and not frame_by_frame and not matters)
            if frame_by_frame:
                assert tracks.frames[index][0][column].tolist() == common
        if frame_by_frame:
            assert tracks.frames[index][1].tolist() == sizes
            assert tracks.frames[index][0].shape == (len(objects), len(masks))
    assert reached >= 3


@pytest.mark.parametrize('frame_by_frame', [False, True])
@pytest.mark.parametrize('seed', range(8))
def test_equals_decoded_masks_in_loops(seed, frame_by_frame, monkeypatch):
    content, results, truth_masks, track_masks = random_scene(seed)
    # From a batch per track to all at once.
    monkeypatch.setattr('vispropnet.evaluation.overlaps._BATCH_MASKS', (1, 9, 50, 10_000)[seed % 4])
    before = copy.deepcopy((content, results))
    tracks = measure_tracks(ground_truth(content), iter(results), frame_by_frame)
    assert_measured(content, results, truth_masks, track_masks, tracks, frame_by_frame)
    assert (content, results) == before


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
        assert video.areas[row].tolist() == [pixels(mask) for mask in masks]
        assert [mask is None for mask in video.masks[row]] == [mask is None for mask in masks]
        shown, area = row_of(masks)
        assert (truth.length[position], truth.area[position]) == (len(shown), area)
        hidden = 1 - len(shown) / (shown[-1] - shown[0] + 1) if shown else 0
        assert truth.hidden[position] == pytest.approx(hidden)
        assert not truth.crowd[position]


def test_no_tracks():
    content = random_scene(0)[0]
    for frame_by_frame in (False, True):
        tracks = measure_tracks(ground_truth(content), iter([]), frame_by_frame)
        assert len(tracks.video) == len(tracks.score) == len(tracks.area) == len(tracks.ious) == 0
        assert tracks.frames == ([] if frame_by_frame else None)


def test_an_iou_of_exactly_one_half_is_not_left_out():
    # The smaller mask lies in the larger one: as much overlap as can be.
    place = {'video_id': 1, 'category_id': 1}
    video = {'id': 1, 'height': 10, 'width': 100, 'length': 1}
    for size in range(1, 450):
        larger, smaller = (
            {**place, 'segmentations': [{'size': [10, 100], 'counts': [0, many, 1000 - many]}]}
            for many in (2 * size, size)
        )
        content = {'videos': [video], 'categories': [{'id': 1}], 'annotations': [larger]}
        tracks = measure_tracks(ground_truth(content), [{**smaller, 'score': 1}])
        assert tracks.ious[0].tolist() == [0.5]


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
    content = annotation_file([{key: GOOD[key] for key in GOOD if key != 'score'}])
    content['videos'][0]['file_names'] = ['9/a.jpg', '9/b.jpg', '9/c.jpg']
    return content


def small_file_without(*keys):
    """Its videos without these keys and file names."""
    content = small_file()
    for video in content['videos']:
        for key in (*keys, 'file_names'):
            video.pop(key, None)
    return content


def with_mask(mask):
    return {'segmentations': [GOOD['segmentations'][1], None, mask]}


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        *(({key: ...}, f"result entry 2: no key '{key}'") for key in GOOD),
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
    track = {key: value for key, value in {**GOOD, **change}.items() if value is not ...}
    results = [GOOD, GOOD, track, GOOD]
    for frame_by_frame, given in itertools.product((False, True), (list, iter)):
        with pytest.raises(UserError, match=f'^{message}'):
            measure_tracks(ground_truth(content), given(results), frame_by_frame)


def test_an_object_that_does_not_fit():
    content = small_file()
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
    content = small_file_without('length', 'height', 'width')
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
    content = small_file_without('height', 'width')
    track = {**GOOD, **with_mask({'size': [17, 12], 'counts': [200, 4]})}
    with pytest.raises(UserError, match='result entry 0, frame 2: the mask is 12x17 pixels'):
        measure_tracks(ground_truth(content), [track], frame_by_frame)
    content['annotations'].append({**content['annotations'][0], **with_mask(None)})
    content['annotations'][1]['segmentations'][0] = {'size': [6, 34], 'counts': [200, 4]}
    with pytest.raises(UserError, match=r'annotations\[1\], .*, frame 0: the mask is 34x6 pixels'):
        ground_truth(content)
