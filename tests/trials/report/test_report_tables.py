import re

import pytest

from tests.trials.report.example import difference, empty_table, figures, full_table, trial
from vispropnet.evaluation.error_kinds import LABELS
from vispropnet.trials.report.charts import difference_chart, error_table
from vispropnet.trials.report.tables import (
    cost_table,
    facts,
    failures,
    published_table,
    result_table,
)
from vispropnet.trials.report.wording import decision, interval, points, signed_points


def cells(html):
    """The text of the cells of each row in the body of a table, lines kept apart by a bar."""
    body = html.split('<tbody>')[1]
    rows = re.findall('<tr>(.*?)</tr>', body)
    return [
        [
            re.sub('<[^>]+>', '', re.sub('<small[^>]*>|<br>', '|', cell))
            for cell in re.findall('<t[hd].*?>(.*?)</t[hd]>', row)
        ]
        for row in rows
    ]


def test_figures_in_points():
    assert [points(one) for one in (0.4567, -0.0001, -0.02, None)] == ['45.7', '0.0', '−2.0', '–']
    assert [signed_points(one) for one in (0.01, 0.0001, -0.02)] == ['+1.0', '0.0', '−2.0']
    assert interval([-0.02, 0.08], signed=True) == '[−2.0, +8.0]'
    assert interval(None) == ''


@pytest.mark.parametrize(
    ('ends', 'word'),
    [
        ([0.001, 0.1], 'better'),
        ([-0.1, -0.001], 'worse'),
        ([0, 0.1], 'not decided'),
        ([-0.1, 0.1], 'not decided'),
        (None, 'not decided'),
    ],
)
def test_a_decision_needs_an_interval_over_videos_and_seeds_without_zero(ends, word):
    assert decision(dict(value=0.05, ci=[0.04, 0.06], ci_both=ends)) == word


def test_what_differs_on_no_video_is_the_same():
    assert decision(dict(value=0.0, ci=[0, 0], ci_both=[-0.01, 0.01])) == 'same'
    assert decision(dict(value=0.0, ci=[-0.01, 0.01], ci_both=[-0.02, 0.02])) == 'not decided'


def test_rows_of_the_results():
    rows = cells(result_table(full_table()))
    assert rows[0] == ['A|a change', *['40.0|[35.0, 45.0]'] * 5, '2.0', 'baseline']
    assert rows[1][0] == 'B &lt;i&gt;&amp;|a change'
    assert rows[1][6:] == [
        '–|one seed',
        '+1.0|[−2.0, +8.0]|above 0 in 70 % of resamples',
        '◆ not decided|other seeds: ± 3.0; both together: [−3.2, +8.6]'
        '|smaller than the gap between two seeds of the baseline (2.0)',
    ]
    assert rows[2][1:] == ['failed: see the log']
    assert rows[3][1:] == ['not run']


def test_no_remark_on_seeds_where_the_gap_is_smaller_or_unknown():
    table = full_table()
    table['trials'][1]['difference'] = difference(0.01, [-0.02, 0.08], 0.03)
    table['trials'][1]['trains'] = False
    words = '◆ not decided|other seeds: ± 3.0; both together: [−3.2, +8.6]'
    assert cells(result_table(table))[1][-1] == words
    table['trials'][1]['difference'] = difference(-0.03, [-0.05, -0.01], 0.01)
    words = '▼ worse|other seeds: ± 1.0; both together: [−5.2, −0.8]'
    assert cells(result_table(table))[1][-1] == words
    table['trials'][1]['difference'] = difference(-0.03, [-0.05, -0.01])
    words = '◆ not decided|what other seeds would change is not known'
    assert cells(result_table(table))[1][-1] == words
    table['trials'][0]['figures'] = figures(0.4)
    table['trials'][1]['difference'] = difference(0.001)
    assert cells(result_table(table))[1][-1] == '◆ not decided|no interval'


