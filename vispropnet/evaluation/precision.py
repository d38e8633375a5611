"""Average precision and recall of matched tracks, for any weighting of the videos."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vispropnet.evaluation.matching import TRACK_LIMIT, Matches

# Recalls at which precision is read, as the reference evaluator makes them.
RECALLS = np.linspace(0.0, 1.0, 101)
_NEXT_RECALL = np.append(RECALLS, np.inf)
# Weightings computed at once: their arrays stay in the processor's cache.
_BLOCK = 256


def average_precisions(matches: Matches, weights: np.ndarray, bin_index: int = 0) -> np.ndarray:
    """Averages the interpolated precision over 101 recalls.

    A weight of 2 counts as a video that is there twice, side by side in the order of the videos; so
    resampling videos needs no new matching, and a row of ones gives the plain average. (Of equal
    scores within a video, though, all copies of one track come before those of the next.)

    Args:
        matches: From :func:`~vispropnet.evaluation.matching.match_tracks`.
        weights: (B, V) float64, how often each video counts, for B weightings.
        bin_index: Which of the matches' bins.

    Returns:
        (B, K, T) float64 for K categories and T thresholds; NaN where a category has no object.
    """
    return _by_category(matches, weights, bin_index, _Curves.average_precisions)


def recalls(
    matches: Matches, weights: np.ndarray, bin_index: int = 0, limit: int = TRACK_LIMIT
) -> np.ndarray:
    """Shares of objects found by the best tracks of each video and category.

    Args:
        matches: From :func:`~vispropnet.evaluation.matching.match_tracks`.
        weights: (B, V) float64, as in :func:`average_precisions`.
        bin_index: Which of the matches' bins.
        limit: How many tracks per video and category count.

    Returns:
        (B, K, T) float64; NaN where a category has no object.
    """
    return _by_category(
        matches, weights, bin_index, lambda curves, block: curves.recalls(block, limit)
    )


def _by_category(
    matches: Matches,
    weights: np.ndarray,
    bin_index: int,
    function: Callable[[_Curves, np.ndarray], np.ndarray],
) -> np.ndarray:
    categories = len(matches.tracks.truth.category_ids)
    values = np.full((len(weights), categories, matches.true.shape[1]), np.nan)
    for category in range(categories):
        curves = _Curves(matches, bin_index, category)
        if curves.objects.any():
            for begin in range(0, len(weights), _BLOCK):
                block = weights[begin : begin + _BLOCK]
                values[begin : begin + _BLOCK, category] = function(curves, block)
    return values


class _Curves:
    """Tracks of one category by falling score, D of them, and how many objects each video has."""

    def __init__(self, matches: Matches, bin_index: int, category: int) -> None:
        tracks, truth = matches.tracks, matches.tracks.truth
        members = matches.order[tracks.category[matches.order] == category]
        true, false = matches.true[bin_index], matches.false[bin_index]
        # The others neither find anything nor count as false.
        members = members[(true | false)[:, members].any(axis=0)]
        self.video, self.rank = tracks.video[members], matches.rank[members]
        self.true, self.false = true[:, members], false[:, members]
        own = matches.counted[bin_index] & (truth.category == category)
        self.objects = np.bincount(truth.video[own], minlength=len(truth.videos))

    def average_precisions(self, weights: np.ndarray) -> np.ndarray:
        """(B, T) for weights (B, V)."""
        positives = weights @ self.objects
        by_track = weights[:, self.video]
        # False tracks up to each place. They are nearly the same at all thresholds: those that ever
        # are false, less those that are not at this one.
        ever = self.false.any(axis=0)
        false_upto = np.cumsum(by_track * ever, axis=1)
        columns = []
        for true, false in zip(self.true, self.false, strict=True):
            places = np.flatnonzero(true)
            other = np.flatnonzero(ever & ~false)
            not_false = np.zeros((len(weights), len(other) + 1))
            np.cumsum(by_track[:, other], axis=1, out=not_false[:, 1:])
            before = np.searchsorted(other, places, side='right')
            columns.append(
                interpolated_precision(
                    np.cumsum(by_track[:, places], axis=1),
                    false_upto[:, places] - not_false[:, before],
                    positives,
                )
            )
        return np.stack(columns, axis=1)

    def recalls(self, weights: np.ndarray, limit: int) -> np.ndarray:
        """(B, T) for weights (B, V)."""
        within = self.rank < limit
        found = np.stack(
            [
                np.bincount(self.video[true & within], minlength=weights.shape[1])
                for true in self.true
            ],
            axis=1,
        )
        positives = weights @ self.objects
        with np.errstate(invalid='ignore'):
            return (weights @ found) / positives[:, None]


def interpolated_precision(
    true: np.ndarray, false: np.ndarray, positives: np.ndarray
) -> np.ndarray:
    """Averages over 101 recalls the highest precision at that recall or above.

    Only places where a track finds an object matter: in between, precision falls.

    Args:
        true: (B, S) true tracks up to and with each of S true tracks, by falling score.
        false: (B, S) false tracks up to there.
        positives: (B,) objects.

    Returns:
        (B,) averages; NaN where there are no objects.
    """
    recall = true / np.where(positives > 0, positives, 1)[:, None]
    # No weight at all before the first videos that count: no precision.
    precision = true / np.maximum(false + true, np.spacing(1))
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    reached = _reached(recall)
    reached[:, 1:] -= reached[:, :-1].copy()
    averages = np.einsum('bs,bs->b', best, reached) / len(RECALLS)
    return np.where(positives > 0, averages, np.nan)


def _reached(recall: np.ndarray) -> np.ndarray:
    """Counts the recalls of the 101 that each reaches: ``searchsorted(..., 'right')``, but fast."""
    # In steps of 0.01 the guess is off by one at most.
    count = (recall * 100).astype(np.int64) + 1
    count -= RECALLS[count - 1] > recall
    count += _NEXT_RECALL[count] <= recall
    return count
