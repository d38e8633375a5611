"""Scoring of index masks: what ``tools/eval_vos.py`` calls."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from vispropnet.errors import UserError
from vispropnet.evaluation.mask_folders import (
    jf_report,
    score_folders,
    seen_unseen,
    truth_folders,
)
from vispropnet.evaluation.region_contour import METRICS, SequenceScores
from vispropnet.evaluation.report import aligned
from vispropnet.fileio import read_json, write_json
from vispropnet.text import first_of


def print_vos_scores(
    ground_truth: str | os.PathLike,
    results: str | os.PathLike,
    split: str | None = None,
    baseline: str | os.PathLike | None = None,
    resamples: int = 0,
    seed: int = 0,
    meta: str | os.PathLike | None = None,
    seen: str | os.PathLike | None = None,
    json_out: str | os.PathLike | None = None,
) -> dict[str, Any]:
    """Scores folders of index masks and prints the report.

    Args:
        ground_truth: Folder of ``<sequence>/<frame>.png``, or of DAVIS.
        results: Folder of ``<sequence>/<frame>.png``.
        split: Of DAVIS. Ids that its first frame skips then count as objects, as they do in its
            published code.
        baseline: Other results for the same sequences, to compare with.
        resamples: How often to resample the sequences for intervals; 0 for none.
        seed: Of the resampling.
        meta: ``meta.json`` of YouTube-VOS with the objects' categories: scores as YouTube-VOS does.
        seen: ``meta.json`` of its training videos, whose categories are the seen ones.
        json_out: JSON file for all metrics, unrounded.

    Returns:
        What was written to ``json_out``, or would be.

    Raises:
        UserError: for anything wrong in the files.
    """
    if (meta is None) != (seen is None):
        raise UserError(
            '--meta and --seen belong together: categories, and which of them are seen.'
        )
    folders = truth_folders(ground_truth, split)
    late = meta is not None
    # Of DAVIS, exactly as its own code has it.
    skipped = split is not None and not late
    ours = score_folders(folders, results, late, skipped)
    other = None if baseline is None else score_folders(folders, baseline, late, skipped)
    report = jf_report(ours, other, resamples, seed)
    if late:
        categories = object_categories(meta)
        report |= seen_unseen(ours, categories, set(object_categories(seen).values()))
    if json_out is not None:
        write_json(json_out, report, indent=1)
    print('\n'.join(aligned(_table(report))))
    print_skipped(ours)
    for part in ('sequences', 'objects'):
        print()
        print('\n'.join(aligned(_part_table(report[part]))))
    if resamples and 'ci' not in report:
        print('\none sequence gives no intervals')
    return report


def print_skipped(scores: Sequence[SequenceScores]) -> None:
    """Prints which objects count although the first frame does not show them, if any."""
    for one in scores:
        if one.skipped:
            print(
                f'\nsequence {one.name}: the first frame skips {first_of(one.skipped, 10)}; each '
                'counts as an object, as in the published code of DAVIS'
            )


def object_categories(path: str | os.PathLike) -> dict[tuple[str, int], str]:
    """Reads the categories in a ``meta.json`` of YouTube-VOS, by (video, object).

    Raises:
        UserError: if the file has another form.
    """
    content = read_json(path, 'meta file')
    try:
        return {
            (video, int(number)): one['category']
            for video, entry in content['videos'].items()
            for number, one in entry['objects'].items()
        }
    except (AttributeError, KeyError, TypeError, ValueError):
        raise UserError(
            f'meta file {path} must hold {{"videos": {{VIDEO: {{"objects": {{"1": {{"category": '
            'NAME}}}}}}, as that of YouTube-VOS.'
        ) from None


def _table(report: Mapping[str, Any]) -> list[list[str]]:
    intervals, baseline = report.get('ci'), report.get('baseline')
    rows = [['metric', 'value']]
    rows[0] += ['95 % interval'] if intervals else []
    rows[0] += ['baseline', 'difference'] if baseline else []
    rows[0] += ['95 % interval'] if intervals and baseline else []
    for name in METRICS:
        row = [name, f'{report[name]:.4f}']
        row += ['{:.4f} .. {:.4f}'.format(*intervals[name])] if intervals else []
        if baseline:
            row += [f'{baseline[name]:.4f}', f'{report[name] - baseline[name]:+.4f}']
            if intervals:
                row.append('{:+.4f} .. {:+.4f}'.format(*baseline['difference'][name]))
        rows.append(row)
    more = [name for name in ('J_seen', 'J_unseen', 'F_seen', 'F_unseen', 'G') if name in report]
    return rows + [[name, f'{report[name]:.4f}', *[''] * (len(rows[0]) - 2)] for name in more]


def _part_table(parts: list[dict[str, Any]]) -> list[list[str]]:
    rows = [[*(name for name in parts[0] if name not in METRICS), *METRICS]]
    for part in parts:
        rows.append([f'{one:.4f}' if name in METRICS else str(one) for name, one in part.items()])
    return rows
