import cv2
import numpy as np
import pytest
from matplotlib.figure import Figure

from vispropnet.evaluation.error_kinds import KINDS, LABELS
from vispropnet.visualization.charts import COLORS, draw_error_chart

# With no warning of matplotlib's either.
pytestmark = pytest.mark.filterwarnings('error')


def gains(*values):
    """In mAP (0 to 1) by kind."""
    return {
        kind: {'AP': value, 'AP50': 2 * value, 'count': 3}
        for kind, value in zip(KINDS, values, strict=True)
    }


SOME = gains(0.1, 0.02, 0.05, 0.004, 0.03, 0.01, 0.2, 0.3)


def bars_of(axes):
    """Bars of each result: (place from the top, end)."""
    return [
        [(bar.get_y() + bar.get_height() / 2, bar.get_x() + bar.get_width()) for bar in container]
        for container in axes.containers
    ]


def texts_of(axes):
    """The numbers beside the bars."""
    return [text.get_text() for text in axes.texts]


def pixels_of(picture, color):
    """Pixels of a picture that have a colour, (H, W)."""
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return (np.abs(picture.astype(int) - (blue, green, red)) < 8).all(axis=-1)


def test_one_result(tmp_path, drawn):
    path = tmp_path / 'new' / 'errors.png'
    assert draw_error_chart(path, [('ours', 0.3456, SOME)]) == path
    (axes,) = drawn[0].axes
    assert [tick.get_text() for tick in axes.get_yticklabels()] == [LABELS[one] for one in KINDS]
    assert axes.yaxis_inverted()
    (bars,) = bars_of(axes)
    # In points of mAP, the kinds from the top on.
    np.testing.assert_allclose(bars, list(enumerate([10, 2, 5, 0.4, 3, 1, 20, 30])), atol=1e-9)
    assert texts_of(axes) == ['10.0', '2.0', '5.0', '0.4', '3.0', '1.0', '20.0', '30.0']
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ['ours (mAP 34.6)']
    low, high = axes.get_xlim()
    assert low == 0
    assert 30 < high < 40


def test_the_picture_can_be_read(tmp_path):
    path = draw_error_chart(tmp_path / 'errors.png', [('ours', 0.3, SOME), ('other', 0.2, SOME)])
    picture = cv2.imread(str(path))
    height, width = picture.shape[:2]
    assert 800 < width < 1200
    assert 500 < height < 1000
    assert (picture[[0, -1]] == 255).all()  # nothing is cut off
    assert (picture[:, [0, -1]] == 255).all()
    for color in COLORS[:2]:
        of_bars = pixels_of(picture, color)
        # The longest bar is that of missed objects, and ends short of the edge.
        lengths = of_bars.sum(axis=1)
        assert 0.5 * width < lengths.max() < 0.9 * width
        assert np.flatnonzero(lengths == lengths.max()).min() > 0.7 * height
        # Seven bars (the shortest is but a few pixels), and the legend's.
        begins = np.diff((lengths > 0).astype(int), prepend=0) == 1
        assert begins.sum() == len(KINDS) + 1


def test_two_results_side_by_side(tmp_path, drawn):
    other = gains(0, 0.1, 0, 0, 0, 0, 0.02, 0.4)
    draw_error_chart(tmp_path / 'errors.png', [('ours', 0.3, SOME), ('other', 1 / 3, other)])
    (axes,) = drawn[0].axes
    ours, theirs = bars_of(axes)
    assert [end for _, end in theirs] == pytest.approx([0, 10, 0, 0, 0, 0, 2, 40])
    for row, ((one, _), (two, _)) in enumerate(zip(ours, theirs, strict=True)):
        assert (one, two) == pytest.approx((row - 0.2, row + 0.2))
    legend = axes.get_legend()
    assert [text.get_text() for text in legend.get_texts()] == [
        'ours (mAP 30.0)',
        'other (mAP 33.3)',
    ]
    colors = [container[0].get_facecolor() for container in axes.containers]
    assert colors[0] != colors[1]
    assert [handle.get_facecolor() for handle in legend.legend_handles] == colors


def test_without_errors_zero_is_on_the_left(tmp_path, drawn):
    draw_error_chart(tmp_path / 'errors.png', [('perfect', 1.0, gains(*[0.0] * len(KINDS)))])
    (axes,) = drawn[0].axes
    low, high = axes.get_xlim()
    assert low == 0
    assert high > 1  # next to nothing must not fill the picture
    assert texts_of(axes) == ['0.0'] * len(KINDS)
    assert axes.get_legend().get_texts()[0].get_text() == 'perfect (mAP 100.0)'


def test_losses_go_to_the_left(tmp_path, drawn):
    losses = gains(-0.1, 0, -0.02, 0.01, 0, -0.00001, 0.0, -0.05)
    draw_error_chart(tmp_path / 'errors.png', [('ours', 0.3, losses)])
    (axes,) = drawn[0].axes
    assert [end for _, end in bars_of(axes)[0]][:3] == pytest.approx([-10, 0, -2])
    assert texts_of(axes) == ['-10.0', '0.0', '-2.0', '1.0', '0.0', '0.0', '0.0', '-5.0']
    # Beyond the end of the bar, and inside of the axes.
    axes.figure.draw_without_rendering()
    box = axes.texts[0].get_window_extent()
    assert axes.bbox.x0 < box.x0 < box.x1 < axes.transData.transform((-10, 0))[0]


@pytest.mark.parametrize('name', ['_hidden', 'a$x_b^$', '50 % {of} \\it', 'x' * 200])
def test_any_name_of_a_file_is_written_as_it_is(tmp_path, name):
    path = draw_error_chart(tmp_path / 'errors.svg', [(name, 0.3, SOME)])
    assert f'<!-- {name} (mAP 30.0) -->' in path.read_text()


def test_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / 'errors.png'
    path.write_text('before')

    def fail(figure, target, **options):
        target.write_bytes(b'half of a picture')
        raise OSError('disk full')

    with monkeypatch.context() as patch:
        patch.setattr(Figure, 'savefig', fail)
        with pytest.raises(OSError, match='disk full'):
            draw_error_chart(path, [('ours', 0.3, SOME)])
    assert path.read_text() == 'before'
    assert list(tmp_path.iterdir()) == [path]
