import json
import os
import subprocess
import sys
import zipfile
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config

from tests.apis.small_runs import logged, quick
from tests.models.delayed import write_config
from vispropnet.apis.run_setup import check_num_classes, copy_asynchronously
from vispropnet.apis.testing import test as run_test
from vispropnet.apis.training import train
from vispropnet.config import load_config
from vispropnet.engine.acceleration import BFloat16OptimWrapper
from vispropnet.errors import UserError
from vispropnet.evaluation.average_precision import METRIC_NAMES, evaluate_tracks
from vispropnet.evaluation.result_file import read_results
from vispropnet.registry import MODELS

SMALL = 'configs/masktrack_rcnn/masktrack-rcnn_r18_fpn_2e_moving-shapes.py'
# Weights that are hardly trained find something only if all is kept.
EAGER = 'model.detector.test_cfg.rcnn.score_thr=0.0'


@pytest.fixture(scope='module')
def trained(shapes, tmp_path_factory, pytestconfig):
    """A work dir with two epochs, each validated."""
    work_dir = tmp_path_factory.mktemp('run')
    config = pytestconfig.rootpath / 'configs/masktrack_rcnn'
    config = config / 'masktrack-rcnn_r18_fpn_2e_moving-shapes.py'
    train(config, work_dir, overrides=quick(shapes, EAGER, 'train_dataloader.num_workers=0'))
    return work_dir


def test_training_logs_losses_and_validates_each_epoch(trained):
    losses = logged(trained, 'loss')
    assert len(losses) == 6  # 12 frames in batches of 4, twice
    assert np.isfinite(losses).all()
    assert len(logged(trained, 'ytvis/mAP')) == 2
    assert (trained / 'epoch_2.pth').exists()
    assert list(trained.glob('*/vis_data/events.out.tfevents.*'))


def test_test_writes_results_archive_figures_and_drawings(trained, shapes, small, tmp_path, capsys):
    out = tmp_path / 'results.json'
    metrics = run_test(
        small,
        str(trained / 'epoch_2.pth'),
        out,
        evaluate=True,
        metrics_out=tmp_path / 'metrics.json',
        show_dir=tmp_path / 'show',
        overrides=quick(shapes, EAGER),
    )
    results = read_results(out)
    truth = json.loads((shapes / 'valid/instances.json').read_text())
    assert results and {one['video_id'] for one in results} <= {
        one['id'] for one in truth['videos']
    }
    assert all(len(one['segmentations']) == 3 for one in results)
    with zipfile.ZipFile(tmp_path / 'results.zip') as archive:
        assert archive.namelist() == ['results.json']
        assert archive.read('results.json') == out.read_bytes()
    assert json.loads((tmp_path / 'metrics.json').read_text()) == metrics
    figures = evaluate_tracks(shapes / 'valid/instances.json', results)
    assert metrics == {name: figures[name] for name in METRIC_NAMES}
    # The last validation of the training saw the same weights.
    assert metrics['mAP'] == pytest.approx(logged(trained, 'ytvis/mAP')[-1], abs=1e-4)
    assert 'AP75' in capsys.readouterr().out
    pictures = list((tmp_path / 'show').glob('*/*.jpg'))
    assert len(pictures) == 9 and cv2.imread(str(pictures[0])).shape[1] >= 480


def test_without_annotations_results_are_written_and_nothing_is_scored(
    trained, own_shapes, small, tmp_path, capsys
):
    path = own_shapes / 'valid/instances.json'
    content = json.loads(path.read_text())
    del content['annotations']
    path.write_text(json.dumps(content))
    out = tmp_path / 'results.json'
    metrics = run_test(
        small, str(trained / 'epoch_2.pth'), out, evaluate=True, overrides=quick(own_shapes, EAGER)
    )
    assert metrics is None and read_results(out)
    assert 'has no annotations, so there is nothing to score against' in capsys.readouterr().out


def test_training_survives_epochs_without_detections(shapes, small, tmp_path):
    nothing = 'model.detector.test_cfg.rcnn.score_thr=1.0'
    train(small, tmp_path, overrides=quick(shapes, nothing, 'train_dataloader.num_workers=0'))
    assert logged(tmp_path, 'ytvis/mAP') == [0, 0]


