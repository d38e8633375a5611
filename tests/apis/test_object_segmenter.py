"""Given objects in any video: the Python class, the tools, and test of a config."""

import json

import cv2
import numpy as np
import pytest
import torch

from vispropnet.apis import init_model, object_segmenter
from vispropnet.datasets.index_masks import read_index_mask, write_index_mask
from vispropnet.errors import UserError

CONFIG = 'configs/stcn/stcn_tiny_40e_moving-shapes.py'
SIZE = (48, 64)


@pytest.fixture(scope='module')
def checkpoint(root, tmp_path_factory):
    torch.manual_seed(0)
    model = init_model(str(root / CONFIG), None, 'cpu')
    path = tmp_path_factory.mktemp('stcn') / 'weights.pth'
    torch.save(dict(state_dict=model.state_dict()), path)
    return str(path)


@pytest.fixture(scope='module')
def model(root, checkpoint):
    return init_model(str(root / CONFIG), checkpoint, 'cpu')


def frames(count):
    generator = np.random.default_rng(0)
    return [generator.integers(0, 255, (*SIZE, 3), dtype=np.uint8) for _ in range(count)]


def given(*objects):
    ids = np.zeros(SIZE, np.uint8)
    for one in objects:
        ids[one : one + 20, 2 * one : 2 * one + 20] = one
    return ids


def test_objects_are_given_as_picture_or_by_id(model):
    found = []
    masks = given(3, 20)
    for first in (masks, {20: masks == 20, 3: masks == 3}):
        segmenter = object_segmenter.VideoObjectSegmenter(model)
        ids = [segmenter.step(frame, first if not n else None) for n, frame in enumerate(frames(3))]
        found.append(ids)
        assert (ids[0] == masks).all() and set(np.unique(ids)) <= {0, 3, 20}
    assert (np.array(found[0]) == found[1]).all()
    late = segmenter.step(frames(1)[0], given(9))
    assert (late[given(9) > 0] == 9).all()
    with pytest.raises(UserError, match='object 9 is given a second time'):
        segmenter.step(frames(1)[0], given(9))
    segmenter.reset()
    assert not segmenter.step(frames(1)[0]).any()
    with pytest.raises(UserError, match='ids of objects are 1 or more, got 0'):
        segmenter.step(frames(1)[0], {0: masks == 3})


def test_a_model_that_finds_objects_takes_none(small):
    with pytest.raises(UserError, match='MaskTrackRCNN finds objects by itself'):
        object_segmenter.VideoObjectSegmenter(init_model(small, None, 'cpu'))


def test_a_model_of_given_objects_is_not_run_without_them(
    root, shapes, model, checkpoint, tmp_path
):
    from vispropnet.apis import segmentation, testing

    with pytest.raises(UserError, match='STCN segments given objects: use VideoObjectSegmenter'):
        next(segmentation.segment_video(model, frames(2)))
    arguments = (root / CONFIG, checkpoint, tmp_path / 'results.json')
    with pytest.raises(UserError, match='given objects; test it with tools/test_vos.py'):
        testing.test(*arguments, overrides=[f'data_root={shapes}', f'work_dir={tmp_path}'])


@pytest.fixture
def video(tmp_path):
    folder = tmp_path / 'video'
    folder.mkdir()
    for number, frame in enumerate(frames(4)):
        cv2.imwrite(str(folder / f'{number:05}.png'), frame)
    return folder


@pytest.fixture
def demo(root, checkpoint, video, tmp_path):
    """Runs tools/demo_video.py with masks: exit status, error output, the masks that it wrote."""
    import runpy

    main = runpy.run_path(str(root / 'tools/demo_video.py'))['main']

    def run(capsys, *arguments):
        arguments = [str(root / CONFIG), checkpoint, video, '--masks', tmp_path / 'out', *arguments]
        with pytest.raises(SystemExit) as stop:
            main([str(one) for one in arguments])
        out = tmp_path / 'out'
        written = [read_index_mask(path) for path in sorted(out.glob('*.png'))]
        return stop.value.code, capsys.readouterr().err, written

    return run


def test_demo_segments_given_objects(demo, tmp_path, capsys):
    write_index_mask(tmp_path / 'first.png', given(3, 20))
    status, _, masks = demo(capsys, '--masks-in', tmp_path / 'first.png', '--score-thr', 0)
    assert status == 0 and len(masks) == 4 and (masks[0] == given(3, 20)).all()


def test_demo_takes_late_objects_from_a_folder(demo, tmp_path, capsys):
    write_index_mask(tmp_path / 'in/00001.png', given(3))
    write_index_mask(tmp_path / 'in/2.png', given(3, 20))
    json_out = tmp_path / 'out.json'
    arguments = ('--masks-in', tmp_path / 'in', '--score-thr', 0, '--json', json_out)
    status, _, masks = demo(capsys, *arguments)
    assert status == 0 and not masks[0].any() and (masks[1] == given(3)).all()
    assert (masks[2][given(20) > 0] == 20).all()
    results = json.loads(json_out.read_text())
    assert {one['category_id'] for one in results} == {1} and len(results) == 2


