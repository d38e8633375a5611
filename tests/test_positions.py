from vispropnet.positions import evenly


def test_positions_are_picked_evenly():
    assert [evenly(5, 3), evenly(4, 2), evenly(3, 9)] == [[0, 2, 4], [0, 3], [0, 1, 2]]
    assert [evenly(10, 4), evenly(7, 1), evenly(1, 1)] == [[0, 3, 6, 9], [0], [0]]
    assert evenly(3, 0) == []
