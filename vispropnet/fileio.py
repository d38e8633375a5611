"""Reading JSON with errors a user can act on, and writing files whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vispropnet.errors import UserError


def read_json(path: str | os.PathLike, what: str = 'file', hint: str = '') -> Any:
    """Reads a JSON file.

    Args:
        path: The file.
        what: What the file is, for messages (``'annotation file'``).
        hint: How to get the file, added to the message when it is missing.

    Returns:
        The parsed content.

    Raises:
        UserError: if the file is missing, unreadable, or no complete JSON.
    """
    path = Path(path)
    try:
        with path.open(encoding='utf-8') as stream:
            return json.load(stream)
    except FileNotFoundError:
        tail = f' {hint}' if hint else ''
        raise UserError(f'{what} not found: {path}.{tail}') from None
    except json.JSONDecodeError as error:
        size = path.stat().st_size
        state = 'is empty' if size == 0 else 'is not valid JSON (truncated or damaged?)'
        raise UserError(
            f'{what} {path} {state}: {error.msg} at line {error.lineno}, column {error.colno}, '
            f'character {error.pos} of a file of {size} bytes.'
        ) from None
    except UnicodeDecodeError as error:
        raise UserError(f'{what} {path} is not a text file in UTF-8: {error.reason}.') from None
    except OSError as error:
        raise UserError(f'{what} {path} cannot be read: {error.strerror}.') from None


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Gives a temporary path beside ``path`` that takes its place when the block ends well.

    The temporary name keeps the suffix, so that writers that choose a format by it work. Of a link,
    the file it points to is replaced. A device or a pipe (``/dev/stdout``) is written to directly.

    Args:
        path: The final path. Missing parent folders are made.

    Yields:
        The path to write to.

    Raises:
        UserError: if ``path`` is a folder, or its folder cannot be made or written to.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise UserError(f'cannot write {path}: it is a folder, expected the path of a file.')
        replaceable = path.is_file() or not path.exists()
        if replaceable:
            final = Path(os.path.realpath(path))
            final.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(
                dir=final.parent, prefix=f'.{final.stem}.', suffix=f'.tmp{final.suffix}'
            )
    except OSError as error:
        raise UserError(f'cannot write {path}: {error.strerror}.') from None
    if not replaceable:
        yield path
        return
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, final)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: str | os.PathLike, content: Any, indent: int | None = None) -> None:
    """Writes JSON whole or not at all.

    Args:
        path: The file.
        content: What to write.
        indent: As in :func:`json.dump`.
    """
    with atomic_path(path) as temporary, temporary.open('w', encoding='utf-8') as stream:
        json.dump(content, stream, indent=indent)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
