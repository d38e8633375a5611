import dataclasses
import json
import os
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config

from tests.processes import run_ranks, run_tool
from tests.small_runs import SMALL, assert_same_weights, logged, quick
from vispropnet.apis.testing import test as run_test
from vispropnet.apis.training import check_num_classes, copy_asynchronously, train
from vispropnet.config import load_config
from vispropnet.converting.convert import convert
from vispropnet.converting.interface import Options
from vispropnet.engine.acceleration import Acceleration, BFloat16OptimWrapper
from vispropnet.engine.folder_lock import locked_folder
from vispropnet.errors import UserError
from vispropnet.registry import MODELS

SHORT = 'train_cfg.max_epochs=1', 'train_cfg.val_begin=2'


def test_training_logs_losses_and_validates_each_epoch(trained, shapes, small, tmp_path):
    losses = logged(trained, 'loss')
    assert len(losses) == 6 and np.isfinite(losses).all()  # 6 frames in batches of 2, twice
    assert len(logged(trained, 'ytvis/mAP')) == 2
    assert list(trained.glob('*/vis_data/events.out.tfevents.*'))
    # Also without detections; and another seed trains differently.
    nothing = 'model.detector.test_cfg.rcnn.score_thr=1.0'
    train(small, tmp_path, seed=1, overrides=quick(shapes, nothing, 'train_cfg.max_epochs=1'))
    assert logged(tmp_path, 'ytvis/mAP') == [0]
    assert logged(tmp_path, 'loss')[0] != pytest.approx(losses[0], abs=1e-3)


def test_resumed_training_ends_at_the_loss_of_the_unbroken_one(trained, shapes, small, tmp_path):
    # Another number of workers, and other global generators' states, on purpose.
    workers = 'num_workers=2', 'persistent_workers=True'
    options = quick(shapes, *(f'train_dataloader.{one}' for one in workers))
    np.random.seed(99)  # noqa: NPY002
    train(small, tmp_path, overrides=[*options, 'train_cfg.max_epochs=1'])
    torch.rand(5)
    train(small, tmp_path, resume='auto', overrides=options)
    assert logged(tmp_path, 'loss') == logged(trained, 'loss')
    assert_same_weights(tmp_path, trained)


@pytest.mark.gpu
@pytest.mark.slow
def test_mixed_precision_trains(shapes, small, tmp_path):
    train(small, tmp_path, amp=True, overrides=quick(shapes, 'train_cfg.max_epochs=1'))
    assert np.isfinite(logged(tmp_path, 'loss')).all()


def test_training_resumes_without_what_made_it_faster(shapes, small, tmp_path):
    """One option is in the config, the other an argument; the copy in the work dir has both."""
    path = tmp_path / 'fast.py'
    path.write_text(f"_base_ = {small!r}\nacceleration = dict(amp='bf16', compile=False)\n")
    runner = train(path, tmp_path / 'run', channels_last=True, overrides=quick(shapes, *SHORT))
    conv = runner.model.detector.backbone.conv1.weight
    assert conv.is_contiguous(memory_format=torch.channels_last)
    assert isinstance(runner.optim_wrapper, BFloat16OptimWrapper)
    chosen = dataclasses.asdict(Acceleration(amp='bf16', channels_last=True))
    assert Config.fromfile(tmp_path / 'run/fast.py').acceleration == chosen
    runner = train(small, tmp_path / 'run', resume='auto', overrides=quick(shapes))
    assert not isinstance(runner.optim_wrapper, BFloat16OptimWrapper)
    losses = logged(tmp_path / 'run', 'loss')
    assert len(losses) == 6 and np.isfinite(losses).all()
    checkpoint = str(tmp_path / 'run/epoch_2.pth')
    run_test(path, checkpoint, tmp_path / 'r.json', overrides=quick(shapes))
    assert (tmp_path / 'r.json').exists()


def test_load_from_starts_from_what_fits(trained, shapes, small, tmp_path):
    wider = 'model.track_head.embed_head.fc_out_channels=8'
    path, name = trained / 'epoch_2.pth', 'detector.rpn_head.rpn_cls.weight'
    more = 'optim_wrapper.optimizer.lr=0.0', f'load_from={path}'
    runner = train(small, tmp_path, overrides=quick(shapes, wider, *SHORT, *more))
    weight = torch.load(path, weights_only=False)['state_dict'][name]
    assert torch.equal(runner.model.state_dict()[name], weight)
    log = next(tmp_path.glob('*/*.log')).read_text()
    assert 'the rest starts fresh' in log
    assert 'track_head.embed_head.fcs.1.weight: (16, 16) in the file, (8, 8) wanted' in log


