import json
import time


def write_log(work_dir):
    path = work_dir / '20250101_000000' / 'vis_data' / 'scalars.json'
    path.parent.mkdir(parents=True)
    rows = [{'loss': 1 / i, 'loss_cls': 0.5 / i, 'epoch': 1, 'iter': i, 'step': i} for i in (1, 2)]
    path.write_text(''.join(json.dumps(row) + '\n' for row in rows))


def test_writes_the_picture_and_says_where(run_python, tmp_path):
    write_log(tmp_path / 'first')
    write_log(tmp_path / 'second')
    out = tmp_path / 'pictures' / 'losses.png'
    done = run_python('tools/plot_logs.py', tmp_path / 'first', tmp_path / 'second', '--out', out)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f'wrote {out}\n'
    assert out.read_bytes().startswith(b'\x89PNG\r\n\x1a\n')


def test_runs_can_be_named(run_python, tmp_path):
    write_log(tmp_path / 'first')
    write_log(tmp_path / 'second')
    runs, out = (tmp_path / 'first', tmp_path / 'second'), tmp_path / 'losses.svg'
    done = run_python('tools/plot_logs.py', *runs, '--names', 'with', 'without', '--out', out)
    assert done.returncode == 0, done.stderr
    # Letters are drawn as paths; what they say stands in a comment beside them.
    picture = out.read_text()
    assert '<!-- with -->' in picture and '<!-- without -->' in picture
    assert '<!-- first -->' not in picture
    done = run_python('tools/plot_logs.py', *runs, '--names', 'with', '--out', out)
    assert done.returncode == 2
    assert done.stderr == 'error: 1 names are given for 2 work dirs: with.\n'


def test_folder_without_logs_is_one_message_and_status_2(run_python, tmp_path):
    done = run_python('tools/plot_logs.py', tmp_path, '--out', tmp_path / 'losses.png')
    assert done.returncode == 2
    assert done.stderr.startswith(f'error: work dir {tmp_path} has no logs')
    assert 'Traceback' not in done.stderr
    assert not (tmp_path / 'losses.png').exists()


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
    start = time.perf_counter()
    done = run_python('-c', code)
    assert time.perf_counter() - start < 1
    assert 'WORK_DIR' in done.stdout
    assert done.stdout.splitlines()[-1] == '[]'
