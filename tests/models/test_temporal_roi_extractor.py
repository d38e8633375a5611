import pytest
import torch
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor

from tests.models.small_models import SIZE, SMALL, frame_metainfo, frame_sample, seeded_model, step
from tests.models.test_masktrack_rcnn import clips_of
from vispropnet.models.roi_extractors import TemporalRoIAlign, temporal_roi_align
from vispropnet.models.support import SupportedLevels
from vispropnet.ops.temporal_roi_align import (
    average_over_frames,
    embed_positions,
    most_similar,
    read_similar,
)

STRIDES = (4, 8)
# Of both levels: the second RoI of each image is large enough for the coarser one.
ROIS = torch.tensor(
    [[0, 3.0, 4, 40, 30], [1, 0, 0, 127, 127], [0, 2, 1, 126, 125], [1, 20, 8, 50, 60]]
)


def extractor(**settings):
    torch.manual_seed(0)
    return TemporalRoIAlign(
        dict(type='RoIAlign', output_size=3, sampling_ratio=1), 8, STRIDES, **settings
    )


def levels_of(seed, batch_size=2):
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(batch_size, 8, 128 // stride, 128 // stride, generator=generator)
        for stride in STRIDES
    ]


def slow(align, feats, rois):
    """RoI by RoI, and frame by frame."""
    own = SingleRoIExtractor.forward(align, tuple(feats), rois)
    out = []
    for roi, features in zip(rois, own, strict=True):
        level = int(align.map_roi_levels(roi[None], 2)) if align.level == 'own' else 1
        cells, found = features.flatten(1).t(), []
        for frame in feats.support:
            keys = frame[level][int(roi[0])]
            if feats.sizes is not None:
                height, width = feats.sizes[int(roi[0])]
                keys = keys[:, : -(-height // STRIDES[level]), : -(-width // STRIDES[level])]
            keys = keys.flatten(1).t()
            positions = most_similar(cells, keys, align.num_most_similar).positions
            read = read_similar(cells, keys, positions)
            found.append(read.t().view(1, *features.shape))
        frames = torch.stack([features[None], *found])
        weights = () if align.embed is None else (align.embed.weight, align.embed.bias)
        out.append(average_over_frames(frames, *weights, num_heads=align.num_heads)[0])
    return torch.stack(out)


@pytest.mark.parametrize('level', ['last', 'own'])
@pytest.mark.parametrize('num_heads', [0, 4])
@pytest.mark.parametrize('num_frames', [1, 3])
@pytest.mark.parametrize('sizes', [None, [(100, 60), (128, 90)]])
def test_rois_of_a_batch_are_those_one_by_one(level, num_heads, num_frames, sizes):
    align = extractor(level=level, num_heads=num_heads, num_most_similar=3)
    feats = SupportedLevels(levels_of(0), [levels_of(1 + n) for n in range(num_frames)], sizes)
    torch.testing.assert_close(align(feats, ROIS), slow(align, feats, ROIS))
    # An image by itself, without its neighbour in the batch.
    second = SupportedLevels(
        [one[1:] for one in feats],
        [[one[1:] for one in frame] for frame in feats.support],
        None if sizes is None else sizes[1:],
    )
    own = ROIS[[1, 3]] - torch.tensor([1.0, 0, 0, 0, 0])
    torch.testing.assert_close(align(second, own), align(feats, ROIS)[[1, 3]])


@pytest.mark.parametrize('level', ['last', 'own'])
@pytest.mark.parametrize(('num_rois', 'num_frames', 'tables'), [(2, 1, 1), (9, 3, 3), (1, 1, 0)])
def test_without_gradients_it_gives_the_same(level, num_rois, num_frames, tables, monkeypatch):
    """Positions are embedded where the cells, 9 of a RoI, are as many as the positions at least."""
    made = []
    monkeypatch.setattr(
        temporal_roi_align, 'embed_positions', lambda *a: made.append(0) or embed_positions(*a)
    )
    align = extractor(level=level, finest_scale=1, num_most_similar=3)
    torch.nn.init.normal_(align.embed.bias)
    # 4 x 4 positions of the coarser level, which is that of all RoIs.
    generator = torch.Generator().manual_seed(0)
    frames = [
        [torch.randn(1, 8, side, side, generator=generator) for side in (8, 4)]
        for _ in range(1 + num_frames)
    ]
    feats = SupportedLevels(frames[0], frames[1:])
    rois = torch.tensor([[0.0, 2, 3, 20, 30]]) + torch.arange(num_rois)[:, None] * 0.5
    rois[:, 0] = 0
    expected = align(feats, rois)
    assert expected.requires_grad and not made
    with torch.no_grad():
        torch.testing.assert_close(align(feats, rois), expected)
    assert len(made) == tables
    if num_rois > 1:
        made.clear()
        align.budget = 9 * 4 * 16 * 8 * num_frames - 1
        with torch.no_grad():
            torch.testing.assert_close(align(feats, rois), expected)
        assert not made


@pytest.mark.parametrize('level', ['last', 'own'])
def test_a_frame_that_supports_itself_changes_nothing(level):
    # RoIs whose cells' centres lie on the centres of positions of the coarser level.
    rois = torch.tensor([[0.0, 16, 24, 40, 48]])
    align = extractor(level=level, num_most_similar=1, finest_scale=1)
    levels = levels_of(0, batch_size=1)
    plain = SingleRoIExtractor.forward(align, tuple(levels), rois)
    torch.testing.assert_close(plain, levels[1][:, :, 3:6, 2:5])
    torch.testing.assert_close(align(SupportedLevels(levels, [levels, levels]), rois), plain)
    (places,) = align.places(SupportedLevels(levels, [levels]), rois)
    assert places.shape == (1, 3, 3, 1, 2)
    assert places[0, :, :, 0, 0].tolist() == [[20.0, 28.0, 36.0]] * 3
    assert places[0, :, :, 0, 1].tolist() == [[28.0] * 3, [36.0] * 3, [44.0] * 3]


def test_places_are_in_the_order_of_the_rois():
    align = extractor(level='own', num_most_similar=2)
    feats = SupportedLevels(levels_of(0), [levels_of(1), levels_of(2)])
    places = align.places(feats, ROIS)
    assert places.shape == (2, 4, 3, 3, 2, 2)
    for number in range(4):
        image = int(ROIS[number, 0])
        alone = SupportedLevels(
            [one[image, None] for one in feats],
            [[one[image, None] for one in frame] for frame in feats.support],
        )
        roi = ROIS[number : number + 1] * torch.tensor([0.0, 1, 1, 1, 1])
        assert torch.equal(align.places(alone, roi)[:, 0], places[:, number])


@pytest.mark.parametrize('num_heads', [0, 4])
def test_without_support_it_is_roi_align(num_heads):
    align, levels = extractor(num_heads=num_heads), levels_of(0)
    out = align(SupportedLevels(levels, []), ROIS)
    assert torch.equal(out, SingleRoIExtractor.forward(align, tuple(levels), ROIS))
    none = align(SupportedLevels(levels, [levels]), ROIS[:0])
    assert none.shape == (0, 8, 3, 3)
    if num_heads:
        (out.sum() + none.sum()).backward()
        assert all(weight.grad.abs().sum() == 0 for weight in align.parameters())
    assert len(list(align.parameters())) == (2 if num_heads else 0)


@pytest.mark.parametrize('level', ['last', 'own'])
def test_more_similar_positions_than_there_are(level):
    align = extractor(level=level, num_most_similar=10_000, num_heads=0)
    feats = SupportedLevels(levels_of(0), [levels_of(1)])
    torch.testing.assert_close(align(feats, ROIS), slow(align, feats, ROIS))


def test_bad_settings_are_told():
    for settings, message in (
        (dict(level='first'), "level must be one of .*'own'.*, got 'first'"),
        (dict(num_most_similar=0), 'num_most_similar must be an integer of 1 or more, got 0'),
        (dict(num_heads=-1), 'num_heads must be an integer of 0 or more, got -1'),
        (dict(num_heads=3), 'num_heads=3 does not divide out_channels=8'),
        (dict(budget_mib=0), 'budget_mib must be an integer of 1 or more'),
    ):
        with pytest.raises(ValueError, match=message):
            extractor(**settings)
    with pytest.raises(ValueError, match='carry no support: the head that holds it'):
        extractor()(levels_of(0), ROIS)


def build(places=('bbox',), **settings):
    names = dict(bbox='detector.roi_head.bbox', mask='detector.roi_head.mask')
    changes = {}
    for place in places:
        name = 'track_head.roi_extractor' if place == 'track' else f'{names[place]}_roi_extractor'
        changes[f'{name}.type'] = 'vispropnet.TemporalRoIAlign'
        changes |= {f'{name}.{key}': value for key, value in settings.items()}
    return eager(seeded_model(SMALL, support=dict(type='SupportWindow', num_frames=2), **changes))


def eager(model):
    """Makes a model find something with any weights."""
    model.detector.roi_head.test_cfg.score_thr = 0.0
    return model


@pytest.mark.parametrize('places', [('bbox',), ('bbox', 'mask'), ('bbox', 'mask', 'track')])
@pytest.mark.parametrize(('batch_size', 'num_refs'), [(1, 1), (2, 2)])
def test_losses_reach_every_weight(places, batch_size, num_refs):
    model = build(places)
    model.parse_losses(model.loss(*clips_of(batch_size, num_refs=num_refs)))[0].backward()
    grads = {name: one.grad for name, one in model.named_parameters()}
    assert [name for name, one in grads.items() if one is None] == []
    embeds = [name for name in grads if name.endswith('extractor.embed.weight')]
    assert len(embeds) == len(places)
    assert all(grads[name].abs().sum() > 0 for name in embeds)


def test_clips_without_objects():
    model = build(('bbox', 'mask', 'track'))
    inputs, _ = clips_of(2)
    losses = model.loss(inputs, [[frame_sample(), frame_sample()] for _ in range(2)])
    model.parse_losses(losses)[0].backward()
    assert all(one.grad is not None and one.grad.isfinite().all() for one in model.parameters())


def test_other_weights_start_as_without_it():
    plain = seeded_model(SMALL)
    temporal = build(('bbox', 'mask')).state_dict()
    assert all(torch.equal(temporal[name], one) for name, one in plain.state_dict().items())
    fresh = sorted(set(temporal) - set(plain.state_dict()))
    assert fresh == [
        f'detector.roi_head.{part}_roi_extractor.embed.{kind}'
        for part in ('bbox', 'mask')
        for kind in ('bias', 'weight')
    ]


def test_without_heads_a_plain_state_dict_fits():
    plain = seeded_model(SMALL)
    build(('bbox', 'mask', 'track'), num_heads=0).load_state_dict(plain.state_dict())


def run(model, images):
    state, ids = model.init_state(), []
    for number, image in enumerate(images):
        instances, state = step(model, image, frame_metainfo(frame_id=number), state)
        ids.append((instances.ids.tolist(), instances.scores.tolist()))
    return ids, state


def test_videos_can_be_interleaved_and_keep_the_levels_in_use():
    model = build(('bbox', 'mask', 'track')).eval()
    videos = torch.randn(2, 4, 3, *SIZE)
    alone = [run(model, video)[0] for video in videos]
    states, mixed = [model.init_state(), model.init_state()], [[], []]
    for number in range(4):
        for video in range(2):
            instances, states[video] = step(
                model, videos[video, number], frame_metainfo(frame_id=number), states[video]
            )
            mixed[video].append((instances.ids.tolist(), instances.scores.tolist()))
    assert mixed == alone and alone[0] != alone[1]
    for levels in states[0].support:
        assert [level is not None for level in levels] == [False, False, True]
    assert len(states[0].support) == 2


def test_a_video_of_one_frame_is_as_without_it():
    plain = eager(seeded_model(SMALL))
    image = torch.randn(1, 3, *SIZE)
    assert run(plain.eval(), image)[0] == run(build().eval(), image)[0]


def test_weights_with_channels_last_where_a_level_has_no_rois():
    """As they are at test: mmdet's extractor reads weights as if they were contiguous."""
    align = extractor()
    feats, small = SupportedLevels(levels_of(0), [levels_of(1)]), ROIS[:1]
    assert align.map_roi_levels(small, 2).tolist() == [0]
    expected = align(feats, small)
    torch.testing.assert_close(align.to(memory_format=torch.channels_last)(feats, small), expected)
