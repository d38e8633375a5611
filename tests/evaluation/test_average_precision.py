import contextlib
import copy
import io
import json

import numpy as np
import pytest
from mmdet.evaluation.functional import YTVIS, YTVISeval
from pycocotools import mask as mask_utils

from vispropnet.errors import UserError
from vispropnet.evaluation.average_precision import (
    FIGURES,
    METRIC_NAMES,
    evaluate_tracks,
    format_table,
)

# Comes from inside pycocotools at each call of decode.
pytestmark = pytest.mark.filterwarnings('ignore:__array__ implementation:DeprecationWarning')

HEIGHT, WIDTH = 8, 10
THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)


def rows(*counts):
    """A frame per argument, whose mask is that many pixels, row by row from the top left on."""
    masks = np.zeros((len(counts), HEIGHT, WIDTH), bool)
    for mask, count in zip(masks, counts, strict=True):
        mask.reshape(-1)[:count] = True
    return masks


def encode(masks, plain=False):
    """Per frame an RLE, or None for an empty mask; ``plain`` gives uncompressed counts."""
    rles = []
    for mask in masks:
        if not mask.any():
            rles.append(None)
        elif plain:
            pixels = np.concatenate([[0], mask.T.ravel().astype(int), [2]])
            changes = np.flatnonzero(np.diff(pixels))
            rles.append(
                {
                    'size': [HEIGHT, WIDTH],
                    'counts': np.diff(np.concatenate([[0], changes])).tolist(),
                }
            )
        else:
            rle = mask_utils.encode(np.asfortranarray(mask.astype(np.uint8)))
            rles.append({'size': [HEIGHT, WIDTH], 'counts': rle['counts'].decode()})
    return rles


def truth(video_id, category_id, masks, plain=False, **more):
    return dict(
        id=more.pop('id', 0),
        video_id=video_id,
        category_id=category_id,
        segmentations=encode(masks, plain),
        iscrowd=more.pop('iscrowd', 0),
        **more,
    )


def track(video_id, category_id, score, masks):
    return {
        'video_id': video_id,
        'category_id': category_id,
        'score': score,
        'segmentations': encode(masks),
    }


def headline(content, results):
    """The five figures that papers report, of objects that are all small."""
    figures = evaluate_tracks(content, results)
    assert set(figures) == {'mAP', *FIGURES}
    assert figures['AP'] == figures['APs'] == figures['mAP']
    assert figures['AR100'] == figures['ARs']
    assert figures['AR10'] <= figures['AR100']
    assert [figures[name] for name in ('APm', 'APl', 'ARm', 'ARl')] == [-1] * 4
    return {name: figures[name] for name in METRIC_NAMES}


def annotation_file(truths, videos=(1, 2), length=3, categories=(1, 2, 3)):
    return {
        'videos': [
            {
                'id': video,
                'width': WIDTH,
                'height': HEIGHT,
                'length': length,
                'file_names': [f'{video}/{frame}.jpg' for frame in range(length)],
            }
            for video in videos
        ],
        'categories': [{'id': category, 'name': str(category)} for category in categories],
        'annotations': [{**entry, 'id': number} for number, entry in enumerate(truths)],
    }


def test_perfect_results():
    # One track per video and category: also the single best one finds everything. Ids start at 0.
    masks = [rows(20, 30, 0), rows(0, 7, 9), rows(40, 0, 1)]
    places = [(1, 1), (1, 3), (2, 1)]
    content = annotation_file([truth(*place, m) for place, m in zip(places, masks, strict=True)])
    results = [track(*place, 0.3, m) for place, m in zip(places, masks, strict=True)]
    assert headline(content, results) == pytest.approx(dict.fromkeys(METRIC_NAMES, 1.0))


def test_two_videos_by_hand():
    content = annotation_file(
        [
            truth(1, 1, rows(10, 10, 10)),
            truth(2, 1, rows(16, 16, 0)),
            truth(2, 1, ~rows(60, 60, 60)),
        ]
    )
    results = [
        track(2, 1, 0.7, rows(10, 10, 0)),  # IoU 20 / 32 = 0.625
        track(1, 1, 0.9, rows(10, 10, 10)),  # IoU 1
        track(2, 1, 0.8, rows(0, 0, 20)),  # meets nothing
    ]
    # Up to IoU 0.60: found, false, found: recall 1/3 at precision 1, and 2/3 at 2/3. Of the 101
    # recalls, 0.00 to 0.33 are 34, and 0.34 to 0.66 are 33. Above: recall 1/3 at precision 1.
    loose, strict = (34 + 33 * 2 / 3) / 101, 34 / 101
    assert headline(content, results) == pytest.approx(
        {
            'mAP': (3 * loose + 7 * strict) / 10,
            'AP50': loose,
            'AP75': strict,
            'AR1': 1 / 3,  # the best track of video 2 is the false one
            'AR10': (3 * 2 / 3 + 7 * 1 / 3) / 10,
        }
    )


