"""Finding the checkpoint that a training can be resumed from."""

from __future__ import annotations

import os
import re
import zipfile
from pathlib import Path

from vispropnet.engine.checkpoints.integrity import find_damage
from vispropnet.engine.checkpoints.reading import read_checkpoint
from vispropnet.engine.checkpoints.state import sound_state
from vispropnet.errors import UserError

# What CheckpointHook and InterruptHook write.
_NAMES = re.compile(r'(epoch|iter)_\d+\.pth|interrupted\.pth')


def find_resumable(
    work_dir: str | os.PathLike, trust: bool = False
) -> tuple[Path | None, list[str]]:
    """Finds the newest checkpoint of a work dir that reads back whole.

    Args:
        work_dir: The folder.
        trust: Whether checkpoints may run code while they are read.

    Returns:
        The file, or None if there are no checkpoints; and of each newer one why it is skipped.

    Raises:
        UserError: if there are checkpoints, and none that training can be resumed from.
    """
    candidates = []
    skipped = []
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
            skipped.append((changed, f'{path.name}: {reason}'))
    reasons = []
    for _, changed, path in sorted(candidates, reverse=True):
        damage = find_damage(path)
        if damage is None:
            # How many iterations a damaged file has is not known: those written later are newer.
            reasons += [text for when, text in skipped if when > changed]
            return path, reasons
        reasons.append(f'{path.name}: {damage}')
    reasons += [text for _, text in skipped]
    if reasons:
        raise UserError(
            '\n  '.join(
                [f'{work_dir}: training can be resumed from none of its checkpoints:', *reasons]
            )
            + '\nTo start from the beginning, remove them or choose another --work-dir.'
        )
    return None, []


def _iterations(path: Path, trust: bool) -> int:
    """Iterations done, read without the tensors."""
    if not path.is_file():
        raise UserError('it is no regular file')
    # Files of old torch are no archives, and are read as a whole.
    content = read_checkpoint(path, trust=trust, mmap=zipfile.is_zipfile(path))
    return sound_state(content)['meta']['iter']
