"""The table in its three forms."""

import csv
import io
import json

import pytest

from tests.trials.example import difference, empty_table, figures, full_table, trial
from vispropnet.trials.table import comma_separated, markdown, seed_lines, write_tables


def cells(text, title):
    """Cells of the last row that begins with a title."""
    *_, line = (line for line in text.splitlines() if line.startswith(f'| {title} |'))
    return [cell.strip() for cell in line.strip('|').split('|')]


def test_a_trial_is_a_row_with_intervals_differences_and_costs():
    plain, change = dict(figures=figures(0.5)), difference(-0.0625, [-0.1875, 0.0625], 0.3)
    b = trial('b', difference=change, parameters=4_470_000, train_s_per_frame=0.0456, **plain)
    text = markdown(empty_table(trial('a', **plain), b))
    values = ['0.500 [0.450, 0.550]'] * 5
    assert cells(text, 'A') == ['A', *values, *[''] * 3, '1', '-', '-', '-']
    # The root of 0.125² + 0.3² is 0.325.
    changes = ['-0.062 [-0.188, +0.062]', '± 0.300', '[-0.388, +0.263]']
    assert cells(text, 'B') == ['B', *values, *changes, '1', '4.47 M', '45.6', '-']
    assert text.startswith('# Trials of <b>, preset cpu\n')
    assert '90% intervals, of 1000 resamples' in text
    assert '5 videos, 15 frames, 10 objects' in text and 'Of other videos' not in text


def test_seeds_that_would_decide_are_told():
    def lines(power):
        table = empty_table(trial('a', seeds=[0, 1], figures=figures(0.4, 0.39, 0.41)))
        return '\n'.join(seed_lines({**table, 'power': power}))

    # With 0.014 for a seed and 0.025 for the videos, as by hand in the test of seeds.
    text = lines(dict(deviation=0.014, over_videos=0.025))
    told = 'a difference in mAP of 0.02 by no number of them, 0.03 from 7 on, 0.05 from 3 on would'
    assert told in text and 'deviation of 0.0140 and these videos leave ± 0.0250' in text
    assert 'would be decided' not in lines(None)


def test_failures_and_published_metrics_stand_below():
    table = full_table()
    table['trials'][0]['published'] = dict(AP75=0.326, AR1=0.31, AR10=0.355, mAP=0.303, AP50=None)
    text = markdown(table)
    assert cells(text, 'C')[1:6] == ['failed'] * 5 and cells(text, 'D')[1:6] == ['missing'] * 5
    assert '**C failed** in train (c/seed-0):\n\n```\na <tag>\nthe end\n```' in text
    assert cells(text, 'A') == ['A', '-', '0.3260', '0.3100', '0.3550', '0.3030']
    assert '\n\nOf other videos:\n\n' in text


def test_the_gap_between_seeds_is_beside_that_between_trials():
    plain, values = dict(figures=figures(0.5)), dict(b=0.03, c=-0.1, d=0.001)
    assert 'not known' in seed_lines(empty_table(trial('a', **plain)))[0]
    a = trial('a', figures=figures(0.5, 0.48, 0.52))
    b, c, d = (trial(name, difference=difference(one), **plain) for name, one in values.items())
    # What trains nothing says nothing of seeds.
    text = '\n'.join(seed_lines(empty_table(a, b, c, {**d, 'trains': False})))
    assert '- A: mAP of its seeds 0.4800, 0.5200; gap 0.0400' in text
    assert 'by 0.0300 to 0.1000; 1 of 2 by no more than' in text


def test_csv_is_unrounded_and_json_whole(tmp_path):
    b = trial('b', figures=figures(1 / 3), difference=difference(0.25, [0.125, 0.375], 0.3))
    table = empty_table(trial('a'), b)
    empty, row = csv.DictReader(io.StringIO(comma_separated(table)))
    expected = dict(mAP=1 / 3, AP50_high=1 / 3 + 0.05, AR1_difference=0.25, AR1_seed_error=0.3)
    expected |= dict(AR1_difference_low=0.125, AR1_both_high=pytest.approx(0.25 + 0.325))
    assert {column: float(row[column]) for column in expected} == expected
    assert not any(empty[column] for column in expected)
    paths = write_tables(tmp_path, table)
    assert [path.name for path in paths] == ['table.md', 'table.csv', 'table.json']
    assert json.loads((tmp_path / 'table.json').read_text()) == table


def test_the_committed_table_is_that_of_its_json(root):
    folder = root / 'docs/trials'
    table = json.loads((folder / 'table.json').read_text())
    assert comma_separated(table) == (folder / 'table.csv').read_text()
    assert markdown(table) == (folder / 'table.md').read_text()
