"""Runs trials as processes of their own, several at a time, and resumes those that were cut."""

from __future__ import annotations

import functools
import math
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from vispropnet.engine.processes import die_with_parent
from vispropnet.errors import Stopped, UserError
from vispropnet.fileio import read_json, write_json
from vispropnet.trials.plan import ROOT, Plan, Run, shown, tail_lines
from vispropnet.visualization.training_log import read_scalars

LOG_LINES = 25
_POLL_SECONDS = 0.2
_PROGRESS_SECONDS = 60
_PATIENCE_SECONDS = 20


def run_plan(plan: Plan, slots: Sequence[str], lock: int, say: Callable[[str], None]) -> list[str]:
    """Runs what is not done yet.

    Args:
        plan: The runs.
        slots: Of :func:`~vispropnet.trials.devices.find_slots`, one for each run at a time.
        lock: File descriptor for the processes to inherit.
        say: Called with each line of progress.

    Returns:
        Keys of the runs that failed, or could not begin as one that they need failed.

    Raises:
        Stopped: on SIGTERM and SIGINT, when the runs have saved their states.
    """
    for run in plan.runs.values():
        run.failure.unlink(missing_ok=True)
    for run in plan.left():
        # Of a run that was kept, and whose results were removed to run it anew.
        run.kept.unlink(missing_ok=True)
    scheduler = _Scheduler(plan, list(slots), lock, say)
    # Ended like a Ctrl-C, so that the processes begun are ended too.
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        scheduler.work()
    except KeyboardInterrupt as interrupt:
        name, *_ = (*interrupt.args, 'SIGINT')
        raise Stopped(
            f'stopped by {name}. The same command with --resume goes on where the runs are.',
            status=128 + signal.Signals[name],
        ) from None
    finally:
        scheduler.stop()
        signal.signal(signal.SIGTERM, before)
    return scheduler.failed


def command_lines(plan: Plan) -> list[str]:
    """Returns a line of shell for each run that is left, behind a comment with what it needs."""
    lines = []
    for run in plan.left():
        after = [key for key in run.needs if plan.runs[key].next_step() is not None]
        lines.append(f'# {run.key}' + (f', after {", ".join(after)}' if after else ''))
        lines.append(' && '.join('python ' + shlex.join(run.steps[one]) for one in run.left()))
    return lines


class _Working(NamedTuple):
    """A step that is being run."""

    run: Run
    step: str
    process: subprocess.Popen
    slot: str
    began: float


