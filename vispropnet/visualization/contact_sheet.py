"""Contact sheets: many videos of a result file on one picture, each as a row of frames."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as mask_utils
from scipy.optimize import linear_sum_assignment

from vispropnet.datasets.annotation_file import read_annotation_file
from vispropnet.datasets.rle import checked_rles
from vispropnet.errors import UserError
from vispropnet.evaluation.result_file import read_results
from vispropnet.fileio import atomic_path
from vispropnet.visualization.overlay import WHITE, draw_instances, draw_text, text_size
from vispropnet.visualization.palette import track_color

MIN_WIDTH, MAX_WIDTH = 640, 2400
MIN_CELL_WIDTH = 240
SAME_OBJECT_IOU = 0.5
FRAME_MUTING = 0.7  # so that strong colour means a track
MARGIN, GAP = 20, 6
BACKGROUND, STRIP, MUTED = (30, 25, 22), (58, 48, 42), (178, 168, 160)
TITLE_SIZE, TEXT_SIZE, CAPTION_SIZE = 20, 14, 12


@dataclass
class _Track:
    label: int
    score: float | None
    rles: list[dict | None]
    propagated: list[bool]
    number: int = 0


def contact_sheet(
    annotations: str | os.PathLike | dict[str, Any],
    results: str | os.PathLike | list[dict[str, Any]],
    images: str | os.PathLike,
    out: str | os.PathLike,
    videos: int = 8,
    frames: int = 6,
    score_threshold: float = 0.3,
    show_truth: bool = True,
    result_name: str = 'ours',
    title: str = 'Tracks over time',
) -> Path:
    """Draws frames of several videos with their tracks on one picture and writes it as PNG.

    Videos are picked evenly over the file, frames evenly over each video; only those frames are
    read. Tracks of a video are numbered by falling score. With truth shown, a result whose whole
    track has an IoU of at least 0.5 with a true one takes that one's number and colour.

    Args:
        annotations: YouTube-VIS annotation file, or its parsed content.
        results: Result file, or its parsed content. A track may carry ``propagated``, one bool per
            frame: those masks get a dashed outline.
        images: Folder that the ``file_names`` of the videos start from.
        out: The picture to write.
        videos: Videos to show, at most.
        frames: Frames to show of each video, at most.
        score_threshold: Results below this score are left out.
        show_truth: Adds a row with the ground truth above each video's results; without effect
            where the file has no annotations.
        result_name: What to call the rows of results.
        title: Heading of the picture.

    Returns:
        The path written.

    Raises:
        UserError: if a file or frame is missing or does not fit, naming file, video and frame.
        ValueError: if ``videos`` or ``frames`` is not positive or ``frames`` leaves no room.
    """
    content = annotations if isinstance(annotations, dict) else read_annotation_file(annotations)
    results = results if isinstance(results, list) else read_results(results)
    if videos < 1 or frames < 1 or frames > MAX_WIDTH // 64:
        raise ValueError(f'videos and frames (at most 37) must be positive: {videos}, {frames}')
    if not content['videos']:
        raise UserError('the annotation file has no videos to show.')
    names = {category['id']: category['name'] for category in content['categories']}
    shown = [content['videos'][index] for index in _evenly(len(content['videos']), videos)]
    with_truth = show_truth and content.get('annotations') is not None
    side = max(text_size(text, TEXT_SIZE)[0] for text in ('truth', result_name)) + 14
    columns = min(frames, max(len(video['file_names']) for video in shown))
    cell_width = _cell_width(shown, columns, side)

    blocks, dashes = [], False
    for video in shown:
        ours = _result_tracks(results, video, score_threshold, names)
        truth = _true_tracks(content, video) if with_truth else []
        _number_tracks(truth, ours)
        rows = {'truth': truth, result_name: ours} if with_truth else {result_name: ours}
        dashes |= any(any(track.propagated) for track in ours)
        blocks.append(_video_block(video, rows, Path(images), names, columns, cell_width, side))
    legend = _legend(title, blocks[0].shape[1], score_threshold, with_truth, result_name, dashes)
    sheet = np.concatenate([legend, *blocks])
    sheet = cv2.copyMakeBorder(sheet, 14, 0, MARGIN, MARGIN, cv2.BORDER_CONSTANT, value=BACKGROUND)
    with atomic_path(out) as temporary:
        temporary.write_bytes(cv2.imencode('.png', sheet)[1].tobytes())
    return Path(out)


def _evenly(total: int, count: int) -> list[int]:
    """Picks ``count`` of ``total`` positions, first and last among them."""
    return np.unique(np.linspace(0, total - 1, min(count, total)).round().astype(int)).tolist()


def _cell_width(videos, columns, side):
    room = (MAX_WIDTH - 2 * MARGIN - side - (columns - 1) * GAP) // columns
    sides = [max(video['width'], video['height']) for video in videos]
    wanted = max(side * -(-MIN_CELL_WIDTH // side) for side in sides)
    return min(room, wanted)


def _result_tracks(results, video, threshold, names):
    tracks = []
    for index, result in enumerate(results):
        if result['video_id'] != video['id'] or result['score'] < threshold:
            continue
        where = f'result entry {index}'
        if result['category_id'] not in names:
            raise UserError(
                f'{where}: category_id {result["category_id"]} is not among the categories.'
            )
        rles = checked_rles(result['segmentations'], video, where)
        propagated = propagated_frames(result, video, where)
        tracks.append(_Track(result['category_id'], result['score'], rles, propagated))
    return sorted(tracks, key=lambda track: -track.score)


def _true_tracks(content, video):
    tracks = []
    for index, truth in enumerate(content['annotations']):
        if truth['video_id'] == video['id']:
            rles = checked_rles(truth['segmentations'], video, f'annotations[{index}]')
            tracks.append(_Track(truth['category_id'], None, rles, [False] * len(rles)))
    return tracks


def _number_tracks(truth, ours):
    """Numbers the tracks from 1; a result that follows a true track shares its number."""
    for number, track in enumerate(truth, start=1):
        track.number = number
    ious = _track_ious(truth, ours)
    for row, column in zip(*linear_sum_assignment(-ious), strict=True):
        if ious[row, column] >= SAME_OBJECT_IOU:
            ours[column].number = truth[row].number
    free = len(truth)
    for track in ours:
        if not track.number:
            free += 1
            track.number = free


def _track_ious(first, second):
    """IoU of whole tracks, summed over all frames: (len(first), len(second))."""
    both = np.zeros((len(first), len(second)))
    for row, one in enumerate(first):
        for column, other in enumerate(second):
            for pair in zip(one.rles, other.rles, strict=True):
                if all(pair):
                    both[row, column] += mask_utils.area(mask_utils.merge(pair, intersect=True))
    areas = [
        np.array([sum(mask_utils.area(rle) for rle in track.rles if rle) for track in tracks])
        for tracks in (first, second)
    ]
    return both / np.maximum(areas[0][:, None] + areas[1] - both, 1)


def _video_block(video, rows, images, names, columns, cell_width, side):
    """Draws one video: a header, frame numbers, and one strip of cells per entry of ``rows``."""
    chosen = _evenly(len(video['file_names']), columns)
    pictures = [read_frame(video, frame, images) for frame in chosen]
    scale, size = _fit(video['width'], video['height'], cell_width)
    width = max(side + columns * (cell_width + GAP) - GAP, MIN_WIDTH)
    header = np.full((30, width, 3), STRIP, np.uint8)
    x = 10 + draw_text(header, f'video {video["id"]}', (10, 7), TEXT_SIZE, WHITE, bold=True)[0]
    folder = Path(video['file_names'][0]).parent.name
    count = len(video['file_names'])
    facts = f'{count} frame{"s" if count > 1 else ""}, {video["width"]} × {video["height"]}'
    draw_text(header, f'{folder}    {facts}' if folder else facts, (x + 14, 7), TEXT_SIZE, MUTED)
    captions = np.full((20, width, 3), BACKGROUND, np.uint8)
    for column, frame in enumerate(chosen):
        place = (side + column * (cell_width + GAP) + (cell_width - size[0]) // 2, 4)
        draw_text(captions, f'frame {frame}', place, CAPTION_SIZE, MUTED)

    parts = [header, captions]
    for name, tracks in rows.items():
        strip = np.full((size[1] + GAP, width, 3), BACKGROUND, np.uint8)
        draw_text(strip, name, (0, (size[1] - text_size(name, TEXT_SIZE)[1]) // 2), TEXT_SIZE)
        for column, (frame, picture) in enumerate(zip(chosen, pictures, strict=True)):
            x = side + column * (cell_width + GAP) + (cell_width - size[0]) // 2
            strip[: size[1], x : x + size[0]] = _cell(picture, tracks, frame, names, scale, size)
        parts.append(strip)
    parts.append(np.full((12, width, 3), BACKGROUND, np.uint8))
    return np.concatenate(parts)


def _fit(width, height, cell_width):
    """Gives the whole factor to enlarge by (0: shrink) and the (width, height) in the cell."""
    scale = cell_width // max(width, height)
    factor = scale or cell_width / max(width, height)
    return scale, (max(1, round(width * factor)), max(1, round(height * factor)))


def _cell(picture, tracks, frame, names, scale, size):
    """Draws the tracks of one frame: (size[1], size[0], 3). The frame's own colours are muted."""
    gray = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    picture = cv2.addWeighted(picture, 1 - FRAME_MUTING, gray, FRAME_MUTING, 0)
    present = [track for track in tracks if track.rles[frame]]
    masks = [mask_utils.decode(track.rles[frame]) for track in present]
    if not scale:
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        masks = [_shrink(mask, size) for mask in masks]
    scores = [track.score for track in present]
    return draw_instances(
        picture,
        np.array(masks, dtype=bool).reshape(len(masks), *picture.shape[:2]),
        [track.number for track in present],
        [track.label for track in present],
        None if None in scores else scores,
        names,
        scale or 1,
        [track.propagated[frame] for track in present],
    )


