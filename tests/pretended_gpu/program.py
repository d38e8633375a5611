"""Runs a program as if there were a GPU, with a report of its waits and mismatches on stderr.

``python -m tests.pretended_gpu.program tools/train.py CONFIG --amp bf16``; processes that the
program starts see no GPU.
"""

import runpy
import sys

from tests.pretended_gpu.context import pretended_gpu


def main() -> None:
    if len(sys.argv) < 2:
        sys.exit('usage: python -m tests.pretended_gpu.program PROGRAM [ARGUMENT ...]')
    sys.argv = sys.argv[1:]
    with pretended_gpu() as gpu:
        try:
            runpy.run_path(sys.argv[0], run_name='__main__')
        finally:
            print(gpu.report(), file=sys.stderr)


if __name__ == '__main__':
    main()
