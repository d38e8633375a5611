"""Measures time and memory of ours beside a named baseline, in one run.

Runs alternate; times are medians. The last line printed is one JSON object with the results and
what was measured; ratio is the baseline's time by ours, above 1 is faster.
"""

from __future__ import annotations

import importlib

# Beside this file, which is where Python looks first when it runs one.
from benchmarking.settings import COMMANDS, parse
from vispropnet.errors import report_user_errors


def main(arguments: list[str] | None = None) -> None:
    """Runs the command.

    Args:
        arguments: Of the command line; None for those of the process.
    """
    command, values = parse(__doc__, arguments)
    with report_user_errors():
        if values.get('device', '') is None:
            import torch

            values['device'] = 'cuda' if torch.cuda.is_available() else 'cpu'
        settings = COMMANDS[command](**values)
        module = importlib.import_module(f'benchmarking.{command.replace("-", "_")}')
        module.benchmark(settings)


if __name__ == '__main__':
    main()
