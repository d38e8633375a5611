import json
import runpy
import sys

import pytest

from benchmarking import settings


@pytest.fixture(scope='module')
def module(root):
    return runpy.run_path(str(root / 'tools/gpu_check.py'))


@pytest.mark.parametrize(
    ('device', 'gpus', 'extra'),
    [
        ('cuda', 1, {'train fp16'}),
        ('cuda', 2, {'train fp16', 'train 2 GPUs'}),
        ('cpu', 0, set()),
        ('pretended', 0, {'train fp16'}),
    ],
)
def test_steps_are_commands_that_there_are(
    module, root, tmp_path, monkeypatch, device, gpus, extra
):
    always = {'data', 'tests marked gpu', 'train', 'train bf16'}
    measured = 'train', 'infer', 'propagation', 'attention'
    always |= {f'benchmark {one}' for one in measured}
    always |= set() if device == 'pretended' else {'train compile', 'benchmark memory'}
    listed = module['steps'](device, tmp_path, gpus)
    assert {step.name for step in listed} == always | extra
    for step in listed:
        command = list(step.command)
        if 'tools/benchmark.py' in command:
            name, values = settings.parse('', command[command.index('tools/benchmark.py') + 1 :])
            assert step.name == f'benchmark {name}'
            assert values['device'] == ('cpu' if device == 'cpu' else 'cuda')
        elif 'tools/train.py' in command:
            monkeypatch.setattr(sys, 'argv', command[command.index('tools/train.py') :])
            assert (root / runpy.run_path('tools/train.py')['parse_args']().config).exists()


ROW = dict(name='infer', ours_s=0.5, baseline_s=1.0, ratio=2.0, ours_mib=None, max_abs_diff=0.0)
NUMBERS = 'ours_s 0.5, baseline_s 1, ratio 2, max_abs_diff 0'
LOG = '11/26 - INFO - Epoch(train) [1][6/6]  lr: 4.0e-05  time: 1.6  memory: 189  loss: 5.79  a: 1'


@pytest.mark.parametrize(
    ('program', 'passed', 'found'),
    [
        (f'print("much"); print({json.dumps(ROW)!r})', True, NUMBERS),
        (f'print({LOG!r}); print("saving")', True, 'time: 1.6, memory: 189, loss: 5.79'),
        ('print("9 passed in 3 s")', True, '9 passed in 3 s'),
        ('raise RuntimeError("no kernel")', False, 'RuntimeError: no kernel (see {log})'),
        ('raise SystemExit(3)', False, 'no output (see {log})'),
    ],
)
def test_what_a_step_found(module, tmp_path, program, passed, found):
    step = module['Step']('some step', ('-c', program))
    result, _, text = module['run_step'](step, tmp_path, {})
    assert (result, text) == (passed, found.format(log=tmp_path / 'some_step.log'))


def test_the_table_and_a_line_for_each_failure(tool, tmp_path, monkeypatch):
    monkeypatch.setattr('torch.cuda.device_count', lambda: 0)
    status, _, errors = tool()
    assert status == 2 and errors == (
        'error: there is no GPU; --device cpu tries the steps without one.\n'
    )
    (tmp_path / 'data').write_text('')  # so that no data can be made
    status, text, _ = tool('--device', 'cpu', '--work-dir', tmp_path, '--only', 'nothing')
    table, failures = text.split('\n\n')[1:]
    assert status == 1 and table.splitlines()[2].startswith('| data | FAILED |')
    assert failures.startswith('FAILED data: ') and failures.endswith(f'{tmp_path}/data.log)\n')
