import os
import subprocess

import pytest

from benchmarking.busy import benchmark, environment, measure, spinning, table, waiting
from benchmarking.settings import BusySettings as Settings
from vispropnet.threads import VARIABLES

SMALL = dict(runs=1, load=1, size=(64, 64), batch_size=1)


@pytest.mark.xdist_group('measured')
def test_the_last_line(last_line):
    row = benchmark(Settings(works=('postprocess',), repeats=1, **SMALL))
    assert last_line() == row and row['name'] == 'busy' and row['load'] == 1
    assert [one['policy'] for one in row['rows']] == ['default', 'ours']
    for one in row['rows']:
        assert one['work'] == 'postprocess'
        assert one['quiet_times_s'] == [one['quiet_s']] and one['busy_s'] > 0


@pytest.mark.parametrize('work', ['infer', 'train'])
def test_other_works_run(work):
    times = measure(work, Settings(**{**SMALL, 'runs': 2}))
    assert {load: len(seconds) for load, seconds in times.items()} == dict(quiet=2, busy=2)


def test_ratios_by_hand():
    first = dict(quiet=[1.0, 3.0, 2.0], busy=[10.0, 30.0, 20.0])
    second = dict(quiet=[4.0, 4.0, 1.0], busy=[5.0, 4.0, 2.0])
    rows = table({('infer', 'default'): first, ('infer', 'ours'): second}, 'default')
    assert [row['quiet_ratio'] for row in rows] == [1, 0.5]
    assert [row['busy_ratio'] for row in rows] == [1, 5]
    assert rows[1]['quiet_s'] == 4 and rows[1]['busy_times_s'] == [5, 4, 2]


def test_processes_get_one_policy_and_no_other(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv('KMP_BLOCKTIME', '3')
    with environment(waiting('1000')):
        assert {name: os.environ.get(name) for name in VARIABLES if name in os.environ} == {
            'GOMP_SPINCOUNT': '1000'
        }
    assert [name for name in VARIABLES if name in os.environ] == ['KMP_BLOCKTIME']
    assert os.environ['KMP_BLOCKTIME'] == '3'
    assert waiting('default')['GOMP_SPINCOUNT'] == '300000'
    assert waiting('ours') == waiting('passive') == {'OMP_WAIT_POLICY': 'PASSIVE'}


def test_spinning_processes_end(monkeypatch):
    started, start = [], subprocess.Popen.__init__

    def note(self, *arguments, **options):
        started.append(self)
        start(self, *arguments, **options)

    monkeypatch.setattr(subprocess.Popen, '__init__', note)
    with pytest.raises(ZeroDivisionError), spinning(2):
        assert [one.poll() for one in started] == [None, None]
        _ = 1 / 0
    assert len(started) == 2 and all(one.poll() is not None for one in started)
