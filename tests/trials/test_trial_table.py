"""The table in its three forms."""

import csv
import io
import json

import pytest

from vispropnet.trials.seeds import with_seeds
from vispropnet.trials.table import comma_separated, markdown, seed_lines, write_tables

NAMES = ('AP50', 'AP75', 'AR1', 'AR10', 'mAP')


def row(name, mean=None, **more):
    figure = dict(mean=mean, ci=[0.25, 0.75], by_seed={'0': mean}, seed_spread=None)
    empty = ('failure', 'difference', 'parameters', 'train_s_per_frame', 'test_s_per_frame')
    row = dict(name=name, title=name.title(), trains=True, state='done', seeds=[0])
    row['figures'] = None if mean is None else dict.fromkeys(NAMES, figure)
    return {**dict.fromkeys([*empty, 'published']), **row, **more}


def table_of(*rows):
    return dict(
        title='Trials',
        preset='cpu',
        command='python tools/run_trials.py',
        date='2026-01-01',
        hardware='2 cores',
        code='abc',
        baseline='baseline',
        data=dict(name='shapes', videos=3, frames=9, objects=5),
        bootstrap=dict(resamples=100, seed=0, level=0.95),
        published='Of other videos:',
        trials=list(rows),
    )


def change(value, seed_error=None):
    one = dict(value=value, ci=[value - 0.125, value + 0.125], above_zero=1)
    return dict.fromkeys(NAMES, with_seeds(one, seed_error))


def cells(text, title):
    line = next(line for line in text.splitlines() if line.startswith(f'| {title} |'))
    return [cell.strip() for cell in line.strip('|').split('|')]


def test_a_trial_is_a_row_with_intervals_differences_and_costs():
    costs = dict(parameters=4_470_000, train_s_per_frame=0.0456, test_s_per_frame=None)
    ordered = row('ordered', 0.5, difference=change(-0.0625, 0.3), **costs)
    text = markdown(table_of(row('baseline', 0.5), ordered))
    figures = ['0.500 [0.250, 0.750]'] * 5
    assert cells(text, 'Baseline') == ['Baseline', *figures, *[''] * 3, '1', '-', '-', '-']
    costs = ['1', '4.47 M', '45.6', '-']
    # The root of 0.125² + 0.3² is 0.325.
    change_cells = ['-0.062 [-0.188, +0.062]', '± 0.300', '[-0.388, +0.263]']
    assert cells(text, 'Ordered') == ['Ordered', *figures, *change_cells, *costs]
    assert '3 videos, 9 frames, 5 objects' in text and 'Of other videos' not in text


def test_a_failed_trial_keeps_its_row_and_shows_its_last_lines():
    failure = dict(run='ordered/seed-0', step='train', lines=['one', 'loss is nan'])
    text = markdown(table_of(row('baseline', 0.5), row('ordered', state='failed', failure=failure)))
    assert cells(text, 'Ordered')[1:6] == ['failed'] * 5
    assert '**Ordered failed** in train (ordered/seed-0):\n\n```\none\nloss is nan\n```' in text


def test_the_gap_between_seeds_is_beside_that_between_trials():
    assert 'not known' in seed_lines(table_of(row('baseline', 0.5)))[0]
    baseline = row('baseline', 0.5)
    baseline['figures'] = dict.fromkeys(
        NAMES, dict(mean=0.5, ci=None, by_seed={'0': 0.48, '1': 0.52}, seed_spread=0.04)
    )
    others = [row('a', 0.5, difference=change(0.03)), row('b', 0.5, difference=change(-0.1))]
    # What trains nothing says nothing of seeds.
    others.append(row('off', 0.5, difference=change(0.001), trains=False))
    text = '\n'.join(seed_lines(table_of(baseline, *others)))
    assert '- Baseline: mAP of its seeds 0.4800, 0.5200; gap 0.0400' in text
    assert 'by 0.0300 to 0.1000; 1 of 2 by no more than' in text


def test_published_metrics_are_a_table_of_their_own():
    published = dict(zip(NAMES, (None, 0.326, 0.31, 0.355, 0.303), strict=True))
    text = markdown(table_of(row('baseline', 0.5, published=published)))
    last = [line for line in text.splitlines() if line.startswith('| Baseline')][-1]
    assert last == '| Baseline | - | 0.3260 | 0.3100 | 0.3550 | 0.3030 |'
    assert '\n\nOf other videos:\n\n' in text


def test_csv_is_unrounded_and_json_whole(tmp_path):
    ordered = row('ordered', 1 / 3, difference=change(0.25, 0.3))
    table = table_of(row('baseline'), ordered)
    rows = list(csv.DictReader(io.StringIO(comma_separated(table))))
    assert rows[0]['mAP'] == '' and rows[0]['mAP_difference_low'] == ''
    assert float(rows[1]['mAP']) == 1 / 3 and float(rows[1]['AP50_high']) == 0.75
    assert float(rows[1]['AR1_difference']) == 0.25
    assert float(rows[1]['AR1_seed_error']) == 0.3
    assert float(rows[1]['AR1_both_high']) == pytest.approx(0.25 + 0.325)
    assert rows[0]['AR1_both_low'] == ''
    paths = write_tables(tmp_path, table)
    assert [path.name for path in paths] == ['table.md', 'table.csv', 'table.json']
    assert json.loads((tmp_path / 'table.json').read_text()) == table


def test_the_committed_table_is_that_of_its_json(root):
    folder = root / 'docs/trials'
    table = json.loads((folder / 'table.json').read_text())
    assert comma_separated(table) == (folder / 'table.csv').read_text()
    # The title came later.
    assert markdown({**table, 'title': 'Trials'}) == (folder / 'table.md').read_text()
