import errno
import fcntl
import signal
import subprocess
import sys

import pytest

from vispropnet.engine.folder_lock import locked_folder
from vispropnet.errors import UserError

# Holds the lock until it reads a line; a forked child, as a data-loading worker, lives longer.
OWNER = """
import os, sys, time
from vispropnet.engine.folder_lock import locked_folder
from vispropnet.engine.processes import die_with_parent
with locked_folder(sys.argv[1]):
    parent = os.getpid()
    if not os.fork():
        die_with_parent(parent)
        time.sleep(60)
        os._exit(1)
    print('locked', flush=True)
    sys.stdin.readline()
print('free', flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def owner(root, tmp_path):
    """A process that holds the lock on ``run`` until it reads a line."""
    command = [sys.executable, '-c', OWNER, tmp_path / 'run']
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with subprocess.Popen(command, cwd=root, **pipes) as process:
        process.stdout.readline()
        yield process
        process.kill()


def test_a_second_run_is_refused_with_process_and_time_until_the_first_ends(owner, tmp_path):
    message = (
        rf'^folder {tmp_path}/run is in use by process {owner.pid} on .*, started '
        r'20\d\d-\d\d-\d\d \d\d:\d\d:\d\d\. Wait for it, end it, or choose another --out\.$'
    )
    with pytest.raises(UserError, match=message), locked_folder(tmp_path / 'run', '--out'):
        pytest.fail('it was let in')
    owner.stdin.write(b'\n')
    owner.stdin.flush()
    assert owner.stdout.readline() == b'free\n'
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), locked_folder(tmp_path / 'run'):
            _ = 1 / 0


def test_an_owner_that_is_killed_leaves_no_lock(owner, tmp_path):
    owner.send_signal(signal.SIGKILL)
    owner.wait(20)
    owner.stdout.read()  # ends when the child has, too
    with locked_folder(tmp_path / 'run'):
        pass


def test_without_locks_in_the_file_system_a_warning_is_printed(tmp_path, capsys, monkeypatch):
    def fail(descriptor, operation):
        raise OSError(errno.ENOTSUP, 'Operation not supported')

    monkeypatch.setattr(fcntl, 'flock', fail)
    with locked_folder(tmp_path), locked_folder(tmp_path):
        pass
    warning = f'warning: folder {tmp_path} cannot be locked (Operation not supported): make sure'
    assert capsys.readouterr().err.count(warning) == 2
    # A folder that cannot be made is named.
    (tmp_path / 'file').touch()
    for path, reason in ((tmp_path / 'file', 'it is a file'), (tmp_path / 'file/run', 'Not a dir')):
        with pytest.raises(UserError, match=f'{path} cannot be written to: {reason}'):
            locked_folder(path).__enter__()
