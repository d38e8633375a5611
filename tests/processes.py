"""Tools in processes of their own, forked from one that has imported what they need."""

import multiprocessing
import os
import runpy
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from tests.small_runs import hastened

ROOT = Path(__file__).resolve().parent.parent

_CONTEXT = multiprocessing.get_context('forkserver')
_CONTEXT.set_forkserver_preload(
    ['vispropnet.apis.training', 'vispropnet.apis.testing', 'torch.utils.tensorboard']
    + [f'mmdet.{part}' for part in ('datasets', 'engine', 'evaluation', 'visualization')]
)


class Tool:
    """A tool that runs beside the test, in a session of its own.

    Args:
        arguments: The tool, such as ``tools/train.py``, and its arguments.
        environment: Variables that are set besides those of the test.
    """

    def __init__(self, *arguments, **environment):
        self._folder = tempfile.TemporaryDirectory()
        pipe = Path(self._folder.name, 'output')
        os.mkfifo(pipe)
        arguments = list(map(str, arguments))
        environment = {**os.environ, **environment}
        self.process = _CONTEXT.Process(target=_run, args=(arguments, environment, str(pipe)))
        self.process.start()
        self.pid = self.process.pid
        # What the tool writes, line by line; waits until it has opened its end.
        self.output = pipe.open(errors='replace')

    def send_signal(self, number):
        os.kill(self.pid, number)

    def wait(self, timeout=120):
        """Waits for the end.

        Returns:
            The exit status, negative for a signal, and what of the output was not yet read.
        """
        watch = threading.Timer(timeout, self.process.kill)
        watch.start()
        text = self.output.read()
        self.process.join()
        watch.cancel()
        self.output.close()
        self._folder.cleanup()
        return self.process.exitcode, text


def start_python(*arguments, **pipes):
    """Starts a new Python in the checkout, with pipes from its output."""
    options = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    options.update(pipes, env={**os.environ, 'PYTHONPATH': str(ROOT)})
    return subprocess.Popen([sys.executable, *map(str, arguments)], **options)


def run_tool(*arguments, **environment):
    """Runs a tool to its end; gives its exit status and output."""
    return Tool(*arguments, **environment).wait()


def run_ranks(count, tool, config, *arguments):
    """Runs a tool in several ranks, as torchrun does; gives statuses and outputs by rank."""
    with socket.socket() as free:
        free.bind(('localhost', 0))
        port = free.getsockname()[1]
    place = dict(MASTER_ADDR='localhost', MASTER_PORT=str(port), WORLD_SIZE=str(count))
    command = [tool, config, '--launcher', 'pytorch', *arguments]
    ranks = [Tool(*command, **place, RANK=str(n), LOCAL_RANK=str(n)) for n in range(count)]
    return [one.wait() for one in ranks]


def in_two_ranks(function, *arguments):
    """Calls ``function(rank, *arguments)`` in two processes, and waits for both."""
    both = [_CONTEXT.Process(target=function, args=(rank, *arguments)) for rank in (0, 1)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert [one.exitcode for one in both] == [0, 0]


def _run(arguments, environment, output):
    os.setsid()
    os.environ.clear()
    os.environ.update(environment)
    for number, path, flags in ((0, os.devnull, os.O_RDONLY), (1, output, os.O_WRONLY)):
        os.dup2(os.open(path, flags), number)
    os.dup2(1, 2)
    sys.stdout.reconfigure(line_buffering=True)
    os.chdir(ROOT)
    sys.argv = arguments
    with hastened():
        runpy.run_path(arguments[0], run_name='__main__')
