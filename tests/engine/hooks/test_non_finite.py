import copy
import functools
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


class Run:
    """A model, its optimiser and a hook that watches them, as a runner would hold them."""

    def __init__(self, folder, hook=None, wrapper=OptimWrapper, wrap=None, **options):
        MessageHub.get_instance('test_non_finite')
        self.model, self.hook, self.folder, self.said = Tiny(), hook or NonFiniteHook(), folder, []
        optimiser = torch.optim.SGD(self.model.parameters(), lr=0.1)
        self.runner = SimpleNamespace(work_dir=str(folder), epoch=0, iter=0, seed=3, cfg=Config())
        self.runner.model = wrap(self.model) if wrap else self.model
        # mmengine takes keys out of what it is given.
        self.runner.optim_wrapper = wrapper(optimizer=optimiser, **copy.deepcopy(options))
        self.runner.logger = SimpleNamespace(warning=self.said.append)
        self.runner.visualizer = SimpleNamespace(close=lambda: None)
        self.hook.before_train(self.runner)

    def step(self, *values, extra=0.0, **more):
        """Trains on rows of two."""
        metainfo = dict(video_id=7, frame_id=self.runner.iter, img_path='a.jpg', **more)
        rows = torch.tensor(values, dtype=torch.float).reshape(-1, 2)
        batch = dict(inputs=rows, data_samples=[DetDataSample(metainfo=metainfo)], extra=extra)
        self.hook.before_train_iter(self.runner, 0, batch)
        try:
            self.runner.model.train_step(batch, self.runner.optim_wrapper)
        finally:
            self.runner.iter += 1

    def stopped(self, *values, **more):
        """The message with which a step ends training; the model is what it was."""
        before = self.state()
        with pytest.raises(Stopped) as caught:
            self.step(*values, **more)
        assert str(self.state()) == str(before)  # also for NaN
        return str(caught.value)

    def state(self):
        return {name: one.tolist() for name, one in self.model.state_dict().items()}

    def spoil(self, factor):
        """Has the gradients come out multiplied."""
        self.model.weight.register_hook(lambda grad: grad * torch.tensor(factor))

    def dumped(self):
        return sorted(path.name for path in (self.folder / 'non_finite').iterdir())

    def read(self, name):
        return read_checkpoint(self.folder / 'non_finite' / name, classes=BATCH_CLASSES)


CLIPS = [None, dict(max_norm=1.0), dict(max_norm=100, norm_type=1)]
CLIPS += [dict(max_norm=1.0, norm_type=math.inf), dict(type='value', clip_value=0.1)]


@pytest.mark.parametrize('clip', CLIPS[::2])
@pytest.mark.parametrize('wrapper', [OptimWrapper, BFloat16OptimWrapper])
def test_bad_loss_stops_before_the_weights(tmp_path, clip, wrapper):
    run = Run(tmp_path, wrapper=wrapper, clip_grad=clip)
    run.step(1.0, 1.0)
    text = run.stopped(math.inf, 1.0)
    assert 'training stopped at non-finite values: the loss is not finite in epoch 1, at' in text
    assert 'in epoch 1, at iteration 2.' in text
    assert 'loss_a = inf  <- not finite' in text and 'frame 1 of video 7 (a.jpg)' in text
    assert str(tmp_path / 'non_finite/iter_2.pth') in text and run.dumped() == ['iter_2.pth']


def test_schedules_see_that_a_sound_step_is_taken(tmp_path):
    """Also where a figure that is no loss is not finite."""
    run = Run(tmp_path)
    run.hook.after_train(run.runner)
    schedule = LinearParamScheduler(run.runner.optim_wrapper, 'lr', start_factor=0.5)
    run.hook.before_train(run.runner)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        run.step(1.0, 1.0)
        schedule.step()
    # d/dw of sum(w x) + sum(w^2) is x + 2w: (3, 5) at (1, 2).
    assert run.state()['weight'] == pytest.approx([1 - 0.05 * 3, 2 - 0.05 * 5])


