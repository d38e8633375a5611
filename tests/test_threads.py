import os
import sys

import pytest

from vispropnet.threads import VARIABLES, WAIT


def environment(**given):
    return {name: value for name, value in os.environ.items() if name not in VARIABLES} | given


@pytest.mark.skipif(sys.platform != 'linux', reason='torch has another OpenMP library there')
def test_torch_and_child_processes_find_it(run_python):
    """GNU's library prints its settings when it is loaded, the number of spins as it is used."""
    code = "import subprocess, sys, vispropnet; assert 'torch' not in sys.modules; "
    code += "subprocess.run([sys.executable, '-c', 'import torch'], check=True)"
    done = run_python('-c', code, env=environment(OMP_DISPLAY_ENV='VERBOSE'))
    assert done.returncode == 0, done.stderr
    # A passive policy spins not at all.
    assert f"GOMP_SPINCOUNT = '{WAIT.get('GOMP_SPINCOUNT', 0)}'" in done.stderr


@pytest.mark.parametrize('name', VARIABLES)
def test_a_choice_of_the_user_stays(run_python, name):
    code = 'import os, vispropnet.threads as t; print(*map(os.environ.get, t.VARIABLES))'
    done = run_python('-c', code, env=environment(**{name: '7'}))
    assert done.stdout.split() == ['7' if one == name else 'None' for one in VARIABLES]