@pytest.mark.parametrize(
    ('masks', 'iou_in_hundredths'),
    [
        (rows(8, 8, 0), 100),
        (rows(8, 0, 0), 50),  # half of the frames
        (rows(0, 8, 8), 33),  # one frame shared of three
        (rows(0, 0, 16), 0),  # no frame shared
        (rows(8, 6, 0), 87),  # 14 / 16, not the mean of 1 and 6 / 8 per frame (also 0.875) ...
        (rows(4, 8, 4), 60),  # ... 12 / 20, where the mean over frames is 0.5
    ],
)
def test_iou_of_tracks(masks, iou_in_hundredths):
    metrics = headline(annotation_file([truth(1, 1, rows(8, 8, 0))]), [track(1, 1, 0.5, masks)])
    met = sum(iou_in_hundredths >= round(100 * threshold) for threshold in THRESHOLDS)
    assert metrics['mAP'] == pytest.approx(met / 10)
    assert metrics['AP50'] == pytest.approx(float(iou_in_hundredths >= 50))
    assert metrics['AP75'] == pytest.approx(float(iou_in_hundredths >= 75))


def test_nothing_detected_is_zero():
    content = annotation_file([truth(1, 1, rows(8, 8, 0))])
    assert headline(content, []) == dict.fromkeys(METRIC_NAMES, 0.0)
    # Also when only a category without truth was detected.
    assert headline(content, [track(1, 2, 0.5, rows(8, 8, 0))]) == dict.fromkeys(METRIC_NAMES, 0.0)


def test_categories_without_truth_are_left_out():
    content = annotation_file([truth(1, 1, rows(8, 8, 0)), truth(1, 2, rows(0, 9, 0))])
    results = [track(1, 1, 0.5, rows(8, 8, 0)), track(2, 3, 0.9, rows(1, 1, 1))]
    # Category 1 found, category 2 missed, category 3 not in the truth.
    assert headline(content, results) == pytest.approx(dict.fromkeys(METRIC_NAMES, 0.5))


def test_crowds_are_neither_missed_nor_false():
    crowd = truth(1, 1, ~rows(40, 40, 40), iscrowd=1)
    content = annotation_file([crowd, truth(1, 1, rows(8, 8, 0))])
    on_crowd = [track(1, 1, 0.9, ~rows(40, 40, 40)), track(1, 1, 0.8, ~rows(41, 40, 40))]
    found = track(1, 1, 0.5, rows(8, 8, 0))
    metrics = headline(content, [*on_crowd, found])
    assert metrics == pytest.approx({**dict.fromkeys(METRIC_NAMES, 1.0), 'AR1': 0.0})
    # The same tracks are false where the crowd is not annotated.
    content['annotations'].pop(0)
    assert evaluate_tracks(content, [*on_crowd, found])['AP50'] == pytest.approx(1 / 3)


def test_uncompressed_truth_and_missing_keys():
    masks = [rows(8, 8, 0), ~rows(30, 0, 79)]
    results = [track(1, 1, 0.5, masks[0]), track(2, 1, 0.6, masks[1])]
    content = annotation_file(
        [truth(1, 1, masks[0], plain=True), truth(2, 1, masks[1], plain=True)]
    )
    assert content['annotations'][0]['segmentations'][0] == {
        'size': [HEIGHT, WIDTH],
        'counts': [0, 1, 7, 1, 7, 1, 7, 1, 7, 1, 7, 1, 7, 1, 7, 1, 23],
    }
    for entry in content['annotations']:
        del entry['iscrowd'], entry['id']
    assert headline(content, results) == pytest.approx(dict.fromkeys(METRIC_NAMES, 1.0))


def test_reads_files_and_leaves_its_input_alone(tmp_path, capsys):
    content, results = random_case(3)
    path = tmp_path / 'truth.json'
    path.write_text(json.dumps(content))
    before = copy.deepcopy((content, results))
    metrics = [evaluate_tracks(source, results) for source in (content, content, path, str(path))]
    assert metrics[1:] == metrics[:1] * 3
    assert (content, results) == before
    assert capsys.readouterr().out == ''


