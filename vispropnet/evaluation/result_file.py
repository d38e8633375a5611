"""Writes and reads the official result file, which the evaluation server takes."""

from __future__ import annotations

import contextlib
import io
import json
import os
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from vispropnet.datasets.other_forms import not_results
from vispropnet.errors import UserError
from vispropnet.fileio import NotAListError, atomic_path, iter_json_list, read_json
from vispropnet.text import shown

# The name that the evaluation server looks for inside an upload.
ARCHIVED_NAME = 'results.json'

_KEY_TYPES: dict[str, tuple[tuple[type, ...], str]] = {
    'video_id': ((int,), 'an integer'),
    'category_id': ((int,), 'an integer'),
    'score': ((int, float), 'a number'),
    'segmentations': ((list,), 'a list with one RLE or null per frame'),
}
RESULT_KEYS = tuple(_KEY_TYPES)


def check_writable(path: str | os.PathLike) -> None:
    """Checks a result file like :func:`check_folder`, and that it is named ``*.json``."""
    _check_name(path)
    check_folder(path)


def check_folder(path: str | os.PathLike) -> None:
    """Finds out before a long run if a file can be written; makes missing parent folders.

    Raises:
        UserError: if its folder cannot be made or written to.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f'cannot make the folder of {path}: {error.strerror}.') from None
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise UserError(f'cannot write {path}: no permission to write in {path.parent}.')


def write_results(
    path: str | os.PathLike, results: Iterable[dict[str, Any]], archive: bool = True
) -> None:
    """Writes the result file, and beside it the archive to upload, whole or not at all.

    The file is one JSON list with one track a line, written track by track. The archive has the
    same stem, ends in ``.zip``, and contains the tracks as ``results.json``, with the official keys
    only. Equal results give equal bytes in both.

    Args:
        path: The result file, ``*.json``. Missing parent folders are made.
        results: Tracks ``{video_id, category_id, score, segmentations}``, with one RLE (``counts``
            a string) or None per frame, in the order to be written. Further keys (such as
            ``propagated``) go into the file, not into the archive.
        archive: Whether to write the archive.

    Raises:
        UserError: if the folder cannot be written to, or ``path`` is not named ``*.json`` and an
            archive is to be written.
        ValueError: if a track holds what JSON cannot (bytes, arrays, NaN).
    """
    with contextlib.ExitStack() as stack:
        if archive:
            _check_name(path)
            packed = stack.enter_context(atomic_path(Path(path).with_suffix('.zip')))
        plain = stack.enter_context(atomic_path(path))
        streams = [stack.enter_context(plain.open('w', encoding='utf-8', newline='\n'))]
        if archive:
            streams.append(stack.enter_context(_archive_entry(packed)))
        separator = '[\n'
        for index, result in enumerate(results):
            official = {key: result[key] for key in RESULT_KEYS if key in result}
            for stream, content in zip(streams, (result, official), strict=False):
                stream.write(separator + _entry_text(index, content))
            separator = ',\n'
        for stream in streams:
            stream.write('[\n]\n' if separator == '[\n' else '\n]\n')


def read_results(path: str | os.PathLike) -> list[dict[str, Any]]:
    """Reads a result file or its archive whole; see :func:`iter_sound_results`."""
    return list(iter_sound_results(path))


def iter_sound_results(path: str | os.PathLike, progress: bool = False) -> Iterator[dict[str, Any]]:
    """Reads the tracks of a result file, ours or another system's; see :func:`iter_results`.

    Raises:
        UserError: naming the file, the entry and the key, if it is not a list of such tracks.
    """
    for index, result in enumerate(iter_results(path, progress)):
        fault = key_fault(result)
        if fault is not None:
            raise UserError(f'result file {path}: entry {index}{fault}')
        yield result


def iter_results(path: str | os.PathLike, progress: bool = False) -> Iterator[Any]:
    """Reads the entries of a result file, or of the archive made of it, one by one and unchecked.

    Args and raises are those of :func:`~vispropnet.fileio.iter_json_list`.
    """
    try:
        for index, entry in enumerate(iter_json_list(path, 'result file', 'tracks', progress)):
            if index == 0 and (form := not_results([entry])) is not None:
                raise NotAListError(f'result file {path} must hold a list of tracks: {form}.')
            yield entry
    except NotAListError as error:
        is_object = Path(path).suffix.lower() != '.zip' and 'not an object' in str(error)
        if not is_object or (form := not_results(read_json(path, 'result file'))) is None:
            raise
        raise NotAListError(f'{str(error)[:-1]}: {form}.') from None


def key_fault(result: Any) -> str | None:
    """Says what is wrong with the keys of an entry of a result file or the types of their values.

    Returns:
        The first fault, to follow the entry's number in a message; None if there is none.
    """
    if not isinstance(result, dict):
        return f' must be an object, not {_kind(result)}.'
    for key, (types, wanted) in _KEY_TYPES.items():
        if key not in result:
            return f" has no '{key}' ({wanted})."
        value = result[key]
        if not isinstance(value, types) or isinstance(value, bool):
            return f": '{key}' must be {wanted}, not {_kind(value)}."
    return None


def _check_name(path: str | os.PathLike) -> None:
    if Path(path).suffix != '.json' or Path(path).is_dir():
        raise UserError(
            f'result file {path} must be named .json and be no folder: the archive to upload is '
            'written beside it, as .zip.'
        )


def _entry_text(index: int, result: dict[str, Any]) -> str:
    try:
        return json.dumps(result, separators=(',', ':'), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f'track {index} (video {result.get("video_id")}, score {result.get("score")}) '
            f'cannot be written as JSON: {error}'
        ) from error


@contextlib.contextmanager
def _archive_entry(path: Path) -> Iterator[TextIO]:
    """Opens the one text file inside a new archive."""
    # A fixed date, system and mode: the archive's bytes depend on its content only.
    entry = zipfile.ZipInfo(ARCHIVED_NAME, date_time=(1980, 1, 1, 0, 0, 0))
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.create_system = 3
    entry.external_attr = 0o644 << 16
    with (
        zipfile.ZipFile(path, 'w') as archive,
        # Its size is not known beforehand and may pass what the old format holds.
        archive.open(entry, 'w', force_zip64=True) as binary,
        io.TextIOWrapper(binary, encoding='utf-8', newline='\n') as stream,
    ):
        yield stream


def propagated_frames(entry: Mapping[str, Any], count: int, where: str) -> list[bool]:
    """Gives which masks of a track were carried over from other frames.

    Args:
        entry: Of a result file; without the key none was.
        count: Frames of its video.
        where: Begins the message.

    Raises:
        UserError: if that is no list with one entry per frame.
    """
    propagated = entry.get('propagated')
    if propagated in (None, []):
        return [False] * count
    if not isinstance(propagated, list):
        raise UserError(f"{where}: 'propagated' must be a list, found {shown(propagated)}.")
    if len(propagated) != count:
        raise UserError(
            f"{where}: 'propagated' has {len(propagated)} entries, but video {entry['video_id']} "
            f'has {count} frames.'
        )
    return propagated


def _kind(value: Any) -> str:
    names = {dict: 'an object', list: 'a list', str: 'a string', type(None): 'null'}
    return names.get(type(value), repr(value))
