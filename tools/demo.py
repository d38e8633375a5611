"""Makes videos, trains on them, segments others, scores the result and draws it.

Each step is one of the ordinary commands, printed before it runs. What is done already is not done
again: a finished training is kept, an interrupted one is resumed.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from vispropnet.engine.folder_lock import locked_folder
from vispropnet.engine.processes import die_with_parent, hold_interrupts
from vispropnet.errors import Stopped, UserError, report_user_errors
from vispropnet.fileio import read_json, write_json

ROOT = Path(__file__).resolve().parent.parent
CONFIG = 'configs/objprop/objprop_r18_fpn_2e_moving-shapes.py'
PROGRESS = r'Epoch\('


def parse_args() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--config', default=CONFIG, help='what to train (%(default)s)')
    parser.add_argument(
        '--work-dir', type=Path, default=Path('work_dirs/demo'), help='(%(default)s)'
    )
    parser.add_argument('--retrain', action='store_true', help='train again from the start')
    parser.add_argument('--preset', default='easy', choices=('easy', 'occlusion'))
    parser.add_argument('--videos', type=int, default=300, help='to train on (%(default)s)')
    parser.add_argument('--val-videos', type=int, default=32, help='to test on (%(default)s)')
    parser.add_argument('--frames', type=int, default=12, help='per video (%(default)s)')
    parser.add_argument('--seed', type=int, default=0, help='of data and training (%(default)s)')
    parser.add_argument(
        '--cfg-options', nargs='+', default=[], metavar='KEY=VALUE', help='as in tools/train.py'
    )
    return parser.parse_args()


def train(command: list[str], recipe: str, work_dir: Path, checkpoint: Path, anew: bool) -> None:
    """Trains, unless a checkpoint of this very recipe is there; one cut short is resumed."""
    stamp = work_dir / 'recipe.json'
    same = not anew and stamp.exists() and read_json(stamp) == recipe
    if same and checkpoint.exists():
        print(f'checkpoint: {checkpoint} (kept; make demo RETRAIN=1 trains anew)')
        return
    if not same:
        with locked_folder(work_dir):
            shutil.rmtree(work_dir, ignore_errors=True)
        checkpoint.unlink(missing_ok=True)
    write_json(stamp, recipe)
    run(command, show=PROGRESS)
    shutil.copyfile((work_dir / 'last_checkpoint').read_text().strip(), checkpoint)


def recipe_of(config: str, options: list[str], shapes: list[str]) -> str:
    """Gives a digest of what the training depends on: the whole config and the data."""
    from vispropnet.config import load_config

    text = json.dumps([load_config(config, options).pretty_text, shapes])
    return hashlib.sha256(text.encode()).hexdigest()


def draw(out: Path, data: Path) -> None:
    """Draws the contact sheet and the loss curves."""
    from vispropnet.visualization.charts import plot_losses
    from vispropnet.visualization.results import contact_sheet

    truth, images = data / 'valid/instances.json', data / 'valid/JPEGImages'
    contact_sheet(truth, out / 'results.json', images, out / 'contact_sheet.png')
    plot_losses([out / 'train'], out / 'losses.png')


def run(command: list[str], show: str | None = None) -> None:
    """Runs a command of ours, which ends with this process.

    Args:
        command: Script and arguments.
        show: Pattern of the output lines to pass on; None passes on everything.

    Raises:
        UserError: if it fails, with the end of its output.
    """
    print('\n$ python', ' '.join(command), flush=True)
    pipe = {} if show is None else dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    lines = []
    process = None
    try:
        # Python drops exceptions that a signal raises while it forks.
        with hold_interrupts():
            process = subprocess.Popen(
                [sys.executable, '-u', str(ROOT / command[0]), *command[1:]],
                text=True,
                errors='replace',
                preexec_fn=functools.partial(die_with_parent, os.getpid(), signal.SIGTERM),
                **pipe,
            )
        for line in process.stdout or ():
            lines.append(line)
            if re.search(show, line):
                print(line, end='', flush=True)
        process.wait()
    except BaseException as error:
        if process is not None:
            # Not the signal that a whole group may have got: training takes a second one of the
            # same kind for impatience.
            process.send_signal(signal.SIGINT if isinstance(error, Stopped) else signal.SIGTERM)
            try:
                process.communicate()  # training saves its state first
            finally:
                process.kill()
        raise
    if process.returncode:
        end = '; its last lines:\n' + ''.join(lines[-25:]) if lines else '.'
        raise UserError(f'the command above failed{end}')


def stop(number: int, frame: object) -> None:
    """Ends the demo on a signal."""
    name = signal.Signals(number).name
    raise Stopped(f'stopped by {name}; the same command resumes the demo.', 128 + number)


def main() -> None:
    """Runs the command."""
    args = parse_args()
    began = time.monotonic()
    out = args.work_dir
    signal.signal(signal.SIGTERM, stop)
    with report_user_errors(), locked_folder(out):
        # Later: --help answers before heavy packages are imported.
        from vispropnet.trials.data import make_shapes

        data, checkpoint, logs = out / 'data', out / 'checkpoint.pth', out / 'train'
        shapes = ['--preset', args.preset, '--videos', str(args.videos), '--frames']
        shapes += [str(args.frames), '--val-videos', str(args.val_videos), '--seed', str(args.seed)]
        options = [f'data_root={data}', *args.cfg_options]
        recipe = recipe_of(args.config, options, [*shapes, str(args.seed)])
        if not make_shapes(data, shapes, run):
            print(f'data: {data} (kept)')
        command = ['tools/train.py', args.config, '--work-dir', str(logs), '--resume', '--seed']
        command += [str(args.seed), '--cfg-options', *options]
        train(command, recipe, logs, checkpoint, args.retrain)
        results, metrics = out / 'results.json', out / 'metrics.json'
        command = ['tools/test_video.py', args.config, str(checkpoint), '--out', str(results)]
        command += ['--eval', 'segm', '--metrics-out', str(metrics), '--cfg-options', *options]
        run(command, show=PROGRESS)
        draw(out, data)
        report(out, began)


def report(out: Path, began: float) -> None:
    """Prints the AP table and where everything is."""
    from vispropnet.evaluation.average_precision import format_table

    print('\n' + format_table(read_json(out / 'metrics.json')))
    propagated = sum(sum(track.get('propagated', ())) for track in read_json(out / 'results.json'))
    if propagated:
        print(f'{propagated} masks were propagated from other frames (dashed in the contact sheet)')
    print(f'\ndone in {(time.monotonic() - began) / 60:.1f} minutes:')
    for name in (
        'results.json',
        'metrics.json',
        'contact_sheet.png',
        'losses.png',
        'checkpoint.pth',
    ):
        print(f'  {out / name}')


if __name__ == '__main__':
    main()
