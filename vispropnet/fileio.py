"""Reading JSON with errors a user can act on, and writing files whole or not at all."""

from __future__ import annotations

import codecs
import contextlib
import io
import json
import lzma
import os
import re
import tempfile
import zipfile
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, TextIO

from tqdm import tqdm

from vispropnet.errors import UserError

# UTF-8, also with the byte order mark that Windows programs put before it.
_ENCODING = 'utf-8-sig'


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
    with _explain_read_errors(path, what, hint), Path(path).open(encoding=_ENCODING) as stream:
        return json.load(stream)


class NotAListError(UserError):
    """A file is sound JSON, but holds something else than a list of the entries wanted."""


def iter_json_list(
    path: str | os.PathLike, what: str = 'file', entries: str = 'entries', progress: bool = False
) -> Iterator[Any]:
    """Reads the entries of a JSON file that holds one list, without holding all of it.

    Args:
        path: The file. Of an archive (``*.zip``) with one JSON file in it, that file is read.
        what: What the file is, for messages.
        entries: What its entries are, for messages.
        progress: Whether to show a bar in a terminal.

    Yields:
        The entries, in order.

    Raises:
        UserError: if the file is missing, unreadable or no complete JSON; entries before the fault
            have been given by then.
        NotAListError: if it holds something else.
    """
    with _explain_read_errors(path, what), _open_text(Path(path), what, progress) as stream:
        text = _Text(stream)
        found = _KINDS.get(text.next_sign())
        if found is not None:
            raise NotAListError(f'{what} {path} must hold a list of {entries}, not {found}.')
        text.take('[', 'Expecting value')
        separator = text.take(']', '') if text.next_sign() == ']' else ','
        while separator == ',':
            yield text.next_value()
            separator = text.take(',]', "Expecting ',' delimiter")
        if text.next_sign():
            raise text.error('Extra data')


_CHUNK_CHARACTERS = 1 << 20
# More characters than decide whether a literal, an escape or a number ends here ('-Infinity').
_MARGIN = 16
_SPACE = re.compile(r'[ \t\n\r]*')
_KINDS = {'{': 'an object', '"': 'a string', 'n': 'null', 't': 'true', 'f': 'false'}
_KINDS |= dict.fromkeys('-0123456789', 'a number')


