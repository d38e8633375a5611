"""One run of a trial: its commands, its files, and how far it has come."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from vispropnet.trials.study import Trial

_ITERATION = re.compile(rb'Epoch\(train\)\s+\[(\d+)\]\[\s*(\d+)/(\d+)\]')
# A log's last lines say how far it is.
_TAIL_BYTES = 4096


@dataclass(frozen=True)
class Run:
    """One trial from one seed: training, then test.

    Attributes:
        trial: What is trained.
        seed: Of training.
        folder: Where everything of it goes.
        needs: Keys of the runs whose weights it takes.
        steps: Arguments of the commands, by name (``train``, ``test``), in order.
        checkpoint: The weights that it ends with, or takes.
        epochs: Of its training.
    """

    trial: Trial
    seed: int
    folder: Path
    needs: tuple[str, ...]
    steps: dict[str, list[str]]
    checkpoint: Path
    epochs: int

    @property
    def key(self) -> str:
        """The trial's name and the seed, as in the folders."""
        return f'{self.trial.name}/seed-{self.seed}'

    @property
    def results(self) -> Path:
        """The result file."""
        return self.folder / 'results.json'

    @property
    def failure(self) -> Path:
        """The file that marks a failure."""
        return self.folder / 'failure.json'

    def log(self, step: str) -> Path:
        """Returns the file with the output of a step."""
        return self.folder / f'{step}.log'

    def config_and_options(self, step: str) -> tuple[str, list[str]]:
        """Returns the config of a step and its ``key=value`` changes."""
        command = self.steps[step]
        return command[1], command[command.index('--cfg-options') + 1 :]

    def next_step(self) -> str | None:
        """Returns the step that comes next; None if all is done."""
        if self.results.exists():
            return None
        if 'train' in self.steps and not self.trained():
            return 'train'
        return 'test' if 'test' in self.steps else None

    def trained(self) -> bool:
        """Checks that training came to its end: the last checkpoint is complete."""
        # Written after the checkpoint that it names.
        pointer = self.folder / 'train' / 'last_checkpoint'
        try:
            named = pointer.read_text().strip()
        except OSError:
            return False
        return Path(named).name == self.checkpoint.name and self.checkpoint.exists()

    def done(self) -> bool:
        """Checks for results that mean something: weights that diverged have some too."""
        return self.results.exists() and not self.failure.exists()

    def share_done(self) -> float:
        """Returns how much of the run is done, in [0, 1]; test counts as a tenth."""
        step = self.next_step()
        if step is None:
            return 1.0
        if step == 'test':
            return 0.9 if 'train' in self.steps else 0.0
        found = _ITERATION.findall(_tail(self.log('train')))
        if not found:
            return 0.0
        epoch, iteration, iterations = map(int, found[-1])
        return 0.9 * min(1.0, (epoch - 1 + iteration / iterations) / self.epochs)


def shown(path: str | os.PathLike) -> str:
    """Returns a path as a command should have it: relative if it is below the current folder."""
    path, here = Path(path).absolute(), Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def tail_lines(path: str | os.PathLike, count: int) -> list[str]:
    """Returns the last lines of a log that are not empty; none if there is no log.

    Args:
        path: The log.
        count: How many at most.
    """
    text = _tail(path).decode(errors='replace')
    return [line.rstrip() for line in text.splitlines() if line.strip()][-count:]


def _tail(path: str | os.PathLike) -> bytes:
    try:
        with open(path, 'rb') as stream:
            stream.seek(max(0, stream.seek(0, os.SEEK_END) - _TAIL_BYTES))
            return stream.read()
    except OSError:
        return b''
