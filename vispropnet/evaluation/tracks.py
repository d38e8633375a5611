"""From instances found frame by frame to the tracks of the result file, in little memory.

Masks leave as they are made: they go into a temporary database, which is held in memory as long as
it is small and on disk beyond. So memory does not grow with the length of a video, nor with the
number of videos.
"""

from __future__ import annotations

import contextlib
import json
import math
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import torch

from vispropnet.datasets.rle import RLE
from vispropnet.errors import UserError
from vispropnet.models.frames import TrackScores
from vispropnet.ops.transfer import to_host


class _Kept:
    """Holds a database of its own, with 2 MiB of it in memory; gone with the object."""

    def __init__(self, *tables: str) -> None:
        # Whichever thread lets go of it closes it.
        self._database = sqlite3.connect('', isolation_level=None, check_same_thread=False)
        for statement in ('PRAGMA journal_mode = MEMORY', 'PRAGMA synchronous = OFF', *tables):
            self._database.execute(statement)

    def __del__(self) -> None:
        if hasattr(self, '_database'):
            self._database.close()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._database.execute('BEGIN')
        try:
            yield
            self._database.execute('COMMIT')
        except BaseException as error:
            if self._database.in_transaction:  # SQLite ends some by itself
                self._database.execute('ROLLBACK')
            if not isinstance(error, sqlite3.OperationalError):
                raise
            raise UserError(
                f'cannot keep masks in a temporary file: {error}. The environment variable TMPDIR '
                'names another folder for temporary files.'
            ) from None


