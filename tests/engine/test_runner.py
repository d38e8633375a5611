import time

from vispropnet.engine.runner import VISRunner


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
