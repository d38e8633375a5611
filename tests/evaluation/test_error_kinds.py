"""Each kind of error is planted alone into perfect results, and must be told as what it is."""

import numpy as np
import pytest

from tests.evaluation.content import annotation_file, encode, matched
from tests.evaluation.content import track as track_of
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


def box(left, width=10, top=5, height=10):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[top : top + height, left : left + width] = True
    return encode(mask)


def always(left, **shape):
    return [box(left, **shape)] * FRAMES


def track(masks, score, category=1, video=1):
    return track_of(video, category, score, masks)


def scene(*objects, videos=(1,)):
    """An annotation file; each object is (video, category, masks) or (..., masks, iscrowd)."""
    return annotation_file(dict.fromkeys(videos, FRAMES), objects, (1, 2), (HEIGHT, WIDTH))


TWO = scene((1, 1, always(LEFT)), (1, 1, always(RIGHT)))
BOTH_FOUND = [track(always(LEFT), 0.9), track(always(RIGHT), 0.6)]


def analysed(content, results):
    matches = matched(content, results, frame_by_frame=True)
    errors = classify_errors(matches)
    return matches, errors, error_gains(matches, errors)


def gains_of(content, results):
    return {kind: gain['AP'] for kind, gain in analysed(content, results)[2].items()}


def only(**gains):
    """These gains, and none of the other kinds."""
    return pytest.approx({**dict.fromkeys(KINDS, 0.0), **gains}, abs=1e-9)


def test_perfect_results_have_no_errors():
    matches, errors, gains = analysed(TWO, BOTH_FOUND)
    assert (errors.kind == -1).all()
    assert not errors.missed.any()
    assert gains == {kind: dict(AP=0.0, AP50=0.0, count=0) for kind in KINDS}


def test_nothing_found_is_missed():
    _, errors, gains = analysed(TWO, [])
    assert errors.missed.all()
    assert gains['missed'] == dict(AP=1.0, AP50=1.0, count=2)


def test_wrong_category():
    content = scene((1, 1, always(LEFT)), (1, 2, always(RIGHT)))
    results = [track(always(LEFT), 0.9), track(always(RIGHT), 0.6, category=1)]
    # Category 1: found, then a false one: AP 1. Category 2: not found: AP 0. So mAP 0.5.
    assert gains_of(content, results) == only(category=0.5)


def test_poor_masks():
    # Shifted by 2 columns of 10: IoU 8 / 12 = 0.667.
    results = [track(always(LEFT), 0.9), track(always(RIGHT + 2), 0.6)]
    matches, errors, gains = analysed(TWO, results)
    # Found up to 0.65. From 0.70 on, at 6 of 10 thresholds, half is found: 51 of 101 recalls.
    assert gains['masks']['AP'] == pytest.approx(0.6 * 50 / 101)
    assert {kind: gain['AP'] for kind, gain in gains.items()} == only(masks=0.6 * 50 / 101)
    assert gains['masks']['AP50'] == 0 and gains['masks']['count'] == 0
    assert errors.kind[:, 1].tolist() == [-1] * 4 + [KINDS.index('masks')] * 6
    assert errors.target[-1].tolist() == [-1, 1]


def test_identity_switch_is_poor_linking():
    swapped = [
        track([box(LEFT)] * 5 + [box(RIGHT)] * 5, 0.9),
        track([box(RIGHT)] * 5 + [box(LEFT)] * 5, 0.6),
    ]
    # IoU of each with each object: 500 / 1500. The ends are mended, not the start: one object is
    # told for each, since the first object with the highest IoU is meant by both.
    _, errors, gains = analysed(TWO, swapped)
    assert (errors.kind == KINDS.index('linking')).all()
    assert gains['linking']['count'] == 2
    assert gains['background'] == gains['duplicate'] == dict(AP=0.0, AP50=0.0, count=0)
    # Six frames of ten on the own object: each means another one, and mending gives all.
    swapped = [
        track([box(LEFT)] * 6 + [box(RIGHT)] * 4, 0.9),
        track([box(RIGHT)] * 6 + [box(LEFT)] * 4, 0.6),
    ]
    assert gains_of(TWO, swapped) == only(linking=1.0)


