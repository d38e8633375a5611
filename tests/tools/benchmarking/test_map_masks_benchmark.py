import pytest

from benchmarking.map_masks import benchmark, draw, make
from benchmarking.settings import COMMANDS
from benchmarking.settings import MapMasksSettings as Settings
from vispropnet.errors import UserError

SMALL = dict(size=(160, 96), queries=7, survivors=3, repeats=1, memory=False)


def test_both_make_the_masks_of_the_same_queries():
    settings = Settings(**SMALL)
    logits, chosen = draw(settings)
    # The input of 80x48 is padded to 96x64.
    assert logits.shape == (7, 16, 24) and len(set(chosen.tolist())) == 3
    ours, baseline = (make(name, settings)() for name in ('ours', 'baseline'))
    assert len(ours) == len(baseline) == 3
    for one, other in zip(ours, baseline, strict=True):
        counts = other['counts']
        assert one['size'] == [*other['size']] == [96, 160]
        assert one['counts'] == (counts.decode() if isinstance(counts, bytes) else counts)


def test_the_result(capsys):
    result = benchmark(Settings(**SMALL))
    assert result['name'] == 'map-masks' and result['differing_pixels'] == 0
    assert 0 < result['covered'] < 0.5
    with pytest.raises(UserError, match='--survivors 11: there are 10 queries only'):
        COMMANDS['map-masks'](queries=10, survivors=11)
