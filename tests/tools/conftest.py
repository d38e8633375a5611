import runpy

import pytest

from tests.shared_fixtures import shapes  # noqa: F401


@pytest.fixture
def tool(request, root, capsys):
    """Runs the tool that the test file is named for, here: exit status, stdout, stderr."""
    own = request.path.name.removeprefix('test_')

    def run(*arguments, file=own):
        try:
            runpy.run_path(str(root / 'tools' / file))['main']([str(one) for one in arguments])
        except SystemExit as stop:
            return stop.code, *capsys.readouterr()
        return 0, *capsys.readouterr()

    return run
