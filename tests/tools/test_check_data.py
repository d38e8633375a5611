import json
import os
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / 'tools' / 'check_data.py'
SMALL = ROOT / 'configs/masktrack_rcnn/masktrack-rcnn_r18_fpn_2e_moving-shapes.py'


@pytest.fixture
def data(shapes, tmp_path):
    """2 training and 3 validation videos of 3 frames."""
    return shutil.copytree(shapes, tmp_path / 'data')


@pytest.fixture
def check(tool):
    """Runs the tool: exit status, findings without the indentation, the rest of stdout, stderr."""

    def run(*arguments):
        status, out, err = tool(*arguments)
        lines = out.splitlines()
        findings = [line.strip() for line in lines if line.startswith('  ')]
        others = [line for line in lines if line and not line.startswith('  ')]
        return status, findings, others, err

    return run


@pytest.fixture
def train(data):
    """Annotation file and frames of the training videos."""
    return data / 'train/instances.json', data / 'train/JPEGImages'


def edit(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def warned(others):
    """Headings of what is no error; a handful of videos may not show every category."""
    return [line for line in others if line.startswith('warning: ') and 'category' not in line]


def test_a_good_data_set(check, train):
    ann, images = train
    for deep, opened in (([], 2), (['--deep'], 6)):
        status, _, others, errors = check('--ann', ann, '--images', images, *deep)
        assert (status, errors, warned(others)) == (0, '', [])
        assert others[-1].startswith(f'{ann}: 0 errors, ') and '2 videos, ' in others[-1]
        assert others[-1].endswith(f'6 frames, {opened} images opened')
    # The annotation file alone.
    images.rename(images.with_name('elsewhere'))
    status, _, others, _ = check('--ann', ann)
    assert status == 0 and 'frames' not in others[-1]
    # Warnings alone do not fail.
    edit(ann, lambda content: content.pop('annotations'))
    status, (_,), others, _ = check('--ann', ann)
    assert (status, others[0]) == (0, 'warning: no annotations (1)')
    assert others[-1].startswith(f'{ann}: 0 errors, 1 warnings; looked at 2 videos')


def test_all_errors_are_listed_and_written(check, train, tmp_path):
    ann, images = train
    content = json.loads(ann.read_text())
    names = [video['file_names'] for video in content['videos']]
    for n, f in ((0, 1), (1, 2)):
        (images / names[n][f]).unlink()
    first = content['annotations'][0]
    frame = next(n for n, mask in enumerate(first['segmentations']) if mask)
    first['segmentations'][frame]['counts'], first['iscrowd'] = 'x', 7
    ann.write_text(json.dumps(content))
    out = tmp_path / 'new' / 'findings.json'
    status, findings, others, _ = check('--ann', ann, '--images', images, '--json', out)
    name = content['videos'][first['video_id'] - 1]['file_names'][frame]
    place = f'{ann}: annotations[0], annotation {first["id"]}, video {first["video_id"]}'
    assert findings[0] == f"{place}: 'iscrowd' must be 0 or 1, found 7"
    assert findings[1].startswith(f"{place}, frame {frame} ({name}): 'counts' of the RLE are dam")
    for found, (n, f) in zip(findings[2:4], ((0, 1), (1, 2)), strict=True):
        lost = f'{ann}: videos[{n}], video {n + 1}, frame {f} ({names[n][f]}): there is no file'
        assert found == f'{lost} {images}/{names[n][f]}'
    counts = [line.removeprefix('error: ') for line in others if line.startswith('error')]
    assert counts == ['iscrowd (1)', 'damaged mask (1)', 'missing frame (2)']
    assert status == 1 and others[-1].startswith(f'{ann}: 4 errors, ')
    written = json.loads(out.read_text())
    assert written['errors'] == 4 and len(written['findings']) == len(findings)
    assert written['findings'][0]['annotation_id'] == first['id']
    assert all(one['file'] == str(ann) for one in written['findings'])


def test_deep_finds_a_jpeg_that_is_cut_short(check, train):
    ann, images = train
    name = json.loads(ann.read_text())['videos'][1]['file_names'][2]
    (images / name).write_bytes((images / name).read_bytes()[:-100])
    assert check('--ann', ann, '--images', images)[0] == 0
    status, findings, *_ = check('--ann', ann, '--images', images, '--deep')
    place = f'{ann}: videos[1], video 2, frame 2 ({name})'
    assert status == 1
    assert findings[0].startswith(f'{place}: cannot be read as an image: the JPEG is cut ')


@pytest.fixture
def scored(data, tmp_path):
    """Annotation file, result file and its content."""
    ann, path = data / 'valid/instances.json', tmp_path / 'results.json'
    keys, objects = ('video_id', 'category_id', 'segmentations'), json.loads(ann.read_text())
    results = [dict({key: one[key] for key in keys}, score=0.5) for one in objects['annotations']]
    path.write_text(json.dumps(results))
    return ann, path, results


def test_a_result_file(check, scored):
    ann, path, results = scored
    status, findings, (line,), _ = check('--results', path, '--ann', ann)
    assert (status, findings) == (0, [])
    assert line.startswith(f'{path}: 0 errors, 0 warnings; looked at 3 videos, ')
    # For a broken annotation file.
    edit(ann, lambda content: content['videos'][0].pop('width'))
    status, findings, others, _ = check('--results', path, '--ann', ann)
    broken = f"{ann}: videos[0], video 1: key 'width' is missing, expected an integer"
    assert (status, findings) == (1, [broken])
    assert others[-2].startswith(f'{ann}: 1 errors') and others[-1].startswith(f'{path}: 0 errors')
    results[1]['score'], results[0]['category_id'] = float('nan'), 77
    path.write_text(json.dumps(results))
    status, findings, _, _ = check('--results', path, '--ann', ann)
    first, second = (f'{path}: entry {n}, video {results[n]["video_id"]}: ' for n in (0, 1))
    first += 'category_id 77 is not among the categories of the annotation file'
    second += "'score' must be from 0 to 1, found nan"
    assert (status, findings) == (1, [broken, first, second])
    # Broken off: checked as far as they go.
    text = json.dumps([{**results[0], 'category_id': 1, 'score': 2}, *results[1:]])
    path.write_text(text[: -len(text) // 4])
    status, findings, others, errors = check('--results', path, '--ann', ann)
    assert status == 2 and len(findings) == 3
    assert f'{path}: not all could be read; so far 2 errors, ' in others[-1]
    assert errors.startswith(f'error: result file {path} is not valid JSON')


def test_a_config(check, data):
    status, _, others, errors = check(SMALL, '--cfg-options', f'data_root={data}')
    assert (status, errors, warned(others)) == (0, '', [])
    # Validation and test name the same files: once.
    files = [data / 'train/instances.json', data / 'valid/instances.json']
    assert [line.split(':')[0] for line in others[-2:]] == list(map(str, files))
    assert sum('looked at' in line for line in others) == 2
    # With faults in both sets; of categories names count, not the order.
    edit(files[0], lambda content: content.pop('annotations'))
    edit(files[1], lambda content: content['categories'].reverse())
    edit(files[1], lambda content: content['categories'][1].update(name='tri-angle'))
    status, findings, others, _ = check(SMALL, '--cfg-options', f'data_root={data}')
    faults = [line.removeprefix('error: ') for line in others if line.startswith('error: ')]
    assert faults == ['no annotations (1)', 'other categories than for training (1)']
    assert status == 1 and findings[0].endswith('training needs them')
    assert str(files[1]) in findings[1] and 'know: tri-angle' in findings[1]


@pytest.mark.parametrize(
    ('option', 'status', 'words'),
    [
        ('val_dataloader.dataset.category_map.tri-angle=triangle', 0, None),
        ('val_dataloader.dataset.metainfo.classes=[disc,star]', 0, '2 of those to train on'),
        ('train_dataloader.dataset.metainfo.classes=[disc]', 1, 'know: square, tri-angle, star'),
        ('train_dataloader.dataset.category_map.sun=star', 2, "has no category 'sun'"),
    ],
)
def test_categories_of_a_config(check, data, option, status, words):
    edit(data / 'valid/instances.json', lambda one: one['categories'][2].update(name='tri-angle'))
    # Test has the same file; it is of no matter here.
    options = [f'data_root={data}', 'test_dataloader=None', 'test_evaluator=None', option]
    found, findings, _, errors = check(SMALL, '--cfg-options', *options)
    text = '\n'.join([*findings, errors])
    assert found == status and (words in text if words else 'know: ' not in text)


def test_a_config_without_its_data(check, data):
    """What is there is checked all the same."""
    (data / 'train/instances.json').unlink()
    frame = next((data / 'valid/JPEGImages').rglob('*.jpg'))
    frame.unlink()
    status, findings, others, errors = check(SMALL, '--cfg-options', f'data_root={data}')
    assert status == 2
    assert errors.startswith(f'error: annotation file not found: {data}/train/instances.json. Make')
    assert str(frame) in findings[0]
    assert others[-2] == f'{data}/train/instances.json: not read'


def test_wrapped_data_sets_and_other_files_of_a_config(check, data, tmp_path):
    config = tmp_path / 'config.py'
    config.write_text(f"""
ann, prefix = 'train/instances.json', dict(img='train/JPEGImages')
train = dict(type='YouTubeVIS', data_root='{data}', ann_file=ann, data_prefix=prefix)
prefix = dict(img='{data}/valid/JPEGImages')
more = dict(type='YouTubeVIS', ann_file='{data}/valid/instances.json', data_prefix=prefix)
both = dict(type='ConcatDataset', datasets=[train, more])
train_dataloader = dict(dataset=dict(type='RepeatDataset', times=2, dataset=both))
val_dataloader = dict(dataset=more)
val_evaluator = dict(type='YouTubeVISMetric', ann_file='{tmp_path}/own.json')
""")
    status, _, others, errors = check(config)
    assert (status, errors) == (2, f'error: annotation file not found: {tmp_path}/own.json.\n')
    for line, part in zip(others[-3:-1], ('train', 'valid'), strict=True):
        assert line.startswith(f'{data}/{part}/instances.json: 0 errors')
    assert others[-1] == f'{tmp_path}/own.json: not read'


def test_misuse(check, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'empty.py').write_text('train_dataloader = None\n')
    for arguments, message in (
        ('empty.py', 'names no annotation file'),
        ('', 'give either CONFIG or --ann'),
        ('config.py --ann a.json', 'give either CONFIG or --ann'),
        ('--results r.json', 'give either CONFIG or --ann'),
        ('config.py --images d', '--images and --results go with --ann'),
        ('--ann a.json --cfg-options a=1', '--cfg-options goes with CONFIG'),
        ('--ann a.json --results r.json --images d', 'two checks'),
        ('--ann a.json --deep', '--deep decodes frames'),
        ('none.py', 'config not found: none.py'),
        ('--ann none.json', 'annotation file not found: none.json'),
        ('--results none.json --ann none.json', 'annotation file not found: none.json'),
    ):
        status, findings, _, errors = check(*arguments.split())
        assert (status, findings) == (2, []) and message in errors and 'Traceback' not in errors


def test_files_that_cannot_be_read_or_written(check, train, monkeypatch):
    before = train[0].read_bytes()
    monkeypatch.chdir(train[0].parents[2])
    for arguments, message in (
        (['--images', 'none'], 'folder of frames not found: none'),
        (['--results', 'none.json'], 'result file not found: none.json'),
        (['--json', 'data/train/instances.json'], 'would replace a file that is to be checked'),
        (['--json', 'data/train/JPEGImages'], 'is a folder'),
        (['--json', 'data/train/instances.json/x/out.json'], 'cannot make the folder'),
    ):
        status, _, _, errors = check('--ann', 'data/train/instances.json', *arguments)
        assert status == 2 and message in errors and 'Traceback' not in errors
    assert train[0].read_bytes() == before
    # A file that is cut short.
    train[0].write_bytes(train[0].read_bytes()[:1000])
    status, _, others, errors = check('--ann', train[0])
    assert status == 2 and 'is not valid JSON (truncated or damaged?)' in errors
    assert others == [f'{train[0]}: not read']


def test_names_that_the_terminal_cannot_show(run_python, train):
    names = ['/\ud800Ω.jpg', '1.jpg', '2.jpg']
    edit(train[0], lambda content: content['videos'][0].update(file_names=names))
    environment = {**os.environ, 'PYTHONIOENCODING': 'ascii'}
    done = run_python(TOOL, '--ann', train[0], env=environment)
    assert (done.returncode, done.stderr) == (1, '')
    assert r'(/\ud800\u03a9.jpg)' in done.stdout


def test_only_the_config_form_needs_torch(run_python, scored):
    ann, path, _ = scored
    code = f"""
import runpy, sys
main = runpy.run_path('{TOOL}')['main']
main(['--ann', '{ann}', '--images', '{ann.with_name('JPEGImages')}'])
main(['--ann', '{ann}', '--results', '{path}'])
print([name for name in ('torch', 'mmengine', 'mmcv', 'mmdet') if name in sys.modules])
"""
    done = run_python('-c', code)
    assert done.stdout.splitlines()[-1] == '[]'
    assert done.stderr == ''  # no progress bar where there is no terminal
