"""Fixtures and marks for all tests."""

import os
import random
import signal
import subprocess
import sys
from collections import defaultdict
from contextlib import nullcontext
from pathlib import Path

import pytest

# Before torch is imported, also in processes that tests start: several threads add up in another
# order now and then, and workers of pytest-xdist that share the cores only slow each other down.
os.environ['OMP_NUM_THREADS'] = '1'

# Started in the background of a shell, the tests would hand an ignored Ctrl-C down to the processes
# that they end with it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

import vispropnet  # noqa: E402, F401  (first of all: test modules may import mmdet before it)

ROOT = Path(__file__).resolve().parent.parent

# Their files start processes and take longest: first, so that none is left for the end.
LONG = ('faults', 'engine', 'apis', 'tools')


def pytest_collection_modifyitems(config, items):
    items.sort(key=lambda item: item.path.relative_to(ROOT).parts[1] not in LONG)
    for item in items:
        # A file stays on one worker of pytest-xdist, so that its fixtures are made once.
        if not item.get_closest_marker('xdist_group'):
            item.add_marker(pytest.mark.xdist_group(item.path.stem))
    marked = [item for item in items if item.get_closest_marker('gpu')]
    if not marked:
        return
    import torch

    if torch.cuda.is_available():
        return
    for item in marked:
        if any(mark.kwargs.get('real') for mark in item.iter_markers('gpu')):
            item.add_marker(pytest.mark.skip(reason='needs a real GPU, for its own kernels'))
    repeated = _repeated(marked)
    items[:] = [item for item in items if item not in repeated]
    config.hook.pytest_deselected(items=repeated)


def _repeated(items):
    """Parametrised tests whose every value another one of the same function has too.

    A pretended GPU computes as the CPU does, so no combination of values gives other numbers there.
    New values meet the first ones of other arguments: the most telling value comes first.
    """
    seen, repeated = defaultdict(set), []
    for item in items:
        function, _, values = item.nodeid.partition('[')
        values = set(enumerate(values.split('-')))
        if values <= seen[function]:
            repeated.append(item)
        seen[function] |= values
    return repeated


@pytest.fixture(scope='session')
def root():
    """The checkout: where configs/ and tools/ are."""
    return ROOT


@pytest.fixture(autouse=True)
def seeded():
    """Seeds the global generators, so that no test depends on those that ran before it."""
    random.seed(0)
    if 'numpy' in sys.modules:
        sys.modules['numpy'].random.seed(0)
    if 'torch' in sys.modules:
        sys.modules['torch'].manual_seed(0)


@pytest.fixture(autouse=True)
def gpu_of_mark(request, seeded):
    """Gives tests marked ``gpu`` a GPU: the machine's own, else a pretended one."""
    if not request.node.get_closest_marker('gpu'):
        yield
        return
    import torch

    from tests.pretended_gpu.context import pretended_gpu

    device = nullcontext() if torch.cuda.is_available() else pretended_gpu()
    with pytest.MonkeyPatch.context() as patch, device as pretended:
        # In convolutions TF32 is on by default: 10 bits, too few to compare with a CPU.
        patch.setattr(torch.backends.cudnn, 'allow_tf32', False)
        yield
    if pretended is not None:
        # Also those that the tested code caught.
        assert not pretended.mismatches and not pretended.hazards, pretended.report()


@pytest.fixture(scope='session')
def run_python():
    """Runs this Python in a new process, in the checkout; gives it, completed, with its output.

    Called as ``run_python('-c', code)``, with options of :func:`subprocess.run` such as ``cwd``.
    """

    def run(*arguments, **options):
        fixed = dict(stdin=subprocess.DEVNULL, capture_output=True, text=True)
        options = {'cwd': ROOT, 'timeout': 300, **options, **fixed}
        return subprocess.run([sys.executable, *map(str, arguments)], **options)

    return run
