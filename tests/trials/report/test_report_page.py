"""The page of the trials: what it says of a table, escaped, and what it holds beside."""

import html
import re

import pytest

from tests.trials.example import difference, empty_table, figures, full_table
from tests.visualization.blocks import write_files
from vispropnet.errors import UserError
from vispropnet.evaluation.error_kinds import LABELS
from vispropnet.trials.report import gallery, page
from vispropnet.trials.report.page import decision, interval, points, signed_points, write_report


@pytest.fixture
def write(tmp_path):
    """Writes the page of a table, the full one unless given, and gives its text."""
    write_files(tmp_path)

    def write(table=None, names='ab', curves=None, **options):
        results = {name: tmp_path / f'{name}.json' for name in names}
        path, *files = (tmp_path / name for name in ('report.html', 'gt.json', 'images'))
        table = table or full_table()
        assert write_report(path, table, *files, results, curves, **options) == path
        return path.read_text()

    return write


def cells(text, kind):
    """The text of the cells of each row in the body of a table, lines kept apart by a bar."""
    (body,) = re.findall(f'<table class="{kind}">.*?<tbody>(.*?)</tbody>', text, re.DOTALL)
    return [
        [
            html.unescape(re.sub('<[^>]+>', '', re.sub('<small[^>]*>|<br>', '|', cell)))
            for cell in re.findall('<t[hd].*?>(.*?)</t[hd]>', row, re.DOTALL)
        ]
        for row in re.findall('<tr>(.*?)</tr>', body, re.DOTALL)
    ]


def test_metrics_and_decisions_in_words():
    assert [points(one) for one in (0.4567, -0.0001, -0.02, None)] == ['45.7', '0.0', '−2.0', '–']
    assert [signed_points(one) for one in (0.01, 0.0001, -0.02)] == ['+1.0', '0.0', '−2.0']
    assert interval([-0.02, 0.08], signed=True) == '[−2.0, +8.0]'
    assert interval([0.02, 0.08]) == '[2.0, 8.0]' and interval(None) == ''

    def decided(value, ci, *both):
        return [decision(dict(value=value, ci=ci, ci_both=one)) for one in both]

    # A decision needs an interval over videos and seeds without zero.
    assert decided(0.05, [0.04, 0.06], [0.001, 0.1], [-0.1, -0.001]) == ['better', 'worse']
    assert {*decided(0.05, [0.04, 0.06], [0, 0.1], [-0.1, 0.1], None)} == {'not decided'}
    assert decided(0.0, [0, 0], [-0.01, 0.01]) == ['same']  # nothing differs on any video
    assert decided(0.0, [-0.01, 0.01], [-0.02, 0.02]) == decided(0.0, None, None) == ['not decided']


def test_text_from_data_is_escaped_and_what_is_not_there_is_named(write):
    table = full_table()
    table['trials'][0] |= dict(title='<script>alert(1)</script>', change='"><img src=x>')
    table |= dict(command="<i onload='x'>", hardware='<s>', versions={'<u>': '<b>'})
    table['data']['name'] = '</dd><b>'
    text = write(table, attention=[dict(title='<u>', caption='"<s>', jpeg=b'x')])
    assert '&lt;script&gt;alert(1)&lt;/script&gt;' in text and 'B &lt;i&gt;&amp;' in text
    assert not re.search("<[ibus][ >]|<script>alert|<img src=x|onload='", text)
    # Nor does a name end the data of the gallery.
    assert text.count('</script>') == 2
    # A table with nothing in it.
    text = write(empty_table(), names='')
    assert cells(text, 'results') == [['A|a change', 'not run']]
    assert 'no results to show' in text and 'no difference to draw' in text
    assert 'No trial has a breakdown' in text and 'There are no training curves' in text
    assert not any(one in text for one in ('id="attention"', 'Published', 'Failed trials'))
    assert 'None' not in text.split('<script>')[0].split('</style>')[1]


