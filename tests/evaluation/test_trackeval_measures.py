import importlib.util
import sys

import numpy as np
import pytest

from tests.evaluation.content import annotation_file, encode
from tests.evaluation.content import track as track_of
from vispropnet.errors import UserError
from vispropnet.evaluation.ground_truth import ground_truth
from vispropnet.evaluation.overlaps import measure_tracks
from vispropnet.evaluation.trackeval_measures import (
    HOTA_NAMES,
    IDENTITY_NAMES,
    INSTALL_COMMAND,
    scored_sequences,
    sequence_data,
    tracking_measures,
)

needs_trackeval = pytest.mark.skipif(
    importlib.util.find_spec('trackeval') is None,
    reason=f'TrackEval is not installed: {INSTALL_COMMAND}',
)

HEIGHT, WIDTH, LENGTH = 8, 10, 4
CATEGORIES = (5, 6, 9)
NAMES = HOTA_NAMES + IDENTITY_NAMES
ALL_NAMES = (*NAMES, *(f'{name}_pooled' for name in NAMES))


def rows(*counts, offset=0):
    """A frame per argument, whose mask is that many pixels, row by row from ``offset`` on."""
    masks = np.zeros((len(counts), HEIGHT, WIDTH), bool)
    for mask, count in zip(masks, counts, strict=True):
        mask.reshape(-1)[offset : offset + count] = True
    return masks


def track(masks, video_id=1, category_id=5, score=0.9, **more):
    rles = [encode(mask) if mask.any() else None for mask in masks]
    return {**track_of(video_id, category_id, score, rles), **more}


def truth(masks, video_id=1, category_id=5, iscrowd=0):
    return track(masks, video_id, category_id, iscrowd=iscrowd)


def measured(truths, results, frame_by_frame=True):
    size = HEIGHT, WIDTH
    content = annotation_file(dict.fromkeys((1, 2, 3), LENGTH), truths, CATEGORIES, size)
    return measure_tracks(ground_truth(content), results, frame_by_frame)


def check(truths, results, **expected):
    values = tracking_measures(measured(truths, results))
    assert {name: values[name] for name in expected} == pytest.approx(expected)


FULL, NEVER, MOSTLY = rows(9, 9, 9, 9), rows(0, 0, 0, 0), rows(9, 9, 9, 0)