def test_size_and_speed():
    rows = cells(cost_table(full_table()))
    assert rows[0] == ['A', '0, 1', '7.01 million', '51.2 ms', '30 ms', 'configs/some.py']
    assert rows[3] == ['D', '–', '–', '–', '–', 'configs/some.py']


def test_published_figures():
    rows = cells(published_table(full_table()))
    assert rows == [
        ['A', '36.0', '60.0', '–', '–', '–', '–', '–'],
        ['B &lt;i&gt;&amp;', '35.0', '–', '–', '–', '–', '−1.0', '+1.0'],
    ]
    assert published_table(empty_table()) == ''


def test_failures_quote_the_end_of_the_log():
    table = full_table()
    html = failures(table)
    assert '<pre tabindex="0">a &lt;tag&gt;\nthe end</pre>' in html
    assert 'c/seed-0, step train, exit status 1' in html
    table['trials'][2]['failure']['lines'] = [f'line {n}' for n in range(100)] + ['x' * 10_000]
    html = failures(table)
    assert 'line 60\n' not in html
    assert 'line 61\n' in html
    assert 'x' * 501 not in html
    assert failures(empty_table()) == ''


def test_facts_leave_out_what_is_not_known():
    listed = dict(facts(full_table()))
    assert listed['Data scored on'] == 'blocks: 5 videos, 15 frames, 10 objects'
    assert listed['Digest of the code'] == '<code>abc123</code>'
    assert facts(empty_table()) == []


def test_places_in_the_chart():
    html = difference_chart(full_table())
    # Over videos and seeds the interval goes from 1 - √18 to 1 + √58 points; 6 % to spare on both
    # sides, and 3 % of the width stay free.
    low, high = 1 - 18**0.5, 1 + 58**0.5
    start, width = low - 0.06 * (high - low), 1.12 * (high - low)
    place = {
        value: f'{3 + 94 * (value - start) / width:.2f}%'
        for value in (-2, -1, 0, 1, 2, 8, low, high)
    }
    assert f'cx="{place[1]}"' in html
    assert f'x1="{place[-2]}" x2="{place[8]}"' in html
    assert f'class="zero" x1="{place[0]}"' in html
    assert f'class="both not" x1="{place[low]}" x2="{place[high]}"' in html
    assert f'class="band" x="{place[-2]}" y="0" width="{94 * 4 / width:.2f}%"' in html
    # The seeds of the baseline are a point to either side of their mean, the one of b at its mean.
    seeds = re.findall('class="seed" x1="([^"]*)"', html)
    assert seeds == [place[-1], place[1], place[1]]
    ticks = re.findall('class="axis"[^>]*>([^<]*)<', html)[:-1]
    assert ticks == ['0.0', '+5.0']


def test_a_chart_without_a_gap_an_interval_or_a_difference():
    table = full_table()
    table['trials'][0]['figures'] = figures(0.4)
    table['trials'][1]['difference'] = difference(0.0)
    html = difference_chart(table)
    assert 'class="band"' not in html
    assert 'class="span' not in html
    assert 'single seed' in html
    assert 'no difference to draw' in difference_chart(empty_table())


def test_long_names_are_shortened_in_the_chart():
    table = full_table()
    table['trials'][1]['title'] = 'm' * 41
    assert f'<title>{"m" * 41}</title>{"m" * 39}…</text>' in difference_chart(table)


def test_kinds_of_error_are_shaded_by_what_they_cost():
    html = error_table(full_table())
    rows = cells(html)
    assert [row[0] for row in rows] == list(LABELS.values())
    assert rows[0][1:] == ['2.0|12', '2.0|12']
    assert rows[-1][1:] == ['2.0|12', '10.0|3']
    shares = re.findall('--share:([0-9.]+)', html)
    assert shares == ['0.200'] * 15 + ['1.000']


def test_errors_of_some_trials_only():
    table = full_table()
    del table['trials'][1]['errors']['masks']
    assert cells(error_table(table))[1][1:] == ['2.0|12', '–']
    table['trials'] = [trial('a')]
    assert 'No trial has a breakdown' in error_table(table)
