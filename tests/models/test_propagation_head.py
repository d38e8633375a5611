"""The propagation head against a slow one in double precision: one object and place at a time."""

import math

import pytest
import torch
from mmdet.structures.mask import BitmapMasks
from torch.nn import functional

from tests.models.small_models import SIZE, frame_sample
from vispropnet.models.prop_heads import PropagationHead
from vispropnet.models.prop_heads.boxes import box_maps
from vispropnet.ops.affinity import BUDGET

DEVICES = ['cpu', pytest.param('cuda', marks=pytest.mark.gpu)]
IN_CHANNELS, CHANNELS, CLASSES = 3, 6, 4
CATEGORY = dict(type='CategoryAffinity', rank=2)
AFFINITIES = [dict(type='PlainAffinity'), dict(type='WeightedAffinity'), CATEGORY]
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


def head_of(training=True, **options):
    """A head with random weights, biases and statistics, and attention that is not all alike."""
    sizes = dict(in_channels=IN_CHANNELS, channels=CHANNELS, num_classes=CLASSES)
    head = PropagationHead(**sizes, **{'num_levels': 4, 'num_mask_convs': 2, **options})
    head.init_weights()
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape))
        head.convs[6].weight.mul_(2)
        for norm in (head.convs[1], head.convs[4]):
            norm.running_mean.copy_(torch.randn(CHANNELS) * 0.2)
            norm.running_var.copy_(torch.rand(CHANNELS) + 0.5)
    return head.train(training)


