"""Ends training on a signal, with a state that it can be resumed from."""

from __future__ import annotations

import atexit
import contextlib
import functools
import mmap
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from multiprocessing.context import ForkContext, ForkProcess
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from mmengine.dist import all_reduce_params, barrier, get_world_size, is_distributed
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from vispropnet.engine.processes import die_with_parent
from vispropnet.errors import Stopped
from vispropnet.registry import HOOKS

INTERRUPTED = 'interrupted.pth'
_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_LAUNCHER_SECONDS = 5.0


@HOOKS.register_module()
class InterruptHook(Hook):
    """On SIGTERM or SIGINT saves the state after the running iteration, and ends training.

    The state goes to ``interrupted.pth`` in the work dir, in the middle of an epoch if need be;
    a resumed run ends as one that was never stopped. With several ranks a signal to any of them
    ends all, after the same iteration. The same signal again ends the process at once; under a
    launcher, a repeated signal counts only after five seconds, because the launcher forwards
    signals.

    Raises:
        Stopped: when the state is saved.
    """

    # After all that changes the state: schedules, buffers, checkpoints.
    priority = 'LOWEST'

    def __init__(self) -> None:
        self._received: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}
        self._owner = os.getpid()
        self._votes: _Votes | None = None
        # Seen by data-loading workers, too, which are forked from this process.
        self._ending = mmap.mmap(-1, 1)
        # Seconds before a repeated signal counts, and the time of the first one.
        self._patience = self._first = 0.0

    def before_train(self, runner: Runner) -> None:
        """Listens for signals, if in the main thread, and validates if that was interrupted."""
        self._received, self._owner, self._ending[0] = None, os.getpid(), 0
        self._patience = _LAUNCHER_SECONDS if is_distributed() else 0.0
        self._votes = _Votes() if is_distributed() and get_world_size() > 1 else None
        if threading.current_thread() is threading.main_thread():
            self._before = {one: signal.signal(one, self._receive) for one in _SIGNALS}
            # Before multiprocessing ends what workers are left.
            atexit.register(self.release)
        # All other hooks are ready by now.
        if getattr(runner, 'validation_due', False) and runner.val_loop is not None:
            runner.validation_due = False
            runner.val_loop.run()

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Ends training after an iteration, if a signal came."""
        wanted = self._received is not None
        if self._votes is not None:
            wanted = self._votes.cast(wanted)
        # Gradients that are still being summed up are in no checkpoint.
        if wanted and runner.optim_wrapper.should_update():
            self._stop(runner, runner.iter + 1, batch_idx + 1, validation_due=False)

    def after_val_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Ends validation, which starts again from its beginning when training is resumed."""
        if self._received is not None and runner._train_loop is not None:
            self._stop(runner, runner.iter, 0, validation_due=True)

    def after_train(self, runner: Runner) -> None:
        """Listens no longer."""
        if self._votes is not None:
            self._votes.end()
        self.release()

    def release(self) -> None:
        """Restores the handlers of the signals; calling it again does nothing."""
        self._ending[0] = 1
        for one, before in self._before.items():
            signal.signal(one, before)
        self._before = {}
        atexit.unregister(self.release)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        received = signal.Signals(number)
        if os.getpid() != self._owner:
            # A data-loading worker: Ctrl-C is sent to all of a terminal, SIGTERM to all of a job,
            # and the running iteration needs its batches. The parent ends it afterwards.
            if received is signal.SIGTERM and self._ending[0]:
                # As a worker of torch's does: others fail the parent, which waits for them.
                os._exit(0)
            return
        # Launchers send SIGTERM after a Ctrl-C: only the same signal again is impatience.
        if self._received is received:
            if time.monotonic() - self._first >= self._patience:
                os._exit(128 + number)
            return
        if self._received is None:
            self._received, self._first = received, time.monotonic()
        text = f'{received.name}: saving the state after this iteration; once more ends at once\n'
        # Not print: the signal may have come in the middle of one.
        with contextlib.suppress(OSError):  # nobody may be reading any more
            os.write(2, text.encode())

    def _stop(self, runner: Runner, done: int, batches_done: int, validation_due: bool) -> None:
        received = self._received or signal.SIGTERM
        meta = dict(epoch=runner.epoch, iter=done, world_size=get_world_size())
        meta.update(batches_done=batches_done, validation_due=validation_due)
        meta['batch_size'] = runner.train_dataloader.batch_sampler.batch_size
        if self._votes is not None and not validation_due:
            # Ranks gather statistics of their own. Running means are linear: averaged here and at
            # the end of the epoch they come out as averaged at the end alone.
            all_reduce_params(runner.model.buffers(), op='mean')
        runner.save_checkpoint(runner.work_dir, INTERRUPTED, meta=meta, by_epoch=False)
        if not validation_due:
            # Nobody leaves before the file is there; in validation the others are elsewhere.
            barrier()
        self.release()
        runner.visualizer.close()
        when = f'in epoch {runner.epoch + 1}, after iteration {done}'
        if validation_due:
            when = f'in the validation after epoch {runner.epoch}'
        place = Path(runner.work_dir, INTERRUPTED)
        raise Stopped(
            f'stopped by {received.name} {when}. The state is in {place}: continue with --resume.',
            status=128 + received,
        )


def spare_workers(loader: DataLoader) -> None:
    """Lets training decide when the forked workers of a loader, changed in place, end."""
    context = loader.multiprocessing_context or multiprocessing.get_context()
    if loader.num_workers > 0 and context.get_start_method() == 'fork':
        loader.worker_init_fn = functools.partial(_init_worker, loader.worker_init_fn)
        loader.multiprocessing_context = _WorkerContext()


def _init_worker(before: Callable[[int], None] | None, number: int) -> None:
    """Starts a data-loading worker that SIGTERM does not end before training ends."""
    if before is not None:
        before(number)
    # A rank ends without waiting for anybody.
    die_with_parent(os.getppid())
    # Forked with the handler of its parent, over which torch has put one of its own: that ends the
    # worker when somebody else than the parent sends the signal.
    handler = signal.getsignal(signal.SIGTERM)
    if isinstance(getattr(handler, '__self__', None), InterruptHook):
        signal.signal(signal.SIGTERM, handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


class _WorkerProcess(ForkProcess):
    """A worker that receives SIGTERM only after :func:`_init_worker` has set a handler."""

    def start(self) -> None:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        try:
            super().start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _WorkerContext(ForkContext):
    Process = _WorkerProcess


class _Votes:
    """Lets ranks agree on ending, without waiting for each other.

    The votes after an iteration are summed while the next one runs, and read after that: by then
    the sum has arrived, and is the same for all.
    """

    def __init__(self) -> None:
        self._group = torch.distributed.new_group(backend='gloo')  # on the host: no wait for a GPU
        self._sum = torch.zeros(1)
        self._going_on: Any = None

    def cast(self, wanted: bool) -> bool:
        """Votes for ending or not; returns whether any rank voted for it an iteration before."""
        decided = False
        if self._going_on is not None:
            self._going_on.wait()
            decided = bool(self._sum.item())
        self._sum = torch.full((1,), float(wanted))
        self._going_on = torch.distributed.all_reduce(self._sum, group=self._group, async_op=True)
        if decided:
            self.end()
        return decided

    def end(self) -> None:
        """Waits for the last vote."""
        if self._going_on is not None:
            self._going_on.wait()
            self._going_on = None
