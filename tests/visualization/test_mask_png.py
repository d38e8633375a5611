import numpy as np
import pytest
from PIL import Image

from vispropnet.errors import UserError
from vispropnet.visualization.mask_png import write_mask_png
from vispropnet.visualization.palette import track_color

# On a row of four pixels; they share the second and the third.
TWO = np.array([[[1, 1, 1, 0]], [[0, 1, 1, 1]]], bool)


def written(path, *arguments):
    """Writes a picture; gives its mode, values and colours (red, green, blue)."""
    write_mask_png(path, *arguments)
    with Image.open(path) as picture:
        return picture.mode, np.array(picture), np.array(picture.convert('RGB'))


def test_the_higher_score_is_seen(tmp_path):
    for scores, both in (([0.4, 0.9], 3), ([0.5, 0.5], 5), (None, 5)):
        _, values, _ = written(tmp_path / 'a.png', [4, 2], TWO, scores)
        assert values.tolist() == [[5, both, both, 3]]


def test_many_masks_as_one_pixel_after_the_other(tmp_path):
    generator = np.random.default_rng(0)
    masks = generator.random((9, 13, 17)) < 0.3
    ids = generator.permutation(254)[:9]
    scores = np.round(generator.random(9), 1)  # some are equal
    mode, values, _ = written(tmp_path / 'a.png', ids, masks, scores)
    assert mode == 'P'
    for y, x in np.ndindex(13, 17):
        best, best_score = 0, -1.0
        for number in range(9):
            if masks[number, y, x] and scores[number] > best_score:
                best, best_score = ids[number] + 1, scores[number]
        assert values[y, x] == best


def test_it_is_shown_in_the_colours_of_the_tracks(tmp_path):
    _, _, colors = written(tmp_path / 'deep/er/a.png', [254, 1], TWO)
    assert colors[0, [0, 3]].tolist() == [list(track_color(one)[::-1]) for one in (255, 2)]
    mode, values, colors = written(tmp_path / 'a.png', [], np.zeros((0, 5, 6), bool))
    assert (mode, values.shape) == ('P', (5, 6)) and not colors.any()
    # Large ids take 16 bits.
    for other in (0, 65534):
        mode, values, _ = written(tmp_path / 'a.png', [255, other], TWO)
        assert (mode, values.tolist()) == ('I;16', [[256, 256, 256, other + 1]])


def test_bad_arguments_are_named(tmp_path):
    for ids, masks, scores, message in (
        ([0, 1], TWO.astype(np.int64), None, r'\(N, H, W\) bool, got \(2, 1, 4\) int64'),
        ([0], TWO[0], None, r'masks must be .* got \(1, 4\)'),
        ([0], TWO, None, 'argument 2 is longer than argument 1'),
        ([0, 1], TWO, [1, 2, 3], 'argument 3 is longer than arguments 1-2'),
        ([0, -1], TWO, None, 'ids must be from 0 to 65534 .* got -1'),
        ([0, 65535], TWO, None, 'ids must be from 0 to 65534 .* got 65535'),
    ):
        with pytest.raises(ValueError, match=message):
            write_mask_png(tmp_path / 'a.png', ids, masks, scores)


def test_whole_or_not_at_all(tmp_path, monkeypatch):
    def full(self, path, **_):
        path.write_bytes(b'half')
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(Image.Image, 'save', full)
    with pytest.raises(UserError, match='cannot write .*a.png: No space left on device'):
        write_mask_png(tmp_path / 'a.png', [0, 1], TWO)
    assert list(tmp_path.iterdir()) == []
