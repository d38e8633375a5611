import json
import time

import pytest
import torch
from pycocotools import mask as mask_utils

from benchmarking import train as train_step
from benchmarking.frames import draw_clips, share_weights
from benchmarking.infer import InferSettings, benchmark_infer, make_infer
from benchmarking.models import Settings, build
from benchmarking.parts import PartClock, print_parts
from benchmarking.train import TrainSettings, benchmark_train, make_train
from vispropnet.config import load_config
from vispropnet.engine import acceleration
from vispropnet.engine.acceleration import Acceleration
from vispropnet.errors import UserError

OBJPROP = 'configs/objprop/objprop_r18_fpn_2e_moving-shapes.py'
MASKTRACK = 'configs/masktrack_rcnn/masktrack-rcnn_r18_fpn_2e_moving-shapes.py'
MMDET = 'configs/mmdet_masktrack_rcnn/mmdet-masktrack-rcnn_r18_fpn_2e_moving-shapes.py'
SIZE = (96, 64)


@pytest.fixture
def settings(root):
    return Settings(
        config=str(root / OBJPROP), baseline=str(root / MASKTRACK), size=SIZE, objects=2
    )


@pytest.fixture
def against_mmdet(root):
    return Settings(config=str(root / MASKTRACK), baseline=str(root / MMDET), size=SIZE, objects=2)


def of_kind(kind, settings, **changes):
    """The same settings for a training step or a test frame."""
    return kind(**{**vars(settings), **changes})


def test_drawn_masks_are_ellipses_in_their_boxes():
    data = draw_clips((96, 64), batch_size=2, objects=3, classes=4, seed=0)
    assert [len(frames) for frames in data['inputs']] == [2, 2]
    for key, ref in zip(*data['data_samples'], strict=True):
        assert key.gt_instances.instances_ids.tolist() == [0, 1, 2]
        torch.testing.assert_close(key.gt_instances.bboxes, ref.gt_instances.bboxes + 4)
        assert key.gt_instances.labels.tolist() == ref.gt_instances.labels.tolist()
        for mask, box in zip(key.gt_instances.masks.masks, key.gt_instances.bboxes, strict=True):
            left, top, right, bottom = box.int().tolist()
            assert min(left, top) >= 0 and right <= 96 and bottom <= 64
            assert mask.sum() == mask[top:bottom, left:right].sum()
            area = 0.785 * (right - left) * (bottom - top)  # pi / 4
            assert mask.sum() == pytest.approx(area, rel=0.1)


def test_frames_of_a_clip_move_evenly():
    pair = draw_clips((96, 64), batch_size=2, objects=3, classes=4, seed=0)
    clips = draw_clips((96, 64), batch_size=2, objects=3, classes=4, seed=0, num_frames=5)
    for clip, (key, ref) in zip(
        zip(*clips['data_samples'], strict=True),
        zip(*pair['data_samples'], strict=True),
        strict=True,
    ):
        boxes = [one.gt_instances.bboxes for one in clip]
        assert torch.equal(boxes[0], key.gt_instances.bboxes)
        assert torch.equal(boxes[4], ref.gt_instances.bboxes)
        for place in range(5):
            torch.testing.assert_close(boxes[place], boxes[4] + (4 - place))
    for place, same in ((0, 0), (4, 1)):
        for one, other in zip(clips['inputs'][place], pair['inputs'][same], strict=True):
            assert torch.equal(one, other)


def test_steps_with_several_references(settings, against_mmdet, capsys):
    row = benchmark_train(of_kind(TrainSettings, settings, num_refs=2), repeats=1, memory=False)
    assert row['num_refs'] == 2
    assert json.loads(capsys.readouterr().out.splitlines()[-1])['num_refs'] == 2
    variant = make_train('ours', of_kind(TrainSettings, settings, num_refs=2))
    assert [len(frames) for frames in variant.prepare()['inputs']] == [2, 2, 2]
    message = f'config {against_mmdet.baseline}: .* got 2 reference frames'
    with pytest.raises(UserError, match=message):
        build('baseline', of_kind(TrainSettings, against_mmdet, num_refs=2))


def test_both_models_have_the_same_weights_and_input(settings, against_mmdet):
    for one in (settings, against_mmdet):
        (ours, data), (baseline, again) = build('ours', one), build('baseline', one)
        assert type(ours) is not type(baseline)
        assert torch.equal(data['inputs'][0][0], again['inputs'][0][0])
        given, taken = ours.state_dict(), baseline.state_dict()
        for key, value in taken.items():
            if 'detector.' in key:
                torch.testing.assert_close(value, given[key.removeprefix('model.')])
        assert share_weights(ours, baseline) >= sum('detector.' in key for key in taken)


def test_no_pretrained_weights_are_asked_for(settings):
    model, _ = build('ours', settings)
    assert all(
        (getattr(one, 'init_cfg', None) or {}).get('type') != 'Pretrained'
        for one in model.modules()
        if isinstance(getattr(one, 'init_cfg', None), dict)
    )