def test_nothing_to_score_against(tmp_path):
    content = annotation_file([truth(1, 1, rows(8, 8, 0), iscrowd=1)])
    with pytest.raises(UserError, match='no annotated objects'):
        evaluate_tracks(content, [])
    with pytest.raises(UserError, match='no annotated objects'):
        evaluate_tracks({**content, 'annotations': []}, [])
    del content['annotations']
    path = tmp_path / 'valid.json'
    path.write_text(json.dumps(content))
    with pytest.raises(
        UserError, match='nothing to score against.*To score at home, split a validation'
    ):
        evaluate_tracks(path, [])
    with pytest.raises(UserError, match='valid.json'):
        evaluate_tracks(path, [])
    with pytest.raises(UserError, match="'videos' must be a list"):
        evaluate_tracks({'annotations': []}, [])
    with pytest.raises(
        UserError, match=r"categories\[1\]: key 'id' is missing, expected an integer"
    ):
        evaluate_tracks({**content, 'categories': [{'id': 1}, {}], 'annotations': []}, [])
    content = annotation_file([truth(1, 1, rows(8, 8, 0))])
    del content['annotations'][0]['segmentations']
    with pytest.raises(
        UserError, match=r"annotations\[0\], annotation 0, video 1: key 'segm.* is missing"
    ):
        evaluate_tracks(content, [])


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'video_id': 8}, 'entry 1: video_id 8 is not in the annotations'),
        ({'category_id': 0}, 'entry 1: category_id 0 is not .* which have 1, 2, 3'),
        ({'score': float('nan')}, 'entry 1: score must be a finite number'),
        ({'segmentations': [None, None]}, 'entry 1: .*2 entries, but video 1 has 3 frames'),
        (
            {'segmentations': [None, {'size': [2, 2], 'counts': '04'}, None]},
            r'video 1, .*entry 1, frame 1 \(1/1.jpg\): the mask is 2x2 .*, but video 1 is 10x8',
        ),
    ],
)
def test_tracks_that_do_not_fit(change, message):
    content = annotation_file([truth(1, 1, rows(8, 8, 0))])
    good = track(1, 1, 0.5, rows(8, 8, 0))
    with pytest.raises(UserError, match=message):
        evaluate_tracks(content, [good, {**good, **change}])
    with pytest.raises(UserError, match="entry 0: no key 'score'"):
        evaluate_tracks(content, [{'video_id': 1, 'category_id': 1}])


def random_case(seed):
    """Truth with crowds and equal scores, and results that meet it more or less."""
    rng = np.random.default_rng(seed)
    videos, categories = (7, 0, 3), (5, 2, 9, 4)

    def boxes():
        masks = np.zeros((3, HEIGHT, WIDTH), bool)
        top, left = rng.integers(0, 5, 2)
        for mask in masks[rng.integers(0, 2) :]:
            mask[top : top + rng.integers(2, 5), left : left + rng.integers(2, 7)] = True
        return masks

    truths, results = [], []
    for _ in range(14):
        place = int(rng.choice(videos)), int(rng.choice(categories[:3]))
        masks = boxes()
        truths.append(
            truth(*place, masks, plain=rng.random() < 0.5, iscrowd=int(rng.random() < 0.2))
        )
        for _ in range(rng.integers(0, 4)):
            near = masks & (rng.random(masks.shape) < rng.choice([0.6, 0.85, 0.97, 1.0]))
            results.append(track(*place, round(rng.random(), 1), near))
    for _ in range(8):
        place = int(rng.choice(videos)), int(rng.choice(categories))
        results.append(track(*place, round(rng.random(), 1), boxes()))
    truths.append(truth(7, 5, boxes()))
    return annotation_file(truths, videos, categories=categories), results


def decode(rles):
    masks = np.zeros((len(rles), HEIGHT, WIDTH), bool)
    for mask, rle in zip(masks, rles, strict=True):
        if rle is not None and isinstance(rle['counts'], list):
            mask[:] = (
                np.repeat(np.arange(len(rle['counts'])) % 2, rle['counts']).reshape(WIDTH, HEIGHT).T
            )
        elif rle is not None:
            mask[:] = mask_utils.decode(rle)
    return masks


