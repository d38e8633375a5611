import itertools
import math

import pytest
import torch
from mmdet.structures import DetDataSample
from torch.nn import functional

from tests.models.small_models import (
    MINVIS,
    SIZE,
    frame_metainfo,
    frame_sample,
    model_config,
    seeded_model,
    step,
)
from vispropnet.engine.acceleration import layers_in_bfloat16, prepare_for_inference
from vispropnet.engine.inference import VideoRun
from vispropnet.models.detectors.minvis import MinVISState
from vispropnet.models.frames import Frame
from vispropnet.registry import MODELS

BOXES = [[10, 10, 30, 30], [40, 20, 70, 50]]
NONE = 4  # the class of "no object"
DEVICES = ['cpu', pytest.param('cuda', marks=pytest.mark.gpu)]


@pytest.fixture(scope='module')
def model():
    """The small model, whose queries differ in what they find."""
    made = seeded_model(MINVIS).eval()
    head = made.detector.panoptic_head
    torch.nn.init.normal_(head.cls_embed.weight, std=0.3)
    for layer in head.mask_embed[::2]:
        torch.nn.init.normal_(layer.weight, std=0.3)
    # Where a mask is varies more than how much there is of it.
    torch.nn.init.constant_(head.pixel_decoder.output_convs[-1].gn.bias, -0.5)
    return made


def clips_of(*objects, num_refs=0):
    """Images and clips of frames that show some of BOXES each."""
    clips = []
    for count in objects:
        key = frame_sample(BOXES[:count], [3, 1][:count], [8, 5][:count])
        clips.append([key] * (1 + num_refs))
    return torch.randn(len(clips) * (1 + num_refs), 3, *SIZE), clips


def shown(embeddings, classes, number=0, masks=None):
    """A frame whose queries have these embeddings and favour these classes by a logit of 3."""
    logits = 3.0 * functional.one_hot(torch.tensor(classes), 5).float()
    if masks is None:
        masks = torch.ones(len(classes), 16, 24)
    features = dict(
        logits=logits[None],
        embeddings=torch.tensor(embeddings, dtype=torch.float)[None],
        masks=masks[None],
    )
    return Frame(features, frame_metainfo(frame_id=number))


def instances_of(model, frames):
    """Instances of each frame of a video, and the state after the last."""
    state, found = model.init_state(), []
    for frame in frames:
        ((_, instances),), state = model.step(frame, state)
        found.append(instances)
    return found, state


# Training


@pytest.mark.parametrize('objects', [(2, 1), (0,), (0, 2)])
@pytest.mark.parametrize('num_refs', [0, 1])
def test_losses_are_those_of_mask2former_on_each_frame(objects, num_refs):
    model = seeded_model(MINVIS)
    images, clips = clips_of(*objects, num_refs=num_refs)
    torch.manual_seed(1)
    losses = model.loss(images, clips)
    torch.manual_seed(1)
    expected = model.detector.loss(images, [sample for clip in clips for sample in clip])
    assert losses.keys() == expected.keys() and 'd2.loss_dice' in losses
    assert all(torch.equal(loss, expected[name]) for name, loss in losses.items())
    sum(losses.values()).backward()
    without = [name for name, one in model.named_parameters() if one.grad is None]
    # Offsets that nothing has moved yet have gradients all the same.
    assert not without
    assert all(one.grad.isfinite().all() for one in model.parameters())


def test_pinned_losses():
    model = seeded_model(MINVIS)
    torch.manual_seed(0)
    losses = model.loss(*clips_of(2, 1))
    assert sum(losses.values()).item() == pytest.approx(42.72524, rel=1e-5)


@pytest.mark.gpu
def test_a_step_of_training_on_a_gpu():
    model = seeded_model(MINVIS).cuda()
    images, clips = clips_of(2, 0)
    samples = [[sample.to('cuda') for sample in clip] for clip in clips]
    losses = model.loss(images.cuda(), samples)
    sum(losses.values()).backward()
    assert all(one.grad.isfinite().all() for one in model.parameters())


def test_a_step_of_training_in_bfloat16():
    model = seeded_model(MINVIS)
    images, clips = clips_of(2, 1)
    torch.manual_seed(1)
    expected = sum(model.loss(images, clips).values())
    torch.manual_seed(1)
    with layers_in_bfloat16(model):
        losses = model.loss(images, clips)
    assert sum(losses.values()).item() == pytest.approx(expected.item(), rel=0.05)
    sum(losses.values()).backward()
    assert all(one.grad.isfinite().all() for one in model.parameters())


