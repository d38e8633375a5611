"""The one error that is the user's to mend, and how tools report it."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator


class UserError(Exception):
    """Bad input: a file, a key, an option or a checkpoint that its owner can mend.

    The text names what was found, where, and what was expected. Tools print it without a traceback
    and exit with status 2 (see :func:`report_user_errors`).

    Args:
        message: What is wrong, in one or a few lines.
    """

    def __init__(self, message: str) -> None:
        # A data-loading worker hands its error over as the text of a traceback; keep the message at
        # its end, which is what the user needs.
        marker = f'\n{type(self).__module__}.{type(self).__qualname__}: '
        if 'Original Traceback' in message and marker in message:
            message = message.rpartition(marker)[2]
        super().__init__(message.strip())


class Stopped(UserError):
    """Work was ended, by all ranks alike, and can be gone on with.

    Args:
        message: What ended it, where it was, and how to go on.
        status: Exit status; for a signal, 128 plus its number.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


@contextlib.contextmanager
def report_user_errors() -> Iterator[None]:
    """Turns a :class:`UserError` into one message on stderr and exit status 2.

    Raises:
        SystemExit: with status 2 for a ``UserError``, its own for :class:`Stopped`, 130 for Ctrl-C,
            141 for output that nobody reads any more.
    """
    try:
        yield
    except Stopped as stop:
        print(stop, file=sys.stderr, flush=True)
        raise SystemExit(stop.status) from None
    except UserError as error:
        print(f'error: {error}', file=sys.stderr, flush=True)
        raise SystemExit(2) from None
    except BrokenPipeError:
        # Whoever read the output has seen enough (`| head`); closing must not complain either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(141) from None
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr, flush=True)
        raise SystemExit(130) from None
