"""Losses and gradients that are not finite stop training before they reach the weights."""

import copy
import math
import warnings
from types import SimpleNamespace

import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.model import BaseModel, MMDistributedDataParallel
from mmengine.optim import LinearParamScheduler, OptimWrapper
from torch import nn

from tests.processes import in_two_ranks
from tests.ranks import join_two, leave
from vispropnet.engine.acceleration import BFloat16OptimWrapper
from vispropnet.engine.checkpoints.reading import read_checkpoint
from vispropnet.engine.hooks.non_finite import BATCH_CLASSES, NonFiniteHook, sample_lines
from vispropnet.errors import Stopped, UserError
from vispropnet.registry import HOOKS


class Tiny(BaseModel):
    """Two weights whose gradients can be worked out by hand, and statistics of batches."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(2, affine=False)
        self.weight = nn.Parameter(torch.tensor([1.0, 2.0]))

    def forward(self, inputs, data_samples=None, mode='loss', extra=0.0):
        """Gives three losses, one that no weight takes part in, and a figure that is no loss."""
        moved = self.norm(inputs) if inputs.shape[0] > 1 else inputs
        return dict(
            loss_a=(self.weight * inputs).sum(),
            loss_b=[(self.weight**2).sum(), 0 * moved.nan_to_num().sum()],
            loss_c=torch.tensor(float(extra)),
            accuracy=torch.tensor(float('nan')),
        )


def watched(tmp_path, wrapper_class=OptimWrapper, hook=None, wrap=None, **options):
    """A model, its optimiser and a hook that watches them, as a runner would hold them."""
    model = Tiny()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    runner = SimpleNamespace(
        model=wrap(model) if wrap else model,
        # mmengine takes keys out of what it is given.
        optim_wrapper=wrapper_class(optimizer=optimiser, **copy.deepcopy(options)),
        work_dir=str(tmp_path),
        epoch=0,
        iter=0,
        seed=3,
        cfg=Config(),
        logger=SimpleNamespace(warning=lambda text: runner.said.append(text)),
        said=[],
        visualizer=SimpleNamespace(close=lambda: None),
    )
    hook = hook or NonFiniteHook()
    hook.before_train(runner)
    return runner, hook


def step(runner, hook, *values, extra=0.0, **more):
    """A training step on inputs of one row, or more."""
    rows = torch.tensor(values, dtype=torch.float).reshape(-1, 2)
    metainfo = dict(video_id=7, frame_id=runner.iter, img_path='a.jpg', **more)
    sample = DetDataSample(metainfo=metainfo)
    batch = dict(inputs=rows, data_samples=[sample], extra=extra)
    hook.before_train_iter(runner, 0, batch)
    try:
        return runner.model.train_step(batch, runner.optim_wrapper)
    finally:
        runner.iter += 1


def weights(runner):
    return runner.model.weight.detach().clone()


@pytest.fixture(autouse=True)
def hub():
    MessageHub.get_instance('test_non_finite')


CLIPS = [
    None,
    dict(max_norm=1.0),
    dict(max_norm=100, norm_type=1),
    dict(max_norm=1.0, norm_type=math.inf),
    dict(type='value', clip_value=0.1),
]


def stopped(runner, hook, *values, **more):
    """The message with which a step ends training."""
    with pytest.raises(UserError) as caught:
        step(runner, hook, *values, **more)
    return str(caught.value)


@pytest.mark.parametrize('clip', CLIPS[::2])
@pytest.mark.parametrize('wrapper', [OptimWrapper, BFloat16OptimWrapper])
def test_bad_loss_stops_before_the_weights(tmp_path, clip, wrapper):
    runner, hook = watched(tmp_path, wrapper, clip_grad=clip)
    step(runner, hook, 1.0, 1.0)
    before = weights(runner)
    text = stopped(runner, hook, math.inf, 1.0)
    assert torch.equal(weights(runner), before)
    for words in (
        'training stopped at non-finite values: the loss is not finite in epoch 1, at iteration 2.',
        'loss_a = inf  <- not finite',
        'frame 1 of video 7 (a.jpg)',
        str(tmp_path / 'non_finite/iter_2.pth'),
    ):
        assert words in text
    assert (tmp_path / 'non_finite/iter_2.pth').exists()


def test_schedules_see_that_a_sound_step_is_taken(tmp_path):
    """Also where a figure that is no loss is not finite."""
    runner, hook = watched(tmp_path)
    hook.after_train(runner)
    schedule = LinearParamScheduler(runner.optim_wrapper, 'lr', start_factor=0.5)
    hook.before_train(runner)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        step(runner, hook, 1.0, 1.0)
        schedule.step()
    # d/dw of sum(w x) + sum(w^2) is x + 2w: (3, 5) at (1, 2).
    assert weights(runner).tolist() == pytest.approx([1 - 0.05 * 3, 2 - 0.05 * 5])


@pytest.mark.parametrize('clip', CLIPS)
def test_finite_loss_with_bad_gradients_stops(tmp_path, clip):
    runner, hook = watched(tmp_path, clip_grad=clip)
    runner.model.weight.register_hook(lambda grad: grad * torch.tensor([1.0, math.inf]))
    before = weights(runner)
    text = stopped(runner, hook, 1.0, 1.0)
    assert torch.equal(weights(runner), before)
    assert 'the norm of the gradients is not finite in epoch 1' in text
    assert 'non-finite gradients: weight' in text


def test_gradients_whose_norm_is_too_large_for_a_float32_stop(tmp_path):
    runner, hook = watched(tmp_path)
    runner.model.weight.register_hook(lambda grad: grad * 1e30)
    assert 'each gradient is finite, but their norm is too large' in stopped(runner, hook, 1, 1)


@pytest.mark.parametrize('clip', CLIPS)
def test_sound_training_is_the_same_to_the_bit(tmp_path, clip):
    torch.manual_seed(0)
    rows = torch.randn(6, 2).tolist()
    runner, hook = watched(tmp_path, clip_grad=clip)
    plain = Tiny()
    wrapper = OptimWrapper(
        optimizer=torch.optim.SGD(plain.parameters(), lr=0.1), clip_grad=copy.deepcopy(clip)
    )
    logs = [one.message_hub.log_scalars for one in (runner.optim_wrapper, wrapper)]
    for row in rows:
        step(runner, hook, *row)
        norms = [logs[0]['train/grad_norm'].current()] if clip else []
        plain.train_step(dict(inputs=torch.tensor([row])), wrapper)
        assert torch.equal(runner.model.weight, plain.weight)
        assert norms == ([logs[1]['train/grad_norm'].current()] if clip else [])
    hook.after_train(runner)
    assert 'step' not in vars(runner.optim_wrapper)
    assert 'parse_losses' not in vars(runner.model)
    if clip:
        assert runner.optim_wrapper.clip_func is wrapper.clip_func


def test_skipped_step_leaves_weights_statistics_and_the_next_step_alone(tmp_path):
    runner, hook = watched(tmp_path, hook=NonFiniteHook('skip'), clip_grad=dict(max_norm=1e6))
    step(runner, hook, 1, 2, 3, 4)
    before = copy.deepcopy(runner.model.state_dict())
    step(runner, hook, math.nan, 1, 1, 1)
    after = runner.model.state_dict()
    assert all(torch.equal(after[key], before[key]) for key in before)
    assert runner.model.weight.grad is None
    assert 'step skipped: the loss' in runner.said[0] and 'iteration 2' in runner.said[0]
    step(runner, hook, 1, 2, 3, 4)
    expected, other = watched(tmp_path / 'other', clip_grad=dict(max_norm=1e6))
    step(expected, other, 1, 2, 3, 4)
    step(expected, other, 1, 2, 3, 4)
    assert torch.equal(weights(runner), weights(expected))
    assert torch.equal(runner.model.norm.running_mean, expected.model.norm.running_mean)
    hook.after_train(runner)
    assert runner.said[-1].endswith('non-finite values: 1')


def test_skipping_ends_after_so_many_in_a_row(tmp_path):
    runner, hook = watched(tmp_path, hook=NonFiniteHook('skip', max_in_a_row=3))
    for _ in range(2):  # not in a row
        step(runner, hook, math.nan, 1)
        step(runner, hook, math.nan, 1)
        step(runner, hook, 1, 1)
    step(runner, hook, math.nan, 1)
    step(runner, hook, math.nan, 1)
    text = stopped(runner, hook, math.nan, 1)
    assert '(3 steps in a row)' in text and 'no dump: 3 have been written' in text
    names = sorted(path.name for path in (tmp_path / 'non_finite').iterdir())
    assert names == ['iter_1.pth', 'iter_2.pth', 'iter_4.pth']
    hook.after_train(runner)
    assert runner.said[-1].endswith('non-finite values: 6')


def test_accumulated_gradients_are_one_step(tmp_path):
    runner, hook = watched(
        tmp_path, hook=NonFiniteHook('skip'), accumulative_counts=3, clip_grad=dict(max_norm=1e6)
    )
    before = copy.deepcopy(runner.model.state_dict())
    step(runner, hook, 1, 1)
    step(runner, hook, math.nan, 1, 1, 1)  # its gradients are added up with the others'
    step(runner, hook, 1, 1, 2, 2)
    after = runner.model.state_dict()
    assert all(torch.equal(after[key], before[key]) for key in before)
    assert 'iteration 2' in runner.said[0]
    for row in ([1, 1], [2, 0], [3, 2]):
        step(runner, hook, *row)
    # Mean of x is (2, 1), and 2w is (2, 4).
    assert weights(runner).tolist() == pytest.approx([1 - 0.4, 2 - 0.5])
    content = read_checkpoint(tmp_path / 'non_finite/iter_2.pth', classes=BATCH_CLASSES)
    assert [one['iteration'] for one in content['passes']] == [1]
    assert math.isnan(content['passes'][0]['terms']['loss_a'])


def test_bad_gradients_of_accumulated_steps_keep_all_batches(tmp_path):
    runner, hook = watched(tmp_path, accumulative_counts=2)
    step(runner, hook, 1, 1)
    runner.model.weight.register_hook(lambda grad: grad * math.nan)
    assert 'iteration 1.' in stopped(runner, hook, 1, 1)
    content = read_checkpoint(tmp_path / 'non_finite/iter_1.pth', classes=BATCH_CLASSES)
    assert [one['iteration'] for one in content['passes']] == [0, 1]


def test_dump_that_cannot_be_written_does_not_hide_what_happened(tmp_path):
    (tmp_path / 'non_finite').write_text('')
    for folder, more, reason in (
        (tmp_path, {}, 'no dump: cannot write'),
        (tmp_path / 'other', dict(odd=lambda: 0), "no dump: Can't pickle"),
    ):
        text = stopped(*watched(folder), math.nan, 1, **more)
        assert 'loss_a = nan' in text and reason in text


def test_weights_that_were_bad_before_are_named(tmp_path):
    runner, hook = watched(tmp_path)
    with torch.no_grad():
        runner.model.weight[0] = math.nan
    assert 'not finite before this step: weight' in stopped(runner, hook, 1, 1)


class ScaledWrapper(OptimWrapper):
    """As AmpOptimWrapper, which needs a GPU: leaves gradients that overflow to a scaler."""

    steps = 0
    loss_scaler = None

    def step(self, **kwargs):
        """Counts what the scaler would decide."""
        self.steps += 1


def test_overflow_of_gradients_in_fp16_is_the_scalers_business(tmp_path):
    runner, hook = watched(tmp_path, ScaledWrapper)
    runner.model.weight.register_hook(lambda grad: grad * math.inf)
    step(runner, hook, 1, 1)
    assert 'in fp16, bf16 instead: --amp bf16' in stopped(runner, hook, math.inf, 1)
    assert runner.optim_wrapper.steps == 1
    content = read_checkpoint(tmp_path / 'non_finite/iter_2.pth', classes=BATCH_CLASSES)
    assert content['acceleration'] == dict(amp='fp16')


@pytest.mark.parametrize(
    ('option', 'value'), [('action', 'go on'), ('max_in_a_row', 0), ('max_in_a_row', True)]
)
def test_unknown_options(option, value):
    with pytest.raises(UserError, match=f'{option} must be .*, got {value!r}'):
        NonFiniteHook(**{option: value})


def test_several_optimisers_are_refused():
    with pytest.raises(UserError, match='needs one OptimWrapper, found <object'):
        NonFiniteHook().before_train(SimpleNamespace(optim_wrapper=object()))


def test_its_former_name_is_known():
    assert HOOKS.get('BadNumbersHook') is HOOKS.get('NonFiniteHook') is NonFiniteHook


def frame(number):
    return DetDataSample(metainfo=dict(frame_id=number, video_id=7, img_path=f'{number}.jpg'))


ONE, TWO, FOUR, FIVE = (f'frame {number} of video 7 ({number}.jpg)' for number in (1, 2, 4, 5))


@pytest.mark.parametrize(
    ('samples', 'lines'),
    [
        (
            [[frame(1), frame(4)], [frame(2), frame(5)]],
            [f'key {ONE}; reference {TWO}', f'key {FOUR}; reference {FIVE}'],
        ),
        (
            [(frame(1),), (frame(2),), (frame(4),)],
            [f'key {ONE}; reference {TWO}; reference {FOUR}'],
        ),
        ([frame(1), frame(4)], [ONE, FOUR]),
        ([DetDataSample()], ['frame ? of video ? (?)']),
        (None, []),
    ],
)
def test_all_frames_of_a_clip_are_named(samples, lines):
    assert sample_lines(dict(data_samples=samples)) == lines


def on_rank(rank, folder):
    """Runs one of two processes, which leaves its weights and its message in ``folder``."""
    join_two(rank, folder)
    MessageHub.get_instance('test_non_finite_ranks')

    def wrap(model):
        return MMDistributedDataParallel(module=model, broadcast_buffers=False)

    runner, hook = watched(folder, hook=NonFiniteHook('skip', max_in_a_row=2), wrap=wrap)
    model = runner.model.module
    before = model.weight.detach().clone()
    # A loss of one rank that no gradient depends on.
    step(runner, hook, 1, 1, extra=math.inf if rank else 0)
    assert torch.equal(model.weight, before)
    step(runner, hook, 1 + 2 * rank, 1)
    step(runner, hook, 1, 1, extra=math.inf if rank else 0)
    with pytest.raises(Stopped) as caught:
        step(runner, hook, 1, 1, extra=math.inf if rank else 0)
    (folder / f'said{rank}.txt').write_text(str(caught.value))
    torch.save(model.weight.detach(), folder / f'weight{rank}.pth')
    leave()


def test_ranks_skip_the_same_steps(tmp_path):
    in_two_ranks(on_rank, tmp_path)
    said, other = ((tmp_path / f'said{rank}.txt').read_text() for rank in (0, 1))
    assert said == other
    assert 'rank 1: the loss is not finite in epoch 1, at iteration 4' in said
    assert 'rank 0' not in said and 'iter_4_rank_1.pth' in said
    for rank in (0, 1):
        # Mean of x over the ranks is (2, 1), and 2w is (2, 4).
        weight = torch.load(tmp_path / f'weight{rank}.pth', weights_only=True)
        assert weight.tolist() == pytest.approx([1 - 0.4, 2 - 0.5])
    names = sorted(path.name for path in (tmp_path / 'non_finite').iterdir())
    assert names == ['iter_1_rank_1.pth', 'iter_3_rank_1.pth', 'iter_4_rank_1.pth']
