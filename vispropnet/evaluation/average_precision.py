"""Average precision and recall of tracks, as YouTube-VIS's reference evaluator defines them."""

from __future__ import annotations

import math
import os
import types
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from mmdet.evaluation.functional import YTVISeval
from pycocotools import mask as mask_utils

from vispropnet.datasets.rle import RLE, checked_rles
from vispropnet.errors import UserError
from vispropnet.evaluation.result_file import RESULT_KEYS
from vispropnet.fileio import read_json

METRIC_NAMES = ('mAP', 'AP50', 'AP75', 'AR1', 'AR10')

# Tracks that count per video and category: for AR1, for AR10, and for precision.
_TRACK_LIMITS = (1, 10, 100)


def read_annotations(path: str | os.PathLike) -> dict[str, Any]:
    """Reads an annotation file to score against.

    Args:
        path: The file, in YouTube-VIS form.

    Returns:
        Its content.

    Raises:
        UserError: if it cannot be read, or has nothing to score against (see
            :func:`check_annotations`).
    """
    annotations = read_json(path, 'annotation file')
    check_annotations(annotations, f'annotation file {path}')
    return annotations


def check_annotations(annotations: Any, where: str = 'the annotations') -> None:
    """Checks that there is ground truth to score against.

    Args:
        annotations: Content of an annotation file.
        where: How messages call it.

    Raises:
        UserError: if a part of the file is missing, it has no ``annotations``, or no annotated
            object that counts: one that is no crowd and of a listed video and category.
    """
    if not isinstance(annotations, dict):
        raise UserError(f'{where}: must be an object with videos, categories and annotations.')
    for key in ('videos', 'categories'):
        if not isinstance(annotations.get(key), list):
            raise UserError(f"{where}: '{key}' must be a list, got {annotations.get(key)!r}.")
    if annotations.get('annotations') is None:
        raise UserError(
            f"{where}: no key 'annotations', so there is nothing to score against (the ground "
            'truth of the official validation and test sets is hidden). Use a file with '
            'annotations, for example a part of the training set split off for validation.'
        )
    videos = _by_id(annotations, 'videos', where)
    categories = _by_id(annotations, 'categories', where)
    if not any(
        truth.get('video_id') in videos
        and truth.get('category_id') in categories
        and not truth.get('iscrowd', 0)
        for truth in annotations['annotations']
    ):
        raise UserError(
            f'{where}: no annotated objects (of its videos and categories, crowds left out), so '
            'there is nothing to score against. Use a file with annotations.'
        )


def evaluate_tracks(
    annotations: str | os.PathLike | dict[str, Any], results: Sequence[dict[str, Any]]
) -> dict[str, float]:
    """Scores tracks against the ground truth.

    IoU of two tracks is the sum over all frames of their intersections by that of their unions.
    Precision is interpolated at 101 recalls, at IoU thresholds 0.50:0.05:0.95, per category, over
    the 100 best tracks per video and category; categories without ground truth are left out. AR1
    and AR10 are the recall, averaged over thresholds and categories, of the 1 or 10 best tracks per
    video and category. Crowds count neither as missed nor, when found, as false. Source: the
    reference evaluator of YouTube-VIS (youtubevos/cocoapi), in mmdet's port.

    Args:
        annotations: Annotation file in YouTube-VIS form, or its content. Not changed.
        results: Tracks ``{video_id, category_id, score, segmentations}`` with one RLE or None per
            frame, at the size of the video. Not changed. May be empty, and videos may be missing.

    Returns:
        ``mAP``, ``AP50``, ``AP75``, ``AR1`` and ``AR10``, in [0, 1], not rounded.

    Raises:
        UserError: if there is nothing to score against, or a track does not fit its video.
    """
    if isinstance(annotations, dict):
        check_annotations(annotations)
    else:
        annotations = read_annotations(annotations)
    videos = _by_id(annotations, 'videos')
    categories = _by_id(annotations, 'categories')
    evaluator = _Evaluator(
        _ground_truth(annotations['annotations'], videos, categories),
        _predictions(results, videos, categories),
    )
    evaluator.params.vidIds = sorted(videos)
    evaluator.params.catIds = sorted(categories)
    evaluator.evaluate()
    evaluator.accumulate()
    return _summary(evaluator)


def format_table(metrics: Mapping[str, float]) -> str:
    """Lays out the metrics for a terminal.

    Args:
        metrics: What :func:`evaluate_tracks` returned.

    Returns:
        Two aligned lines: the names and, with four digits, the values.
    """
    cells = [(name, f'{metrics[name]:.4f}') for name in METRIC_NAMES]
    widths = [max(len(name), len(value)) for name, value in cells]
    lines = zip(*cells, strict=True)
    return '\n'.join(
        '  '.join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        for line in lines
    )


def _without_prints(function: Callable) -> Callable:
    """A copy of ``function`` for which ``print`` does nothing; the original stays as it is."""
    silent = {**function.__globals__, 'print': lambda *args, **kwargs: None}
    return types.FunctionType(
        function.__code__, silent, function.__name__, function.__defaults__, function.__closure__
    )


