"""Training that is stopped by a signal and gone on with ends as an unbroken one."""

import errno
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from mmengine.hooks import Hook

from tests.apis.small_runs import logged, quick
from vispropnet.apis.training import train
from vispropnet.datasets.moving_shapes import write_moving_shapes
from vispropnet.engine.checkpoints.resuming import find_resumable
from vispropnet.errors import Stopped, UserError
from vispropnet.registry import HOOKS

SMALL = 'configs/masktrack_rcnn/masktrack-rcnn_r18_fpn_2e_moving-shapes.py'


@HOOKS.register_module()
class SignalAt(Hook):
    """Sends this process signals at one point of training."""

    def __init__(self, when, number, signals=('SIGTERM',)):
        self.when, self.number = when, number
        self.signals = [signal.Signals[name] for name in signals]

    def _send(self, when, number):
        if (when, number) == (self.when, self.number):
            for one in self.signals:
                os.kill(os.getpid(), one)

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self._send('train', runner.iter)

    def before_val_iter(self, runner, batch_idx, data_batch=None):
        self._send('val', batch_idx)


@pytest.fixture(scope='module')
def shapes(tmp_path_factory):
    """12 frames to train on: 3 iterations of 4 an epoch."""
    root = tmp_path_factory.mktemp('shapes') / 'data'
    write_moving_shapes(root, train_videos=4, val_videos=1, frames=3, size=(96, 64), progress=False)
    return root


def options(shapes, *more):
    return quick(shapes, 'train_dataloader.num_workers=0', *more)


@pytest.fixture(scope='module')
def unbroken(shapes, root, tmp_path_factory):
    work_dir = tmp_path_factory.mktemp('unbroken')
    train(str(root / SMALL), work_dir, overrides=options(shapes))
    return work_dir


def weights(work_dir):
    return torch.load(work_dir / 'epoch_2.pth', weights_only=False)['state_dict']


def assert_same_weights(work_dir, unbroken):
    ours = weights(work_dir)
    for name, value in weights(unbroken).items():
        assert torch.equal(ours[name], value), name


def assert_same_end(work_dir, unbroken):
    assert_same_weights(work_dir, unbroken)
    assert logged(work_dir, 'loss') == logged(unbroken, 'loss')
    assert logged(work_dir, 'ytvis/mAP') == logged(unbroken, 'ytvis/mAP')
    # What it could be gone on with has been overtaken.
    assert not (work_dir / 'interrupted.pth').exists()
    assert list(work_dir.glob('.*tmp*')) == []


def stopped_at(work_dir, root, shapes, hook, *more):
    """Trains on until the hook's signal, and gives what is told then."""
    config = work_dir / 'config.py'
    config.write_text(f"_base_ = '{root / SMALL}'\ndefault_hooks = dict(signal={hook!r})\n")
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with pytest.raises(Stopped) as caught:
        train(config, work_dir, resume='auto', overrides=options(shapes, *more))
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    return caught.value


# In the middle of an epoch, after its last batch, and in the first epoch's validation.
@pytest.mark.parametrize(
    ('when', 'number', 'words'),
    [
        ('train', 1, 'in epoch 1, after iteration 2'),
        ('train', 2, 'in epoch 1, after iteration 3'),
        ('train', 4, 'in epoch 2, after iteration 5'),
        ('val', 1, 'in the validation after epoch 1'),
    ],
)
def test_stopped_anywhere_it_ends_as_the_unbroken_one(
    unbroken, shapes, root, tmp_path, when, number, words
):
    hook = dict(type='SignalAt', when=when, number=number)
    stop = stopped_at(tmp_path, root, shapes, hook)
    assert stop.status == 128 + signal.SIGTERM
    assert 'stopped by SIGTERM' in str(stop) and words in str(stop)
    assert find_resumable(tmp_path) == (tmp_path / 'interrupted.pth', [])
    train(str(root / SMALL), tmp_path, resume='auto', overrides=options(shapes))
    assert_same_end(tmp_path, unbroken)


def test_stopped_again_and_again(unbroken, shapes, root, tmp_path):
    for iteration in (0, 2, 3):
        hook = dict(type='SignalAt', when='train', number=iteration, signals=['SIGINT'])
        stop = stopped_at(tmp_path, root, shapes, hook)
        assert stop.status == 128 + signal.SIGINT
    train(str(root / SMALL), tmp_path, resume='auto', overrides=options(shapes))
    assert_same_end(tmp_path, unbroken)


