import json

import cv2
import numpy as np
import pytest
from matplotlib.figure import Figure

from vispropnet.errors import UserError
from vispropnet.visualization import curves
from vispropnet.visualization.curves import plot_losses, read_scalars


def train_row(iteration, loss=1.0, per_epoch=100, **more):
    epoch = (iteration - 1) // per_epoch + 1
    return {'lr': 0.1, 'loss': loss, **more, 'epoch': epoch, 'iter': iteration, 'step': iteration}


def val_row(step, value=0.5):
    return {'ytvis/mAP': value, 'ytvis/AP50': value + 0.1, 'data_time': 0.1, 'step': step}


def write_log(work_dir, stamp, rows, tail=''):
    path = work_dir / stamp / 'vis_data' / 'scalars.json'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('\n'.join([*map(json.dumps, rows), tail]))
    return path


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are saved."""
    figures, save = [], Figure.savefig

    def keep(figure, *arguments, **options):
        figures.append(figure)
        return save(figure, *arguments, **options)

    monkeypatch.setattr(Figure, 'savefig', keep)
    return figures


def test_rows_come_in_order_and_as_logged(tmp_path):
    rows = [train_row(50, 2.0, loss_cls=1.5), train_row(100, 1.0, loss_cls=0.5)]
    write_log(tmp_path, '20250101_000000', rows)
    assert read_scalars(tmp_path) == rows
    assert read_scalars(str(tmp_path / '20250101_000000')) == rows


def test_resumed_run_replaces_the_iterations_it_did_again(tmp_path):
    old = [train_row(i, loss=1.0) for i in range(50, 401, 50)]
    write_log(tmp_path, '20250101_000000', [*old[:2], val_row(1), *old[2:]])
    # The last checkpoint was that of iteration 200; this run died at 300 in its turn.
    write_log(tmp_path, '20250102_000000', [train_row(250, 2.0), train_row(300, 2.0)])
    write_log(tmp_path, '20250103_000000', [])  # started and died
    rows = read_scalars(tmp_path)
    assert [(row['iter'], row.get('loss')) for row in rows] == [
        (50, 1.0),
        (100, 1.0),
        (100, None),
        (150, 1.0),
        (200, 1.0),
        (250, 2.0),
        (300, 2.0),
    ]


def test_later_run_from_the_start_replaces_all(tmp_path):
    write_log(tmp_path, '20250102_000000', [train_row(50, 2.0)])
    write_log(tmp_path, '20250101_000000', [train_row(i, 1.0) for i in (50, 100, 150)])
    assert [row['loss'] for row in read_scalars(tmp_path)] == [2.0]


def test_truncated_last_line_is_left_out(tmp_path):
    write_log(tmp_path, '20250101_000000', [train_row(50)], tail='{"loss": 1.2, "it')
    write_log(tmp_path, '20250102_000000', [train_row(100)], tail='{"loss": 1.')
    assert [row['iter'] for row in read_scalars(tmp_path)] == [50, 100]


def test_damage_elsewhere_is_named(tmp_path):
    path = write_log(tmp_path, '20250101_000000', [train_row(50)], tail='{"lo\n{"loss": 1.0}')
    with pytest.raises(UserError, match=f'{path}: line 2 is not valid JSON'):
        read_scalars(tmp_path)
    path.write_text('[1]\n')
    with pytest.raises(UserError, match='line 1 is not a JSON object'):
        read_scalars(tmp_path)


@pytest.mark.parametrize(
    ('rows', 'expected'),
    [
        # mmengine counts epochs: the end of the epoch, 100 iterations, though 90 is logged last.
        ([train_row(50), train_row(100), train_row(190), val_row(2)], 200),
        ([train_row(50), train_row(100), val_row(1)], 100),
        # It counts iterations when told to, or when the training loop does.
        ([train_row(50), train_row(100), val_row(120)], 120),
        ([{'loss': 1.0, 'iter': 50, 'step': 50}, val_row(60)], 60),
    ],
)
def test_validation_stands_after_the_iterations_trained_before_it(tmp_path, rows, expected):
    write_log(tmp_path, '20250101_000000', rows)
    (row,) = [row for row in read_scalars(tmp_path) if 'loss' not in row]
    assert row == {**rows[-1], 'iter': expected}


def test_validation_done_again_counts_once(tmp_path):
    write_log(tmp_path, '20250101_000000', [train_row(100), val_row(1, 0.1)])
    write_log(tmp_path, '20250102_000000', [val_row(100, 0.2)])
    rows = read_scalars(tmp_path)
    assert [row.get('ytvis/mAP') for row in rows] == [None, 0.2]


def test_folder_without_logs_is_named(tmp_path):
    with pytest.raises(UserError, match='nowhere not found'):
        read_scalars(tmp_path / 'nowhere')
    with pytest.raises(UserError, match=r'has no logs: expected \*/vis_data/scalars\.json'):
        read_scalars(tmp_path)
    write_log(tmp_path, '20250101_000000', [])
    with pytest.raises(UserError, match='no complete line yet'):
        read_scalars(tmp_path)


def panels(figure):
    return {axes.get_title(loc='left'): axes for axes in figure.axes if axes.get_visible()}


def test_a_panel_per_term_and_a_line_per_run(tmp_path, drawn):
    for run, offset in (('plain', 0), ('attention', 5)):
        rows = []
        for i in range(1, 101):
            terms = {'loss_rpn_cls': 2.0, 'loss_extra': 1.0 + offset, 'acc': 80.0}
            rows.append(train_row(i, 10.0 + offset, per_epoch=50, **terms))
            rows += [val_row(i // 50, 0.3)] * (i % 50 == 0)
        write_log(tmp_path / run, '20250101_000000', rows)
    out = plot_losses([tmp_path / 'plain', tmp_path / 'attention'], tmp_path / 'new' / 'losses.png')
    assert out == tmp_path / 'new' / 'losses.png'
    assert cv2.imread(str(out)).shape[1] > 800
    assert [path.name for path in out.parent.iterdir()] == ['losses.png']
    (figure,) = drawn
    shown = panels(figure)
    assert list(shown) == [
        'Total (loss)',
        'RPN classification (loss_rpn_cls)',
        'loss_extra',
        'Accuracy in training, %',
        'Validation',
    ]
    values = [line.get_ydata() for line in shown['loss_extra'].lines]
    assert [len(data) for data in values] == [100] * 4  # as logged and smoothed, per run
    assert [set(data) for data in values] == [{1.0}, {1.0}, {6.0}, {6.0}]
    colors = [line.get_color() for line in shown['loss_extra'].lines]
    assert colors[0] == colors[1] != colors[2] == colors[3]
    validations = [
        (list(line.get_xdata()), list(line.get_ydata())) for line in shown['Validation'].lines
    ]
    assert validations == [([50, 100], [0.3, 0.3]), ([50, 100], [0.4, 0.4])] * 2
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ['plain', 'attention', 'running mean', 'as logged']


def test_running_mean_by_hand():
    values = np.array([0.0, 10, 0, 10, 0, 10, 0, np.nan, 4, 2] + [2.0] * 40)
    mean = curves._running_mean(values)  # 50 values: one neighbour on each side
    assert mean[:2].tolist() == [5, pytest.approx(10 / 3)]
    assert np.isnan(mean[7])
    assert mean[6] == 5  # the value that is no number is left out
    assert mean[8] == 3
    assert mean[-1] == 2
    assert curves._running_mean(np.array([3.0, 1.0])).tolist() == [3, 1]


def test_spike_and_values_that_are_no_numbers_do_not_hide_the_curve(tmp_path, drawn):
    losses = [1.0] * 200
    losses[100], losses[150], losses[151] = 1e6, float('nan'), float('inf')
    rows = [train_row(i + 1, loss) for i, loss in enumerate(losses)]
    write_log(tmp_path / 'run', '20250101_000000', rows)
    with np.errstate(all='raise'):
        plot_losses([tmp_path / 'run'], tmp_path / 'losses.png')
    (axes,) = panels(drawn[0]).values()
    assert axes.get_ylim()[0] == 0
    mean = axes.lines[1].get_ydata()
    assert np.nanmax(mean) > 1e5
    assert 1.2 < axes.get_ylim()[1] < 10
    assert np.isnan(mean[150:152]).all()


def test_ordinary_fall_is_shown_whole(tmp_path, drawn):
    rows = [train_row(i, 0.3 + 0.7 / i) for i in range(1, 9)]
    write_log(tmp_path / 'run', '20250101_000000', rows)
    plot_losses([tmp_path / 'run'], tmp_path / 'losses.png')
    (axes,) = panels(drawn[0]).values()
    assert axes.get_ylim() == (0, pytest.approx(1.06))


def test_one_row_and_many_runs_are_drawn(tmp_path, drawn):
    runs = [tmp_path / f'group{index % 2}' / f'seed{index // 2}' for index in range(10)]
    for run in runs:
        write_log(run, '20250101_000000', [train_row(50)])
    plot_losses(runs, tmp_path / 'losses.svg')
    (axes,) = panels(drawn[0]).values()
    assert len({tuple(np.atleast_1d(line.get_color())) for line in axes.lines}) == 10
    assert {line.get_marker() for line in axes.lines[1::2]} == {'o'}
    labels = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    assert labels[:3] == ['group0/seed0', 'group1/seed0', 'group0/seed1']


def test_errors_name_the_folder_or_file(tmp_path):
    write_log(tmp_path / 'val', '20250101_000000', [val_row(1)])
    with pytest.raises(UserError, match='log of val has no training rows'):
        plot_losses([tmp_path / 'val'], tmp_path / 'losses.png')
    with pytest.raises(UserError, match=r'losses\.xyz: unknown picture format'):
        plot_losses([tmp_path / 'val'], tmp_path / 'losses.xyz')
    with pytest.raises(UserError, match='given twice'):
        plot_losses([tmp_path / 'val', tmp_path / 'val' / '.'], tmp_path / 'losses.png')
    assert not list(tmp_path.glob('losses*'))
