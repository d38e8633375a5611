import time

import pytest
import torch

from benchmarking.parts import PartClock, print_parts


def test_parts_are_summed_and_methods_come_back():
    class Model:
        def __init__(self):
            self.tracker = self

        def propose(self, value):
            time.sleep(0.02)
            return value + 1

    model, clock = Model(), PartClock(torch.device('cpu'))
    with clock.part('decode'):
        pass
    assert clock.seconds == {}
    with clock.watch(model, {'propose': 'proposals', 'recover': 'propagation'}):
        assert model.propose(1) + model.propose(value=2) == 5
        with clock.part('encode'):
            pass
    assert list(clock.seconds) == ['proposals', 'encode', 'rest']
    assert clock.seconds['proposals'] >= 0.04 and clock.seconds['rest'] >= 0
    assert 'propose' not in vars(model)
    with pytest.raises(ZeroDivisionError), clock.watch(model, {'tracker.propose': 'proposals'}):
        _ = 1 / 0
    assert 'propose' not in vars(model)


def test_parts_within_parts_are_not_counted_twice():
    clock = PartClock(torch.device('cpu'))
    with clock.watch(object(), {}), clock.part('association'):
        for _ in range(2):
            with clock.part('propagation'):
                time.sleep(0.02)
    assert clock.seconds['propagation'] >= 0.04
    assert 0 <= clock.seconds['association'] < 0.02


def test_medians_of_parts_come_in_the_order_of_a_frame(capsys):
    runs = [dict(rest=3.0, decode=1.0), dict(rest=1.0, decode=2.0), dict(rest=2.0, decode=9.0)]
    medians = PartClock.medians(runs)
    assert list(medians.items()) == [('decode', 2.0), ('rest', 2.0)]
    print_parts(dict(ours=medians, baseline=dict(rest=0.5)))
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[1:] == [['decode', '2000.0', '-'], ['rest', '2000.0', '500.0']]
