"""Decoding images, from files that may hold anything; their size is often known beforehand."""

from __future__ import annotations

import io
import os
import struct

import cv2
import numpy as np
from PIL import Image

JPEG_START, _JPEG_END = b'\xff\xd8', b'\xff\xd9'
_START_OF_SCAN = 0xDA
# The first and the last are no markers: what follows a coded 0xFF, and a fill byte.
_WITHOUT_LENGTH = {0x00, 0x01, *range(0xD0, 0xD8), 0xFF}
# Those between them define tables.
_FRAME_MARKERS = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_PNG_START = b'\x89PNG\r\n\x1a\n'
# Length, kind and checksum stand around the content of a part of a PNG.
_AROUND = 12
_EXIF_ORIENTATION, _LYING = 0x0112, (5, 6, 7, 8)
_EMPTY = 'cannot be read as an image: the file is empty'
_NO_IMAGE = 'cannot be read as an image (damaged, or not one?)'


class ImageError(Exception):
    """A file cannot be read as an image; the text says why, without naming the file."""


class ImageSizeError(ImageError):
    """An image is of another size than expected; ``width`` and ``height`` (pixels) were found."""

    def __init__(self, width: int, height: int) -> None:
        super().__init__(f'the image is {width}x{height} pixels')
        self.width = width
        self.height = height


def decode_image(content: bytes, width: int | None = None, height: int | None = None) -> np.ndarray:
    """Decodes an image, upright.

    The size in the file's header is compared before, so that a small file that announces a huge
    image costs no memory.

    Args:
        content: Content of the file.
        width: Expected, in pixels, of the image turned upright; None for any.
        height: Expected, in pixels; None for any.

    Returns:
        (height, width, 3) uint8, BGR.

    Raises:
        ImageSizeError: if the image is of another size.
        ImageError: if it is no image, damaged, or cut short.
    """
    if not content:
        raise ImageError(_EMPTY)
    found = _header_size(content)
    # Images may be coded lying on their side.
    if None not in (found, width, height) and sorted(found) != sorted((width, height)):
        raise ImageSizeError(*found)
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    except Exception as error:  # decoders fail in ways of their own
        reason = getattr(error, 'err', None) or error
        raise ImageError(f'cannot be read as an image: {reason}') from None
    if image is None:
        raise ImageError(_NO_IMAGE)
    if width not in (None, image.shape[1]) or height not in (None, image.shape[0]):
        raise ImageSizeError(image.shape[1], image.shape[0])
    return image


def upright_size(path: str | os.PathLike) -> tuple[int, int]:
    """Reads the size of an image, from its header where that says it.

    Args:
        path: The file.

    Returns:
        Width and height of the decoded image, in pixels.

    Raises:
        ImageError: if the file cannot be read, or is no image.
    """
    try:
        if os.path.getsize(path) == 0:
            raise ImageError(_EMPTY)
        if not cv2.haveImageReader(os.fspath(path)):
            raise ImageError(_NO_IMAGE)
        try:
            with Image.open(path) as image:
                width, height = image.size
                # OpenCV turns images upright; of other formats Pillow has to read all to know.
                turns = image.format in ('JPEG', 'MPO')
                is_lying = turns and image.getexif().get(_EXIF_ORIENTATION, 1) in _LYING
                return (height, width) if is_lying else (width, height)
        except PermissionError:
            raise
        except Exception:  # decoders fail in ways of their own: a format that only OpenCV knows?
            with open(path, 'rb') as stream:
                return decode_image(stream.read()).shape[1::-1]
    except OSError as error:
        raise ImageError(f'cannot be read: {error.strerror}') from None


def _header_size(content: bytes) -> tuple[int, int] | None:
    """Width and height as coded, in pixels; None if the header does not say them."""
    if content.startswith(JPEG_START):
        return _jpeg_size(content)
    if content.startswith(_PNG_START):
        if is_cut_png(content):
            raise ImageError('cannot be read as an image: the PNG is cut short')
        return int.from_bytes(content[16:20], 'big'), int.from_bytes(content[20:24], 'big')
    try:
        with Image.open(io.BytesIO(content)) as image:
            return image.size
    except Image.DecompressionBombError as error:
        raise ImageError(f'cannot be read as an image: {error}') from None
    except Exception:  # a format that only OpenCV knows, or no image: the decoder will say so
        return None


def _jpeg_size(content: bytes) -> tuple[int, int] | None:
    """Size of a JPEG, before a turn that its EXIF part may ask for; an error if it has no end.

    Decoders fill the rest of a JPEG without an end with grey and say nothing.
    """
    position, size, last = 2, None, len(content) - 4
    while position <= last:
        if content[position] != 0xFF:
            # Decoders pass over what stands between two parts.
            position = content.find(b'\xff', position)
            if position < 0:
                position = len(content)
            continue
        marker = content[position + 1]
        if marker == _START_OF_SCAN:
            break
        if marker in _WITHOUT_LENGTH:
            # A fill byte may be followed by the marker itself.
            position += 1 if marker == 0xFF else 2
            continue
        if marker in _FRAME_MARKERS and position + 9 <= len(content):
            height, width = struct.unpack_from('>HH', content, position + 5)
            size = width, height
            break
        # A length counts itself; one that does not is damaged, and must not stand still here.
        position += 2 + max(content[position + 2] << 8 | content[position + 3], 2)
    # The end mark cannot occur in the coded image, but does at the end of a thumbnail in front of
    # it: it is wanted in the second half of the file. In all sound files it is near the end.
    if content.rfind(_JPEG_END, max(position, len(content) // 2)) < 0:
        raise ImageError('cannot be read as an image: the JPEG is cut short')
    return size


def is_cut_png(content: bytes) -> bool:
    """Finds a PNG, given by its bytes, whose parts do not lead to its end mark.

    OpenCV takes as much memory as a part claims to be long, before it looks for it in the file.
    """
    position = len(_PNG_START)
    while position + _AROUND <= len(content):
        is_last = content.startswith(b'IEND', position + 4)
        position += _AROUND + int.from_bytes(content[position : position + 4], 'big')
        if is_last:
            return position > len(content)
    return True