def match(truths, tracks, threshold):
    """One of 'found', 'false', 'ignored' for each track of one video and category, best first."""
    free, crowds = ([t for t in truths if bool(t['iscrowd']) == crowd] for crowd in (False, True))
    verdicts = []
    for found in tracks:
        masks = decode(found['segmentations'])

        def iou(entry, masks=masks):
            other = decode(entry['segmentations'])
            return (masks & other).sum() / max((masks | other).sum(), 1)

        hits = [entry for entry in free if iou(entry) >= threshold]
        if hits:
            free.remove(max(reversed(hits), key=iou))
            verdicts.append('found')
        elif any(iou(entry) >= threshold for entry in crowds):
            verdicts.append('ignored')
        else:
            verdicts.append('false')
    return verdicts


def slow_metrics(content, results):
    """Average precision and recall in plain loops, from their definition."""
    videos = sorted(video['id'] for video in content['videos'])
    table = []  # (threshold, precision at 101 recalls, recall of 1, recall of 10) of each category
    for category in [entry['id'] for entry in content['categories']]:
        truths = [t for t in content['annotations'] if t['category_id'] == category]
        count = sum(not t['iscrowd'] for t in truths)
        if not count:
            continue
        for threshold in THRESHOLDS:
            verdicts, recalls = [], {1: 0, 10: 0}
            for video in videos:
                tracks = [
                    r for r in results if (r['video_id'], r['category_id']) == (video, category)
                ]
                tracks = sorted(tracks, key=lambda t: -t['score'])
                ours = match([t for t in truths if t['video_id'] == video], tracks, threshold)
                verdicts += [
                    (-t['score'], verdict) for t, verdict in zip(tracks, ours, strict=True)
                ]
                for best in recalls:
                    recalls[best] += ours[:best].count('found') / count
            curve, found, false = [], 0, 0
            for _, verdict in sorted(verdicts, key=lambda item: item[0]):
                found += verdict == 'found'
                false += verdict == 'false'
                if found + false:
                    curve.append((found / count, found / (found + false)))
            precision = np.mean(
                [max([p for r, p in curve if r >= at], default=0) for at in RECALLS]
            )
            table.append((threshold, precision, recalls[1], recalls[10]))
    table = np.array(table)
    return {
        'mAP': table[:, 1].mean(),
        'AP50': table[np.isclose(table[:, 0], 0.5), 1].mean(),
        'AP75': table[np.isclose(table[:, 0], 0.75), 1].mean(),
        'AR1': table[:, 2].mean(),
        'AR10': table[:, 3].mean(),
    }


@pytest.mark.parametrize('seed', range(4))
def test_equals_a_slow_reference(seed):
    content, results = random_case(seed)
    metrics = headline(content, results)
    assert metrics == pytest.approx(slow_metrics(content, results), abs=1e-12)
    assert 0 < metrics['AP75'] < metrics['AP50'] < 1


@pytest.mark.parametrize('seed', range(4, 6))
def test_equals_the_port_itself_where_that_works(seed):
    content, results = random_case(seed)
    metrics = evaluate_tracks(content, results)
    for number, entry in enumerate(content['annotations'], start=1):
        entry['id'] = number  # it takes a match with id 0 for none
        entry['areas'] = [float(mask.sum()) or None for mask in decode(entry['segmentations'])]
    with contextlib.redirect_stdout(io.StringIO()):
        ground_truth = YTVIS(content)
        evaluator = YTVISeval(ground_truth, ground_truth.loadRes(results), 'segm')
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    port = dict(zip(FIGURES, evaluator.stats, strict=True))
    assert metrics.pop('mAP') == metrics['AP']
    assert metrics == pytest.approx(port, abs=1e-12)


def test_at_most_100_tracks_per_video_and_category():
    content = annotation_file([truth(1, 1, rows(8, 8, 0))])
    false = [track(1, 1, 0.9, rows(0, 0, 5)) for _ in range(100)]
    right = track(1, 1, 0.5, rows(8, 8, 0))
    assert evaluate_tracks(content, [right, *false])['AP50'] == 0
    assert evaluate_tracks(content, [right, *false[1:]])['AP50'] == pytest.approx(1 / 100)


def test_format_table():
    metrics = {'mAP': 0.12346, 'AP50': 1.0, 'AP75': 0.0, 'AR1': 0.5, 'AR10': 0.99999}
    assert format_table(metrics) == (
        '   mAP    AP50    AP75     AR1    AR10\n0.1235  1.0000  0.0000  0.5000  1.0000'
    )
    # Any of the twelve, and a dash where there is nothing to find.
    assert format_table({**metrics, 'APl': -1.0}, ('APl', 'AP50')) == 'APl    AP50\n  -  1.0000'
