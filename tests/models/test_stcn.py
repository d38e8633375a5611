"""STCN: encoders, training, and inference with given objects."""

import dataclasses

import pytest
import torch
from torch import nn

from tests.models.small_models import SIZE, frame_metainfo, frame_sample
from vispropnet.config import load_config
from vispropnet.engine.inference import VideoRun
from vispropnet.errors import UserError
from vispropnet.models.encoders import TimmEncoder
from vispropnet.models.frames import Frame
from vispropnet.models.segmentors.stcn import _change, _chosen_masks, _labels
from vispropnet.registry import MODELS

SMALL_STCN = 'configs/stcn/stcn_tiny_40e_moving-shapes.py'


def build(**changes):
    torch.manual_seed(0)
    config = load_config(SMALL_STCN).model
    published = dict(saving=dict(type='PeriodicSave', every=5), read_previous=False)
    # Replaced, not merged.
    return MODELS.build(dict(config, **published | changes))


@pytest.fixture(scope='module')
def model():
    return build().eval()


def square(top, left, side=24):
    mask = torch.zeros(SIZE, dtype=torch.bool)
    mask[top : top + side, left : left + side] = True
    return mask


def images(count, seed=0):
    return torch.randn(count, 3, *SIZE, generator=torch.Generator().manual_seed(seed))


def segment(model, frames, given, state=None):
    """Answers of a video: by frame {id: mask}."""
    answers, state = [], state or model.init_state()
    for number, image in enumerate(frames):
        frame = Frame(model.encode(image[None]), frame_metainfo(frame_id=number))
        if number in given:
            frame = frame.with_objects(given[number])
        ((at, found),), state = model.step(frame, state)
        assert at == number
        answers.append(dict(zip(found.ids.tolist(), found.masks.to_tensor(), strict=True)))
    return answers, state


def same(one, other):
    return [list(a) for a in one] == [list(b) for b in other] and all(
        torch.equal(a[key], b[key]) for a, b in zip(one, other, strict=True) for key in a
    )


@pytest.mark.parametrize('name', ['test_resnet', 'test_efficientnet'])
def test_extra_channels_of_zeros_change_nothing(name):
    torch.manual_seed(0)
    plain = TimmEncoder(name).eval()
    torch.manual_seed(0)
    wide = TimmEncoder(name, extra_channels=2).eval()
    image = torch.randn(2, 3, 32, 48)
    for one, other in zip(plain(image), wide(torch.cat([image, 0 * image[:, :2]], 1)), strict=True):
        torch.testing.assert_close(one, other)
    masked = wide(torch.cat([image, torch.ones(2, 2, 32, 48)], 1))
    assert (masked[0] - plain(image)[0]).abs().max() > 1e-3
    assert [level.shape[2:] for level in masked] == [(8, 12), (4, 6), (2, 3)]
    assert [level.shape[1] for level in masked] == list(wide.channels)


def test_training_starts_from_the_weights_of_timm(monkeypatch):
    import timm

    encoder = TimmEncoder('test_resnet', pretrained=True, extra_channels=2)
    extra = encoder._first_conv().weight[:, 3:].clone()
    source = timm.create_model('test_resnet', features_only=True, out_indices=(1, 2, 3))
    monkeypatch.setattr(timm, 'create_model', lambda name, pretrained, **_: source)
    encoder.init_weights()
    weights = source.state_dict()
    first = encoder.net.pretrained_cfg['first_conv'] + '.weight'
    for name, weight in encoder.net.state_dict().items():
        assert torch.equal(weight[:, :3] if name == first else weight, weights[name])
    assert torch.equal(encoder._first_conv().weight[:, 3:], extra)


