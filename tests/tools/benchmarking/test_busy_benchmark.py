import itertools
import os
import subprocess

import pytest

from benchmarking import busy
from benchmarking.busy import environment, measure, spinning, table, waiting
from benchmarking.measure import in_a_process
from benchmarking.settings import BusySettings as Settings
from vispropnet.threads import VARIABLES, WAIT


def test_each_kind_is_measured_in_turn(monkeypatch, last_line):
    asked = []

    def pretend(function, work, settings):
        asked.append((function, work, os.environ.get('GOMP_SPINCOUNT')))
        return dict(quiet=[1.0, 2.0, 9.0], busy=[4.0])

    monkeypatch.setattr(busy, 'in_a_process', pretend)
    settings = Settings(works=('infer', 'train'), policies=('default', '10'), repeats=2)
    row = busy.benchmark(settings)
    kinds = list(itertools.product([measure], ['infer', 'train'], ['300000', '10']))
    assert asked == kinds + kinds[::-1]
    assert last_line() == row and row['name'] == 'busy' and row['load'] == 2
    assert row['environment']['10'] == {'GOMP_SPINCOUNT': '10'}
    rows = itertools.product(['infer', 'train'], ['default', '10'])
    for one, (work, policy) in zip(row['rows'], rows, strict=True):
        assert (one['work'], one['policy']) == (work, policy)
        assert one['quiet_times_s'] == [2, 2] and one['busy_times_s'] == [4, 4]


def test_works_run():
    for work in ('postprocess', 'infer', 'train'):
        times = measure(work, Settings(runs=2, load=1, size=(64, 64), batch_size=1))
        assert {load: len(seconds) for load, seconds in times.items()} == dict(quiet=2, busy=2)


def test_ratios_by_hand():
    first = dict(quiet=[1.0, 3.0, 2.0], busy=[10.0, 30.0, 20.0])
    second = dict(quiet=[4.0, 4.0, 1.0], busy=[5.0, 4.0, 2.0])
    rows = table({('infer', 'default'): first, ('infer', 'ours'): second}, 'default')
    assert [(row['quiet_ratio'], row['busy_ratio']) for row in rows] == [(1, 1), (0.5, 5)]
    assert rows[1]['quiet_s'] == 4 and rows[1]['busy_times_s'] == [5, 4, 2]


def test_processes_get_one_policy_and_no_other(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv('KMP_BLOCKTIME', '3')
    with environment(waiting('1000')):
        assert [name for name in VARIABLES if name in os.environ] == ['GOMP_SPINCOUNT']
        assert in_a_process(os.getenv, 'GOMP_SPINCOUNT') == '1000'
    assert [name for name in VARIABLES if name in os.environ] == ['KMP_BLOCKTIME']
    assert os.environ['KMP_BLOCKTIME'] == '3'
    assert waiting('default')['GOMP_SPINCOUNT'] == '300000'
    assert waiting('ours') == WAIT and waiting('passive') == {'OMP_WAIT_POLICY': 'PASSIVE'}


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
