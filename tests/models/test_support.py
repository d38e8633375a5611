import pytest
import torch
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor

from tests.models.small_models import (
    MMDET,
    SIZE,
    SMALL,
    SMALL_OBJPROP,
    frame_metainfo,
    same,
    seeded_model,
    step,
)
from tests.models.test_masktrack_rcnn import clips_of
from vispropnet.errors import UserError
from vispropnet.models.frames import Frame
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


WINDOW, MEAN = dict(type='SupportWindow', num_frames=2), 'vispropnet.MeanRoIExtractor'


def build(support=None, kind=MEAN, path=SMALL, **changes):
    changes['detector.roi_head.bbox_roi_extractor.type'] = kind
    model = seeded_model(path, support=support, **changes)
    model.detector.roi_head.test_cfg.score_thr = 0.0
    return model


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


def test_numbers_of_the_frames_that_support_a_frame():
    for window in (SupportWindow(2), SupportWindow(2, stride=3), SupportWindow(9, stride=2)):
        support = ()
        for number in range(11):
            assert window.numbers(number, 11) == [int(levels[0]) for levels in support]
            support = window.remember([torch.tensor(number)], support, number)
    offline = SupportWindow(3, mode='offline')
    assert [offline.numbers(number, 9) for number in (0, 8)] == [[0, 4, 8]] * 2
    assert offline.numbers(0, 1) == [0]


def test_an_overview_supports_all_frames_alike():
    window, support = SupportWindow(3, mode='offline'), ()
    window.levels = {1}
    assert window.overview == 3 and SupportWindow(3).overview == 0
    for number in (0, 4, 8):
        support = window.look_over([torch.tensor(number)] * 2, support)
    window.check_overview(support)
    for number in range(9):
        assert window.remember([torch.tensor(number)] * 2, support, number) == support
    assert [(first, int(second)) for first, second in support] == [(None, 0), (None, 4), (None, 8)]
    with pytest.raises(UserError, match="mode='offline' needs 3 frames .* or set mode='online'"):
        window.check_overview(())
    SupportWindow(3).check_overview(())  # the first frame of a video
    with pytest.raises(ValueError, match="support: mode must be one of .*'offline'.*, got 'both'"):
        SupportWindow(mode='both')
    with pytest.raises(ValueError, match="support: stride=2 is for mode='online'"):
        SupportWindow(2, 2, 'offline')


@pytest.mark.parametrize(('batch_size', 'num_refs'), [(1, 1), (2, 2)])
def test_references_reach_the_box_head_in_training(batch_size, num_refs):
    model = build(WINDOW).eval()  # so that normalisation gives the same features again
    assert model.uses_support
    inputs, clips = clips_of(batch_size, num_refs)
    losses = model.loss(inputs, clips)
    (support,) = model.detector.roi_head.bbox_roi_extractor.seen
    _, *refs = model.encode_clips(inputs, 1 + num_refs)
    for levels, expected in zip(support, refs, strict=True):
        # The extractor is given the levels that it uses.
        assert len(levels) == model.detector.roi_head.bbox_roi_extractor.num_inputs
        assert same(levels, expected[: len(levels)])
    model.parse_losses(losses)[0].backward()
    assert all(one.grad is not None for one in model.parameters())


def test_plain_heads_ignore_support():
    model = build(WINDOW, 'mmdet.SingleRoIExtractor').eval()
    assert not model.uses_support
    inputs, ((sample, _),) = clips_of(1)
    key, ref = model.encode_clips(inputs, 2)
    _, proposals = model.propose_with_loss(key, [sample])
    rois = model.sample_rois(key, proposals, [sample])
    found = [model.detection_loss(key, rois, [sample], support) for support in ([ref], ())]
    torch.testing.assert_close(*found, rtol=0, atol=0)


def test_frames_before_support_a_frame_at_test():
    model = build(WINDOW).eval()
    extractor = model.detector.roi_head.bbox_roi_extractor
    images = torch.randn(4, 3, *SIZE)
    encoded = [model.encode(image[None]) for image in images]
    state = model.init_state()
    for number, image in enumerate(images):
        instances, state = step(model, image, frame_metainfo(frame_id=number), state)
        assert len(instances) > 0 and len(state.support) == min(number + 1, 2)
        support, expected = extractor.seen.pop(), encoded[max(number - 2, 0) : number]
        assert extractor.seen == []
        for levels, other in zip(support, expected, strict=True):
            assert same(levels, other[: len(levels)])


@pytest.mark.parametrize('path', [SMALL, SMALL_OBJPROP])
def test_frames_of_the_whole_video_support_a_frame_at_test(path):
    model = build(dict(WINDOW, num_frames=3, mode='offline'), path=path).eval()
    extractor = model.detector.roi_head.bbox_roi_extractor
    videos = torch.randn(2, 4, 3, *SIZE)
    encoded = [[model.encode(image[None]) for image in images] for images in videos]
    states = [model.init_state(), model.init_state()]
    assert model.overview == 3
    # Two videos by turns, of which the second has one frame.
    for number, which in ((0, 0), (0, 1), (2, 0), (3, 0)):
        frame = Frame(encoded[which][number], frame_metainfo(frame_id=number))
        states[which] = model.look_over(frame, states[which])
    for number, which in ((0, 0), (0, 1), (1, 0), (2, 0), (3, 0)):
        instances, states[which] = step(
            model, videos[which, number], frame_metainfo(frame_id=number), states[which]
        )
        support, extractor.seen = extractor.seen[0], []
        assert len(instances) > 0 and len(support) == (1 if which else 3)
        for levels, one in zip(support, (0, 2, 3), strict=False):
            assert same(levels, encoded[which][one][: len(levels)])
    with pytest.raises(UserError, match="mode='offline' needs 3 frames of the whole video before"):
        step(model, videos[0, 0], frame_metainfo(), model.init_state())
    other = frame_metainfo(frame_id=3, ori_shape=(64, 90))
    with pytest.raises(UserError, match='frame 3 has 90x64 pixels, the frames before it have 96x6'):
        model.look_over(Frame(encoded[0][3], other), states[0])


def test_models_without_a_part_that_looks_need_no_overview():
    plain = build(dict(WINDOW, mode='offline'), 'mmdet.SingleRoIExtractor').eval()
    assert plain.overview == build(WINDOW).overview == seeded_model(SMALL).overview == 0
    instances, _ = step(plain, torch.randn(3, *SIZE), frame_metainfo(), plain.init_state())
    assert len(instances) > 0


def test_a_part_that_would_get_no_support_is_told():
    told = r'\(MeanRoIExtractor\) needs features of other frames, and the config gives none: set '
    place = 'detector.roi_head.bbox_roi_extractor '
    with pytest.raises(ValueError, match=rf'{place}{told}support=dict\(type='):
        build()
    told = 'which a MaskTrackRCNN passes to parts below detector.roi_head., track_head. only'
    with pytest.raises(ValueError, match=f'attn_neck .* {told}'):
        build(WINDOW, attn_neck=dict(type='vispropnet.NeedyNeck', channels=64))
    with pytest.raises(ValueError, match='which a MMDetMaskTrackRCNN passes to no part'):
        seeded_model(MMDET, **{'detector.roi_head.bbox_roi_extractor.type': MEAN})
