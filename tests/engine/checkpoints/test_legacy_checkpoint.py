"""Old files against the formulas of their time, written plainly from the old tensors."""

import itertools
import math
from functools import partial

import pytest
import torch
from torch.nn import functional
from torch.testing import assert_close
from torchvision.models import resnet50

from tests.models.small_models import step
from vispropnet.config import load_config
from vispropnet.engine.checkpoints.legacy import convert_file, convert_weights, other_conventions
from vispropnet.engine.checkpoints.reading import read_checkpoint
from vispropnet.engine.checkpoints.weights import load_weights
from vispropnet.errors import UserError
from vispropnet.models.track_heads import matching_logits
from vispropnet.models.trackers import MatchingTracker
from vispropnet.registry import MODELS

OBJPROP = 'configs/objprop/objprop_r50_fpn_1x_ytvis2019_legacy.py'
MASKTRACK = 'configs/masktrack_rcnn/masktrack-rcnn_r50_fpn_1x_ytvis2019_legacy.py'
CLASSES = 40
resize = partial(functional.interpolate, mode='bilinear', align_corners=False)


def old_shapes(base=64, width=256, fc=1024, classes=CLASSES):
    """Every key of an old ObjProp file with attention neck, and its shape."""
    square, rows = (width, width, 3, 3), classes + 1
    layers = {f'{name}.0': (fc, width * 49) for name in ('bbox_head.shared_fcs', 'track_head.fcs')}
    layers |= {f'{name}.1': (fc, fc) for name in ('bbox_head.shared_fcs', 'track_head.fcs')}
    for level in range(4):
        layers[f'neck.lateral_convs.{level}.conv'] = (width, base * 4 * 2**level, 1, 1)
        for name in ('neck.fpn_convs', 'mask_head.convs', 'prop_head.mask_convs'):
            layers[f'{name}.{level}.conv'] = square
    for head in ('mask_head', 'prop_head'):
        layers[f'{head}.upsample'] = (width, width, 2, 2)
        layers[f'{head}.conv_logits'] = (rows, width, 1, 1)
    names = ('prop_head.conv1.conv', 'prop_head.conv2.conv', 'neck_attn.conv1', 'rpn_head.rpn_conv')
    layers |= dict.fromkeys(names, square)
    layers |= {'rpn_head.rpn_cls': (3, width, 1, 1), 'rpn_head.rpn_reg': (12, width, 1, 1)}
    layers |= {'bbox_head.fc_cls': (rows, fc), 'bbox_head.fc_reg': (4 * rows, fc)}
    layers |= {'prop_head.convs.0': (width, 4 * width, 1, 1), 'prop_head.convs.3': square}
    layers |= {'prop_head.convs.6': (width, width, 1, 1), 'neck_attn.conv2': square}
    with torch.device('meta'):
        backbone = [one for one in resnet50().state_dict().items() if not one[0].startswith('fc.')]
    shapes = {}
    for key, one in backbone:
        shapes[f'backbone.{key}'] = tuple(n * base // 64 if n >= 64 else n for n in one.shape)
    shapes |= {f'{name}.weight': shape for name, shape in layers.items()}
    shapes |= {f'{name}.bias': shape[:1] for name, shape in layers.items()}
    kinds, norms = ('weight', 'bias', 'running_mean', 'running_var'), ('1', '4')
    shapes |= {f'prop_head.convs.{norm}.{kind}': (width,) for norm in norms for kind in kinds}
    shapes |= {f'prop_head.convs.{norm}.num_batches_tracked': () for norm in norms}
    return {**shapes, 'neck_attn.gamma': (1,)}


def old_weights(attention_neck=False, **sizes):
    """Random weights under old keys; signals neither explode nor vanish."""
    weights = {}
    for key, shape in old_shapes(**sizes).items():
        if key.startswith('neck_attn') and not attention_neck:
            continue
        if key.endswith('num_batches_tracked'):
            weights[key] = torch.tensor(7)
        elif key.endswith('running_var'):
            weights[key] = torch.rand(shape) + 0.5
        else:
            size = math.prod(shape[1:]) if len(shape) > 1 else 2
            weights[key] = torch.randn(shape) * (2 / size) ** 0.5
        if any(part in key for part in ('bn3.weight', '_reg.', 'fc_cls.')):
            weights[key] *= 0.1  # of residuals, box sizes and the certainty of classes
    return weights


def small_weights(attention_neck=True):
    return old_weights(attention_neck, base=2, width=4, fc=8, classes=5)


@pytest.fixture(scope='module')
def old():
    torch.manual_seed(0)
    return old_weights()


@pytest.fixture(scope='module')
def model(old, pytestconfig):
    """The model of the legacy config with what the old weights were converted to."""
    model = MODELS.build(load_config(pytestconfig.rootpath / OBJPROP).model).eval()
    weights = convert_weights(old, 'old.pth').weights
    assert load_weights(model, weights, 'new.pth').complete
    return model.requires_grad_(False)


def conv(old, name, features, padding=0):
    return functional.conv2d(features, old[f'{name}.weight'], old[f'{name}.bias'], padding=padding)


def linear(old, name, features):
    return functional.linear(features, old[f'{name}.weight'], old[f'{name}.bias'])


def old_mask_branch(old, name, convs, features):
    for number in range(4):
        features = conv(old, f'{name}.{convs}.{number}.conv', features, padding=1).relu()
    weight, bias = old[f'{name}.upsample.weight'], old[f'{name}.upsample.bias']
    features = functional.conv_transpose2d(features, weight, bias, stride=2).relu()
    return conv(old, f'{name}.conv_logits', features)


def old_features(old, levels):
    resized = [resize(one, scale_factor=2.0 ** (n - 1)) for n, one in enumerate(levels)]
    features = torch.cat(resized, dim=1)
    for number, padding in ((0, 0), (3, 1)):
        features = conv(old, f'prop_head.convs.{number}', features, padding)
        order = ('running_mean', 'running_var', 'weight', 'bias')
        norm = [old[f'prop_head.convs.{number + 1}.{kind}'] for kind in order]
        features = functional.batch_norm(features, *norm).relu()
    return conv(old, 'prop_head.convs.6', features)


def old_propagated_mask(old, reference, current, box, label):
    """(H, W) mask logits of one box, which lies on the grid of stride 8."""
    channels, height, width = current.shape
    similarity = reference.reshape(channels, -1).t() @ current.reshape(channels, -1)
    similarity = similarity.softmax(dim=0)
    places = [(row, column) for row in range(height) for column in range(width)]
    places = torch.tensor(places, dtype=torch.float)
    distance = (places[:, None] - places[None]).pow(2).sum(dim=2)
    similarity = similarity * torch.exp(-distance / 8.0**2)
    left, top, right, bottom = (side // 8 for side in box)
    foreground = torch.zeros(height, width)
    foreground[top:bottom, left:right] = 1
    maps = torch.stack([1 - foreground, foreground]).reshape(2, -1)
    arrived = (maps @ similarity).reshape(1, 2, height, width)
    attention = resize(arrived, scale_factor=8.0).softmax(dim=1)[:, 1:]
    attention = resize(attention, size=(height, width))
    logits = old_mask_branch(old, 'prop_head', 'mask_convs', attention * current[None])
    return resize(logits, scale_factor=4.0)[0, label + 1]


def test_shared_parts_have_the_old_tensors(model, old):
    new = model.state_dict()
    for part in ('backbone.', 'neck.', 'rpn_head.'):
        keys = [key for key in old if key.startswith(part)]
        for key in keys:
            assert torch.equal(new[f'detector.{key}'], old[key]), key
        assert len(keys) == sum(key.startswith(f'detector.{part}') for key in new) > 5


def test_propagation(model, old):
    head = model.prop_head
    sizes = [(64 // stride, 96 // stride) for stride in (4, 8, 16, 32)]
    levels, ref_levels = ([torch.randn(1, 256, *size) for size in sizes] for _ in range(2))
    current, reference = old_features(old, levels), old_features(old, ref_levels)
    assert_close(head.features(levels), current, rtol=1e-4, atol=1e-4)
    # Smaller, so that attention is not of single places; both sides get the same.
    current, reference = current[0] / 8, reference[0] / 8
    boxes, labels = [[8, 16, 40, 48], [32, 0, 96, 24]], [0, 39]
    given = torch.tensor(boxes).float(), torch.tensor(labels)
    arrived = head.attention(reference, current, *given, head.test_sigma)
    logits = head.segment(current[None], head.attend(*arrived), given[1])
    for found, box, label in zip(logits, boxes, labels, strict=True):
        wanted = old_propagated_mask(old, reference, current, box, label)
        assert found.shape == wanted.shape == (64, 96)
        assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(logits[0], logits[1], atol=0.1)


def test_match_scores_and_mask_logits(model, old):
    def embed(features):
        hidden = linear(old, 'track_head.fcs.0', features.flatten(1)).relu()
        embeddings = linear(old, 'track_head.fcs.1', hidden)
        return embeddings / embeddings.pow(2).sum(dim=1, keepdim=True).sqrt()

    found, known = torch.randn(3, 256, 7, 7), torch.randn(2, 256, 7, 7)
    wanted = torch.cat([torch.zeros(3, 1), embed(found) @ embed(known).t()], dim=1)
    head = model.track_head.embed_head
    assert_close(matching_logits(head(found), head(known)), wanted, rtol=1e-4, atol=1e-5)
    features = torch.randn(2, 256, 14, 14)
    wanted = old_mask_branch(old, 'mask_head', 'convs', features)[:, 1:]
    found = model.detector.roi_head.mask_head(features)
    assert found.shape == (2, CLASSES, 28, 28)
    assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def test_class_scores_and_boxes(model, old):
    features = torch.randn(5, 256, 7, 7)
    hidden = linear(old, 'bbox_head.shared_fcs.0', features.flatten(1)).relu()
    hidden = linear(old, 'bbox_head.shared_fcs.1', hidden).relu()
    scores = linear(old, 'bbox_head.fc_cls', hidden).softmax(dim=1)
    deltas = linear(old, 'bbox_head.fc_reg', hidden).reshape(5, CLASSES + 1, 4)
    head = model.detector.roi_head.bbox_head
    corners = torch.rand(5, 2) * 40
    boxes = torch.cat([corners, corners + 10 + torch.rand(5, 2) * 40], dim=1)
    rois = torch.cat([torch.zeros(5, 1), boxes], dim=1)
    infos = [dict(img_shape=(96, 128), scale_factor=(1.0, 1.0))]
    given = [[one] for one in head(features)]
    (found,) = head.predict_by_feat([rois], *given, infos, rcnn_test_cfg=None)
    assert_close(found.scores, scores.roll(-1, dims=1), rtol=1e-4, atol=1e-6)
    limit = -math.log(16 / 1000)
    for number, box in enumerate(boxes):
        middle, size = (box[:2] + box[2:]) / 2, box[2:] - box[:2] + 1
        for label, delta in enumerate(deltas[number, 1:]):
            moved = middle + 0.1 * delta[:2] * size
            half = size * (0.2 * delta[2:]).clamp(-limit, limit).exp() / 2
            # The original's corners are half a pixel further in: mmdet measured that boxes of the
            # full width score higher in what surrounds them today.
            wanted = torch.cat([moved - half, moved + half]).clamp(min=0)
            wanted = wanted.minimum(torch.tensor([127, 95, 127, 95]))
            decoded = found.bboxes[number, 4 * label : 4 * label + 4]
            assert_close(decoded, wanted, rtol=0, atol=2e-3)


def test_anchors_have_the_old_corners_and_roi_align_the_old_points(model):
    anchors = model.detector.rpn_head.prior_generator.grid_priors([(2, 3)] * 5, device='cpu')
    for level, stride in enumerate((4, 8, 16, 32, 64)):
        wanted = []
        for row, column, ratio in itertools.product(range(2), range(3), (0.5, 1.0, 2.0)):
            half = torch.tensor([8 * stride * ratio**power - 1 for power in (-0.5, 0.5)]) / 2
            corners = (torch.cat([-half, half]) + (stride - 1) / 2).round()
            wanted.append(corners + torch.tensor([column, row, column, row]) * stride)
        assert torch.equal(anchors[level], torch.stack(wanted))
    # RoIAlign has two points a side, and no half pixel.
    roi_head = model.detector.roi_head
    extractors = roi_head.bbox_roi_extractor, roi_head.mask_roi_extractor
    for extractor in (*extractors, model.track_head.roi_extractor):
        assert [layer.sampling_ratio for layer in extractor.roi_layers] == [2] * 4
        assert not any(layer.aligned for layer in extractor.roi_layers)


@pytest.mark.parametrize('name', [OBJPROP, MASKTRACK])
def test_settings_of_the_published_runs(pytestconfig, name):
    config = load_config(pytestconfig.rootpath / name)
    detector, objprop = config.model.detector, name == OBJPROP
    proposals, found = detector.test_cfg.rpn, detector.test_cfg.rcnn
    # Old boxes were a pixel wider in both; today's suppression needs no offset for that.
    assert proposals.nms == dict(type='nms', iou_threshold=0.7)
    assert found.nms == dict(type='nms', iou_threshold=0.5)
    coders = [head.bbox_coder.type for head in (detector.rpn_head, detector.roi_head.bbox_head)]
    assert coders == ['LegacyDeltaXYWHBBoxCoder'] * 2 and config.load_from is None
    numbers = (proposals.max_per_img, found.max_per_img, found.score_thr)
    assert numbers == ((1000, 100, 0.001) if objprop else (200, 10, 0.05))
    assert config.model.track_head.embed_head.get('normalize_at_test', False) == objprop


@pytest.mark.parametrize(('on_conflict', 'detected'), [('next', (8, 3)), ('drop', (8, 2))])
def test_frames_of_a_video_run(model, monkeypatch, on_conflict, detected):
    """By the rule of the original, one of the three detections loses its track and is dropped."""
    assert model.tracker.on_conflict == 'drop'
    monkeypatch.setattr(model, 'tracker', MatchingTracker(on_conflict=on_conflict))
    shapes = ('img_shape', 'ori_shape', 'pad_shape', 'batch_input_shape')
    metainfo = dict(dict.fromkeys(shapes, (64, 96)), scale_factor=(1.0, 1.0))
    state = model.init_state()
    for frame, detections in enumerate((8, 3)):
        monkeypatch.setitem(model.detector.roi_head.test_cfg, 'max_per_img', detections)
        image = torch.randn(3, 64, 96)
        found, state = step(model, image, {**metainfo, 'frame_id': frame}, state)
        assert (~found.propagated).sum() == detected[frame]
        assert found.masks.shape == (len(found), 64, 96) and len(found.ids.unique()) == len(found)
        assert torch.isfinite(found.scores).all() and found.scores.min() > 0.001
    assert found.propagated.any()


@pytest.mark.parametrize('count', [397, 392, 364])
def test_every_key_has_a_place(pytestconfig, count):
    """With its attention neck, as released, and without propagation."""
    left_out = {397: 'nothing', 392: 'neck_attn', 364: ('neck_attn', 'prop_head')}[count]
    method = 'MaskTrack R-CNN' if 'prop_head' in left_out else 'ObjProp'
    shapes = {key: one for key, one in old_shapes().items() if not key.startswith(left_out)}
    weights = {key: torch.empty(shape, device='meta') for key, shape in shapes.items()}
    converted = convert_weights(weights, 'old.pth')
    assert (converted.method, converted.num_classes) == (method, CLASSES)
    config = OBJPROP if method == 'ObjProp' else MASKTRACK
    settings = load_config(pytestconfig.rootpath / config).model
    if left_out == 'nothing':
        settings.attn_neck = dict(type='AttentionNeck', channels=256)
        assert "model.attn_neck = dict(type='AttentionNeck', channels=256)" in str(converted)
    with torch.device('meta'):  # keys and shapes without the memory
        model = MODELS.build(settings)
    report = load_weights(model, converted.weights, 'new.pth')
    assert report.complete and report.loaded == len(converted.weights) == count


@pytest.mark.parametrize('form', ['state_dict', 'bare', 'module'])
def test_forms_of_a_file(tmp_path, form):
    weights = small_weights()
    prefix = 'module.' if form == 'module' else ''
    content = {f'{prefix}{key}': value for key, value in weights.items()}
    if form == 'state_dict':
        content = dict(
            state_dict=weights, optimizer=dict(state={}), meta=dict(epoch=12, CLASSES=['a'])
        )
    source, target = tmp_path / 'old.pth', tmp_path / 'new' / 'new.pth'
    torch.save(content, source)
    report = str(convert_file(source, target))
    made = read_checkpoint(target)
    new, meta = made.pop('state_dict'), dict(converted_from='old.pth', method='ObjProp')
    names = dict(dataset_meta=dict(classes=('a',))) if form == 'state_dict' else {}
    assert made == dict(meta={**meta, 'num_classes': 5, **names})
    # All but prop_head.conv1 and conv2.
    assert len(new) == len(weights) - 4 == 397
    assert 'ObjProp: 397 tensors, 5 categories' in report
    assert 'left out: prop_head.conv2.conv.bias' in report
    assert ('left out: optimizer' in report) == (form == 'state_dict')
    kinds = ('fc_cls', 'fc_reg')
    scores, kept = (new[f'detector.roi_head.bbox_head.{kind}.weight'] for kind in kinds)
    assert torch.equal(scores, weights['bbox_head.fc_cls.weight'][[1, 2, 3, 4, 5, 0]])
    assert torch.equal(kept, weights['bbox_head.fc_reg.weight'][4:])
    assert kept.untyped_storage().nbytes() == kept.nbytes
    assert [one.name for one in target.parent.iterdir()] == ['new.pth']


def test_one_category_is_enough_and_the_background_alone_is_not(tmp_path):
    source, sizes = tmp_path / 'old.pth', dict(base=2, width=4, fc=8)
    torch.save(old_weights(**sizes, classes=1), source)
    assert ' tensors, 1 categories' in str(convert_file(source, tmp_path / 'new.pth'))
    torch.save(old_weights(**sizes, classes=0), source)
    with pytest.raises(UserError, match=r'fc_cls\.weight has 1 rows, one of them the background'):
        convert_file(source, tmp_path / 'newer.pth')


def test_files_that_cannot_be_converted(tmp_path):
    source, many = tmp_path / 'old.pth', {f'encoder.{number}': 1 for number in range(8)}
    rows = r'fc_cls\.weight has 6 rows.*: mask_head\.conv_logits\.weight 81 \(6\)\.$'
    today = r"already has today's layout \(keys detector\.\*\): there is nothing to convert"
    for dropped, added, message in (
        # Keys that begin so, and shapes of further ones.
        ('no', {'flow_head.weight': 1}, r'1 keys that no released .*: flow_head\.weight\.'),
        ('no', {'prop_head.W': 1}, r'1 keys that no released .*: prop_head\.W\.'),
        ('no', {'mask_head.conv_logits.weight': 81}, rows),
        ('no', {'bbox_head.fc_reg.bias': 20}, r'bbox_head\.fc_reg\.bias 20 \(24\)\.$'),
        ('no', {'bbox_head.fc_cls.bias': ()}, r'bbox_head\.fc_cls\.bias 0 \(6\)\.$'),
        ('bbox_head.fc_reg.weight', {}, r'but no bbox_head\.fc_reg\.weight\.$'),
        ('mask_head', {}, 'but no mask_head: is it another method'),
        ('track_head', {}, 'but no track_head: is it another method'),
        ('', {'detector.neck.weight': 1}, today),
        ('', many, r'expected keys .*, found encoder\.0, .*encoder\.4 and 3 more\.$'),
        ('', {}, 'found no tensors'),
    ):
        weights = {key: one for key, one in small_weights().items() if not key.startswith(dropped)}
        torch.save({**weights, **{key: torch.zeros(one) for key, one in added.items()}}, source)
        with pytest.raises(UserError, match=message) as caught:
            convert_file(source, tmp_path / 'new.pth')
        assert str(source) in str(caught.value)
        assert [one.name for one in tmp_path.iterdir()] == ['old.pth']


def test_out_must_be_another_file_that_can_be_written(tmp_path, monkeypatch):
    source, link, new = (tmp_path / name for name in ('old.pth', 'link.pth', 'new.pth'))
    torch.save(small_weights(), source)
    link.symlink_to(source)
    before = source.read_bytes()
    for target, reason in (
        *((one, 'OUT is the same') for one in (source, link, tmp_path / 'x' / '..' / 'old.pth')),
        (source / 'new.pth', 'cannot write'),
        (tmp_path, 'it is a folder'),
    ):
        with pytest.raises(UserError, match=reason):
            convert_file(source, target)
    assert source.read_bytes() == before

    def fail(content, path):
        path.write_bytes(b'half')
        raise RuntimeError('PytorchStreamWriter failed writing file')

    new.write_bytes(b'of before')
    monkeypatch.setattr(torch, 'save', fail)
    with pytest.raises(UserError, match='cannot write .*failed writing'):
        convert_file(source, new)
    assert new.read_bytes() == b'of before' and set(tmp_path.iterdir()) == {source, link, new}


def test_plain_mask_rcnn_is_told_apart_and_converted_files_belong_to_legacy_configs(pytestconfig):
    heads, weights = ('prop_head', 'track_head'), small_weights(attention_neck=False)
    weights = {key: one for key, one in weights.items() if not key.startswith(heads)}
    converted = convert_weights(weights, 'old.pth')
    assert converted.method == 'Mask R-CNN' and 'load_from' in str(converted)
    checkpoint = dict(meta=dict(converted_from='old.pth'))
    for name in (OBJPROP, MASKTRACK):
        config = load_config(pytestconfig.rootpath / name).model
        assert other_conventions(checkpoint, config) is None
        config = load_config(pytestconfig.rootpath / name.replace('_legacy', '')).model
        assert 'old.pth' in other_conventions(checkpoint, config)
        assert other_conventions(dict(meta={}), config) is other_conventions({}, config) is None