def test_facts_and_tables_and_nothing_beside_the_page(write, monkeypatch):
    text = write()
    assert not re.search(r'https?://|@import|url\(|<link|src="(?!data:)', text)
    assert "default-src 'none'" in text
    assert text.count('<script type="application/json"') == 1
    assert '<h1>Trials of &lt;b&gt;</h1>' in text
    assert 'One thing was changed at a time (3 changes)' in text and 'baseline, “A”' in text
    assert '2 of 4 trials are complete' in text
    assert 'drawn anew 1000 times with replacement (seed 0); 90 %' in text
    assert '<dd>blocks: 5 videos, 15 frames, 10 objects</dd>' in text
    assert '<dd><code>abc123</code></dd>' in text and '<dd>torch 2.9.0</dd>' in text
    assert '5 of 5 videos' in text
    assert '<pre tabindex="0">a &lt;tag&gt;\nthe end</pre>' in text
    assert 'c/seed-0, step train, exit status 1' in text and 'href="#failure-c"' in text
    rows = cells(text, 'results')
    assert rows[0] == ['A|a change', *['40.0|[35.0, 45.0]'] * 5, '2.0', 'baseline']
    title, *metrics, seeds, change, decided = rows[1]
    assert (title, len(metrics), seeds) == ('B <i>&|a change', 5, '–|one seed')
    assert change == '+1.0|[−2.0, +8.0]|above 0 in 70 % of resamples'
    both = 'other seeds: ± 3.0; both together: [−3.2, +8.6]'
    gap = 'smaller than the gap between two seeds of the baseline (2.0)'
    assert decided.split('|') == ['◆ not decided', both, gap]
    assert [row[1:] for row in rows[2:]] == [['failed: see the log'], ['not run']]
    rows = cells(text, 'cost')
    assert rows[0] == ['A', '0, 1', '7.01 million', '51.2 ms', '30 ms', 'configs/some.py']
    assert rows[3] == ['D', '–', '–', '–', '–', 'configs/some.py']
    second = ['B <i>&', '35.0', *'––––', '−1.0', '+1.0']
    assert cells(text, 'published') == [['A', '36.0', '60.0', *'–––––'], second]
    # Kinds of error are shaded by what they cost.
    rows = cells(text, 'errors')
    assert [row[0] for row in rows] == list(LABELS.values())
    assert rows[0][1:] == ['2.0|12', '2.0|12'] and rows[-1][1:] == ['2.0|12', '10.0|3']
    assert re.findall('--share:([0-9.]+)', text) == ['0.200'] * 15 + ['1.000']
    assert '<th scope="col">B &lt;i&gt;&amp;<small>mAP 41.0</small></th>' in text
    monkeypatch.setattr(page, 'GALLERY_VIDEOS', 1)
    table = full_table()
    table['data']['videos'] = 1
    text = write(table)
    assert '1 of 5 videos' in text and 'blocks: 1 video, 15 frames' in text


def test_remarks_on_a_difference(write):
    table, undecided = full_table(), '◆ not decided'
    for change, trains, decided, remark in (
        # What has the weights of the baseline says nothing of seeds.
        ((0.01, [-0.02, 0.08], 0.03), False, undecided, '± 3.0; both together: [−3.2, +8.6]'),
        ((-0.03, [-0.05, -0.01], 0.01), True, '▼ worse', '± 1.0; both together: [−5.2, −0.8]'),
        ((-0.03, [-0.05, -0.01]), True, undecided, 'other seeds would change is not known'),
        ((0.03,), True, undecided, 'no interval'),
    ):
        table['trials'][1] |= dict(difference=difference(*change), trains=trains)
        words, found = cells(write(table), 'results')[1][-1].split('|')
        assert words == decided and found.endswith(remark)


def test_failures_quote_the_end_of_the_log(write):
    table = full_table()
    failure = table['trials'][2]['failure']
    failure |= dict(lines=[f'line {n}' for n in range(100)] + ['x' * 10_000], exit=None, log=None)
    text = write(table)
    assert 'line 60\n' not in text and 'line 61\n' in text
    assert 'x' * 500 in text and 'x' * 501 not in text
    assert 'exit status –' in text and '<code>–</code>' in text
    failure['lines'] = []
    assert '(the log is empty)' in write(table)