def levels_of(batch, size=SIZE, seed=0):
    """P2 to P6; sizes are halved and rounded up, as strided convolutions do."""
    generator = torch.Generator().manual_seed(seed)
    levels, height, width = [], -(-size[0] // 4), -(-size[1] // 4)
    for _ in range(5):
        levels.append(torch.randn(batch, IN_CHANNELS, height, width, generator=generator))
        height, width = -(-height // 2), -(-width // 2)
    return levels


def sample_of(objects, size=SIZE):
    boxes, labels, ids = ([one[part] for one in objects] for part in (slice(4), 4, 5))
    sample = frame_sample(boxes, labels, ids, batch_input_shape=size)
    masks = torch.zeros(len(objects), *size, dtype=torch.uint8)
    for mask, (left, top, right, bottom) in zip(masks, boxes, strict=True):
        # Not the whole box, so that a box in place of a mask is noticed.
        mask[top:bottom, left:right] = 1
        mask[top : (top + bottom) // 2, left : (left + right) // 2] = 0
    sample.gt_instances.masks = BitmapMasks(masks.numpy(), *size)
    return sample


def resize(maps, size):
    """(h, w) to a size, bilinear between the centres of cells."""
    maps = functional.interpolate(maps[None, None], size, mode='bilinear', align_corners=False)
    return maps[0, 0]


def concatenated(levels, size):
    """Levels (B, C, H, W) at one size, in double precision."""
    levels = [level.double() for level in levels]
    return torch.cat([functional.interpolate(one, size, mode='bilinear') for one in levels], dim=1)


class SlowHead:
    """Features, propagation and masks as METHODS tells them; weights by the names of the head."""

    def __init__(self, head):
        self.weights = {
            name: one.detach().double().cpu().requires_grad_(name in dict(head.named_parameters()))
            for name, one in head.state_dict().items()
        }
        self.head, self.affinity = head, type(head.affinity).__name__

    def conv(self, features, name, **options):
        weights = self.weights[f'{name}.weight'], self.weights[f'{name}.bias']
        return functional.conv2d(features, *weights, **options)

    def norm(self, features, name):
        if self.head.training:
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
        features = concatenated(levels[:4], levels[1].shape[-2:])
        features = self.norm(self.conv(features, 'convs.0'), 'convs.1').clamp(min=0)
        features = self.norm(self.conv(features, 'convs.3', padding=1), 'convs.4').clamp(min=0)
        return self.conv(features, 'convs.6')

    def weight(self, label):
        """W of rᵀ W x."""
        if self.affinity == 'WeightedAffinity':
            return self.weights['affinity.weight']
        weight = torch.eye(CHANNELS, dtype=torch.double)
        if self.affinity == 'CategoryAffinity':
            left, right = self.weights['affinity.left'], self.weights['affinity.right']
            weight = weight + left[label] @ right[label].T
        return weight

    def attention(self, reference, current, box, label, sigma=None):
        """Fore- and background of one object at each current position."""
        inside = box_maps(torch.tensor([box]).double(), reference.shape[1:], 8).flatten()
        affinity = reference.flatten(1).T @ self.weight(label) @ current.flatten(1)
        affinity = affinity.softmax(dim=0)
        if sigma is not None:
            cells = [torch.ones(one.shape[1:]).nonzero().double() for one in (reference, current)]
            affinity = affinity * torch.exp(-(torch.cdist(*cells) ** 2) / sigma**2)
            if self.head.renormalize:
                affinity = affinity / affinity.sum(dim=0)
        return [(one @ affinity).view(current.shape[1:]) for one in (inside, 1 - inside)]

    def attentions(self, frames, boxes, labels, sigma):
        """(N, H, W) fore- and background of all objects."""
        objects = zip(boxes.tolist(), labels.tolist(), strict=True)
        arrived = [self.attention(*frames, box, label, sigma) for box, label in objects]
        return [torch.stack(one) for one in zip(*arrived, strict=True)]

    @staticmethod
    def softmax(foreground, background):
        return foreground.exp() / (foreground.exp() + background.exp())

    def mask(self, current, attention, label):
        """The mask logits of one object, at eight times the size of the features."""
        features = (attention * current)[None]
        for place in range(len(self.head.mask_convs)):
            features = self.conv(features, f'mask_convs.{place}.conv', padding=1).clamp(min=0)
        weights = self.weights['upsample.weight'], self.weights['upsample.bias']
        features = functional.conv_transpose2d(features, *weights, stride=2).clamp(min=0)
        logits = self.conv(features, 'conv_logits')[0, 0 if self.head.class_agnostic else label]
        return resize(logits, [4 * side for side in logits.shape])

    def losses(self, key_levels, ref_levels, frames, size=SIZE, sigma=None):
        """Both losses and the accuracy; ``frames`` as FRAMES."""
        batch, (height, width) = len(frames), size
        both = self.features([torch.cat(pair) for pair in zip(key_levels, ref_levels, strict=True)])
        attention_losses, mask_losses, hits = [], [], []
        for place, (ref_objects, key_objects) in enumerate(frames):
            current, reference = both[place], both[batch + place]
            found = {one[5]: one for one in key_objects}
            maps, masks = [], []
            for *box, label, identity in ref_objects:
                arrived = self.attention(reference, current, box, label, sigma)
                target = torch.zeros(size)
                if identity in found:
                    target = box_maps(torch.tensor([found[identity][:4]]).double(), size, 1)[0]
                    logits = self.mask(current, self.softmax(*arrived), label)[:height, :width]
                    mask = sample_of([found[identity]], size).gt_instances.masks.masks[0]
                    mask = torch.from_numpy(mask).bool()
                    # -log sigmoid(logit) on the object, -log(1 - sigmoid) elsewhere
                    masks.append(functional.softplus(torch.where(mask, -logits, logits)).mean())
                enlarged = [8 * side for side in current.shape[1:]]
                fore, back = (resize(one, enlarged)[:height, :width] for one in arrived)
                chosen = torch.where(target > 0, self.softmax(fore, back), self.softmax(back, fore))
                maps.append(-chosen.log().mean())
                hits.append(((fore > back) == (target > 0)).double().mean())
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
        total = total + 0 * sum(one.sum() for one in learnt.values())  # there may be no objects
        return dict(zip(learnt, torch.autograd.grad(total, list(learnt.values())), strict=True))


def losses_of(head, frames, size=SIZE, device='cpu'):
    levels = [levels_of(len(frames), size, seed) for seed in (0, 1)]
    samples = [[sample_of(frame[at], size) for frame in frames] for at in (1, 0)]
    return head.to(device).loss(*([one.to(device) for one in some] for some in levels + samples))


def assert_losses_equal(head, frames, size=SIZE, device='cpu'):
    """Losses, accuracy and the gradients of all parameters are those of the slow head."""
    slow, levels = SlowHead(head), [levels_of(len(frames), size, seed) for seed in (0, 1)]
    expected = slow.losses(*levels, frames, size, head.train_sigma)
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        losses = losses_of(head, frames, size, device)
        head.zero_grad()
        (losses['loss_propattn'] + 2 * losses['loss_propmask']).backward()
    assert set(losses) == set(expected)
    for name, one in losses.items():
        near = 1e-5 if 'loss' in name else 0.02
        slow_one = torch.as_tensor(expected[name]).item()
        assert one.item() == pytest.approx(slow_one, abs=near, rel=1e-5), name
    found = {name: one.grad.double().cpu() for name, one in head.named_parameters()}
    torch.testing.assert_close(found, slow.gradients(expected), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize('size', [SIZE, (72, 104), (68, 100)])
@pytest.mark.parametrize('training', [True, False])
def test_features_equal_the_slow_ones(training, size):
    head, levels = head_of(training), levels_of(2, size)
    # Statistics before they move.
    expected = SlowHead(head).features(levels)
    torch.testing.assert_close(head.features(levels).double(), expected, atol=1e-5, rtol=1e-5)


def test_features_of_another_level_and_number():
    head, levels, seen = head_of(num_levels=2, level=0), levels_of(1), []
    head.convs[0].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].double()))
    head.features(levels)
    expected = concatenated(levels[:2], levels[0].shape[-2:])
    torch.testing.assert_close(seen, [expected], atol=1e-6, rtol=1e-6)


def test_attention_follows_an_object_by_hand():
    """Each reference position has a feature of its own; the frame has moved by a cell."""
    head = PropagationHead(in_channels=1, num_levels=1, level=0, channels=12, num_classes=1)
    # Affinity 1 or 0, to within exp(-100).
    reference = 10 * torch.eye(12).reshape(12, 3, 4)
    current = reference.roll((1, 1), dims=(1, 2))
    # Cells 8 to 24 across, 0 to 8 down.
    given = reference, current, torch.tensor([[8.0, 0, 24, 8]]), torch.tensor([0])
    expected = torch.zeros(1, 3, 4)
    expected[0, 1, 2:4] = 1
    # Summing up to 1 again under the Gaussian changes nothing where all comes from one place.
    for sigma in (None, 2.0):
        found = head.attention(*given, sigma)
        torch.testing.assert_close(found, (expected, 1 - expected))
        # softmax([0, 1]) and softmax([1, 0])
        attended = 0.2689414 + (0.7310586 - 0.2689414) * expected
        torch.testing.assert_close(head.attend(*found), attended)
    head.renormalize = False
    # With the Gaussian alone what comes from a cell further down and right weighs exp(-2 / 4); what
    # went around the edge of the frame comes from further away.
    near = torch.full((3, 4), math.exp(-2 / 4))
    near[0], near[:, 0] = math.exp(-(4 + 1) / 4), math.exp(-(1 + 9) / 4)
    near[0, 0] = math.exp(-(4 + 9) / 4)
    found = head.attention(*given, sigma=2.0)
    torch.testing.assert_close(found, (expected * near, (1 - expected) * near))


@pytest.mark.parametrize('budget', [BUDGET, 1])
@pytest.mark.parametrize(('sigma', 'renormalize'), [(None, True), (2.0, True), (2.0, False)])
@pytest.mark.parametrize('affinity', AFFINITIES)
def test_attention_equals_the_loops(affinity, sigma, renormalize, budget):
    head = head_of(affinity=affinity, renormalize=renormalize, budget_mib=budget / 2**20)
    frames = [torch.randn(CHANNELS, *size).requires_grad_() for size in ((4, 3), (3, 5))]
    boxes = torch.tensor([[0.0, 0, 16, 16], [4, 9, 24, 30], [17, 17, 18, 18], [90, 0, 99, 9]])
    labels = torch.tensor([1, 0, 1, 3])
    slow, slow_frames = SlowHead(head), [one.detach().double().requires_grad_() for one in frames]
    expected = slow.attentions(slow_frames, boxes, labels, sigma)
    found = head.attention(*frames, boxes, labels, sigma)
    # The last box is beyond the frame.
    assert found[0][3].abs().max() == 0
    names = [f'affinity.{name}' for name, _ in head.affinity.named_parameters()]
    inputs = [*frames, *head.affinity.parameters()]
    slow_inputs = [*slow_frames, *(slow.weights[name] for name in names)]
    weights = torch.linspace(-1, 2, found[0].numel(), dtype=torch.double).view(found[0].shape)
    outcomes = []
    for some, known in ((found, inputs), (expected, slow_inputs)):
        total = (weights * some[0] + weights.flip(0) * some[1]).sum()
        outcomes.append([*some, *torch.autograd.grad(total, known)])
    for one, other in zip(*outcomes, strict=True):
        torch.testing.assert_close(one.double(), other, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(('sigma', 'renormalize'), [(None, True), (2.0, True), (2.0, False)])
@pytest.mark.parametrize('affinity', AFFINITIES)
def test_columns_are_what_each_reference_cell_gives(affinity, sigma, renormalize):
    head = head_of(affinity=affinity, renormalize=renormalize)
    frames = torch.randn(CHANNELS, 4, 3), torch.randn(CHANNELS, 3, 5)
    labels, positions = torch.tensor([1, 3]), torch.tensor([14, 0, 6])
    columns = head.affinity_columns(*frames, positions, labels, sigma)
    assert columns.shape == (2 if affinity['type'] == 'CategoryAffinity' else 1, 4, 3, 3)
    sums_up = torch.full((len(columns), 3), sigma is None or renormalize)
    assert torch.equal(columns.sum(dim=(1, 2)) > 0.999, sums_up)
    # A box for each cell.
    boxes = torch.tensor([[x, y, x + 8.0, y + 8.0] for y in range(0, 32, 8) for x in (0, 8, 16)])
    for found, label in zip(columns, labels, strict=False):
        arrived, _ = head.attention(*frames, boxes, label.repeat(12), sigma)
        torch.testing.assert_close(found.flatten(0, 1), arrived.flatten(1)[:, positions])


@pytest.mark.parametrize('affinity', AFFINITIES)
def test_attention_and_masks_of_no_objects(affinity):
    head = head_of(affinity=affinity)
    features = torch.randn(2, CHANNELS, 3, 5)
    none = torch.zeros(0, dtype=torch.long)
    foreground, background = head.attention(*features, torch.zeros(0, 4), none)
    assert foreground.shape == background.shape == (0, 3, 5)
    assert head.attend(foreground, background).shape == (0, 3, 5)
    for learns in (True, False):
        with torch.set_grad_enabled(learns):
            assert head.segment(features[:1], foreground, none).shape == (0, 24, 40)


@pytest.mark.parametrize('resized', [False, True])
def test_attend_is_the_softmax(resized):
    """As the original code resizes: both enlarged by 8, the softmax, back to the features' size."""
    arrived = torch.rand(2, 4, 5)
    if resized:
        enlarged = [resize(one.double(), (32, 40)) for one in arrived]
        expected = resize(SlowHead.softmax(*enlarged), (4, 5))
    else:
        expected = SlowHead.softmax(*arrived.double())
    found = head_of(resize_attention=resized).attend(*arrived[:, None])
    torch.testing.assert_close(found[0].double(), expected, atol=1e-6, rtol=1e-6)
    assert found.dtype == torch.float32


@pytest.mark.parametrize('learns', [True, False])
@pytest.mark.parametrize('class_agnostic', [False, True])
def test_segment_takes_the_channel_of_the_label(class_agnostic, learns):
    head = head_of(class_agnostic=class_agnostic)
    assert head.conv_logits.out_channels == (1 if class_agnostic else CLASSES)
    current, attention = torch.randn(1, CHANNELS, 3, 5), torch.rand(5, 3, 5)
    labels, slow = torch.tensor([3, 0, 1, 2, 0]), SlowHead(head)
    objects = zip(attention.double(), labels.tolist(), strict=True)
    expected = [slow.mask(current[0].double(), *one) for one in objects]
    with torch.set_grad_enabled(learns):
        # The same features once, and given for each object.
        for features in (current, current.expand(5, -1, -1, -1)):
            found = head.segment(features, attention, labels).double()
            torch.testing.assert_close(found, torch.stack(expected), atol=1e-5, rtol=1e-5)


def test_losses_by_feat_by_hand():
    head = head_of(attention_loss_weight=3.0, mask_loss_weight=0.5)

    def cost(margin):  # of a logit that is on the right side by the margin
        return math.log(1 + math.exp(-margin))

    # Two objects of two pixels; one object of two; a frame without any.
    none = torch.zeros(0, 1, 2)
    scores = torch.tensor([[[2.0, -1.0]], [[0.5, 0.25]]]), torch.tensor([[[0.0, -3.0]]]), none
    boxes = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]]), torch.tensor([[[0.0, 1.0]]]), none
    logits, masks = torch.tensor([[[4.0, -5.0]]]), torch.tensor([[[1.0, 1.0]]])
    losses = head.loss_by_feat(scores, [logits, none, none], boxes, [masks, none, none])
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


