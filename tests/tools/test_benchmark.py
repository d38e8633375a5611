import json

import pytest

KEYS = {'name', 'ours_s', 'baseline_s', 'ratio', 'ours_mib', 'baseline_mib', 'max_abs_diff'}


@pytest.mark.slow
def test_the_last_line_is_one_json_object(root, run_python, tmp_path):
    """From any folder; memory is measured in processes of their own."""
    arguments = ['--videos', 2, '--frames', 5, '--size', 96, 64, '--tracks', 3, 4, '--seed', 2]
    arguments += ['--categories', 2, '--resamples', 10, '--repeats', 1]
    done = run_python(root / 'tools/benchmark.py', 'evaluate', *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    row = json.loads(lines[-1])
    assert set(row) >= KEYS | {'matching_s', 'bootstrap_s', 'baseline_load_s', 'masks'}
    assert set(row) >= {'device', 'threads', 'torch', 'repeats', 'dtype'}
    assert row['max_abs_diff'] < 1e-9 and row['resamples'] == 10 and row['seed'] == 2
    assert row['videos'] == 2 and 6 <= row['tracks'] <= 8 and row['size'] == [96, 64]
    if row['ours_mib'] is not None:
        # Far from the hundreds that a process has.
        assert 0 <= row['ours_mib'] < 50 and 0 <= row['baseline_mib'] < 50
    # A small table, and neither what the baseline prints, nor what mmdet does on import.
    assert len(lines) < 10
    assert lines[1].split() == ['time', '(median)', 'peak', 'memory']


def test_bad_input_is_one_message_and_status_2(run_python):
    done = run_python('tools/benchmark.py', 'evaluate', '--tracks', 5, 2)
    assert done.returncode == 2
    assert done.stderr.startswith('error: --tracks takes the fewest and the most')
    assert len(done.stderr.splitlines()) == 1 and done.stdout == ''
