import importlib.util
import json
import os
import sys
import zipfile
from functools import partial

import pytest

from tests.evaluation.strips import data_set, random_case, shown, track
from vispropnet.evaluation.average_precision import ALL_METRICS, evaluate_tracks
from vispropnet.evaluation.error_kinds import KINDS
from vispropnet.text import shown as in_words

TOOL = 'tools/eval_vis.py'


@pytest.fixture
def score(run_main):
    """Runs the tool: exit status, stdout, stderr."""
    return partial(run_main, 'eval_vis')


@pytest.fixture
def report(score, tmp_path):
    """Runs the tool, which must succeed, and gives its JSON and stdout."""

    def run(*arguments):
        out = tmp_path / 'out.json'
        status, printed, err = score(*arguments, '--json', out)
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


# --- what it tells --------------------------------------------------------------------------------


def test_tables(score, files, case):
    content, results, _ = case
    status, out, err = score(*files[:2], '--per-class')
    assert (status, err) == (0, '')
    lines = out.splitlines()
    assert lines[0] == (
        f'{files[1]}: {len(results)} tracks in 5 videos, against {len(content["annotations"])} '
        'objects in 5 videos'
    )
    for name, value in metrics_of(evaluate_tracks(content, results)).items():
        shown_as = '-' if value < 0 else f'{value:.4f}'
        assert [name, shown_as] in [line.split() for line in lines]
    titles = [line for line in lines if ' objects ' in line and line.endswith('AR10')]
    assert [' '.join(line.split()[:-5]) for line in titles] == [
        'category objects tracks',
        'track length (frames) objects',
        'objects in a video videos objects',
        'frames hidden* objects',
    ]
    assert lines[lines.index(titles[0]) + 1].startswith('kind 1 ')
    # The table by category is there only if it is asked for.
    plain = score(*files[:2])[1]
    assert 'kind 1' not in plain and 'category' not in plain
    assert 'are few' not in out  # of intervals alone


def test_json_holds_the_metrics_unrounded(score, files, case, tmp_path):
    out = tmp_path / 'new' / 'metrics.json'
    status, printed, _ = score(*files[:2], '--json', out)
    assert status == 0 and printed.endswith(f'all metrics: {out}\n')
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
    new = {tmp_path / name for name in ('out.json', 'ours_errors.png', 'ours_worst_videos.json')}
    after = all_files(tmp_path)
    assert set(after) - set(before) == new
    assert {path: after[path] for path in before} == before
    assert json.loads(after[tmp_path / 'ours_worst_videos.json']) == scores['worst_videos']


def test_a_seed_gives_the_same_output(report, files):
    def told(seed):
        return report(*files[:2], '--baseline', files[2], '--bootstrap', 30, '--seed', seed)

    assert told(1) == told(1)
    assert all(one != other for one, other in zip(told(1), told(2), strict=True))


def test_errors_go_beside_the_results_or_where_told(score, files, tmp_path):
    names = ['ours_errors.png', 'ours_worst_videos.json']
    before = all_files(tmp_path)
    _, out, _ = score(*files[:2], '--errors')
    assert set(all_files(tmp_path)) - set(before) == {tmp_path / 'ours' / name for name in names}
    assert f'chart: {tmp_path}/ours/ours_errors.png\n' in out
    assert f'worst videos first: {tmp_path}/ours/ours_worst_videos.json\n' in out
    # The folder alone asks for them as well.
    status, out, _ = score(*files[:2], '--errors-dir', tmp_path / 'a' / 'b')
    assert status == 0 and 'wrong category' in out
    assert sorted(os.listdir(tmp_path / 'a' / 'b')) == names


def test_results_of_one_name_are_told_apart_in_the_chart(score, files, monkeypatch):
    from vispropnet.visualization import charts

    drawn = []
    monkeypatch.setattr(charts, 'draw_error_chart', lambda path, bars: drawn.extend(bars))
    same = files[2].rename(files[2].with_name('ours.json'))
    score(*files[:2], '--baseline', same, '--errors')
    other = same.rename(same.with_name('other.json'))
    score(*files[:2], '--baseline', other, '--errors')
    assert [name for name, _, _ in drawn] == [str(files[1]), str(same), 'ours', 'other']


def test_annotations_that_play_no_part_are_told(score, files, case):
    content = case[0]
    content['annotations'].append({**content['annotations'][0], 'category_id': 99, 'id': 1000})
    written(files[0], content)
    status, out, _ = score(*files[:2])
    assert status == 0
    assert out.splitlines()[1].startswith('warning: 1 annotations are of no listed video or')
    assert f'check_data.py --ann {files[0]}' in out.splitlines()[1]


