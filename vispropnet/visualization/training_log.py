"""Reading the logs that mmengine writes in training."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from vispropnet.errors import UserError

LOG_PATTERN = '*/vis_data/scalars.json'


def read_scalars(work_dir: str | os.PathLike) -> list[dict[str, Any]]:
    """Reads what a run logged, in order.

    A run that was resumed has one log per start. They are put together by time: once a later log
    has training rows, they replace the older rows from its first iteration on, so that iterations
    done twice after a crash stand there once. A last line that was cut short is left out.

    Args:
        work_dir: Folder of the run, or of one timestamp in it.

    Returns:
        One dict per logged row, by rising ``iter``. Training rows have ``loss`` and its terms as
        logged. Validation rows have metrics such as ``ytvis/mAP``; their ``iter`` is filled in: the
        number of iterations trained before the validation.

    Raises:
        UserError: if there is no log, it has no rows, or a line other than the last is damaged.
    """
    work_dir = Path(work_dir)
    if not work_dir.is_dir():
        raise UserError(f'work dir {work_dir} not found.')
    files = sorted(work_dir.glob(LOG_PATTERN), key=lambda path: path.parts[-3])
    files = files or [path for path in [work_dir / 'vis_data' / 'scalars.json'] if path.is_file()]
    if not files:
        raise UserError(
            f'work dir {work_dir} has no logs: expected {LOG_PATTERN} in it, as tools/train.py '
            'writes them.'
        )
    rows: list[dict[str, Any]] = []
    for path in files:
        later = _fill_in_iterations(_read_lines(path))
        trained = [row['iter'] for row in later if 'loss' in row]
        if trained:
            rows = [row for row in rows if row['iter'] < trained[0]]
        replaced = {row['iter'] for row in later if 'loss' not in row}
        rows = [row for row in rows if 'loss' in row or row['iter'] not in replaced]
        rows += later
    if not rows:
        raise UserError(f'work dir {work_dir}: its log {files[-1]} has no complete line yet.')
    return sorted(rows, key=lambda row: row['iter'])


def _read_lines(path: Path) -> list[dict[str, Any]]:
    lines = [line for line in path.read_bytes().split(b'\n') if line.strip()]
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
        except ValueError:
            if number == len(lines):
                break
            raise UserError(f'log {path}: line {number} is not valid JSON (damaged?).') from None
        if not isinstance(row, dict):
            raise UserError(f'log {path}: line {number} is not a JSON object.')
        rows.append(row)
    return rows


def _fill_in_iterations(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Gives validation rows, whose ``step`` counts epochs or iterations, an ``iter``."""
    filled, last, epoch, per_epoch = [], 0, None, 0.0
    for row in rows:
        if 'iter' in row:
            last, epoch = row['iter'], row.get('epoch')
            per_epoch = max(per_epoch, last / epoch) if epoch else per_epoch
        else:
            step = row.get('step', last)
            # The last rows of an epoch need not be logged; the longest epoch so far says its end.
            step = round(per_epoch * step) if step == epoch else step
            row = {**row, 'iter': max(last, step)}
        filled.append(row)
    return filled
