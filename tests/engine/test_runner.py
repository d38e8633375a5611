import time
from unittest import mock

import pytest
import torch
from mmengine.runner import Runner

from vispropnet.config import load_config
from vispropnet.engine.runner import VISRunner
from vispropnet.errors import UserError


def test_runs_that_start_in_the_same_second_have_names_of_their_own(monkeypatch):
    """mmengine gives runs of one name the same logger, message hub and visualizer."""
    monkeypatch.setattr(time, 'time', lambda: 86400.0 * 365)
    stamps = []
    for _ in range(3):
        runner = object.__new__(VISRunner)
        runner._launcher, runner._distributed = 'none', False
        runner.setup_env({})
        stamps.append(runner.timestamp)
    assert stamps[1:] == [f'{stamps[0]}_2', f'{stamps[0]}_3']


def test_ranks_wait_hours_for_one_that_validates_longer(monkeypatch, root):
    begin = mock.Mock()
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr(torch.distributed, 'init_process_group', begin)
    monkeypatch.setattr(Runner, 'setup_env', lambda self, env_cfg: setattr(self, '_timestamp', ''))
    runner = object.__new__(VISRunner)
    runner._launcher = 'pytorch'
    runner.setup_env(load_config(root / 'configs/_base_/default_runtime.py').env_cfg)
    assert begin.call_args.args == ('gloo',)
    assert begin.call_args.kwargs['timeout'].total_seconds() == 4 * 3600


def test_a_checkpoint_to_resume_from_is_read_onto_the_cpu():
    read = mock.Mock(side_effect=InterruptedError)
    runner = object.__new__(VISRunner)
    runner.optim_wrapper, runner.param_schedulers = mock.MagicMock(), None
    runner.load_checkpoint = read
    with pytest.raises(InterruptedError):
        runner.resume('a.pth')
    assert read.call_args.kwargs['map_location'] == 'cpu'


def test_too_little_gpu_memory_is_one_message(monkeypatch):
    short = torch.cuda.OutOfMemoryError('CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has')
    monkeypatch.setattr(Runner, 'train', mock.Mock(side_effect=short))
    runner = object.__new__(VISRunner)
    runner._hooks = []
    words = (
        r'memory \(CUDA out of memory. Tried to allocate 2.00 GiB\). Lower train_dataloader.batch'
    )
    with pytest.raises(UserError, match=words + '.*--resume starts from the newest'):
        runner.train()


@pytest.mark.parametrize('where', ['file_client_args', 'backend_args'])
def test_checkpoints_go_to_folders_of_this_machine_only(where, tmp_path):
    runner = object.__new__(VISRunner)
    with pytest.raises(UserError, match='folders of this machine only'):
        runner.save_checkpoint(str(tmp_path), 'a.pth', **{where: dict(backend='petrel')})
    assert not list(tmp_path.iterdir())
