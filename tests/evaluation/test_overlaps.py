"""Overlaps of tracks and objects, against decoded masks in loops."""

import copy
import itertools
import weakref

import numpy as np
import pytest

from tests.evaluation.content import decode, encode
from vispropnet.datasets.rle import examine_rles
from vispropnet.errors import UserError
from vispropnet.evaluation.ground_truth import ground_truth
from vispropnet.evaluation.overlaps import measure_tracks

BATCH_MASKS = 'vispropnet.evaluation.overlaps._BATCH_MASKS'
# Height, width and frames of each video; none is given in the order of its id.
VIDEOS = {9: (12, 17, 3), 2: (1, 30, 2), 5: (30, 1, 2), 3: (25, 20, 1), 7: (16, 16, 5)}
CATEGORIES = (4, 1, 6, 8)


def random_masks(rng, video_id):
    """Boxes or noise, empty, full or absent."""
    height, width, length = VIDEOS[video_id]
    top, left = rng.integers(0, height), rng.integers(0, width)
    masks = np.zeros((length, height, width), bool)
    kinds = rng.random(length)
    for mask, kind in zip(masks, kinds, strict=True):
        if kind < 0.5:
            mask[top : top + rng.integers(1, height + 1), left : left + rng.integers(1, 9)] = True
        elif kind < 0.7:
            mask[:] = rng.random(mask.shape) < rng.choice([0.02, 0.5, 0.9])
        elif kind < 0.75:
            mask[:] = True
    return [None if kind > 0.9 else mask for mask, kind in zip(masks, kinds, strict=True)]


def random_scene(seed):
    """An annotation file and results, with counts of all forms."""
    rng = np.random.default_rng(seed)
    truths, results = [], []

    def entry(video_id, category_id, masks, **more):
        rles = [encode(mask, rng.choice(['text', 'bytes', 'runs'])) for mask in masks]
        return dict(video_id=video_id, category_id=category_id, segmentations=rles, **more)

    for video_id in rng.choice(list(VIDEOS), 25).tolist():
        masks, category = random_masks(rng, video_id), int(rng.choice(CATEGORIES[:3]))
        if video_id != 3 and rng.random() < 0.5:
            truths.append(entry(video_id, category, masks))
        for _ in range(rng.integers(0, 3)):
            if rng.random() < 0.3:
                masks = random_masks(rng, video_id)
            results.append(entry(video_id, category, masks, score=rng.random()))
    # Something to score against, in a category of its own.
    truths.append(entry(9, 8, random_masks(rng, 9)))
    return annotation_file(truths), results


def annotation_file(truths):
    keys = ('id', 'height', 'width', 'length')
    videos = [dict(zip(keys, (one, *shape), strict=True)) for one, shape in VIDEOS.items()]
    categories = [{'id': category, 'name': f'n{category}'} for category in CATEGORIES]
    return {'videos': videos, 'categories': categories, 'annotations': truths}


def decoded(entry):
    empty = np.zeros(VIDEOS[entry['video_id']][:2], bool)
    return [empty if rle is None else decode(rle) for rle in entry['segmentations']]


def assert_measured(content, results, tracks, frame_by_frame):
    truth, reached = tracks.truth, 0
    assert (tracks.frames is not None) == frame_by_frame
    for index, result in enumerate(results):
        assert truth.videos[tracks.video[index]].entry['id'] == result['video_id']
        assert truth.category_ids[tracks.category[index]] == result['category_id']
        assert tracks.score[index] == result['score']
        masks = decoded(result)
        areas = [int(mask.sum()) for mask in masks]
        length = sum(area > 0 for area in areas)
        measured = tracks.length[index], tracks.area[index]
        assert measured == (length, sum(areas) / length if length else 0)
        # The objects of its video, in the order of the file.
        objects = [one for one in content['annotations'] if one['video_id'] == result['video_id']]
        assert tracks.ious[index].shape == (len(objects),)
        commons = []
        for iou, entry in zip(tracks.ious[index], objects, strict=True):
            pairs = list(zip(masks, decoded(entry), strict=True))
            commons.append([np.count_nonzero(one & other) for one, other in pairs])
            union = sum(np.count_nonzero(one | other) for one, other in pairs)
            wanted = sum(commons[-1]) / union if union else 0
            matters = entry['category_id'] == result['category_id'] and wanted >= 0.5
            reached += matters
            # In the fast mode pairs that decide nothing may be left out.
            assert iou == wanted or (iou == 0 and not frame_by_frame and not matters)
        if frame_by_frame:
            assert [one.tolist() for one in tracks.frames[index]] == [commons, areas]
            assert tracks.frames[index][0].shape == (len(objects), len(masks))
    assert len(tracks.ious) == len(results)
    assert reached >= 3


