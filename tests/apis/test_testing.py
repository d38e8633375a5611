import json
import zipfile

import cv2
import numpy as np
import pytest
import torch

from tests.models.delayed import write_config
from tests.processes import run_ranks
from tests.small_runs import SMALL, logged, quick
from vispropnet.apis import init_model, segment_video
from vispropnet.apis.testing import test as run_test
from vispropnet.apis.training import train
from vispropnet.errors import UserError
from vispropnet.evaluation.average_precision import MAIN_METRICS, evaluate_tracks
from vispropnet.evaluation.result_file import read_results


@pytest.fixture(scope='module')
def checkpoint(trained):
    return str(trained / 'epoch_2.pth')


@pytest.fixture(scope='module')
def tested(checkpoint, shapes, small, tmp_path_factory):
    """Folder and metrics of a test that writes all that can be written."""
    folder = tmp_path_factory.mktemp('test')
    places = dict(metrics_out=folder / 'metrics.json', show_dir=folder / 'show')
    options = dict(evaluate=True, overrides=quick(shapes, f'work_dir={folder}'))
    metrics = run_test(small, checkpoint, folder / 'results.json', **places, **options)
    return folder, metrics


def test_test_writes_all_also_in_mixed_precision(trained, checkpoint, tested, shapes, small):
    (folder, metrics), annotations = tested, shapes / 'valid/instances.json'
    out = folder / 'results.json'
    results = read_results(out)
    assert results and {one['video_id'] for one in results} <= {1, 2, 3}
    assert {len(one['segmentations']) for one in results} == {3}
    with zipfile.ZipFile(folder / 'results.zip') as archive:
        assert archive.namelist() == ['results.json']
        assert archive.read('results.json') == out.read_bytes()
    assert json.loads((folder / 'metrics.json').read_text()) == metrics
    scores = evaluate_tracks(annotations, results)
    assert metrics == {name: scores[name] for name in MAIN_METRICS}
    # The last validation of the training saw the same weights.
    assert metrics['mAP'] == pytest.approx(logged(trained, 'ytvis/mAP')[-1], abs=1e-4)
    pictures = list((folder / 'show').glob('*/*.jpg'))
    assert len(pictures) == 9 and cv2.imread(str(pictures[0])).shape[1] >= 480
    options = quick(shapes, f'work_dir={folder}')
    run_test(small, checkpoint, folder / 'half.json', amp='bf16', overrides=options)
    half = read_results(folder / 'half.json')
    assert results != half and half
    best, plain_best = (max(one['score'] for one in some) for some in (half, results))
    assert best == pytest.approx(plain_best, abs=0.02)


def test_files_that_do_not_fit_each_other(checkpoint, own_shapes, small, tmp_path, capsys):
    path, out = own_shapes / 'valid/instances.json', tmp_path / 'results.json'
    content = json.loads(path.read_text())
    options = dict(evaluate=True, overrides=quick(own_shapes))
    wider = quick(own_shapes, 'model.track_head.embed_head.fc_out_channels=8')
    with pytest.raises(UserError, match=r'epoch_2\.pth does not fit') as caught:
        run_test(small, checkpoint, out, overrides=wider)
    assert 'track_head.embed_head.fcs.1.bias: (16,) in the file, (8,) wanted' in str(caught.value)
    assert not out.exists()
    # Without annotations, results are written and nothing is scored.
    del content['annotations']
    path.write_text(json.dumps(content))
    assert run_test(small, checkpoint, out, **options) is None and read_results(out)
    assert 'has no annotations, so there is nothing to score against' in capsys.readouterr().out


@pytest.fixture(scope='module')
def prompt(shapes, root, tmp_path_factory):
    """Result file and metrics of a model that answers at once."""
    folder = tmp_path_factory.mktemp('prompt')
    options = dict(evaluate=True, overrides=quick(shapes))
    metrics = run_test(*write_config(folder, root / SMALL), folder / 'r.json', **options)
    assert len(read_results(folder / 'r.json')) == 6  # two tracks in each of three videos
    return (folder / 'r.json').read_bytes(), metrics


