import errno
import os
import signal
import time

import pytest
import torch
from mmengine.hooks import Hook

from tests.processes import Tool, run_tool
from tests.small_runs import assert_same_weights, logged, quick
from vispropnet.apis.training import train
from vispropnet.engine.checkpoints.resuming import find_resumable
from vispropnet.errors import Stopped, UserError
from vispropnet.registry import HOOKS


@HOOKS.register_module()
class SignalAt(Hook):
    """Sends this process a signal at one point of training."""

    def __init__(self, when, number, name='SIGTERM'):
        self.place, self.signal = (when, number), signal.Signals[name]

    def _before_iter(self, runner, batch_idx, data_batch=None, mode='train'):
        if self.place == (mode, runner.iter if mode == 'train' else batch_idx):
            os.kill(os.getpid(), self.signal)


def assert_same_end(work_dir, unbroken):
    assert_same_weights(work_dir, unbroken)
    for key in ('loss', 'ytvis/mAP'):
        assert logged(work_dir, key) == logged(unbroken, key)
    # Training has passed what it could be resumed from.
    assert not (work_dir / 'interrupted.pth').exists() and not list(work_dir.glob('.*tmp*'))


def handlers():
    return signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)


@pytest.fixture
def resume(small, shapes, tmp_path):
    """Trains in the test's folder from where it is; changes are overrides of the config."""
    return lambda *more: train(small, tmp_path, resume='auto', overrides=quick(shapes, *more))


@pytest.fixture
def stop_at(small, shapes, tmp_path):
    """Trains like ``resume`` until a signal at some point, and gives the error."""

    def run(when, number, *more, name='SIGTERM'):
        hook, config = dict(type='SignalAt', when=when, number=number, name=name), tmp_path / 'c.py'
        config.write_text(f'_base_ = {small!r}\ndefault_hooks = dict(signal={hook!r})\n')
        before = handlers()
        with pytest.raises(Stopped) as caught:
            train(config, tmp_path, resume='auto', overrides=quick(shapes, *more))
        assert handlers() == before
        return caught.value

    return run


# In the middle of an epoch, after its last batch, and in the first epoch's validation.
@pytest.mark.parametrize('place', [('train', 1), ('train', 2), ('train', 4), ('val', 1)])
def test_stopped_it_ends_as_the_unbroken_one(trained, stop_at, resume, tmp_path, place):
    stop, (when, number) = stop_at(*place), place
    epoch = f'epoch {number // 3 + 1}, after iteration {number + 1}'
    words = f'in {epoch}' if when == 'train' else 'in the validation after epoch 1'
    assert stop.status == 128 + signal.SIGTERM
    assert 'stopped by SIGTERM' in str(stop) and words in str(stop)
    assert find_resumable(tmp_path) == (tmp_path / 'interrupted.pth', [])
    resume()
    assert_same_end(tmp_path, trained)


@pytest.mark.slow
def test_stopped_again_and_again(trained, stop_at, resume, tmp_path):
    # Workers begin with the same batch.
    workers = ['train_dataloader.num_workers=2', 'train_dataloader.persistent_workers=True']
    for iteration in (0, 2, 3):
        stop = stop_at('train', iteration, *workers, name='SIGINT')
        assert stop.status == 128 + signal.SIGINT
    resume(*workers)
    assert_same_end(tmp_path, trained)


def test_odd_states_are_refused_and_code_is_not_run(trained, shapes, small, resume, tmp_path):
    path, wrong = tmp_path / 'odd.pth', dict(exp_avg=torch.zeros(3))
    done, hundred = dict(batches_done=100, batch_size=2, world_size=1), '100 batches of an epoch'
    groups = dict(param_groups=[])
    shape = r'optimizer.state: exp_avg must be \(.*\), found \(3,\)'
    for change, words in (
        (lambda found: found['param_schedulers'].pop(), 'it has 1 schedules, the config has 2'),
        (lambda found: [one.update(wrong) for one in found['optimizer']['state'].values()], shape),
        (lambda found: found['meta'].update(done), f'{hundred} are done, but an epoch .* has 3'),
        (lambda found: found['optimizer'].update(groups), 'training cannot be resumed from it'),
    ):
        content = torch.load(trained / 'epoch_1.pth', weights_only=False)
        change(content)
        torch.save(content, path)
        with pytest.raises(UserError, match=words) as caught:
            train(small, tmp_path, resume=str(path), overrides=quick(shapes))
        assert f'checkpoint {path}' in str(caught.value)
    content = torch.load(trained / 'epoch_1.pth', weights_only=False)
    content['meta']['config'] = f'import os\nos.mkdir({str(tmp_path / "made")!r})\n'
    torch.save(content, tmp_path / 'epoch_1.pth')
    resume()
    assert not (tmp_path / 'made').exists()
    assert_same_weights(tmp_path, trained)


@pytest.mark.slow
def test_batches_made_otherwise_are_skipped_one_by_one(shapes, small, stop_at, resume, tmp_path):
    sampler = 'train_dataloader.batch_sampler.type=mmdet.AspectRatioBatchSampler'
    more = [sampler, 'train_cfg.max_epochs=1', 'train_cfg.val_begin=2']
    train(small, tmp_path / 'whole', overrides=quick(shapes, *more))
    stop_at('train', 1, *more)
    resume(*more)
    assert logged(tmp_path, 'loss') == logged(tmp_path / 'whole', 'loss')


