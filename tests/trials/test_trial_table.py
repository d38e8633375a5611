"""The table in its three forms."""

import csv
import io
import json

import pytest

from tests.trials.example import METRICS, difference, empty_table, figures, full_table, trial
from vispropnet.trials.table import comma_separated, markdown, seed_lines, write_tables


def table_of(*trials):
    return {**empty_table(), 'trials': list(trials)}


def cells(text, title):
    """Cells of the last row that begins with a title."""
    *_, line = (line for line in text.splitlines() if line.startswith(f'| {title} |'))
    return [cell.strip() for cell in line.strip('|').split('|')]


def test_a_trial_is_a_row_with_intervals_differences_and_costs():
    costs = dict(parameters=4_470_000, train_s_per_frame=0.0456, test_s_per_frame=None)
    change = difference(-0.0625, [-0.1875, 0.0625], 0.3)
    b = trial('b', figures=figures(0.5), difference=change, **costs)
    text = markdown(table_of(trial('a', figures=figures(0.5)), b))
    values = ['0.500 [0.450, 0.550]'] * 5
    assert cells(text, 'A') == ['A', *values, *[''] * 3, '1', '-', '-', '-']
    # The root of 0.125² + 0.3² is 0.325.
    changes = ['-0.062 [-0.188, +0.062]', '± 0.300', '[-0.388, +0.263]']
    assert cells(text, 'B') == ['B', *values, *changes, '1', '4.47 M', '45.6', '-']
    assert text.startswith('# Trials of <b>, preset cpu\n')
    assert '90% intervals, of 1000 resamples' in text
    assert '5 videos, 15 frames, 10 objects' in text and 'Of other videos' not in text


def test_failures_and_published_metrics_stand_below():
    table = full_table()
    values = (None, 0.326, 0.31, 0.355, 0.303)
    table['trials'][0]['published'] = dict(zip(METRICS, values, strict=True))
    text = markdown(table)
    assert cells(text, 'C')[1:6] == ['failed'] * 5 and cells(text, 'D')[1:6] == ['missing'] * 5
    assert '**C failed** in train (c/seed-0):\n\n```\na <tag>\nthe end\n```' in text
    assert cells(text, 'A') == ['A', '-', '0.3260', '0.3100', '0.3550', '0.3030']
    assert '\n\nOf other videos:\n\n' in text


def test_the_gap_between_seeds_is_beside_that_between_trials():
    assert 'not known' in seed_lines(table_of(trial('a', figures=figures(0.5))))[0]
    baseline = trial('a', figures=figures(0.5, {'0': 0.48, '1': 0.52}))
    # What trains nothing says nothing of seeds.
    others = [
        trial(name, figures=figures(0.5), difference=difference(value), trains=trains)
        for name, value, trains in (('b', 0.03, True), ('c', -0.1, True), ('d', 0.001, False))
    ]
    text = '\n'.join(seed_lines(table_of(baseline, *others)))
    assert '- A: mAP of its seeds 0.4800, 0.5200; gap 0.0400' in text
    assert 'by 0.0300 to 0.1000; 1 of 2 by no more than' in text


def test_csv_is_unrounded_and_json_whole(tmp_path):
    b = trial('b', figures=figures(1 / 3), difference=difference(0.25, [0.125, 0.375], 0.3))
    table = table_of(trial('a'), b)
    empty, row = csv.DictReader(io.StringIO(comma_separated(table)))
    for column, value in {
        'mAP': 1 / 3,
        'AP50_high': 1 / 3 + 0.05,
        'AR1_difference': 0.25,
        'AR1_difference_low': 0.125,
        'AR1_seed_error': 0.3,
        'AR1_both_high': pytest.approx(0.25 + 0.325),
    }.items():
        assert empty[column] == '' and float(row[column]) == value
    paths = write_tables(tmp_path, table)
    assert [path.name for path in paths] == ['table.md', 'table.csv', 'table.json']
    assert json.loads((tmp_path / 'table.json').read_text()) == table


def test_the_committed_table_is_that_of_its_json(root):
    folder = root / 'docs/trials'
    table = json.loads((folder / 'table.json').read_text())
    assert comma_separated(table) == (folder / 'table.csv').read_text()
    # The title came later.
    assert markdown({**table, 'title': 'Trials'}) == (folder / 'table.md').read_text()
