import json
import shlex

import pytest

from tests.small_runs import SMALL
from vispropnet.config import load_config
from vispropnet.datasets.moving_shapes import write_moving_shapes
from vispropnet.evaluation.average_precision import evaluate_tracks
from vispropnet.registry import DATASETS

LOCAL = 'configs/masktrack_rcnn/masktrack-rcnn_r50_fpn_1x_ytvis2021-local.py'


def write_source(path, held, names):
    path.parent.mkdir(parents=True, exist_ok=True)
    annotations = [
        dict(id=100 * video + n, video_id=video, category_id=category, segmentations=[None])
        for video, categories in enumerate(held)
        for n, category in enumerate(categories)
    ]
    videos = [dict(id=n, width=8, height=6, file_names=[f'{n}.jpg']) for n in range(len(held))]
    categories = [dict(id=n, name=name) for n, name in enumerate(names)]
    path.write_text(json.dumps(dict(videos=videos, categories=categories, annotations=annotations)))
    return path


def test_prints_what_is_where(tool, tmp_path):
    # Of 10 videos two are without objects; nobody holds a tapir, one video holds the owl.
    held = [[0, 0]] * 6 + [[1, 2]] + [[1]] + [[]] * 2
    source = write_source(tmp_path / 'train.json', held, ['cat', 'fish', 'owl', 'tapir'])
    _, out, _ = tool(source, '--val-fraction', '0.4', '--out-dir', tmp_path / 'out')
    lines = out.splitlines()
    # 40 % of six and two videos; fish: one on each side, and the one with the owl is trained on.
    rows = {line.rsplit(maxsplit=4)[0]: line.split()[-4:] for line in lines[1:8] if line}
    counts = {'cat': '4 2 8 4', 'fish': '1 1 1 1', 'owl': '1 0 1 0', 'tapir': '0 0 0 0'}
    counts |= {'(no object)': '1 1 0 0', 'all': '6 4 10 5', 'category': 'train valid train valid'}
    assert rows == {name: one.split() for name, one in counts.items()}
    assert lines[8:13] == [
        'categories on both sides: 2 of 4; not on both:',
        '  owl: only one video holds it, which is in training',
        '  tapir: no video holds an object of it',
        f'training: {tmp_path}/out/train.json',
        f'validation: {tmp_path}/out/valid.json',
    ]
    assert lines[13].startswith('train and validate: python tools/train.py CONFIG --cfg-options')
    assert lines[13].endswith('(CONFIG: one for 4 categories that validates)')
    assert len(lines) == 14
    # All categories are on both sides, or not.
    source = write_source(tmp_path / 'train.json', [[0], [0], [1], [1]], ['cat', 'fish'])
    options = ['--out-dir', tmp_path / 'out', '--force', '--val-fraction']
    few, both = (tool(source, *options, fraction)[1] for fraction in (0.25, 0.5))
    assert 'categories on both sides: 1 of 2' in few and 'categories on both sides: all 2\n' in both
    assert 'in training, no exchange found that would not c' in few
    assert '(no object)' not in few + both


def command_of(output):
    """Config and overrides of the command that the tool prints."""
    (line,) = [one for one in output.splitlines() if one.startswith('train and validate: ')]
    words = shlex.split(line.removeprefix('train and validate: ').partition('  (')[0])
    assert words[:2] == ['python', 'tools/train.py'] and words[3] == '--cfg-options'
    return words[2], words[4:]


def test_command_for_the_official_layouts(tool, root, tmp_path, monkeypatch):
    data = tmp_path / 'data' / 'youtube_vis'
    for layout in ('train.json', 'train/instances.json'):
        source = write_source(data / layout, [[0], [0, 1], [1]], [f'kind {n}' for n in range(40)])
        monkeypatch.chdir(root)
        _, out, _ = tool(source, '--out-dir', data / 'local', '--force')
        assert command_of(out) == (LOCAL, [f'data_root={data}'])
        # Short where the data are below the current folder, and with files that lie elsewhere.
        monkeypatch.chdir(tmp_path / 'data')
        _, out, _ = tool(f'youtube_vis/{layout}', '--out-dir', 'splits', '--force')
        config, overrides = command_of(out)
        assert (config, overrides[0]) == (LOCAL, 'data_root=youtube_vis')
        loaded = load_config(root / config, overrides)
        assert loaded.val_evaluator.ann_file == str(tmp_path / 'data/splits/valid.json')
        assert loaded.train_dataloader.dataset.ann_file == str(tmp_path / 'data/splits/train.json')


