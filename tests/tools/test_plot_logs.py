from tests.visualization.logs import train_row, write_log


def test_writes_the_picture_and_prints_where_or_one_message(tool, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for run in ('first', 'second'):
        write_log(tmp_path / run, rows=[train_row(1), train_row(2)])
    out = 'pictures/losses.svg'
    status, printed, _ = tool('first', 'second', '--names', 'with', 'without', '--out', out)
    assert (status, printed) == (0, f'wrote {out}\n')
    # Letters are drawn as paths; what they say stands in a comment beside them.
    picture = (tmp_path / out).read_text()
    assert '<!-- with -->' in picture and '<!-- without -->' in picture
    (tmp_path / 'empty').mkdir()
    status, _, error = tool('empty', '--out', 'losses.png')
    assert status == 2 and error.startswith('error: work dir empty has no logs')
    assert len(error.splitlines()) == 1 and not (tmp_path / 'losses.png').exists()