@pytest.mark.parametrize('frame_by_frame', [False, True])
@pytest.mark.parametrize('seed', range(8))
def test_equals_decoded_masks_in_loops(seed, frame_by_frame, monkeypatch):
    # From a batch per track to all at once.
    monkeypatch.setattr(BATCH_MASKS, (1, 9, 50, 10_000)[seed % 4])
    content, results = random_scene(seed)
    before = copy.deepcopy((content, results))
    tracks = measure_tracks(ground_truth(content), iter(results), frame_by_frame)
    assert_measured(content, results, tracks, frame_by_frame)
    assert (content, results) == before
    tracks = measure_tracks(ground_truth(content), iter([]), frame_by_frame)
    assert len(tracks.video) == len(tracks.score) == len(tracks.area) == len(tracks.ious) == 0
    assert tracks.frames == ([] if frame_by_frame else None)


def test_an_iou_of_exactly_one_half_is_not_left_out():
    # The smaller mask lies in the larger one: as much overlap as can be.
    video = {'id': 1, 'height': 10, 'width': 100, 'length': 1}
    content = {'videos': [video], 'categories': [{'id': 1}]}
    for size in range(1, 450):
        counts = [[0, many, 1000 - many] for many in (2 * size, size)]
        masks = [[{'size': [10, 100], 'counts': one}] for one in counts]
        larger, smaller = (dict(video_id=1, category_id=1, segmentations=one) for one in masks)
        truth = ground_truth({**content, 'annotations': [larger]})
        assert measure_tracks(truth, [{**smaller, 'score': 1}]).ious[0].tolist() == [0.5]


def test_tracks_are_let_go_of_batch_by_batch(monkeypatch):
    # Other than their bases, these can be referred to weakly.
    Masks, Rle = type('Masks', (list,), {}), type('Rle', (dict,), {})
    given, compressed = [], []

    def examine(masks, videos):
        rles, *rest = examine_rles(masks, videos)
        rles = [Rle(one) for one in rles]
        compressed.extend(map(weakref.ref, rles))
        return rles, *rest

    def results():
        for _ in range(60):
            masks = Masks([mask] * 5)
            given.append(weakref.ref(masks))
            assert sum(one() is not None for one in given) <= 6  # a batch of four, and this one
            assert sum(one() is not None for one in compressed) <= 1
            yield {'video_id': 7, 'category_id': 4, 'score': 0.5, 'segmentations': masks}

    monkeypatch.setattr(BATCH_MASKS, 20)
    monkeypatch.setattr('vispropnet.evaluation.overlaps.examine_rles', examine)
    mask = encode(np.ones((16, 16), bool))
    tracks = measure_tracks(ground_truth(random_scene(1)[0]), results())
    assert tracks.area.tolist() == [256] * 60
    assert len(given) == 60 and len(compressed) == 300


PLACE = {'video_id': 9, 'category_id': 4}
RLE = {'size': [12, 17], 'counts': [200, 4]}
GOOD = {**PLACE, 'score': 0.5, 'segmentations': [None, RLE, None]}


def small_file(*left_out):
    """A file with one object; its videos lack these keys, and without any, one has file names."""
    content = annotation_file([{**PLACE, 'segmentations': GOOD['segmentations']}])
    for video, key in itertools.product(content['videos'], left_out):
        del video[key]
    if not left_out:
        content['videos'][0]['file_names'] = ['9/a.jpg', '9/b.jpg', '9/c.jpg']
    return content