def test_moving_shapes_are_split_and_read(tool, root, tmp_path):
    shapes = tmp_path / 'data'
    options = dict(train_videos=8, val_videos=1, frames=3, size=(96, 64), progress=False)
    write_moving_shapes(shapes, **options)
    source = shapes / 'train' / 'instances.json'
    options = ['--val-fraction', '0.25', '--seed', '3', '--out-dir', shapes / 'local']
    config, overrides = command_of(tool(source, *options)[1])
    assert config == 'CONFIG'
    loaded = load_config(root / SMALL, overrides)
    read = {}
    for part, videos in (('train', 6), ('val', 2)):
        dataset = DATASETS.build(loaded[f'{part}_dataloader'].dataset)
        frames = [dataset.get_data_info(n) for n in range(3 * videos)]
        read[part] = {frame['video_id'] for frame in frames}
        assert len(read[part]) == videos and sum(dataset.video_lengths) == 3 * videos
        assert dataset.metainfo['classes'] == ('disc', 'square', 'triangle', 'star')
        assert dataset[0]['inputs'] is not None  # the frame is there
    original = {video['id'] for video in json.loads(source.read_text())['videos']}
    assert read['train'] | read['val'] == original and not read['train'] & read['val']
    # What is validated against is the validation part: its own objects score 1.
    truth = json.loads((shapes / 'local' / 'valid.json').read_text())
    keys = ('video_id', 'category_id', 'segmentations')
    tracks = [dict({key: one[key] for key in keys}, score=1.0) for one in truth['annotations']]
    assert loaded.val_evaluator.ann_file == str(shapes / 'local' / 'valid.json')
    assert evaluate_tracks(loaded.val_evaluator.ann_file, tracks)['mAP'] == pytest.approx(1)
    # The local configs read the split.
    loaded = load_config(root / LOCAL, [f'data_root={shapes}'])
    for part, videos in (('train', 6), ('val', 2), ('test', 2)):
        dataset = DATASETS.build(loaded[f'{part}_dataloader'].dataset)
        assert len(dataset.video_lengths) == videos


def test_bad_input_is_one_message_and_status_2(tool, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_source(tmp_path / 'good.json', [[0], [0]], ['cat'])
    stray = json.loads((tmp_path / 'good.json').read_text())
    (tmp_path / 'cut.json').write_text('{"videos"')
    (tmp_path / 'official.json').write_text(json.dumps({**stray, 'annotations': None}))
    stray['annotations'][0]['video_id'] = 9
    (tmp_path / 'stray.json').write_text(json.dumps(stray))
    (tmp_path / 'old').mkdir()
    (tmp_path / 'old' / 'valid.json').write_text('old')
    before = sorted(tmp_path.rglob('*'))
    for options, message in (
        (['none.json'], 'annotation file not found: none.json'),
        (['cut.json'], 'cut.json is not valid JSON'),
        (['official.json'], 'official.json has no annotations'),
        (['stray.json'], 'video_id 9 is not among the videos'),
        (['good.json', '--val-fraction', '1'], 'must lie between 0 and 1, got 1.0'),
        (['good.json', '--seed', '-1'], 'seed must be at least 0, got -1'),
        (['good.json', '--out-dir', 'cut.json'], 'cannot write cut.json/train.json'),
        (['good.json', '--out-dir', 'old'], 'already there: old/valid.json; --force replaces'),
    ):
        status, out, err = tool('--out-dir', 'out', *options)
        assert (status, out) == (2, '')
        assert err.startswith('error: ') and err.count('\n') == 1 and message in err
        assert sorted(tmp_path.rglob('*')) == before
    status, _, error = tool('good.json')
    assert status == 2 and '--out-dir' in error
