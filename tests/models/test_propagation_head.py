"""The propagation head against a slow one in double precision: one object and place at a time."""

import math

import pytest
import torch
from mmdet.structures.mask import BitmapMasks
from torch.nn import functional

from tests.models.small_models import SIZE, frame_sample
from vispropnet.models.prop_heads import PropagationHead
from vispropnet.models.prop_heads.boxes import box_maps
from vispropnet.ops.affinity import affinity as dense_affinity
from vispropnet.ops.affinity import gaussian_factors

DEVICES = ['cpu', pytest.param('cuda', marks=pytest.mark.gpu)]
IN_CHANNELS, CHANNELS, CLASSES = 3, 6, 4
AFFINITIES = [
    dict(type='PlainAffinity'),
    dict(type='WeightedAffinity'),
    dict(type='CategoryAffinity', rank=2),
]
# x1, y1, x2, y2, label, id
LEFT, RIGHT, SMALL = (5, 9, 40, 50, 2, 7), (50, 20, 93, 60, 0, 0), (70, 3, 74, 8, 2, 4)
LEFT_LATER, RIGHT_LATER = (13, 12, 47, 53, 2, 7), (41, 18, 85, 57, 0, 0)
NEW = (20, 30, 60, 62, 3, 9)
# Reference and key frame: the order differs, one goes and one comes; one object; all alike.
FRAMES = [
    ([LEFT, SMALL, RIGHT], [NEW, RIGHT_LATER, LEFT_LATER]),
    ([RIGHT], [RIGHT_LATER]),
    ([LEFT, RIGHT, NEW], [LEFT_LATER, RIGHT_LATER, NEW]),
    ([SMALL, NEW], [NEW, LEFT]),
]


# --- what is given --------------------------------------------------------------------------------


def head_of(**options):
    """A head with random weights, biases and statistics, and attention that is not all alike."""
    config = dict(
        in_channels=IN_CHANNELS,
        num_levels=4,
        channels=CHANNELS,
        num_mask_convs=2,
        num_classes=CLASSES,
    )
    head = PropagationHead(**{**config, **options})
    head.init_weights()
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape))
        head.convs[6].weight.mul_(2)
        for norm in (head.convs[1], head.convs[4]):
            norm.running_mean.copy_(torch.randn(CHANNELS) * 0.2)
            norm.running_var.copy_(torch.rand(CHANNELS) + 0.5)
    return head


