"""Scores folders of index masks, and compares two of them on the same sequences."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from vispropnet.datasets.index_masks import mask_files, read_index_mask, read_split
from vispropnet.errors import UserError
from vispropnet.evaluation.confidence import LEVEL, moved_interval, resample_videos
from vispropnet.evaluation.region_contour import METRICS, SequenceScorer, SequenceScores, overall
from vispropnet.text import first_of


def truth_folders(root: str | os.PathLike, split: str | None = None) -> dict[str, Path]:
    """Finds the sequences of a ground truth.

    Args:
        root: Folder of ``<sequence>/<frame>.png``, or of DAVIS.
        split: Of DAVIS; None for a plain folder.

    Returns:
        Folder of each sequence, by name.

    Raises:
        UserError: if there are none, or one that is listed is absent.
    """
    root = Path(root)
    if split is None:
        if (root / 'ImageSets').is_dir():
            raise UserError(f'{root} is a folder of DAVIS: name the split, such as --split val.')
        if not root.is_dir():
            raise UserError(f'folder of the ground truth not found: {root}')
        folders = {one.name: one for one in sorted(root.iterdir()) if any(one.glob('*.png'))}
        if not folders:
            raise UserError(f'{root} holds no sequences (<sequence>/<frame>.png).')
        return folders
    folders = {name: root / 'Annotations' / '480p' / name for name in read_split(root, split)}
    for name, folder in folders.items():
        if not folder.is_dir():
            raise UserError(f'sequence {name} of split {split} is absent: no folder {folder}')
    return folders


def score_folders(
    truth: Mapping[str, Path],
    results: str | os.PathLike,
    late_objects: bool = False,
    skipped_ids: bool = False,
) -> list[SequenceScores]:
    """Scores results in a folder.

    Args:
        truth: From :func:`truth_folders`.
        results: Folder of ``<sequence>/<frame>.png``.
        late_objects: As of :class:`~vispropnet.evaluation.region_contour.SequenceScorer`, as is
            ``skipped_ids``.
        skipped_ids: See there.

    Raises:
        UserError: naming the sequence or file, if results are absent or do not fit.
    """
    results = Path(results)
    if not results.is_dir():
        raise UserError(f'folder of results not found: {results}')
    if absent := [name for name in truth if not (results / name).is_dir()]:
        raise UserError(
            f'results {results}: {len(absent)} of {len(truth)} sequences are absent: '
            f'{first_of(absent, 5)}.'
        )

    def score(name: str) -> SequenceScores:
        return _score(name, truth[name], results / name, late_objects, skipped_ids)

    # Decoding and distances run outside the interpreter's lock.
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        return list(threads.map(score, truth))


def _score(
    name: str, truth: Path, results: Path, late_objects: bool, skipped_ids: bool
) -> SequenceScores:
    files = mask_files(truth)
    scorer, size = SequenceScorer(name, len(files), late_objects, skipped_ids), None
    for file in files:
        ids = read_index_mask(file, size)
        size = ids.shape
        found = read_index_mask(results / file.name, size) if scorer.next_counts else None
        scorer.add(ids, found)
    return scorer.scores()


def jf_report(
    ours: Sequence[SequenceScores],
    other: Sequence[SequenceScores] | None = None,
    resamples: int = 0,
    seed: int = 0,
) -> dict[str, Any]:
    """Gathers the metrics of results.

    Args:
        ours: The scores.
        other: Of other results for the same sequences, to compare with.
        resamples: How often to resample the sequences for intervals; 0 for none.
        seed: Of the resampling.

    Returns:
        :data:`METRICS`; ``objects`` and ``sequences``, lists of their metrics; with resamples
        ``ci`` (``[low, high]`` by metric) and ``bootstrap``; with other results ``baseline``, their
        metrics and, with resamples, ``difference``. Fit for JSON.
    """
    report: dict[str, Any] = overall(ours)
    report['objects'] = [
        dict(sequence=one.name, id=number, **dict(zip(METRICS, row.tolist(), strict=True)))
        for one in ours
        for number, row in zip(one.ids, one.metrics(), strict=True)
    ]
    report['sequences'] = [
        dict(sequence=one.name, objects=len(one.ids), **overall([one])) for one in ours
    ]
    if other is not None:
        report['baseline'] = overall(other)
    if resamples and len(ours) > 1:
        weights = resample_videos(len(ours), resamples, seed)
        drawn = _resampled(ours, weights)
        report['ci'] = _intervals(drawn, report)
        report['bootstrap'] = dict(resamples=resamples, seed=seed, level=LEVEL)
        if other is not None:
            change = {name: report[name] - report['baseline'][name] for name in METRICS}
            report['baseline']['difference'] = _intervals(
                drawn - _resampled(other, weights), change
            )
    return report


def _resampled(sequences: Sequence[SequenceScores], weights: np.ndarray) -> np.ndarray:
    """(B, 7) means over the objects of resampled sequences."""
    sums = np.array([one.metrics().sum(axis=0) for one in sequences])
    counts = np.array([len(one.ids) for one in sequences])
    return weights @ sums / (weights @ counts)[:, None]


def _intervals(drawn: np.ndarray, values: Mapping[str, float]) -> dict[str, list[float]]:
    return {
        name: list(moved_interval(column, values[name])[:2])
        for name, column in zip(METRICS, drawn.T, strict=True)
    }


def seen_unseen(
    sequences: Sequence[SequenceScores], categories: Mapping[tuple[str, int], str], seen: set[str]
) -> dict[str, float]:
    """Means of YouTube-VOS: J and F over objects of seen and of unseen categories; G is their mean.

    Args:
        sequences: The scores, with late objects.
        categories: Of each object, by (sequence, id).
        seen: Categories of the training videos.

    Returns:
        ``J_seen, J_unseen, F_seen, F_unseen, G``.

    Raises:
        UserError: for an object without a category, or no object of one of the two kinds.
    """
    kinds: dict[bool, list[np.ndarray]] = {True: [], False: []}
    for one in sequences:
        for number, row in zip(one.ids, one.metrics(), strict=True):
            if (one.name, number) not in categories:
                raise UserError(f'sequence {one.name}: object {number} has no category.')
            kinds[categories[one.name, number] in seen].append(row)
    if empty := [name for kind, name in ((True, 'seen'), (False, 'unseen')) if not kinds[kind]]:
        raise UserError(f'no object is of an {empty[0]} category.')
    means = {kind: np.mean(rows, axis=0) for kind, rows in kinds.items()}
    j, f = METRICS.index('J_mean'), METRICS.index('F_mean')
    four = dict(
        J_seen=means[True][j],
        J_unseen=means[False][j],
        F_seen=means[True][f],
        F_unseen=means[False][f],
    )
    four = {name: float(value) for name, value in four.items()}
    return four | dict(G=sum(four.values()) / 4)
