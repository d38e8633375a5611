"""Reading the frames of a data set to be drawn on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from vispropnet.errors import UserError


def frame_path(video: dict[str, Any], frame: int, images: Path) -> Path:
    """Finds the file of a frame.

    Args:
        video: Entry of the annotation file.
        frame: Position in the video.
        images: Folder that the file names start from.

    Returns:
        The file.

    Raises:
        UserError: if it is missing.
    """
    path = images / video['file_names'][frame]
    if not path.is_file():
        raise UserError(
            f'video {video["id"]}, frame {frame}: {path} not found; is {images} the folder the '
            'file names start from?'
        )
    return path


def read_frame(video: dict[str, Any], frame: int, images: Path) -> np.ndarray:
    """Reads one frame of a video.

    Args:
        video: Entry of the annotation file.
        frame: Position in the video.
        images: Folder that the file names start from.

    Returns:
        (H, W, 3) uint8, BGR.

    Raises:
        UserError: if it is missing, unreadable, or not of the video's size.
    """
    path = frame_path(video, frame, images)
    where = f'video {video["id"]}, frame {frame}: {path}'
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        raise UserError(f'{where} is not a readable picture (truncated or damaged?).')
    if picture.shape[:2] != (video['height'], video['width']):
        raise UserError(
            f'{where} is {picture.shape[1]} × {picture.shape[0]}, but the annotation file says '
            f'{video["width"]} × {video["height"]}.'
        )
    return picture