class TrackAccumulator(_Kept):
    """Gathers the instances of one video, frame by frame, into tracks."""

    def __init__(self) -> None:
        super().__init__(
            'CREATE TABLE masks (track INTEGER, frame INTEGER, label INTEGER, score REAL, '
            'propagated INTEGER, height INTEGER, width INTEGER, counts TEXT, '
            'PRIMARY KEY (track, frame)) WITHOUT ROWID'
        )

    def add_frame(
        self,
        frame_id: int,
        ids: Sequence[int] | torch.Tensor,
        labels: Sequence[int] | torch.Tensor,
        scores: Sequence[float] | torch.Tensor,
        rles: Sequence[RLE],
        propagated: Sequence[bool] | torch.Tensor | None = None,
    ) -> None:
        """Adds the instances of one frame.

        Args:
            frame_id: Position of the frame in the video, from 0.
            ids: (N,) track id of each instance, none twice.
            labels: (N,) label index of each.
            scores: (N,) score of each.
            rles: N compressed RLEs ``{'size': [H, W], 'counts': str}``.
            propagated: (N,) which of them were carried over from other frames instead of being
                detected; None for none.

        Raises:
            UserError: if an id is there twice, or there is no room for temporary files.
        """
        columns = [ids, labels, scores, *([] if propagated is None else [propagated])]
        if all(isinstance(column, torch.Tensor) for column in columns):
            columns = to_host(*columns)
        ids, labels, scores, *carried = (np.asarray(column).tolist() for column in columns)
        carried = carried[0] if carried else [False] * len(ids)
        rows = [
            (track, int(frame_id), label, score, over, *rle['size'], rle['counts'])
            for track, label, score, over, rle in zip(
                ids, labels, scores, carried, rles, strict=True
            )
        ]
        with self._transaction():
            try:
                self._database.executemany(f'INSERT INTO masks VALUES ({"?, " * 7}?)', rows)
            except sqlite3.IntegrityError:
                twice = [track for track in ids if ids.count(track) > 1] or ids
                raise UserError(
                    f'track {twice[0]} is twice in frame {frame_id}: a model must give each id '
                    'once in a frame.'
                ) from None

    def results(
        self,
        video_id: int,
        length: int,
        category_ids: Sequence[int | None],
        track_scores: TrackScores | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Turns the tracks into entries of the official result file.

        Unless the model rates its tracks itself, the category of a track is the label with the
        largest sum of scores over its frames (of two equal sums, the smaller label); its score is
        the mean over the frames it was detected in. Propagated masks are no evidence of either and
        do not count.

        Args:
            video_id: The video's id in the annotation file.
            length: The number of the video's frames.
            category_ids: Category id in the annotation file of each label index; tracks of labels
                with None, categories that it does not have, are left out.
            track_scores: Categories and scores by the model's own rule. Tracks that are not in it
                are left out, as are those in it that no frame shows.

        Yields:
            A dict ``{video_id, category_id, score, segmentations}`` per track and category, by
            falling score, then by rising track id and label. ``segmentations`` has an RLE or None
            for each of ``length`` frames. A track with propagated masks also has ``propagated``, a
            bool per frame.
        """
        scored = self._rated(track_scores) if track_scores else self._scored()
        for score, track_id, label in sorted(scored):
            assert 0 <= label < len(category_ids), (
                f'video {video_id}: track {track_id} has label {label}, but there are '
                f'{len(category_ids)} categories'
            )
            if category_ids[label] is None:
                continue
            rles: list[RLE | None] = [None] * length
            carried = [False] * length
            for frame, propagated, height, width, counts in self._database.execute(
                'SELECT frame, propagated, height, width, counts FROM masks WHERE track = ?',
                (track_id,),
            ):
                rles[frame] = {'size': [height, width], 'counts': counts}
                carried[frame] = bool(propagated)
            entry = dict(
                video_id=video_id,
                category_id=int(category_ids[label]),
                score=-score,
                segmentations=rles,
            )
            yield {**entry, 'propagated': carried} if any(carried) else entry

    def _rated(self, track_scores: TrackScores) -> Iterator[tuple[float, int, int]]:
        """Negative score, id and label of each pair of a model's own whose track was seen."""
        seen = {track for (track,) in self._database.execute('SELECT DISTINCT track FROM masks')}
        columns = track_scores.scores, track_scores.ids, track_scores.labels
        for score, track_id, label in zip(*(one.tolist() for one in columns), strict=True):
            if track_id in seen:
                yield -score, track_id, label

    def _scored(self) -> Iterator[tuple[float, int, int]]:
        """Negative score, id and label of each track, from its frames."""
        found = self._database.execute(
            'SELECT track, label, score, propagated FROM masks ORDER BY track, frame'
        )
        for track_id, rows in groupby(found, key=lambda row: row[0]):
            scores: dict[int, list[float]] = defaultdict(list)
            for _, label, score, propagated in rows:
                if not propagated:
                    scores[label].append(score)
            label = min(scores, key=lambda label: (-math.fsum(scores[label]), label))
            values = [score for some in scores.values() for score in some]
            yield -math.fsum(values) / len(values), track_id, label


class TrackStore(_Kept):
    """Entries of a result file, of many videos: put in as videos end, read back in file order.

    That is by rising video id, then by falling score, then as they came.
    """

    def __init__(self) -> None:
        super().__init__(
            'CREATE TABLE tracks (place INTEGER PRIMARY KEY, video INTEGER, score REAL, '
            'propagated INTEGER, entry TEXT)',
            'CREATE INDEX file_order ON tracks (video, score DESC, place)',
        )

    def extend(self, entries: Iterable[dict[str, Any]]) -> None:
        """Puts in entries; a UserError says that there is no room for temporary files."""
        rows = (
            (
                entry['video_id'],
                entry['score'],
                sum(entry.get('propagated', ())),
                json.dumps(entry, separators=(',', ':')),
            )
            for entry in entries
        )
        with self._transaction():
            self._database.executemany('INSERT INTO tracks VALUES (NULL, ?, ?, ?, ?)', rows)

    def __len__(self) -> int:
        return self._database.execute('SELECT COUNT(*) FROM tracks').fetchone()[0]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        order = 'SELECT entry FROM tracks ORDER BY video, score DESC, place'
        for (entry,) in self._database.execute(order):
            yield json.loads(entry)

    def propagated(self) -> int:
        """Counts the propagated masks."""
        return int(self._database.execute('SELECT TOTAL(propagated) FROM tracks').fetchone()[0])
