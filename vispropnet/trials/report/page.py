"""The page itself: one HTML file that needs nothing beside it."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from vispropnet.datasets.annotation_file import read_annotation_file
from vispropnet.errors import UserError
from vispropnet.fileio import atomic_path
from vispropnet.trials.report.charts import difference_chart, error_table
from vispropnet.trials.report.gallery import Gallery, build_gallery
from vispropnet.trials.report.tables import (
    cost_table,
    facts,
    failures,
    published_table,
    result_table,
)
from vispropnet.trials.report.video_scores import SCORE_THRESHOLD
from vispropnet.trials.report.wording import baseline_of, escaped
from vispropnet.visualization.shown_tracks import SAME_OBJECT_IOU

TITLE = 'Trials of modules'
# Bytes of pictures before they are put into base64; with the gallery they keep a page below 20 MB.
CURVES_LIMIT, ATTENTION_LIMIT = 2_000_000, 3_000_000
_KINDS = {'.svg': 'image/svg+xml', '.png': 'image/png'}
# Browsers then refuse whatever is not in the page itself.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def write_report(
    path: str | os.PathLike,
    table: Mapping[str, Any],
    annotations: str | os.PathLike,
    images: str | os.PathLike,
    results: Mapping[str, str | os.PathLike],
    curves: str | os.PathLike | None,
    attention: Sequence[Mapping[str, Any]] = (),
    gallery_videos: int = 8,
) -> Path:
    """Writes the report of the trials as one HTML page below 20 MB that needs no network.

    Args:
        path: The page, written whole or not at all.
        table: Content of ``table.json``. Figures are shares (0 to 1); any of them may be None.
        annotations: Ground truth, a YouTube-VIS annotation file.
        images: Folder that the file names of the videos start from.
        results: Result file of each trial that has one, by its name in the table.
        curves: SVG or PNG of the training curves, or None.
        attention: Pictures ``{title, caption, jpeg}``, the last the bytes of a JPEG.
        gallery_videos: How many videos to show, at most.

    Returns:
        ``path``.

    Raises:
        UserError: if a file or frame is missing or does not fit, or ``results`` names a trial that
            the table does not have.
    """
    titles = {trial['name']: str(trial['title']) for trial in table['trials']}
    for name in results:
        if name not in titles:
            raise UserError(
                f'a result file is given for trial {name}, which is not among those of the table: '
                f'{", ".join(titles) or "none"}.'
            )
    content = read_annotation_file(annotations)
    sections = [
        ('results', 'Results', _results(table)),
        ('curves', 'Training curves', _curves(curves)),
        ('errors', 'Kinds of error', error_table(table)),
        (
            'gallery',
            'Videos where the trials differ most',
            _gallery(
                build_gallery(content, results, titles, Path(images), gallery_videos),
                len(content['videos']),
            ),
        ),
    ]
    if attention:
        sections.append(('attention', 'Attention', _attention(attention)))
    with atomic_path(path) as temporary:
        temporary.write_text(_page(table, sections), encoding='utf-8', newline='\n')
    return Path(path)


def _page(table: Mapping[str, Any], sections: Sequence[tuple[str, str, str]]) -> str:
    links = ''.join(f'<li><a href="#{key}">{title}</a></li>' for key, title, _ in sections)
    bodies = ''.join(
        f'<section id="{key}"><h2>{title}</h2>{body}</section>' for key, title, body in sections
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="color-scheme" content="light dark"><title>{TITLE}</title>'
        f'<style>\n{_own_file("page.css")}</style></head>\n<body><header><h1>{TITLE}</h1>'
        f'{_head(table)}<nav aria-label="Sections"><ul>{links}</ul></nav></header>\n'
        f'<main>{bodies}</main>\n<script>\n{_own_file("page.js")}</script></body></html>\n'
    )


def _own_file(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding='utf-8')


def _head(table: Mapping[str, Any]) -> str:
    base = baseline_of(table)
    changed = sum(trial['name'] != table.get('baseline') for trial in table['trials'])
    done = sum(trial.get('state') == 'done' for trial in table['trials'])
    against = f'and compared with the baseline, “{escaped(base["title"])}”' if base else ''
    listed = ''.join(f'<div><dt>{name}</dt><dd>{body}</dd></div>' for name, body in facts(table))
    return (
        f'<p>The same model was trained with one module changed at a time ({changed} changes) '
        f'{against}. {done} of {len(table["trials"])} trials are complete.</p>'
        f'<dl class="facts">{listed}</dl>'
    )


def _results(table: Mapping[str, Any]) -> str:
    bootstrap = table.get('bootstrap') or {}
    level = f'{100 * bootstrap.get("level", 0.95):g} %'
    resamples = bootstrap.get('resamples')
    drawn = f'{resamples} times' if resamples else 'many times'
    seed = f' (seed {escaped(bootstrap["seed"])})' if bootstrap.get('seed') is not None else ''
    return (
        f'<p>How to read the intervals: the videos scored on are drawn anew {drawn} with '
        f'replacement{seed}; {level} of the figures computed so lie inside the brackets. For a '
        'difference, the same videos are drawn for both trials. They tell what other videos might '
        'have given. What another training might have given (other seeds) is estimated from the '
        'spread of the seeds within trials, taken as alike for all; without two seeds of any trial '
        'it is not known. A difference is called better or worse only if its interval over both, '
        'videos and seeds, excludes 0. The gap between seeds is the largest figure of a seed minus '
        'the smallest.</p>'
        f'{result_table(table)}<h3>Differences to the baseline</h3>{difference_chart(table)}'
        f'{failures(table)}<h3>Size and speed</h3>{cost_table(table)}'
        f'{_titled("Published figures", published_table(table))}'
    )


def _titled(title: str, body: str) -> str:
    return f'<h3>{title}</h3>{body}' if body else ''


def _curves(path: str | os.PathLike | None) -> str:
    if path is None:
        return '<p>There are no training curves.</p>'
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
    if len(data) > CURVES_LIMIT:
        return (
            f'<p>The picture of the training curves is too large for this page '
            f'({len(data) / 1e6:.1f} MB); see <code>{escaped(path.name)}</code>.</p>'
        )
    picture = _picture(data, kind, 'Losses of the trials over the iterations')
    return f'<div class="scroll" role="region" tabindex="0" aria-label="curves">{picture}</div>'


def _attention(pictures: Sequence[Mapping[str, Any]]) -> str:
    figures, total = [], 0
    for one in pictures:
        total += len(one['jpeg'])
        if total > ATTENTION_LIMIT:
            left = len(pictures) - len(figures)
            figures.append(
                f'<p class="note">{left} of {len(pictures)} pictures are left out: the page would '
                'be too large.</p>'
            )
            break
        figures.append(
            f'<figure class="attention"><figcaption><strong>{escaped(one["title"])}</strong> '
            f'{escaped(one["caption"])}</figcaption>'
            f'{_picture(one["jpeg"], "image/jpeg", one["title"])}</figure>'
        )
    return ''.join(figures)


def _picture(data: bytes, kind: str, text: str) -> str:
    source = f'data:{kind};base64,{base64.b64encode(data).decode("ascii")}'
    return f'<img alt="{escaped(text)}" src="{source}">'


def _gallery(gallery: Gallery, total: int) -> str:
    if not gallery.videos:
        notes = gallery.notes or ['There are no results to show.']
        return f'<p>{" ".join(notes)}</p>'
    notes = f'<p class="note">{" ".join(gallery.notes)}</p>' if gallery.notes else ''
    return (
        f'<p>{len(gallery.videos)} of {total} videos, those where the trials lie furthest apart '
        'first. The score of a video: tracks are paired with the true objects one to one so that '
        'the sum of their IoUs over the whole video is largest, whatever their category; the '
        'score is that sum, divided by the number of objects or of tracks, whichever is larger. '
        f'Only tracks scored {SCORE_THRESHOLD:g} or more count and are shown, those of the first '
        'seed.</p><p>A track takes the colour and the number of the true object that it follows '
        f'with an IoU of at least {SAME_OBJECT_IOU:g} over the whole video; other tracks have '
        'colours of their own, so that an object whose colour changes from frame to frame has '
        'changed its identity. Hatched masks with a dashed outline were carried over from another '
        f'frame.</p>{notes}<div id="videos"></div>'
        '<noscript><p class="note">The frames are drawn by a script, which is switched off.</p>'
        '</noscript><script type="application/json" id="gallery-data">['
        f'{",".join(gallery.videos)}]</script>'
    )
