import json

import pytest
import torch

from vispropnet.apis.config import load_config
from vispropnet.benchmarks.frames import draw_pairs, share_weights
from vispropnet.benchmarks.steps import (
    Settings,
    benchmark_infer,
    benchmark_train,
    build,
    make_infer,
    make_train,
)
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


def test_drawn_masks_are_ellipses_in_their_boxes():
    data = draw_pairs((96, 64), batch_size=2, objects=3, classes=4, seed=0)
    assert [len(data['inputs'][name]) for name in ('key', 'ref')] == [2, 2]
    for key, ref in zip(data['data_samples']['key'], data['data_samples']['ref'], strict=True):
        assert key.gt_instances.instances_ids.tolist() == [0, 1, 2]
        torch.testing.assert_close(key.gt_instances.bboxes, ref.gt_instances.bboxes + 4)
        assert key.gt_instances.labels.tolist() == ref.gt_instances.labels.tolist()
        for mask, box in zip(key.gt_instances.masks.masks, key.gt_instances.bboxes, strict=True):
            left, top, right, bottom = box.int().tolist()
            assert min(left, top) >= 0 and right <= 96 and bottom <= 64
            assert mask.sum() == mask[top:bottom, left:right].sum()
            area = 0.785 * (right - left) * (bottom - top)  # pi / 4
            assert mask.sum() == pytest.approx(area, rel=0.1)


def test_both_models_have_the_same_weights_and_input(settings, against_mmdet):
    for one in (settings, against_mmdet):
        (ours, data), (baseline, again) = build('ours', one), build('baseline', one)
        assert type(ours) is not type(baseline)
        assert torch.equal(data['inputs']['key'][0], again['inputs']['key'][0])
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
    variant = make_train('ours', settings)
    losses = [variant.run(variant.prepare()) for _ in range(2)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5) and losses[0] > 0


def test_no_track_is_missing_in_the_timed_frame(settings):
    variant = make_infer('ours', settings)
    state = variant.prepare()
    assert len(state.history) == 24
    instances = variant.run(state)
    assert len(instances) > 0
    assert not instances.propagated.any()
    assert set(state.history[0].ids.tolist()) == set(instances.ids.tolist())


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
    one = request.getfixturevalue(pair)
    row = benchmark(one, repeats=1, memory=False)
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == json.loads(json.dumps(row))
    assert row['name'] == ('train' if benchmark is benchmark_train else 'infer')
    assert row['max_abs_diff'] is None
    assert row['ours'] == one.config and row['baseline'] == one.baseline
    if row['name'] == 'infer':
        assert row['detections']['ours'] > 0 and row['detections']['baseline'] > 0
    else:
        assert all(loss > 0 for loss in row['losses'].values())


def test_bad_settings_are_told(settings):
    for change, message in (
        (dict(config='configs/none.py'), 'config not found: configs/none.py'),
        (dict(baseline='configs/none.py'), 'config not found: configs/none.py'),
        (dict(batch_size=0), '--batch-size must be positive, got 0'),
        (dict(objects=-1), '--objects must be positive, got -1'),
    ):
        with pytest.raises(UserError, match=message):
            benchmark_train(Settings(**{**vars(settings), **change}), repeats=1, memory=False)


def test_a_config_without_a_model_is_told(settings, tmp_path):
    path = tmp_path / 'none.py'
    path.write_text('work_dir = None\n')
    with pytest.raises(UserError, match='has no model'):
        benchmark_infer(Settings(**{**vars(settings), 'config': str(path)}), 1, memory=False)