@pytest.mark.parametrize(('look_ahead', 'batch'), [(0, 2), (3, None), (1, 4), (3, 4)])
def test_answers_that_lag_give_the_same_results(prompt, shapes, root, tmp_path, look_ahead, batch):
    """The videos have three frames: with a lag of three all is answered at their ends."""
    files, out = write_config(tmp_path, root / SMALL, look_ahead), tmp_path / 'r.json'
    found = run_test(*files, out, evaluate=True, overrides=quick(shapes), batch=batch)
    assert (out.read_bytes(), found) == prompt


def test_an_overview_of_each_video_for_any_batch_and_ranks(prompt, shapes, root, tmp_path):
    files = write_config(tmp_path, root / SMALL, overview=2)
    changes = quick(shapes, f'work_dir={tmp_path}')
    found = []
    for batch in (1, 2, 4):
        run_test(*files, tmp_path / 'r.json', overrides=changes, batch=batch)
        found.append((tmp_path / 'r.json').read_bytes())
    options = ['--out', tmp_path / 'two.json', '--batch', '2', '--cfg-options', *changes]
    ends = run_ranks(2, 'tools/test_video.py', *files, *options)
    assert [status for status, _ in ends] == [0, 0], ends
    assert {*found, (tmp_path / 'two.json').read_bytes()} == {found[0]} != {prompt[0]}
    # As of a folder of the same frames, which are scaled in another way there.
    model = init_model(*files, 'cpu')
    for video in json.loads((shapes / 'valid/instances.json').read_text())['videos']:
        folder = (shapes / 'valid' / 'JPEGImages' / video['file_names'][0]).parent
        scores = [one.instances.scores for one in segment_video(model, folder, 0.0)]
        written = [
            one['score']
            for one in read_results(tmp_path / 'r.json')
            if one['video_id'] == video['id']
        ]
        assert sorted(written) == pytest.approx(sorted(np.mean(scores, axis=0)), abs=1e-4)


def test_validation_and_its_pictures_of_a_model_that_lags(shapes, root, tmp_path):
    pictures = []
    more = [f'default_hooks.overlays.{one}' for one in ('num_videos=4', 'score_threshold=0.0')]
    for look_ahead in (0, 3):
        config, _ = write_config(tmp_path, root / SMALL, look_ahead)
        work_dir = tmp_path / str(look_ahead)
        train(config, work_dir, overrides=quick(shapes, *more, 'train_cfg.max_epochs=1'))
        assert len(logged(work_dir, 'ytvis/mAP')) == 1
        paths = work_dir.glob('*/vis_data/vis_image/validation_video_*')
        pictures.append({path.name: path.read_bytes() for path in paths})
    assert len(pictures[0]) == 3 and pictures[0] == pictures[1]


def test_two_ranks_run_a_model_that_lags(prompt, shapes, root, tmp_path):
    files, out = write_config(tmp_path, root / SMALL, 3), tmp_path / 'r.json'
    changes = quick(shapes, f'work_dir={tmp_path}')
    options = ['--batch', '2', '--eval', 'segm', '--cfg-options', *changes]
    ends = run_ranks(2, 'tools/test_video.py', *files, '--out', out, *options)
    assert [status for status, _ in ends] == [0, 0] and 'AP75' in ends[0][1], ends
    assert out.read_bytes() == prompt[0]


def with_categories(shapes, *names):
    """Lists categories in this order, with ids from 11; a name may be ``'new=old'``."""
    path = shapes / 'valid/instances.json'
    content = json.loads(path.read_text())
    old = {one['id']: one['name'] for one in content['categories']}
    content['categories'] = [
        dict(id=identity, name=name.split('=')[0]) for identity, name in enumerate(names, 11)
    ]
    ids = {name.split('=')[-1]: identity for identity, name in enumerate(names, 11)}
    kept = [one for one in content['annotations'] if old[one['category_id']] in ids]
    for one in kept:
        one['category_id'] = ids[old[one['category_id']]]
    path.write_text(json.dumps(dict(content, annotations=kept)))


ORDER = 'star', 'triangle', 'square', 'disc'
OTHER = 'star', 'tri-angle=triangle', 'square', 'disc'
SAME = 'test_dataloader.dataset.category_map.tri-angle=triangle'


