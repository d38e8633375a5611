import re

import cv2
import numpy as np
import pytest
from matplotlib.figure import Figure

from tests.visualization.logs import train_row, val_row, write_log
from vispropnet.errors import UserError
from vispropnet.evaluation.error_kinds import KINDS, LABELS
from vispropnet.visualization import charts
from vispropnet.visualization.charts import (
    COLORS,
    draw_differences,
    draw_error_chart,
    plot_losses,
)

# With no warning of matplotlib's either.
pytestmark = pytest.mark.filterwarnings('error')


@pytest.fixture
def plot(tmp_path, drawn):
    """Plots the rows of runs by name; gives the panels by title, and the texts of the legend."""

    def plot(runs, names=None):
        paths = [write_log(tmp_path / run, rows=rows).parents[2] for run, rows in runs.items()]
        with np.errstate(all='raise'):
            plot_losses(paths, tmp_path / 'losses.svg', names)
        (figure,) = drawn
        panels = {axes.get_title(loc='left'): axes for axes in figure.axes}
        return panels, words(figure.legends[0].get_texts())

    return plot


def looks(axes):
    return [(line.get_color(), line.get_linestyle()) for line in axes.lines]


def words(texts):
    return [text.get_text() for text in texts]


def test_a_panel_per_term_and_a_line_per_run(plot):
    runs = {}
    for run, offset in (('plain', 0), ('attention', 5)):
        terms = {'loss_rpn_cls': 2.0, 'loss_extra': 1.0 + offset, 'acc': 80.0}
        rows = [train_row(i, 10.0 + offset, per_epoch=50, **terms) for i in range(1, 101)]
        runs[run] = [*rows[:50], val_row(1, 0.3), *rows[50:], val_row(2, 0.3)]
    shown, legend = plot(runs)
    losses = ['RPN classification (loss_rpn_cls)', 'Total (loss)', 'loss_extra']
    scores = [f'Validation (ytvis/{name})' for name in ('mAP', 'AP50')]
    assert list(shown) == [*losses, 'Accuracy in training, % (acc)', *scores]
    # As logged and smoothed, per run.
    lines = shown['loss_extra'].lines
    values = [line.get_ydata().round(9).tolist() for line in lines]
    assert values == [[1] * 100, [1] * 100, [6] * 100, [6] * 100]
    colors = [line.get_color() for line in lines]
    assert colors[0] == colors[1] != colors[2] == colors[3]
    for name, value in zip(scores, (0.3, 0.4), strict=True):
        lines = shown[name].lines
        assert [one.get_xydata().tolist() for one in lines] == [[[50, value], [100, value]]] * 2
        assert {one.get_marker() for one in lines} == {'o'} and shown[name].get_ylim()[0] == 0
    assert legend == ['plain', 'attention', 'running mean', 'as logged']


def test_running_mean_by_hand():
    values = np.array([0.0, 10, 0, 10, 0, 10, 0, np.nan, 4, 2] + [2.0] * 40)
    mean = charts._running_mean(values)  # 50 values: one neighbour on each side
    assert mean[:2].tolist() == pytest.approx([5, 10 / 3])
    assert np.isnan(mean[7])
    assert mean[[6, 8, -1]].tolist() == pytest.approx([5, 3, 2])  # without what is not finite
    assert charts._running_mean(np.array([3.0, 1.0])).tolist() == [3, 1]


def test_spike_and_values_that_are_no_numbers_do_not_hide_the_curve(plot):
    losses = [1.0] * 200
    losses[100], losses[150], losses[151] = 1e6, float('nan'), float('inf')
    shown, _ = plot({'run': [train_row(i + 1, loss) for i, loss in enumerate(losses)]})
    (axes,) = shown.values()
    mean = axes.lines[1].get_ydata()
    assert np.nanmax(mean) > 1e5 and np.isnan(mean[150:152]).all()
    low, high = axes.get_ylim()
    assert low == 0 and 1.2 < high < 10


