"""Masks given as polygons."""

import json

import numpy as np
import pytest
from pycocotools import mask as mask_utils

from tests.datasets.annotation_contents import FIRST, H, W, good_content
from vispropnet.datasets.annotation_file import read_annotation_file
from vispropnet.datasets.check_annotations import check_annotations
from vispropnet.datasets.check_report import Report
from vispropnet.datasets.splits import read_divisible
from vispropnet.datasets.ytvis import YouTubeVIS
from vispropnet.errors import UserError
from vispropnet.evaluation.ground_truth import read_ground_truth

SQUARE, OTHER = [2, 3, 7, 3, 7, 9, 2, 9], [20.0, 10.0, 28.0, 10.0, 28.0, 14.0, 20.0, 14.0]


def written(tmp_path, mask, box=None):
    content = good_content()
    content['annotations'][0].update(segmentations=[mask, None, None], bboxes=[box, None, None])
    content['annotations'][0]['areas'] = None
    path = tmp_path / 'ann.json'
    path.write_text(json.dumps(content))
    return path


def check(path):
    report = Report('ann.json')
    check_annotations(path, report, progress=False)
    return [f'{one.severity}: {one.kind}: {one.line("")}' for one in report.findings]


def test_polygons_are_drawn(tmp_path, caplog):
    path = written(tmp_path, [SQUARE, OTHER], [2, 3, 26, 11])
    (mask, *_) = read_annotation_file(path)['annotations'][0]['segmentations']
    wanted = np.zeros((H, W), np.uint8)
    wanted[3:9, 2:7] = wanted[10:14, 20:28] = 1
    np.testing.assert_array_equal(mask_utils.decode(mask), wanted)
    dataset = YouTubeVIS(str(path), data_prefix=dict(img=str(tmp_path)))
    assert dataset.get_data_info(0)['instances'][0]['bbox'] == [2, 3, 28, 14]
    truth = read_ground_truth(path)
    assert truth.videos[1].areas[0].tolist() == [62, 0, 0]
    assert truth.notes == ['1 mask given as polygons, drawn as by pycocotools']
    note = 'warning: polygons: 1 mask given as polygons, drawn as by pycocotools'
    # No areas are given.
    assert check(path) == [note]
    # The splitter leaves them as they are.
    kept = read_divisible(path)['annotations'][0]['segmentations']
    assert kept == [[SQUARE, OTHER], None, None]


@pytest.mark.parametrize(
    ('mask', 'text'),
    [
        (SQUARE, 'a polygon must be [x, y, x, y, ...] of at least 3 points, in a list of polygons'),
        ([[2, 3, 7, 3]], 'a polygon must be [x, y, x, y, ...] of at least 3 points'),
        ([[[2, 3], [7, 3], [7, 9]]], 'a polygon must be'),
        ([SQUARE[:7]], 'a polygon must be'),
        ([[*SQUARE[:7], '9']], 'a polygon must be'),
        ([[*SQUARE[:7], float('nan')]], 'a polygon must be'),
        ([[0.1, 0.1, 0.5, 0.1, 0.5, 0.9]], 'the polygon is in fractions of the frame'),
        (
            [[20, 30, 700, 30, 700, 90]],
            'the polygon reaches from 20 to 700, far out of the frame: the',
        ),
        (
            [[20, 30, 25, 1e12, 20, 12]],
            'the polygon reaches from 12 to 1000000000000.0, far out of the frame',
        ),
    ],
)
def test_what_is_no_polygon_is_refused_by_all(tmp_path, mask, text):
    path = written(tmp_path, mask)
    place = f'{FIRST}, frame 0 (a/8.jpg)'
    assert check(path)[0].startswith(f'error: damaged mask: {place}: {text}')
    for reader in (read_annotation_file, read_divisible, read_ground_truth):
        with pytest.raises(UserError) as caught:
            reader(path)
        assert f'{place}: {text}' in str(caught.value)
    faults = {}
    read_annotation_file(path, mask_faults=faults)
    assert list(faults) == [(7, 0)]


def test_polygons_take_the_size_of_the_video(tmp_path):
    path = written(tmp_path, [SQUARE])
    content = json.loads(path.read_text())
    del content['videos'][0]['width']
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="polygons take the video's 'height' and 'width'"):
        read_ground_truth(path)
