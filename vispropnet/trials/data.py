"""The videos that trials are run on: made here, or found."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from vispropnet.config import load_config
from vispropnet.errors import UserError
from vispropnet.fileio import read_json, write_json
from vispropnet.trials.catalogue import BASELINE
from vispropnet.trials.plan import ROOT, Plan, shown


def make_data(plan: Plan, say: Callable[[str], None]) -> None:
    """Makes the data of a preset that makes them, unless these very ones are there.

    Args:
        plan: The plan.
        say: Called with a line.

    Raises:
        UserError: if they cannot be made.
    """
    if not plan.makes_data():
        return
    options = plan.preset.shapes.options(plan.data_seed)
    stamp = plan.data / 'made_by.json'
    if stamp.exists() and read_json(stamp) == options:
        return
    shutil.rmtree(plan.data, ignore_errors=True)
    say(f'making the data: {shown(plan.data)}')
    command = [sys.executable, *data_command(plan)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f'the data cannot be made: {done.stderr.strip()[-2000:]}')
    write_json(stamp, options)


def data_command(plan: Plan) -> list[str]:
    """Gives the command that makes the data of a preset, after the name of the interpreter."""
    options = plan.preset.shapes.options(plan.data_seed)
    return [shown(ROOT / 'tools/make_moving_shapes.py'), shown(plan.data), *options]


def check_data(plan: Plan) -> None:
    """Checks before the first run that data which cannot be made are there.

    Args:
        plan: The plan.

    Raises:
        UserError: naming the first file or folder that is missing, and how to get it.
    """
    if plan.makes_data():
        return
    command = plan.runs[f'{BASELINE}/seed-0'].steps['test']
    config = load_config(command[1], command[command.index('--cfg-options') + 1 :])
    for part in ('train', 'test'):
        dataset = config[f'{part}_dataloader'].dataset
        root = Path(dataset.get('data_root') or '')
        for path in (root / dataset.ann_file, root / dataset.data_prefix['img']):
            if not path.exists():
                hint = dataset.get('hint', '')
                if plan.preset.split:
                    hint += (
                        f' Then: python tools/split_ytvis.py {root / plan.preset.split} '
                        f'--val-fraction 0.1 --seed 0 --out-dir {root / "local"}'
                    )
                raise UserError(f'data of {part} are missing: {path}. {hint}')
