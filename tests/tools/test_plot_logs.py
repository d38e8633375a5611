import runpy

import pytest

from tests.visualization.logs import train_row, write_log


@pytest.fixture
def plot(root, tmp_path, capsys):
    """Runs the tool on runs called first and second: exit status, stdout, stderr."""
    main = runpy.run_path(str(root / 'tools/plot_logs.py'))['main']
    runs = [tmp_path / name for name in ('first', 'second')]
    for run in runs:
        write_log(run, '20250101_000000', [train_row(1), train_row(2)])

    def call(*arguments, work_dirs=runs):
        try:
            main([*map(str, work_dirs), *map(str, arguments)])
        except SystemExit as stop:
            return stop.code, *capsys.readouterr()
        return 0, *capsys.readouterr()

    return call


def test_writes_the_picture_and_prints_where(plot, tmp_path):
    out = tmp_path / 'pictures' / 'losses.png'
    assert plot('--out', out) == (0, f'wrote {out}\n', '')
    assert out.read_bytes().startswith(b'\x89PNG\r\n\x1a\n')


def test_runs_can_be_named(plot, tmp_path):
    out = tmp_path / 'losses.svg'
    assert plot('--names', 'with', 'without', '--out', out)[0] == 0
    # Letters are drawn as paths; what they say stands in a comment beside them.
    picture = out.read_text()
    assert '<!-- with -->' in picture and '<!-- without -->' in picture
    assert '<!-- first -->' not in picture
    status, _, error = plot('--names', 'with', '--out', out)
    assert (status, error) == (2, 'error: 1 names are given for 2 work dirs: with.\n')


def test_folder_without_logs_is_one_message_and_status_2(plot, tmp_path):
    (tmp_path / 'empty').mkdir()
    out = tmp_path / 'losses.png'
    status, _, error = plot('--out', out, work_dirs=[tmp_path / 'empty'])
    assert status == 2 and error.startswith(f'error: work dir {tmp_path}/empty has no logs')
    assert len(error.splitlines()) == 1 and not out.exists()


def test_help_is_quick_and_imports_no_plotting(run_python):
    code = (
        'import runpy, sys\n'
        'sys.argv = ["tools/plot_logs.py", "--help"]\n'
        'try:\n'
        '    runpy.run_path(sys.argv[0], run_name="__main__")\n'
        'except SystemExit as stop:\n'
        '    assert stop.code == 0\n'
        'print([name for name in ("cv2", "numpy", "torch", "matplotlib") if name in sys.modules])\n'
    )
    done = run_python('-c', code)
    assert 'WORK_DIR' in done.stdout
    assert done.stdout.splitlines()[-1] == '[]'
