from unittest.mock import Mock

import pytest
import torch
from pycocotools import mask as mask_utils

from benchmarking import infer, train
from benchmarking.frames import draw_clips
from benchmarking.models import build, share_weights
from benchmarking.settings import InferSettings, PairSettings, TrainSettings
from tests.models.small_models import MMDET, SMALL, SMALL_OBJPROP
from vispropnet.config import load_config
from vispropnet.engine import acceleration
from vispropnet.engine.acceleration import Acceleration
from vispropnet.errors import UserError

ROUNDED = pytest.mark.filterwarnings('ignore:this CPU has no instructions for bf16')


@pytest.fixture
def ours(root):
    """ObjProp beside MaskTrack R-CNN."""
    config, baseline = str(root / SMALL_OBJPROP), str(root / SMALL)
    return dict(config=config, baseline=baseline, size=(96, 64), repeats=1, memory=False)


@pytest.fixture
def mmdets(root, ours):
    """MaskTrack R-CNN beside mmdet's."""
    return {**ours, 'config': ours['baseline'], 'baseline': str(root / MMDET)}


def test_drawn_masks_are_ellipses_in_their_boxes_and_move_evenly():
    pair = draw_clips((96, 64), batch_size=2, objects=3, classes=4, seed=0)
    assert [len(frames) for frames in pair['inputs']] == [2, 2]
    for key, ref in zip(*pair['data_samples'], strict=True):
        assert key.gt_instances.instances_ids.tolist() == [0, 1, 2]
        torch.testing.assert_close(key.gt_instances.bboxes, ref.gt_instances.bboxes + 4)
        assert key.gt_instances.labels.tolist() == ref.gt_instances.labels.tolist()
        for mask, box in zip(key.gt_instances.masks.masks, key.gt_instances.bboxes, strict=True):
            left, top, right, bottom = box.int().tolist()
            assert min(left, top) >= 0 and right <= 96 and bottom <= 64
            assert mask.sum() == mask[top:bottom, left:right].sum()
            area = 0.785 * (right - left) * (bottom - top)  # pi / 4
            assert mask.sum() == pytest.approx(area, rel=0.1)
    clips = draw_clips((96, 64), batch_size=2, objects=3, classes=4, seed=0, num_frames=5)
    for clip in zip(*clips['data_samples'], strict=True):
        boxes = [one.gt_instances.bboxes for one in clip]
        for place in range(5):
            torch.testing.assert_close(boxes[place], boxes[4] + (4 - place))
    # First and last are those of a clip of two.
    for place, same in ((0, 0), (4, 1)):
        torch.testing.assert_close(clips['inputs'][place], pair['inputs'][same], rtol=0, atol=0)


@pytest.mark.parametrize('pair', ['ours', 'mmdets'])
def test_both_models_have_the_same_weights_and_input(request, pair):
    settings = PairSettings(**request.getfixturevalue(pair))
    (model, data), (baseline, again) = build('ours', settings), build('baseline', settings)
    assert type(model) is not type(baseline)
    assert torch.equal(data['inputs'][0][0], again['inputs'][0][0])
    given, taken = model.state_dict(), baseline.state_dict()
    for key, value in taken.items():
        if 'detector.' in key:
            torch.testing.assert_close(value, given[key.removeprefix('model.')])
    assert share_weights(model, baseline) >= sum('detector.' in key for key in taken)
    # No pretrained weights are asked for.
    initials = [getattr(one, 'init_cfg', None) for one in model.modules()]
    assert all(one.get('type') != 'Pretrained' for one in initials if isinstance(one, dict))


def test_the_baseline_gets_the_configs_test_cfg_if_wanted(ours, tmp_path):
    path = tmp_path / 'more_proposals.py'
    change = 'model = dict(detector=dict(test_cfg=dict(rpn=dict(max_per_img=77))))'
    path.write_text(f"_base_ = '{ours['config']}'\n{change}\n")
    for same, proposals in ((True, 77), (False, 60)):
        settings = PairSettings(**{**ours, 'config': str(path)}, same_test_cfg=same)
        model, _ = build('baseline', settings)
        assert model.detector.rpn_head.test_cfg.max_per_img == proposals
    assert load_config(ours['baseline']).model.detector.test_cfg.rpn.max_per_img == 60


def test_configs_that_cannot_be_run(ours, mmdets, tmp_path):
    path = tmp_path / 'none.py'
    path.write_text('work_dir = None\n')
    with pytest.raises(UserError, match='has no model'):
        infer.benchmark(InferSettings(**{**ours, 'config': str(path)}))
    with pytest.raises(UserError, match=f'{mmdets["baseline"]}: .* got 2 reference frames'):
        build('baseline', TrainSettings(**mmdets, num_refs=2))


def test_a_step_leaves_the_weights_and_repeats_itself(ours, last_line):
    settings = TrainSettings(**ours, num_refs=2)
    step = train.make('ours', settings)
    assert [len(frames) for frames in step.prepare()['inputs']] == [2, 2, 2]
    losses = [step() for _ in range(2)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5) and losses[0] > 0
    row = train.benchmark(settings)
    expected = dict(name='train', max_abs_diff=None, num_refs=2, baseline=ours['baseline'])
    assert last_line() == row == {**row, **expected, 'ours': ours['config']}
    assert row['losses']['ours'] == pytest.approx(losses[0], rel=1e-4)
    assert row['losses']['baseline'] > 0