@pytest.mark.parametrize(
    ('name', 'wide', 'fused', 'skips'),
    [('r50', 1024, 1280, (256, 512)), ('v2b1', 512, 624, (32, 48))],
)
def test_published_models(name, wide, fused, skips):
    config = load_config(f'configs/stcn/stcn_{name}_phase2_davis-youtube-vos.py').model
    model = MODELS.build(config).eval()
    assert model.key.weight.shape == (64, wide, 3, 3)
    assert model.thin.weight.shape == (512, wide, 3, 3)
    assert model.fusion.block1.conv1.weight.shape[:2] == (512, fused)
    assert model.decoder.compress.conv1.weight.shape[:2] == (512, 1024)
    assert (model.decoder.skip4.in_channels, model.decoder.skip8.in_channels) == skips
    answers, _ = segment(model, images(2), {0: {1: square(4, 4)}})
    assert torch.equal(answers[0][1], square(4, 4)) and len(answers) == 2


def test_statistics_stay_in_training():
    model = nn.Sequential(TimmEncoder('test_resnet')).train()
    before = {name: one.clone() for name, one in model.named_buffers()}
    model(torch.randn(2, 3, 32, 32))
    assert all(torch.equal(one, before[name]) for name, one in model.named_buffers())
    assert len(before) > 10


@pytest.mark.parametrize(
    ('options', 'message'),
    [(dict(name='resnet51'), 'no encoder'), (dict(name='test_vit'), 'strides')],
)
def test_encoders_that_do_not_fit(options, message):
    with pytest.raises(ValueError, match=message):
        TimmEncoder(**options)


def test_mean_and_std_are_those_of_the_weights():
    import timm

    for name in ('stcn_r50_phase2_davis-youtube-vos', 'stcn_v2b1_phase2_davis-youtube-vos'):
        config = load_config(f'configs/stcn/{name}.py').model
        known = timm.get_pretrained_cfg(config.key_encoder.name)
        for part in ('mean', 'std'):
            expected = [255 * value for value in getattr(known, part)]
            assert config.data_preprocessor[part] == pytest.approx(expected, abs=1e-3)


def test_encoding_and_padding(model):
    features = model.encode(torch.randn(2, 3, 60, 90))
    assert features['image'].shape == (2, 3, 64, 96) and features['key'].shape == (2, 24, 32)
    # Frames by themselves.
    image = torch.randn(2, 3, 60, 90)
    alone = model.encode(image[1:])['key']
    torch.testing.assert_close(model.encode(image)['key'][1:], alone)


def clips(count=2, frames=3):
    """Clips in which squares move; the first frame of the second clip shows none."""
    found = []
    for clip in range(count):
        samples = []
        for at in range(frames):
            boxes = [] if clip and not at else [(8 + 8 * at, 8, 40 + 8 * at, 40), (60, 20, 90, 60)]
            ids = [7, 3][: len(boxes)] if at != 1 else [3, 7][: len(boxes)]
            boxes = boxes if at != 1 else boxes[::-1]
            samples.append(frame_sample(boxes, [0] * len(boxes), ids, frame_id=at))
        found.append(samples)
    return images(count * frames), found


def test_masks_of_clips_follow_the_ids():
    masks = _chosen_masks(clips()[1][0], 2, torch.device('cpu'))
    # In the order of the first frame: 7, then 3.
    assert masks.shape == (2, 3, *SIZE)
    assert [int(mask.any(dim=0).nonzero()[0]) for mask in masks[0]] == [8, 16, 24]
    assert (masks[1, 0] == masks[1, 2]).all() and _labels(masks[:, 0]).unique().tolist() == [
        0,
        1,
        2,
    ]
    assert len(_chosen_masks(clips()[1][0], 1, torch.device('cpu'))) == 1


def test_every_weight_learns_and_empty_clips_play_no_part():
    model = build().train()
    inputs, samples = clips()
    losses = model.loss(inputs, samples)
    assert losses['loss_mask'].item() == pytest.approx(3.3, abs=3)
    losses['loss_mask'].backward()
    assert [name for name, one in model.named_parameters() if one.grad is None] == []
    none = model.loss(inputs[3:], samples[1:])['loss_mask']
    none.backward()
    assert none.item() == 0


def test_a_step_of_training_lowers_the_loss():
    model = build().train()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    inputs, samples = clips(1)
    values = []
    for _ in range(12):
        loss = model.loss(inputs, samples)['loss_mask']
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    assert values[-1] < 0.6 * values[0]