def test_workers_go_on_from_the_same_batch(unbroken, shapes, root, tmp_path):
    workers = ['train_dataloader.num_workers=2', 'train_dataloader.persistent_workers=True']
    stopped_at(tmp_path, root, shapes, dict(type='SignalAt', when='train', number=1), *workers)
    train(str(root / SMALL), tmp_path, resume='auto', overrides=options(shapes, *workers))
    assert_same_end(tmp_path, unbroken)


def test_code_in_a_checkpoint_is_not_run(unbroken, shapes, root, tmp_path):
    code = f'import os\nos.mkdir({str(tmp_path / "made")!r})\n'
    content = torch.load(unbroken / 'epoch_1.pth', weights_only=False)
    content['meta']['config'] = code
    torch.save(content, tmp_path / 'epoch_1.pth')
    train(str(root / SMALL), tmp_path, resume='auto', overrides=options(shapes))
    assert not (tmp_path / 'made').exists()
    assert_same_weights(tmp_path, unbroken)


def short_schedules(content):
    del content['param_schedulers'][1:]


def odd_momentum(content):
    for state in content['optimizer']['state'].values():
        state['exp_avg'] = torch.zeros(3)


def too_many_batches(content):
    content['meta'].update(batches_done=100, batch_size=4, world_size=1)


def no_groups(content):
    content['optimizer']['param_groups'] = []


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (short_schedules, 'it has 1 schedules, the config has 2'),
        (odd_momentum, r'optimizer.state: exp_avg must be \(.*\), found \(3,\)'),
        (too_many_batches, '100 batches of an epoch are done, but an epoch .* has 3'),
        (no_groups, 'training cannot go on from it'),
    ],
)
def test_states_that_do_not_fit_are_refused(unbroken, shapes, root, tmp_path, change, words):
    path = tmp_path / 'odd.pth'
    content = torch.load(unbroken / 'epoch_1.pth', weights_only=False)
    change(content)
    torch.save(content, path)
    with pytest.raises(UserError, match=words) as caught:
        train(str(root / SMALL), tmp_path, resume=str(path), overrides=options(shapes))
    assert f'checkpoint {path}' in str(caught.value)


def test_batches_that_are_made_otherwise_are_passed_over_one_by_one(shapes, root, tmp_path):
    more = ['train_dataloader.batch_sampler.type=mmdet.AspectRatioBatchSampler']
    whole = tmp_path / 'whole'
    train(str(root / SMALL), whole, overrides=options(shapes, *more))
    broken = tmp_path / 'broken'
    broken.mkdir()
    stopped_at(broken, root, shapes, dict(type='SignalAt', when='train', number=1), *more)
    train(str(root / SMALL), broken, resume='auto', overrides=options(shapes, *more))
    assert_same_end(broken, whole)


def test_stopped_in_the_last_validation_it_is_done_again_once(shapes, root, tmp_path):
    more = ['train_cfg.max_epochs=1']
    stop = stopped_at(tmp_path, root, shapes, dict(type='SignalAt', when='val', number=0), *more)
    assert 'in the validation after epoch 1. The state is in' in str(stop)
    for _ in range(2):
        runner = train(str(root / SMALL), tmp_path, resume='auto', overrides=options(shapes, *more))
        assert runner.iter == 3
        assert not (tmp_path / 'interrupted.pth').exists()
        assert len(logged(tmp_path, 'ytvis/mAP')) == 1


def test_a_full_disk_is_told_and_what_was_saved_stays(shapes, root, tmp_path, monkeypatch):
    more = ['default_hooks.checkpoint.max_keep_ckpts=1']

    def full(path):
        if path.name.startswith('.epoch_2'):
            raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr('vispropnet.engine.runner.sync_and_check', full)
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with pytest.raises(UserError) as caught:
        train(str(root / SMALL), tmp_path, overrides=options(shapes, *more))
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    assert f'{tmp_path}/epoch_2.pth cannot be written: [Errno 28] No space left' in str(
        caught.value
    )
    assert [path.name for path in tmp_path.glob('*.pth')] == ['epoch_1.pth']
    assert list(tmp_path.glob('.*.pth')) == []
    monkeypatch.undo()
    train(str(root / SMALL), tmp_path, resume='auto', overrides=options(shapes, *more))
    assert [path.name for path in tmp_path.glob('*.pth')] == ['epoch_2.pth']


def test_gradients_that_are_summed_up_are_not_lost(shapes, root, tmp_path):
    """Two batches a step: the signal after the first waits for the second."""
    more = ['optim_wrapper.accumulative_counts=2']
    hook = dict(type='SignalAt', when='train', number=0)
    stop = stopped_at(tmp_path, root, shapes, hook, *more)
    assert 'after iteration 2' in str(stop)


