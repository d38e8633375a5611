"""Makes videos, trains on them, segments others, scores the result and draws it.

Each step is one of the ordinary commands, printed before it runs. What is done already is not done
again: a finished training is kept, an interrupted one goes on.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from vispropnet.errors import UserError, report_user_errors
from vispropnet.fileio import read_json, write_json

ROOT = Path(__file__).resolve().parent.parent
CONFIG = 'configs/masktrack_rcnn/masktrack-rcnn_r18_fpn_10e_moving-shapes.py'
SHAPES = ['--preset', 'easy', '--videos', '240', '--val-videos', '32', '--seed', '0']


def parse_args() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--config', default=CONFIG, help='what to train (default: %(default)s)')
    parser.add_argument(
        '--work-dir', type=Path, default=Path('work_dirs/demo'), help='default: %(default)s'
    )
    parser.add_argument('--retrain', action='store_true', help='train again from the start')
    return parser.parse_args()


def make_data(folder: Path) -> None:
    """Makes the videos, unless these very ones are there."""
    stamp = folder / 'made_by.json'
    if stamp.exists() and read_json(stamp) == SHAPES:
        print(f'data: {folder} (kept)')
        return
    shutil.rmtree(folder, ignore_errors=True)
    run(['tools/make_moving_shapes.py', str(folder), *SHAPES])
    write_json(stamp, SHAPES)


def train(config: str, data: Path, work_dir: Path, checkpoint: Path, retrain: bool) -> None:
    """Trains, unless a checkpoint of this very config and data is there."""
    recipe = hashlib.sha256(json.dumps([resolved_config(config), SHAPES]).encode()).hexdigest()
    stamp = work_dir / 'recipe.json'
    same = stamp.exists() and read_json(stamp) == recipe
    if same and checkpoint.exists() and not retrain:
        print(f'checkpoint: {checkpoint} (kept; --retrain, or make demo RETRAIN=1, trains again)')
        return
    if not same or retrain:
        shutil.rmtree(work_dir, ignore_errors=True)
        checkpoint.unlink(missing_ok=True)
    write_json(stamp, recipe)
    command = ['tools/train.py', config, '--work-dir', str(work_dir), '--resume']
    run([*command, '--cfg-options', f'data_root={data}'], show=r'Epoch\(|ytvis/')
    newest = Path((work_dir / 'last_checkpoint').read_text().strip())
    shutil.copyfile(newest, checkpoint)


def resolved_config(config: str) -> str:
    """Gives the whole text of a config, its bases included."""
    from mmengine.config import Config

    return Config.fromfile(config).pretty_text


def run(command: list[str], show: str | None = None) -> None:
    """Runs a command of ours.

    Args:
        command: Script and arguments.
        show: Pattern of the output lines to pass on; None passes on everything.

    Raises:
        UserError: if it fails, with the end of its output.
    """
    print('\n$ python', ' '.join(command), flush=True)
    command = [sys.executable, '-u', str(ROOT / command[0]), *command[1:]]
    if show is None:
        if subprocess.run(command, check=False).returncode:
            raise UserError('the command above failed.')
        return
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors='replace'
    )
    lines = []
    try:
        for line in process.stdout:
            lines.append(line)
            if re.search(show, line):
                print(line, end='', flush=True)
    finally:
        if process.wait():
            raise UserError('the command above failed; its last lines:\n' + ''.join(lines[-25:]))


def main() -> None:
    """Runs the command."""
    args = parse_args()
    began = time.monotonic()
    with report_user_errors():
        out = args.work_dir
        data, checkpoint = out / 'data', out / 'checkpoint.pth'
        make_data(data)
        train(args.config, data, out / 'train', checkpoint, args.retrain)
        results, metrics = out / 'results.json', out / 'metrics.json'
        test = ['tools/test_video.py', args.config, str(checkpoint), '--out', str(results)]
        test += ['--eval', 'segm', '--metrics-out', str(metrics)]
        run([*test, '--cfg-options', f'data_root={data}'], show=r'Epoch\(test\)|AP|AR|---')
        draw(out, data, results)
        minutes = (time.monotonic() - began) / 60
        names = [
            'results.json',
            'metrics.json',
            'contact_sheet.png',
            'losses.png',
            'checkpoint.pth',
        ]
        print(f'\ndone in {minutes:.1f} minutes:')
        for name in names:
            print(f'  {out / name}')


def draw(out: Path, data: Path, results: Path) -> None:
    """Draws the contact sheet and the loss curves."""
    from vispropnet.visualization.contact_sheet import contact_sheet
    from vispropnet.visualization.curves import plot_losses

    valid = data / 'valid'
    contact_sheet(
        valid / 'instances.json', results, valid / 'JPEGImages', out / 'contact_sheet.png'
    )
    plot_losses([out / 'train'], out / 'losses.png')


if __name__ == '__main__':
    main()
