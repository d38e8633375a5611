"""Reading the frames of a data set to be drawn on."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import numpy as np

from vispropnet.datasets import frame_paths
from vispropnet.datasets.annotation_values import name_fault
from vispropnet.datasets.images import ImageError, ImageSizeError, decode_image
from vispropnet.errors import UserError
from vispropnet.text import shown


def frame_path(video: dict[str, Any], frame: int, images: Path) -> Path:
    """Finds the file of a frame.

    Args:
        video: Entry of the annotation file.
        frame: Position in the video.
        images: Folder that the file names start from.

    Raises:
        UserError: if it is missing or no regular file, or its name leads out of the folder.
    """
    name = video['file_names'][frame]
    where = f'video {video["id"]}, frame {frame}'
    if (fault := name_fault(name)) is not None:
        raise UserError(f'{where} ({shown(name)}): {fault}.')
    path = Path(frame_paths.frame_path(images, name))
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(
            f'{where}: {path} not found; is {images} the folder the file names start from?'
        ) from None
    except OSError as error:
        found = f'cannot be read below {images}: {error.strerror}'
        raise UserError(f'{where} ({shown(name)}): {found}.') from None
    if not stat.S_ISREG(mode):
        # A pipe would be waited for without end, a device be read until memory is full.
        raise UserError(f'{where}: {path} is no regular file; expected a picture.')
    return path


def read_frame(video: dict[str, Any], frame: int, images: Path) -> np.ndarray:
    """Reads one frame of a video, found as by :func:`frame_path`: (H, W, 3) uint8, BGR.

    Raises:
        UserError: if it is missing, unreadable, or not of the video's size.
    """
    path = frame_path(video, frame, images)
    where = f'video {video["id"]}, frame {frame}: {path}'
    try:
        return decode_image(path.read_bytes(), video['width'], video['height'])
    except ImageSizeError as error:
        raise UserError(
            f'{where} is {error.width} × {error.height}, but the annotation file says '
            f'{video["width"]} × {video["height"]}.'
        ) from None
    except ImageError as error:
        raise UserError(f'{where} is not a readable picture: {error}.') from None
    except OSError as error:
        raise UserError(f'{where} cannot be read: {error.strerror}.') from None