def levels_of(batch, size=SIZE, seed=0):
    """P2 to P6; sizes are halved and rounded up, as strided convolutions do."""
    generator = torch.Generator().manual_seed(seed)
    levels, height, width = [], -(-size[0] // 4), -(-size[1] // 4)
    for _ in range(5):
        levels.append(torch.randn(batch, IN_CHANNELS, height, width, generator=generator))
        height, width = -(-height // 2), -(-width // 2)
    return levels


def sample_of(objects, size=SIZE):
    sample = frame_sample(
        boxes=[one[:4] for one in objects],
        labels=[one[4] for one in objects],
        ids=[one[5] for one in objects],
        batch_input_shape=size,
    )
    masks = torch.zeros(len(objects), *size, dtype=torch.uint8)
    for mask, (left, top, right, bottom, *_) in zip(masks, objects, strict=True):
        # Not the whole box, so that a box in place of a mask is noticed.
        mask[top:bottom, left:right] = 1
        mask[top : (top + bottom) // 2, left : (left + right) // 2] = 0
    sample.gt_instances.masks = BitmapMasks(masks.numpy(), *size)
    return sample


def samples_of(frames, size=SIZE):
    """Samples of the key and of the reference frames."""
    return (
        [sample_of(key, size) for _, key in frames],
        [sample_of(reference, size) for reference, _ in frames],
    )


# --- the slow head --------------------------------------------------------------------------------


def slow_resize_matrix(before, after, scale=None):
    """(after, before) of linear interpolation between the centres of cells."""
    matrix = torch.zeros(after, before, dtype=torch.double)
    for place in range(after):
        source = max((place + 0.5) * (scale or before / after) - 0.5, 0)
        low = min(int(source), before - 1)
        high = min(low + 1, before - 1)
        matrix[place, low] += 1 - (source - low)
        matrix[place, high] += source - low
    return matrix


def slow_resize(maps, size):
    rows = slow_resize_matrix(maps.shape[-2], size[0])
    columns = slow_resize_matrix(maps.shape[-1], size[1])
    return rows @ maps @ columns.T


def slow_box_map(box, height, width, stride):
    """1 where the centre of the cell is in the box or the centre of the box is in the cell."""
    left, top, right, bottom = box
    cells = torch.zeros(height, width, dtype=torch.double)
    for row in range(height):
        for column in range(width):
            x, y = (column + 0.5) * stride, (row + 0.5) * stride
            cells[row, column] = float(left <= x <= right and top <= y <= bottom)
    row, column = int((top + bottom) / 2 // stride), int((left + right) / 2 // stride)
    if 0 <= row < height and 0 <= column < width:
        cells[row, column] = 1
    return cells


class SlowHead:
    """Features, propagation and masks as METHODS tells them; weights by the names of the head."""

    def __init__(self, head):
        self.weights = {
            name: one.detach().double().cpu().requires_grad_(name in dict(head.named_parameters()))
            for name, one in head.state_dict().items()
        }
        self.training = head.training
        self.num_mask_convs = len(head.mask_convs)
        self.affinity = type(head.affinity).__name__
        self.class_agnostic = head.class_agnostic
        self.renormalize = head.renormalize

    def conv(self, features, name, **options):
        weights = self.weights[f'{name}.weight'], self.weights[f'{name}.bias']
        return functional.conv2d(features, *weights, **options)

    def norm(self, features, name):
        if self.training:
            mean = features.mean(dim=(0, 2, 3))
            variance = (features - mean[:, None, None]).square().mean(dim=(0, 2, 3))
        else:
            mean = self.weights[f'{name}.running_mean']
            variance = self.weights[f'{name}.running_var']
        features = (features - mean[:, None, None]) / (variance + 1e-5).sqrt()[:, None, None]
        weight, bias = self.weights[f'{name}.weight'], self.weights[f'{name}.bias']
        return weight[:, None, None] * features + bias[:, None, None]

    def features(self, levels):
        """P2 to P5 at the size of P3, concatenated."""
        size = levels[1].shape[-2:]
        features = torch.cat([slow_resize(level.double(), size) for level in levels[:4]], dim=1)
        features = self.norm(self.conv(features, 'convs.0'), 'convs.1').clamp(min=0)
        features = self.norm(self.conv(features, 'convs.3', padding=1), 'convs.4').clamp(min=0)
        return self.conv(features, 'convs.6')

    def weight(self, label):
        """W of rᵀ W x."""
        identity = torch.eye(CHANNELS, dtype=torch.double)
        if self.affinity == 'WeightedAffinity':
            return self.weights['affinity.weight']
        if self.affinity == 'CategoryAffinity':
            left, right = self.weights['affinity.left'], self.weights['affinity.right']
            return identity + left[label] @ right[label].T
        return identity

    def attention(self, reference, current, box, label, sigma=None):
        """Fore- and background of one object at each current position."""
        height, width = current.shape[1:]
        places = [(row, column) for row in range(height) for column in range(width)]
        inside = slow_box_map(box, *reference.shape[1:], 8).flatten()
        known = reference.flatten(1).T @ self.weight(label)
        foreground, background = [], []
        for row, column in places:
            products = known @ current[:, row, column]
            share = torch.exp(products - products.max())
            share = share / share.sum()
            if sigma is not None:
                near = [
                    math.exp(-((row - y) ** 2 + (column - x) ** 2) / sigma**2)
                    for y in range(reference.shape[1])
                    for x in range(reference.shape[2])
                ]
                share = share * torch.tensor(near, dtype=torch.double)
                if self.renormalize:
                    share = share / share.sum()
            foreground.append((share * inside).sum())
            background.append((share * (1 - inside)).sum())
        return [torch.stack(one).reshape(height, width) for one in (foreground, background)]

    @staticmethod
    def softmax(foreground, background):
        return foreground.exp() / (foreground.exp() + background.exp())

    def mask(self, current, attention, label):
        """The mask logits of one object, at eight times the size of the features."""
        features = (attention * current)[None]
        for place in range(self.num_mask_convs):
            features = self.conv(features, f'mask_convs.{place}.conv', padding=1).clamp(min=0)
        weights = self.weights['upsample.weight'], self.weights['upsample.bias']
        features = functional.conv_transpose2d(features, *weights, stride=2).clamp(min=0)
        logits = self.conv(features, 'conv_logits')[0, 0 if self.class_agnostic else label]
        return slow_resize(logits, [4 * side for side in logits.shape])

    def losses(self, key_levels, ref_levels, frames, size=SIZE, sigma=None):
        """Both losses and the accuracy; ``frames`` as FRAMES."""
        batch = len(frames)
        both = self.features([torch.cat(pair) for pair in zip(key_levels, ref_levels, strict=True)])
        attention_losses, mask_losses, hits = [], [], []
        for place, (ref_objects, key_objects) in enumerate(frames):
            current, reference = both[place], both[batch + place]
            found = {one[5]: one for one in key_objects}
            maps, masks = [], []
            for *box, label, identity in ref_objects:
                foreground, background = self.attention(reference, current, box, label, sigma)
                target = torch.zeros(size, dtype=torch.double)
                if identity in found:
                    target = slow_box_map(found[identity][:4], *size, 1)
                enlarged = [8 * side for side in current.shape[1:]]
                fore, back = (
                    slow_resize(one, enlarged)[: size[0], : size[1]]
                    for one in (foreground, background)
                )
                probability = self.softmax(fore, back)
                chosen = torch.where(target > 0, probability, 1 - probability)
                maps.append(-chosen.log().mean())
                hits.append(((fore > back) == (target > 0)).double().mean())
                if identity in found:
                    attention = self.softmax(foreground, background)
                    logits = self.mask(current, attention, label)[: size[0], : size[1]]
                    mask = torch.zeros(size, dtype=torch.bool)
                    pixels = sample_of([found[identity]], size).gt_instances.masks.masks[0]
                    mask |= torch.from_numpy(pixels).bool()
                    # -log sigmoid(logit) on the object, -log(1 - sigmoid) elsewhere
                    masks.append(functional.softplus(torch.where(mask, -logits, logits)).mean())
            attention_losses.append(sum(maps) / max(len(maps), 1))
            mask_losses.append(sum(masks) / max(len(masks), 1))
        return dict(
            loss_propattn=sum(attention_losses) / batch,
            loss_propmask=sum(mask_losses) / batch,
            propattn_accuracy=100 * sum(hits) / max(len(hits), 1),
        )

    def gradients(self, losses):
        learnt = {name: one for name, one in self.weights.items() if one.requires_grad}
        total = losses['loss_propattn'] + 2 * losses['loss_propmask']
        if not torch.is_tensor(total):  # nothing to lose
            return {name: torch.zeros_like(one) for name, one in learnt.items()}
        found = torch.autograd.grad(
            total, list(learnt.values()), allow_unused=True, materialize_grads=True
        )
        return dict(zip(learnt, found, strict=True))


def assert_losses_equal(head, frames, size=SIZE, device='cpu', seed=0):
    """Losses, accuracy and the gradients of all parameters are those of the slow head."""
    batch = len(frames)
    key_levels, ref_levels = levels_of(batch, size, seed), levels_of(batch, size, seed + 1)
    slow = SlowHead(head)
    expected = slow.losses(key_levels, ref_levels, frames, size, head.train_sigma)
    key_samples, ref_samples = samples_of(frames, size)
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        losses = head.to(device).loss(
            [one.to(device) for one in key_levels],
            [one.to(device) for one in ref_levels],
            [one.to(device) for one in key_samples],
            [one.to(device) for one in ref_samples],
        )
        head.zero_grad()
        (losses['loss_propattn'] + 2 * losses['loss_propmask']).backward()
    assert set(losses) == set(expected)
    for name, one in losses.items():
        near = 1e-5 if 'loss' in name else 0.02
        slow_one = torch.as_tensor(expected[name]).item()
        assert one.item() == pytest.approx(slow_one, abs=near, rel=1e-5), name
    for name, gradient in slow.gradients(expected).items():
        found = dict(head.named_parameters())[name].grad
        assert found is not None, name
        torch.testing.assert_close(
            found.double().cpu(), gradient, atol=1e-5, rtol=1e-5, msg=lambda m, n=name: f'{n}: {m}'
        )


def losses_of(head, frames, key_levels, ref_levels):
    losses = head.loss(key_levels, ref_levels, *samples_of(frames))
    return {name: one.item() for name, one in losses.items()}


def close(values, rel=1e-5, abs=1e-6):  # noqa: A002
    return {name: pytest.approx(one, rel=rel, abs=abs) for name, one in values.items()}


# --- parts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize('size', [SIZE, (72, 104), (68, 100)])
@pytest.mark.parametrize('training', [True, False])
def test_features_equal_the_slow_ones(training, size):
    head = head_of().train(training)
    levels = levels_of(2, size)
    # Statistics before they move.
    expected = SlowHead(head).features(levels)
    torch.testing.assert_close(head.features(levels).double(), expected, atol=1e-5, rtol=1e-5)


def test_features_of_another_level_and_number():
    head = head_of(num_levels=2, level=0)
    levels = levels_of(1)
    seen = []
    head.convs[0].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    head.features(levels)
    (concatenated,) = seen
    torch.testing.assert_close(concatenated[:, :IN_CHANNELS], levels[0])
    torch.testing.assert_close(
        concatenated[:, IN_CHANNELS:].double(),
        slow_resize(levels[1].double(), levels[0].shape[-2:]),
        atol=1e-6,
        rtol=1e-6,
    )


def test_attention_follows_an_object_by_hand():
    """Each reference position has a feature of its own; the frame has moved by a cell."""
    head = PropagationHead(in_channels=1, num_levels=1, level=0, channels=12, num_classes=1)
    # Affinity 1 or 0, to within exp(-100).
    reference = 10 * torch.eye(12).reshape(12, 3, 4)
    current = reference.roll((1, 1), dims=(1, 2))
    # Cells 8 to 24 across, 0 to 8 down.
    foreground, background = head.attention(
        reference, current, torch.tensor([[8.0, 0, 24, 8]]), torch.tensor([0])
    )
    expected = torch.zeros(1, 3, 4)
    expected[0, 1, 2:4] = 1
    torch.testing.assert_close(foreground, expected)
    torch.testing.assert_close(background, 1 - expected)
    attended = head.attend(foreground, background)
    # softmax([0, 1]) and softmax([1, 0])
    torch.testing.assert_close(attended, 0.2689414 + (0.7310586 - 0.2689414) * expected)
    # Summing up to 1 again under the Gaussian changes nothing where all comes from one place.
    given = reference, current, torch.tensor([[8.0, 0, 24, 8]]), torch.tensor([0])
    for found, wanted in zip(
        head.attention(*given, sigma=2.0), (expected, 1 - expected), strict=True
    ):
        torch.testing.assert_close(found, wanted)
    head.renormalize = False
    # With the Gaussian alone what comes from a cell further down and right weighs exp(-2 / 4); what
    # went around the edge of the frame comes from further away.
    near = torch.full((3, 4), math.exp(-2 / 4))
    near[0], near[:, 0] = math.exp(-(4 + 1) / 4), math.exp(-(1 + 9) / 4)
    near[0, 0] = math.exp(-(4 + 9) / 4)
    foreground, background = head.attention(*given, sigma=2.0)
    torch.testing.assert_close(foreground, expected * near)
    torch.testing.assert_close(background, (1 - expected) * near)


@pytest.mark.parametrize('budget_mib', [256, 1e-9])
@pytest.mark.parametrize(('sigma', 'renormalize'), [(None, True), (2.0, True), (2.0, False)])
@pytest.mark.parametrize('affinity', AFFINITIES)
def test_attention_equals_the_loops(affinity, sigma, renormalize, budget_mib):
    head = head_of(affinity=affinity, budget_mib=budget_mib, renormalize=renormalize)
    reference = torch.randn(CHANNELS, 4, 3).requires_grad_()
    current = torch.randn(CHANNELS, 3, 5).requires_grad_()
    boxes = torch.tensor([[0.0, 0, 16, 16], [4, 9, 24, 30], [17, 17, 18, 18], [90, 0, 99, 9]])
    labels = torch.tensor([1, 0, 1, 3])
    slow_features = [one.detach().double().requires_grad_() for one in (reference, current)]
    slow = SlowHead(head)
    arrived = [
        slow.attention(*slow_features, box, label, sigma)
        for box, label in zip(boxes.tolist(), labels.tolist(), strict=True)
    ]
    expected = [torch.stack(one) for one in zip(*arrived, strict=True)]
    found = head.attention(reference, current, boxes, labels, sigma)
    # The last box is beyond the frame.
    assert found[0][3].abs().max() == 0
    weights = torch.linspace(-1, 2, found[0].numel(), dtype=torch.double).view(found[0].shape)
    gradients = [
        torch.autograd.grad(
            (weights * outputs[0] + weights.flip(0) * outputs[1]).sum(), inputs, allow_unused=True
        )
        for outputs, inputs in (
            (found, [reference, current, *head.affinity.parameters()]),
            (
                expected,
                [
                    *slow_features,
                    *(slow.weights[f'affinity.{n}'] for n, _ in head.affinity.named_parameters()),
                ],
            ),
        )
    ]
    for one, other in zip([*found, *gradients[0]], [*expected, *gradients[1]], strict=True):
        torch.testing.assert_close(one.double(), other, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(('sigma', 'renormalize'), [(None, True), (2.0, True), (2.0, False)])
@pytest.mark.parametrize('affinity', AFFINITIES)
def test_columns_are_those_of_the_dense_affinity(affinity, sigma, renormalize):
    head = head_of(affinity=affinity, renormalize=renormalize)
    reference, current = torch.randn(CHANNELS, 4, 3), torch.randn(CHANNELS, 3, 5)
    labels, positions = torch.tensor([1, 3]), torch.tensor([14, 0, 6])
    weighed = head.affinity(current.flatten(1), labels)
    gaussian = None if sigma is None else gaussian_factors((4, 3), (3, 5), sigma, current)
    dense = dense_affinity(reference.flatten(1).expand(len(weighed), -1, -1), weighed, gaussian)
    if sigma is not None and renormalize:
        dense = dense / dense.sum(dim=1, keepdim=True)
    found = head.affinity_columns(reference, current, positions, labels, sigma)
    count = 2 if affinity['type'] == 'CategoryAffinity' else 1
    assert found.shape == (count, 4, 3, 3)
    torch.testing.assert_close(found, dense[:, :, positions].view(count, 4, 3, 3))
    # What the columns say arrives is what the head carries.
    boxes = torch.tensor([[0.0, 0, 16, 16], [4, 9, 24, 30]])
    foreground, _ = head.attention(reference, current, boxes, labels, sigma)
    maps = box_maps(boxes, (4, 3), head.stride)
    torch.testing.assert_close(
        (found * maps[..., None]).sum(dim=(1, 2)), foreground.flatten(1)[:, positions]
    )
    assert torch.equal(
        found.sum(dim=(1, 2)) > 0.999, torch.full((count, 3), sigma is None or renormalize)
    )


@pytest.mark.parametrize('affinity', AFFINITIES)
def test_attention_and_masks_of_no_objects(affinity):
    head = head_of(affinity=affinity)
    features = torch.randn(2, CHANNELS, 3, 5)
    none = torch.zeros(0, dtype=torch.long)
    foreground, background = head.attention(*features, torch.zeros(0, 4), none)
    assert foreground.shape == background.shape == (0, 3, 5)
    assert head.attend(foreground, background).shape == (0, 3, 5)
    assert head.segment(features[:1], foreground, none).shape == (0, 24, 40)
    with torch.no_grad():
        assert head.segment(features[:1], foreground, none).shape == (0, 24, 40)


def test_attend_is_the_softmax():
    foreground, background = torch.rand(2, 3, 4, 5)
    expected = torch.stack([background, foreground]).double().softmax(dim=0)[1]
    found = head_of().attend(foreground, background)
    torch.testing.assert_close(found.double(), expected, atol=1e-6, rtol=1e-6)
    assert found.dtype == torch.float32


def test_resized_attention_is_that_of_the_original_code():
    """Both enlarged by 8, then the softmax, then back to the size of the features."""
    head = head_of(resize_attention=True)
    foreground = torch.rand(3, 4, 5)
    background = 1 - foreground
    enlarged = [slow_resize(one.double(), (32, 40)) for one in (foreground, background)]
    expected = slow_resize(SlowHead.softmax(*enlarged), (4, 5))
    found = head.attend(foreground, background)
    torch.testing.assert_close(found.double(), expected, atol=1e-6, rtol=1e-6)


def test_resized_attention_is_near_the_plain_one():
    """On its way back it reads a sixteenth of a cell beside the centres.

    There 1 - (15 / 16)² of a value come from neighbours; scores are at most 2 apart, and the
    sigmoid is at most a quarter as steep: at most 0.0606 between the two, whatever arrives.
    """
    resized, plain = head_of(resize_attention=True), head_of()
    checkers = (torch.arange(8)[:, None] + torch.arange(12)) % 2 * torch.ones(1, 8, 12)
    features = 2 * torch.randn(2, CHANNELS, 8, 12)
    boxes = torch.tensor([one[:4] for one in (LEFT, RIGHT, SMALL, NEW)], dtype=torch.float)
    arrived = plain.attention(*features, boxes, torch.zeros(4, dtype=torch.long))
    noise = torch.rand(20, 8, 12)
    for name, (foreground, background) in dict(
        checkers=(checkers, 1 - checkers), noise=(noise, 1 - noise), random_features=arrived
    ).items():
        distance = resized.attend(foreground, background) - plain.attend(foreground, background)
        distance = distance.abs()
        # Seen: at most 0.049, 0.042 and 0.048; on average 0.044, 0.014 and 0.011.
        print(f'{name}: at most {distance.max().item():.4f}, mean {distance.mean().item():.4f}')
        assert 1e-3 < distance.max() < 0.0606


@pytest.mark.parametrize('learns', [True, False])
@pytest.mark.parametrize('class_agnostic', [False, True])
def test_segment_takes_the_channel_of_the_label(class_agnostic, learns):
    head = head_of(class_agnostic=class_agnostic)
    assert head.conv_logits.out_channels == (1 if class_agnostic else CLASSES)
    current, attention = torch.randn(1, CHANNELS, 3, 5), torch.rand(5, 3, 5)
    labels = torch.tensor([3, 0, 1, 2, 0])
    slow = SlowHead(head)
    expected = [
        slow.mask(current[0].double(), one.double(), label)
        for one, label in zip(attention, labels.tolist(), strict=True)
    ]
    with torch.set_grad_enabled(learns):
        found = head.segment(current, attention, labels)
        # The same features given for each object.
        each = head.segment(current.expand(5, -1, -1, -1), attention, labels)
    torch.testing.assert_close(found.double(), torch.stack(expected), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(each, found)


def test_segment_gradients():
    head = head_of()
    current, attention = torch.randn(1, CHANNELS, 2, 3), torch.rand(3, 2, 3)
    labels = torch.tensor([3, 0, 3])
    slow = SlowHead(head)
    slow_given = [one.double().requires_grad_() for one in (current[0], attention)]
    expected = [
        slow.mask(slow_given[0], one, label)
        for one, label in zip(slow_given[1], labels.tolist(), strict=True)
    ]
    given = [current.requires_grad_(), attention.requires_grad_()]
    found = torch.autograd.grad(head.segment(*given, labels).square().mean(), given)
    slow_found = torch.autograd.grad(torch.stack(expected).square().mean(), slow_given)
    torch.testing.assert_close(found[0][0].double(), slow_found[0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found[1].double(), slow_found[1], atol=1e-5, rtol=1e-5)


# --- losses ---------------------------------------------------------------------------------------


def test_losses_by_feat_by_hand():
    head = head_of(attention_loss_weight=3.0, mask_loss_weight=0.5)

    def cost(margin):
        """Of a logit that is on the right side by the margin."""
        return math.log(1 + math.exp(-margin))

    losses = head.loss_by_feat(
        # Two objects of two pixels; one object of two; a frame without any.
        [
            torch.tensor([[[2.0, -1.0]], [[0.5, 0.25]]]),
            torch.tensor([[[0.0, -3.0]]]),
            torch.zeros(0, 1, 2),
        ],
        [torch.tensor([[[4.0, -5.0]]]), torch.zeros(0, 1, 2), torch.zeros(0, 1, 2)],
        [
            torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]]),
            torch.tensor([[[0.0, 1.0]]]),
            torch.zeros(0, 1, 2),
        ],
        [torch.tensor([[[1.0, 1.0]]]), torch.zeros(0, 1, 2), torch.zeros(0, 1, 2)],
    )
    first = (cost(2) + cost(1) + cost(-0.5) + cost(0.25)) / 4
    second = (cost(0) + cost(-3)) / 2
    assert losses['loss_propattn'].item() == pytest.approx(3 * (first + second) / 3)
    assert losses['loss_propmask'].item() == pytest.approx(0.5 * (cost(4) + cost(-5)) / 2 / 3)
    # Wrong are the 0.5 and the -3; of equal fore- and background (0) it is background.
    assert losses['propattn_accuracy'].item() == pytest.approx(100 * 4 / 6)


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('batch', [1, 2, 4])
@pytest.mark.parametrize('affinity', AFFINITIES)
def test_losses_and_gradients_equal_the_slow_ones(affinity, batch, device):
    assert_losses_equal(head_of(affinity=affinity), FRAMES[:batch], device=device)


@pytest.mark.parametrize(
    'options',
    [
        dict(train_sigma=2.5),
        dict(train_sigma=2.5, renormalize=False),
        dict(train_sigma=2.5, affinity=dict(type='CategoryAffinity', rank=2)),
        dict(class_agnostic=True),
        dict(budget_mib=1e-9, train_sigma=4.0),
        dict(num_mask_convs=0),
    ],
)
def test_losses_of_other_settings(options):
    assert_losses_equal(head_of(**options), FRAMES[:2])


def test_losses_with_frozen_statistics():
    assert_losses_equal(head_of().eval(), FRAMES[:2])


# Exactly 9 x 13 cells at stride 8; and as many for fewer pixels, the last cells cut off.
@pytest.mark.parametrize('size', [(72, 104), (68, 100)])
def test_losses_of_odd_sizes(size):
    later = (60, 40, size[1], size[0], 1, 3)
    frames = [FRAMES[0], ([(50, 30, size[1], size[0], 1, 3)], [later])]
    assert_losses_equal(head_of(), frames, size)


@pytest.mark.parametrize('affinity', AFFINITIES)
@pytest.mark.parametrize('copies', [2, 4])
def test_copies_of_a_sample_lose_as_much_as_one(copies, affinity):
    head = head_of(affinity=affinity)
    key_levels, ref_levels = levels_of(1), levels_of(1, seed=1)
    alone = losses_of(head, FRAMES[:1], key_levels, ref_levels)
    together = losses_of(
        head,
        FRAMES[:1] * copies,
        [level.repeat(copies, 1, 1, 1) for level in key_levels],
        [level.repeat(copies, 1, 1, 1) for level in ref_levels],
    )
    assert together == close(alone)


@pytest.mark.parametrize('affinity', AFFINITIES)
@pytest.mark.parametrize('batch', [2, 4])
def test_losses_are_the_mean_over_images(batch, affinity):
    head = head_of(affinity=affinity).eval()
    key_levels, ref_levels = levels_of(4), levels_of(4, seed=1)
    each = [
        losses_of(
            head,
            FRAMES[image : image + 1],
            [level[image : image + 1] for level in key_levels],
            [level[image : image + 1] for level in ref_levels],
        )
        for image in range(batch)
    ]
    together = losses_of(
        head,
        FRAMES[:batch],
        [level[:batch] for level in key_levels],
        [level[:batch] for level in ref_levels],
    )
    for name in ('loss_propattn', 'loss_propmask'):
        mean = sum(one[name] for one in each) / batch
        assert together[name] == pytest.approx(mean, rel=1e-5)
    # Of all maps: images count by their objects.
    counts = [len(reference) for reference, _ in FRAMES[:batch]]
    hits = sum(
        one['propattn_accuracy'] * count for one, count in zip(each, counts, strict=True)
    ) / sum(counts)
    assert together['propattn_accuracy'] == pytest.approx(hits, rel=1e-4)


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('mask_norm_cfg', [None, dict(type='BN')])
@pytest.mark.parametrize('affinity', AFFINITIES)
@pytest.mark.parametrize(
    ('frame', 'zero'),
    [
        (([], [LEFT, RIGHT]), {'loss_propattn', 'loss_propmask'}),
        (([LEFT, RIGHT], []), {'loss_propmask'}),
        (([], []), {'loss_propattn', 'loss_propmask'}),
        # Objects in both, none in common.
        (([LEFT, RIGHT], [NEW]), {'loss_propmask'}),
    ],
)
def test_no_objects(frame, zero, affinity, mask_norm_cfg, device):
    head = head_of(affinity=affinity, mask_norm_cfg=mask_norm_cfg).to(device)
    if mask_norm_cfg is None:
        assert_losses_equal(head, [frame], device=device)
    levels = [[one.to(device) for one in levels_of(1, seed=seed)] for seed in (0, 1)]
    samples = [[one.to(device) for one in some] for some in samples_of([frame])]
    losses = head.loss(*levels, *samples)
    assert {name for name, one in losses.items() if 'loss' in name and one.item() == 0} == zero
    assert all(one.isfinite().all() for one in losses.values())
    head.zero_grad()
    (losses['loss_propattn'] + losses['loss_propmask']).backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    # Statistics of nothing are not to spoil those that are kept.
    for name, buffer in head.named_buffers():
        assert buffer.isfinite().all(), name


@pytest.mark.parametrize('affinity', AFFINITIES)
def test_images_with_and_without_objects_in_a_batch(affinity):
    frames = [([], [LEFT]), FRAMES[0], ([RIGHT], []), ([], [])]
    assert_losses_equal(head_of(affinity=affinity), frames)


@pytest.mark.parametrize('affinity', AFFINITIES)
def test_every_parameter_learns(affinity):
    """None stays where it is once there are objects, but biases before a normalisation."""
    head = head_of(affinity=affinity)
    losses = head.loss(levels_of(2), levels_of(2, seed=1), *samples_of(FRAMES[:2]))
    (losses['loss_propattn'] + losses['loss_propmask']).backward()
    still = {name for name, one in head.named_parameters() if one.grad.abs().max().item() < 1e-6}
    assert still <= {'convs.0.bias', 'convs.3.bias'}


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('affinity', AFFINITIES)
def test_bfloat16_losses_are_near_single_precision(affinity, device):
    head = head_of(affinity=affinity).to(device)
    levels = [[one.to(device) for one in levels_of(2, seed=seed)] for seed in (0, 1)]
    samples = [[one.to(device) for one in some] for some in samples_of(FRAMES[:2])]
    expected = head.loss(*levels, *samples)
    with torch.autocast(device, dtype=torch.bfloat16):
        losses = head.loss(*levels, *samples)
    for name in ('loss_propattn', 'loss_propmask'):
        assert losses[name].dtype == torch.float32
        assert losses[name].item() == pytest.approx(expected[name].item(), rel=0.02)
    (losses['loss_propattn'] + losses['loss_propmask']).backward()
    assert all(one.grad.isfinite().all() for one in head.parameters())


@pytest.mark.parametrize('affinity', AFFINITIES)
def test_autocast_leaves_attention_as_it_is(affinity):
    head = head_of(affinity=affinity)
    given = (
        *(3 * torch.randn(2, CHANNELS, 3, 4)),
        torch.tensor([[0.0, 0, 16, 16], [8, 8, 32, 24]]),
        torch.tensor([1, 3]),
    )
    expected = head.attention(*given, sigma=2.0)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        found = head.attention(*given, sigma=2.0)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
@pytest.mark.parametrize('affinity', AFFINITIES)
def test_attention_of_large_half_precision_features(affinity, dtype):
    """Products beyond what float16 holds, and finer than bfloat16 does."""
    head = PropagationHead(
        in_channels=1, channels=CHANNELS, num_classes=CLASSES, num_mask_convs=0, affinity=affinity
    )
    features = torch.randint(-4, 5, (2, CHANNELS, 3, 4)) / 2
    features[:, 0] = 400
    boxes, labels = torch.tensor([[0.0, 0, 16, 16], [8, 8, 32, 24]]), torch.tensor([1, 3])
    slow = SlowHead(head)
    expected = [
        slow.attention(*features.double(), box, label, 2.0)[0]
        for box, label in zip(boxes.tolist(), labels.tolist(), strict=True)
    ]
    for autocast in (False, True):
        with torch.autocast('cpu', dtype=torch.bfloat16, enabled=autocast):
            foreground, background = head.attention(*features.to(dtype), boxes, labels, 2.0)
        torch.testing.assert_close(foreground.double(), torch.stack(expected), atol=1e-4, rtol=1e-4)
        assert background.isfinite().all()


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(train_sigma=0), 'train_sigma must be positive or None, got 0'),
        (dict(test_sigma=-1.5), 'test_sigma must be positive or None, got -1.5'),
        (dict(affinity=dict(type='WeightedAffinity', channels=9)), 'channels=9.*channels=6'),
        (dict(affinity=dict(type='CategoryAffinity', rank=0)), 'rank must be positive'),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        head_of(**options)
