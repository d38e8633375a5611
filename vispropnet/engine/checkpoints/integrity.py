"""Checkpoint files that are whole or absent: damage, half-written files, and the disk."""

from __future__ import annotations

import os
import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from vispropnet.errors import UserError

# What writing a file beside its place leaves when it is killed.
_UNFINISHED = re.compile(r'\..+\.tmp\.pth')


def find_damage(path: str | os.PathLike) -> str | None:
    """Looks for damage in a checkpoint file, without loading it.

    torch does not compare a file's checksums when it reads: a flipped bit would go into the
    weights. Files of torch before 1.6 have no checksums and pass.

    Args:
        path: The file, which exists.

    Returns:
        What is wrong; None if each part is as it was written.
    """
    try:
        if not zipfile.is_zipfile(path):
            # The beginning of an archive whose end is lost.
            with open(path, 'rb') as stream:
                return 'it ends too soon' if stream.read(4) == b'PK\x03\x04' else None
        with zipfile.ZipFile(path) as archive:
            part = archive.testzip()
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        return f'its archive is damaged ({error})'
    except (OSError, ValueError) as error:
        return f'it cannot be read ({error})'
    return None if part is None else f'the checksum of its part {part} is wrong'


def remove_unfinished(folder: str | os.PathLike) -> Iterator[Path]:
    """Removes what a killed process left of checkpoints that it was writing.

    Args:
        folder: Where checkpoints are.

    Yields:
        The files that were removed.
    """
    for path in Path(folder).glob('.*.tmp.pth'):
        if _UNFINISHED.fullmatch(path.name):
            path.unlink(missing_ok=True)
            yield path


def sync_and_check(path: Path) -> None:
    """Makes sure that a written file is on the disk, not only in memory, and reads it back.

    Args:
        path: The file.

    Raises:
        UserError: if it does not read back as it was written.
    """
    with path.open('rb') as stream:
        os.fsync(stream.fileno())
    damage = find_damage(path)
    if damage is not None:
        raise UserError(
            f'the checkpoint written to {path.parent} does not read back: {damage}. Is the disk '
            'full or failing?'
        )