WITHOUT = [([], [LEFT]), FRAMES[0], ([RIGHT], []), ([], [])]


@pytest.mark.parametrize(
    ('options', 'frames', 'size'),
    [
        (dict(train_sigma=2.5), FRAMES[:2], SIZE),
        (dict(train_sigma=2.5, renormalize=False), FRAMES[:2], SIZE),
        (dict(train_sigma=2.5, affinity=CATEGORY), FRAMES[:2], SIZE),
        (dict(class_agnostic=True), FRAMES[:2], SIZE),
        (dict(num_mask_convs=0), FRAMES[:2], SIZE),
        (dict(training=False), FRAMES[:2], SIZE),  # frozen statistics
        # Exactly 9 x 13 cells at stride 8; as many for fewer pixels, the last cells cut off.
        ({}, [FRAMES[0], ([(50, 30, 104, 72, 1, 3)], [(60, 40, 104, 72, 1, 3)])], (72, 104)),
        ({}, [FRAMES[0], ([(50, 30, 100, 68, 1, 3)], [(60, 40, 100, 68, 1, 3)])], (68, 100)),
        # Images with and without objects in a batch.
        *((dict(affinity=affinity), WITHOUT, SIZE) for affinity in AFFINITIES),
    ],
)
def test_losses_of_other_settings(options, frames, size):
    assert_losses_equal(head_of(**options), frames, size)


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
    losses = losses_of(head, [frame], device=device)
    assert {name for name, one in losses.items() if 'loss' in name and one.item() == 0} == zero
    assert all(one.isfinite().all() for one in losses.values())
    head.zero_grad()
    (losses['loss_propattn'] + losses['loss_propmask']).backward()
    gradients = {name: one.grad for name, one in head.named_parameters()}
    # Statistics of nothing are not to spoil those that are kept.
    for name, one in (*gradients.items(), *head.named_buffers()):
        assert one is not None and one.isfinite().all(), name


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('affinity', AFFINITIES)
def test_bfloat16_losses_are_near_single_precision(affinity, device):
    head = head_of(affinity=affinity).to(device)
    expected = losses_of(head, FRAMES[:2], device=device)
    with torch.autocast(device, dtype=torch.bfloat16):
        losses = losses_of(head, FRAMES[:2], device=device)
    for name in ('loss_propattn', 'loss_propmask'):
        assert losses[name].dtype == torch.float32
        assert losses[name].item() == pytest.approx(expected[name].item(), rel=0.02)
    (losses['loss_propattn'] + losses['loss_propmask']).backward()
    assert all(one.grad.isfinite().all() for one in head.parameters())


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize('affinity', AFFINITIES)
def test_attention_of_large_half_precision_features(affinity, dtype):
    """Products beyond what float16 holds, and finer than bfloat16 does."""
    head = PropagationHead(1, channels=CHANNELS, num_classes=CLASSES, affinity=affinity)
    features = torch.randint(-4, 5, (2, CHANNELS, 3, 4)) / 2
    features[:, 0] = 400
    boxes, labels = torch.tensor([[0.0, 0, 16, 16], [8, 8, 32, 24]]), torch.tensor([1, 3])
    expected, _ = SlowHead(head).attentions(features.double(), boxes, labels, 2.0)
    for autocast in (False, True):
        with torch.autocast('cpu', dtype=torch.bfloat16, enabled=autocast):
            foreground, background = head.attention(*features.to(dtype), boxes, labels, 2.0)
        torch.testing.assert_close(foreground.double(), expected, atol=1e-4, rtol=1e-4)
        assert background.isfinite().all()
