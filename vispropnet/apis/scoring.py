"""Scoring of result files: what ``tools/eval_vis.py`` calls."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vispropnet.errors import UserError
from vispropnet.evaluation.average_precision import format_table
from vispropnet.evaluation.ground_truth import read_ground_truth
from vispropnet.evaluation.id_keeping import gap_lines, ids_after_gaps
from vispropnet.evaluation.oracles import oracle_metrics
from vispropnet.evaluation.report import (
    PARTS,
    error_lines,
    full_report,
    metric_lines,
    oracle_lines,
    part_lines,
    score_file,
)
from vispropnet.evaluation.result_file import check_folder, read_results
from vispropnet.evaluation.trackeval_measures import trackeval_metrics, tracking_measures
from vispropnet.evaluation.visibility import found_by_visibility, visibility_lines
from vispropnet.fileio import write_json

# Fewer than these give intervals that are clearly too short.
_FEW_VIDEOS = 30


def print_scores(
    annotations: str | os.PathLike,
    results: str | os.PathLike,
    baseline: str | os.PathLike | None = None,
    resamples: int = 0,
    seed: int = 0,
    per_class: bool = False,
    errors_dir: str | os.PathLike | None = None,
    hota_threshold: float | None = None,
    gap_threshold: float | None = None,
    json_out: str | os.PathLike | None = None,
    annotated_only: bool = False,
    oracles: bool = False,
    visibility: bool = False,
) -> dict[str, Any]:
    """Scores a result file and prints the report.

    Args:
        annotations: Annotation file.
        results: Result file, or the archive made of it.
        baseline: Another result file for the same annotations, to compare with.
        resamples: How often to resample the videos for intervals; 0 for none.
        seed: Of the resampling.
        per_class: Whether to print a table by category.
        errors_dir: Folder for the chart of errors and the list of the worst videos; None leaves
            errors out.
        hota_threshold: Score from which tracks count for HOTA and IDF1; None leaves them out.
        gap_threshold: The same for ids that are kept while objects are hidden.
        json_out: JSON file for all metrics, unrounded.
        annotated_only: Whether only frames count that show an object.
        oracles: Whether to score the results with one thing taken from the truth.
        visibility: Whether to count frames in which objects are found by how much of them is
            visible.

    Returns:
        What was written to ``json_out``, or would be.

    Raises:
        UserError: for anything wrong in the files, or if an output cannot be written.
    """
    stem = Path(results).stem
    chart = worst = None
    if errors_dir is not None:
        chart = Path(errors_dir) / f'{stem}_errors.png'
        worst = Path(errors_dir) / f'{stem}_worst_videos.json'
    _check_outputs((json_out, chart, worst), (annotations, results, baseline))
    if hota_threshold is not None:
        trackeval_metrics()  # rather missed before the work than after it
    frame_by_frame = visibility or any(
        one is not None for one in (chart, hota_threshold, gap_threshold)
    )
    truth = read_ground_truth(annotations, annotated_only)
    ours = score_file(truth, results, frame_by_frame)
    other = None if baseline is None else score_file(truth, baseline, frame_by_frame)
    report = dict(ground_truth=os.fspath(annotations), results=os.fspath(results))
    report |= full_report(ours, other, resamples, seed, errors=chart is not None)
    if other is not None:
        report['baseline']['results'] = os.fspath(baseline)
    if hota_threshold is not None:
        measures = tracking_measures(ours.tracks, hota_threshold)
        report['tracking'] = dict(score_threshold=hota_threshold, **measures)
        if other is not None:
            report['baseline']['tracking'] = tracking_measures(other.tracks, hota_threshold)
    for part, scored, path in (
        (report, ours, results),
        *([] if other is None else [(report['baseline'], other, baseline)]),
    ):
        if gap_threshold is not None:
            part['gaps'] = ids_after_gaps(scored.tracks, gap_threshold)
        if visibility:
            part['visibility'] = found_by_visibility(scored.tracks)
        if oracles:
            part['oracles'] = oracle_metrics(truth, read_results(path))
    # Files first: whoever reads the tables may leave early.
    if chart is not None:
        _draw_errors(report, chart)
        write_json(worst, report['worst_videos'], indent=1)
    if json_out is not None:
        write_json(json_out, report, indent=1)
    _print_report(report, truth.notes, per_class)
    if chart is not None:
        print(f'\nchart: {chart}\nworst videos first: {worst}')
    if json_out is not None:
        print(f'all metrics: {json_out}')
    return report


def _check_outputs(
    outputs: Sequence[str | os.PathLike | None], inputs: Sequence[str | os.PathLike | None]
) -> None:
    """Checks before the work that outputs can be written and overwrite nothing."""
    taken = {os.path.realpath(path): 'an input' for path in inputs if path is not None}
    for path in outputs:
        if path is None:
            continue
        check_folder(path)
        if Path(path).is_dir():
            raise UserError(f'cannot write {path}: it is a folder, expected the path of a file.')
        real = os.path.realpath(path)
        if real in taken:
            raise UserError(f'cannot write {path}: it is {taken[real]}; give another path.')
        taken[real] = 'another output'


def _print_report(report: dict[str, Any], notes: Sequence[str], per_class: bool) -> None:
    print(
        f'{report["results"]}: {report["tracks"]} tracks in {report["videos_with_tracks"]} videos, '
        f'against {report["objects"]} objects in {report["videos"]} videos'
    )
    if report['annotations_left_out']:
        print(
            f'warning: {report["annotations_left_out"]} annotations are of no listed video or '
            f'category and play no part: tools/check_data.py --ann {report["ground_truth"]} lists '
            'them.'
        )
    for note in notes:
        print(f'warning: {report["ground_truth"]}: {note}.')
    print()
    print('\n'.join(metric_lines(report)))
    if 'bootstrap' in report:
        print(f'\nintervals: {report["bootstrap"]["resamples"]} resamples of the videos')
        if report['videos'] < _FEW_VIDEOS:
            print(f'{report["videos"]} videos are few: take the intervals for too short')
    for key, title in PARTS.items():
        if per_class or key != 'categories':
            print('\n' + '\n'.join(part_lines(report['detail'][key], title)))
    print('* a track that finds nothing counts as false in each of these parts')
    if 'errors' in report:
        print('\n' + '\n'.join(error_lines(report)))
    if 'oracles' in report:
        print('\n' + '\n'.join(oracle_lines(report)))
    if 'tracking' in report:
        measures = report['tracking']
        threshold = measures['score_threshold']
        print(f'\ntracks that score at least {threshold}, by category and averaged')
        print(format_table(measures, ('HOTA', 'DetA', 'AssA', 'IDF1', 'IDP', 'IDR')))
    for one in (report, report.get('baseline', {})):
        if 'gaps' in one:
            print('\n' + '\n'.join(gap_lines(one['gaps'], one['results'])))
        if 'visibility' in one:
            print('\n' + '\n'.join(visibility_lines(one['visibility'], one['results'])))


def _draw_errors(report: dict[str, Any], path: Path) -> None:
    from vispropnet.visualization.charts import draw_error_chart

    scored = [report, *([report['baseline']] if 'baseline' in report else [])]
    names = [Path(one['results']).stem for one in scored]
    if len(set(names)) < len(names):
        names = [one['results'] for one in scored]
    bars = [(name, one['AP'], one['errors']) for name, one in zip(names, scored, strict=True)]
    draw_error_chart(path, bars)