def test_panels_have_titles_in_the_order_of_the_model(plot):
    losses = ['rpn_cls', 'rpn_bbox', 'match', 'cls', 'bbox', 'mask', 'propattn', 'propmask']
    row = train_row(50, 9.0, **{f'loss_{term}': 1.0 for term in ['extra', *losses[::-1]]})
    row.update(acc=70.0, match_accuracy=80.0, propattn_accuracy=90.0)
    shown, _ = plot({'run': [row]})
    keys = [re.sub(r'.*\((.*)\)', r'\1', title).removeprefix('loss_') for title in shown]
    accuracies = ['acc', 'match_accuracy', 'propattn_accuracy']
    assert keys == [*losses[:5], 'loss', *losses[5:], 'extra', *accuracies]
    assert list(shown)[7] == 'Propagation attention (loss_propattn)'
    assert [axes.lines[1].get_ydata()[0] for axes in list(shown.values())[-3:]] == [70, 80, 90]


def test_a_loss_that_a_run_lacks_leaves_its_colour_to_it(plot):
    def falling(count, **own):
        return [train_row(i, 0.3 + 0.7 / i, **own) for i in range(1, count + 1)]

    longer = falling(20, loss_propattn=4.0)
    shown, _ = plot(dict(a=falling(10), b=falling(15, loss_propattn=3.0), c=longer))
    attention, total = shown['Propagation attention (loss_propattn)'], shown['Total (loss)']
    colors = looks(total)[1::2]
    assert len(set(colors)) == 3 and looks(attention)[1::2] == colors[1:]
    lengths = [(set(line.get_ydata()), len(line.get_ydata())) for line in attention.lines[1::2]]
    assert lengths == [({3.0}, 15), ({4.0}, 20)]
    # What falls from the start on is not cut.
    limits = [axes.get_ylim() for axes in (attention, total)]
    assert limits == [(0, pytest.approx(4 * 1.06)), (0, pytest.approx(1.06))]


@pytest.mark.parametrize(('count', 'opacity'), [(3, 0.22), (6, 0.11)])
def test_values_as_logged_are_fainter_behind_more_runs(plot, count, opacity):
    shown, legend = plot({f'run{index}': [train_row(50), train_row(100)] for index in range(count)})
    (axes,) = shown.values()
    assert [line.get_alpha() for line in axes.lines] == [pytest.approx(opacity), None] * count
    assert legend[-2:] == ['running mean', 'as logged']


def test_many_runs_differ_in_colour_or_style_everywhere(plot):
    rows = [train_row(50, acc=50.0, match_accuracy=60.0), val_row(1)]
    shown, labels = plot({f'group{index % 2}/seed{index // 2}': rows for index in range(14)})
    assert len(shown) == 5
    for axes in shown.values():
        # Nothing lies behind the means.
        assert len(axes.lines) == len(set(looks(axes))) == 14
        assert {line.get_marker() for line in axes.lines} == {'o'}  # of one row each
        assert looks(axes) == looks(shown['Total (loss)'])
    assert {style for _, style in looks(shown['Total (loss)'])[:7]} == {'-'}
    assert labels[:3] == ['group0/seed0', 'group1/seed0', 'group0/seed1']
    assert labels[14:] == ['(running means)']


def test_legend_leaves_most_of_the_picture_to_the_curves(plot, drawn):
    rows = [train_row(50, **dict.fromkeys(charts.TITLES, 1.0))]
    names = [f'{index}: a trial with quite a long name' for index in range(12)]
    plot({f'run{index}': rows for index in range(12)}, names)
    (figure,) = drawn
    figure.draw_without_rendering()
    box = figure.legends[0].get_window_extent()
    assert box.height < 0.2 * figure.bbox.height and box.x1 <= figure.bbox.x1


def test_runs_are_called_as_given(tmp_path):
    runs = [tmp_path / 'first', tmp_path / 'second']
    for run in runs:
        write_log(run, rows=[train_row(50)])
    # Neither hidden nor taken for a formula, as matplotlib would.
    names = ['_without', '$x$ and $']
    for suffix, begin in (('png', b'\x89PNG'), ('svg', b'<?xml'), ('PDF', b'%PDF')):
        out = plot_losses(runs, tmp_path / f'new/losses.{suffix}', names)
        assert out == tmp_path / f'new/losses.{suffix}' and out.read_bytes().startswith(begin)
    assert len(list((tmp_path / 'new').iterdir())) == 3
    # Letters are drawn as paths; what they say stands in a comment beside them.
    picture = (tmp_path / 'new/losses.svg').read_text()
    assert all(f'<!-- {name} -->' in picture for name in names)
    assert '<!-- first -->' not in picture


