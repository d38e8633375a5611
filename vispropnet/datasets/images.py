"""Decoding images whose size is known beforehand, from files that may hold anything."""

from __future__ import annotations

import io
from collections.abc import Callable

import cv2
import numpy as np
from PIL import Image

from vispropnet.datasets.jpeg import look_at_jpeg
from vispropnet.datasets.png import PNG_START, is_cut_png


class ImageError(Exception):
    """A file cannot be read as an image; the text says why, without naming the file."""


class ImageSizeError(ImageError):
    """An image is of another size than expected.

    Args:
        width: Found, in pixels.
        height: Found, in pixels.
    """

    def __init__(self, width: int, height: int) -> None:
        super().__init__(f'the image is {width}x{height} pixels')
        self.width = width
        self.height = height


def decode_image(
    content: bytes,
    width: int,
    height: int,
    decode: Callable[[bytes], np.ndarray | None] | None = None,
) -> np.ndarray:
    """Decodes an image of a known size.

    The size in the file's header is held against it before, so that a small file that announces a
    huge image costs no memory.

    Args:
        content: Of the file.
        width: Expected, in pixels, of the image turned upright.
        height: Expected, in pixels.
        decode: Makes (H, W, 3) uint8, BGR, of the content; OpenCV does by default.

    Returns:
        (height, width, 3) uint8, BGR.

    Raises:
        ImageSizeError: if the image is of another size.
        ImageError: if it is no image, damaged, or cut short.
    """
    if not content:
        raise ImageError('cannot be read as an image: the file is empty')
    found = header_size(content)
    # Images may be coded lying on their side.
    if found is not None and sorted(found) != sorted((width, height)):
        raise ImageSizeError(*found)
    try:
        image = (decode or _decode)(content)
    except Exception as error:  # decoders fail in ways of their own
        raise ImageError(f'cannot be read as an image: {error}') from None
    if image is None:
        raise ImageError('cannot be read as an image (damaged, or not one?)')
    if image.shape[:2] != (height, width):
        raise ImageSizeError(image.shape[1], image.shape[0])
    return image


def header_size(content: bytes) -> tuple[int, int] | None:
    """Reads the size of an image without decoding it.

    Args:
        content: Of the file.

    Returns:
        Width and height as coded, in pixels; None if they cannot be told.

    Raises:
        ImageError: if it is a JPEG or PNG that is cut short, or of more pixels than Pillow takes.
    """
    look = look_at_jpeg(content)
    if look is not None:
        if look.is_cut:
            raise ImageError('cannot be read as an image: the JPEG is cut short')
        return look.size
    if content.startswith(PNG_START):
        if is_cut_png(content):
            raise ImageError('cannot be read as an image: the PNG is cut short')
        return int.from_bytes(content[16:20], 'big'), int.from_bytes(content[20:24], 'big')
    try:
        with Image.open(io.BytesIO(content)) as image:
            return image.size
    except Image.DecompressionBombError as error:
        raise ImageError(f'cannot be read as an image: {error}') from None
    except Exception:  # a format that only OpenCV knows, or no image: the decoder will tell
        return None


def _decode(content: bytes) -> np.ndarray | None:
    return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
