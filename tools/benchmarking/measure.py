"""Time and memory of two variants of one computation, measured side by side.

Runs alternate, so that whatever else the machine does hits both alike; the times are medians.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import math
import multiprocessing
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from benchmarking.settings import Settings

NAMES = ('ours', 'baseline')


@dataclass(frozen=True)
class Variant:
    """One of the two.

    Args:
        run: Timed; takes what ``prepare`` gave.
        prepare: Precedes each run and is not timed.
    """

    run: Callable[[Any], Any]
    prepare: Callable[[], Any] = lambda: None

    def __call__(self) -> Any:
        """Runs once, and gives what the run gave."""
        return self.run(self.prepare())


# Builds 'ours' or 'baseline' for some settings, with the same inputs for both. A module's function,
# so that it can be handed over to processes.
Make = Callable[[str, Any], Variant]


@dataclass
class Comparison:
    """Measurements; dictionaries by the variants' names.

    Args:
        seconds: Of each run.
        mib: Peak memory of a run above what there was before it; None where it is unknown.
        outputs: Of a run that was not timed.
    """

    seconds: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in NAMES})
    mib: dict[str, float | None] = field(default_factory=lambda: dict.fromkeys(NAMES))
    outputs: dict[str, Any] = field(default_factory=dict)

    def median(self, name: str) -> float:
        """Median time of a variant in seconds."""
        return statistics.median(self.seconds[name])


def compare(make: Make, settings: Settings, small: Settings | None = None) -> Comparison:
    """Measures two variants.

    Args:
        make: Builds them.
        settings: Of both.
        small: Settings of little work, for a first run that loads libraries before memory is
            measured; may be left out where none is measured.
    """
    result = Comparison()
    on_cuda = torch.device(settings.device).type == 'cuda'
    if settings.memory and not on_cuda:
        for name in NAMES:
            say(f'memory of {name} ...')
            result.mib[name] = in_a_process(_resident_peak, make, name, settings, small)
    say('building and warming up ...')
    variants = {name: make(name, settings) for name in NAMES}
    for name, variant in variants.items():
        result.outputs[name] = variant()
    if settings.memory and on_cuda:
        result.mib = {name: _cuda_peak(one, settings.device) for name, one in variants.items()}
    for repeat in range(settings.repeats):
        # Neither is always the one that comes first.
        for name in NAMES if repeat % 2 == 0 else NAMES[::-1]:
            result.seconds[name].append(seconds_of(variants[name], settings.device))
        shown = ', '.join(f'{name} {result.seconds[name][-1]:.4g} s' for name in NAMES)
        say(f'{repeat + 1}/{settings.repeats}: {shown}')
    return result


def report(
    name: str,
    settings: Settings,
    result: Comparison,
    difference: float | None = None,
    **measured: Any,
) -> dict[str, Any]:
    """Prints a table and, as the last line, everything as one JSON object.

    Args:
        name: Of the benchmark.
        settings: Of the benchmark; they are in the object unless ``measured`` names them anew.
        result: Measurements.
        difference: Largest difference of the outputs; None if they are not comparable.
        measured: Further entries of the object; ``baseline`` says what ours is compared with.

    Returns:
        The object.
    """
    ours, baseline = (result.median(one) for one in NAMES)
    row = {
        'name': name,
        'ours_s': ours,
        'baseline_s': baseline,
        'ratio': baseline / max(ours, 1e-12),
        'ours_mib': result.mib['ours'],
        'baseline_mib': result.mib['baseline'],
        'max_abs_diff': difference,
        'ours_times_s': result.seconds['ours'],
        'baseline_times_s': result.seconds['baseline'],
        **circumstances(settings),
        **measured,
    }
    print(f'{name}: ours beside {row["baseline"]}')
    print(f'{"":14}{"time (median)":>16}{"peak memory":>16}')
    for one in NAMES:
        mib = row[f'{one}_mib']
        shown = 'unknown' if mib is None else f'{mib:.1f} MiB'
        print(f'{one:14}{row[f"{one}_s"]:>14.4g} s{shown:>16}')
    mib = result.mib['ours'], result.mib['baseline']
    less = '' if None in mib else f'{mib[1] / max(mib[0], 0.1):.2f}x'
    print(f'{"ratio":14}{row["ratio"]:>15.2f}x{less:>16}')
    if difference is not None:
        print(f'largest difference of the outputs: {difference:.3g}')
    return print_json(row)


def print_json(row: dict[str, Any]) -> dict[str, Any]:
    """Prints one line of JSON, numbers with six digits and those that are not finite as null.

    Returns:
        What the line holds.
    """
    row = _plain(row)
    print(json.dumps(row, allow_nan=False), flush=True)
    return row


def circumstances(settings: Settings) -> dict[str, Any]:
    """Settings, device and versions of a benchmark, for its JSON object."""
    device = settings.device
    on_cuda = torch.device(device).type == 'cuda'
    return {
        **asdict(settings),
        'device_name': torch.cuda.get_device_name(device) if on_cuda else platform.machine(),
        'threads': torch.get_num_threads(),
        'torch': torch.__version__,
        'dtype': 'float32',
        'tf32': torch.backends.cudnn.allow_tf32 if on_cuda else None,
        'memory': 'peak above the start of a run: '
        + ('allocated on the device' if on_cuda else 'resident, in a process of its own'),
    }


def largest_difference(one: Tensor, other: Tensor) -> float:
    """Largest absolute difference of two tensors of one shape; 0 if they are empty."""
    return (one - other).abs().max().item() if one.numel() else 0.0


def say(text: str) -> None:
    """Prints progress to stderr; stdout is for the result."""
    print(text, file=sys.stderr, flush=True)


def seconds_of(variant: Variant, device: str = 'cpu') -> float:
    """Seconds of one run."""
    arguments = variant.prepare()
    _synchronise(device)
    start = time.perf_counter()
    variant.run(arguments)
    _synchronise(device)
    return time.perf_counter() - start


def in_a_process(function: Callable, *arguments: Any) -> Any:
    """Runs a function of a module in a process of its own; None if that died."""
    context = multiprocessing.get_context('spawn')
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        try:
            return pool.submit(function, *arguments).result()
        except BrokenProcessPool:
            say('a process that measures died; was there too little memory?')
            return None


def give_memory_back() -> None:
    """Gives what was freed back to the system, and lets peaks count from now on."""
    gc.collect()
    # Taken again, it would not count.
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    with contextlib.suppress(OSError), open('/proc/self/clear_refs', 'w') as file:
        file.write('5')  # resets the peak


def status_kib(key: str) -> int | None:
    """An entry of the process's status in KiB, such as ``VmHWM``; None where there is none."""
    try:
        with open(f'/proc/{os.getpid()}/status') as file:
            return int(dict(line.split(':', 1) for line in file)[key].split()[0])
    except (OSError, KeyError):
        return None


def _synchronise(device: str) -> None:
    if torch.device(device).type == 'cuda':
        torch.cuda.synchronize(device)


def _cuda_peak(variant: Variant, device: str) -> float:
    arguments = variant.prepare()
    _synchronise(device)
    torch.cuda.reset_peak_memory_stats(device)
    start = torch.cuda.memory_allocated(device)
    variant.run(arguments)
    _synchronise(device)
    return (torch.cuda.max_memory_allocated(device) - start) / 2**20


def _resident_peak(make: Make, name: str, settings: Settings, small: Settings) -> float | None:
    # From 1 MiB on, what is freed goes back to the system: resident memory is what is in use.
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(-3, 2**20)  # glibc: M_MMAP_THRESHOLD
    # Libraries load themselves and start their threads.
    make(name, small)()
    variant = make(name, settings)
    arguments = variant.prepare()
    give_memory_back()
    start, peak = status_kib('VmRSS'), status_kib('VmHWM')
    # Where the peak could not be reset, an earlier one might hide the run's.
    if None in (start, peak) or peak - start >= 8 * 1024:
        return None
    variant.run(arguments)
    return (status_kib('VmHWM') - start) / 1024


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return float(f'{value:.6g}') if math.isfinite(value) else None
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return value
