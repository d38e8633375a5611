"""The finder that serves mmcv._ext: when it does, when it does not, and what it costs."""

import importlib.util
import os
import sys

import pytest

import vispropnet
from vispropnet.ops import register_stand_in
from vispropnet.ops.stand_in import StandInFinder


def output_of(process):
    assert process.returncode == 0, process.stderr
    return process.stdout.split()


def test_importing_the_package_does_not_import_torch(run_python):
    code = 'import sys, vispropnet, vispropnet.errors, vispropnet.fileio; print(*sys.modules)'
    loaded = output_of(run_python('-c', code))
    assert not {'torch', 'mmcv', 'mmdet', 'mmengine', 'cv2', 'numpy'} & {*loaded}
    assert 'vispropnet.fileio' in loaded


def test_one_finder_finds_the_extension_alone():
    register_stand_in()
    register_stand_in()
    (finder,) = (one for one in sys.meta_path if isinstance(one, StandInFinder))
    assert not any(finder.find_spec(name) for name in ('mmcv', 'mmcv._ext.deeper', '_ext'))
    spec = importlib.util.find_spec('mmcv._ext')
    assert spec.name == 'mmcv._ext' and spec.loader is not None
    if not compiled():
        assert 'vispropnet.ops.mmcv_ext' in spec.origin and 'torchvision' in spec.origin


def compiled():
    """Whether this environment's mmcv was built with its operators."""
    from mmcv import _ext

    return getattr(_ext.__spec__, 'origin', '').endswith('.so')


@pytest.mark.parametrize('first', ['vispropnet', 'mmcv'])
def test_a_compiled_extension_wins(run_python, tmp_path, first):
    package = tmp_path / 'mmcv'
    package.mkdir()
    (package / '__init__.py').write_text('')
    (package / '_ext.py').write_text("def nms():\n    return 'compiled'\n")
    checkout = os.path.dirname(os.path.dirname(vispropnet.__file__))
    env = {**os.environ, 'PYTHONPATH': os.pathsep.join([str(tmp_path), checkout])}
    code = (
        f'import {first}, vispropnet, sys; from mmcv import _ext; '
        'print(_ext.nms(), hasattr(_ext, "softnms"), "vispropnet.ops.mmcv_ext" in sys.modules)'
    )
    assert output_of(run_python('-c', code, env=env)) == ['compiled', 'False', 'False']


def test_without_mmcv_the_error_is_the_ordinary_one(run_python):
    code = 'import sys, vispropnet; sys.modules["mmcv"] = None; import mmcv._ext'
    last = run_python('-c', code).stderr.splitlines()[-1]
    assert last.startswith('ModuleNotFoundError: ') and 'mmcv._ext' in last


REPORT = """
import vispropnet
import mmdet.models, mmcv.ops
from mmdet.utils import collect_env
print(collect_env().get('MMCV Compiler') or mmcv.ops.get_compiler_version())
from mmengine.utils.dl_utils import collect_env
assert collect_env()['PyTorch']
"""


def test_mmdet_models_and_the_environment_report(run_python):
    output = output_of(run_python('-c', REPORT))
    assert compiled() or 'torchvision' in ' '.join(output)


def test_a_missing_operator_says_how_to_get_it():
    if compiled():
        pytest.skip('mmcv is compiled here: nothing is missing')
    import torch
    from mmcv import _ext
    from mmcv.ops import roi_pool, soft_nms

    with pytest.raises(NotImplementedError, match="'softnms'.*--no-build-isolation.*onedl-mmcv"):
        soft_nms(torch.tensor([[0.0, 0, 4, 4]]), torch.tensor([0.5]))
    with pytest.raises(NotImplementedError, match="'roi_pool_forward'"):
        roi_pool(torch.zeros(1, 1, 4, 4), torch.zeros(1, 5), 2)
    assert _ext.softnms.__name__ == 'softnms'
    # Names by which Python asks modules about themselves are not operators.
    assert not hasattr(_ext, '__path__') and not hasattr(_ext, '__wrapped__')