def test_given_masks_come_back_and_ids_with_gaps_stay(model):
    given = {1: {200: square(4, 4), 5: square(30, 50)}, 3: {9: square(34, 8)}}
    answers, state = segment(model, images(5), given)
    assert answers[0] == {} and set(answers[1]) == {5, 200} and 9 in answers[3]
    assert torch.equal(answers[1][200], square(4, 4))
    assert torch.equal(answers[3][9], square(34, 8))
    assert not any((mask & square(34, 8)).any() for one, mask in answers[3].items() if one != 9)
    assert state.ids == (5, 200, 9)
    # Permanent: the first frames of all; 0 of 5 is no frame of objects.
    assert len(state.memory) == 2 and state.memory.first == (0, 0, 1)


def test_the_order_of_objects_does_not_matter(model):
    one, two = square(4, 4), square(30, 50)
    frames = images(7)
    answers, _ = segment(model, frames, {0: {1: one, 2: two}})
    assert same(answers, segment(model, frames, {0: {2: two, 1: one}})[0])


def test_interleaved_videos_are_as_by_themselves(model):
    videos = [images(7, seed) for seed in (1, 2)]
    given = [{0: {1: square(4, 4)}}, {2: {1: square(20, 40)}}]
    alone = [segment(model, *pair)[0] for pair in zip(videos, given, strict=True)]
    states, answers = [model.init_state()] * 2, [[], []]
    for number in range(7):
        for video in (0, 1):
            frame = Frame(
                model.encode(videos[video][number][None]), frame_metainfo(frame_id=number)
            )
            if number in given[video]:
                frame = frame.with_objects(given[video][number])
            ((_, found),), states[video] = model.step(frame, states[video])
            answers[video].append(
                dict(zip(found.ids.tolist(), found.masks.to_tensor(), strict=True))
            )
    assert all(same(*pair) for pair in zip(alone, answers, strict=True))


def test_memory_is_bounded_and_the_first_frame_stays():
    model = build(max_frames=3, saving=dict(type='PeriodicSave', every=2)).eval()
    frames = images(12)
    _, state = segment(model, frames, {0: {1: square(4, 4)}})
    assert len(state.memory) == 3
    keys = [model.encode(frames[at][None])['key'][0] for at in (0, 8, 10)]
    torch.testing.assert_close(state.memory.keys, torch.stack(keys))
    assert state.previous is None and state.before is None


def test_the_previous_frame_is_read_from_a_slot_of_its_own():
    model = build(read_previous=True).eval()
    frames = images(4)
    _, state = segment(model, frames, {0: {1: square(4, 4)}})
    torch.testing.assert_close(state.previous[0], model.encode(frames[3][None])['key'][0])
    assert len(state.memory) == 1


def test_policies_by_change_compare_frames():
    model = build(saving=dict(type='ChangeSave', threshold=10.0)).eval()
    still = images(1).expand(6, -1, -1, -1)
    assert len(segment(model, still, {0: {1: square(4, 4)}})[1].memory) == 1
    moving = still + 10 * torch.arange(6)[:, None, None, None]
    assert len(segment(model, moving, {0: {1: square(4, 4)}})[1].memory) == 6
    image, mask = torch.zeros(3, 2, 2), torch.zeros(1, 2, 2)
    other = image.clone(), mask.clone()
    other[0][:, 0, 0], other[1][0, 1] = 1.5, 1.0
    assert _change(other, (image, mask)) == (25, 50)


@pytest.mark.parametrize(
    ('objects', 'message'),
    [
        ({1: square(4, 4)}, 'frame 1: object 1 is given a second time'),
        ({2: torch.ones(3, 4, dtype=torch.bool)}, r'frame 1: .* object 2 .*\(3, 4\).*\(64, 96\)'),
        ({2: torch.zeros(SIZE, dtype=torch.bool)}, 'frame 1: the mask of object 2 is empty'),
    ],
)
def test_objects_that_do_not_fit(model, objects, message):
    with pytest.raises(UserError, match=message):
        segment(model, images(2), {0: {1: square(4, 4)}, 1: objects})