def reverse_categories(path, **renamed):
    content = json.loads(path.read_text())
    content['categories'].reverse()
    for one in content['categories']:
        one['name'] = renamed.get(one['name'], one['name'])
    path.write_text(json.dumps(content))


@pytest.mark.parametrize('part', ['train', 'valid'])
def test_categories_in_another_order(trained, own_shapes, small, tmp_path, part):
    """Neither validation nor weights to start from depend on the order in files."""
    before = torch.load(trained / 'epoch_2.pth', weights_only=False)['state_dict']
    keep = ['optim_wrapper.optimizer.lr=0.0', f'load_from={trained / "epoch_2.pth"}']
    keep += ['train_cfg.max_epochs=1', 'model.detector.backbone.norm_eval=True']
    train(small, tmp_path / 'a', overrides=quick(own_shapes, *keep))
    reverse_categories(own_shapes / part / 'instances.json')
    train(small, tmp_path / 'b', overrides=quick(own_shapes, *keep))
    for key in ('loss', 'ytvis/AR10', 'ytvis/mAP'):
        assert logged(tmp_path / 'a', key) == logged(tmp_path / 'b', key) != []
    saved = torch.load(tmp_path / 'b/epoch_1.pth', weights_only=False)
    assert saved['meta']['dataset_meta']['classes'] == ('disc', 'square', 'triangle', 'star')
    assert torch.equal(saved['state_dict'].popitem()[1], before.popitem()[1])


def test_joined_data_sets_train_a_model_of_their_size(own_shapes, small, tmp_path):
    reverse_categories(own_shapes / 'valid/instances.json', star='sun')
    path = tmp_path / 'joined.py'
    path.write_text(
        f'_base_ = {small!r}\none = _base_.train_dataloader.dataset\n'
        "two = dict(one, ann_file='valid/instances.json',\n"
        "           data_prefix=dict(img='valid/JPEGImages'), category_map=dict(square='disc'))\n"
        "both = dict(_delete_=True, type='ConcatDataset', datasets=[one, two])\n"
        "train_dataloader = dict(dataset=both)\nnum_classes = 'auto'\n"
    )
    runner = train(path, tmp_path, overrides=quick(own_shapes, 'train_cfg.max_epochs=1'))
    model = runner.model
    assert set(model.category_counts().values()) == {5}
    meta = torch.load(tmp_path / 'epoch_1.pth', weights_only=False)['meta']['dataset_meta']
    assert meta['classes'] == ('disc', 'square', 'triangle', 'star', 'sun')
    assert len(logged(tmp_path, 'loss')) == 8  # 6 and 9 frames, in batches of 2
    # A test takes the number from the checkpoint.
    options = quick(own_shapes, f'work_dir={tmp_path}', 'test_cfg.batch=2')
    checkpoint = str(tmp_path / 'epoch_1.pth')
    metrics = run_test(path, checkpoint, tmp_path / 'r.json', evaluate=True, overrides=options)
    assert metrics['mAP'] >= 0


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['train_dataloader.dataset.metainfo.classes=[star]'],
         r'num_classes=4, but .* has 1 categories \(star\): .*train/instances.json'),
        (['train_dataloader.dataset.metainfo.classes=[star]', 'num_classes=auto'],
         r'valid/instances.json: categories that the model does not know: disc, .*'
         r'val_dataloader\.dataset\.metainfo\.classes=\[star\]'),
        (['num_classes=7'], 'num_classes=7, but the annotation file has 4 categories'),
        (['train_dataloader.dataset.category_map.star=sun', 'resume=True'],
         r'was trained on other categories \(.*star\) than the data have \(.*sun\)'),
    ],
)  # fmt: skip
def test_categories_that_do_not_fit(trained, shapes, small, tmp_path, options, message):
    if options[-1] == 'resume=True':
        options = [options[0], options[0].replace('train', 'val')]
    with pytest.raises(UserError, match=message):
        train(
            small, tmp_path, resume=str(trained / 'epoch_1.pth'), overrides=quick(shapes, *options)
        )