def _shrink(mask, size):
    share = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    return share >= min(0.5, share.max()) if mask.any() else share > 0


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
    path = images / video['file_names'][frame]
    where = f'video {video["id"]}, frame {frame}: {path}'
    if not path.is_file():
        raise UserError(f'{where} not found; is {images} the folder the file names start from?')
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        raise UserError(f'{where} is not a readable picture (truncated or damaged?).')
    if picture.shape[:2] != (video['height'], video['width']):
        raise UserError(
            f'{where} is {picture.shape[1]} × {picture.shape[0]}, but the annotation file says '
            f'{video["width"]} × {video["height"]}.'
        )
    return picture


def propagated_frames(result: dict[str, Any], video: dict[str, Any], where: str) -> list[bool]:
    """Tells in which frames a track's mask was propagated instead of detected.

    Args:
        result: Track of a result file; ``propagated`` may be missing.
        video: Entry of the annotation file.
        where: What to call the track in messages.

    Returns:
        One bool per frame.

    Raises:
        UserError: if there are not as many entries as frames.
    """
    count = len(video['file_names'])
    propagated = result.get('propagated') or [False] * count
    if len(propagated) != count:
        raise UserError(
            f"{where}: 'propagated' has {len(propagated)} entries, but video {video['id']} has "
            f'{count} frames.'
        )
    return propagated


