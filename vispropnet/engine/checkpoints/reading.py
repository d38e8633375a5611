"""Reading checkpoints: as data, never as code, and only if they are whole."""

from __future__ import annotations

import os
import pickle
import re
import stat
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.runner.checkpoint import get_torch_safe_globals
from torch import Tensor

from vispropnet.datasets.categories import unique_names
from vispropnet.errors import UserError
from vispropnet.text import shown


def read_checkpoint(
    path: str | os.PathLike,
    map_location: Any = 'cpu',
    trust: bool = False,
    mmap: bool = False,
    classes: Sequence[type] = (),
) -> dict[str, Any]:
    """Reads a checkpoint file, local or by URL.

    Args:
        path: File, or an ``http(s)://`` address that is downloaded once into torch's cache.
        map_location: As in :func:`torch.load`.
        trust: Whether the file may run code while it is read (full unpickling).
        mmap: Whether tensors are read only when they are used; checksums are not compared then.
        classes: Classes of plain data that it may hold besides tensors.

    Returns:
        What the file holds, a dict.

    Raises:
        UserError: if it is missing, damaged, cannot be downloaded, or would run code.
    """
    path = os.fspath(path)
    local = _download(path) if re.match(r'https?://', path) else path
    size = _file_size(local, path)
    damage = None if mmap else find_damage(local)
    if damage is not None:
        raise UserError(
            f'checkpoint {path} is damaged: {damage} ({size} bytes). Fetch or train it again, or '
            'take an older one.'
        )
    try:
        with torch.serialization.safe_globals([*get_torch_safe_globals(), *classes]):
            content = torch.load(
                local, map_location=map_location, weights_only=not trust, mmap=mmap or None
            )
    except pickle.UnpicklingError as error:
        found = re.search(r'GLOBAL ([\w.]+)', str(error))
        if found is None:
            reason = 'the file is damaged or no checkpoint'
            raise UserError(f'checkpoint {path} cannot be read: {reason}.') from None
        raise UserError(
            f'checkpoint {path} holds more than tensors and plain data ({found[1]}), and reading '
            'it would run code from the file. If you trust where it comes from, pass '
            '--trust-checkpoint.'
        ) from None
    except Exception as error:  # zip and storage errors of many kinds
        # Damage leads to errors of other kinds too, whose texts (a key, an index) explain nothing.
        explains = isinstance(error, (OSError, RuntimeError, ImportError))
        why = f': {_first_line(error)}' if explains else '; expected what torch.save wrote.'
        raise UserError(
            f'checkpoint {path} cannot be read ({size} bytes; truncated or damaged?){why}'
        ) from None
    if not isinstance(content, Mapping):
        found = type(content).__name__
        raise UserError(f'checkpoint {path}: expected a dict of tensors, found a {found}.')
    meta = content.get('meta')
    if not isinstance(meta, (Mapping, type(None))):
        raise UserError(
            f'checkpoint {path}: meta must be a dict, found {shown(meta)}. Take a file that '
            'training wrote, or one with a state_dict alone.'
        )
    return dict(content)


def trained_classes(checkpoint: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Gives the names of the categories that a checkpoint's model was trained with.

    Args:
        checkpoint: What :func:`read_checkpoint` gave.

    Returns:
        The names in the order of the labels, from ``dataset_meta`` or, in files of mmdetection
        before 3.0, ``CLASSES``; None if it has no sound list of them.
    """
    meta = checkpoint.get('meta') or {}
    for place in (meta.get('dataset_meta'), meta):
        for key in ('classes', 'CLASSES') if isinstance(place, Mapping) else ():
            names = place.get(key)
            if isinstance(names, (list, tuple)) and all(isinstance(one, str) for one in names):
                return unique_names(names)
    return None


def tensors_of(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """Gives the weights of a checkpoint, a state dict or a dict with ``state_dict``.

    Returns:
        Its tensors, without the ``module.`` that distributed training puts before their keys.
    """
    weights = checkpoint.get('state_dict', checkpoint)
    if not isinstance(weights, Mapping):
        return {}
    named = {str(key): value for key, value in weights.items() if isinstance(value, Tensor)}
    return {key.removeprefix('module.'): value for key, value in named.items()}


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


def sync_and_check(path: Path) -> None:
    """Makes sure that a written file is on the disk, not only in memory, and reads it back.

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


def _download(url: str) -> str:
    try:
        folder = os.path.join(torch.hub.get_dir(), 'checkpoints')
        target = os.path.join(folder, os.path.basename(url))
        if not os.path.exists(target):
            os.makedirs(folder, exist_ok=True)
            torch.hub.download_url_to_file(url, target)
        return target
    except OSError as error:
        raise UserError(
            f'checkpoint {url} cannot be downloaded ({_first_line(error)}). Fetch it where there '
            'is a network and pass --cfg-options load_from=FILE, or train from scratch with '
            '--cfg-options load_from=None.'
        ) from None


def _file_size(local: str, path: str) -> int:
    """Bytes of a regular file; others are not opened, as pipes and devices may never end."""
    try:
        found = os.stat(local)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        raise UserError(f'checkpoint not found: {path}') from None
    except OSError as error:
        raise UserError(f'checkpoint {path} cannot be read: {error.strerror}.') from None
    if stat.S_ISDIR(found.st_mode):
        raise UserError(f'checkpoint {path} is a folder; expected a file, such as epoch_1.pth.')
    if not stat.S_ISREG(found.st_mode):
        raise UserError(f'checkpoint {path} is no regular file; expected what torch.save wrote.')
    if not found.st_size:
        raise UserError(f'checkpoint {path} is empty. Fetch it again, or take an older one.')
    return found.st_size


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
