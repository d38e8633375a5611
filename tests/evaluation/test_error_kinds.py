"""Each kind of error is planted alone into perfect results, and must be told as what it is."""

import numpy as np
import pytest

from tests.evaluation.content import annotation_file, encode, matched
from tests.evaluation.content import track as track_of
from tests.evaluation.strips import random_case
from vispropnet.evaluation.average_precision import evaluate_tracks
from vispropnet.evaluation.error_kinds import (
    KINDS,
    _precisions,
    classify_errors,
    error_gains,
    worst_videos,
)

HEIGHT, WIDTH, FRAMES = 24, 60, 10
LEFT, MIDDLE, RIGHT = 0, 20, 40


def box(left, top=5):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[top : top + 10, left : left + 10] = True
    return encode(mask)


def always(left, **shape):
    return [box(left, **shape)] * FRAMES


def pieces(*parts):
    """Boxes that are so far left, None for no box, for so many frames each."""
    return sum(([None if left is None else box(left)] * count for left, count in parts), [])


def track(masks, score, category=1, video=1):
    return track_of(video, category, score, masks)


def scene(*objects, videos=(1,)):
    """An annotation file; each object is (video, category, masks) or (..., masks, iscrowd)."""
    return annotation_file(dict.fromkeys(videos, FRAMES), objects, (1, 2), (HEIGHT, WIDTH))


TWO = scene((1, 1, always(LEFT)), (1, 1, always(RIGHT)))
TWO_CATEGORIES = scene((1, 1, always(LEFT)), (1, 2, always(RIGHT)))
FIRST, SECOND = track(always(LEFT), 0.9), track(always(RIGHT), 0.6)
SHIFTED = track(always(RIGHT + 4), 0.5), track(always(RIGHT + 5), 0.95)
MERGED = track(pieces((LEFT, 6), (RIGHT, 4)), 0.9)
SPLIT = track(pieces((LEFT, 7), (None, 3)), 0.9), track(pieces((None, 7), (LEFT, 3)), 0.8)


def analysed(content, results):
    matches = matched(content, results, frame_by_frame=True)
    errors = classify_errors(matches)
    return matches, errors, error_gains(matches, errors)


def levels(*kinds):
    """Positions of the kinds at the ten thresholds, from (kind or None, how many) pairs."""
    return sum(([KINDS.index(one) if one else -1] * count for one, count in kinds), [])


@pytest.mark.parametrize(
    ('content', 'results', 'gains'),
    [
        pytest.param(TWO, [FIRST, SECOND], {}, id='perfect'),
        # Category 1: found, then a false one: AP 1. Category 2: not found: AP 0. So mAP 0.5.
        (TWO_CATEGORIES, [FIRST, track(always(RIGHT), 0.6)], {'category': 0.5}),
        # Shifted by 2 columns of 10: IoU 8 / 12 = 0.667. Found up to 0.65. From 0.70 on, at 6 of 10
        # thresholds, half is found: 51 of 101 recalls.
        (TWO, [FIRST, track(always(RIGHT + 2), 0.6)], {'masks': 0.6 * 50 / 101}),
        # Of several false tracks the best is mended, and finds the object before the other object's
        # track; the others go.
        (TWO, [FIRST, *SHIFTED], {'masks': 1 - 51 / 2 / 101}),
        # Identities switch: six frames of ten on the own object.
        (TWO, [MERGED, track(pieces((RIGHT, 6), (LEFT, 4)), 0.6)], {'linking': 1}),
        # A split track. IoU 0.7 and 0.3. Up to 0.70: true, false, true: 51 recalls at 1 and 50 at
        # 2/3. Above: false, false, true: 51 recalls at 1/3.
        (TWO, [*SPLIT, SECOND], {'linking': 1 - (5 * (51 + 50 * 2 / 3) + 5 * 51 / 3) / 101 / 10}),
        # A merged track; the object that it means less is missed, but finding it gains nothing.
        (TWO, [MERGED], {'linking': 51 / 101}),
        # On the object in 4 of 10 frames, with IoU 5 / 15: mending one thing alone would not do.
        (TWO, [track(pieces((LEFT + 5, 4), (None, 6)), 0.9), SECOND], {'both': 1 - 51 / 2 / 101}),
        (TWO_CATEGORIES, [FIRST, track(always(RIGHT + 5), 0.6)], {'category_and_overlap': 0.5}),
        # True, false, true: 51 recalls at 1, 50 at 2/3.
        (TWO, [FIRST, SECOND, track(always(LEFT), 0.8)], {'duplicate': 50 / 3 / 101}),
        *(
            (TWO, [FIRST, SECOND, track(masks, 0.8)], {'background': 50 / 3 / 101})
            for masks in (
                always(MIDDLE),
                pieces((LEFT, 1), (MIDDLE, 2), (None, 7)),  # in one of three, IoU 100 / 1200
                pieces((MIDDLE, 9), (LEFT, 1)),  # on an object in one frame of ten
                always(LEFT, top=14),  # touches an object: IoU 10 / 190 in every frame
            )
        ),
        # 51 of 101 recalls; and a category that keeps its place in the mean.
        (TWO, [FIRST], {'missed': 50 / 101}),
        (TWO_CATEGORIES, [FIRST], {'missed': 0.5}),
    ],
)
def test_a_kind_of_error_by_itself(content, results, gains):
    found = {kind: gain['AP'] for kind, gain in analysed(content, results)[2].items()}
    assert found == pytest.approx({**dict.fromkeys(KINDS, 0.0), **gains}, abs=1e-9)


