"""Locks on folders, which end with the process that holds them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
import sys
import time
from collections.abc import Iterator

from vispropnet.errors import UserError

LOCK = '.lock'


@contextlib.contextmanager
def locked_folder(folder: str | os.PathLike, option: str = '--work-dir') -> Iterator[int]:
    """Keeps other processes out of a folder while a block runs.

    The lock ends with the block, or with the process, however that ends, and its forked children.
    On a file system without locks a warning is printed and the block runs all the same.

    Args:
        folder: The folder. It is made if it is missing.
        option: Option of the command line that names it, for messages.

    Yields:
        The lock's file descriptor; a process that inherits it holds the lock as well.

    Raises:
        UserError: naming the process and its start time if another one holds the lock, or if the
            folder cannot be made or written to.
    """
    try:
        os.makedirs(folder, exist_ok=True)
        descriptor = os.open(os.path.join(folder, LOCK), os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        reason = 'it is a file' if os.path.isfile(folder) else error.strerror
        raise UserError(f'folder {folder} cannot be written to: {reason}.') from None
    with os.fdopen(descriptor, 'r+') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = file.read(200) or 'another process'
            raise UserError(
                f'folder {folder} is in use by {owner}. Wait for it, end it, or choose another '
                f'{option}.'
            ) from None
        except OSError as error:
            print(
                f'warning: folder {folder} cannot be locked ({error.strerror}): make sure that no '
                'other process uses it.',
                file=sys.stderr,
            )
        owner, started = os.getpid(), time.strftime('%Y-%m-%d %H:%M:%S')
        file.truncate()
        file.write(f'process {owner} on {platform.node()}, started {started}')
        file.flush()
        try:
            yield descriptor
        finally:
            # Closing would not do: children that outlive the block have the same lock.
            if os.getpid() == owner:
                with contextlib.suppress(OSError):
                    fcntl.flock(file, fcntl.LOCK_UN)
