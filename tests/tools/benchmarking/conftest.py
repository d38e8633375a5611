import json

import pytest


@pytest.fixture
def last_line(capsys):
    """Gives the object of the last line that was printed."""
    return lambda: json.loads(capsys.readouterr().out.splitlines()[-1])