def test_equal_results_are_called_equal(score, files):
    _, out, _ = score(files[0], files[1], '--baseline', files[1], '--bootstrap', 10)
    row = next(line for line in out.splitlines() if line.startswith('AP '))
    assert row.endswith('+0.0000 .. +0.0000    equal')


# --- unusual but sound input ----------------------------------------------------------------------


def test_an_archive(report, files, tmp_path, case):
    archive = tmp_path / 'upload.zip'
    with zipfile.ZipFile(archive, 'w') as stream:
        stream.writestr('results.json', json.dumps(case[1]))
    scores, of_archive = (
        report(files[0], path, '--baseline', archive, '--errors')[0] for path in (files[1], archive)
    )
    assert (tmp_path / 'upload_errors.png').exists()
    assert scores.pop('results') != of_archive.pop('results')
    assert scores == of_archive


def test_no_tracks_at_all_score_0(report, files, tmp_path):
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


def test_names_and_lengths_are_not_needed(report, case, files, tmp_path):
    content = json.loads(files[0].read_text())
    for video in content['videos']:
        del video['file_names'], video['length'], video['width'], video['height']
    for category in content['categories']:
        del category['name']
    scores, _ = report(written(tmp_path / 'bare.json', content), files[1], '--errors')
    assert metrics_of(scores) == metrics_of(evaluate_tracks(*case[:2]))


def test_missing_trackeval_is_told_before_the_work(score, files, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'trackeval', None)
    monkeypatch.setitem(sys.modules, 'trackeval.metrics', None)
    status, out, err = score(tmp_path / 'none.json', files[1], '--hota')
    assert (status, out) == (2, '')
    assert 'Install it with: pip install --no-deps trackeval' in err


@pytest.mark.skipif(
    importlib.util.find_spec('trackeval') is None, reason='TrackEval is not installed'
)
@pytest.mark.parametrize(('threshold', 'value'), [(0.5, 1), (0.6, 0)])
def test_hota(report, files, case, tmp_path, threshold, value):
    keys = ('video_id', 'category_id', 'segmentations')
    tracks = [{**{key: one[key] for key in keys}, 'score': 0.5} for one in case[0]['annotations']]
    perfect = written(tmp_path / 'perfect.json', tracks)
    scores, printed = report(files[0], perfect, '--hota', '--score-thr', threshold)
    assert 'HOTA' in printed
    assert scores['tracking']['HOTA'] == scores['tracking']['IDF1'] == pytest.approx(value)


# --- bad input ------------------------------------------------------------------------------------

GOOD = track(1, 1, 0.5, shown(0, '111'))


@pytest.fixture
def pair(tmp_path):
    """A ground truth and results that are right, to be spoilt."""
    content = data_set({1: 3, 2: 3}, [(1, 1, shown(0, '111')), (2, 2, shown(0, '011'))])
    return written(tmp_path / 'gt.json', content), written(tmp_path / 'ours.json', [GOOD, GOOD])


@pytest.fixture
def refused(score, tmp_path):
    """Runs the tool on bad input, asserts that it does nothing, and gives the message."""

    def run(*arguments, options=('--errors', '--bootstrap', 5, '--json', tmp_path / 'out.json')):
        before = all_files(tmp_path)
        status, printed, err = score(*arguments, *options)
        assert (status, printed) == (2, '')
        assert err.startswith('error: ') and err.count('\n') == 1 and len(err) < 600
        assert all_files(tmp_path) == before
        return err[len('error: ') : -1]

    return run


def test_the_pair_is_right(score, pair):
    assert score(*pair)[0] == 0


@pytest.mark.parametrize('which', ['annotation', 'result', 'baseline'])
@pytest.mark.parametrize(
    ('content', 'message'),
    [
        # More in tests/test_fileio.py.
        (None, ' file not found: {}.'),
        (b'', ' file {} is empty: '),
        (b'[{"video_id": 1', ' file {} is not valid JSON (truncated or damaged?): '),
    ],
)
def test_files_that_cannot_be_read(refused, pair, tmp_path, which, content, message):
    path = tmp_path / 'bad.json'
    if content is not None:
        path.write_bytes(content)
    arguments = {
        'annotation': (path, pair[1]),
        'result': (pair[0], path),
        'baseline': (*pair, '--baseline', path),
    }[which]
    what = 'annotation' if which == 'annotation' else 'result'
    assert refused(*arguments).startswith(what + message.format(path))


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        # More in tests/evaluation/test_result_file.py and test_overlaps.py.
        (None, ' must hold a list of tracks, not null.'),
        ([GOOD, {'video_id': 1}], ": entry 1 has no 'category_id' ("),
        (
            [track(1, 1, 0.5, [None, {'size': [720, 1280], 'counts': 'PPTc0'}, None])],
            ': video 1, result entry 0, frame 1 (v1/01.jpg): the mask is 1280x720 pixels (width x '
            'height), but video 1 is 10x8.',
        ),
        *(
            (
                [GOOD, {**GOOD, 'score': score}],
                ': video 1, result entry 1: score must be within [0, 1], got '
                f'{in_words(score)}. Scale the scores: only their order counts.',
            )
            for score in (1.5, -0.1, float('nan'), float('inf'), 10**400)
        ),
    ],
)
def test_bad_results(refused, pair, tmp_path, content, message):
    path = written(tmp_path / 'bad.json', content)
    for arguments in [(pair[0], path), (*pair, '--baseline', path)]:
        assert refused(*arguments).startswith(f'result file {path}{message}'[:500])


