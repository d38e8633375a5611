"""The error that a user can mend, and the report that tools make of it."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from typing import NoReturn

# Faults of a disk, and what helps.
_DISK_FAULTS = {
    errno.ENOSPC: 'Free some space, or write to another disk.',
    errno.EDQUOT: 'Free some space, have the quota raised, or write to another disk.',
    errno.EFBIG: 'Raise the limit on the size of files (ulimit -f), or write to another disk.',
    errno.EROFS: 'Write to a folder that can be written to.',
    errno.EIO: 'The disk or the network to it may be failing; use another one.',
}


class UserError(Exception):
    """Bad input: a file, a key, an option or a checkpoint that its owner can mend.

    The text names what was found, where, and what was expected, in one or a few lines. Tools print
    it without a traceback and exit with status 2 (see :func:`report_user_errors`).
    """

    def __init__(self, message: str) -> None:
        # A data-loading worker hands its error over as the text of a traceback: keeps its end.
        marker = f'\n{type(self).__module__}.{type(self).__qualname__}: '
        if 'Original Traceback' in message and marker in message:
            message = message.rpartition(marker)[2]
        super().__init__(message.strip())


class Stopped(UserError):
    """Work was ended, by all ranks alike, and can be resumed.

    Args:
        message: What ended it, at which point, and how to resume.
        status: Exit status; for a signal, 128 plus its number.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


@contextlib.contextmanager
def report_user_errors() -> Iterator[None]:
    """Turns an error into one message on stderr and an exit status.

    Raises:
        SystemExit: with status 2 for a :class:`UserError` and an ``OSError`` of a disk that is
            full, read-only or failing, its own for :class:`Stopped`, 130 for Ctrl-C, 141 for output
            that nobody reads any more.
    """
    try:
        yield
    except Stopped as stop:
        _end(str(stop), stop.status)
    except UserError as error:
        _end(f'error: {error}', 2)
    except BrokenPipeError:
        # Whoever read the output has seen enough (`| head`); closing must not complain either.
        _drop_output()
        raise SystemExit(141) from None
    except OSError as error:
        if error.errno not in _DISK_FAULTS:
            raise
        what = 'reading or writing failed' if error.filename is None else error.filename
        try:
            sys.stdout.flush()
        except OSError:  # it was the output: closing must not complain again
            _drop_output()
        _end(f'error: {what}: {os.strerror(error.errno)}. {_DISK_FAULTS[error.errno]}', 2)
    except KeyboardInterrupt:
        _end('interrupted', 130)


def _end(message: str, status: int) -> NoReturn:
    print(message, file=sys.stderr, flush=True)
    raise SystemExit(status) from None


def _drop_output() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
