"""The page, one HTML file that needs nothing beside it: its chart and the wording of metrics."""

from __future__ import annotations

import base64
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from vispropnet.datasets.annotation_file import read_annotation_file
from vispropnet.errors import UserError
from vispropnet.evaluation.error_kinds import LABELS
from vispropnet.fileio import atomic_path
from vispropnet.text import counted
from vispropnet.trials.report.gallery import SCORE_THRESHOLD, build_gallery
from vispropnet.trials.table import metrics_of
from vispropnet.visualization.shown_tracks import SAME_OBJECT_IOU

# Bytes of pictures before they are put into base64; with the gallery they keep a page below 20 MB.
CURVES_LIMIT, ATTENTION_LIMIT = 2_000_000, 3_000_000
GALLERY_VIDEOS = 8
_KINDS = {'.svg': 'image/svg+xml', '.png': 'image/png'}
# Lines of a log, and characters of a line, that the page quotes at most.
_LOG_LINES, _LOG_WIDTH = 40, 500
_NOTHING = '–'
_MOST_TICKS = 6


def write_report(
    path: str | os.PathLike,
    table: Mapping[str, Any],
    annotations: str | os.PathLike,
    images: str | os.PathLike,
    results: Mapping[str, str | os.PathLike],
    curves: str | os.PathLike | None,
    attention: Sequence[Mapping[str, Any]] = (),
) -> Path:
    """Writes the report of the trials as one HTML page below 20 MB that needs no network.

    Args:
        path: The page, written whole or not at all, and returned.
        table: Content of ``table.json``. Metrics are shares (0 to 1).
        annotations: Ground truth, a YouTube-VIS annotation file.
        images: Folder that the file names of the videos start from.
        results: Result file of each trial that has one, by its name in the table.
        curves: SVG or PNG of the training curves, or None.
        attention: Pictures ``{title, caption, jpeg}``, the last the bytes of a JPEG.

    Raises:
        UserError: if a file or frame is missing or does not fit.
    """
    *others, main = metrics_of(table)
    titles = {trial['name']: trial['title'] for trial in table['trials']}
    content = read_annotation_file(annotations)
    base = next(trial for trial in table['trials'] if trial['name'] == table['baseline'])
    gains = [gain['AP'] for trial in table['trials'] for gain in (trial['errors'] or {}).values()]
    shown = _attention(attention)
    template = _environment().get_template('page.html')
    text = template.render(
        table,
        base=base,
        gap=base['figures'] and base['figures'][main]['seed_spread'],
        main=main,
        metrics=[main, *others],
        axis=axis_of(table, base),
        keeps_frames=any(trial.get('frames_kept') for trial in table['trials']),
        kinds=LABELS,
        # A point at least, so that next to nothing does not look like much.
        most_gain=max([0.01, *gains]),
        curves=_curves(curves),
        gallery=build_gallery(content, results, titles, Path(images), GALLERY_VIDEOS),
        num_videos=len(content['videos']),
        score_threshold=SCORE_THRESHOLD,
        same_object_iou=SAME_OBJECT_IOU,
        attention=shown,
        attention_left=len(attention) - len(shown),
    )
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding='utf-8', newline='\n')
    return Path(path)


def points(value: float | None) -> str:
    """Writes a share, 0 to 1, as points with one decimal; a dash for None."""
    return _NOTHING if value is None else f'{round(100 * value, 1) + 0.0:.1f}'.replace('-', '−')


def signed_points(value: float | None) -> str:
    """Writes a difference of shares as points with its sign."""
    text = points(value)
    return text if value is None or text == '0.0' or text[0] == '−' else f'+{text}'


def interval(ends: Sequence[float] | None, signed: bool = False) -> str:
    """Writes an interval of shares, or of their differences, in points; nothing for None."""
    write = signed_points if signed else points
    return '' if ends is None else f'[{write(ends[0])}, {write(ends[1])}]'