def test_resumed_training_ends_at_the_loss_of_the_unbroken_one(trained, shapes, small, tmp_path):
    # Another number of workers, and other global generators' states, on purpose.
    workers = 'train_dataloader.num_workers=2'
    options = quick(shapes, EAGER, workers, 'train_dataloader.persistent_workers=True')
    first = [*options, 'train_cfg.max_epochs=1']
    np.random.seed(99)  # noqa: NPY002
    train(small, tmp_path, overrides=first)
    torch.rand(5)
    train(small, tmp_path, resume='auto', overrides=options)
    np.testing.assert_allclose(logged(tmp_path, 'loss'), logged(trained, 'loss'), atol=1e-5)
    ours = torch.load(tmp_path / 'epoch_2.pth', weights_only=False)['state_dict']
    unbroken = torch.load(trained / 'epoch_2.pth', weights_only=False)['state_dict']
    for name, value in unbroken.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-5, atol=1e-5)


def test_resume_without_checkpoint_starts_as_without_resume(small, tmp_path, shapes):
    """A script that always passes --resume must not lose the weights to start from."""
    options = quick(shapes, f'load_from={tmp_path / "none.pth"}')
    with pytest.raises(UserError, match=r'checkpoint not found: .*none\.pth'):
        train(small, tmp_path, resume='auto', overrides=options)


def test_another_seed_trains_differently(trained, shapes, small, tmp_path):
    options = quick(shapes, EAGER, 'train_dataloader.num_workers=0', 'train_cfg.max_epochs=1')
    train(small, tmp_path, seed=1, overrides=options)
    assert logged(tmp_path, 'loss')[0] != pytest.approx(logged(trained, 'loss')[0], abs=1e-3)


@pytest.mark.gpu
def test_mixed_precision_trains(shapes, small, tmp_path):
    options = quick(shapes, EAGER, 'train_dataloader.num_workers=0', 'train_cfg.max_epochs=1')
    train(small, tmp_path, amp=True, overrides=options)
    assert np.isfinite(logged(tmp_path, 'loss')).all()


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU')
def test_mixed_precision_without_gpu_is_told(shapes, small, tmp_path):
    with pytest.raises(UserError, match='needs a GPU'):
        train(small, tmp_path, amp=True, overrides=quick(shapes))


def test_training_goes_on_without_what_made_it_faster(shapes, small, tmp_path):
    """Neither the checkpoint nor the optimiser's state knows of the options."""
    options = quick(shapes, EAGER, 'train_dataloader.num_workers=0')
    first = [*options, 'train_cfg.max_epochs=1']
    for overrides, fast in (
        (first, dict(amp='bf16', channels_last=True)),
        (options, dict(resume='auto')),
    ):
        runner = train(small, tmp_path, overrides=overrides, **fast)
        used = isinstance(runner.optim_wrapper, BFloat16OptimWrapper)
        layout = runner.model.detector.backbone.conv1.weight.is_contiguous(
            memory_format=torch.channels_last
        )
        assert used == layout == ('amp' in fast)
    losses = logged(tmp_path, 'loss')
    assert len(losses) == 6 and np.isfinite(losses).all()


def test_config_says_how_training_is_accelerated(shapes, small, tmp_path):
    path = tmp_path / 'fast.py'
    path.write_text(f"_base_ = {small!r}\nacceleration = dict(amp='bf16', compile=False)\n")
    options = quick(shapes, EAGER, 'train_dataloader.num_workers=0', 'train_cfg.max_epochs=1')
    runner = train(path, tmp_path / 'run', channels_last=True, overrides=options)
    assert isinstance(runner.optim_wrapper, BFloat16OptimWrapper)
    assert runner.cfg.acceleration == dict(amp='bf16', channels_last=True, compile=False)
    # The copy in the work dir trains alike.
    kept = Config.fromfile(tmp_path / 'run/fast.py')
    assert kept.acceleration == runner.cfg.acceleration
    checkpoint = str(tmp_path / 'run/epoch_1.pth')
    run_test(path, checkpoint, tmp_path / 'r.json', overrides=quick(shapes, EAGER))
    assert (tmp_path / 'r.json').exists()


@pytest.mark.parametrize(
    ('override', 'message'),
    [
        ('acceleration.amp=int8', "amp must be 'bf16', 'fp16' or None, got 'int8'"),
        ('acceleration.ampp=bf16', "unknown key 'ampp'; known: amp, channels_last, compile"),
    ],
)
def test_bad_acceleration_is_told(shapes, small, tmp_path, override, message):
    path = tmp_path / 'fast.py'
    path.write_text(f'_base_ = {small!r}\nacceleration = dict()\n')
    with pytest.raises(UserError, match=message):
        train(path, tmp_path / 'run', overrides=quick(shapes, override))