def _legend(title, width, threshold, with_truth, result_name, dashes):
    """Draws the heading and what the marks mean; lines are wrapped to the width."""
    notes = [
        'one colour and number per track of a video; the frames themselves are muted',
        f'{result_name}: tracks scoring {threshold:.2f} or more, as #track category score',
    ]
    if with_truth:
        notes.append(f'a track with IoU ≥ {SAME_OBJECT_IOU} to a true one takes its colour')
    if dashes:
        notes.append('white dashes: mask carried over from another frame')
    squares = 8 * (text_size('#8', TEXT_SIZE)[0] + 32)
    places, x, y = [], squares + 8, 36
    for note in notes:
        length = text_size(note, TEXT_SIZE)[0]
        if x and x + length > width:
            x, y = 0, y + 24
        places.append((note, (x, y)))
        x += length + 44
    canvas = np.full((y + 34, width, 3), BACKGROUND, np.uint8)
    draw_text(canvas, title, (0, 2), TITLE_SIZE, WHITE, bold=True)
    for number in range(1, 9):
        x = (number - 1) * squares // 8
        cv2.rectangle(canvas, (x, 38), (x + 13, 51), track_color(number), cv2.FILLED)
        draw_text(canvas, f'#{number}', (x + 18, 36), TEXT_SIZE, MUTED)
    for note, place in places:
        draw_text(canvas, note, place, TEXT_SIZE, MUTED)
    return canvas