def test_places_in_the_chart(write):
    def ticks_of(text):
        return re.findall('class="axis"[^>]*>([^<]*)<', text)[:-1]

    text = write()
    # Over videos and seeds the interval goes from 1 - √18 to 1 + √58 points; 6 % to spare on both
    # sides, and 3 % of the width stay free.
    low, high = 1 - 18**0.5, 1 + 58**0.5
    start, width = low - 0.06 * (high - low), 1.12 * (high - low)
    values = (-2, -1, 0, 1, 8, low, high)
    place = {value: f'{3 + 94 * (value - start) / width:.2f}%' for value in values}
    assert f'<circle class="not" cx="{place[1]}" cy="86"' in text
    assert f'class="span not" x1="{place[-2]}" x2="{place[8]}" y1="86" y2="86"' in text
    assert f'class="zero" x1="{place[0]}" x2="{place[0]}" y1="0" y2="102"' in text
    assert f'class="both not" x1="{place[low]}" x2="{place[high]}"' in text
    assert f'class="band" x="{place[-2]}" y="0" width="{94 * 4 / width:.2f}%" height="102"' in text
    # The seeds of the baseline are a point to either side of their mean, the one of b at its mean.
    seeds = re.findall('class="seed" x1="([^"]*)" x2="([^"]*)" y1="([^"]*)" y2="([^"]*)"', text)
    expected = (-1, '32', '48'), (1, '32', '48'), (1, '78', '94')
    assert seeds == [(place[at], place[at], *ends) for at, *ends in expected]
    assert ticks_of(text) == ['0.0', '+5.0']
    label = 'Differences of mAP to the baseline: B &lt;i&gt;&amp; +1.0'
    assert f'height="142" aria-label="{label}"' in text
    # Without a gap or an interval, and with a long name.
    table = full_table()
    table['trials'][0]['figures'] = table['trials'][1]['figures'] = figures(0.4)
    table['trials'][1] |= dict(difference=difference(0.0), title='m' * 41)
    text = write(table)
    # A point wide at least.
    assert ticks_of(text) == ['−0.4', '−0.2', '0.0', '+0.2', '+0.4']
    assert 'class="band"' not in text and 'class="span' not in text and 'single seed' in text
    assert f'<title>{"m" * 41}</title>{"m" * 39}…</text>' in text


def test_pictures_are_embedded_unless_they_are_too_large_or_faulty(write, tmp_path, monkeypatch):
    for name, kind in (('c.svg', 'svg+xml'), ('c.png', 'png')):
        (tmp_path / name).write_bytes(b'picture')
        assert f'src="data:image/{kind};base64,cGljdHVyZQ=="' in write(curves=tmp_path / name)
    # Full pages stay below 20 MB.
    assert (page.CURVES_LIMIT + page.ATTENTION_LIMIT) * 4 / 3 + gallery.BUDGET < 19_000_000
    monkeypatch.setattr(page, 'CURVES_LIMIT', 10)
    monkeypatch.setattr(page, 'ATTENTION_LIMIT', 10)
    (tmp_path / 'c.svg').write_bytes(bytes(11))
    pictures = [dict(title=f'p{n}', caption='', jpeg=bytes(5)) for n in range(4)]
    text = write(curves=tmp_path / 'c.svg', attention=pictures)
    assert 'too large for this page (0.0 MB); see <code>c.svg</code>' in text
    assert text.count('data:image/jpeg;base64,AAAAAAA="') == 2
    assert '2 of 4 pictures are left out' in text
    (tmp_path / 'report.html').unlink()
    with pytest.raises(UserError, match='cannot be read'):
        write(curves=tmp_path / 'none.png')
    with pytest.raises(UserError, match=r'expected a file \.svg or \.png'):
        write(curves=tmp_path / 'c.pdf')
    (tmp_path / 'b.json').unlink()
    with pytest.raises(UserError, match='b.json'):
        write()
    assert not (tmp_path / 'report.html').exists()
