import json
import zipfile

import cv2
import pytest

from tests.models.delayed import write_config
from tests.processes import run_ranks
from tests.small_runs import SMALL, logged, quick
from vispropnet.apis.testing import test as run_test
from vispropnet.apis.training import train
from vispropnet.errors import UserError
from vispropnet.evaluation.average_precision import MAIN_METRICS, evaluate_tracks
from vispropnet.evaluation.result_file import read_results


@pytest.fixture(scope='module')
def checkpoint(trained):
    return str(trained / 'epoch_2.pth')


def test_test_writes_all_also_in_mixed_precision(trained, checkpoint, shapes, small, tmp_path):
    out = tmp_path / 'results.json'
    places = dict(metrics_out=tmp_path / 'metrics.json', show_dir=tmp_path / 'show')
    options = dict(overrides=quick(shapes, f'work_dir={tmp_path}'))
    metrics = run_test(small, checkpoint, out, evaluate=True, **places, **options)
    results = read_results(out)
    assert results and {one['video_id'] for one in results} <= {1, 2, 3}
    assert {len(one['segmentations']) for one in results} == {3}
    with zipfile.ZipFile(tmp_path / 'results.zip') as archive:
        assert archive.namelist() == ['results.json']
        assert archive.read('results.json') == out.read_bytes()
    assert json.loads((tmp_path / 'metrics.json').read_text()) == metrics
    scores = evaluate_tracks(shapes / 'valid/instances.json', results)
    assert metrics == {name: scores[name] for name in MAIN_METRICS}
    # The last validation of the training saw the same weights.
    assert metrics['mAP'] == pytest.approx(logged(trained, 'ytvis/mAP')[-1], abs=1e-4)
    pictures = list((tmp_path / 'show').glob('*/*.jpg'))
    assert len(pictures) == 9 and cv2.imread(str(pictures[0])).shape[1] >= 480
    run_test(small, checkpoint, tmp_path / 'half.json', amp='bf16', **options)
    half = read_results(tmp_path / 'half.json')
    assert results != half and half
    best, plain_best = (max(one['score'] for one in some) for some in (half, results))
    assert best == pytest.approx(plain_best, abs=0.02)


def test_files_that_do_not_fit_each_other(checkpoint, own_shapes, small, tmp_path, capsys):
    path, out = own_shapes / 'valid/instances.json', tmp_path / 'results.json'
    content = json.loads(path.read_text())
    options = dict(evaluate=True, overrides=quick(own_shapes))
    path.write_text(json.dumps({**content, 'categories': content['categories'][::-1]}))
    with pytest.raises(UserError, match='another order .* triangle, star against star, tri'):
        run_test(small, checkpoint, out, **options)
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