@ROUNDED
def test_frames_are_padded_and_losses_alike_with_any_option(mmdets, monkeypatch):
    """90 is no multiple of 32."""
    losses = []
    options = {**mmdets, 'size': (120, 90), 'batch_size': 1}
    for change in (dict(), dict(amp='bf16'), dict(channels_last=True)):
        step = train.make('ours', TrainSettings(**options, **change))
        losses.append(step())
    assert losses[1:] == pytest.approx([losses[0]] * 2, rel=0.03)
    assert step.prepare()['inputs'][0][0].shape == (3, 90, 120)
    # Options are for ours alone.
    monkeypatch.setattr(acceleration, 'layers_in_bfloat16', Mock(side_effect=ZeroDivisionError))
    settings = TrainSettings(**mmdets, amp='bf16')
    assert train.make('baseline', settings)() > 0
    with pytest.raises(ZeroDivisionError):
        train.make('ours', settings)


@ROUNDED
def test_table_of_options(mmdets, monkeypatch, capsys):
    monkeypatch.setattr(train, 'TABLE', (Acceleration(amp='bf16'), Acceleration(amp='fp16')))
    settings = TrainSettings(**{**mmdets, 'size': (64, 64)}, batch_size=1, options_table=True)
    row = train.benchmark(settings)
    # A CPU cannot do the second.
    assert [line['options'] for line in row['options_table']] == ['none', 'bf16']
    for line in row['options_table']:
        assert line['ratio'] == pytest.approx(line['baseline_s'] / line['ours_s'], rel=1e-4)
    assert row['options'] == 'none' and row['ours_s'] == row['options_table'][0]['ours_s']
    shown = capsys.readouterr()
    assert 'without fp16: mixed precision in fp16' in shown.err
    assert shown.out.splitlines()[2].split()[0] == 'bf16'


@pytest.mark.parametrize(('mode', 'count', 'next_frame'), [('online', 6, 6), ('offline', 3, 1)])
def test_all_frames_that_support_are_there(ours, root, tmp_path, mode, count, next_frame):
    name = 'masktrack-rcnn_r18_fpn_2e_moving-shapes_temporal-roi-align.py'
    path = tmp_path / 'supported.py'
    changes = dict(support=dict(mode=mode, num_frames=count))
    path.write_text(
        f'_base_ = {str(root / "configs/temporal_roi_align" / name)!r}\nmodel = {changes}'
    )
    runners = {}
    variant = infer.make('ours', InferSettings(**{**ours, 'config': str(path)}), runners)
    assert len(variant.prepare().support) == count
    assert runners['ours'][0].first == next_frame
    assert len(variant()) == 1


def test_no_track_is_missing_in_the_timed_frames(ours):
    """The frames are alike, so that each step finds what the first finds."""
    one = infer.make('ours', InferSettings(**ours))
    history = one.prepare().history
    (instances,) = one()
    assert len(history) == 24 and len(instances) > 0
    assert not instances.propagated.any()
    assert set(history[0].ids.tolist()) == set(instances.ids.tolist())
    three = infer.make('ours', InferSettings(**ours, batch=3))()
    assert len(three) == 3
    for other in three:
        assert sorted(other.ids.tolist()) == sorted(instances.ids.tolist())
        torch.testing.assert_close(other.bboxes, instances.bboxes, rtol=1e-3, atol=1e-2)


def test_the_limit_of_detections_binds_and_both_find_the_same(mmdets):
    """Each instance comes with one mask, encoded, of the frame's size."""
    settings = InferSettings(**{**mmdets, 'size': (200, 120)}, detections=4)
    found = [infer.make(name, settings)()[0] for name in ('ours', 'baseline')]
    for instances in found:
        assert len(instances) == 4
        assert [rle['size'] for rle in instances.rles] == [[120, 200]] * 4
    torch.testing.assert_close(found[0].bboxes, found[1].bboxes, rtol=1e-3, atol=1e-2)
    masks = [mask_utils.decode(instances.rles) for instances in found]
    assert (masks[0] != masks[1]).mean() < 1e-3 and masks[0].any()


@ROUNDED
@pytest.mark.parametrize(('pair', 'change'), [('ours', {}), ('mmdets', dict(amp='bf16', batch=2))])
def test_the_last_line_of_infer(request, last_line, pair, change):
    settings = InferSettings(**request.getfixturevalue(pair), **change)
    row = infer.benchmark(settings)
    expected = dict(name='infer', max_abs_diff=None, amp=settings.amp, ours=settings.config)
    expected.update(baseline=settings.baseline, frames_of_a_run=settings.batch)
    once = {'ours': settings.batch, 'baseline': 1}
    assert last_line() == row == {**row, **expected, 'encoded_at_once': once}
    assert row['detections']['ours'] > 0 and row['detections']['baseline'] > 0
    parts = row['parts_s']
    assert parts['ours'].keys() >= {'decode', 'backbone and neck', 'encode', 'rest'}
    assert parts['baseline'].keys() >= {'decode', 'heads', 'masks', 'encode', 'rest'}
    assert ('propagation' in parts['ours']) == (pair == 'ours')


@pytest.mark.gpu
@pytest.mark.parametrize(('module', 'kind'), [(train, TrainSettings), (infer, InferSettings)])
def test_on_a_gpu(mmdets, module, kind):
    row = module.benchmark(kind(**{**mmdets, 'memory': True}, device='cuda'))
    assert row['ours_mib'] > 0 and row['baseline_mib'] > 0