def test_what_does_not_fit_is_named(tmp_path):
    write_log(tmp_path / 'val', rows=[val_row(1)])
    write_log(tmp_path / 'run', rows=[train_row(1)])
    for runs, name, names, message in (
        (['run', 'val'], 'losses.png', ['only'], '1 names are given for 2 work dirs: only'),
        (['run', 'val'], 'losses.png', ['a', 'a'], 'same name is given twice: a a'),
        (['val'], 'losses.png', None, 'log of val has no training rows'),
        (['run'], 'losses.xyz', None, r'losses\.xyz: unknown picture format'),
        (['run', 'val/../run'], 'losses.png', None, 'the same work dir is given twice'),
    ):
        with pytest.raises(UserError, match=message):
            plot_losses([tmp_path / run for run in runs], tmp_path / name, names)
    assert not list(tmp_path.glob('losses*'))


def gains(*values):
    pairs = zip(KINDS, values, strict=True)
    return {kind: dict(AP=value, AP50=2 * value, count=3) for kind, value in pairs}


SOME = gains(0.1, 0.02, 0.05, 0.004, 0.03, 0.01, 0.2, 0.3)


def ends_of(container):
    return [bar.get_x() + bar.get_width() for bar in container]


def test_two_results_side_by_side(tmp_path, drawn):
    path = tmp_path / 'new' / 'errors.png'
    other = gains(0, 0.1, 0, 0, 0, 0, 0.02, 0.4)
    assert draw_error_chart(path, [('ours', 0.3456, SOME), ('other', 1 / 3, other)]) == path
    (axes,) = drawn[0].axes
    assert words(axes.get_yticklabels()) == [LABELS[one] for one in KINDS]
    assert axes.yaxis_inverted()
    ours, theirs = axes.containers
    # In points of mAP, the kinds from the top on.
    assert ends_of(ours) == pytest.approx([10, 2, 5, 0.4, 3, 1, 20, 30])
    assert ends_of(theirs) == pytest.approx([0, 10, 0, 0, 0, 0, 2, 40])
    middles = [[bar.get_y() + bar.get_height() / 2 for bar in one] for one in (ours, theirs)]
    np.testing.assert_allclose(middles, [np.arange(8) - 0.2, np.arange(8) + 0.2])
    assert words(axes.texts)[:8] == ['10.0', '2.0', '5.0', '0.4', '3.0', '1.0', '20.0', '30.0']
    assert 40 < axes.get_xlim()[1] < 50 and axes.get_xlim()[0] == 0
    legend = axes.get_legend()
    assert words(legend.get_texts()) == ['ours (mAP 34.6)', 'other (mAP 33.3)']
    colors = [container[0].get_facecolor() for container in axes.containers]
    assert colors[0] != colors[1]
    assert [handle.get_facecolor() for handle in legend.legend_handles] == colors


def test_the_picture_can_be_read(tmp_path):
    path = draw_error_chart(tmp_path / 'errors.png', [('ours', 0.3, SOME), ('other', 0.2, SOME)])
    picture = cv2.imread(str(path))
    height, width = picture.shape[:2]
    assert 800 < width < 1200 and 500 < height < 1000
    assert (picture[[0, -1]] == 255).all() and (picture[:, [0, -1]] == 255).all()  # nothing is cut
    for color in COLORS[:2]:
        bgr = [int(color[i : i + 2], 16) for i in (5, 3, 1)]
        of_bars = (np.abs(picture.astype(int) - bgr) < 8).all(axis=-1)
        # The longest bar is that of missed objects, and ends short of the edge.
        lengths = of_bars.sum(axis=1)
        assert 0.5 * width < lengths.max() < 0.9 * width
        assert np.flatnonzero(lengths == lengths.max()).min() > 0.7 * height
        # Seven bars (the shortest is but a few pixels), and the legend's.
        begins = np.diff((lengths > 0).astype(int), prepend=0) == 1
        assert begins.sum() == len(KINDS) + 1