# One frame


def by_mmdet(model, images, metainfo):
    """What mmdet's own predict gives, all pairs of a query and a category."""
    detector = model.detector
    detector.panoptic_fusion_head.test_cfg.max_per_image = 16 * 4
    with torch.no_grad():
        return detector.predict(images, [DetDataSample(metainfo=metainfo)])[0].pred_instances


def test_a_single_frame_is_as_mmdet_predicts_it(model):
    images = torch.randn(1, 3, *SIZE)
    metainfo = frame_metainfo(img_shape=(60, 90), ori_shape=(45, 70), scale_factor=(9 / 7, 4 / 3))
    theirs = by_mmdet(model, images, metainfo)
    model.score_threshold = 0.0
    with torch.no_grad():
        queries = model.encode(images)
    found, _ = step(model, images[0], metainfo, model.init_state())
    assert len(found) > 5
    for index in range(len(found)):
        own = queries['masks'][0, found.ids[index]]
        maps = functional.interpolate(own[None, None], SIZE, mode='bilinear')[..., :60, :90]
        maps = functional.interpolate(maps, (45, 70), mode='bilinear')[0, 0]
        mask = maps > 0
        # mmdet's score is that of the class times the mean probability within the mask.
        score = found.scores[index] * maps.sigmoid()[mask].mean()
        assert torch.equal(found[index].masks.to_tensor()[0], mask)
        same = (theirs.masks == mask).flatten(1).all(1) & (theirs.labels == found.labels[index])
        assert (theirs.scores[same] - score).abs().min() < 1e-4
        (place,) = ((theirs.scores - score).abs() < 1e-4).logical_and(same).nonzero()[:1]
        torch.testing.assert_close(found.bboxes[index], theirs.bboxes[place[0]])


def test_frames_in_a_batch_are_as_each_alone(model):
    images = torch.randn(3, 3, *SIZE)
    with torch.no_grad():
        together = model.encode(images)
        for index, image in enumerate(images):
            for name, one in model.encode(image[None]).items():
                torch.testing.assert_close(one[0], together[name][index], rtol=1e-3, atol=1e-4)


# Tracks

NEAR = [[1, 0, 0], [0, 1, 0], [0, 0, 1]]


def test_tracks_go_on_with_the_nearest_embedding():
    model = MODELS.build(model_config(MINVIS)).eval()
    frames = [shown(NEAR, [0, 1, 2]), shown([NEAR[2], NEAR[0], NEAR[1]], [2, 0, 1], 1)]
    first, second = instances_of(model, frames)[0]
    assert first.ids.tolist() == second.ids.tolist() == [0, 1, 2]
    assert first.labels.tolist() == second.labels.tolist() == [0, 1, 2]
    score = math.exp(3) / (math.exp(3) + 4)
    assert second.scores.tolist() == pytest.approx([score] * 3)


def columns(instances):
    return [(instances.ids.tolist(), instances.labels.tolist()), instances.bboxes.tolist()]


@pytest.mark.parametrize('order', list(itertools.permutations(range(4)))[1::5])
def test_the_order_of_the_queries_of_a_frame_changes_nothing(order):
    model = MODELS.build(model_config(MINVIS)).eval()
    order = list(order)
    frames = []
    for number in range(3):
        masks = torch.randn(4, 16, 24)
        frames.append(shown(torch.randn(4, 3).tolist(), [0, NONE, 2, 1], number, masks))
    expected, state = instances_of(model, frames)
    turned = {name: value[:, order] for name, value in frames[1].features.items()}
    frames[1] = Frame(turned, frames[1].metainfo)
    found, other = instances_of(model, frames)
    for one, two in zip(found, expected, strict=True):
        assert columns(one) == columns(two)
        assert torch.equal(one.masks.to_tensor(), two.masks.to_tensor())
    assert torch.equal(other.logit_sums, state.logit_sums)
    # Of the first frame, it changes the ids alone.
    first = {name: value[:, order] for name, value in frames[0].features.items()}
    found, other = instances_of(model, [Frame(first, frames[0].metainfo), *frames[1:]])
    torch.testing.assert_close(other.logit_sums, state.logit_sums[order])
    for one, two in zip(found, expected, strict=True):
        renamed = sorted(order[track] for track in one.ids.tolist())
        assert renamed == two.ids.tolist()