class _Scheduler:
    def __init__(self, plan: Plan, slots: list[str], lock: int, say: Callable[[str], None]) -> None:
        self.plan, self.free, self.lock, self.say = plan, slots, lock, say
        self.waiting = plan.left()
        self.working: list[_Working] = []
        self.failed: list[str] = []
        self.diverged: set[str] = set()
        self.began = self.reported = time.monotonic()
        self.share_before = self._share()
        self.threads = str(max(1, (os.cpu_count() or 1) // len(slots)))

    def work(self) -> None:
        done = len(self.plan.runs) - len(self.waiting)
        self.say(f'{len(self.plan.runs)} runs, {done} of them done; {len(self.free)} at a time')
        # A queue of a cluster may have trained and tested some.
        for run in self.plan.runs.values():
            lost = [key for key in run.needs if key in self.diverged]
            if lost:
                self.diverged.add(run.key)
                self._fail_for(run, lost[0])
            elif 'train' in run.steps and run.trained():
                self._has_diverged(run)
        self.waiting = [run for run in self.waiting if run.key not in self.diverged]
        while self.waiting or self.working:
            self._drop_those_in_vain()
            for run in [run for run in self.waiting if self._ready(run)]:
                if self.free:
                    self.waiting.remove(run)
                    self._begin(run, self.free.pop(0))
            for one in [one for one in self.working if one.process.poll() is not None]:
                self.working.remove(one)
                self._end(one)
            if time.monotonic() - self.reported > _PROGRESS_SECONDS:
                self._report()
            time.sleep(_POLL_SECONDS)

    def stop(self) -> None:
        """Ends what is still going on."""
        for one in self.working:
            one.process.terminate()
        end = time.monotonic() + _PATIENCE_SECONDS
        for one in self.working:
            try:
                one.process.wait(max(0.1, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                one.process.kill()
                one.process.wait()

    def _ready(self, run: Run) -> bool:
        return all(key not in self.diverged and self.plan.runs[key].trained() for key in run.needs)

    def _drop_those_in_vain(self) -> None:
        ahead = {run.key for run in (*self.waiting, *(one.run for one in self.working))}
        for run in list(self.waiting):
            lost = [key for key in run.needs if key not in ahead]
            if lost and not self._ready(run):
                self.waiting.remove(run)
                self._fail_for(run, lost[0])

    def _begin(self, run: Run, slot: str) -> None:
        step = run.next_step()
        run.folder.mkdir(parents=True, exist_ok=True)
        env = dict(os.environ)
        # Sums come out the same however many runs there are at a time.
        env['OMP_NUM_THREADS'] = env['MKL_NUM_THREADS'] = self.threads if slot else '1'
        if slot:
            env['CUDA_VISIBLE_DEVICES'] = slot
        env['PYTHONPATH'] = os.pathsep.join([str(ROOT), *filter(None, [env.get('PYTHONPATH')])])
        with run.log(step).open('ab') as log:
            process = subprocess.Popen(
                [sys.executable, '-u', *run.steps[step]],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=env,
                pass_fds=(self.lock,),
                preexec_fn=functools.partial(die_with_parent, os.getpid()),
            )
        self.working.append(_Working(run, step, process, slot, time.monotonic()))
        self.say(f'{run.key}: {step}' + (f' on GPU {slot}' if slot else ''))

    def _end(self, one: _Working) -> None:
        run, code, after = one.run, one.process.returncode, one.run.next_step()
        # What is whole on disk counts, also if the process stumbled after writing it.
        if after == one.step:
            lines = tail_lines(run.log(one.step), LOG_LINES)
            if not code:
                end = run.checkpoint if one.step == 'train' else run.results
                reason = f'it ended without an error, and without {shown(end)}'
                lines = [*lines[1 - LOG_LINES :], reason]
            self._fail(run, one.step, code, lines)
        elif one.step == 'train' and self._has_diverged(run):
            pass
        elif after is None:
            self.say(f'{run.key}: done')
        else:
            self.say(f'{run.key}: {one.step} took {_time(time.monotonic() - one.began)}')
            self._begin(run, one.slot)
            return
        self.free.append(one.slot)
        self._report()

    def _has_diverged(self, run: Run) -> bool:
        """Checks a finished training for weights that mean nothing, and marks it if so."""
        try:
            rows = read_scalars(run.folder / 'train')
        except UserError:
            return False
        where = [row['iter'] for row in rows if not math.isfinite(row.get('loss', 0))]
        if where:
            self.diverged.add(run.key)
            lines = tail_lines(run.log('train'), LOG_LINES - 1)
            reason = f'the loss is not a finite number at iteration {where[0]}'
            self._fail(run, 'train', 0, [*lines, reason])
        return bool(where)

    def _fail_for(self, run: Run, lost: str) -> None:
        """Marks a run that cannot have the weights it takes, with the log of those."""
        lines, reason = [], 'is done, but its weights are gone'
        if lost in self.failed:
            # What others only start from is in no table that would show it.
            lines = read_json(self.plan.runs[lost].failure)['lines'][1 - LOG_LINES :]
            reason = 'failed'
        self._fail(run, 'needs', None, [*lines, f'{lost}, whose weights it takes, {reason}'])

    def _fail(self, run: Run, step: str, code: int | None, lines: list[str]) -> None:
        self.failed.append(run.key)
        log = shown(run.log(step)) if step in run.steps else None
        content = dict(run=run.key, step=step, exit=code, log=log, lines=lines)
        write_json(run.failure, content, indent=1)
        last = f': {lines[-1]}' if lines else ''
        self.say(f'{run.key}: FAILED in {step}{last}')

    def _share(self) -> float:
        runs = self.plan.runs.values()
        # Trainings take as long as they have epochs, about; tests next to nothing.
        weights = [run.epochs if 'train' in run.steps else 0.1 for run in runs]
        done = sum(weight * run.share_done() for weight, run in zip(weights, runs, strict=True))
        return done / sum(weights)

    def _report(self) -> None:
        self.reported = time.monotonic()
        share, passed = self._share(), self.reported - self.began
        gained = share - self.share_before
        left = f', {_time(passed * (1 - share) / gained)} left' if gained > 0.005 else ''
        going = ', '.join(f'{one.run.key} {one.run.share_done():.0%}' for one in self.working)
        self.say(f'{share:.0%} of all done{left}' + (f'; {going}' if going else ''))


def _time(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f'{hours} h {minutes:02} min' if hours else f'{minutes}:{seconds:02} min'


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt(signal.Signals(number).name)
