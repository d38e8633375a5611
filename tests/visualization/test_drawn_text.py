import matplotlib.font_manager
import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen

from vispropnet.errors import UserError
from vispropnet.visualization import text as text_module
from vispropnet.visualization.text import (
    draw_text,
    drawable_names,
    short_names,
    shortened,
    text_size,
    use_font,
)

LETTERS = 'Az09#'


@pytest.fixture
def installed(monkeypatch):
    """Fonts that the system has: by default none."""
    fonts = []
    monkeypatch.setattr(matplotlib.font_manager, 'findSystemFonts', lambda: list(map(str, fonts)))
    monkeypatch.setattr(text_module, '_chosen', [])
    monkeypatch.setattr(text_module, '_noted', set())
    caches = (text_module._font_file, text_module._text_mask)
    for cache in caches:
        cache.cache_clear()
    yield fonts
    for cache in caches:
        cache.cache_clear()


def write_font(path, characters, width=1000):
    """Writes a font in which each character is a full block of so many thousandths of its size."""
    pen = TTGlyphPen(None)
    corners = [(0, 0), (0, 800), (width, 800), (width, 0)]
    pen.moveTo(corners[0])
    for corner in corners[1:]:
        pen.lineTo(corner)
    pen.closePath()
    block = pen.glyph()
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder(['.notdef', 'block'])
    builder.setupCharacterMap({ord(one): 'block' for one in characters})
    builder.setupGlyf({'.notdef': TTGlyphPen(None).glyph(), 'block': block})
    builder.setupHorizontalMetrics({'.notdef': (500, 0), 'block': (width, 0)})
    builder.setupHorizontalHeader(ascent=1200, descent=-300)
    builder.setupNameTable({'familyName': 'Blocks', 'styleName': 'Regular'})
    builder.setupOS2()
    builder.setupPost()
    builder.save(path)
    return path


def is_block(text, size=20):
    """True if a text is drawn as full blocks, on the line of the usual font and no higher."""
    width, height = text_size(text, size)
    canvas = np.zeros((height, width, 3), np.uint8)
    draw_text(canvas, text, (0, 0), size)
    rows = np.flatnonzero((canvas[..., 0] > 200).all(axis=1))
    return len(rows) >= 15 and height == text_size('a', size)[1]


@pytest.mark.parametrize('name', ['猫', 'キャット', '고양이', 'แมว', '猫 2'])
def test_a_font_of_the_system_writes_what_the_usual_one_cannot(installed, tmp_path, name):
    installed.append(write_font(tmp_path / 'AdobeBlank.ttf', name + LETTERS))  # has signs only
    installed.append(write_font(tmp_path / 'a.ttf', name))  # without digits
    (tmp_path / 'damaged.ttf').write_text('x')
    installed.append(tmp_path / 'damaged.ttf')
    installed.append(write_font(tmp_path / 'b.ttf', name + LETTERS + ' '))
    assert drawable_names({3: name}) == {3: name}
    assert is_block(name.replace(' ', ''))
    assert not is_block('cat')


def test_a_font_that_is_named_goes_before_those_of_the_system(installed, tmp_path):
    installed.append(write_font(tmp_path / 'wide.ttf', '猫' + LETTERS))
    wide = text_size('猫', 20)[0]
    use_font(write_font(tmp_path / 'narrow.ttf', '猫', width=500))
    assert (wide, text_size('猫', 20)[0]) == (20, 10)
    (tmp_path / 'text.ttf').write_text('no font')
    for path in ('text.ttf', 'missing.ttf'):
        with pytest.raises(UserError, match=rf'font .*{path} cannot be read .*: expected a file'):
            use_font(tmp_path / path)


def test_without_a_font_ids_are_drawn_and_it_is_said_once(installed, capsys):
    names = {1: 'cat', 7: '猫', 9: '犬\n', 4: 'Käfer', 5: 'a\u200b b\ufe0f'}
    for _ in range(2):
        assert drawable_names(names) == {**names, 7: '7', 9: '9'}
    said = capsys.readouterr().err
    assert said.count('note:') == 1
    assert said.startswith('note: no font here has the characters of 猫, 犬\\n: ids are drawn in')


def test_text_is_drawn_where_asked_and_cut_at_the_edge():
    canvas = np.zeros((40, 100, 3), np.uint8)
    width, height = draw_text(canvas, 'star', (10, 5), 14, (0, 0, 255))
    assert (width, height) == text_size('star', 14)
    assert canvas[5 : 5 + height, 10 : 10 + width, 2].any() and not canvas[..., :2].any()
    canvas[5 : 5 + height, 10 : 10 + width] = 0
    assert not canvas.any()
    for place in ((-8, -4), (90, 35), (200, 0), (0, 200), (-500, 0)):
        draw_text(canvas, 'star', place, 14)


def test_heights_depend_on_the_size_alone():
    for bold in (False, True):
        assert text_size('a', 14, bold)[1] == text_size('Äg|', 14, bold)[1] < text_size('a', 20)[1]
        assert text_size('', 14, bold)[0] == 1


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
