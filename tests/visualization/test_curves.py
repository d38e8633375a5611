import numpy as np
import pytest

from tests.visualization.logs import train_row, val_row, write_log
from vispropnet.errors import UserError
from vispropnet.visualization import charts
from vispropnet.visualization.charts import plot_losses


def panels(figure):
    return {axes.get_title(loc='left'): axes for axes in figure.axes}


def looks(axes):
    return [(line.get_color(), line.get_linestyle()) for line in axes.lines]


def legend_of(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


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
    assert [path.name for path in out.parent.iterdir()] == ['losses.png']
    (figure,) = drawn
    shown = panels(figure)
    assert list(shown) == [
        'RPN classification (loss_rpn_cls)',
        'Total (loss)',
        'loss_extra',
        'Accuracy in training, % (acc)',
        'Validation (ytvis/mAP)',
        'Validation (ytvis/AP50)',
    ]
    values = [line.get_ydata() for line in shown['loss_extra'].lines]
    assert [len(data) for data in values] == [100] * 4  # as logged and smoothed, per run
    assert [set(data.round(9)) for data in values] == [{1.0}, {1.0}, {6.0}, {6.0}]
    colors = [line.get_color() for line in shown['loss_extra'].lines]
    assert colors[0] == colors[1] != colors[2] == colors[3]
    for name, value in (('mAP', 0.3), ('AP50', 0.4)):
        axes = shown[f'Validation (ytvis/{name})']
        lines = [(list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines]
        assert lines == [([50, 100], [value, value])] * 2
        assert {line.get_marker() for line in axes.lines} == {'o'}
        assert axes.get_ylim()[0] == 0
    assert legend_of(figure) == ['plain', 'attention', 'running mean', 'as logged']


def test_running_mean_by_hand():
    values = np.array([0.0, 10, 0, 10, 0, 10, 0, np.nan, 4, 2] + [2.0] * 40)
    mean = charts._running_mean(values)  # 50 values: one neighbour on each side
    assert mean[:2].tolist() == pytest.approx([5, 10 / 3])
    assert np.isnan(mean[7])
    assert mean[[6, 8, -1]].tolist() == pytest.approx([5, 3, 2])  # without what is not finite
    assert charts._running_mean(np.array([3.0, 1.0])).tolist() == [3, 1]


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


def test_panels_have_titles_in_the_order_of_the_model(tmp_path, drawn):
    terms = ['propmask', 'propattn', 'mask', 'bbox', 'cls', 'match', 'rpn_bbox', 'rpn_cls', 'extra']
    row = train_row(50, 9.0, **{f'loss_{term}': 1.0 for term in terms})
    row.update(acc=70.0, match_accuracy=80.0, propattn_accuracy=90.0)
    write_log(tmp_path / 'run', '20250101_000000', [row])
    plot_losses([tmp_path / 'run'], tmp_path / 'losses.png')
    shown = panels(drawn[0])
    assert list(shown) == [
        'RPN classification (loss_rpn_cls)',
        'RPN box (loss_rpn_bbox)',
        'Matching (loss_match)',
        'Classification (loss_cls)',
        'Box (loss_bbox)',
        'Total (loss)',
        'Mask (loss_mask)',
        'Propagation attention (loss_propattn)',
        'Propagation mask (loss_propmask)',
        'loss_extra',
        'Accuracy in training, % (acc)',
        'Accuracy in training, % (match_accuracy)',
        'Accuracy in training, % (propattn_accuracy)',
    ]
    assert [axes.lines[1].get_ydata()[0] for axes in list(shown.values())[-3:]] == [70, 80, 90]


def test_a_loss_that_a_run_lacks_leaves_its_colour_to_it(tmp_path, drawn):
    runs = [tmp_path / name for name in ('masktrack', 'objprop', 'longer')]
    for number, run in enumerate(runs):
        more = {'loss_propattn': number + 2.0} if number else {}
        rows = [train_row(i, 1.0, **more) for i in range(1, 11 + 5 * number)]
        write_log(run, '20250101_000000', rows)
    with np.errstate(all='raise'):
        plot_losses(runs, tmp_path / 'losses.svg')
    shown = panels(drawn[0])
    total = looks(shown['Total (loss)'])[1::2]
    attention = shown['Propagation attention (loss_propattn)']
    assert len(set(total)) == 3 and looks(attention)[1::2] == total[1:]
    lengths = [(set(line.get_ydata()), len(line.get_ydata())) for line in attention.lines[1::2]]
    assert lengths == [({3.0}, 15), ({4.0}, 20)]
    assert attention.get_ylim() == (0, pytest.approx(4 * 1.06))


@pytest.mark.parametrize(('count', 'opacity'), [(3, 0.22), (6, 0.11)])
def test_values_as_logged_are_fainter_behind_more_runs(tmp_path, drawn, count, opacity):
    runs = [tmp_path / f'run{index}' for index in range(count)]
    for run in runs:
        write_log(run, '20250101_000000', [train_row(50), train_row(100)])
    plot_losses(runs, tmp_path / 'losses.png')
    (axes,) = panels(drawn[0]).values()
    assert [line.get_alpha() for line in axes.lines] == [pytest.approx(opacity), None] * count
    assert legend_of(drawn[0])[-2:] == ['running mean', 'as logged']


def test_many_runs_differ_in_colour_or_style_everywhere(tmp_path, drawn):
    runs = [tmp_path / f'group{index % 2}' / f'seed{index // 2}' for index in range(14)]
    for run in runs:
        row = train_row(50, acc=50.0, match_accuracy=60.0)
        write_log(run, '20250101_000000', [row, val_row(1)])
    plot_losses(runs, tmp_path / 'losses.svg')
    shown = panels(drawn[0])
    assert len(shown) == 5
    for axes in shown.values():
        # Nothing lies behind the means.
        assert len(axes.lines) == len(set(looks(axes))) == 14
        assert {line.get_marker() for line in axes.lines} == {'o'}  # of one row each
        assert looks(axes) == looks(shown['Total (loss)'])
    assert {style for _, style in looks(shown['Total (loss)'])[:7]} == {'-'}
    labels = legend_of(drawn[0])
    assert labels[:3] == ['group0/seed0', 'group1/seed0', 'group0/seed1']
    assert labels[14:] == ['(running means)']


def test_legend_leaves_most_of_the_picture_to_the_curves(tmp_path, drawn):
    runs = [tmp_path / f'run{index}' for index in range(12)]
    terms = dict.fromkeys(charts.TITLES, 1.0)
    for run in runs:
        write_log(run, '20250101_000000', [train_row(50, **terms)])
    names = [f'{index}: a trial with quite a long name' for index in range(12)]
    plot_losses(runs, tmp_path / 'losses.png', names)
    (figure,) = drawn
    figure.draw_without_rendering()
    box = figure.legends[0].get_window_extent()
    assert box.height < 0.2 * figure.bbox.height and box.x1 <= figure.bbox.x1


def test_runs_are_called_as_given(tmp_path):
    runs = [tmp_path / 'first', tmp_path / 'second']
    for run in runs:
        write_log(run, '20250101_000000', [train_row(50)])
    # Neither hidden nor taken for a formula, as matplotlib would.
    names = ['_without', '$x$ and $']
    for suffix, begin in (('png', b'\x89PNG'), ('svg', b'<?xml'), ('PDF', b'%PDF')):
        out = plot_losses(runs, tmp_path / f'losses.{suffix}', names)
        assert out.read_bytes().startswith(begin)
    # Letters are drawn as paths; what they say stands in a comment beside them.
    picture = (tmp_path / 'losses.svg').read_text()
    assert all(f'<!-- {name} -->' in picture for name in names)
    assert '<!-- first -->' not in picture
    with pytest.raises(UserError, match='1 names are given for 2 work dirs: only'):
        plot_losses(runs, tmp_path / 'other.png', ['only'])
    with pytest.raises(UserError, match='same name is given twice: a a'):
        plot_losses(runs, tmp_path / 'other.png', ['a', 'a'])
    assert not (tmp_path / 'other.png').exists()


def test_errors_name_the_folder_or_file(tmp_path):
    write_log(tmp_path / 'val', '20250101_000000', [val_row(1)])
    with pytest.raises(UserError, match='log of val has no training rows'):
        plot_losses([tmp_path / 'val'], tmp_path / 'losses.png')
    with pytest.raises(UserError, match=r'losses\.xyz: unknown picture format'):
        plot_losses([tmp_path / 'val'], tmp_path / 'losses.xyz')
    with pytest.raises(UserError, match='given twice'):
        plot_losses([tmp_path / 'val', tmp_path / 'val' / '.'], tmp_path / 'losses.png')
    assert not list(tmp_path.glob('losses*'))