def random_masks(rng):
    """Rectangles that keep to one half of the picture, so that many overlap; some are empty."""
    masks = np.zeros((LENGTH, HEIGHT, WIDTH), bool)
    left = int(rng.integers(2)) * WIDTH // 2
    for mask in masks:
        if rng.random() < 0.75:
            top, height, width = rng.integers((0, 3, 3), (3, HEIGHT - 2, WIDTH // 2 + 1))
            mask[top : top + height, left : left + width] = True
    return masks


def laid_out_by_hand(objects, crowds, tracks):
    """Numbers of objects and tracks; ids and IoUs by frame; all from masks (T, H, W) bool."""
    kept = [masks.copy() for masks in tracks]
    for frame, mask in (pair for masks in kept for pair in enumerate(masks)):
        ious = [iou_of(mask, one[frame]) for one in objects]
        on_crowd = any((mask & one[frame]).sum() > mask.sum() / 2 for one in crowds)
        if on_crowd and max(ious, default=0) < 0.5:
            mask[:] = False
    both = [[masks for masks in some if masks.any()] for some in (objects, kept)]
    frames = []
    for frame in range(LENGTH):
        shown = [[one[frame] for one in some] for some in both]
        truth_ids, ids = ([index for index, one in enumerate(some) if one.any()] for some in shown)
        ious = [iou_of(shown[0][one], shown[1][other]) for one in truth_ids for other in ids]
        frames.append((truth_ids, ids, np.reshape(ious, (len(truth_ids), len(ids)))))
    return *map(len, both), frames


def iou_of(one, other):
    return (one & other).sum() / max((one | other).sum(), 1)


@pytest.mark.parametrize('seed', range(8))
def test_data_against_decoded_masks(seed):
    rng = np.random.default_rng(seed)
    amounts = rng.integers(0, 5, 3)
    objects, crowds, own = ([random_masks(rng) for _ in range(amount)] for amount in amounts)
    # Who never shows takes no number.
    objects, own = [NEVER, *objects], [NEVER, *own]
    # Objects, a crowd and a track of another category must not matter, and stand in between.
    other = random_masks(rng) | rows(1, 1, 1, 1)
    truths = [
        truth(other, category_id=6),
        *(truth(masks, video_id=2) for masks in objects),
        truth(other, video_id=2, category_id=9, iscrowd=1),
        *(truth(masks, video_id=2, iscrowd=1) for masks in crowds),
        truth(other, video_id=2, category_id=6),
    ]
    results = [track(other, 2, 6), *(track(masks, 2) for masks in own)]
    data = sequence_data(measured(truths, results), 0, 1, range(1, len(results)))
    count, track_count, frames = laid_out_by_hand(objects, crowds, own)
    wanted = dict(num_timesteps=LENGTH, num_gt_ids=count, num_tracker_ids=track_count)
    wanted['num_gt_dets'] = sum(len(truth_ids) for truth_ids, _, _ in frames)
    wanted['num_tracker_dets'] = sum(len(ids) for _, ids, _ in frames)
    assert {key: data[key] for key in wanted} == wanted
    # Empty ids, too, have to serve as indices.
    kinds = {'gt_ids': int, 'tracker_ids': int, 'similarity_scores': float}
    for (key, kind), expected in zip(kinds.items(), zip(*frames, strict=True), strict=True):
        for found, values in zip(data[key], expected, strict=True):
            np.testing.assert_array_equal(found, values)
            assert (found.shape, found.dtype) == (np.shape(values), kind)


def test_masks_on_a_crowd():
    def shown(truths, masks):
        data = sequence_data(measured(truths, [track(masks)]), 0, 0, [0])
        return [len(ids) for ids in data['tracker_ids']]

    # The object covers pixels 0 to 9, the crowd 10 to 39.
    truths = [truth(rows(10, 10, 10, 10)), truth(rows(*[30] * 4, offset=10), iscrowd=1)]
    # 6 of 11 on the crowd; half, which is not most of it; also IoU 0.5; and nowhere near.
    masks = [*rows(11, 10, offset=5), *rows(20), *rows(10, offset=60)]
    assert shown(truths, masks) == [0, 1, 1, 1]
    # Mostly on the crowd all the time, but it meets the object at 20 / 29, 20 / 40 and 20 / 41.
    truths = [truth(rows(20, 20, 20, 20)), truth(rows(*[60] * 4, offset=6), iscrowd=1)]
    assert shown(truths, rows(29, 40, 41, 41)) == [1, 1, 0, 0]


def test_sequences_and_tracks_that_are_let_in():
    truths = [
        truth(FULL),
        truth(rows(0, 9, 0, 0), video_id=2),
        truth(NEVER, category_id=6),  # never shows: of no use
        truth(FULL, category_id=9, iscrowd=1),
    ]
    results = [
        track(rows(1, 1, 0, 0), score=0.3),
        track(rows(1, 1, 1, 1), score=0.29),
        track(rows(1, 1, 1, 1), category_id=6),
        track(rows(0, 1, 0, 0), video_id=3),
    ]
    ((category, videos),) = scored_sequences(measured(truths, results), 0.3).items()
    keys = ('num_gt_dets', 'num_tracker_dets', 'num_tracker_ids')
    counts = {video: [data[key] for key in keys] for video, data in videos.items()}
    assert (category, counts) == (0, {0: [4, 2, 1], 1: [1, 0, 0], 2: [0, 1, 1]})


@needs_trackeval
def test_measures_by_hand():
    # Perfect tracks, in another order.
    masks = rows(20, 30, 0, 7), rows(0, 7, 9, 0, offset=40), rows(40, 0, 1, 80)
    found = [(masks[0], 1, 5), (masks[1], 1, 5), (masks[2], 3, 9)]
    truths, results = [truth(*one) for one in found], [track(*one) for one in found]
    values = tracking_measures(measured(truths, results[::-1]))
    assert values == pytest.approx(dict.fromkeys(ALL_NAMES, 1.0))
    assert tuple(values) == ALL_NAMES
    # Identities switch, two of four frames each. Per mask: 2 with this pair of identities, 2 more
    # of the object.
    parts = [track(rows(9, 9, 0, 0)), track(rows(0, 0, 9, 9))]
    wanted = dict(HOTA=np.sqrt(0.5), DetA=1, AssA=0.5, DetRe=1, DetPr=1, AssRe=0.5, AssPr=1)
    check([truth(FULL)], parts, **wanted, IDF1=0.5, IDP=0.5, IDR=0.5)
    # Videos count together: 3 masks found in video 1, 1 missed in video 2, 2 false ones in video 3.
    truths = [truth(MOSTLY), truth(rows(0, 9, 0, 0), video_id=2)]
    wanted = dict(HOTA=np.sqrt(0.5), DetA=0.5, AssA=1, DetRe=3 / 4, DetPr=3 / 5)
    wanted |= dict(IDF1=2 / 3, IDP=3 / 5, IDR=3 / 4)
    # Of a single category, the same when pooled.
    wanted |= {f'{name}_pooled': value for name, value in wanted.items()}
    check(truths, [track(MOSTLY), track(rows(9, 9, 0, 0), video_id=3)], **wanted)
    # Category 5: 3 masks, found. Category 6: 1 mask, taken for category 9, of which there is none.
    last = rows(0, 0, 0, 9)
    pooled = dict(HOTA=np.sqrt(0.75), DetA=0.75, AssA=1, IDF1=3 / 3.5, IDP=1, IDR=0.75)
    wanted = dict.fromkeys(NAMES, 0.5) | {f'{name}_pooled': pooled[name] for name in pooled}
    check([truth(MOSTLY), truth(last, 1, 6)], [track(MOSTLY), track(last, 1, 9)], **wanted)


@needs_trackeval
def test_score_threshold_and_nothing_to_score():
    tracks = measured([truth(FULL)], [track(FULL, score=0.3), track(FULL, score=0.25)])
    assert tracking_measures(tracks)['HOTA'] == pytest.approx(1)
    # The second track is false: half of the masks.
    values = tracking_measures(tracks, 0.25)
    assert (values['HOTA'], values['IDP']) == pytest.approx((np.sqrt(0.5), 0.5))
    assert tracking_measures(tracks, 0.31) == dict.fromkeys(ALL_NAMES, 0)
    check([truth(FULL)], [track(NEVER)], **dict.fromkeys(ALL_NAMES, 0))
    # No object shows, so there is nothing to find.
    check([truth(NEVER)], [track(FULL)], **dict.fromkeys(ALL_NAMES, -1))


@needs_trackeval
@pytest.mark.filterwarnings('error')
def test_it_is_quiet_without_tabulate(monkeypatch, capsys):
    # Importing TrackEval without it prints a line.
    for name in [name for name in sys.modules if name.partition('.')[0] == 'trackeval']:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, 'tabulate', None)
    check([truth(FULL), truth(NEVER)], [track(FULL)], HOTA=1)
    assert capsys.readouterr() == ('', '')


def test_without_trackeval_or_frames_it_says_what_to_do(monkeypatch):
    with pytest.raises(ValueError, match='frame_by_frame=True'):
        tracking_measures(measured([truth(FULL)], [], frame_by_frame=False))
    monkeypatch.setitem(sys.modules, 'trackeval', None)
    monkeypatch.setitem(sys.modules, 'trackeval.metrics', None)
    install = r'pip install --no-deps trackeval==1\.3\.0 tabulate==0\.10\.0'
    with pytest.raises(UserError, match=f'(?s)computed by TrackEval.*{install}'):
        tracking_measures(measured([truth(FULL)], []))