def test_split_track_is_poor_linking():
    parts = [
        track([box(LEFT)] * 7 + [None] * 3, 0.9),
        track([None] * 7 + [box(LEFT)] * 3, 0.8),
        BOTH_FOUND[1],
    ]
    # IoU 0.7 and 0.3. Up to 0.70: true, false, true: 51 recalls at 1 and 50 at 2/3. Above: false,
    # false, true: 51 recalls at 1/3.
    plain = (5 * (51 + 50 * 2 / 3) / 101 + 5 * 51 / 3 / 101) / 10
    assert evaluate_tracks(TWO, parts)['AP'] == pytest.approx(plain)
    assert gains_of(TWO, parts) == only(linking=1 - plain)


def test_merged_track_is_poor_linking_and_a_missed_object():
    merged = [track([box(LEFT)] * 6 + [box(RIGHT)] * 4, 0.9)]
    assert gains_of(TWO, merged) == pytest.approx(
        {**dict.fromkeys(KINDS, 0.0), 'linking': 51 / 101}, abs=1e-9
    )
    _, errors, gains = analysed(TWO, merged)
    assert errors.missed[:, 1].all() and not errors.missed[:, 0].any()
    assert gains['missed']['count'] == 1


def test_masks_and_linking_both_poor():
    # On the object in 4 of 10 frames, with IoU 5 / 15: neither alone would do.
    masks = [box(LEFT + 5)] * 4 + [None] * 6
    assert gains_of(TWO, [track(masks, 0.9), BOTH_FOUND[1]]) == only(
        both=1 - 51 / 2 / 101  # false, true
    )


def test_wrong_category_and_poor_overlap():
    content = scene((1, 1, always(LEFT)), (1, 2, always(RIGHT)))
    results = [BOTH_FOUND[0], track(always(RIGHT + 5), 0.6)]
    assert gains_of(content, results) == only(category_and_overlap=0.5)


def test_of_two_ways_to_mend_the_better_one_names_the_error():
    # In 8 of 10 frames, with masks of IoU 9 / 11. IoU: 720 / (8 * 110 + 200) = 0.667. With masks
    # mended 0.8, with linking mended 0.818.
    masks = [box(LEFT + 1)] * 8 + [None] * 2
    _, errors, _ = analysed(TWO, [track(masks, 0.9), BOTH_FOUND[1]])
    linking, both = KINDS.index('linking'), KINDS.index('both')
    # 0.70 and 0.75 by either, 0.80 too; above by none.
    assert errors.kind[:, 0].tolist() == [-1] * 4 + [linking] * 3 + [both] * 3


def test_duplicate():
    # True, false, true: 51 recalls at 1, 50 at 2/3.
    results = [*BOTH_FOUND, track(always(LEFT), 0.8)]
    assert gains_of(TWO, results) == only(duplicate=50 / 3 / 101)


@pytest.mark.parametrize(
    'masks',
    [
        always(MIDDLE),
        always(MIDDLE)[:9] + [box(LEFT)],  # on an object in one frame of ten
        always(LEFT, top=14),  # touches an object: IoU 10 / 190 in every frame
    ],
)
def test_background(masks):
    results = [*BOTH_FOUND, track(masks, 0.8)]
    assert gains_of(TWO, results) == only(background=50 / 3 / 101)


def test_short_pieces_of_a_track_are_no_background():
    # One frame of ten: IoU 0.1 at most, but all of it is on the object.
    piece = [box(LEFT + 1)] + [None] * 9
    _, errors, _ = analysed(TWO, [*BOTH_FOUND, track(piece, 0.8)])
    assert set(errors.kind[:, 2].tolist()) == {KINDS.index('linking'), KINDS.index('both')}
    assert (errors.target[:, 2] == 0).all()


def test_missed_object():
    # 51 of 101 recalls.
    assert gains_of(TWO, BOTH_FOUND[:1]) == only(missed=50 / 101)