def test_stopped_in_the_last_validation_it_is_done_again_once(stop_at, resume, tmp_path):
    stop = str(stop_at('val', 0, 'train_cfg.max_epochs=1'))
    assert 'in the validation after epoch 1. The state is in' in stop
    for _ in range(2):
        assert resume('train_cfg.max_epochs=1').iter == 3
        assert not (tmp_path / 'interrupted.pth').exists()
        assert len(logged(tmp_path, 'ytvis/mAP')) == 1


def test_a_full_disk_is_reported_and_what_was_saved_stays(resume, tmp_path, monkeypatch):
    more = ['default_hooks.checkpoint.max_keep_ckpts=1', 'train_cfg.val_begin=3']

    def full(path):
        if path.name.startswith('.epoch_2'):
            raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr('vispropnet.engine.runner.sync_and_check', full)
    before = handlers()
    with pytest.raises(UserError, match=r'/epoch_2.pth cannot be written: \[Errno 28\] No space'):
        resume(*more)
    assert handlers() == before
    # Pathlib's * takes hidden files along.
    assert [path.name for path in tmp_path.glob('*.pth')] == ['epoch_1.pth']
    monkeypatch.undo()
    resume(*more)
    assert [path.name for path in tmp_path.glob('*.pth')] == ['epoch_2.pth']


def test_accumulated_gradients_and_batches_of_another_size(stop_at, resume, tmp_path):
    # Two batches a step: the signal after the first waits for the second.
    assert 'after iteration 2' in str(stop_at('train', 0, 'optim_wrapper.accumulative_counts=2'))
    (tmp_path / 'interrupted.pth').unlink()
    stop_at('train', 0)
    runner = resume('train_dataloader.batch_size=3', 'train_cfg.max_epochs=1')
    # One iteration was done; two batches of 3 follow.
    assert runner.iter == 3
    logs = ''.join(path.read_text() for path in tmp_path.glob('*/*.log'))
    assert 'with batches of 2 on 1 ranks; with 3 on 1 the epoch starts again' in logs


# Sends itself signals; under a launcher if a number of seconds is given.
LISTENER = """
import os, signal, sys, time
import torch
from vispropnet.engine.hooks import interrupt
seconds, store, *names = sys.argv[1:]
if float(seconds):
    place = f'file://{store}'
    torch.distributed.init_process_group('gloo', init_method=place, rank=0, world_size=1)
    interrupt._LAUNCHER_SECONDS = float(seconds)
hook = interrupt.InterruptHook()
hook.before_train(None)
for name in names:
    os.kill(os.getpid(), signal.Signals[name])
    time.sleep(0.02)
print('still here', flush=True)
os._exit(0)
"""


def test_the_same_signal_again_ends_at_once(tmp_path):
    (tmp_path / 'listener.py').write_text(LISTENER)
    for seconds, signals, status in (
        (0, ['SIGTERM'], 0),
        (0, ['SIGTERM', 'SIGTERM'], 128 + 15),
        (0, ['SIGINT', 'SIGINT'], 128 + 2),
        # A launcher forwards a Ctrl-C as SIGTERM.
        (0, ['SIGINT', 'SIGTERM'], 0),
        (0, ['SIGINT', 'SIGTERM', 'SIGINT'], 128 + 2),
        # It also forwards signals that its ranks may have got themselves.
        (60, ['SIGTERM', 'SIGTERM'], 0),
        (0.001, ['SIGTERM', 'SIGTERM'], 128 + 15),
    ):
        store = tmp_path / f'{seconds}.store'
        found, text = run_tool(tmp_path / 'listener.py', seconds, store, *signals)
        assert found == status, (signals, text)
        assert ('still here' in text) == (status == 0)
        assert f'{signals[0]}: saving the state after this iteration' in text


@pytest.mark.parametrize('workers', [0, 2])
def test_the_tool_says_where_the_state_is_and_resumes(trained, shapes, small, tmp_path, workers):
    """With workers the signal goes to all processes, as clusters and torchrun send it."""
    command = ['tools/train.py', small, '--work-dir', tmp_path, '--resume', '--cfg-options']
    command += quick(shapes, f'train_dataloader.num_workers={workers}')
    command.append(f'train_dataloader.persistent_workers={bool(workers)}')
    tool = Tool(*command)
    for line in tool.output:
        if 'Epoch(train)' in line:
            (os.killpg if workers else os.kill)(tool.pid, signal.SIGTERM)
            break
    status, text = tool.wait()
    assert status == 143, text[-2000:]
    assert 'continue with --resume' in text and 'Traceback' not in text
    # No worker is left behind: the group is empty.
    with pytest.raises(ProcessLookupError):
        for _ in range(100):
            os.killpg(tool.pid, 0)
            time.sleep(0.1)
    status, text = run_tool(*command)
    assert status == 0, text[-2000:]
    assert_same_weights(tmp_path, trained)
