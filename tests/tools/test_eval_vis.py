import json
import os
import re
import sys
import zipfile

import pytest

from tests.evaluation.strips import data_set, random_case, shown, track
from vispropnet.evaluation.average_precision import ALL_METRICS, evaluate_tracks
from vispropnet.evaluation.error_kinds import KINDS
from vispropnet.text import shown as in_words
from vispropnet.visualization import charts


@pytest.fixture
def report(tool, tmp_path):
    """Runs the tool, which must succeed, and gives its JSON and stdout."""

    def run(*arguments):
        out = tmp_path / 'out.json'
        status, printed, err = tool(*arguments, '--json', out)
        assert (status, err) == (0, '')
        return json.loads(out.read_text(), parse_constant=pytest.fail), printed

    return run


def written(path, content):
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content))
    return path


@pytest.fixture
def case():
    """Ground truth, results and other results."""
    content, results = random_case(1)
    return content, results, [{**one, 'score': one['score'] / 2} for one in results[::2]]


@pytest.fixture
def files(case, tmp_path):
    """Their files, in folders of their own."""
    names = ('gt/gt.json', 'ours/ours.json', 'other/other.json')
    return [written(tmp_path / name, one) for name, one in zip(names, case, strict=True)]


def all_files(folder):
    return {path: path.read_bytes() for path in folder.rglob('*') if path.is_file()}


def metrics_of(report):
    return {name: report[name] for name in ALL_METRICS}


def test_tables_and_json(tool, files, case, tmp_path):
    content, results, _ = case
    status, out, err = tool(*files[:2], '--per-class')
    assert (status, err) == (0, '')
    lines, objects = out.splitlines(), len(content['annotations'])
    tracks = f'{len(results)} tracks in 5 videos'
    assert lines[0] == f'{files[1]}: {tracks}, against {objects} objects in 5 videos'
    for name, value in metrics_of(evaluate_tracks(content, results)).items():
        assert [name, '-' if value < 0 else f'{value:.4f}'] in [line.split() for line in lines]
    titles = [line for line in lines if ' objects ' in line and line.endswith('AR10')]
    assert [' '.join(line.split()[:-5]) for line in titles] == [
        'category objects tracks',
        'track length (frames) objects',
        'objects in a video videos objects',
        'frames hidden* objects',
    ]
    assert lines[lines.index(titles[0]) + 1].startswith('kind 1 ')
    # The JSON holds all metrics unrounded.
    out = tmp_path / 'new' / 'metrics.json'
    status, plain, _ = tool(*files[:2], '--json', out)
    assert status == 0 and plain.endswith(f'all metrics: {out}\n')
    assert not any(words in plain for words in ('kind 1', 'category', 'are few'))
    report = json.loads(out.read_text())
    assert metrics_of(report) == metrics_of(evaluate_tracks(*case[:2]))
    assert set(report['detail']) == {'categories', 'track_length', 'objects_per_video', 'hidden'}
    assert (report['ground_truth'], report['results']) == (str(files[0]), str(files[1]))
    assert not {'ci', 'baseline', 'errors', 'worst_videos'} & set(report)


def test_everything_at_once(report, files, case, tmp_path):
    before = all_files(tmp_path)
    options = ['--bootstrap', 20, '--seed', 3, '--per-class', '--errors']
    scores, printed = report(*files[:2], '--baseline', files[2], *options)
    assert 'intervals: 20 resamples of the videos' in printed and '5 videos are few' in printed
    ours, other = evaluate_tracks(*case[:2]), evaluate_tracks(case[0], case[2])
    assert scores['bootstrap'] == {'resamples': 20, 'seed': 3, 'level': 0.95}
    for name in ALL_METRICS:
        interval, difference = scores['ci'][name], scores['baseline']['difference'][name]
        assert scores['baseline'][name] == other[name]
        if ours[name] < 0:
            assert interval is difference is None
            continue
        assert 0 <= interval[0] <= ours[name] <= interval[1] <= 1
        assert difference['value'] == ours[name] - other[name]
        assert difference['ci'][0] <= difference['value'] <= difference['ci'][1]
        assert 0 <= difference['above_zero'] <= 1
    assert scores['baseline']['results'] == str(files[2])
    assert list(scores['errors']) == list(scores['baseline']['errors']) == list(KINDS)
    videos = {video['id'] for video in case[0]['videos']}
    assert {one['video_id'] for one in scores['worst_videos']} == videos
    # Beside the file of --json; nothing else is written or changed.
    after = all_files(tmp_path)
    names = ('out.json', 'ours_errors.png', 'ours_worst_videos.json')
    assert after == {**before, **{tmp_path / name: after[tmp_path / name] for name in names}}
    assert json.loads(after[tmp_path / 'ours_worst_videos.json']) == scores['worst_videos']