def test_what_does_not_add_and_losses_that_go_to_the_left(tmp_path, drawn):
    losses = gains(-0.1, 0, -0.02, 0.01, 0, -0.00001, 0.0, -0.05)
    for result in (('perfect', 1.0, gains(*[0.0] * len(KINDS))), ('ours', 0.3, losses)):
        draw_error_chart(tmp_path / 'errors.png', [result])
    perfect, ours = (figure.axes[0] for figure in drawn)
    low, high = perfect.get_xlim()
    assert low == 0 and high > 1  # next to nothing must not fill the picture
    assert words(perfect.texts) == ['0.0'] * len(KINDS)
    assert words(perfect.get_legend().get_texts()) == ['perfect (mAP 100.0)']
    assert ends_of(ours.containers[0])[:3] == pytest.approx([-10, 0, -2])
    assert words(ours.texts) == ['-10.0', '0.0', '-2.0', '1.0', '0.0', '0.0', '0.0', '-5.0']
    # Beyond the end of the bar, and inside of the axes.
    ours.figure.draw_without_rendering()
    box = ours.texts[0].get_window_extent()
    assert ours.bbox.x0 < box.x0 < box.x1 < ours.transData.transform((-10, 0))[0]


def test_any_name_is_written_as_it_is_and_the_file_whole_or_not_at_all(tmp_path, monkeypatch):
    for name in ('_hidden', 'a$x_b^$', '50 % {of} \\it', 'x' * 200):
        path = draw_error_chart(tmp_path / 'errors.svg', [(name, 0.3, SOME)])
        assert f'<!-- {name} (mAP 30.0) -->' in path.read_text()
    path.write_text('before')

    def fail(figure, target, **options):
        target.write_bytes(b'half of a picture')
        raise OSError('disk full')

    monkeypatch.setattr(Figure, 'savefig', fail)
    with pytest.raises(OSError, match='disk full'):
        draw_error_chart(path, [('ours', 0.3, SOME)])
    assert path.read_text() == 'before' and list(tmp_path.iterdir()) == [path]


def test_differences_to_a_baseline(tmp_path, drawn):
    trials = [
        ('up', dict(value=0.02, ci=[0.015, 0.025], ci_both=[0.01, 0.03]), [0.32, 0.31]),
        ('down', dict(value=-0.01, ci=[-0.012, -0.008], ci_both=[-0.019, -0.001]), [0.285]),
        ('open', dict(value=0.0, ci=[-0.01, 0.01], ci_both=[-0.02, 0.02]), [0.295]),
        ('one seed', dict(value=0.001, ci=[0.0, 0.002], ci_both=None), [0.296]),
        ('one video', dict(value=0.001, ci=None, ci_both=None), [0.296]),
    ]
    path = tmp_path / 'differences.png'
    assert draw_differences(path, ('plain', [0.30, 0.29]), trials, 'JF') == path
    (axes,) = drawn[0].axes
    assert words(axes.get_yticklabels()) == ['plain', 'up', 'down', 'open', 'one seed', 'one video']
    assert axes.yaxis_inverted() and axes.get_xlabel().startswith('JF minus that of plain')
    expected = ['+2.0 [+1.0, +3.0]', '-1.0 [-1.9, -0.1]', '+0.0 [-2.0, +2.0]', '+0.1 [+0.0, +0.2]']
    assert words(axes.texts) == [*expected, '+0.1']
    lines = [(line.get_marker(), line.get_xdata(), line.get_ydata()) for line in axes.lines[1:]]
    # Single seeds beside the mean of the baseline's.
    marks = [np.round(x, 9).tolist() for marker, x, _ in lines if marker == '|']
    assert marks == [[0.5, -0.5], [2.5, 1.5], [-1.0], [0.0], [0.1], [0.1]]
    dots = [(float(x[0]), int(y[0])) for marker, x, y in lines if marker == 'o']
    assert dots == [(2, 1), (-1, 2), (0, 3), (0.1, 4), (0.1, 5)]
    bars = [line for line in axes.lines[1:] if line.get_marker() == 'None']
    found = [(np.round(one.get_xdata(), 9).tolist(), one.get_linewidth()) for one in bars]
    assert found[:2] == [([1, 3], 1.2), ([1.5, 2.5], 4)] and found[6:] == [([0, 0.2], 4)]
    colors = [line.get_color() for line in axes.lines[1:] if line.get_marker() == 'o']
    legend = [handle.get_color() for handle in axes.get_legend().legend_handles]
    assert colors == [*legend, legend[2], legend[2]] and len(set(legend)) == 3
    assert words(axes.get_legend().get_texts()) == ['better', 'worse', 'not decided']
