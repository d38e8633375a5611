import json
import runpy
import subprocess
import sys
import time
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parents[2] / 'tools' / 'make_moving_shapes.py'


@pytest.fixture(scope='module')
def main():
    return runpy.run_path(str(TOOL))['main']


def test_writes_the_layout_and_says_what_it_wrote(main, tmp_path, capsys):
    out = tmp_path / 'deep' / 'set'
    options = '--preset occlusion --videos 2 --val-videos 1 --frames 3 --size 64 48 --seed 7'
    main([str(out), *options.split()])
    captured = capsys.readouterr()
    (line,) = [line for line in captured.out.splitlines() if line.startswith('wrote')]
    for word in ('2 train', '1 valid', '3 frames', '64x48', 'occlusion', 'seed 7', str(out)):
        assert word in line
    assert '3/3' in captured.err  # The progress bar.
    assert sorted(path.name for path in out.iterdir()) == ['train', 'valid']
    for split, count in (('train', 2), ('valid', 1)):
        content = json.loads((out / split / 'instances.json').read_text())
        assert len(content['videos']) == count
        assert content['info']['size'] == [64, 48]
        names = [name for video in content['videos'] for name in video['file_names']]
        images = out / split / 'JPEGImages'
        found = [path.relative_to(images).as_posix() for path in images.rglob('*.jpg')]
        assert len(names) == 3 * count
        assert sorted(found) == sorted(names)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ('--size 160 16', '160x16'),
        ('--videos 0', '0 train videos'),
        ('--val-videos -1', '-1 valid videos'),
    ],
)
def test_bad_numbers_give_one_message_and_status_2(main, tmp_path, capsys, options, message):
    with pytest.raises(SystemExit) as stop:
        main([str(tmp_path / 'set'), *options.split()])
    assert stop.value.code == 2
    errors = capsys.readouterr().err
    assert message in errors
    assert errors.count('error:') == 1
    assert 'Traceback' not in errors
    assert list(tmp_path.iterdir()) == []


def test_a_taken_folder_is_kept_unless_forced(main, tmp_path, capsys):
    options = [str(tmp_path), '--videos', '1', '--val-videos', '1', '--frames', '1']
    (tmp_path / 'train').mkdir()
    (tmp_path / 'train' / 'old.jpg').write_bytes(b'old')
    with pytest.raises(SystemExit) as stop:
        main(options)
    assert stop.value.code == 2
    assert '--force' in capsys.readouterr().err
    assert (tmp_path / 'train' / 'old.jpg').read_bytes() == b'old'
    main([*options, '--force'])
    assert not (tmp_path / 'train' / 'old.jpg').exists()
    assert (tmp_path / 'train' / 'instances.json').is_file()


def test_out_that_is_a_file_or_in_a_file_is_refused(main, tmp_path, capsys):
    taken = tmp_path / 'taken'
    taken.write_text('text')
    for out in (taken, taken / 'set'):
        with pytest.raises(SystemExit) as stop:
            main([str(out), '--videos', '1', '--val-videos', '1'])
        assert stop.value.code == 2
        errors = capsys.readouterr().err
        assert 'taken' in errors
        assert 'Traceback' not in errors
    assert taken.read_text() == 'text'


def test_help_is_quick_and_imports_no_numerics():
    code = (
        'import runpy, sys\n'
        f'sys.argv = [{str(TOOL)!r}, "--help"]\n'
        'try:\n'
        '    runpy.run_path(sys.argv[0], run_name="__main__")\n'
        'except SystemExit as stop:\n'
        '    assert stop.code == 0\n'
        'print([name for name in ("cv2", "numpy", "torch", "mmdet") if name in sys.modules])\n'
    )
    start = time.perf_counter()
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert time.perf_counter() - start < 1
    assert '--val-videos' in done.stdout
    assert done.stdout.splitlines()[-1] == '[]'