@pytest.mark.parametrize('clip', CLIPS)
def test_finite_loss_with_bad_gradients_or_weights_stops(tmp_path, clip):
    run = Run(tmp_path, clip_grad=clip)
    run.spoil([1.0, math.inf])
    text = run.stopped(1.0, 1.0)
    assert 'the norm of the gradients is not finite in epoch 1' in text
    assert 'non-finite gradients: weight' in text
    large, bad = Run(tmp_path), Run(tmp_path)
    large.spoil(1e30)
    assert 'each gradient is finite, but their norm is too large' in large.stopped(1, 1)
    bad.model.weight.data[0] = math.nan
    assert 'not finite before this step: weight' in bad.stopped(1, 1)


@pytest.mark.parametrize('clip', CLIPS)
def test_sound_training_is_the_same_to_the_bit(tmp_path, clip):
    run, plain = Run(tmp_path, clip_grad=clip), Tiny()
    ours = run.runner.optim_wrapper
    optimiser = torch.optim.SGD(plain.parameters(), lr=0.1)
    wrapper = OptimWrapper(optimizer=optimiser, clip_grad=copy.deepcopy(clip))
    logs = wrapper.message_hub.log_scalars  # of both
    for row in torch.randn(6, 2).tolist():
        run.step(*row)
        norm = logs['train/grad_norm'].current() if clip else None
        plain.train_step(dict(inputs=torch.tensor([row])), wrapper)
        assert torch.equal(run.model.weight, plain.weight)
        assert not clip or norm == logs['train/grad_norm'].current()
    run.hook.after_train(run.runner)
    assert 'step' not in vars(ours) and 'parse_losses' not in vars(run.model)
    assert not clip or ours.clip_func is wrapper.clip_func


def test_skipped_step_leaves_weights_statistics_and_the_next_step_alone(tmp_path):
    run, expected = (Run(tmp_path, NonFiniteHook('skip'), clip_grad=CLIPS[1]) for _ in range(2))
    run.step(1, 2, 3, 4)
    before = run.state()
    run.step(math.nan, 1, 1, 1)
    assert run.state() == before and run.model.weight.grad is None
    assert 'step skipped: the loss' in run.said[0] and 'iteration 2' in run.said[0]
    for one in (run, expected, expected):
        one.step(1, 2, 3, 4)
    assert run.state() == expected.state()
    run.hook.after_train(run.runner)
    assert run.said[-1].endswith('non-finite values: 1')


def test_skipping_ends_after_so_many_in_a_row_and_bad_options_are_refused(tmp_path):
    run = Run(tmp_path, NonFiniteHook('skip', max_in_a_row=3))
    for first in (math.nan, math.nan, 1) * 2 + (math.nan, math.nan):
        run.step(first, 1)
    text = run.stopped(math.nan, 1)
    assert '(3 steps in a row)' in text and 'no dump: 3 have been written' in text
    assert run.dumped() == ['iter_1.pth', 'iter_2.pth', 'iter_4.pth']
    run.hook.after_train(run.runner)
    assert run.said[-1].endswith('non-finite values: 6')
    for option, value in (('action', 'go on'), ('max_in_a_row', 0), ('max_in_a_row', True)):
        with pytest.raises(UserError, match=f'{option} must be .*, got {value!r}'):
            NonFiniteHook(**{option: value})
    with pytest.raises(UserError, match='needs one OptimWrapper, found <object'):
        NonFiniteHook().before_train(SimpleNamespace(optim_wrapper=object()))
    assert HOOKS.get('BadNumbersHook') is HOOKS.get('NonFiniteHook') is NonFiniteHook


