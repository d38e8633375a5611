"""Times on a quiet machine and beside spinning processes, by the way that threads wait for work."""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from benchmarking import infer, postprocess, train
from benchmarking.measure import Variant, circumstances, in_a_process, print_json, say, seconds_of
from benchmarking.settings import BusySettings as Settings
from benchmarking.settings import InferSettings, PostprocessSettings, TrainSettings
from vispropnet.engine.acceleration import keep_freed_memory
from vispropnet.errors import UserError
from vispropnet.threads import VARIABLES, WAIT

# Ends when its parent does.
_SPIN = """
import os
parent = os.getppid()
print(flush=True)
while os.getppid() == parent:
    for _ in range(100_000):
        pass
"""
# Those of GNU's and of LLVM's library; said aloud, so that vispropnet leaves them.
_DEFAULTS = {'GOMP_SPINCOUNT': '300000', 'KMP_BLOCKTIME': '200'}
# Seconds after which no further run begins.
_ENOUGH = 20.0

Times = dict[str, list[float]]


def benchmark(settings: Settings) -> dict[str, Any]:
    """Measures each work with each policy, in turn, each time in a process of its own.

    A process reads the policy when it imports torch. It measures quiet, then busy.

    Returns:
        The JSON object of the last line. ``rows`` have the medians ``quiet_s`` and ``busy_s``,
        ``quiet_ratio`` and ``busy_ratio``, the times of the first policy by them, above 1 is
        faster, and the medians of each process.

    Raises:
        UserError: if a process died.
    """
    pairs = [(work, policy) for work in settings.works for policy in settings.policies]
    times: dict[tuple[str, str], Times] = {pair: {'quiet': [], 'busy': []} for pair in pairs}
    for repeat in range(settings.repeats):
        for work, policy in pairs if repeat % 2 == 0 else pairs[::-1]:
            with environment(waiting(policy)):
                found = in_a_process(measure, work, settings)
            if found is None:
                raise UserError(
                    f'the process of {work}, {policy}, died; was there too little memory?'
                )
            for load, seconds in found.items():
                times[work, policy][load].append(statistics.median(seconds))
            shown = ', '.join(
                f'{load} {some[-1]:.4g} s' for load, some in times[work, policy].items()
            )
            say(f'{repeat + 1}/{settings.repeats}: {work}, {policy}: {shown}')
    rows = table(times, settings.policies[0])
    print(f'{"work":13}{"policy":>9}{"quiet":>12}{"ratio":>8}{"busy":>12}{"ratio":>8}')
    for row in rows:
        cells = ''.join(
            f'{row[f"{load}_s"]:>10.4g} s{row[f"{load}_ratio"]:>7.2f}x'
            for load in ('quiet', 'busy')
        )
        print(f'{row["work"]:13}{row["policy"]:>9}{cells}')
    variables = {policy: waiting(policy) for policy in settings.policies}
    return print_json(
        {'name': 'busy', **circumstances(settings), 'environment': variables, 'rows': rows}
    )


def table(times: dict[tuple[str, str], Times], first: str) -> list[dict[str, Any]]:
    """Medians of each work and policy, and ratios to those of the first policy.

    Args:
        times: By work and policy, and quiet or busy, seconds of each process.
        first: The policy that others are compared with.
    """
    rows = []
    for (work, policy), found in times.items():
        row: dict[str, Any] = {'work': work, 'policy': policy}
        for load, seconds in found.items():
            row[f'{load}_s'] = statistics.median(seconds)
            row[f'{load}_ratio'] = statistics.median(times[work, first][load]) / row[f'{load}_s']
            row[f'{load}_times_s'] = seconds
        rows.append(row)
    return rows


def measure(work: str, settings: Settings) -> Times:
    """Times runs of a work in this process, quiet and then busy.

    Args:
        work: ``'postprocess'``, ``'infer'`` or ``'train'``.
        settings: How many runs, and beside how much.
    """
    variant = _variant(work, settings)
    for _ in range(2):
        variant()
    times = {'quiet': _time(variant, settings.runs)}
    with spinning(settings.load):
        times['busy'] = _time(variant, settings.runs)
    return times


def waiting(policy: str) -> dict[str, str]:
    """Variables of the environment that make threads wait as a policy says.

    Args:
        policy: As in :class:`~benchmarking.settings.BusySettings`.
    """
    named = {'default': _DEFAULTS, 'ours': WAIT, 'passive': {'OMP_WAIT_POLICY': 'PASSIVE'}}
    return named.get(policy) or {'GOMP_SPINCOUNT': policy}


@contextlib.contextmanager
def environment(variables: dict[str, str]) -> Iterator[None]:
    """Gives processes that are started these variables, and no others of how threads wait."""
    before = {name: os.environ.pop(name, None) for name in VARIABLES}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name in variables:
            os.environ.pop(name, None)
        os.environ.update({name: value for name, value in before.items() if value is not None})


@contextlib.contextmanager
def spinning(count: int) -> Iterator[None]:
    """Runs processes beside that do nothing but take time of the processors."""
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            one = stack.enter_context(
                subprocess.Popen([sys.executable, '-c', _SPIN], stdout=subprocess.PIPE)
            )
            stack.callback(one.kill)
            one.stdout.readline()
        yield


def _time(variant: Variant, runs: int) -> list[float]:
    seconds: list[float] = []
    while len(seconds) < runs and sum(seconds) < _ENOUGH:
        seconds.append(seconds_of(variant))
    return seconds


def _variant(work: str, settings: Settings) -> Variant:
    if work == 'postprocess':
        return postprocess.make('ours', PostprocessSettings(seed=settings.seed))
    shared = dict(
        config=settings.config, baseline=settings.config, size=settings.size, seed=settings.seed
    )
    if work == 'infer':
        return infer.make('ours', InferSettings(**shared))
    # As training does.
    keep_freed_memory()
    return train.make('ours', TrainSettings(**shared, batch_size=settings.batch_size))
