"""Finds what is wrong in a data set or a result file before it costs a run."""

from __future__ import annotations

import argparse
import io
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vispropnet.errors import UserError, report_user_errors

if TYPE_CHECKING:
    from vispropnet.datasets.check_report import Report


@dataclass
class DataSet:
    """An annotation file with its frames, and what it is for."""

    annotations: str
    images: str | None = None
    hint: str = ''
    for_training: bool = False
    category_map: dict[str, str] | None = None
    classes: tuple[str, ...] | None = None
    annotated_only: bool = False


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description='List what is wrong in the data sets of a config, in one data set (--ann, '
        '--images) or in a result file (--results, --ann). Exit status: 0 without errors (warnings '
        'do not count), 1 with errors, 2 if a file cannot be read.',
    )
    parser.add_argument('config', nargs='?', metavar='CONFIG', help='config file')
    parser.add_argument('--ann', metavar='GT.json', help='annotation file')
    parser.add_argument('--images', metavar='DIR', help='folder that its file names start from')
    parser.add_argument('--results', metavar='R.json', help='result file, for the videos of --ann')
    parser.add_argument(
        '--deep',
        action='store_true',
        help='decode every frame; otherwise only the header of the first frame of each video is '
        'read, and the others must exist',
    )
    parser.add_argument(
        '--annotated-only',
        action='store_true',
        help='frames without objects are not annotated: do not warn of a regular stride',
    )
    parser.add_argument('--json', metavar='OUT', help='write the findings as JSON too')
    parser.add_argument(
        '--cfg-options', nargs='+', default=[], metavar='KEY=VALUE', help='change config entries'
    )
    options = parser.parse_args(arguments)
    if (options.config is None) == (options.ann is None):
        parser.error('give either CONFIG or --ann')
    if options.config is not None and (options.images or options.results):
        parser.error('--images and --results go with --ann, not with CONFIG')
    if options.config is None and options.cfg_options:
        parser.error('--cfg-options goes with CONFIG')
    if options.results and options.images:
        parser.error('--results and --images are two checks: run them one by one')
    if options.deep and options.config is None and not options.images:
        parser.error('--deep decodes frames: it needs CONFIG or --images')
    return options


def main(arguments: list[str] | None = None) -> None:
    """Runs the tool."""
    options = parse_arguments(arguments)
    with report_user_errors():
        from vispropnet.datasets.check_report import ERROR, report_lines, reports_as_json
        from vispropnet.fileio import write_json
        from vispropnet.text import printable

        sets = find_data_sets(options)
        inputs = [options.config, options.results, *(one.annotations for one in sets)]
        check_output(options.json, inputs)
        if options.results:
            reports = check_result_file(options.results, options.ann)
        else:
            reports = check_data_sets(sets, options.deep, options.annotated_only)
        if options.json:
            write_json(options.json, reports_as_json(reports), indent=1)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A name in the file may hold what the terminal's encoding does not.
        sys.stdout.reconfigure(errors='backslashreplace')
    print('\n'.join(report_lines(reports)))
    unreadable = [report.unreadable for report in reports if report.unreadable]
    for message in unreadable:
        print(f'error: {printable(message)}', file=sys.stderr)
    if unreadable:
        raise SystemExit(2)
    if any(report.count(ERROR) for report in reports):
        raise SystemExit(1)


def find_data_sets(options: argparse.Namespace) -> list[DataSet]:
    """Names the data sets to be checked, each once, those to train on first."""
    if options.ann:
        return [DataSet(options.ann, options.images)]
    from vispropnet.config import LOADERS, load_config

    config = load_config(options.config, options.cfg_options)
    found: dict[tuple, DataSet] = {}
    for name in LOADERS:
        loader = config.get(name) or {}
        for one in configured_data_sets(loader.get('dataset'), name == 'train_dataloader'):
            key = (os.path.realpath(one.annotations), os.path.realpath(one.images))
            key += (repr(one.category_map), one.classes)
            found.setdefault(key, one).for_training |= one.for_training
    for part in ('val', 'test'):
        evaluator = config.get(f'{part}_evaluator')
        path = evaluator.get('ann_file') if isinstance(evaluator, dict) else None
        if path:
            real = os.path.realpath(path)
            scored = [one for key, one in found.items() if key[0] == real]
            for one in scored or [found.setdefault((real,), DataSet(path))]:
                one.annotated_only |= bool(evaluator.get('annotated_only'))
    if not found:
        raise UserError(f'config {options.config} names no annotation file of a data set.')
    return list(found.values())


def configured_data_sets(dataset: Any, for_training: bool) -> list[DataSet]:
    """Finds data sets with an annotation file in the config of a (wrapped) data set."""
    from vispropnet.config import named_data_sets
    from vispropnet.datasets.categories import chosen_classes

    found = []
    for one in named_data_sets(dataset):
        root = one.get('data_root') or ''
        images = os.path.join(root, (one.get('data_prefix') or {}).get('img') or '') or '.'
        annotations, hint = os.path.join(root, one['ann_file']), one.get('hint') or ''
        chosen = one.get('category_map'), chosen_classes(one.get('metainfo'))
        found.append(DataSet(annotations, images, hint, for_training, *chosen))
    return found


def check_output(path: str | None, inputs: list[str | None]) -> None:
    """Finds out before the checks whether their findings can be written."""
    if path is None:
        return
    from vispropnet.evaluation.result_file import check_folder

    if os.path.realpath(path) in [os.path.realpath(one) for one in inputs if one]:
        raise UserError(f'--json {path} would replace a file that is to be checked.')
    if os.path.isdir(path):
        raise UserError(f'--json {path} is a folder; give the name of a file.')
    check_folder(path)


def check_data_sets(sets: list[DataSet], deep: bool, annotated_only: bool = False) -> list[Report]:
    """Checks annotation files and frames."""
    from vispropnet.datasets.categories import select_categories
    from vispropnet.datasets.check_annotations import check_annotations, compare_categories
    from vispropnet.datasets.check_report import Report

    reports = []
    trained: dict[str, int] = {}  # ids by name
    for one in sets:
        report = Report(one.annotations)
        reports.append(report)
        try:
            file = check_annotations(
                *(one.annotations, report, one.hint, one.for_training),
                annotated_only=annotated_only or one.annotated_only,
            )
            if one.for_training and file.categories:
                chosen = one.category_map, one.classes, f'annotation file {one.annotations}'
                names = select_categories(file.categories, *chosen)
                trained.update({name: identity for identity, name in names.items()})
            elif trained and file.categories:
                compare_categories(file, trained, one.category_map, one.classes)
            if one.images is not None and not file.is_other:
                from vispropnet.datasets.check_frames import check_frames

                check_frames(file.videos, one.images, report, deep, one.hint)
        except UserError as error:
            report.unreadable = str(error)
    return reports


def check_result_file(results: str, annotations: str) -> list[Report]:
    """Checks a result file, and as much of the annotation file as that takes."""
    from vispropnet.datasets.annotation_rules import AnnotationFile
    from vispropnet.datasets.check_report import Report
    from vispropnet.evaluation.check_results import check_results
    from vispropnet.fileio import read_json

    reports = [Report(annotations), Report(results)]
    try:
        file = AnnotationFile(read_json(annotations, 'annotation file'), reports[0])
    except UserError as error:
        # Without the videos nothing can be said of the results.
        reports[0].unreadable = str(error)
        return reports[:1]
    file.annotations = None
    try:
        check_results(results, file, reports[1])
    except UserError as error:
        reports[1].unreadable = str(error)
    return reports if reports[0].findings else reports[1:]


if __name__ == '__main__':
    main()