def test_missed_category_keeps_its_place_in_the_mean():
    content = scene((1, 1, always(LEFT)), (1, 2, always(RIGHT)))
    assert gains_of(content, BOTH_FOUND[:1]) == only(missed=0.5)


def test_an_object_meant_by_a_false_track_is_not_missed():
    _, errors, gains = analysed(TWO, [BOTH_FOUND[0], track(always(RIGHT + 5), 0.6)])
    assert gains['missed']['count'] == 0
    assert not errors.missed.any()


def test_of_several_false_tracks_the_best_is_mended_and_the_others_go():
    poor = [track(always(RIGHT + 4), 0.5), track(always(RIGHT + 5), 0.95)]
    # Both off: mended, the one of 0.95 finds the object before the other object's track.
    assert gains_of(TWO, [BOTH_FOUND[0], *poor]) == only(masks=1 - 51 / 2 / 101)


def test_crowds_are_no_errors():
    content = scene((1, 1, always(LEFT)), (1, 1, always(RIGHT)), (1, 1, always(MIDDLE), True))
    results = [*BOTH_FOUND, track(always(MIDDLE), 0.8), track(always(MIDDLE + 2), 0.7)]
    matches, errors, gains = analysed(content, results)
    # The second reaches 0.667; above, it lies on nothing that could be found.
    assert (errors.kind[:, 2] == -1).all()
    assert errors.kind[:, 3].tolist() == [-1] * 4 + [KINDS.index('background')] * 6


def test_metrics_agree_with_the_evaluator():
    rng = np.random.default_rng(0)
    for _ in range(10):
        lefts = rng.integers(0, 50, 4)
        objects = [
            (video, int(rng.integers(1, 3)), always(int(left)))
            for video, left in zip((1, 1, 2, 2), lefts, strict=True)
        ]
        content = scene(*objects, videos=(1, 2))
        results = [
            track(
                always(int(np.clip(left + rng.integers(-4, 5), 0, 50))),
                float(rng.random()),
                int(rng.integers(1, 3)),
                int(video),
            )
            for video, left in zip((1, 1, 2, 2, 1, 2), [*lefts, *lefts[:2]], strict=True)
        ]
        matches, errors, gains = analysed(content, results)
        metrics = evaluate_tracks(content, results)
        # Without mending the same AP as the evaluator's, and no kind can lift it above 1.
        assert _precisions(matches, errors, None).mean() == pytest.approx(metrics['AP'])
        assert all(metrics['AP'] + gain['AP'] <= 1 + 1e-9 for gain in gains.values())
        # Every false track is of one kind, every object is found, meant or missed.
        assert ((errors.kind >= 0) == matches.false[0]).all()


def test_worst_videos():
    content = scene(
        *((video, 1, always(LEFT)) for video in (1, 2, 3)), (3, 1, always(RIGHT)), videos=(3, 1, 2)
    )
    results = [
        track(always(LEFT), 0.9, video=1),
        track(always(MIDDLE), 0.8, video=2),
        track(always(LEFT), 0.7, video=3),
        track(always(RIGHT), 0.6, video=3),
    ]
    matches, errors, _ = analysed(content, results)
    worst = worst_videos(matches, errors)
    assert [one['video_id'] for one in worst] == [2, 3, 1]
    # All: true, false, true, true of 4 objects. Recalls to 0.25 at 1, to 0.75 at 3/4. Without video
    # 2 all is found.
    plain = (26 + 50 * 3 / 4) / 101
    assert worst[0] == dict(
        video_id=2,
        name='v2',
        gain=pytest.approx(1 - plain),
        objects=1,
        found=0,
        errors={**dict.fromkeys(KINDS, 0), 'background': 1, 'missed': 1},
    )
    # Without video 3: true, false of 2. Without video 1: false, true, true of 3.
    assert worst[1]['gain'] == pytest.approx(51 / 101 - plain)
    assert worst[2]['gain'] == pytest.approx(67 * 2 / 3 / 101 - plain)