class _Evaluator(YTVISeval):
    """mmdet's port of the reference evaluator, given tracks that are ready to be matched.

    Matching and accumulation are the port's own. Its preparation, which writes into the caller's
    dicts and needs keys that files may lack, is replaced; only the bin of all areas is computed.

    Args:
        ground_truth: From :func:`_ground_truth`.
        predictions: From :func:`_predictions`.
    """

    evaluate = _without_prints(YTVISeval.evaluate)
    computeIoU = _without_prints(YTVISeval.computeIoU)
    accumulate = _without_prints(YTVISeval.accumulate)

    def __init__(self, ground_truth: list[dict], predictions: list[dict]) -> None:
        super().__init__(iouType='segm')
        self.params.maxDets = list(_TRACK_LIMITS)
        self.params.areaRng = self.params.areaRng[:1]
        self.params.areaRngLbl = self.params.areaRngLbl[:1]
        self._tracks = (ground_truth, predictions)

    def _prepare(self) -> None:
        self._gts, self._dts = (_by_video_and_category(tracks) for tracks in self._tracks)
        self.eval = {}


def _by_id(annotations: dict, key: str, where: str = 'the annotations') -> dict[int, dict]:
    for index, entry in enumerate(annotations[key]):
        if not isinstance(entry, dict) or 'id' not in entry:
            raise UserError(f"{where}: {key}[{index}] must be an object with an 'id'.")
    return {entry['id']: entry for entry in annotations[key]}


def _by_video_and_category(tracks: list[dict]) -> dict[tuple, list[dict]]:
    groups = defaultdict(list)
    for track in tracks:
        groups[track['video_id'], track['category_id']].append(track)
    return groups


def _summary(evaluator: YTVISeval) -> dict[str, float]:
    """Averages the evaluator's arrays; -1 marks a category without ground truth."""
    thresholds = evaluator.params.iouThrs
    precision = evaluator.eval['precision'][..., 0, _TRACK_LIMITS.index(100)]  # (T, R, K)
    recall = evaluator.eval['recall'][..., 0, :]  # (T, K, M)

    def mean(values: np.ndarray) -> float:
        return float(np.mean(values[values > -1]))

    return {
        'mAP': mean(precision),
        'AP50': mean(precision[np.isclose(thresholds, 0.5)]),
        'AP75': mean(precision[np.isclose(thresholds, 0.75)]),
        'AR1': mean(recall[..., _TRACK_LIMITS.index(1)]),
        'AR10': mean(recall[..., _TRACK_LIMITS.index(10)]),
    }


def _ground_truth(truths: list[dict], videos: dict, categories: dict) -> list[dict]:
    """Prepares the ground truth of the listed videos and categories.

    Ids are numbered anew from 1: the evaluator takes a match with id 0 for none, and one of two
    equal ids would be lost.
    """
    prepared = []
    for index, truth in enumerate(truths):
        if truth.get('video_id') not in videos or truth.get('category_id') not in categories:
            continue
        where = f'annotations[{index}] (id {truth.get("id")})'
        if 'segmentations' not in truth:
            raise UserError(f"{where}: no key 'segmentations'.")
        rles = checked_rles(truth['segmentations'], videos[truth['video_id']], where)
        crowd = int(truth.get('iscrowd', 0))
        prepared.append(
            dict(
                id=len(prepared) + 1,
                video_id=truth['video_id'],
                category_id=truth['category_id'],
                iscrowd=crowd,
                ignore=crowd,
                avg_area=_mean_area(truth.get('areas') or _areas(rles)),
                segmentations=rles,
            )
        )
    return prepared


def _predictions(results: Sequence[dict], videos: dict, categories: dict) -> list[dict]:
    prepared = []
    for index, result in enumerate(results):
        where = f'result entry {index}'
        for key in RESULT_KEYS:
            if key not in result:
                raise UserError(f"{where}: no key '{key}'.")
        video_id, category_id = result['video_id'], result['category_id']
        score = float(result['score'])
        if video_id not in videos:
            raise UserError(f'{where}: video_id {video_id!r} is not in the annotations.')
        if category_id not in categories:
            raise UserError(
                f'{where}: category_id {category_id!r} is not in the annotations, which have '
                f'{_shortened(sorted(categories))}.'
            )
        if not math.isfinite(score):
            raise UserError(f'{where}: score must be a finite number, got {score}.')
        rles = checked_rles(result['segmentations'], videos[video_id], where)
        prepared.append(
            dict(
                id=index + 1,
                video_id=video_id,
                category_id=category_id,
                score=score,
                avg_area=_mean_area(_areas(rles)),
                segmentations=rles,
            )
        )
    return prepared


def _areas(rles: Sequence[RLE | None]) -> list[int | None]:
    return [int(mask_utils.area(rle)) if rle else None for rle in rles]


def _mean_area(areas: Sequence[float | None]) -> float:
    """Mean mask area over the frames where the track is present (0 if in none)."""
    present = [area for area in areas if area]
    return float(np.mean(present)) if present else 0.0


def _shortened(values: list, limit: int = 10) -> str:
    text = ', '.join(str(value) for value in values[:limit])
    return text if len(values) <= limit else f'{text}, ... ({len(values)} in all)'