def test_it_runs_through_the_common_core_at_other_sizes(model):
    """Frames half the size for the network, whose sides are no multiples of 16."""
    sample = frame_sample(video_id=1, frame_id=0)
    sample.set_metainfo(dict(ori_shape=(100, 140), img_shape=(50, 70), scale_factor=(0.5, 0.5)))
    mask = torch.zeros(100, 140, dtype=torch.bool)
    mask[10:60, 20:70] = True
    run = VideoRun(model)
    image = torch.randint(0, 255, (3, 50, 70), dtype=torch.uint8)
    for number in range(3):
        sample = sample.clone()
        sample.set_metainfo(dict(frame_id=number))
        ((_, found),) = run.answers([image], [sample], [{4: mask} if number == 0 else None])
        assert found.masks.size == (100, 140)
    assert run.finish() == []


def test_masks_of_the_networks_size_are_taken_as_they_are():
    """A model that reads its own mask gives it back: the paths of sizes fit each other."""

    class Copy(nn.Module):
        def forward(self, read, levels, owner):
            return self.logits

    model = build().eval()
    model.decoder = Copy()
    mask = square(3, 5, 30)
    model.decoder.logits = torch.where(mask, 9.0, -9.0)[None]
    answers, _ = segment(model, images(2), {0: {1: mask}})
    assert torch.equal(answers[1][1], mask)


@pytest.mark.gpu
def test_a_gpu_gives_what_a_cpu_gives():
    model = build(read_previous=True, saving=dict(type='ChangeSave', threshold=0.1)).eval()
    inputs, samples = clips()
    given = {0: {1: square(4, 4)}, 2: {9: square(34, 8)}}
    expected = segment(model, images(5), given)[0]
    loss = model.loss(inputs, samples)['loss_mask']
    model.cuda()
    # An untrained decoder leaves pixels on the fence.
    for one, other in zip(expected, segment(model, images(5).cuda(), given)[0], strict=True):
        assert one.keys() == other.keys()
        assert all((one[key] ^ other[key]).float().mean() < 0.02 for key in one)
    torch.manual_seed(0)
    torch.testing.assert_close(model.loss(inputs.cuda(), samples)['loss_mask'].cpu(), loss)


def test_training_and_steps_in_bfloat16():
    from vispropnet.engine.acceleration import (
        inference_precision,
        layers_in_bfloat16,
        prepare_for_inference,
    )

    model = build().train()
    inputs, samples = clips()
    plain = model.loss(inputs, samples)['loss_mask']
    torch.manual_seed(0)
    with layers_in_bfloat16(model):
        torch.testing.assert_close(
            model.loss(inputs, samples)['loss_mask'], plain, rtol=0.2, atol=0.1
        )
    prepare_for_inference(model, 'bf16')
    with inference_precision(model):
        answers, state = segment(model, images(3), {0: {1: square(4, 4)}})
    assert state.memory.values.dtype == torch.float32 and torch.equal(answers[0][1], square(4, 4))


def test_an_object_that_leaves_and_returns_keeps_its_id():
    class Sees(nn.Module):
        def forward(self, read, levels, owner):
            return torch.full((len(owner), *SIZE), -9.0).where(~self.mask, 9.0)

    model = build().eval()
    model.decoder, state, found = Sees(), model.init_state(), []
    nowhere = torch.zeros(SIZE, dtype=torch.bool)
    for number, mask in enumerate([nowhere, nowhere, square(8, 60)]):
        model.decoder.mask = mask
        frame = Frame(model.encode(images(1)), frame_metainfo(frame_id=number))
        frame = frame if number else frame.with_objects({6: square(4, 4)})
        ((_, answer),), state = model.step(frame, state)
        found.append(answer.ids.tolist())
    assert found == [[6], [], [6]] and torch.equal(answer.masks.to_tensor()[0], square(8, 60))


def test_a_state_of_another_model_is_refused(model):
    frame = Frame(model.encode(images(1)), frame_metainfo())
    with pytest.raises(ValueError, match='state must be a STCNState'):
        model.step(frame, dataclasses.make_dataclass('Other', [])())
