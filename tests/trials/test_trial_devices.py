"""Devices that runs are run on, and were by their logs."""

import pytest

from vispropnet.errors import UserError
from vispropnet.trials.devices import check_device, device_of, find_slots, this_machine
from vispropnet.trials.plan import make_plan


def test_the_rest_is_not_run_on_another_device(study, tmp_path, monkeypatch):
    monkeypatch.setattr('torch.cuda.is_available', lambda: False)
    plan = make_plan(study, 'smoke', tmp_path, ['ordered'])
    run = plan.baseline_run()
    log = run.folder / 'train/20260101_000000/20260101_000000.log'
    log.parent.mkdir(parents=True)
    assert device_of(run) is None
    for text, device in (('False', 'CPU'), ('True\n    GPU 0: Some GPU 80GB', 'Some GPU 80GB')):
        check_device(plan)
        log.write_text(f'System environment:\n    sys.platform: x\n    CUDA available: {text}\n')
        assert device_of(run) == device
    with pytest.raises(UserError, match='was run on Some GPU 80GB, and here is CPU'):
        check_device(plan)
    # To score what is done, no device is needed.
    for run in plan.runs.values():
        run.folder.mkdir(parents=True, exist_ok=True)
        run.results.write_text('[]')
    check_device(plan)


def test_machines_and_slots_are_gpus_where_there_are_some_else_cores(monkeypatch):
    monkeypatch.setattr('platform.machine', lambda: 'x86_64')
    monkeypatch.setattr('os.sched_getaffinity', lambda process: {process, 5, 7})
    monkeypatch.setattr('torch.cuda.is_available', lambda: False)
    assert this_machine() == '3 cores of x86_64'
    assert find_slots(None) == [''] * 3 and find_slots(2) == [''] * 2
    monkeypatch.setattr('torch.cuda.is_available', lambda: True)
    monkeypatch.setattr('torch.cuda.get_device_name', lambda: 'Some GPU')
    monkeypatch.setattr('torch.cuda.device_count', lambda: 2)
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)
    assert this_machine() == 'Some GPU, 3 cores of x86_64'
    assert find_slots(None) == ['0', '1'] and find_slots(3) == ['0', '1', '0']
    assert find_slots(None, 2) == ['0', '1', '0', '1'] and find_slots(1, 2) == ['0']
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '4,7')
    assert find_slots(None) == ['4', '7'] and find_slots(1) == ['4']