def test_load_from_starts_from_what_fits(trained, shapes, small, tmp_path):
    wider = 'model.track_head.embed_head.fc_out_channels=64'
    options = quick(
        shapes, EAGER, wider, 'train_cfg.max_epochs=1', 'optim_wrapper.optimizer.lr=0.0'
    )
    options.append(f'load_from={trained / "epoch_2.pth"}')
    runner = train(small, tmp_path, overrides=options)
    old = torch.load(trained / 'epoch_2.pth', weights_only=False)['state_dict']
    new = runner.model.state_dict()
    assert torch.equal(
        new['detector.rpn_head.rpn_cls.weight'], old['detector.rpn_head.rpn_cls.weight']
    )
    log = next(tmp_path.glob('*/*.log')).read_text()
    assert (
        'the rest starts fresh' in log and 'track_head.embed_head.fcs.1.weight: (128, 128)' in log
    )


# Bad input


def test_missing_data_says_how_to_make_it(small, tmp_path):
    with pytest.raises(UserError, match=r'annotation file not found.*make_moving_shapes\.py'):
        train(small, tmp_path, overrides=['data_root=/nowhere'])


def test_missing_real_data_says_where_to_get_it(pytestconfig, tmp_path):
    config = 'configs/masktrack_rcnn/masktrack-rcnn_r50_fpn_1x_ytvis2021.py'
    with pytest.raises(UserError, match='has to be downloaded by hand'):
        train(pytestconfig.rootpath / config, tmp_path, overrides=['data_root=/nowhere'])


@pytest.mark.parametrize('workers', [0, 1])
def test_missing_frame_stops_training_with_its_name(own_shapes, small, tmp_path, workers):
    frame = sorted((own_shapes / 'train/JPEGImages').glob('*/*.jpg'))[4]
    frame.unlink()
    options = quick(own_shapes, f'train_dataloader.num_workers={workers}')
    options.append(f'train_dataloader.persistent_workers={bool(workers)}')
    with pytest.raises(
        UserError, match=f'frame 1 of video 2 .*{frame.name}.*does not exist'
    ) as caught:
        train(small, tmp_path, overrides=options)
    assert 'Traceback' not in str(caught.value)


def test_checkpoint_of_another_model(trained, shapes, small, tmp_path):
    wider = 'model.track_head.embed_head.fc_out_channels=64'
    with pytest.raises(UserError, match=r'epoch_2\.pth does not fit') as caught:
        run_test(
            small,
            str(trained / 'epoch_2.pth'),
            tmp_path / 'results.json',
            overrides=quick(shapes, wider),
        )
    assert 'track_head.embed_head.fcs.1.bias: (128,) in the file, (64,) wanted' in str(caught.value)
    assert not (tmp_path / 'results.json').exists()


def test_categories_in_another_order(trained, own_shapes, small, tmp_path):
    path = own_shapes / 'valid/instances.json'
    content = json.loads(path.read_text())
    content['categories'].reverse()
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match='another order .* triangle, star against star, tri'):
        run_test(
            small,
            str(trained / 'epoch_2.pth'),
            tmp_path / 'results.json',
            overrides=quick(own_shapes),
        )


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(out='r.txt'), r'must be named \.json'),
        (dict(metrics_out='m.json'), 'needs --eval segm'),
        (dict(metrics_out='file/m.json', evaluate=True), 'folder of .*m.json'),
        (dict(show_dir='file/show'), 'folder of .*show'),
    ],
)
def test_outputs_are_checked_before_work_begins(small, tmp_path, shapes, options, message):
    (tmp_path / 'file').write_text('')
    options = dict(dict(out='r.json'), **options)
    for key in ('out', 'metrics_out', 'show_dir'):
        if key in options:
            options[key] = tmp_path / options[key]
    with pytest.raises(UserError, match=message):
        run_test(small, 'none.pth', overrides=quick(shapes), **options)


def test_classes_that_do_not_fit_the_data(shapes, small, tmp_path):
    with pytest.raises(UserError, match=r'num_classes=7, but the annotation file has 4 categories'):
        train(
            small,
            tmp_path,
            overrides=quick(shapes, 'model.detector.roi_head.bbox_head.num_classes=7'),
        )


