import numpy as np

from vispropnet.visualization.text import draw_text, short_names, shortened, text_size


def test_text_is_drawn_where_asked_cut_at_the_edge_and_as_high_as_its_size():
    for bold in (False, True):
        assert text_size('a', 14, bold)[1] == text_size('Äg|', 14, bold)[1] < text_size('a', 20)[1]
        assert text_size('', 14, bold)[0] == 1
    canvas = np.zeros((40, 100, 3), np.uint8)
    width, height = draw_text(canvas, 'star', (10, 5), 14, (0, 0, 255))
    assert (width, height) == text_size('star', 14)
    assert canvas[5 : 5 + height, 10 : 10 + width, 2].any() and not canvas[..., :2].any()
    canvas[5 : 5 + height, 10 : 10 + width] = 0
    assert not canvas.any()
    for place in ((-8, -4), (90, 35), (200, 0), (0, 200), (-500, 0)):
        draw_text(canvas, 'star', place, 14)


def test_long_lines_lose_their_middle():
    assert shortened('short', 14, 200) == 'short'
    text = 'masktrack-rcnn_r50_fpn_1x_ytvis2019_epoch_12'
    for width in range(100, 160, 4):
        begin, end = shortened(text, 14, width).split('…')
        assert text.startswith(begin) and text.endswith(end) and 0 <= len(begin) - len(end) <= 1
        more = len(begin) + len(end) + 1
        longer = text[: (more + 1) // 2] + '…' + text[len(text) - more // 2 :]
        assert text_size(f'{begin}…{end}', 14)[0] <= width < text_size(longer, 14)[0]
    assert shortened('wide', 14, 1) == '…'


def test_short_names_tell_paths_apart():
    for same in (['x/run', 'y/run', 'y/other'], ['1/x/run', '2/x/run'], ['x/a', 'x/a']):
        assert short_names(same) == same
    assert short_names(['x/a', 'y/b']) == ['a', 'b'] and short_names(['x/a']) == ['a']
    assert short_names(['/x/run', 'x/run']) == ['//x/run', 'x/run']