def test_a_training_step_leaves_the_weights_and_repeats_itself(settings):
    variant = make_train('ours', of_kind(TrainSettings, settings))
    losses = [variant.run(variant.prepare()) for _ in range(2)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5) and losses[0] > 0


def test_no_track_is_missing_in_the_timed_frame(settings):
    variant = make_infer('ours', of_kind(InferSettings, settings))
    state = variant.prepare()
    history = state.propagation.history
    assert len(history) == 24
    (instances,) = variant.run(state)
    assert len(instances) > 0
    assert not instances.propagated.any()
    assert set(history[0].ids.tolist()) == set(instances.ids.tolist())


def test_the_baseline_gets_the_configs_test_cfg_if_told_so(settings, root):
    base = str(root / 'configs/_base_/models/objprop_r50_fpn.py')
    for same, proposals in ((True, 1000), (False, 60)):
        one = Settings(config=base, baseline=settings.baseline, size=SIZE, same_test_cfg=same)
        model, _ = build('baseline', one)
        assert model.detector.rpn_head.test_cfg.max_per_img == proposals
    assert load_config(settings.baseline).model.detector.test_cfg.rpn.max_per_img == 60


@pytest.mark.parametrize('pair', ['settings', 'against_mmdet'])
@pytest.mark.parametrize('benchmark', [benchmark_train, benchmark_infer])
def test_the_last_line_is_json(request, capsys, pair, benchmark):
    kind = TrainSettings if benchmark is benchmark_train else InferSettings
    one = of_kind(kind, request.getfixturevalue(pair))
    row = benchmark(one, repeats=1, memory=False)
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == json.loads(json.dumps(row))
    assert row['name'] == ('train' if benchmark is benchmark_train else 'infer')
    assert row['max_abs_diff'] is None
    assert row['ours'] == one.config and row['baseline'] == one.baseline
    if row['name'] == 'infer':
        assert row['detections']['ours'] > 0 and row['detections']['baseline'] > 0
        assert row['parts_s']['ours'].keys() >= {'decode', 'backbone and neck', 'encode', 'rest'}
        assert ('propagation' in row['parts_s']['ours']) == (pair == 'settings')
        assert row['parts_s']['baseline'].keys() >= {'decode', 'heads', 'masks', 'encode', 'rest'}
    else:
        assert all(loss > 0 for loss in row['losses'].values())


def test_bad_settings_are_told(settings):
    for change, message in (
        (dict(config='configs/none.py'), 'config not found: configs/none.py'),
        (dict(baseline='configs/none.py'), 'config not found: configs/none.py'),
        (dict(batch_size=0), '--batch-size must be positive, got 0'),
        (dict(num_refs=0), '--num-refs must be positive, got 0'),
        (dict(objects=-1), '--objects must be positive, got -1'),
        (dict(size=(640, 31)), '--size takes a width and a height of 32 or more, got 640 31'),
        (dict(amp='bf8'), "amp must be 'bf16', 'fp16' or None, got 'bf8'"),
        (dict(amp='fp16'), 'fp16 .* needs a GPU'),
        (dict(amp='bf16', options_table=True), 'leave out --amp, --channels-last and --compile'),
    ):
        with pytest.raises(UserError, match=message):
            benchmark_train(of_kind(TrainSettings, settings, **change), repeats=1, memory=False)


def test_a_config_without_a_model_is_told(settings, tmp_path):
    path = tmp_path / 'none.py'
    path.write_text('work_dir = None\n')
    with pytest.raises(UserError, match='has no model'):
        benchmark_infer(of_kind(InferSettings, settings, config=str(path)), 1, memory=False)
    for change, message in (
        (dict(detections=0), '--detections must be positive, got 0'),
        (dict(batch=0), '--batch must be positive, got 0'),
        (dict(amp='fp16'), 'fp16 .* needs a GPU'),
    ):
        with pytest.raises(UserError, match=message):
            benchmark_infer(of_kind(InferSettings, settings, **change), 1, memory=False)


def test_several_frames_at_once_are_those_one_by_one(settings):
    """The frames are alike, so that each step finds what the first finds."""
    one = make_infer('ours', of_kind(InferSettings, settings))
    three = make_infer('ours', of_kind(InferSettings, settings, batch=3))
    (expected,) = one.run(one.prepare())
    found = three.run(three.prepare())
    assert len(found) == 3
    for instances in found:
        assert sorted(instances.ids.tolist()) == sorted(expected.ids.tolist())
        torch.testing.assert_close(instances.bboxes, expected.bboxes, rtol=1e-3, atol=1e-2)


def test_mixed_precision_of_ours_is_told(against_mmdet, capsys):
    row = benchmark_infer(of_kind(InferSettings, against_mmdet, amp='bf16', batch=2), 1, False)
    assert row['amp'] == 'bf16' and row['frames_of_a_run'] == 2
    assert row['encoded_at_once'] == {'ours': 2, 'baseline': 1}
    assert row['detections']['ours'] > 0