def test_a_classifier_in_the_backbone_knows_no_categories_of_the_data(small):
    model = MODELS.build(load_config(small).model)
    model.detector.backbone.num_classes = 1000
    runner = SimpleNamespace(model=model)
    check_num_classes(runner, ['disc', 'star', 'ring', 'cross'], small)
    wanted = r'model\.detector\.roi_head\.bbox_head has num_classes=4, .* 3 categories \(disc'
    with pytest.raises(UserError, match=wanted):
        check_num_classes(runner, ['disc', 'star', 'ring'], small)


@pytest.mark.parametrize(
    ('override', 'message'),
    [
        ('param_scheduler.0.type=Foo', "unknown type 'Foo'"),
        ('param_scheduler.0.begn=3', "unexpected keyword argument 'begn'"),
        ('optim_wrapper.optimizer.lrr=1', "unexpected keyword argument 'lrr'"),
        ('train_dataloader.dataset.reference=next', "reference must be one of .* got 'next'"),
        ('train_dataloader.batchsize=3', "unexpected keyword argument 'batchsize'"),
        ('default_hooks.logger.intervall=3', "unexpected keyword argument 'intervall'"),
    ],
)
def test_unknown_types_and_keys_anywhere(shapes, small, tmp_path, override, message):
    with pytest.raises(UserError, match=message):
        train(small, tmp_path, overrides=quick(shapes, override))


def test_result_file_that_cannot_be_written_is_told_before_work_begins(
    trained, shapes, small, tmp_path
):
    (tmp_path / 'file').write_text('')
    with pytest.raises(UserError, match='file/results.json'):
        run_test(
            small,
            str(trained / 'epoch_2.pth'),
            tmp_path / 'file/results.json',
            overrides=quick(shapes),
        )


# Command lines


