import pytest
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.structures import InstanceData
from torch.nn import functional

from vispropnet.models.prop_heads import MaskPropagationHead
from vispropnet.ops.deformable import deform_conv2d
from vispropnet.ops.soft_iou import soft_iou

CHANNELS, CELLS, STRIDE = 8, (6, 7), 4
SIZE = (24, 28)
KINDS = ['gated', 'paper']


def build(head='gated', moved=True, **options):
    """A small head; ``moved``: with offsets other than zero, and weights away from their start."""
    torch.manual_seed(0)
    options = dict(level=0, stride=STRIDE, channels=6, offset_channels=5, **options)
    built = MaskPropagationHead(CHANNELS, head=head, **options)
    for weight in built.parameters() if moved else ():
        torch.nn.init.normal_(weight, std=0.3)
    return built.double()


def frames(head, count=2, seed=1):
    """Maps of some frames, each of a batch of one."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(count, CHANNELS, *CELLS, generator=generator, dtype=torch.float64)
    maps = head.maps([features])
    return features, [maps.of(number) for number in range(count)]


def masks_of(count, seed=2):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, *CELLS, generator=generator, dtype=torch.float64)


def unfolded_paper(head, features, masks):
    """The paper's head as it is written: features under each mask, sum with the target's, 1x1."""
    source, target = features
    offsets = head.offsets(*head.motion(features)[:, None])
    weight = head.readout.deform_weight
    arrived = deform_conv2d(
        source * masks[:, None], offsets.expand(len(masks), -1, -1, -1), weight, padding=1
    )
    logits = functional.conv2d(arrived + target, head.readout.logit.weight)[:, 0]
    attention = head.attention(target[None])[0, 0].sigmoid()
    return logits.softmax(dim=0) * attention


def sample(masks, ids):
    """Ground truth of a frame."""
    instances = InstanceData(instances_ids=torch.tensor(ids, dtype=torch.long))
    instances.masks = BitmapMasks(masks.numpy().astype('uint8'), *SIZE)
    return DetDataSample(metainfo=dict(batch_input_shape=SIZE), gt_instances=instances)


def squares(*corners):
    """Masks of 8 x 8 pixels, 2 x 2 cells."""
    masks = torch.zeros(len(corners), *SIZE)
    for mask, (top, left) in zip(masks, corners, strict=True):
        mask[top : top + 8, left : left + 8] = 1
    return masks


def levels(count, batch=1, seed=3):
    generator = torch.Generator().manual_seed(seed)
    shape = (count, batch, CHANNELS, *CELLS)
    return [[one] for one in torch.randn(shape, generator=generator, dtype=torch.float64)]


@pytest.mark.parametrize('count', [1, 2, 5])
def test_folded_paper_head_equals_the_unfolded_with_gradients(count):
    head, masks = build('paper'), masks_of(count)
    features, (source, target) = frames(head)
    found, gradients = [], []
    for name in ('folded', 'unfolded'):
        if name == 'folded':
            carried = head.carry(source, masks, target)
        else:
            carried = unfolded_paper(head, features, masks)
        head.zero_grad()
        carried.square().sum().backward()
        found.append(carried.detach())
        gradients.append([weight.grad.clone() for weight in head.parameters()])
    torch.testing.assert_close(*found, rtol=0, atol=1e-12)
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)
    assert any(one.abs().max() > 1e-3 for one in gradients[0])


def test_paper_masks_sum_up_to_the_attention_and_one_is_the_attention():
    head = build('paper')
    _, (source, target) = frames(head)
    for count in (1, 3):
        carried = head.carry(source, masks_of(count), target)
        torch.testing.assert_close(carried.sum(dim=0), target.attention)


def test_gated_masks_leave_a_share_to_the_background():
    head, masks = build('gated'), masks_of(3)
    features, (source, target) = frames(head)
    carried = head.carry(source, masks, target)
    offsets = head.offsets(*head.motion(features)[:, None])[0]
    logits = head.readout.logits(source.appearance, masks, target.appearance, offsets)
    weights = logits.exp() / (1 + logits.exp().sum(dim=0)) * target.attention
    torch.testing.assert_close(carried, weights)
    assert (carried.sum(dim=0) < target.attention).all()


def test_gated_readout_step_by_step():
    head, masks = build('gated'), masks_of(2)
    features, (source, target) = frames(head)
    readout, places = head.readout, torch.zeros(18, *CELLS, dtype=torch.float64)
    found = readout.logits(source.appearance, masks, target.appearance, places)
    reduced = readout.reduce(features)
    # Offsets of zero: a convolution.
    arrived = functional.conv2d(reduced[0] * masks[:, None], readout.deform_weight, padding=1)
    hidden = readout.conv(arrived + reduced[1]).relu()
    torch.testing.assert_close(found, readout.logit(hidden)[:, 0])


def test_the_gated_head_starts_as_a_copy_of_the_masks():
    head = build(moved=False)
    _, (source, target) = frames(head)
    masks = torch.zeros(2, *CELLS, dtype=torch.float64)
    masks[0, 1:3, 1:4], masks[1, 3:, 5:] = 1, 1
    carried = head.carry(source, masks, target)
    assert torch.equal(carried > 0.5, masks > 0.5)
    assert carried[masks == 0].max() < 0.05


@pytest.mark.parametrize('head', KINDS)
def test_no_difference_has_no_offsets(head):
    head = build(head)
    _, maps = frames(head)
    assert not head.offsets(maps[0].motion[None], maps[0].motion[None]).any()
    assert head.offsets(maps[0].motion[None], maps[1].motion[None]).abs().max() > 0.1


@pytest.mark.parametrize('head', KINDS)
def test_masks_in_chunks_are_those_of_one(head):
    _, (source, target) = frames(build(head))
    expected = build(head, masks_at_once=20).carry(source, masks_of(9), target)
    for at_once in (1, 2, 4):
        found = build(head, masks_at_once=at_once).carry(source, masks_of(9), target)
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize('head', KINDS)
def test_no_masks(head):
    head = build(head)
    _, (source, target) = frames(head)
    assert head.carry(source, masks_of(0), target).shape == (0, *CELLS)


@pytest.mark.parametrize('head', KINDS)
def test_loss_is_the_mean_over_objects_and_frames(head):
    head = build(head)
    # The second object has left in the third frame; a third one has come, which counts nowhere.
    truth = [
        sample(squares((0, 0), (8, 12)), [4, 7]),
        sample(squares((8, 16), (4, 0)), [7, 4]),
        sample(squares((0, 8), (12, 12)), [4, 9]),
    ]
    inputs = levels(3)
    maps = [head.maps(one).of(0) for one in inputs]
    cells = torch.zeros(5, *CELLS, dtype=torch.float64)
    for number, (top, left) in enumerate([(0, 0), (2, 3), (1, 0), (2, 4), (0, 2)]):
        cells[number, top : top + 2, left : left + 2] = 1
    key, empty = cells[:2], torch.zeros_like(cells[0])
    wanted = [key, cells[2:4], torch.stack([cells[4], empty])]
    losses = []
    for target, masks in zip(maps, wanted, strict=True):
        for one, other in zip(head.carry(maps[0], key, target), masks, strict=True):
            common = (one * other).sum()
            losses.append(1 - (common + 1) / (one.sum() + other.sum() - common + 1))
    found = head.loss(inputs, [[one] for one in truth])['loss_prop']
    torch.testing.assert_close(found, torch.stack(losses).mean())
    # Of a batch of two, whose second clip shows nothing in its key frame, it is the same.
    second = [sample(squares(), []), sample(squares((0, 0)), [1]), sample(squares(), [])]
    both = [[torch.cat([one[0], torch.randn_like(one[0])])] for one in inputs]
    pairs = [list(pair) for pair in zip(truth, second, strict=True)]
    torch.testing.assert_close(head.loss(both, pairs)['loss_prop'], found)


def test_partly_covered_cells_have_a_share():
    mask = torch.zeros(1, 6, 4)
    mask[0, :3, 1:] = 1
    expected = torch.tensor([[[9 / 16], [0]]])
    torch.testing.assert_close(build().cells(mask), expected)


@pytest.mark.parametrize('head', KINDS)
def test_loss_without_objects_touches_every_weight(head):
    head = build(head, moved=False)
    loss = head.loss(levels(2), [[sample(squares(), [])], [sample(squares((0, 0)), [1])]])
    assert loss['loss_prop'] == 0
    loss['loss_prop'].backward()
    assert all(weight.grad is not None and not weight.grad.any() for weight in head.parameters())


@pytest.mark.parametrize('head', KINDS)
@pytest.mark.parametrize('objects', [1, 2])
def test_gradients_of_every_weight(head, objects):
    head = build(head)
    corners, ids = [(0, 0), (8, 12)][:objects], [1, 2][:objects]
    truth = [[sample(squares(*corners), ids)] for _ in range(2)]
    head.loss(levels(2), truth)['loss_prop'].backward()
    for name, weight in head.named_parameters():
        # With one object the paper's mask is the attention: nothing else learns.
        learns = objects > 1 or head.readout.has_background or name.startswith('attention')
        assert weight.grad.isfinite().all() and bool(weight.grad.abs().max() > 1e-9) == learns, name


@pytest.mark.parametrize('head', KINDS)
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_half_precision(head, dtype):
    head = build(head).float()
    features = [[one[0].float()] for one in levels(2)]
    truth = [[sample(squares((0, 0), (8, 12)), [1, 2])], [sample(squares((4, 4)), [1])]]
    expected = head.loss(features, truth)['loss_prop']
    with torch.autocast('cpu', dtype):
        found = head.loss(features, truth)['loss_prop']
        maps = [head.maps(one).of(0) for one in features]
        assert head.carry(maps[0], masks_of(2).float(), maps[1]).dtype == torch.float32
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=0, atol=0.02)
    found.backward()
    assert all(weight.grad.isfinite().all() for weight in head.parameters())


def test_small_masks_are_placed_among_the_cells():
    head = build()
    # A full mask over a box of whole cells, but for the fading within half a cell of the mask's.
    full, box = torch.ones(1, 28, 28), torch.tensor([[4.0, 8.0, 16.0, 20.0]])
    placed = head.place(full, box, CELLS)
    expected = torch.zeros(1, *CELLS)
    expected[0, 2:5, 1:4] = 1
    torch.testing.assert_close(placed, expected, rtol=0, atol=0.05)
    # Half a cell to the right, the columns at the sides are half covered.
    half = head.place(full, box + torch.tensor([2.0, 0, 2, 0]), CELLS)
    torch.testing.assert_close(
        half[0, 3], torch.tensor([0, 0.5, 1, 1, 0.5, 0, 0]), rtol=0, atol=0.05
    )
    # Left and right stay where they are.
    halves = torch.cat([full[..., :14], 0 * full[..., 14:]], dim=2)
    assert soft_iou(head.place(halves, box, CELLS)[0, :, :3], placed[0, :, :3]) > 0.6
    nowhere = torch.tensor([[4.0, 8, 4, 8], [100.0, 100, 120, 120], [4.0, 8, 16, 8]])
    assert not head.place(full.expand(3, -1, -1), nowhere, CELLS).any()
    assert head.place(full[:0], box[:0], CELLS).shape == (0, *CELLS)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(head='other'), "head must be one of paper, gated, got 'other'"),
        (dict(stride=0), 'stride must be a whole number of 1 or more, got 0'),
        (dict(channels=1), 'channels must be a whole number of 2 or more, got 1'),
        (dict(offset_channels=1.5), 'offset_channels must be a whole number .* got 1.5'),
        (dict(dilations=(1, 0)), 'dilations must be a whole number of 1 or more, got 0'),
        (dict(masks_at_once=0), 'masks_at_once must be a whole number of 1 or more, got 0'),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=f'prop_head: {message}'):
        MaskPropagationHead(CHANNELS, **options)


def test_a_stride_other_than_that_of_the_level():
    head = build()
    head.stride = 8
    with pytest.raises(ValueError, match='stride=8, but level 0 has 6 cells for 24 pixels'):
        head.loss(levels(2), [[sample(squares((0, 0)), [1])]] * 2)


@pytest.mark.gpu
@pytest.mark.parametrize('head', KINDS)
def test_cpu_and_gpu_agree(head):
    head, inputs = build(head).float(), [[one[0].float()] for one in levels(2)]
    truth = [[sample(squares((0, 0), (8, 12)), [1, 2])], [sample(squares((4, 4)), [1])]]
    found = []
    for device in ('cpu', 'cuda'):
        head.to(device)
        own = [[one[0].to(device)] for one in inputs]
        loss = head.loss(own, [[one.to(device) for one in some] for some in truth])['loss_prop']
        boxes = torch.tensor([[4.0, 8.0, 16.0, 20.0]], device=device)
        found.append((loss, head.place(torch.rand(1, 4, 4, device=device) * 0 + 0.7, boxes, CELLS)))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(other.cpu(), one, rtol=1e-4, atol=1e-4)