def test_frames_are_padded_and_losses_alike_with_any_option(against_mmdet):
    """90 is no multiple of 32."""
    one = of_kind(TrainSettings, against_mmdet, size=(120, 90))
    losses = {}
    for change in (dict(), dict(amp='bf16'), dict(channels_last=True)):
        variant = make_train('ours', of_kind(TrainSettings, one, **change))
        losses[str(change)] = variant.run(variant.prepare())
    plain = losses.pop('{}')
    assert list(losses.values()) == pytest.approx([plain, plain], rel=0.03)
    assert variant.prepare()['inputs'][0][0].shape == (3, 90, 120)


def test_options_are_for_ours_alone(against_mmdet, monkeypatch):
    def refuse(model):
        raise ZeroDivisionError

    monkeypatch.setattr(acceleration, 'layers_in_bfloat16', refuse)
    one = of_kind(TrainSettings, against_mmdet, amp='bf16')
    variant = make_train('baseline', one)
    assert variant.run(variant.prepare()) > 0
    with pytest.raises(ZeroDivisionError):
        make_train('ours', one)


def test_table_of_options(against_mmdet, monkeypatch, capsys):
    monkeypatch.setattr(train_step, 'TABLE', (Acceleration(amp='bf16'), Acceleration(amp='fp16')))
    one = of_kind(TrainSettings, against_mmdet, size=(64, 64), options_table=True)
    row = benchmark_train(one, repeats=1, memory=False)
    # A CPU cannot do the second.
    assert [line['options'] for line in row['options_table']] == ['none', 'bf16']
    for line in row['options_table']:
        assert line['ratio'] == pytest.approx(line['baseline_s'] / line['ours_s'], rel=1e-4)
    assert row['options'] == 'none' and row['ours_s'] == row['options_table'][0]['ours_s']
    shown = capsys.readouterr()
    assert 'without fp16: mixed precision in fp16' in shown.err
    assert shown.out.splitlines()[2].split()[0] == 'bf16'


@pytest.mark.parametrize('name', ['ours', 'baseline'])
def test_the_limit_of_detections_binds(root, name):
    """Each instance comes with one mask, encoded, of the frame's size."""
    one = InferSettings(
        config=str(root / MASKTRACK), baseline=str(root / MMDET), size=(200, 120), detections=4
    )
    variant = make_infer(name, one)
    (instances,) = variant.run(variant.prepare())
    assert len(instances) == len(instances.rles) == 4
    assert all(rle['size'] == [120, 200] for rle in instances.rles)


def test_ours_and_mmdets_find_the_same_boxes_and_masks(root):
    one = InferSettings(
        config=str(root / MASKTRACK), baseline=str(root / MMDET), size=(200, 120), detections=4
    )
    found = []
    for name in ('ours', 'baseline'):
        variant = make_infer(name, one)
        found += variant.run(variant.prepare())
    torch.testing.assert_close(found[0].bboxes, found[1].bboxes, rtol=1e-3, atol=1e-2)
    masks = [mask_utils.decode(instances.rles) for instances in found]
    assert (masks[0] != masks[1]).mean() < 1e-3 and masks[0].any()


def test_parts_are_summed_and_methods_come_back():
    class Model:
        def __init__(self):
            self.tracker = self

        def propose(self, value):
            time.sleep(0.02)
            return value + 1

    model, clock = Model(), PartClock(torch.device('cpu'))
    with clock.part('decode'):
        pass
    assert clock.seconds == {}
    with clock.watch(model, {'propose': 'proposals', 'recover': 'propagation'}):
        assert model.propose(1) + model.propose(value=2) == 5
        with clock.part('encode'):
            pass
    assert list(clock.seconds) == ['proposals', 'encode', 'rest']
    assert clock.seconds['proposals'] >= 0.04 and clock.seconds['rest'] >= 0
    assert 'propose' not in vars(model)
    with pytest.raises(ZeroDivisionError), clock.watch(model, {'tracker.propose': 'proposals'}):
        _ = 1 / 0
    assert 'propose' not in vars(model)


def test_medians_of_parts_come_in_the_order_of_a_frame(capsys):
    runs = [dict(rest=3.0, decode=1.0), dict(rest=1.0, decode=2.0), dict(rest=2.0, decode=9.0)]
    medians = PartClock.medians(runs)
    assert list(medians.items()) == [('decode', 2.0), ('rest', 2.0)]
    print_parts(dict(ours=medians, baseline=dict(rest=0.5)))
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[1:] == [['decode', '2000.0', '-'], ['rest', '2000.0', '500.0']]


@pytest.mark.gpu
@pytest.mark.parametrize('benchmark', [benchmark_train, benchmark_infer])
def test_on_a_gpu(against_mmdet, benchmark):
    kind = TrainSettings if benchmark is benchmark_train else InferSettings
    row = benchmark(of_kind(kind, against_mmdet, device='cuda'), repeats=1)
    assert row['ours_mib'] > 0 and row['baseline_mib'] > 0