def decision(difference: Mapping[str, Any]) -> str:
    """Puts a difference into a word.

    Args:
        difference: Its ``value``, its ``ci`` over videos and its ``ci_both`` over videos and
            seeds; the intervals may be None.

    Returns:
        ``better`` or ``worse`` if the interval over videos and seeds excludes 0; ``same`` if
        nothing differs on any video; else ``not decided``.
    """
    if difference['value'] == 0 and list(difference['ci'] or ()) == [0, 0]:
        return 'same'
    low, high = difference['ci_both'] or (0, 0)
    return 'better' if low > 0 else 'worse' if high < 0 else 'not decided'


class Axis:
    """Places across, as shares of the width: the chart fits every screen, its text keeps its size.

    Args:
        values: Differences that have to fit, and 0. Some are marked by ``ticks``.
    """

    def __init__(self, values: list[float]) -> None:
        low, high = min(values), max(values)
        # A point at least, so that next to nothing does not look like much.
        spare = max(0.06 * (high - low), (0.01 - (high - low)) / 2)
        self._low, self._width = low - spare, high - low + 2 * spare
        steps = [lead * 10**power / 1000 for power in range(4) for lead in (1, 2, 5)]
        step = next(step for step in steps if self._width / step <= _MOST_TICKS)
        first = math.ceil(self._low / step)
        last = math.floor((self._low + self._width) / step)
        self.ticks = [number * step for number in range(first, last + 1)]

    def place(self, value: float) -> str:
        """Returns the place of a difference, with 3 % of the width to spare on both sides."""
        return f'{3 + 94 * (value - self._low) / self._width:.2f}%'

    def length(self, value: float) -> str:
        """Returns the length of a difference."""
        return f'{94 * value / self._width:.2f}%'


def axis_of(table: Mapping[str, Any], base: Mapping[str, Any]) -> Axis | None:
    """Lays out the axis of a table's differences to the baseline; None if there is none to draw."""
    compared = [one for one in table['trials'] if one['difference']]
    if not compared:
        return None
    main = metrics_of(table)[-1]
    metric = base['figures'][main]
    gap = metric['seed_spread'] or 0.0
    values = [0.0, -gap, gap]
    for one in (base, *compared):
        seeds = one['figures'][main]['by_seed'].values()
        values += [value - metric['mean'] for value in seeds]
    for one in compared:
        difference = one['difference'][main]
        values += [difference['value'], *(difference['ci'] or ()), *(difference['ci_both'] or ())]
    return Axis(values)


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= dict(
        counted=counted,
        dash=lambda value: _NOTHING if value is None else value,
        decision=decision,
        error_head=_error_head,
        interval=interval,
        points=points,
        quoted=_quoted,
        signed_points=signed_points,
    )
    # Style and script stand in the page as they are.
    environment.globals['source'] = lambda name: Markup(
        environment.loader.get_source(environment, name)[0]
    )
    return environment


def _error_head(trial: Mapping[str, Any], main: str) -> Markup:
    level = points(trial['figures'][main]['mean'])
    return Markup('{}<small>{} {}</small>').format(trial['title'], main, level)


def _quoted(lines: Sequence[str]) -> str:
    return '\n'.join(line[:_LOG_WIDTH] for line in lines[-_LOG_LINES:]) or '(the log is empty)'


def _curves(path: str | os.PathLike | None) -> dict[str, Any] | None:
    if path is None:
        return None
    path = Path(path)
    kind = _KINDS.get(path.suffix.lower())
    if kind is None:
        raise UserError(f'picture of training curves {path}: expected a file .svg or .png.')
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(
            f'picture of training curves {path} cannot be read: {error.strerror}.'
        ) from None
    source = _data_uri(data, kind) if len(data) <= CURVES_LIMIT else None
    return dict(name=path.name, bytes=len(data), source=source)


def _attention(pictures: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The pictures up to the first that makes the page too large."""
    shown, total = [], 0
    for one in pictures:
        total += len(one['jpeg'])
        if total > ATTENTION_LIMIT:
            break
        shown.append({**one, 'source': _data_uri(one['jpeg'], 'image/jpeg')})
    return shown


def _data_uri(data: bytes, kind: str) -> str:
    return f'data:{kind};base64,{base64.b64encode(data).decode("ascii")}'
