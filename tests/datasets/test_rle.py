import pytest
from pycocotools import mask as mask_utils

from vispropnet.datasets.rle import checked_rles, examine_rles
from vispropnet.datasets.run_lengths import decode_counts
from vispropnet.errors import UserError

VIDEO = {'id': 5, 'height': 3, 'width': 4, 'length': 2}
RLE = {'size': [3, 4], 'counts': '066'}  # the two left columns


def test_checked_rles_compresses():
    plain = {'size': [3, 4], 'counts': [0, 6, 6]}
    first, second = checked_rles([plain, None], VIDEO, 'x')
    assert first['counts'] == '066'
    assert second is None
    assert plain == {'size': [3, 4], 'counts': [0, 6, 6]}
    assert checked_rles([RLE, RLE], VIDEO, 'x') == [RLE, RLE]
    assert checked_rles([RLE], {'id': 5}, 'x') == [RLE]
    with pytest.raises(UserError, match='has 1 entries, but video 5 has 2 frames'):
        checked_rles([RLE], {'id': 5, 'file_names': ['a', 'b']}, 'x')


@pytest.mark.parametrize(
    ('mask', 'message'),
    [
        ({'size': [4, 3], 'counts': '066'}, 'the mask is 3x4 pixels .* video 5 is 4x3'),
        ({'size': [3, 4], 'counts': '06'}, "'counts' of the RLE are damaged.*12 .* cover 6"),
        ({'size': [3, 4], 'counts': '0666'}, 'cover 24'),  # the fourth run: 6 + 6
        ({'size': [3, 4], 'counts': [0, 6]}, 'cover 6'),
        ({'size': [3, 4], 'counts': [0, 18, -6]}, 'damaged'),
        ({'size': [3, 4], 'counts': ['a', 12]}, 'damaged'),
        ({'size': [3, 4], 'counts': "b'066'"}, r'write counts.decode\(\) instead of str\(counts'),
        ({'size': [3, 4], 'counts': '[0, 6, 6]'}, 'a list written as text'),
        ({'size': [12], 'counts': '066'}, r'\[height, width\], got \[12\]'),
        ({'size': [3, 4]}, 'null or an RLE'),
        ([[0, 0, 2, 0, 2, 2]], 'polygons are read in annotation files only'),
    ],
)
def test_checked_rles_names_what_is_wrong(mask, message):
    with pytest.raises(UserError, match=message) as caught:
        checked_rles([None, mask], VIDEO, 'entry 8')
    assert str(caught.value).startswith('entry 8, frame 1: ')
    rles, areas, faults = examine_rles([RLE, mask], [VIDEO, VIDEO])
    assert (rles, areas.tolist(), list(faults)) == ([RLE, None], [6, 0], [1])


@pytest.mark.parametrize(
    ('runs', 'merged'),
    [
        ([2, 3, 0, 4, 3], [2, 7, 3]),
        ([0, 3, 0, 0, 5, 4, 0], [0, 3, 5, 4]),
        ([0, 0, 6, 6], [6, 6]),
        ([6, 0, 0, 0, 6], [12]),
        ([0, 12, 0, 0], [0, 12]),
        ([0, 6, 6], [0, 6, 6]),  # as it should be
    ],
)
def test_empty_runs_are_merged(runs, merged):
    # pycocotools would end where both of two masks have an empty run.
    compressed = mask_utils.frPyObjects({'size': [3, 4], 'counts': runs}, 3, 4)
    for mask in ({'size': [3, 4], 'counts': runs}, compressed):
        (rle,), (area,), faults = examine_rles([mask], [VIDEO])
        assert faults == {}
        assert decode_counts(rle['counts']).tolist() == merged
        assert area == sum(merged[1::2])
        whole = mask_utils.frPyObjects({'size': [3, 4], 'counts': [0, 12]}, 3, 4)
        assert mask_utils.iou([rle], [whole], [0])[0, 0] == area / 12
