"""Masks of a frame as one PNG whose values are ids of objects, as in DAVIS and YouTube-VOS."""

from __future__ import annotations

import functools
import io
import os
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from vispropnet.errors import UserError
from vispropnet.fileio import atomic_path

# Pixels of this value belong to no object.
VOID = 255
_WIDE_VOID = 65535  # of files of 16 bits
_INDEX_MODES = ('P', 'L', '1', 'I;16', 'I;16B', 'I')
_PNG_START = b'\x89PNG\r\n\x1a\n'
# Up to the size and kind of its pixels.
_HEADER_BYTES = 29
# Blended edges give dozens of values; fewer thin objects than this may be real.
_THIN_VALUES = 10


def read_index_mask(path: str | os.PathLike, size: Sequence[int] | None = None) -> np.ndarray:
    """Reads the masks of a frame.

    Args:
        path: A PNG with a palette, or a grey one.
        size: Expected height and width in pixels; None for any.

    Returns:
        (H, W) uint8 ids of objects, 0 where there is none; void (255) is 0.

    Raises:
        UserError: naming the file, if it is missing, damaged, in colours, of another size, or its
            values cannot be ids.
    """
    ids = read_id_map(path, size)
    if ids.max(initial=0) > VOID:
        raise UserError(
            f'mask {path} has the value {ids.max()}: ids of objects are 1 to 254, and 255 is void.'
        )
    ids = ids.astype(np.uint8, copy=False)
    ids[ids == VOID] = 0  # also in files of 16 bits
    return ids


def read_id_map(path: str | os.PathLike, size: Sequence[int] | None = None) -> np.ndarray:
    """Reads the masks of a frame whose ids may have 16 bits.

    Args and raises are those of :func:`read_index_mask`.

    Returns:
        (H, W) uint8 or, of a file of 16 bits, uint16 ids of objects, 0 where there is none. Void is
        0: 255 in files of 8 bits, and 65535 in those of 16.
    """
    try:
        content = Path(path).read_bytes()
        ids = _plain_png(content)
        if ids is None:
            ids = _any_image(content, path)
    except FileNotFoundError:
        raise UserError(f'mask not found: {path}') from None
    except UserError:
        raise
    except UnidentifiedImageError:
        raise UserError(
            f'mask {path} cannot be read as an image: it is none, or it is cut short.'
        ) from None
    except Exception as error:  # decoders fail in ways of their own
        raise UserError(f'mask {path} cannot be read as an image: {error}') from None
    if size is not None and ids.shape != tuple(size):
        raise UserError(
            f'mask {path} has {ids.shape[1]}x{ids.shape[0]} pixels, expected {size[1]}x{size[0]} '
            'as the frame has.'
        )
    wide = ids.dtype not in (np.uint8, np.bool_)
    if wide and (ids.min(initial=0) < 0 or ids.max(initial=0) > _WIDE_VOID):
        raise UserError(f'mask {path} has values that are no ids: expected 0 to {_WIDE_VOID}.')
    ids = ids.astype(np.uint16 if wide else np.uint8)
    void = _WIDE_VOID if wide else VOID
    if ids.max(initial=0) == void:
        ids[ids == void] = 0
    _check_edges(ids, path)
    return ids


def _any_image(content: bytes, path: str | os.PathLike) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as image:
        if image.mode not in _INDEX_MODES:
            raise UserError(
                f'mask {path} has colours ({image.mode}): expected one PNG whose pixel values are '
                'the ids of objects, with a palette or grey.'
            )
        return np.asarray(image)


def _plain_png(content: bytes) -> np.ndarray | None:
    """Decodes a PNG as index masks mostly are, in a third of the time that Pillow takes.

    Of one byte a pixel, rows without filters, sound. None for any other file.
    """
    if not content.startswith(_PNG_START) or len(content) < _HEADER_BYTES:
        return None
    width, height, *kind = struct.unpack_from('>IIBBBBB', content, 16)
    if kind not in ([8, 0, 0, 0, 0], [8, 3, 0, 0, 0]):
        return None
    at, packed = len(_PNG_START), []
    while at + 12 <= len(content):
        (length,) = struct.unpack_from('>I', content, at)
        part = content[at + 4 : at + 8 + length]
        if zlib.crc32(part).to_bytes(4, 'big') != content[at + 8 + length : at + 12 + length]:
            return None
        packed += [part[4:]] if part.startswith(b'IDAT') else []
        at += length + 12
    inflate = zlib.decompressobj()
    # No more than announced, whatever the file holds.
    pixels = inflate.decompress(b''.join(packed), height * (width + 1))
    if len(pixels) != height * (width + 1):
        return None
    rows = np.frombuffer(pixels, np.uint8).reshape(height, width + 1)
    return None if rows[:, 0].any() else rows[:, 1:]


def ids_in(mask: np.ndarray) -> list[int]:
    """Lists the ids of objects in an (H, W) uint8 mask, in order."""
    found: list[int] = []
    # Faster than a histogram as long as objects are few.
    while last := int(mask.max(initial=0)):
        found.insert(0, last)
        mask = mask * (mask < last).view(np.uint8)
    return found


def _check_edges(ids: np.ndarray, path: str | os.PathLike) -> None:
    """Refuses masks that were smoothed: values between two ids look like many thin objects."""
    if ids.max(initial=0) < _THIN_VALUES:
        return
    values = ids_in(ids)
    if len(values) < _THIN_VALUES:
        return
    same = cv2.morphologyEx(ids, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) == 0
    thin = len(values) - len(ids_in(ids * same))
    if thin >= _THIN_VALUES and 2 * thin > len(values):
        raise UserError(
            f'mask {path} has {len(values)} values, {thin} of them on edges only: it was scaled or '
            'drawn with smooth edges. Make it anew with nearest-neighbour scaling.'
        )


def write_index_mask(path: str | os.PathLike, ids: np.ndarray) -> None:
    """Writes an 8-bit PNG with the palette of DAVIS, whole or not at all.

    Args:
        path: The file.
        ids: (H, W) uint8 ids of objects, 0 where there is none.
    """
    image = Image.fromarray(ids)
    image.putpalette(_palette())
    with atomic_path(path) as temporary:
        image.save(temporary, format='PNG')


@functools.cache
def _palette() -> bytes:
    """(red, green, blue) of the values 0 to 255: every third bit is one colour's, highest first."""
    colors = np.zeros((256, 3), np.uint8)
    for value in range(256):
        for bit in range(8):
            colors[value, bit % 3] |= (value >> bit & 1) << (7 - bit // 3)
    return colors.tobytes()


def mask_files(folder: str | os.PathLike) -> list[Path]:
    """Lists the PNGs of a folder in the order of their names.

    Raises:
        UserError: if the folder is missing or holds none.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f'folder of masks not found: {folder}')
    files = sorted(folder.glob('*.png'))
    if not files:
        raise UserError(f'folder {folder} holds no masks (*.png).')
    return files


def read_split(root: str | os.PathLike, split: str) -> list[str]:
    """Reads the names of a split's sequences of DAVIS 2017.

    Args:
        root: Folder with ``ImageSets/2017``.
        split: ``'train'``, ``'val'`` or ``'test-dev'``.

    Raises:
        UserError: if there is no such list, or it is empty.
    """
    path = Path(root, 'ImageSets', '2017', f'{split}.txt')
    try:
        names = path.read_text(encoding='utf-8').split()
    except OSError as error:
        raise UserError(f'list of sequences {path} cannot be read: {error.strerror}.') from None
    if not names:
        raise UserError(f'list of sequences {path} is empty.')
    return names