@pytest.mark.parametrize('absent', [1, 4])
def test_an_absent_object_keeps_its_id_while_its_query_stays_near(absent):
    """Only the frame before counts: MinVIS has no other memory."""
    model = MODELS.build(model_config(MINVIS)).eval()
    kept, gone = [1.0, 0, 0.2], [0, 1.0, 0.2]
    # While it is absent, the other query is still nearer to where the object was.
    between = [shown([[0.9, 0.1, 0.2], [0.3, 0.7, 0.2]], [0, NONE], n + 1) for n in range(absent)]
    back = shown([gone, kept], [1, 0], absent + 1)
    model.score_threshold = 0.5
    found, _ = instances_of(model, [shown([kept, gone], [0, 1]), *between, back])
    assert [one.ids.tolist() for one in found[1 + absent // 2 : -1]] == [[0]] * (
        absent - absent // 2
    )
    assert found[-1].ids.tolist() == [0, 1] and found[-1].labels.tolist() == [0, 1]


def turned(degrees):
    """An embedding at an angle, among those that an object of embedding (1, 0, 0) is far from."""
    return [0, math.sin(math.radians(degrees)), math.cos(math.radians(degrees))]


def test_an_absent_object_loses_its_id_where_another_query_has_come_nearer():
    model = MODELS.build(model_config(MINVIS)).eval()
    model.score_threshold = 0.5
    first = shown([[1, 0, 0], turned(90), turned(0)], [0, 1, NONE])
    # Both queries turn by 60 degrees: cosines of 0.5 each, against 0.87 and -0.87 the other way.
    absent = shown([[1, 0, 0], turned(150), turned(60)], [0, NONE, NONE], 1)
    # The object is where it was, 60 degrees from its own track and 30 from the other one.
    back = shown([[1, 0, 0], turned(90), turned(210)], [0, 1, NONE], 2)
    found, _ = instances_of(model, [first, absent, back])
    assert [one.ids.tolist() for one in found] == [[0, 1], [0], [0, 2]]
    # Without that frame it keeps its id.
    found, _ = instances_of(model, [first, back])
    assert found[1].ids.tolist() == [0, 1]


# Scores of a video


def pairs_of(scores):
    return list(zip(scores.ids.tolist(), scores.labels.tolist(), strict=True))


def test_track_scores_are_those_of_the_mean_logits():
    model = MODELS.build(model_config(MINVIS)).eval()
    frames = [shown(NEAR, [0, 1, NONE]), shown(NEAR, [0, 2, NONE], 1), shown(NEAR, [0, 2, 3], 2)]
    _, state = instances_of(model, frames)
    scores = model.track_scores(state)
    expected = {}
    for track, means in enumerate([[3, 0, 0, 0, 0], [0, 1, 2, 0, 0], [0, 0, 0, 1, 2]]):
        total = sum(map(math.exp, means))
        for label in range(4):
            expected[track, label] = math.exp(means[label]) / total
    found = dict(zip(pairs_of(scores), scores.scores.tolist(), strict=True))
    assert found == pytest.approx(expected) and len(found) == 12
    assert scores.scores.tolist() == sorted(scores.scores.tolist(), reverse=True)
    model.max_tracks = 2
    best = model.track_scores(state)
    assert pairs_of(best) == [(0, 0), (1, 2)]
    assert len(model.track_scores(model.init_state()).ids) == 0


def test_a_frame_shows_what_scores_enough_in_it_or_so_far_and_has_a_pixel():
    model = MODELS.build(model_config(MINVIS)).eval()
    model.score_threshold = 0.55
    masks = torch.ones(3, 16, 24)
    masks[1] = -1
    # A class with a logit of 3 against four of 0 scores 0.83.
    frames = [
        shown(NEAR, [0, 1, NONE], masks=masks),
        shown(NEAR, [0, 1, 2], 1),
        shown(NEAR, [NONE, 1, 2], 2),
        shown(NEAR, [NONE, NONE, NONE], 3),
    ]
    found, _ = instances_of(model, frames)
    # Track 0 scores 0.04 in the third frame and is there for its mean logits so far, 2 against 1:
    # 0.56; in the fourth, with 1.5 against 1.5, it is not. Track 1, with 2.25 against 0.75, is; in
    # the first frame it has no pixel.
    assert [one.ids.tolist() for one in found] == [[0], [0, 1, 2], [0, 1, 2], [1]]
    low = 1 / (math.exp(3) + 4)
    assert found[2].scores[0].item() == pytest.approx(low)
    assert found[0].bboxes.tolist() == [[0, 0, SIZE[1], SIZE[0]]]


def test_frames_without_objects_and_a_video_of_one():
    model = MODELS.build(model_config(MINVIS)).eval()
    found, state = instances_of(model, [shown(NEAR, [NONE] * 3), shown(NEAR, [NONE] * 3, 1)])
    for one in found:
        assert len(one) == 0 and one.masks.shape == (0, *SIZE) and one.masks.rles() == []
        assert one.bboxes.shape == (0, 4) and one.ids.dtype == one.labels.dtype == torch.long
    assert model.track_scores(state).scores.max().item() == pytest.approx(1 / (math.exp(3) + 4))
    (found,), state = instances_of(model, [shown(NEAR, [0, 1, NONE])])
    assert pairs_of(model.track_scores(state))[:2] == [(0, 0), (1, 1)]
    assert found.ids.tolist() == [0, 1]


def test_interleaved_videos_and_states_of_other_models(model):
    images = torch.randn(4, 3, *SIZE)
    alone = []
    for pair in (images[:2], images[2:]):
        state = model.init_state()
        for number, image in enumerate(pair):
            found, state = step(model, image, frame_metainfo(frame_id=number), state)
        alone.append((found, state))
    states = [model.init_state(), model.init_state()]
    for number, video in itertools.product(range(2), range(2)):
        image = images[2 * video + number]
        found, states[video] = step(model, image, frame_metainfo(frame_id=number), states[video])
        if number == 1:
            assert columns(found) == columns(alone[video][0])
            assert torch.equal(states[video].logit_sums, alone[video][1].logit_sums)
    with pytest.raises(ValueError, match='state must be a MinVISState'):
        model.step(shown(NEAR, [0, 1, 2]), object())


def test_the_state_is_flat(model):
    state = model.init_state()
    sizes = []
    for number in range(4):
        _, state = step(model, torch.randn(3, *SIZE), frame_metainfo(frame_id=number), state)
        sizes.append(sum(one.nbytes for one in (state.embeddings, state.logit_sums)))
    assert len(set(sizes)) == 1 and isinstance(state, MinVISState)


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('amp', [None, 'bf16'])
def test_a_video_through_the_inference_core(device, amp):
    model = seeded_model(MINVIS).to(device)
    prepare_for_inference(model, amp)
    run = VideoRun(model)
    images = list(torch.randint(0, 255, (3, 3, *SIZE), dtype=torch.uint8))
    samples = [DetDataSample(metainfo=frame_metainfo(frame_id=number)) for number in range(3)]
    answers = list(run.answers(images, samples)) + run.finish()
    assert [number for number, _ in answers] == [0, 1, 2]
    scores = run.track_scores()
    assert len(scores.ids) == 16 * 4
    for _, found in answers:
        assert found.masks.shape == (len(found), *SIZE) and found.bboxes.device.type == device
        assert ((found.scores >= 0) & (found.scores <= 1)).all()


def test_values_of_deformable_attention_are_in_single_precision(model):
    with layers_in_bfloat16(model):
        hooked = {name for name, one in model.named_modules() if one._forward_hooks}
    layers = [f'detector.panoptic_head.pixel_decoder.encoder.layers.{one}' for one in range(2)]
    assert hooked == {f'{layer}.self_attn.value_proj' for layer in layers}


# Bad input


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'score_threshold': 1.5}, 'score_threshold must be from 0 to 1, got 1.5'),
        ({'max_tracks': 0}, 'max_tracks must be a whole number of 1 or more, got 0'),
        (
            {'num_classes': None, 'detector.panoptic_head.num_stuff_classes': 53},
            'num_stuff_classes must be 0 .*, got 53',
        ),
    ],
)
def test_bad_options(changes, message):
    with pytest.raises(ValueError, match=message):
        MODELS.build(model_config(MINVIS, **changes))


def test_one_number_of_classes_counts_in_all_places():
    model = MODELS.build(model_config(MINVIS, num_classes=7))
    head = model.detector.panoptic_head
    assert head.cls_embed.out_features == 8 and head.class_weight == [1.0] * 7 + [0.1]
    assert model.detector.panoptic_fusion_head.num_things_classes == 7
    assert model.category_counts() == {'detector.panoptic_head': 7}