def test_counts_and_gains_at_one_half():
    perfect = analysed(TWO, [FIRST, SECOND])[2]
    assert perfect == dict.fromkeys(KINDS, dict(AP=0.0, AP50=0.0, count=0))
    _, errors, gains = analysed(TWO, [])
    assert errors.missed.all()
    assert gains['missed'] == dict(AP=1.0, AP50=1.0, count=2)
    # Errors that are none at 0.5.
    _, errors, gains = analysed(TWO, [FIRST, track(always(RIGHT + 2), 0.6)])
    assert (gains['masks']['AP50'], gains['masks']['count']) == (0, 0)
    assert errors.kind[:, 1].tolist() == levels((None, 4), ('masks', 6))
    assert errors.target[-1].tolist() == [-1, 1]


def test_kinds_by_threshold():
    # In 8 of 10 frames, with masks of IoU 9 / 11. IoU: 720 / (8 * 110 + 200) = 0.667. With masks
    # mended 0.8, with linking mended 0.818: up to 0.80 the better one names the error.
    _, errors, _ = analysed(TWO, [track(pieces((LEFT + 1, 8), (None, 2)), 0.9), SECOND])
    assert errors.kind[:, 0].tolist() == levels((None, 4), ('linking', 3), ('both', 3))
    # One frame of ten: IoU 0.1 at most, but as all of it is on the object it is no background; with
    # linking mended 9 / 11.
    _, errors, _ = analysed(TWO, [FIRST, SECOND, track(pieces((LEFT + 1, 1), (None, 9)), 0.8)])
    assert errors.kind[:, 2].tolist() == levels(('linking', 7), ('both', 3))
    assert (errors.target[:, 2] == 0).all()
    # Of a merged track the object that it means less is missed; one that it means is not.
    _, errors, gains = analysed(TWO, [MERGED])
    assert errors.missed.tolist() == [[False, True]] * 10
    assert gains['missed']['count'] == 1
    _, errors, gains = analysed(TWO, [FIRST, track(always(RIGHT + 5), 0.6)])
    assert gains['missed']['count'] == 0 and not errors.missed.any()
    # A track is linked to the object that it overlaps most. IoU 1/10 with that of the other
    # category; with the own one it is 1/3 in that frame only.
    content = scene((1, 1, always(LEFT)), (1, 2, always(LEFT + 5)))
    _, errors, _ = analysed(content, [track(pieces((LEFT, 1), (None, 9)), 0.8, category=2)])
    assert errors.kind[:, 0].tolist() == levels(('category_and_overlap', 10))
    # Crowds are no errors. The second reaches 0.667; above, it lies on nothing to be found.
    content = scene((1, 1, always(LEFT)), (1, 1, always(RIGHT)), (1, 1, always(MIDDLE), True))
    results = [FIRST, SECOND, track(always(MIDDLE), 0.8), track(always(MIDDLE + 2), 0.7)]
    _, errors, _ = analysed(content, results)
    assert (errors.kind[:, 2] == -1).all()
    assert errors.kind[:, 3].tolist() == levels((None, 4), ('background', 6))


@pytest.mark.parametrize('seed', range(6))
def test_metrics_agree_with_the_evaluator(seed):
    content, results = random_case(seed)
    matches, errors, gains = analysed(content, results)
    metrics = evaluate_tracks(content, results)
    # Without mending the same AP as the evaluator's, and no kind can lift it above 1.
    assert _precisions(matches, errors, None).mean() == pytest.approx(metrics['AP'])
    assert metrics['AP'] + max(gain['AP'] for gain in gains.values()) <= 1 + 1e-9
    # Every false track is of one kind.
    assert ((errors.kind >= 0) == matches.false[0]).all()


def test_worst_videos(monkeypatch):
    monkeypatch.setattr('vispropnet.evaluation.error_kinds._VIDEOS_AT_ONCE', 2)
    objects = *((video, 1, always(LEFT)) for video in (1, 2, 3)), (3, 1, always(RIGHT))
    found = (LEFT, 0.9, 1), (MIDDLE, 0.8, 2), (LEFT, 0.7, 3), (RIGHT, 0.6, 3)
    results = [track(always(left), score, video=video) for left, score, video in found]
    worst = worst_videos(*analysed(scene(*objects, videos=(3, 1, 2)), results)[:2])
    # All: true, false, true, true of 4 objects. Recalls to 0.25 at 1, to 0.75 at 3/4. Without video
    # 2 all is found. Without video 3: true, false of 2. Without video 1: false, true, true of 3.
    plain = (26 + 50 * 3 / 4) / 101
    gains = [1 - plain, 51 / 101 - plain, 67 * 2 / 3 / 101 - plain]
    assert [one['video_id'] for one in worst] == [2, 3, 1]
    assert [one['gain'] for one in worst] == pytest.approx(gains)
    wanted = dict(name='v2', objects=1, found=0)
    wanted['errors'] = {**dict.fromkeys(KINDS, 0), 'background': 1, 'missed': 1}
    assert {key: worst[0][key] for key in wanted} == wanted
    assert (worst[1]['objects'], worst[1]['found']) == (2, 2)
