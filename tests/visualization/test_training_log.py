import pytest

from tests.visualization.logs import train_row, val_row, write_log
from vispropnet.errors import UserError
from vispropnet.visualization.training_log import read_scalars


def test_rows_come_in_order_and_as_logged(tmp_path):
    rows = [train_row(50, 2.0, loss_cls=1.5), train_row(100, 1.0, loss_cls=0.5)]
    write_log(tmp_path, '20250101_000000', rows)
    assert read_scalars(tmp_path) == rows
    assert read_scalars(str(tmp_path / '20250101_000000')) == rows
    # A last line that is cut short is left out.
    write_log(tmp_path, '20250101_000000', rows[:1], tail='{"loss": 1.2, "it')
    write_log(tmp_path, '20250102_000000', rows[1:], tail='{"loss": 1.')
    assert read_scalars(tmp_path) == rows


def test_resumed_run_replaces_the_iterations_it_did_again(tmp_path):
    old = [train_row(i, loss=1.0) for i in range(50, 401, 50)]
    # The last checkpoint of the first was that of iteration 200; the next died at 300 in its turn.
    write_log(tmp_path, '20250102_000000', [train_row(250, 2.0), train_row(300, 2.0)])
    write_log(tmp_path, '20250101_000000', [*old[:2], val_row(1), *old[2:]])
    write_log(tmp_path, '20250103_000000', [])  # started and died
    rows = [(row['iter'], row.get('loss')) for row in read_scalars(tmp_path)]
    before = [(50, 1.0), (100, 1.0), (100, None), (150, 1.0), (200, 1.0)]
    assert rows == [*before, (250, 2.0), (300, 2.0)]

    # A later run from the start replaces all.
    write_log(tmp_path, '20250104_000000', [train_row(50, 3.0)])
    assert [row['loss'] for row in read_scalars(tmp_path)] == [3.0]


def test_validation_stands_once_after_the_iterations_trained_before_it(tmp_path):
    for rows, expected in (
        # mmengine counts epochs: the end of the epoch, 100 iterations, though 90 is logged last.
        ([train_row(50), train_row(100), train_row(190), val_row(2)], 200),
        ([train_row(50), train_row(100), val_row(1)], 100),
        # It counts iterations when told to, or when the training loop does.
        ([train_row(50), train_row(100), val_row(120)], 120),
        ([{'loss': 1.0, 'iter': 50, 'step': 50}, val_row(60)], 60),
    ):
        write_log(tmp_path, '20250101_000000', rows)
        (row,) = [row for row in read_scalars(tmp_path) if 'loss' not in row]
        assert row == {**rows[-1], 'iter': expected}
    write_log(tmp_path, '20250101_000000', [train_row(100), val_row(1, 0.1)])
    write_log(tmp_path, '20250102_000000', [val_row(100, 0.2)])
    assert [row.get('ytvis/mAP') for row in read_scalars(tmp_path)] == [None, 0.2]


def test_what_cannot_be_read_is_named(tmp_path):
    with pytest.raises(UserError, match='work dir .*run not found'):
        read_scalars(tmp_path / 'run')
    with pytest.raises(UserError, match=r' has no logs: expected \*/vis_data/scalars\.json'):
        read_scalars(tmp_path)
    for tail, message in (
        ('', r'run: its log .*scalars\.json has no complete line yet'),
        ('{"lo\n{"loss": 1.0}', r'log .*scalars\.json: line 1 is not valid JSON'),
        ('[1]\n', r'log .*scalars\.json: line 1 is not a JSON object'),
    ):
        write_log(tmp_path / 'run', '20250101_000000', [], tail)
        with pytest.raises(UserError, match=message):
            read_scalars(tmp_path / 'run')