def crowds(content):
    return {**content, 'annotations': [{**one, 'iscrowd': 1} for one in content['annotations']]}


@pytest.mark.parametrize(
    ('change', 'messages'),
    [
        # More in tests/datasets/test_annotation_rules.py.
        (lambda old: [GOOD], ['the file must hold an object with videos, categories and annot']),
        (lambda old: {**old, 'videos': None}, ["key 'videos' must be a list, found null"]),
        (lambda old: {**old, 'videos': dict.fromkeys(range(9000))}, ["must be a list, found {'0"]),
        (lambda old: {**old, 'annotations': None}, ['nothing to score', 'tools/split_ytvis.py']),
        (lambda old: {**old, 'annotations': []}, ['nothing to score', 'tools/split_ytvis.py']),
        (crowds, ['nothing to score', 'crowds left out']),
    ],
)
def test_bad_ground_truth(refused, pair, change, messages):
    written(pair[0], change(json.loads(pair[0].read_text())))
    found = refused(*pair)
    assert found.startswith(f'annotation file {pair[0]}: ')
    assert all(message in found for message in messages)


# --- bad options ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('option', 'wanted', 'values'),
    [
        ('--bootstrap', 'a number of resamples, at most 100000', (-1, 100_001, 10**12)),
        ('--seed', '0 or more', (-1,)),
        ('--score-thr', 'within [0, 1]', (-0.1, 5.0, float('nan'))),
    ],
)
def test_numbers_out_of_range(refused, pair, option, wanted, values):
    for value in values:
        message = refused(*pair, options=[f'{option}={value}'])
        assert message == f'{option} must be {wanted}, got {value}.'


@pytest.mark.parametrize(
    'options',
    [
        ['--json', 'ours.json/out.json'],
        ['--json', 'folder'],
        ['--errors-dir', 'ours.json'],
        ['--errors', '--json', 'ours_worst_videos.json'],
    ],
)
def test_outputs_that_cannot_be_written_are_told_before_the_work(refused, pair, tmp_path, options):
    (tmp_path / 'folder').mkdir()
    *options, path = options
    # The missing ground truth would be told next.
    message = refused(tmp_path / 'none.json', pair[1], options=[*options, tmp_path / path])
    assert message.startswith('cannot ') and str(tmp_path / path) in message


@pytest.mark.skipif(os.geteuid() == 0, reason='root may write anywhere')
def test_folder_without_permission(refused, pair, tmp_path):
    (tmp_path / 'folder').mkdir(mode=0o500)
    options = ['--json', tmp_path / 'folder' / 'out.json']
    assert 'no permission to write' in refused(*pair, options=options)


def test_inputs_are_not_overwritten(refused, pair, tmp_path):
    other = written(tmp_path / 'other.json', [GOOD])
    (tmp_path / 'link.json').symlink_to(pair[1])
    for path in (*pair, other, tmp_path / 'link.json', tmp_path / 'sub' / '..' / 'gt.json'):
        message = refused(*pair, '--baseline', other, options=['--json', path])
        assert message == f'cannot write {path}: it is an input; give another path.'


# --- as a process ---------------------------------------------------------------------------------


def test_as_a_process_it_needs_no_torch(run_python, files, tmp_path):
    out = tmp_path / 'out.json'
    arguments = [*files[:2], '--baseline', files[2], '--bootstrap', 5, '--errors', '--json', out]
    code = (
        'import runpy, sys\n'
        'sys.argv = sys.argv[1:]\n'
        'runpy.run_path(sys.argv[0], run_name="__main__")\n'
        'print([name for name in ("torch", "mmdet", "mmcv") if name in sys.modules])\n'
    )
    done = run_python('-c', code, TOOL, *arguments)
    assert (done.returncode, done.stderr) == (0, '')
    assert done.stdout.startswith(f'{files[1]}: ') and done.stdout.splitlines()[-1] == '[]'
    assert json.loads(out.read_text())['ci']['AP']
    assert (tmp_path / 'ours_errors.png').read_bytes().startswith(b'\x89PNG')