def test_accumulated_gradients_are_one_step(tmp_path):
    options = dict(accumulative_counts=3, clip_grad=dict(max_norm=1e6))
    run = Run(tmp_path, NonFiniteHook('skip'), **options)
    before = run.state()
    run.step(1, 1)
    run.step(math.nan, 1, 1, 1)  # its gradients are added up with the others'
    run.step(math.nan, 1, 2, 2)  # the first one is to blame
    assert run.state() == before
    assert 'iteration 2' in run.said[0]
    for row in ([1, 1], [2, 0], [3, 2]):
        run.step(*row)
    # Mean of x is (2, 1), and 2w is (2, 4).
    assert run.state()['weight'] == pytest.approx([1 - 0.4, 2 - 0.5])
    (kept,) = run.read('iter_2.pth')['passes']
    assert kept['iteration'] == 1 and math.isnan(kept['terms']['loss_a'])
    # Bad gradients keep all batches.
    run = Run(tmp_path, accumulative_counts=2)
    run.step(1, 1)
    run.spoil(math.nan)
    assert 'iteration 1.' in run.stopped(1, 1)
    assert [one['iteration'] for one in run.read('iter_1.pth')['passes']] == [0, 1]


def test_dump_that_cannot_be_written_does_not_hide_what_happened(tmp_path):
    text = Run(tmp_path).stopped(math.nan, 1, odd=lambda: 0)
    assert 'loss_a = nan' in text and "no dump: Can't pickle" in text
    (tmp_path / 'file').write_text('')
    text = Run(tmp_path / 'file').stopped(math.nan, 1)
    assert 'loss_a = nan' in text and 'no dump: cannot write' in text


def test_overflow_of_gradients_in_fp16_is_the_scalers_business(tmp_path):
    class ScaledWrapper(OptimWrapper):  # as AmpOptimWrapper, which needs a GPU
        loss_scaler = None

        def step(self, **kwargs):
            """Leaves out the step, as the scaler would decide."""

    run = Run(tmp_path, wrapper=ScaledWrapper)
    run.spoil(math.inf)
    run.step(1, 1)
    assert 'in fp16, bf16 instead: --amp bf16' in run.stopped(math.inf, 1)
    assert run.read('iter_2.pth')['acceleration'] == dict(amp='fp16')


def test_all_frames_of_a_clip_are_named():
    def frame(number):
        return DetDataSample(metainfo=dict(frame_id=number, video_id=7, img_path=f'{number}.jpg'))

    one, two, four, five = (f'frame {number} of video 7 ({number}.jpg)' for number in (1, 2, 4, 5))
    pairs = [[frame(1), frame(4)], [frame(2), frame(5)]]
    for samples, lines in (
        (pairs, [f'key {one}; reference {two}', f'key {four}; reference {five}']),
        (
            [(frame(number),) for number in (1, 2, 4)],
            [f'key {one}; reference {two}; reference {four}'],
        ),
        ([frame(1), frame(4)], [one, four]),
        ([DetDataSample()], ['frame ? of video ? (?)']),
        (None, []),
    ):
        assert sample_lines(dict(data_samples=samples)) == lines


def on_rank(rank, folder):
    """Runs one of two processes, which leaves its weights and its message in ``folder``."""
    join_two(rank, folder)
    wrap = functools.partial(MMDistributedDataParallel, broadcast_buffers=False)
    run = Run(folder, NonFiniteHook('skip', max_in_a_row=2), wrap=wrap)
    # A loss of one rank that no gradient depends on.
    extra = math.inf if rank else 0
    run.step(1, 1, extra=extra)
    assert run.state()['weight'] == [1, 2]
    run.step(1 + 2 * rank, 1)
    run.step(1, 1, extra=extra)
    said = run.stopped(1, 1, extra=extra)
    torch.save(dict(said=said, weight=run.state()['weight']), folder / f'{rank}.pth')
    leave()


def test_ranks_skip_the_same_steps(tmp_path):
    in_two_ranks(on_rank, tmp_path)
    found, other = (torch.load(tmp_path / f'{rank}.pth') for rank in (0, 1))
    assert found == other
    assert 'rank 1: the loss is not finite in epoch 1, at iteration 4' in found['said']
    assert 'rank 0' not in found['said'] and 'iter_4_rank_1.pth' in found['said']
    # Mean of x over the ranks is (2, 1), and 2w is (2, 4).
    assert found['weight'] == pytest.approx([1 - 0.4, 2 - 0.5])
    names = sorted(path.name for path in (tmp_path / 'non_finite').iterdir())
    assert names == ['iter_1_rank_1.pth', 'iter_3_rank_1.pth', 'iter_4_rank_1.pth']
