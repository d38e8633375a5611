"""Checkpoints that are whole or absent, and which of them training can go on from."""

from __future__ import annotations

import os
import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from vispropnet.engine.training_state import sound_state
from vispropnet.errors import UserError

# What CheckpointHook and InterruptHook write.
_NAMES = re.compile(r'(epoch|iter)_\d+\.pth|interrupted\.pth')
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


def find_resumable(
    work_dir: str | os.PathLike, trust: bool = False
) -> tuple[Path | None, list[str]]:
    """Finds the newest checkpoint of a work dir that reads back whole.

    Args:
        work_dir: The folder.
        trust: Whether checkpoints may run code while they are read.

    Returns:
        The file, or None if there are no checkpoints; and of each newer one why it is passed over.

    Raises:
        UserError: if there are checkpoints, and none that training can go on from.
    """
    candidates = []
    passed_over = []
    for path in sorted(Path(work_dir).glob('*.pth')):
        if not _NAMES.fullmatch(path.name):
            continue
        try:
            changed = path.lstat().st_mtime_ns
        except FileNotFoundError:
            continue
        try:
            candidates.append((_iterations(path, trust), changed, path))
        except UserError as error:
            reason = str(error).removeprefix(f'checkpoint {path} ').rstrip('.')
            passed_over.append((changed, f'{path.name}: {reason}'))
    reasons = []
    for _, changed, path in sorted(candidates, reverse=True):
        damage = find_damage(path)
        if damage is None:
            # How many iterations a damaged file has is not known: those written later are newer.
            reasons += [text for when, text in passed_over if when > changed]
            return path, reasons
        reasons.append(f'{path.name}: {damage}')
    reasons += [text for _, text in passed_over]
    if reasons:
        raise UserError(
            '\n  '.join([f'{work_dir}: training can go on from none of its checkpoints:', *reasons])
            + '\nTo start from the beginning, remove them or choose another --work-dir.'
        )
    return None, []


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
    """Sees that a written file is on the disk, not only in memory, and reads it back.

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


def _iterations(path: Path, trust: bool) -> int:
    """How far training was, without reading the tensors."""
    from vispropnet.engine.checkpoint import read_checkpoint

    if not path.is_file():
        raise UserError('it is no regular file')
    # Files of old torch are no archives, and are read as a whole.
    content = read_checkpoint(path, trust=trust, mmap=zipfile.is_zipfile(path))
    return sound_state(content)['meta']['iter']