def test_what_is_refused_before_anything_is_written(root, shapes, small, tmp_path):
    large = 'configs/masktrack_rcnn/masktrack-rcnn_r50_fpn_1x_ytvis2021.py'
    for config, words in ((SMALL, r'.*make_moving_shapes\.py'), (large, '.*downloaded by hand')):
        with pytest.raises(UserError, match=f'annotation file not found{words}'):
            train(root / config, tmp_path / 'no data', overrides=['data_root=/nowhere'])
    # A script that always passes --resume must not lose the weights to start from.
    options, quicker = quick(shapes, f'load_from={tmp_path / "none.pth"}'), quick(shapes)
    with pytest.raises(UserError, match=r'checkpoint not found: .*none\.pth'):
        train(small, tmp_path / 'none', resume='auto', overrides=options)
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match='needs a GPU'):
            train(small, tmp_path / 'half', amp=True, overrides=quicker)
    wanted = rf'in use by process {os.getpid()} on .*, started 20.* choose another --work-dir'
    with locked_folder(tmp_path / 'a'), pytest.raises(UserError, match=wanted):
        train(small, tmp_path / 'a', overrides=quicker)
    assert os.listdir(tmp_path / 'a') == ['.lock']


@pytest.mark.parametrize('workers', [0, 1])
def test_missing_frame_stops_training_with_its_name(own_shapes, small, tmp_path, workers):
    frame = sorted((own_shapes / 'train/JPEGImages').glob('*/*.jpg'))[4]
    frame.unlink()
    changes = f'num_workers={workers}', f'persistent_workers={bool(workers)}'
    options = quick(own_shapes, *(f'train_dataloader.{change}' for change in changes))
    with pytest.raises(UserError, match=f'frame 1 of video 2 .*{frame.name}.*not exist') as caught:
        train(small, tmp_path, overrides=options)
    assert 'Traceback' not in str(caught.value)


def test_what_is_seen_to_before_a_model_trains(small):
    config = load_config(small, ['val_dataloader.pin_memory=False'])
    copy_asynchronously(config)
    pinned = [config[f'{part}_dataloader'].pin_memory for part in ('train', 'test', 'val')]
    assert pinned == [True, True, False]  # the last as it was asked for
    model = MODELS.build(config.model)
    assert model.data_preprocessor._non_blocking
    # A classifier in the backbone has no categories of the data.
    model.detector.backbone.num_classes = 1000
    runner = SimpleNamespace(model=model)
    check_num_classes(runner, ['disc', 'star', 'ring', 'cross'], ['a.json'], small)
    wanted = r'model\.detector\.roi_head\.bbox_head has num_classes=4, .* 3 categories \(disc'
    with pytest.raises(UserError, match=rf'{wanted}.*\): a\.json\..*num_classes=auto'):
        check_num_classes(runner, ['disc', 'star', 'ring'], ['a.json'], small)
    config.pop('val_dataloader')
    config.model.pop('data_preprocessor')
    copy_asynchronously(config)


@pytest.mark.parametrize('loader', ['train', 'val', 'test'])
@pytest.mark.parametrize(
    ('option', 'remedy'),
    [
        ('persistent_workers=True', 'persistent_workers=False'),
        ('prefetch_factor=4', 'prefetch_factor=None'),
        ('timeout=60', 'timeout=0'),
        ('num_workers=-1', None),
        ('num_workers=None', None),
    ],
)
def test_loaders_with_options_of_workers_and_none(small, tmp_path, loader, option, remedy):
    loader = f'{loader}_dataloader'
    message = rf'{loader}\.num_workers must be a whole number'
    if remedy:
        message = rf'{loader} has {option}, .* num_workers=0\. .* {loader}\.{remedy} or'
    with pytest.raises(UserError, match=message):
        train(small, tmp_path, overrides=[f'{loader}.{option}'])


def test_unknown_types_keys_and_values_anywhere(shapes, small, tmp_path):
    path = tmp_path / 'config.py'
    path.write_text(f'_base_ = {small!r}\nacceleration = dict()\n')
    for override, message in (
        ('param_scheduler.0.type=Foo', "unknown type 'Foo'"),
        ('param_scheduler.0.begn=3', "unexpected keyword argument 'begn'"),
        ('optim_wrapper.optimizer.lrr=1', "unexpected keyword argument 'lrr'"),
        ('train_dataloader.dataset.reference=next', "reference must be one of .* got 'next'"),
        ('train_dataloader.batchsize=3', "unexpected keyword argument 'batchsize'"),
        ('default_hooks.logger.intervall=3', "unexpected keyword argument 'intervall'"),
        ('acceleration.amp=int8', "amp must be 'bf16', 'fp16' or None, got 'int8'"),
        ('model.detector.roi_head.bbox_head.num_classes=7', 'but the annotation file has 4 cat'),
    ):
        with pytest.raises(UserError, match=message):
            train(path, tmp_path / 'run', overrides=quick(shapes, override))


