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
from vispropnet.trials.one_run import shown
from vispropnet.trials.plan import ROOT, Plan


def make_shapes(folder: Path, options: list[str], run: Callable[[list[str]], None]) -> bool:
    """Makes moving shapes, unless these very ones are there.

    Args:
        folder: Of the data, emptied first. A stamp in it says what made them.
        options: Of ``tools/make_moving_shapes.py``.
        run: Runs a command, the arguments of the interpreter; raises an error if it fails.

    Returns:
        False where they were there.
    """
    stamp = folder / 'made_by.json'
    if stamp.exists() and read_json(stamp) == options:
        return False
    shutil.rmtree(folder, ignore_errors=True)
    run([shown(ROOT / 'tools/make_moving_shapes.py'), shown(folder), *options])
    write_json(stamp, options)
    return True


def make_data(plan: Plan, say: Callable[[str], None]) -> None:
    """Makes the data of a preset that makes them, unless these very ones are there.

    Args:
        plan: The plan.
        say: Called with a line.

    Raises:
        UserError: if they cannot be made.
    """

    def run(command: list[str]) -> None:
        say(f'making the data: {shown(plan.data)}')
        command = [sys.executable, *command]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise UserError(f'the data cannot be made: {done.stderr.strip()[-2000:]}')

    if plan.makes_data():
        make_shapes(plan.data, plan.preset.shapes.options(plan.data_seed), run)


def check_data(plan: Plan) -> None:
    """Checks before the first run that data which cannot be made are there.

    Raises:
        UserError: naming the first file or folder that is missing, and how to get it.
    """
    if plan.makes_data():
        return
    config = load_config(*plan.baseline_run().config_and_options('test'))
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