def test_with_batches_of_another_size_the_epoch_begins_anew(shapes, root, tmp_path):
    stopped_at(tmp_path, root, shapes, dict(type='SignalAt', when='train', number=0))
    more = ['train_dataloader.batch_size=6', 'train_cfg.max_epochs=1']
    runner = train(str(root / SMALL), tmp_path, resume='auto', overrides=options(shapes, *more))
    # One iteration was done; two batches of 6 follow.
    assert runner.iter == 3
    logs = ''.join(path.read_text() for path in tmp_path.glob('*/*.log'))
    assert 'with batches of 4 on 1 ranks; with 6 on 1 the epoch begins anew' in logs


SECOND = """
import os, signal, sys, time
from vispropnet.engine.hooks.interrupt import InterruptHook
hook = InterruptHook()
hook.before_train(None)
for name in sys.argv[1:]:
    os.kill(os.getpid(), signal.Signals[name])
    time.sleep(0.01)
print('still here')
"""


@pytest.mark.parametrize(
    ('signals', 'status'),
    [
        (['SIGTERM'], 0),
        (['SIGTERM', 'SIGTERM'], 128 + 15),
        (['SIGINT', 'SIGINT'], 128 + 2),
        # A launcher passes a Ctrl-C on as SIGTERM.
        (['SIGINT', 'SIGTERM'], 0),
        (['SIGINT', 'SIGTERM', 'SIGINT'], 128 + 2),
    ],
)
def test_the_same_signal_again_ends_at_once(run_python, signals, status):
    done = run_python('-c', SECOND, *signals)
    assert done.returncode == status, done.stderr
    assert ('still here' in done.stdout) == (status == 0)
    assert f'{signals[0]}: saving the state after this iteration' in done.stderr


LAUNCHED = """
import os, signal, sys, time
import torch
from vispropnet.engine.hooks import interrupt
place = f'file://{{sys.argv[1]}}'
torch.distributed.init_process_group('gloo', init_method=place, rank=0, world_size=1)
interrupt._LAUNCHER_SECONDS = {seconds}
hook = interrupt.InterruptHook()
hook.before_train(None)
for _ in range(2):
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(0.05)
print('still here', flush=True)
os._exit(0)
"""


@pytest.mark.parametrize(('seconds', 'status'), [(60, 0), (0.001, 143)])
def test_a_signal_that_a_launcher_passes_on_is_not_a_second_one(
    run_python, tmp_path, seconds, status
):
    done = run_python('-c', LAUNCHED.format(seconds=seconds), str(tmp_path / 'store'))
    assert done.returncode == status, done.stderr
    assert ('still here' in done.stdout) == (status == 0)


def test_a_signal_to_all_processes_of_a_job_leaves_the_workers_their_work(shapes, root, tmp_path):
    """As clusters and torchrun send it: to the whole process group."""
    command = [sys.executable, '-u', 'tools/train.py', SMALL, '--work-dir', str(tmp_path)]
    more = ['train_dataloader.num_workers=2', 'train_dataloader.persistent_workers=True']
    process = subprocess.Popen(
        [*command, '--cfg-options', *options(shapes, *more)],
        cwd=root,
        env=dict(os.environ, PYTHONPATH=str(root)),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    text = ''
    for line in process.stdout:
        text += line
        if 'Epoch(train)' in line:
            os.killpg(process.pid, signal.SIGTERM)
            break
    text += process.communicate(timeout=120)[0]
    assert process.returncode == 143, text[-3000:]
    assert '--resume goes on from there' in text and 'Traceback' not in text
    assert (tmp_path / 'interrupted.pth').exists()
    # No worker is left behind: the group is empty.
    with pytest.raises(ProcessLookupError):
        for _ in range(100):
            os.killpg(process.pid, 0)
            time.sleep(0.1)


@pytest.mark.skipif(sys.platform == 'win32', reason='signals of POSIX')
def test_the_tool_says_where_the_state_is_and_goes_on(unbroken, shapes, root, tmp_path):
    command = [sys.executable, 'tools/train.py', SMALL, '--work-dir', str(tmp_path)]
    command += ['--resume', '--cfg-options', *options(shapes)]
    env = dict(os.environ, PYTHONPATH=str(root))
    process = subprocess.Popen(
        command, cwd=root, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    for line in process.stdout:
        if 'Epoch(train)' in line:
            process.send_signal(signal.SIGTERM)
            break
    _, text = process.communicate(timeout=300)
    assert process.returncode == 143, text[-2000:]
    assert '--resume goes on from there' in text and 'Traceback' not in text
    done = subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert_same_weights(tmp_path, unbroken)