def test_tools_report_user_errors_without_traceback(small, tmp_path):
    wrong = ['--work-dir', tmp_path, '--cfg-options', 'model.tracker.iou_wieght=2']
    for options, words in (
        ([small, *wrong], "unexpected keyword argument 'iou_wieght'"),
        (['--amp', 'none.py'], 'error: config not found: none.py'),  # a config may follow --amp
    ):
        status, text = run_tool('tools/train.py', *options)
        assert status == 2 and 'Traceback' not in text and words in text.splitlines()[-1]


@pytest.mark.parametrize('faster', [(), ('--amp', 'bf16', '--channels-last')])
def test_two_ranks_train_and_validate(shapes, small, tmp_path, faster):
    options = [*faster, '--work-dir', tmp_path, '--cfg-options', *quick(shapes)]
    ends = run_ranks(2, 'tools/train.py', small, *options)
    assert [status for status, _ in ends] == [0, 0], ends
    assert len(logged(tmp_path, 'ytvis/mAP')) == 2 and np.isfinite(logged(tmp_path, 'loss')).all()
    assert set(logged(tmp_path, 'iter')) == {1, 2, 3, 4}  # 6 frames in batches of 2 x 2, twice


def test_videos_and_clips_of_images_train_together(own_shapes, small, tmp_path):
    # Two images of a COCO style file, whose objects are called otherwise.
    content = json.loads((own_shapes / 'train/instances.json').read_text())
    images = [
        {'id': video['id'], 'file_name': video['file_names'][0]} for video in content['videos']
    ]
    kinds = {one['id']: f'a {one["name"]}' for one in content['categories']}
    annotations = [
        {
            'id': one['id'],
            'image_id': one['video_id'],
            'category_id': one['category_id'],
            'segmentation': one['segmentations'][0],
        }
        for one in content['annotations']
        if one['segmentations'][0]
    ]
    categories = [{'id': one, 'name': name} for one, name in kinds.items()]
    renamed = {name: name.removeprefix('a ') for name in kinds.values()}
    stills = dict(images=images, annotations=annotations, categories=categories)
    (own_shapes / 'stills.json').write_text(json.dumps(stills))
    options = Options(images=own_shapes / 'train/JPEGImages')
    source, out = own_shapes / 'stills.json', tmp_path / 'stills'
    assert convert('coco', source, out, options, progress=False).is_written
    path = tmp_path / 'joined.py'
    path.write_text(
        f'_base_ = {small!r}\nvideos = _base_.train_dataloader.dataset\n'
        'load, annotate, *others = _base_.train_pipeline\n'
        "moved = dict(type='EachFrame', transforms=[dict(type='RandomObjectAffine')])\n"
        f'names = {renamed!r}\n'
        f"stills = dict(type='PseudoVideos', data_root={str(out)!r}, category_map=names,\n"
        "    ann_file='instances.json', data_prefix=dict(img='frames'),\n"
        '    pipeline=[load, annotate, moved, *others])\n'
        "both = dict(_delete_=True, type='ConcatDataset', ratios=[1, 3],\n"
        '    datasets=[videos, stills])\ntrain_dataloader = dict(dataset=both)\n'
    )
    overrides = quick(own_shapes, 'train_cfg.max_epochs=1')[1:]  # two folders of data
    overrides.append(f'train_dataloader.dataset.datasets.0.data_root={own_shapes}')
    overrides += [f'{one}_dataloader.dataset.data_root={own_shapes}' for one in ('val', 'test')]
    runner = train(path, tmp_path / 'work', overrides=overrides)
    classes = runner.train_loop.dataloader.dataset.metainfo['classes']
    assert classes == tuple(renamed.values())
    # 6 frames of videos and 2 images three times, in batches of 2.
    losses = logged(tmp_path / 'work', 'loss')
    assert len(losses) == 6 and all(0 < one < 100 for one in losses)