def run_tool(pytestconfig, *command, ranks=0):
    launcher = [sys.executable]
    if ranks:
        launcher += ['-m', 'torch.distributed.run', '--standalone', f'--nproc_per_node={ranks}']
        command = [*command[:2], '--launcher', 'pytorch', *command[2:]]
    root = pytestconfig.rootpath
    env = dict(os.environ, PYTHONPATH=str(root))
    return subprocess.run(
        [*launcher, *command],
        cwd=root,
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def test_tools_report_user_errors_without_traceback(pytestconfig, small, tmp_path):
    done = run_tool(
        pytestconfig,
        'tools/train.py',
        small,
        '--work-dir',
        str(tmp_path),
        '--cfg-options',
        'model.tracker.iou_wieght=2',
    )
    assert done.returncode == 2
    assert 'Traceback' not in done.stderr + done.stdout
    assert "unexpected keyword argument 'iou_wieght'" in done.stderr.splitlines()[-1]


def test_two_ranks_train_in_bfloat16(pytestconfig, shapes, small, tmp_path):
    changes = quick(shapes, EAGER, 'train_dataloader.num_workers=0', 'train_cfg.max_epochs=1')
    command = ['tools/train.py', small, '--amp', 'bf16', '--channels-last']
    command += ['--work-dir', str(tmp_path), '--cfg-options', *changes]
    done = run_tool(pytestconfig, *command, ranks=2)
    assert done.returncode == 0, done.stderr[-3000:]
    assert np.isfinite(logged(tmp_path, 'loss')).all()


def test_a_config_may_follow_amp(pytestconfig, tmp_path):
    done = run_tool(pytestconfig, 'tools/train.py', '--amp', 'none.py')
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == 'error: config not found: none.py'


def test_two_ranks_train_validate_and_test_like_one(trained, pytestconfig, shapes, small, tmp_path):
    options = ['--cfg-options', *quick(shapes, EAGER, 'train_dataloader.num_workers=0')]
    options.append('train_dataloader.persistent_workers=False')
    work_dir = tmp_path / 'run'
    done = run_tool(
        pytestconfig, 'tools/train.py', small, '--work-dir', str(work_dir), *options, ranks=2
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(logged(work_dir, 'ytvis/mAP')) == 2
    assert set(logged(work_dir, 'iter')) == {1, 2, 3, 4}  # 12 frames in batches of 2 x 4, twice
    results = []
    for ranks in (0, 2):
        out = tmp_path / f'{ranks}.json'
        command = ['tools/test_video.py', small, str(trained / 'epoch_2.pth'), '--out', str(out)]
        done = run_tool(pytestconfig, *command, *options, ranks=ranks)
        assert done.returncode == 0, done.stderr[-3000:]
        results.append(out.read_bytes())
    assert results[0] == results[1]


def test_copies_to_a_gpu_go_on_in_the_background(small):
    config = load_config(small, ['val_dataloader.pin_memory=False'])
    copy_asynchronously(config)
    assert config.train_dataloader.pin_memory and config.test_dataloader.pin_memory
    assert not config.val_dataloader.pin_memory  # as it was asked for
    assert MODELS.build(config.model).data_preprocessor._non_blocking
    config.pop('val_dataloader')
    config.model.pop('data_preprocessor')
    copy_asynchronously(config)


@pytest.fixture(scope='module')
def prompt(shapes, pytestconfig, tmp_path_factory):
    """Base config, and the result file and metrics of a model that answers at once."""
    folder = tmp_path_factory.mktemp('prompt')
    base = pytestconfig.rootpath / SMALL
    config, checkpoint = write_config(folder, base)
    metrics = run_test(
        config, checkpoint, folder / 'r.json', evaluate=True, overrides=quick(shapes)
    )
    content = (folder / 'r.json').read_bytes()
    assert len(json.loads(content)) == 6  # two tracks in each of three videos
    return base, content, metrics


@pytest.mark.parametrize(('look_ahead', 'batch'), [(0, 2), (3, None), (1, 4), (3, 4)])
def test_answers_that_lag_give_the_same_result_file(prompt, shapes, tmp_path, look_ahead, batch):
    """The videos have three frames: with a lag of three all is answered at their ends."""
    base, expected, metrics = prompt
    config, checkpoint = write_config(tmp_path, base, look_ahead)
    out = tmp_path / 'r.json'
    found = run_test(config, checkpoint, out, evaluate=True, overrides=quick(shapes), batch=batch)
    assert out.read_bytes() == expected and found == metrics


def test_validation_and_its_pictures_of_a_model_that_lags(prompt, shapes, tmp_path):
    pictures = {}
    for look_ahead in (0, 3):
        config, _ = write_config(tmp_path, prompt[0], look_ahead)
        work_dir = tmp_path / str(look_ahead)
        more = ['default_hooks.overlays.score_threshold=0.0', 'train_dataloader.num_workers=0']
        train(config, work_dir, overrides=quick(shapes, *more, 'train_cfg.max_epochs=1'))
        assert len(logged(work_dir, 'ytvis/mAP')) == 1
        pictures[look_ahead] = {
            path.name: path.read_bytes()
            for path in work_dir.glob('*/vis_data/vis_image/validation_video_*')
        }
    assert len(pictures[0]) == 3 and pictures[0] == pictures[3]


def test_two_ranks_run_a_model_that_lags(prompt, shapes, pytestconfig, tmp_path):
    config, checkpoint = write_config(tmp_path, prompt[0], 3)
    out = tmp_path / 'r.json'
    options = ['--batch', '2', '--cfg-options', *quick(shapes), f'work_dir={tmp_path}']
    command = ['tools/test_video.py', config, checkpoint, '--out', str(out), *options]
    done = run_tool(pytestconfig, *command, ranks=2)
    assert done.returncode == 0, done.stderr[-3000:]
    assert out.read_bytes() == prompt[1]


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(batch=0), r'batch .* must be 1 or more, got 0'),
        (dict(amp='fp16'), r'fp16 .* needs a GPU'),
        (dict(amp='fp8'), "amp must be 'bf16', 'fp16' or None, got 'fp8'"),
    ],
)
def test_test_options_are_checked_first(small, tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        run_test(small, 'none.pth', tmp_path / 'r.json', **options)
    assert not list(tmp_path.iterdir())


def test_mixed_precision_at_test(trained, shapes, small, tmp_path):
    checkpoint = str(trained / 'epoch_2.pth')
    for amp in (None, 'bf16'):
        run_test(
            small, checkpoint, tmp_path / f'{amp}.json', amp=amp, overrides=quick(shapes, EAGER)
        )
    plain, half = (read_results(tmp_path / f'{amp}.json') for amp in (None, 'bf16'))
    assert plain != half and plain and half
    assert max(one['score'] for one in half) == pytest.approx(
        max(one['score'] for one in plain), abs=0.02
    )