def test_a_seed_gives_the_same_output(report, files):
    options = ['--baseline', files[2], '--bootstrap', 30, '--seed']
    first, again, other = (report(*files[:2], *options, seed) for seed in (1, 1, 2))
    assert first == again and first[0] != other[0] and first[1] != other[1]


def test_errors_go_beside_the_results_or_where_told(tool, files, tmp_path, monkeypatch):
    names = ['ours_errors.png', 'ours_worst_videos.json']
    before = all_files(tmp_path)
    _, out, _ = tool(*files[:2], '--errors')
    assert set(all_files(tmp_path)) - set(before) == {tmp_path / 'ours' / name for name in names}
    assert f'chart: {tmp_path}/ours/ours_errors.png\n' in out
    assert f'worst videos first: {tmp_path}/ours/ours_worst_videos.json\n' in out
    # The folder alone asks for them as well.
    status, out, _ = tool(*files[:2], '--errors-dir', tmp_path / 'a' / 'b')
    assert status == 0 and 'wrong category' in out
    assert sorted(os.listdir(tmp_path / 'a' / 'b')) == names
    # Results of one name are told apart in the chart.
    drawn = []
    monkeypatch.setattr(charts, 'draw_error_chart', lambda path, bars: drawn.extend(bars))
    same = files[2].rename(files[2].with_name('ours.json'))
    tool(*files[:2], '--baseline', same, '--errors')
    other = same.rename(same.with_name('other.json'))
    tool(*files[:2], '--baseline', other, '--errors')
    assert [name for name, _, _ in drawn] == [str(files[1]), str(same), 'ours', 'other']


def test_annotations_that_play_no_part_are_told(tool, files, case):
    content = case[0]
    content['annotations'].append({**content['annotations'][0], 'category_id': 99, 'id': 1000})
    written(files[0], content)
    status, out, _ = tool(*files[:2], '--baseline', files[1], '--bootstrap', 10)
    line = out.splitlines()[1]
    assert status == 0 and f'check_data.py --ann {files[0]}' in line
    assert line.startswith('warning: 1 annotations are of no listed video or')
    # Equal results are called equal.
    row = next(line for line in out.splitlines() if line.startswith('AP '))
    assert row.endswith('+0.0000 .. +0.0000    equal')


def test_unusual_but_sound_files(report, files, tmp_path, case):
    archive = tmp_path / 'upload.zip'
    with zipfile.ZipFile(archive, 'w') as stream:
        stream.writestr('results.json', json.dumps(case[1]))
    options = ['--baseline', archive, '--errors']
    scores, of_archive = (report(files[0], path, *options)[0] for path in (files[1], archive))
    assert (tmp_path / 'upload_errors.png').exists()
    assert scores == {**of_archive, 'results': str(files[1])} != of_archive
    # Names and lengths are not needed.
    content = json.loads(files[0].read_text())
    content['videos'] = [{'id': video['id']} for video in content['videos']]
    content['categories'] = [{'id': category['id']} for category in content['categories']]
    scores, _ = report(written(tmp_path / 'bare.json', content), files[1], '--errors')
    assert metrics_of(scores) == metrics_of(evaluate_tracks(*case[:2]))
    # No tracks at all score 0.
    path = written(tmp_path / 'none.json', [])
    options = ['--baseline', path, '--bootstrap', 10, '--errors', '--per-class']
    scores, _ = report(files[0], path, *options)
    assert scores['tracks'] == scores['AP'] == scores['AR100'] == 0
    assert scores['ci']['AP'] == [0, 0]
    assert scores['errors']['missed']['count'] == scores['objects']


def test_one_video(report, tmp_path):
    truth = written(tmp_path / 'gt.json', data_set({1: 2}, [(1, 1, shown(0, '11'))]))
    path = written(tmp_path / 'a.json', [track(1, 1, 0.5, shown(0, '11'))])
    scores, printed = report(truth, path, '--baseline', path, '--bootstrap', 10, '--errors')
    assert printed.splitlines()[3].split() == ['AP', '1.0000', '-', '1.0000', '+0.0000', '-', '-']
    assert scores['ci'] == scores['baseline']['difference'] == dict.fromkeys(ALL_METRICS)


def test_missing_trackeval_is_told_before_the_work(tool, files, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'trackeval', None)
    monkeypatch.setitem(sys.modules, 'trackeval.metrics', None)
    status, out, err = tool(tmp_path / 'none.json', files[1], '--hota')
    assert (status, out) == (2, '')
    assert 'Install it with: pip install --no-deps trackeval' in err


