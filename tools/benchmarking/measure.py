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
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

NAMES = ('ours', 'baseline')


@dataclass(frozen=True)
class Variant:
    """One of the two.

    Args:
        run: What is timed; takes what ``prepare`` gave.
        prepare: What precedes each run and is not timed.
    """

    run: Callable[[Any], Any]
    prepare: Callable[[], Any] = lambda: None


# Builds 'ours' or 'baseline' for some settings, the same inputs for both. A module's function, so
# that processes can hand it over.
Make = Callable[[str, Any], Variant]


@dataclass
class Comparison:
    """What was measured; dictionaries by the variants' names.

    Args:
        seconds: Of each run.
        mib: Peak memory of a run above what there was before it; None where it cannot be told.
        outputs: Of a run that was not timed.
    """

    seconds: dict[str, list[float]] = field(default_factory=dict)
    mib: dict[str, float | None] = field(default_factory=dict)
    outputs: dict[str, Any] = field(default_factory=dict)

    def median(self, name: str) -> float:
        """Median time of a variant in seconds."""
        return statistics.median(self.seconds[name])


def compare(
    make: Make, settings: Any, small: Any, repeats: int, device: str, memory: bool = True
) -> Comparison:
    """Measures two variants.

    Args:
        make: Builds them.
        settings: What for.
        small: Settings of little work, for a first run that loads libraries before memory is
            measured.
        repeats: Timed runs of each.
        device: Where they run.
        memory: Whether memory is measured.

    Returns:
        Times, memory and outputs.
    """
    result = Comparison(mib=dict.fromkeys(NAMES))
    if memory and torch.device(device).type == 'cpu':
        for name in NAMES:
            say(f'memory of {name} ...')
            result.mib[name] = _memory_of_process(make, name, settings, small)
    say('building and warming up ...')
    variants = {name: make(name, settings) for name in NAMES}
    for name, variant in variants.items():
        result.outputs[name] = variant.run(variant.prepare())
    if memory and torch.device(device).type == 'cuda':
        result.mib = {name: _memory_on_cuda(one, device) for name, one in variants.items()}
    result.seconds = {name: [] for name in NAMES}
    for repeat in range(repeats):
        # Neither is always the one that comes first.
        for name in NAMES if repeat % 2 == 0 else NAMES[::-1]:
            result.seconds[name].append(_time(variants[name], device))
        shown = ', '.join(f'{name} {result.seconds[name][-1]:.4g} s' for name in NAMES)
        say(f'{repeat + 1}/{repeats}: {shown}')
    return result


def report(
    name: str, result: Comparison, difference: float | None, measured: dict[str, Any]
) -> dict[str, Any]:
    """Prints a table and, as the last line, everything as one JSON object.

    Args:
        name: Of the benchmark.
        result: What was measured.
        difference: Largest difference of the outputs; None if they are not comparable.
        measured: What was measured, for the JSON object.

    Returns:
        What the last line says.
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
        **measured,
    }
    print(f'{name}: ours beside {measured["baseline"]}')
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
    row = {key: _plain(value) for key, value in row.items()}
    print(json.dumps(row, allow_nan=False), flush=True)
    return row


def circumstances(device: str, repeats: int, seed: int) -> dict[str, Any]:
    """What a benchmark ran on, for its JSON object.

    Args:
        device: Where it ran.
        repeats: Timed runs.
        seed: Of weights and inputs.
    """
    on_cuda = torch.device(device).type == 'cuda'
    return {
        'device': device,
        'device_name': torch.cuda.get_device_name(device) if on_cuda else platform.machine(),
        'threads': torch.get_num_threads(),
        'torch': torch.__version__,
        'dtype': 'float32',
        'tf32': torch.backends.cudnn.allow_tf32 if on_cuda else None,
        'repeats': repeats,
        'seed': seed,
        'memory': 'peak above the start of a run: '
        + ('allocated on the device' if on_cuda else 'resident, in a process of its own'),
    }


def largest_difference(one: Tensor, other: Tensor) -> float:
    """Largest absolute difference of two tensors of one shape; 0 if they are empty."""
    return (one - other).abs().max().item() if one.numel() else 0.0


def say(text: str) -> None:
    """Tells how far it is; stdout is for the result."""
    print(text, file=sys.stderr, flush=True)


def _time(variant: Variant, device: str) -> float:
    arguments = variant.prepare()
    _synchronise(device)
    start = time.perf_counter()
    variant.run(arguments)
    _synchronise(device)
    return time.perf_counter() - start


def _synchronise(device: str) -> None:
    if torch.device(device).type == 'cuda':
        torch.cuda.synchronize(device)


def _memory_on_cuda(variant: Variant, device: str) -> float:
    arguments = variant.prepare()
    _synchronise(device)
    torch.cuda.reset_peak_memory_stats(device)
    start = torch.cuda.memory_allocated(device)
    variant.run(arguments)
    _synchronise(device)
    return (torch.cuda.max_memory_allocated(device) - start) / 2**20


def _memory_of_process(make: Make, name: str, settings: Any, small: Any) -> float | None:
    """Runs a variant once in a process of its own; a process that dies makes it None."""
    context = multiprocessing.get_context('spawn')
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        task = pool.submit(_memory_here, make, name, settings, small, torch.get_num_threads())
        try:
            return task.result()
        except BrokenProcessPool:
            say(f'the process that measures the memory of {name} died; was there too little?')
            return None


def _memory_here(make: Make, name: str, settings: Any, small: Any, threads: int) -> float | None:
    torch.set_num_threads(threads)
    _free_at_once()
    # Libraries load themselves and start their threads.
    variant = make(name, small)
    variant.run(variant.prepare())
    variant = make(name, settings)
    arguments = variant.prepare()
    start = _start_of_peak()
    if start is None:
        return None
    variant.run(arguments)
    return (status_kib('VmHWM') - start) / 1024


def _free_at_once() -> None:
    """From 1 MiB on, what is freed goes back to the system: resident memory is what is in use."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(-3, 2**20)  # glibc: M_MMAP_THRESHOLD


def _start_of_peak() -> int | None:
    """Resident memory in KiB from which on peaks count; None where the system does not tell."""
    give_memory_back()
    start, peak = status_kib('VmRSS'), status_kib('VmHWM')
    # Where the peak could not be reset, an earlier one might hide the run's.
    return start if None not in (start, peak) and peak - start < 8 * 1024 else None


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


def _plain(value: Any) -> Any:
    """The value as JSON can say it; numbers that are none become null."""
    if isinstance(value, float):
        return float(f'{value:.6g}') if math.isfinite(value) else None
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return value
