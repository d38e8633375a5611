"""Ways to score the results of trials, by the main metric of their study."""

from __future__ import annotations

import abc
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vispropnet.errors import UserError
from vispropnet.evaluation.average_precision import weighted_metrics
from vispropnet.evaluation.error_kinds import classify_errors, error_gains
from vispropnet.evaluation.ground_truth import read_ground_truth
from vispropnet.evaluation.matching import Matches
from vispropnet.evaluation.report import score_file
from vispropnet.fileio import read_json
from vispropnet.trials.plan import Run


class Measure(abc.ABC):
    """Scores results of trials on the same videos.

    Args:
        metrics: Names of the metrics.

    Attributes:
        data: Number of ``videos``, ``frames`` and ``objects``.
        limits: Smallest and largest value that a metric may have.
    """

    data: dict[str, int]
    limits = (0.0, 1.0)

    def __init__(self, metrics: Sequence[str]) -> None:
        self.metrics = tuple(metrics)

    @abc.abstractmethod
    def read(self, run: Run) -> Any:
        """Reads the results of a run."""

    @abc.abstractmethod
    def weighted(
        self, results: Any, weights: np.ndarray, metrics: Sequence[str]
    ) -> dict[str, np.ndarray]:
        """Computes metrics for many weightings of the videos at once.

        Args:
            results: From :meth:`read`.
            weights: (B, V) float64, how often each video counts.
            metrics: Which of the metrics.

        Returns:
            (B,) float64 by name; NaN where there is no object.
        """

    def errors(self, results: Any) -> dict[str, Any] | None:
        """Tells kinds of errors of the results; None where they cannot be told."""
        return None


class TrackMeasure(Measure):
    """Average precision of the tracks of result files.

    Args:
        annotations: Ground truth in YouTube-VIS form.
    """

    def __init__(self, metrics: Sequence[str], annotations: Path) -> None:
        super().__init__(metrics)
        self._truth = truth = read_ground_truth(annotations)
        frames = sum(video.entry['length'] for video in truth.videos)
        self.data = dict(videos=len(truth.videos), frames=frames, objects=len(truth.category))

    def read(self, run: Run) -> Matches:
        """Matches the tracks of a run with the objects."""
        return score_file(self._truth, run.results, frame_by_frame=True)

    def weighted(
        self, results: Matches, weights: np.ndarray, metrics: Sequence[str]
    ) -> dict[str, np.ndarray]:
        """Computes metrics; see the base class."""
        # As the evaluation calls them.
        names = {name: 'AP' if name == 'mAP' else name for name in metrics}
        found = weighted_metrics(results, weights, tuple(names.values()))
        return {name: found[other] for name, other in names.items()}

    def errors(self, results: Matches) -> dict[str, Any]:
        """Tells kinds of errors."""
        return error_gains(results, classify_errors(results))


class ObjectSums(NamedTuple):
    """Sums over the objects of each of V videos."""

    sums: np.ndarray  # (V, M) of M metrics
    counts: np.ndarray  # (V,) objects


class ObjectMeasure(Measure):
    """J and F of given objects, from the metrics files of the tests.

    Args:
        runs: Those that are done.

    Raises:
        UserError: if a file is damaged, or runs were scored on other objects.
    """

    # Decay may rise.
    limits = (-1.0, 1.0)

    def __init__(self, metrics: Sequence[str], runs: Sequence[Run]) -> None:
        super().__init__(metrics)
        self._objects: dict[tuple[str, int], int] = {}
        frames = 0
        for run in runs[:1]:
            content = _metrics_file(run)
            videos = {one['sequence']: at for at, one in enumerate(content['sequences'])}
            keys = [(one['sequence'], one['id']) for one in content['objects']]
            self._objects = {key: videos[key[0]] for key in keys}
            frames = content['costs']['frames']
        videos = len(set(self._objects.values()))
        self.data = dict(videos=videos, frames=frames, objects=len(self._objects))

    def read(self, run: Run) -> ObjectSums:
        """Sums up the metrics of the objects of each video."""
        rows = {(one['sequence'], one['id']): one for one in _metrics_file(run)['objects']}
        if rows.keys() != self._objects.keys():
            raise UserError(
                f'{run.results}: it scores {len(rows)} objects, which are not the '
                f'{len(self._objects)} of the other runs. Remove the folder of the run and resume.'
            )
        sums = np.zeros((self.data['videos'], len(self.metrics)))
        counts = np.zeros(len(sums))
        for key, row in rows.items():
            sums[self._objects[key]] += [row[name] for name in self.metrics]
            counts[self._objects[key]] += 1
        return ObjectSums(sums, counts)

    def weighted(
        self, results: ObjectSums, weights: np.ndarray, metrics: Sequence[str]
    ) -> dict[str, np.ndarray]:
        """Averages over objects; see the base class."""
        means = weights @ results.sums / (weights @ results.counts)[:, None]
        return {name: means[:, self.metrics.index(name)] for name in metrics}


def make_measure(metrics: Sequence[str], runs: Sequence[Run], annotations: Path | None) -> Measure:
    """Makes what scores by the metrics of a study, the last of which is its main one.

    Args:
        metrics: Names.
        runs: Those that are done.
        annotations: Ground truth in YouTube-VIS form, where the data have it.
    """
    if metrics[-1] == 'JF':
        return ObjectMeasure(metrics, runs)
    return TrackMeasure(metrics, annotations)


def costs_of_test(metrics: Sequence[str], run: Run) -> dict[str, float | None]:
    """Reads the costs of a test.

    Args:
        metrics: Names, as of :func:`make_measure`.
        run: A run that is done.

    Returns:
        ``test_s_per_frame``, from the log of the test; with given objects from the metrics file,
        with ``frames_kept`` and ``peak_mib``. None where it is unknown.
    """
    if metrics[-1] != 'JF':
        return dict(test_s_per_frame=seconds_of_test(run))
    costs = _metrics_file(run)['costs']
    names = ('seconds_per_frame', 'frames_kept', 'peak_mib')
    seconds, kept, peak = (costs.get(name) for name in names)
    return dict(test_s_per_frame=seconds, frames_kept=kept, peak_mib=peak)


def seconds_of_test(run: Run) -> float | None:
    """Reads the seconds that test took for a frame, from reading it to its masks, or None."""
    for path in sorted((run.folder / 'test').glob('*/*.json'), reverse=True):
        for line in reversed(path.read_text(errors='replace').splitlines()):
            try:
                return json.loads(line).get('time')
            except (ValueError, AttributeError):  # a line that was cut short
                continue
    return None


def _metrics_file(run: Run) -> dict[str, Any]:
    content = read_json(run.results, 'metrics file')
    keys = ('sequences', 'objects', 'costs')
    if not isinstance(content, dict) or any(key not in content for key in keys):
        raise UserError(f'metrics file {run.results}: expected an object with {", ".join(keys)}.')
    return content