def test_hota(report, files, case, tmp_path):
    pytest.importorskip('trackeval', reason='TrackEval is not installed')
    keys = ('video_id', 'category_id', 'segmentations')
    tracks = [{**{key: one[key] for key in keys}, 'score': 0.5} for one in case[0]['annotations']]
    perfect = written(tmp_path / 'perfect.json', tracks)
    for threshold, value in ((0.5, 1), (0.6, 0)):
        scores, printed = report(files[0], perfect, '--hota', '--score-thr', threshold)
        assert 'HOTA' in printed
        assert scores['tracking']['HOTA'] == scores['tracking']['IDF1'] == pytest.approx(value)


def test_oracles(report, tmp_path):
    content = data_set({1: 3}, [(1, 1, shown(0, '111'))])
    truth = written(tmp_path / 'gt.json', content)
    pieces = [track(1, 1, 0.5, shown(0, '110')), track(1, 1, 0.5, shown(0, '001'))]
    pieces = written(tmp_path / 'pieces.json', pieces)
    nothing = written(tmp_path / 'nothing.json', [])
    scores, printed = report(truth, pieces, '--oracles', '--baseline', nothing)
    # Two frames of three reach four of ten thresholds.
    assert scores['AP'] == scores['oracles']['masks']['AP'] == pytest.approx(0.4)
    assert scores['oracles']['linking']['AP'] == 1
    assert scores['baseline']['oracles']['detections']['AP'] == 1
    lines = [line.split() for line in printed.splitlines()]
    assert ['linking', '1.0000', '+0.6000', '1.0000', '1.0000', '+0.0000'] in lines


def test_gaps(report, tmp_path):
    content = data_set({1: 3}, [(1, 1, shown(0, '101'))])
    truth = written(tmp_path / 'gt.json', content)
    whole = written(tmp_path / 'whole.json', [track(1, 1, 0.5, shown(0, '101'))])
    broken = [track(1, 1, 0.5, shown(0, '100')), track(1, 1, 0.5, shown(0, '001'))]
    broken = written(tmp_path / 'broken.json', broken)
    scores, printed = report(truth, whole, '--gaps', '--baseline', broken)
    assert (scores['gaps'][0]['kept'], scores['baseline']['gaps'][0]['changed']) == (1, 1)
    assert f'ids of {whole}' in printed and f'ids of {broken}' in printed
    scores, _ = report(truth, whole, '--gaps', '--score-thr', '0.6')
    assert scores['gaps'] == []
    scores, printed = report(truth, whole, '--visibility', '--baseline', broken)
    found = [one['visibility'][-1]['found'] for one in (scores, scores['baseline'])]
    assert found[0] > found[1] and printed.count('by how much of them is visible') == 2


GOOD = track(1, 1, 0.5, shown(0, '111'))


@pytest.fixture
def pair(tmp_path):
    """A ground truth and results that are right, to be spoilt."""
    content = data_set({1: 3, 2: 3}, [(1, 1, shown(0, '111')), (2, 2, shown(0, '011'))])
    return written(tmp_path / 'gt.json', content), written(tmp_path / 'ours.json', [GOOD, GOOD])


@pytest.fixture
def refused(tool, tmp_path):
    """Runs the tool on bad input, asserts that it does nothing, and gives the message."""

    def run(*arguments, options=('--errors', '--bootstrap', 5, '--json', tmp_path / 'out.json')):
        before = all_files(tmp_path)
        status, printed, err = tool(*arguments, *options)
        assert (status, printed) == (2, '')
        assert err.startswith('error: ') and err.count('\n') == 1 and len(err) < 600
        assert all_files(tmp_path) == before
        return err[len('error: ') : -1]

    return run


def test_files_that_cannot_be_read(tool, refused, pair, tmp_path):
    assert tool(*pair)[0] == 0
    path = tmp_path / 'bad.json'
    # More in tests/test_fileio.py.
    for content, message in (
        (None, f'file not found: {path}.'),
        (b'', f'file {path} is empty: '),
        (b'[{"video_id": 1', f'file {path} is not valid JSON (truncated or damaged?): '),
    ):
        if content is not None:
            path.write_bytes(content)
        assert refused(path, pair[1]).startswith('annotation ' + message)
        for arguments in ((pair[0], path), (*pair, '--baseline', path)):
            assert refused(*arguments).startswith('result ' + message)


