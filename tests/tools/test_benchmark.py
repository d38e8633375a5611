import json
import time

import pytest

KEYS = {'name', 'ours_s', 'baseline_s', 'ratio', 'ours_mib', 'baseline_mib', 'max_abs_diff'}
TINY = ['--size', 64, 64, '--channels', 8, '--repeats', 1, '--no-memory']


def test_the_last_line_is_one_json_object(run_python):
    arguments = ['--history', 2, '--tracks', 3, '--missing', 2, '--classes', 3, *TINY]
    done = run_python('tools/benchmark.py', 'propagation', *arguments)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    row = json.loads(lines[-1])
    assert set(row) >= KEYS | {'size', 'device', 'threads', 'torch', 'repeats', 'dtype'}
    assert row['max_abs_diff'] < 1e-4 and row['size'] == [64, 64]
    # A small table, and no log of how the weights were initialised.
    assert len(lines) < 10
    assert lines[1].split() == ['time', '(median)', 'peak', 'memory']


def test_evaluate_takes_its_options(run_python):
    arguments = ['--videos', 2, '--frames', 5, '--size', 96, 64, '--tracks', 3, 4, '--seed', 2]
    arguments += ['--categories', 2, '--resamples', 10, '--repeats', 1, '--no-memory']
    done = run_python('tools/benchmark.py', 'evaluate', *arguments)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    row = json.loads(lines[-1])
    assert set(row) >= KEYS | {'matching_s', 'bootstrap_s', 'baseline_load_s', 'masks'}
    assert row['max_abs_diff'] < 1e-9 and row['resamples'] == 10 and row['seed'] == 2
    assert row['videos'] == 2 and 6 <= row['tracks'] <= 8 and row['size'] == [96, 64]
    # Neither what the baseline prints, nor what mmdet does on import.
    assert len(lines) < 10
    assert lines[1].split() == ['time', '(median)', 'peak', 'memory']


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['propagation', '--missing', 9], 'error: --missing 9: only the 8 tracks'),
        (['train', '--config', 'none.py'], 'error: config not found: none.py'),
        (['evaluate', '--tracks', 5, 2], 'error: --tracks takes the fewest and the most'),
    ],
)
def test_bad_input_is_one_message_and_status_2(run_python, arguments, message):
    done = run_python('tools/benchmark.py', *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith(message) and len(done.stderr.splitlines()) == 1
    assert done.stdout == ''


def test_help_is_quick_and_imports_nothing_heavy(run_python):
    code = (
        'import runpy, sys\n'
        'sys.argv = ["tools/benchmark.py", "infer", "--help"]\n'
        'try:\n'
        '    runpy.run_path(sys.argv[0], run_name="__main__")\n'
        'except SystemExit as stop:\n'
        '    assert stop.code == 0\n'
        'print([name for name in ("cv2", "numpy", "torch", "mmengine") if name in sys.modules])\n'
    )
    start = time.perf_counter()
    done = run_python('-c', code)
    assert time.perf_counter() - start < 1
    assert '--same-test-cfg' in done.stdout
    assert done.stdout.splitlines()[-1] == '[]'
