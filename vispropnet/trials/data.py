"""The videos that trials are run on: made here, or found."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from vispropnet.config import load_config
from vispropnet.errors import UserError
from vispropnet.fileio import read_json, write_json
from vispropnet.trials.plan import ROOT, Plan, shown


class Data(NamedTuple):
    """Videos to train or to test on, and how to get them."""

    root: Path
    annotations: Path
    images: Path
    hint: str


def make_shapes(folder: Path, options: list[str], run: Callable[[list[str]], None]) -> bool:
    """Makes moving shapes, and returns True, unless these very ones are there.

    Args:
        folder: Of the data, emptied first. A stamp in it says what made them.
        options: Of ``tools/make_moving_shapes.py``.
        run: Runs a command, the arguments of the interpreter; raises an error if it fails.
    """
    stamp = folder / 'made_by.json'
    if stamp.exists() and read_json(stamp) == options:
        return False
    shutil.rmtree(folder, ignore_errors=True)
    run([shown(ROOT / 'tools/make_moving_shapes.py'), shown(folder), *options])
    write_json(stamp, options)
    return True


def make_data(plan: Plan, say: Callable[[str], None]) -> None:
    """Makes the data of a preset that makes them, and says so; a UserError if that fails."""

    def run(command: list[str]) -> None:
        say(f'making the data: {shown(plan.data)}')
        command = [sys.executable, *command]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise UserError(f'the data cannot be made: {done.stderr.strip()[-2000:]}')

    if options := plan.shapes_options():
        make_shapes(plan.data, options, run)


def data_of(plan: Plan) -> dict[str, Data]:
    """Finds the data to ``train`` on and to ``test`` on, in the config of the baseline."""
    config = load_config(*plan.baseline_run().config_and_options('test'))
    found = {}
    for part in ('train', 'test'):
        dataset = config[f'{part}_dataloader'].dataset
        root = Path(dataset.get('data_root') or '')
        annotations = root / dataset.ann_file
        if part == 'test':
            annotations = Path(config.test_evaluator.ann_file)
        images = root / dataset.data_prefix['img']
        found[part] = Data(root, annotations, images, dataset.get('hint', ''))
    return found


def check_data(plan: Plan) -> None:
    """Checks before the first run that data which cannot be made are there.

    Raises:
        UserError: naming the first file or folder that is missing, and how to get it.
    """
    if plan.shapes_options():
        return
    for part, data in data_of(plan).items():
        for path in (data.annotations, data.images):
            if not path.exists():
                hint = data.hint
                if plan.preset.split:
                    hint += (
                        f' Then: python tools/split_ytvis.py {data.root / plan.preset.split} '
                        f'--val-fraction 0.1 --seed 0 --out-dir {data.root / "local"}'
                    )
                raise UserError(f'data of {part} are missing: {path}. {hint}')