def test_bad_results(refused, pair, tmp_path):
    mask = {'size': [720, 1280], 'counts': 'PPTc0'}
    place = ': video 1, result entry 0'
    size = 'the mask is 1280x720 pixels (width x height), but video 1 is 10x8.'
    scores = ': video 1, result entry 1: score must be within [0, 1], got {}. '
    scores += 'Scale the scores: only their order counts.'
    # More in tests/evaluation/test_result_file.py and test_overlaps.py.
    for content, message in (
        (None, ' must hold a list of tracks, not null.'),
        ([track(1, 1, 0.5, [None, mask, None])], f'{place}, frame 1 (v1/01.jpg): {size}'),
        *(
            ([GOOD, {**GOOD, 'score': score}], scores.format(in_words(score)))
            for score in (1.5, -0.1, float('nan'), float('inf'), 10**400)
        ),
    ):
        path = written(tmp_path / 'bad.json', content)
        for arguments in ((pair[0], path), (*pair, '--baseline', path)):
            assert refused(*arguments).startswith(f'result file {path}{message}'[:500])


def test_bad_ground_truth(refused, pair):
    content = json.loads(pair[0].read_text())
    crowds = [{**one, 'iscrowd': 1} for one in content['annotations']]
    # More in tests/datasets/test_annotation_rules.py.
    for wrong, message in (
        ([GOOD], 'this is a result file.*give the annotation file'),
        (dict(videos=None), "key 'videos' must be a list, found null"),
        (dict(videos=dict.fromkeys(range(9000))), "key 'videos' must be a list, found {'0"),
        (dict(annotations=None), '.*nothing to score.*tools/split_ytvis.py'),
        (dict(annotations=[]), '.*nothing to score.*tools/split_ytvis.py'),
        (dict(annotations=crowds), '.*crowds left out.*nothing to score'),
    ):
        written(pair[0], {**content, **wrong} if isinstance(wrong, dict) else wrong)
        assert re.match(f'annotation file {pair[0]}: {message}', refused(*pair))


def test_numbers_out_of_range(refused, pair):
    for option, wanted, values in (
        ('--bootstrap', 'a number of resamples, at most 100000', (-1, 100_001, 10**12)),
        ('--seed', '0 or more', (-1,)),
        ('--score-thr', 'within [0, 1]', (-0.1, 5.0, float('nan'))),
    ):
        for value in values:
            message = refused(*pair, options=[f'{option}={value}'])
            assert message == f'{option} must be {wanted}, got {value}.'


def test_outputs_that_cannot_be_written_are_told_before_the_work(refused, pair, tmp_path):
    (tmp_path / 'folder').mkdir()
    for *options, name in (
        ['--json', 'ours.json/out.json'],
        ['--json', 'folder'],
        ['--errors-dir', 'ours.json'],
        ['--errors', '--json', 'ours_worst_videos.json'],
    ):
        # The missing ground truth would be told next.
        path = tmp_path / name
        message = refused(tmp_path / 'none.json', pair[1], options=[*options, path])
        assert message.startswith('cannot ') and str(path) in message
    other = written(tmp_path / 'other.json', [GOOD])
    (tmp_path / 'link.json').symlink_to(pair[1])
    for path in (*pair, other, tmp_path / 'link.json', tmp_path / 'sub' / '..' / 'gt.json'):
        message = refused(*pair, '--baseline', other, options=['--json', path])
        assert message == f'cannot write {path}: it is an input; give another path.'


@pytest.mark.skipif(os.geteuid() == 0, reason='root may write anywhere')
def test_folder_without_permission(refused, pair, tmp_path):
    (tmp_path / 'folder').mkdir(mode=0o500)
    options = ['--json', tmp_path / 'folder' / 'out.json']
    assert 'no permission to write' in refused(*pair, options=options)


def test_as_a_process_it_needs_no_torch(run_python, files, tmp_path):
    out = tmp_path / 'out.json'
    arguments = [*files[:2], '--baseline', files[2], '--bootstrap', 5, '--errors', '--json', out]
    code = """
import runpy, sys
sys.argv = sys.argv[1:]
runpy.run_path('tools/eval_vis.py', run_name='__main__')
print([name for name in ('torch', 'mmdet', 'mmcv') if name in sys.modules])
"""
    done = run_python('-c', code, 'eval_vis.py', *arguments)
    assert (done.returncode, done.stderr) == (0, '')
    assert done.stdout.startswith(f'{files[1]}: ') and done.stdout.splitlines()[-1] == '[]'
    assert json.loads(out.read_text())['ci']['AP']
    assert (tmp_path / 'ours_errors.png').read_bytes().startswith(b'\x89PNG')
