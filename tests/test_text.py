from vispropnet.text import counted, first_of, printable, shown


def test_the_first_and_how_many_more():
    for count, separator, text in (
        (0, ', ', ''),
        (1, ', ', '0'),
        (3, ', ', '0, 1, 2'),
        (4, ', ', '0, 1, 2 and 1 more'),
        (12, '; ', '0; 1; 2 and 9 more'),
        (5, '\n  ', '0\n  1\n  2\n  and 2 more'),
    ):
        assert first_of(iter(range(count)), 3, separator) == text


def test_numbers_with_their_nouns_and_values_as_in_json_and_cut():
    assert [counted(number, 'frame') for number in (0, 1, 2)] == ['0 frames', '1 frame', '2 frames']
    assert [shown(one) for one in (None, True, False, 1)] == ['null', 'true', 'false', '1']
    assert shown('x' * 78) == "'" + 'x' * 78 + "'"
    assert shown('x' * 79) == "'" + 'x' * 76 + '...'
    # What a terminal would act on is escaped.
    assert printable('é\x1b[2J\n\ud800Ω') == r'é\x1b[2J\n\ud800Ω'
