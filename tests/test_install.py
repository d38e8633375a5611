import os
import re
import runpy
import sys
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

import vispropnet

ROOT = Path(__file__).resolve().parent.parent
TOOLS = sorted(path.name for path in (ROOT / 'tools').glob('*.py') if path.name[0] != '_')
HEAVY = ['torch', 'torchvision', 'mmengine', 'mmcv', 'mmdet', 'cv2', 'av', 'numpy', 'scipy']
HEAVY += ['matplotlib']


@pytest.fixture(scope='module')
def description():
    """The arguments that setup.py gives to setuptools, which need not be installed for this."""
    given, stub = {}, ModuleType('setuptools')
    stub.setup, stub.find_packages = given.update, lambda include: include
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, 'setuptools', stub)
        runpy.run_path(str(ROOT / 'setup.py'))
    return given


@pytest.fixture(scope='module')
def pins():
    """The versions in requirements.txt, by package."""
    lines = (ROOT / 'requirements.txt').read_text().splitlines()
    named = [Requirement(line) for line in lines if line and not line.startswith('#')]
    versions = {one.name: str(one.specifier).removeprefix('==') for one in named}
    return {name: Version(version) for name, version in versions.items()}  # fails for others


def test_setup_and_package_agree_and_the_licence_is_apache_2(description):
    assert Path(vispropnet.__file__).parent == ROOT / 'vispropnet'
    assert (description['name'], description['version']) == ('vispropnet', vispropnet.__version__)
    assert re.fullmatch(r'\d+\.\d+\.\d+', vispropnet.__version__)
    text = (ROOT / 'LICENSE').read_text()
    assert 'Apache License' in text[:200] and 'Version 2.0, January 2004' in text[:200]
    assert 'END OF TERMS AND CONDITIONS' in text and description['license'] == 'Apache-2.0'


def test_every_folder_with_code_is_a_package():
    """A folder without __init__.py works in a checkout, and is missing once installed."""
    folders = {path.parent for path in (ROOT / 'vispropnet').rglob('*.py')}
    assert [str(f.relative_to(ROOT)) for f in folders if not (f / '__init__.py').is_file()] == []


def test_every_other_file_is_installed_too(description):
    every = [path for path in (ROOT / 'vispropnet').rglob('*') if path.is_file()]
    files = {path for path in every if path.suffix not in ('.py', '.pyc')}
    installed = {
        path
        for name, patterns in description['package_data'].items()
        for pattern in patterns
        for path in ROOT.joinpath(*name.split('.')).glob(pattern)
    }
    assert files == installed and len(files) > 5


def test_the_pins_lie_in_the_ranges_of_setup(description, pins):
    for text in description['install_requires'] + description['extras_require']['dev']:
        requirement = Requirement(text)
        assert requirement.name in pins
        assert requirement.specifier.contains(pins[requirement.name]), text
    # A +cpu build of torch does not load the torchvision of the ordinary index.
    assert pins['torch'].local is pins['torchvision'].local is None
    assert '--' not in (ROOT / 'requirements.txt').read_text()
    assert pins['opencv-python'] == pins['opencv-python-headless']


@pytest.fixture(scope='module')
def light_environment(tmp_path_factory, run_python):
    """Environment variables under which importing a heavy package ends the process."""
    folder = tmp_path_factory.mktemp('stubs')
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join([str(folder), str(ROOT)])}
    for name in HEAVY:
        (folder / f'{name}.py').write_text(f'raise SystemExit("imported {name}")\n')
        process = run_python('-c', f'import {name}', env=environment)
        assert (process.returncode, process.stderr) == (1, f'imported {name}\n')
    return environment


@pytest.mark.parametrize('tool', TOOLS)
def test_tools_answer_before_anything_heavy_is_imported(run_python, light_environment, tool):
    shown = run_python(ROOT / 'tools' / tool, '--help', env=light_environment)
    assert (shown.returncode, shown.stderr) == (0, '')
    assert shown.stdout.startswith('usage: ') and tool in shown.stdout
    refused = run_python(ROOT / 'tools' / tool, '--no-such-option', env=light_environment)
    assert refused.returncode == 2 and 'usage: ' in refused.stderr
