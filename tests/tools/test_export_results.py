from tests.converting.test_export import files  # noqa: F401


def test_writes_and_says_what(tool, files, tmp_path):  # noqa: F811
    results, annotations = files
    arguments = ['masks', results, tmp_path / 'out', '--ann', annotations]
    status, printed, _ = tool(*arguments, '--images', tmp_path / 'frames')
    assert status == 0 and printed == f'wrote 3 tracks of 2 videos to {tmp_path}/out\n'
    assert (tmp_path / 'out' / 'masks' / 'a' / '00003.png').is_file()
    status, _, errors = tool(*arguments)
    assert status == 2 and 'give --force' in errors
    status, printed, _ = tool(*arguments, '--force', '--score-thr', '0.6')
    assert status == 0 and printed.startswith('wrote 1 tracks')
    assert tool('masks', results, tmp_path / 'out')[0] == 2