@pytest.mark.parametrize(
    ('name', 'ids', 'message'),
    [
        (None, None, 'STCN segments objects that are given by masks: pass --masks-in'),
        ('lost.png', None, 'mask not found: .*lost.png'),
        ('first.png', given() + 255, 'first.png shows no object'),
        ('first.png', given(3)[1:], 'first.png has 64x47 pixels, expected 64x48'),
        ('in/00003.png', given(3), 'in: the first mask .* is that of the last of the 4 frames'),
        ('in/00009.png', given(3), 'in: none of its masks shows an object in one of the 4 frames'),
    ],
)
def test_demo_with_masks_that_do_not_fit(demo, tmp_path, capsys, name, ids, message):
    if ids is not None:
        write_index_mask(tmp_path / name, ids)
    path = name and tmp_path / name.partition('/')[0]
    status, error, _ = demo(capsys, *(('--masks-in', path) if name else ()))
    assert status == 2
    with pytest.raises(UserError, match=message):
        raise UserError(error)


def test_the_published_configs_train(root, tmp_path):
    """Both phases and EamStcn, with a tiny encoder, on data as they ship."""
    from tests.datasets.test_video_objects import drawn, still_images, write
    from tests.small_runs import logged
    from vispropnet.apis.training import train

    write(tmp_path / 'davis', '480p', 'a', [drawn({1: 4 * n, 3: 40}) for n in range(4)])
    (tmp_path / 'davis/ImageSets/2017').mkdir(parents=True)
    for split in ('train', 'val'):
        (tmp_path / f'davis/ImageSets/2017/{split}.txt').write_text('a\n')
    write(tmp_path / 'vos', '', 'v', [drawn({1: 5 + n}) for n in range(5)])
    objects = {'1': dict(category='a', frames=['00000'])}
    meta = json.dumps(dict(videos=dict(v=dict(objects=objects))))
    (tmp_path / 'vos/meta.json').write_text(meta)
    (tmp_path / 'still').mkdir()
    still_images(tmp_path / 'still', listed=False)
    data = dict(
        phase1=['train_dataloader.dataset.data_root=still'],
        phase2=[
            'train_dataloader.dataset.datasets.0.dataset.data_root=davis',
            'train_dataloader.dataset.datasets.1.data_root=vos',
            'val_dataloader.dataset.data_root=davis',
            'val_dataloader.num_workers=0',
            'val_dataloader.persistent_workers=False',
        ],
    )
    for phase, name in (
        ('phase1', 'stcn_r50_phase1_still-images'),
        ('phase2', 'stcn_v2b1_phase2_davis-youtube-vos'),
    ):
        options = [one.replace('data_root=', f'data_root={tmp_path}/') for one in data[phase]]
        options += [] if phase == 'phase1' else ['train_cfg.val_interval=1']
        options += [f'model.{one}_encoder.name=test_resnet' for one in ('key', 'value')]
        options += [f'model.{one}_encoder.pretrained=False' for one in ('key', 'value')]
        options += ['model.fusion.out_channels=16', 'model.thin_channels=16']
        options += ['model.decoder.channels=[8,8]', 'train_cfg.max_epochs=1', 'load_from=None']
        options += ['train_dataloader.num_workers=0', 'train_dataloader.persistent_workers=False']
        options += ['train_dataloader.batch_size=1', 'default_hooks.logger.interval=1']
        if 'v2b1' in name:
            options += ['model.expansion.in_channels=192', 'model.expansion.out_channels=16']
        train(root / f'configs/stcn/{name}.py', tmp_path / name, overrides=options)
        assert (tmp_path / name / 'epoch_1.pth').is_file()
        assert len(logged(tmp_path / name, 'vos/JF')) == (phase == 'phase2')


def test_the_small_config_trains_and_is_validated(root, shapes, tmp_path, capfd):
    from tests.small_runs import logged
    from vispropnet.apis.training import train
    from vispropnet.apis.vos_testing import test_vos

    options = [f'data_root={shapes}', 'train_cfg.max_epochs=2', 'param_scheduler.1.end=2']
    options += ['default_hooks.logger.interval=1', 'train_dataloader.batch_size=2']
    train(root / CONFIG, tmp_path, overrides=options)
    losses = logged(tmp_path, 'loss_mask')
    assert len(losses) == 2 and all(0 < loss < 20 for loss in losses)
    # After the last epoch, as the test scores the same weights.
    weights = tmp_path / 'epoch_2.pth'
    report = test_vos(root / CONFIG, weights, tmp_path / 'masks', True, overrides=options[:1])
    for name in ('J_mean', 'F_mean', 'JF'):
        assert logged(tmp_path, f'vos/{name}') == [pytest.approx(report[name], abs=1e-4)]
    assert 'vos/JF: ' in ''.join(capfd.readouterr())