class _Text:
    """A window on a long JSON text that moves on with what was read.

    Not ijson: it is slower, says no position, takes ``\\ud800`` for a question mark, refuses NaN
    and large integers, and fills the memory with lists nested in lists.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._window = ''
        self._at = 0
        self._before = 0  # characters that have left the window
        self._decoder = json.JSONDecoder()

    def next_sign(self) -> str:
        """Gives the next character that is no white space, without taking it; '' at the end."""
        while True:
            self._at = _SPACE.match(self._window, self._at).end()
            if self._at < len(self._window):
                return self._window[self._at]
            if not self._grow():
                return ''

    def take(self, signs: str, message: str) -> str:
        """Takes the next character, which must be one of ``signs``."""
        sign = self.next_sign()
        if not sign or sign not in signs:
            raise self.error(message)
        self._at += 1
        return sign

    def next_value(self) -> Any:
        """Takes the next value."""
        self.next_sign()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._window, self._at)
            except json.JSONDecodeError as error:
                fault = self.error(error.msg, error.pos)
                # The window may end inside the value; damage further ahead is no matter of that.
                cut_off = error.msg.startswith('Unterminated string')
                if not (cut_off or len(self._window) - error.pos < _MARGIN) or not self._grow():
                    raise fault from None
            else:
                taken = end - self._at
                # A number near the window's end may go on behind it.
                if len(self._window) - end >= _MARGIN or not self._grow():
                    self._at += taken
                    return value

    def error(self, message: str, position: int | None = None) -> ValueError:
        """Makes the error of damage at a position of the window, by default the next character."""
        place = self._before + (self._at if position is None else position)
        return ValueError(f'{message.removesuffix(" at")} at character {place}')

    def _grow(self) -> bool:
        # At least doubled, so that a long value is not parsed anew too often.
        rest = self._window[self._at :]
        more = self._stream.read(max(_CHUNK_CHARACTERS, len(rest)))
        self._before += self._at
        self._window, self._at = rest + more, 0
        return bool(more)


@contextlib.contextmanager
def _open_text(path: Path, what: str, progress: bool) -> Iterator[TextIO]:
    with contextlib.ExitStack() as stack:
        if path.suffix.lower() == '.zip':
            archive = stack.enter_context(zipfile.ZipFile(path))
            # Archives made by macOS hold a shadow of each file.
            names = [name for name in archive.namelist() if not name.startswith('__MACOSX/')]
            names = [name for name in names if name.endswith('.json')]
            if len(names) != 1:
                raise UserError(f'{what} {path} must hold one JSON file, found {len(names)}.')
            size = archive.getinfo(names[0]).file_size
            binary = stack.enter_context(archive.open(names[0]))
        else:
            size = path.stat().st_size
            binary = stack.enter_context(path.open('rb'))
        stream = stack.enter_context(io.TextIOWrapper(binary, _ENCODING))
        # The bar shows itself in a terminal only.
        bar = dict(desc=f'reading {path.name}', leave=False, disable=None if progress else True)
        yield stack.enter_context(tqdm.wrapattr(stream, 'read', total=size, **bar))


# RuntimeError: encrypted, or packed in a way that Python does not know.
_ARCHIVE_ERRORS = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError)


@contextlib.contextmanager
def _explain_read_errors(path: str | os.PathLike, what: str, hint: str = '') -> Iterator[None]:
    path = Path(path)
    damage = None
    try:
        yield
    except FileNotFoundError:
        raise UserError(f'{what} not found: {path}. {hint}') from None
    except json.JSONDecodeError as error:
        place = f'line {error.lineno}, column {error.colno}, character {error.pos}'
        damage = f'{error.msg.removesuffix(" at")} at {place}'
    except RecursionError:
        damage = 'lists or objects nested too deep'
    except _ARCHIVE_ERRORS as error:
        text = str(error) or 'it ends too soon'
        raise UserError(f'{what} {path} is no sound archive: {text}.') from None
    except UnicodeDecodeError as error:
        marks = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
        is_utf_16 = error.start == 0 and error.object.startswith(marks)
        reason = 'it is UTF-16, save it as UTF-8' if is_utf_16 else error.reason
        raise UserError(f'{what} {path} is not a text file in UTF-8: {reason}.') from None
    except OSError as error:
        raise UserError(f'{what} {path} cannot be read: {error.strerror or error}.') from None
    except ValueError as error:  # of iter_json_list, or a number with thousands of digits
        damage = str(error)
    if damage is not None:
        size = path.stat().st_size
        state = 'is empty' if size == 0 else 'is not valid JSON (truncated or damaged?)'
        # In an archive, places are not those in the archive itself.
        tail = '' if path.suffix.lower() == '.zip' else f' of a file of {size} bytes'
        raise UserError(f'{what} {path} {state}: {damage}{tail}.')


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
        os.umask(mask := os.umask(0))
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, final)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(
    path: str | os.PathLike,
    what: str = 'data set',
    entries: Collection[str] = (),
    force: bool = False,
) -> Iterator[Path]:
    """Gives a temporary folder that takes the place of ``path`` when the block ends well.

    Args:
        path: The final folder. Missing parent folders are made.
        what: What is written, for messages.
        entries: Names of what it holds, by which an older one is recognised.
        force: Whether an older one is replaced.

    Yields:
        The folder to write to, which is empty.

    Raises:
        UserError: if ``path`` is taken or cannot be written. With ``force`` it is taken if it holds
            anything but ``entries``.
    """
    final = Path(path).resolve()
    try:
        _check_free(final, what, entries, force)
        final.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f'.{final.name}.', dir=final.parent) as temporary:
            made, old = Path(temporary, 'new'), Path(temporary, 'old')
            made.mkdir()
            yield made
            if final.exists():
                final.rename(old)
            made.rename(final)
    except OSError as error:
        raise UserError(f'cannot write {final}: {error.strerror or error}.') from None


def _check_free(path: Path, what: str, known: Collection[str], force: bool) -> None:
    if not path.exists():
        return
    if not path.is_dir():
        raise UserError(f'{path} is a file; expected a folder, or a name that is free.')
    entries = sorted(entry.name for entry in path.iterdir())
    if entries and not force:
        raise UserError(f'{path} exists and is not empty; choose another folder or give --force.')
    strangers = [name for name in entries if name not in known]
    if strangers:
        raise UserError(
            f'{path} holds {strangers[0]!r}, which is no part of a {what}, so it is not replaced; '
            'choose another folder.'
        )


def write_json(path: str | os.PathLike, content: Any, indent: int | None = None) -> None:
    """Writes JSON whole or not at all; ``indent`` is that of :func:`json.dump`."""
    with atomic_path(path) as temporary, temporary.open('w', encoding='utf-8') as stream:
        json.dump(content, stream, indent=indent)