def tracks_in(path):
    return [(one['video_id'], one['category_id'], one['score']) for one in read_results(path)]


@pytest.mark.parametrize('meta', ['dataset_meta', 'CLASSES', None])
@pytest.mark.parametrize(('names', 'options'), [(ORDER, []), (OTHER, [SAME])])
def test_categories_are_matched_by_name(
    checkpoint, tested, own_shapes, small, tmp_path, names, options, meta
):
    """The metrics and tracks are the same, under the ids of the file; also for older weights."""
    content = torch.load(checkpoint, weights_only=False)
    classes = content['meta'].pop('dataset_meta')['classes']
    if meta is not None:
        content['meta'][meta] = dict(classes=classes) if meta == 'dataset_meta' else classes
    # Without names the order of the training file counts, which is there.
    torch.save(content, tmp_path / 'c.pth')
    with_categories(own_shapes, *names)
    options = quick(own_shapes, f'work_dir={tmp_path}', *options)
    out = tmp_path / 'r.json'
    metrics = run_test(small, str(tmp_path / 'c.pth'), out, evaluate=True, overrides=options)
    assert metrics == tested[1]
    ids = {1: 14, 2: 13, 3: 12, 4: 11}
    before = tracks_in(tested[0] / 'results.json')
    assert tracks_in(out) == [(video, ids[category], score) for video, category, score in before]


@pytest.mark.parametrize(
    ('names', 'options'),
    [
        (('star', 'disc'), ()),
        (('star', 'disc', 'x=square'), ('metainfo.classes=[star,disc]',)),
        (('star', 'x=disc', 'y=square'), ('category_map.x=disc', 'category_map.y=disc')),
    ],
)
def test_files_with_fewer_categories(
    checkpoint, tested, own_shapes, small, tmp_path, names, options
):
    with_categories(own_shapes, *names)
    options = [f'work_dir={tmp_path}', *(f'test_dataloader.dataset.{one}' for one in options)]
    out = tmp_path / 'r.json'
    overrides = quick(own_shapes, *options)
    metrics = run_test(small, checkpoint, out, evaluate=True, overrides=overrides)
    before, ids = tracks_in(tested[0] / 'results.json'), {4: 11, 1: 12}
    kept = [(video, ids[one], score) for video, one, score in before if one in ids]
    assert tracks_in(out) == kept != []
    # The mean is over the categories that count, with the objects of joined ones as one.
    path = own_shapes / 'valid/instances.json'
    content = json.loads(path.read_text())
    content['categories'] = content['categories'][:2]
    for one in content['annotations']:
        if one['category_id'] == 13 and 'x=disc' in names:
            one['category_id'] = 12
    content['annotations'] = [one for one in content['annotations'] if one['category_id'] < 13]
    path.write_text(json.dumps(content))
    scores = evaluate_tracks(path, read_results(out))
    assert metrics == {name: scores[name] for name in MAIN_METRICS}


def test_other_categories_are_refused(checkpoint, own_shapes, small, tmp_path):
    with_categories(own_shapes, *OTHER)
    words = f'does not know: tri-angle. The model knows disc, .*{SAME}'
    with pytest.raises(UserError, match=words):
        run_test(small, checkpoint, tmp_path / 'r.json', overrides=quick(own_shapes))


def test_options_are_checked_before_work_begins(small, tmp_path, shapes, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'file').write_text('')
    for options, message in (
        (dict(out='r.txt'), r'must be named \.json'),
        (dict(out='file/r.json'), 'file/r.json'),
        (dict(metrics_out='m.json'), 'needs --eval segm'),
        (dict(metrics_out='file/m.json', evaluate=True), 'folder of .*m.json'),
        (dict(show_dir='file/show'), 'folder of .*show'),
        (dict(batch=0), r'batch .* must be 1 or more, got 0'),
        (dict(amp='fp16'), r'fp16 .* needs a GPU'),
        (dict(amp='fp8'), "amp must be 'bf16', 'fp16' or None, got 'fp8'"),
    ):
        with pytest.raises(UserError, match=message):
            run_test(small, 'none.pth', **{'out': 'r.json', **options}, overrides=quick(shapes))
        assert [path.name for path in tmp_path.iterdir()] == ['file']
