import pytest
import torch
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor

from tests.models.small_models import MMDET, SIZE, frame_metainfo, same, step
from tests.models.test_masktrack_rcnn import clips_of
from vispropnet.config import load_config
from vispropnet.models.necks import AttentionNeck
from vispropnet.models.support import SupportedLevels, SupportWindow
from vispropnet.registry import MODELS


@MODELS.register_module()
class MeanRoIExtractor(SingleRoIExtractor):
    """RoI features, averaged over the frame and those that support it."""

    needs_support = True

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.seen = []

    def forward(self, feats, rois, roi_scale_factor=None):
        self.seen.append(feats.support)
        plain = super().forward
        frames = [plain(levels, rois) for levels in (tuple(feats), *feats.support)]
        return torch.stack(frames).mean(dim=0)


@MODELS.register_module()
class NeedyNeck(AttentionNeck):
    """A part in a place that gets no support."""

    needs_support = True


@pytest.fixture
def build(small_config):
    def make(support=None, kind='vispropnet.MeanRoIExtractor'):
        small_config.detector.roi_head.bbox_roi_extractor.type = kind
        small_config.support = support
        torch.manual_seed(0)
        model = MODELS.build(small_config)
        model.init_weights()
        model.detector.roi_head.test_cfg.score_thr = 0.0
        return model

    return make


WINDOW = dict(type='SupportWindow', num_frames=2)


def test_levels_carry_their_support_through_slices():
    levels = SupportedLevels('abc', ['def', 'ghi'])
    assert levels == ('a', 'b', 'c') and levels[1] == 'b' and len(levels) == 3
    fine = levels[:2]
    assert fine == ('a', 'b') and [tuple(one) for one in fine.support] == [('d', 'e'), ('g', 'h')]


def test_window_gives_the_frames_before():
    window, support, given = SupportWindow(2), (), []
    for number in range(4):
        given.append([int(levels[0]) for levels in support])
        support = window.remember([torch.tensor(number)], support, number)
    assert given == [[], [0], [0, 1], [1, 2]]
    for bad in (0, 1.5, True):
        for name in ('num_frames', 'stride'):
            with pytest.raises(ValueError, match=f'support: {name} must be a positive integer'):
                SupportWindow(**{name: bad})


def test_window_keeps_one_of_some_frames_and_the_levels_in_use():
    window, support, given = SupportWindow(2, stride=3), (), []
    window.levels = {2}
    for number in range(8):
        assert all(levels[:2] == (None, None) for levels in support)
        given.append([int(levels[2]) for levels in support])
        support = window.remember([torch.tensor(number)] * 3, support, number)
    assert given == [[], [0], [0], [0], [0, 3], [0, 3], [0, 3], [3, 6]]


@pytest.mark.parametrize(('batch_size', 'num_refs'), [(1, 1), (2, 2)])
def test_references_reach_the_box_head_in_training(build, batch_size, num_refs):
    model = build(WINDOW).eval()  # so that normalisation gives the same features again
    assert model.uses_support
    inputs, clips = clips_of(batch_size, num_refs=num_refs)
    losses = model.loss(inputs, clips)
    (support,) = model.detector.roi_head.bbox_roi_extractor.seen
    _, *refs = model.encode_clips(inputs, 1 + num_refs)
    assert len(support) == num_refs
    for levels, expected in zip(support, refs, strict=True):
        # The extractor is given the levels that it uses.
        assert len(levels) == model.detector.roi_head.bbox_roi_extractor.num_inputs
        assert same(levels, expected[: len(levels)])
    model.parse_losses(losses)[0].backward()
    assert all(one.grad is not None for one in model.parameters())


def test_plain_heads_ignore_support(build):
    model = build(WINDOW, 'mmdet.SingleRoIExtractor').eval()
    assert not model.uses_support
    inputs, clips = clips_of(1)
    key, ref = model.encode_clips(inputs, 2)
    samples = [clip[0] for clip in clips]
    _, proposals = model.propose_with_loss(key, samples)
    rois = model.sample_rois(key, proposals, samples)
    found = [model.detection_loss(key, rois, samples, support) for support in ([ref], ())]
    for name, value in found[0].items():
        assert torch.equal(value, found[1][name]), name


def test_frames_before_support_a_frame_at_test(build):
    model = build(WINDOW).eval()
    extractor = model.detector.roi_head.bbox_roi_extractor
    images = torch.randn(4, 3, *SIZE)
    encoded = [model.encode(image[None]) for image in images]
    state = model.init_state()
    for number, image in enumerate(images):
        extractor.seen.clear()
        instances, state = step(model, image, frame_metainfo(frame_id=number), state)
        (support,) = extractor.seen
        expected = encoded[max(number - 2, 0) : number]
        assert len(support) == len(expected) == min(number, 2)
        for levels, other in zip(support, expected, strict=True):
            assert same(levels, other[: len(levels)])
        assert len(instances) > 0
        assert len(state.support) == min(number + 1, 2)


def test_a_part_that_would_get_no_support_is_told(build, small_config, root):
    with pytest.raises(
        ValueError,
        match=r'detector.roi_head.bbox_roi_extractor \(MeanRoIExtractor\) needs features of other '
        r'frames, and the config gives none: set support=dict\(type=',
    ):
        build()
    small_config.attn_neck = dict(type='vispropnet.NeedyNeck', channels=64)
    with pytest.raises(
        ValueError,
        match=r'attn_neck .* which a MaskTrackRCNN passes to parts below '
        'detector.roi_head., track_head. only',
    ):
        build(WINDOW)
    config = load_config(root / MMDET).model
    config.detector.roi_head.bbox_roi_extractor.type = 'vispropnet.MeanRoIExtractor'
    with pytest.raises(ValueError, match='which a MMDetMaskTrackRCNN passes to no part'):
        MODELS.build(config)