WHERE = 'video 9, result entry 2'
FRAME = WHERE + r', frame 2 \(9/c.jpg\)'
TURNED, CUT = {'size': [17, 12], 'counts': [200, 4]}, {'size': [12, 17], 'counts': '0'}


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        *(({key: ...}, f"result entry 2: no key '{key}'") for key in GOOD),
        ({'video_id': 8}, r'result entry 2: video_id 8 is not in the annotations\.'),
        ({'category_id': 5}, f'{WHERE}: category_id 5 is not .* have 1, 4, 6, 8'),
        ({'score': float('nan')}, f'{WHERE}: score must be a finite .* got nan'),
        ({'score': float('-inf')}, f'{WHERE}: score must be a finite .* got -inf'),
        ({'segmentations': [None] * 4}, f'{WHERE}: .*4 entries, but video 9 has 3'),
        ({'segmentations': None}, f"{WHERE}: 'segmentations' must be a list"),
        ({'video_id': 7}, 'video 7, result entry 2: .* has 3 entries, but video 7 has 5 frames'),
        # Of the faults of masks those that take a look at the video or at the counts.
        (dict(segmentations=[RLE, None, TURNED]), f'{FRAME}: the mask is 12x17 pixels .* is 17x12'),
        (dict(segmentations=[RLE, None, CUT]), f"{FRAME}: 'counts' of the RLE are damaged"),
    ],
)
@pytest.mark.parametrize('batch', [1, 10_000])
def test_tracks_that_do_not_fit(change, message, batch, monkeypatch):
    monkeypatch.setattr(BATCH_MASKS, batch)
    track = {key: value for key, value in {**GOOD, **change}.items() if value is not ...}
    results = [GOOD, GOOD, track, GOOD]
    for frame_by_frame, given in itertools.product((False, True), (list, iter)):
        with pytest.raises(UserError, match=f'^{message}'):
            measure_tracks(ground_truth(small_file()), given(results), frame_by_frame)


def test_an_object_that_does_not_fit():
    content, damaged = small_file(), [None, CUT, None]
    cut = r", frame 1 \(9/b.jpg\): 'counts' .* damaged"
    short = ': .*2 entries, but the video has 3 frames'
    for masks, fault in (damaged, cut), ([None] * 2, short):
        content['annotations'][1:] = [{**PLACE, 'id': 31, 'segmentations': masks}]
        with pytest.raises(UserError, match=rf'^annotations\[1\], annotation 31, video 9{fault}'):
            ground_truth(content)


def test_length_and_size_of_masks_agree_where_the_file_does_not_say_them():
    truth = ground_truth(small_file('length', 'height', 'width'))
    # In a video without objects any number of frames goes.
    other = [{**GOOD, 'video_id': 2, 'segmentations': [None] * length} for length in (1, 4)]
    tracks = measure_tracks(truth, [GOOD, *other], frame_by_frame=True)
    assert [iou.tolist() for iou in tracks.ious] == [[1], [], []]
    assert tracks.area.tolist() == [4, 0, 0]
    assert [one[0].shape for one in tracks.frames] == [(1, 3), (0, 1), (0, 4)]
    assert [one[1].tolist() for one in tracks.frames] == [[0, 4, 0], [0], [0] * 4]
    with pytest.raises(UserError, match='result entry 1.* has 2 entries, but video 9 has 3 frames'):
        measure_tracks(truth, [GOOD, {**GOOD, 'segmentations': [None] * 2}])
    content = small_file('height', 'width')
    with pytest.raises(UserError, match='result entry 0, frame 2: the mask is 12x17 pixels'):
        measure_tracks(ground_truth(content), [{**GOOD, 'segmentations': [RLE, None, TURNED]}])
    masks = [{'size': [6, 34], 'counts': [200, 4]}, None, None]
    content['annotations'].append({**PLACE, 'segmentations': masks})
    with pytest.raises(UserError, match=r'annotations\[1\], .*, frame 0: the mask is 34x6 pixels'):
        ground_truth(content)


def test_a_category_that_counts_and_that_the_file_lacks_is_named_by_its_id():
    content = random_scene(1)[0]
    known = {one['id']: one['name'] for one in content['categories']}
    truth = ground_truth(content, categories={**{one: one for one in known}, 99: 99})
    assert truth.category_ids == sorted([*known, 99])
    assert truth.category_names == [known.get(one, '99') for one in truth.category_ids]
