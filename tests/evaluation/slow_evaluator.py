"""The twelve metrics of YouTube-VIS, in plain loops and from mmdet's port of the reference.

The loops follow the definition on decoded masks; the port is, but for names, line for line the
reference evaluator (youtubevos/cocoapi).
"""

import contextlib
import copy
import io

import numpy as np
from mmdet.evaluation.functional import YTVIS, YTVISeval

from tests.evaluation.scenes import decode
from vispropnet.evaluation.average_precision import ALL_METRICS

THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)
BINS = {'': (0, 10**10), 's': (0, 128**2), 'm': (128**2, 256**2), 'l': (256**2, 10**10)}


def mean_of_present(areas):
    present = [area for area in areas if area]
    return sum(present) / len(present) if present else 0


def iou_of(one, other):
    """Of two tracks, lists of masks: all frames taken together."""
    common = sum(int(np.count_nonzero(a & b)) for a, b in zip(one, other, strict=True))
    either = sum(int(np.count_nonzero(a | b)) for a, b in zip(one, other, strict=True))
    return common / either if either else 0.0


def closest(objects, ious):
    """Of those with the highest IoU the last; None of none."""
    return max(objects, key=lambda one: (ious[one], one), default=None)


def verdicts_of(ious, ignored, crowds, outside, threshold):
    """'found', 'false' or 'ignored' for each track of one video and category, best first.

    Takes IoUs by track and object; which objects are of another area or a crowd (``ignored``) or a
    crowd, and which tracks are of another area (``outside``).
    """
    taken, verdicts = set(), []
    for row, is_outside in zip(ious, outside, strict=True):
        hits = [
            one
            for one in range(len(crowds))
            if row[one] >= threshold and (one not in taken or crowds[one])
        ]
        wanted = closest([one for one in hits if not ignored[one]], row)
        other = closest([one for one in hits if ignored[one]], row)
        if wanted is not None:
            taken.add(wanted)
            verdicts.append('found')
        elif other is not None:
            taken.add(other)
            verdicts.append('ignored')
        else:
            verdicts.append('ignored' if is_outside else 'false')
    return verdicts


def average_precision_of(scored, count):
    """From (score, verdict) of all tracks of a category, video by video."""
    curve, found, false = [], 0, 0
    for _, verdict in sorted(scored, key=lambda item: -item[0]):
        found += verdict == 'found'
        false += verdict == 'false'
        if found + false:
            curve.append((found / count, found / (found + false)))
    highest = [
        max([precision for recall, precision in curve if recall >= at], default=0) for at in RECALLS
    ]
    return sum(highest) / len(highest)


def slow_metrics(content, results):
    """All twelve metrics; -1 where there is nothing to find."""
    videos = {}
    for video in sorted(video['id'] for video in content['videos']):
        for category in [entry['id'] for entry in content['categories']]:
            truths, tracks = (
                [one for one in some if (one['video_id'], one['category_id']) == (video, category)]
                for some in (content['annotations'], results)
            )
            objects = [(mean_of_present(one['areas']), one['iscrowd']) for one in truths]
            best = sorted(tracks, key=lambda entry: -entry['score'])[:100]
            masks = [[decode(rle) for rle in one['segmentations']] for one in best]
            areas = [mean_of_present([int(np.count_nonzero(m)) for m in some]) for some in masks]
            others = [[decode(rle) for rle in one['segmentations']] for one in truths]
            ious = [[iou_of(some, other) for other in others] for some in masks]
            videos[video, category] = objects, [one['score'] for one in best], areas, ious
    ids = [entry['id'] for entry in content['categories']]
    rows = {
        name: [row for category in ids for row in slow_rows(videos, *ends, category)]
        for name, ends in BINS.items()
    }

    def mean(key, some):
        return sum(row[key] for row in some) / len(some) if some else -1

    metrics = {}
    for name in BINS:
        metrics[f'AP{name}'] = mean('AP', rows[name])
        metrics[f'AR{name or 100}'] = mean(100, rows[name])
    for percent in (50, 75):
        of_threshold = [row for row in rows[''] if round(100 * row['threshold']) == percent]
        metrics[f'AP{percent}'] = mean('AP', of_threshold)
    return metrics | {f'AR{limit}': mean(limit, rows['']) for limit in (1, 10)}


def slow_rows(videos, low, high, category):
    """AP and recalls of a category and bin, one row per threshold; none without objects."""
    own = [parts for (_, other), parts in videos.items() if other == category]
    count = sum(low <= area <= high and not crowd for objects, *_ in own for area, crowd in objects)
    table = []
    for threshold in THRESHOLDS if count else []:
        row = {'threshold': threshold, 1: 0, 10: 0, 100: 0}
        scored = []
        for objects, scores, areas, ious in own:
            verdicts = verdicts_of(
                ious,
                [bool(crowd) or not low <= area <= high for area, crowd in objects],
                [crowd for _, crowd in objects],
                [not low <= area <= high for area in areas],
                threshold,
            )
            scored += zip(scores, verdicts, strict=True)
            for limit in (1, 10, 100):
                row[limit] += verdicts[:limit].count('found') / count
        row['AP'] = average_precision_of(scored, count)
        table.append(row)
    return table


def port_metrics(content, results):
    """From mmdet's port. It cannot read uncompressed results, and needs at least one."""
    content, results = copy.deepcopy((content, results))
    with contextlib.redirect_stdout(io.StringIO()):
        objects = YTVIS(content)
        evaluator = YTVISeval(objects, objects.loadRes(results), 'segm')
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return dict(zip(ALL_METRICS, evaluator.stats.tolist(), strict=True))
