import re

import numpy as np
import pytest

from tests.trials.report.example import empty_table, full_table
from tests.visualization.blocks import write_files
from vispropnet.errors import UserError
from vispropnet.trials.report import page
from vispropnet.trials.report.page import write_report


@pytest.fixture
def files(tmp_path):
    write_files(tmp_path)
    return tmp_path


def write(files, table=None, names='ab', curves=None, **options):
    results = {name: files / f'{name}.json' for name in names}
    path = files / 'report.html'
    table = table or full_table()
    written = write_report(
        path, table, files / 'gt.json', files / 'images', results, curves, **options
    )
    assert written == path
    return path.read_text()


def test_the_page_needs_nothing_beside_it(files):
    html = write(files)
    assert not re.search(r'https?://|@import|url\(|<link|src="(?!data:)', html)
    assert "default-src 'none'" in html
    assert html.count('<script type="application/json"') == 1


def test_text_from_data_is_escaped(files):
    html = write(files, attention=[dict(title='<u>', caption='"<s>', jpeg=b'x')])
    assert 'B &lt;i&gt;&amp;' in html
    assert not re.search('<[ius]>', html)


def test_what_the_page_says(files):
    html = write(files)
    assert '2 of 4 trials are complete' in html
    assert 'drawn anew 1000 times with replacement (seed 0); 90 %' in html
    assert '5 of 5 videos' in html
    assert 'There are no training curves' in html
    assert 'id="attention"' not in html
    assert '1 of 5 videos' in write(files, gallery_videos=1)


def test_a_table_with_nothing_in_it(files):
    html = write(files, empty_table(), names='')
    assert 'There are no results to show' in html
    assert 'None' not in html.split('<script>')[0].split('</style>')[1]


@pytest.mark.parametrize(('name', 'kind'), [('c.svg', 'svg+xml'), ('c.png', 'png')])
def test_curves_are_embedded(files, name, kind):
    (files / name).write_bytes(b'picture')
    assert f'src="data:image/{kind};base64,cGljdHVyZQ=="' in write(files, curves=files / name)


def test_pictures_that_are_too_large_are_left_out(files, monkeypatch):
    monkeypatch.setattr(page, 'CURVES_LIMIT', 10)
    monkeypatch.setattr(page, 'ATTENTION_LIMIT', 10)
    (files / 'c.svg').write_bytes(bytes(11))
    pictures = [dict(title=f'p{n}', caption='', jpeg=bytes(5)) for n in range(4)]
    html = write(files, curves=files / 'c.svg', attention=pictures)
    assert 'too large for this page (0.0 MB); see <code>c.svg</code>' in html
    assert html.count('data:image/jpeg;base64,AAAAAAA="') == 2
    assert '2 of 4 pictures are left out' in html


def test_full_pages_stay_below_20_mb():
    embedded = (page.CURVES_LIMIT + page.ATTENTION_LIMIT) * 4 / 3
    assert embedded + 12_000_000 < 19_000_000
    assert np.isclose(page.build_gallery.__defaults__[-1], 12_000_000)


def test_faults_are_told(files):
    with pytest.raises(UserError, match='cannot be read'):
        write(files, curves=files / 'none.png')
    with pytest.raises(UserError, match=r'expected a file \.svg or \.png'):
        write(files, curves=files / 'c.pdf')
    with pytest.raises(UserError, match='trial b, which is not among those of the table: a'):
        write(files, empty_table())
    (files / 'b.json').unlink()
    with pytest.raises(UserError, match='b.json'):
        write(files)
    assert not (files / 'report.html').exists()
