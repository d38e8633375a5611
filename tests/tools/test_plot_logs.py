import pytest

from tests.visualization.logs import train_row, write_log


@pytest.fixture
def plot(tool, tmp_path, monkeypatch):
    """Runs the tool where there are runs called first and second: exit status, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    for run in ('first', 'second'):
        write_log(tmp_path / run, '20250101_000000', [train_row(1), train_row(2)])
    return tool


def test_writes_the_picture_and_prints_where(plot, tmp_path):
    out = 'pictures/losses.svg'
    status, printed, _ = plot('first', 'second', '--names', 'with', 'without', '--out', out)
    assert (status, printed) == (0, f'wrote {out}\n')
    # Letters are drawn as paths; what they say stands in a comment beside them.
    picture = (tmp_path / out).read_text()
    assert '<!-- with -->' in picture and '<!-- without -->' in picture


def test_mistakes_are_one_message_and_status_2(plot, tmp_path):
    (tmp_path / 'empty').mkdir()
    status, _, error = plot('empty', '--out', 'losses.png')
    assert status == 2 and error.startswith('error: work dir empty has no logs')
    assert len(error.splitlines()) == 1 and not (tmp_path / 'losses.png').exists()
