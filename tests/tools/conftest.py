import runpy

import pytest


@pytest.fixture
def run_main(root, capsys):
    """Runs a tool in this process: exit status, stdout, stderr."""

    def run(tool, *arguments):
        try:
            runpy.run_path(str(root / 'tools' / f'{tool}.py'))['main']([str(a) for a in arguments])
        except SystemExit as stop:
            return stop.code, *capsys.readouterr()
        return 0, *capsys.readouterr()

    return run
