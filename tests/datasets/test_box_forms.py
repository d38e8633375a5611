"""Boxes that are not those of the masks."""

import json

import pytest

from tests.datasets.annotation_contents import H, W, entry, good_content
from vispropnet.datasets.check_annotations import check_annotations
from vispropnet.datasets.check_report import Report
from vispropnet.datasets.splits import read_divisible
from vispropnet.datasets.ytvis import YouTubeVIS
from vispropnet.errors import UserError
from vispropnet.evaluation.ground_truth import read_ground_truth

BOXES = [(2, 3, 15, 6), (20, 10, 8, 4), (5, 12, 9, 9), (14, 1, 4, 20), (1, 2, 6, 5)]


def written(tmp_path, change, changed=20):
    """20 objects of video 7, of which the first ones have changed boxes."""
    content = good_content()
    content['annotations'] = [
        entry(number, 7, 11, [BOXES[number % 5], None, BOXES[(number + 1) % 5]])
        for number in range(1, 21)
    ]
    for one in content['annotations'][:changed]:
        one['bboxes'] = [box and change(*box) for box in one['bboxes']]
    path = tmp_path / 'ann.json'
    path.write_text(json.dumps(content))
    return path


def load(path, **options):
    return YouTubeVIS(str(path), data_prefix=dict(img=str(path.parent)), **options)


def check(path):
    report = Report('ann.json')
    check_annotations(path, report, progress=False)
    return [one for one in report.findings if 'without annotations' not in one.kind]


@pytest.mark.parametrize(
    ('change', 'form'),
    [
        (lambda x, y, w, h: [x, y, x + w, y + h], '[x1, y1, x2, y2] in pixels'),
        (lambda x, y, w, h: [x + w / 2, y + h / 2, w, h], '[centre x, centre y, width, height] in'),
        (lambda x, y, w, h: [y, x, y + h, x + w], '[y1, x1, y2, x2] in pixels'),
        (lambda x, y, w, h: [y, x, h, w], '[y, x, height, width] in pixels'),
        (
            lambda x, y, w, h: [x / W, y / H, w / W, h / H],
            '[x, y, width, height] in fractions of the frame',
        ),
        (
            lambda x, y, w, h: [x / W, y / H, (x + w) / W, (y + h) / H],
            '[x1, y1, x2, y2] in fractions of the frame',
        ),
        (
            lambda x, y, w, h: [(x + w / 2) / W, (y + h / 2) / H, w / W, h / H],
            '[centre x, centre y, width, height] in fractions of the frame',
        ),
        (
            lambda x, y, w, h: [2 * x, 3 * y, 2 * w, 3 * h],
            '[x, y, width, height] in pixels of frames of another size',
        ),
        (lambda x, y, w, h: [30, 20, 1, 1], 'no known form'),
    ],
)
def test_another_form_is_named_and_stops_all(tmp_path, change, form):
    path = written(tmp_path, change)
    (finding,) = check(path)
    assert (finding.severity, finding.kind) == ('error', 'box form')
    readers = (load, lambda path: load(path, boxes='file'), read_divisible, read_ground_truth)
    for reader in readers:
        with pytest.raises(UserError) as caught:
            reader(path)
        assert f'annotation file {path}: the boxes of ' in str(caught.value)
        assert f'they look like {form}' in str(caught.value)
        assert 'of 20 objects are not those of their masks' in str(caught.value)


def test_a_few_other_boxes_are_warnings_and_training_takes_those_of_the_masks(tmp_path):
    path = written(tmp_path, lambda *box: [30, 20, 1, 1], changed=2)
    assert [(one.severity, one.kind) for one in check(path)] == [('warning', 'box')] * 4
    read_divisible(path)
    read_ground_truth(path)
    assert load(path).get_data_info(0)['instances'][0]['bbox'] == [20, 10, 28, 14]
    (first, *_) = load(path, boxes='file').get_data_info(0)['instances']
    assert first['bbox'] == [30, 20, 31, 21]
    # Three are more than a tenth of twenty, and not a few.
    assert check(written(tmp_path, lambda *box: [30, 20, 1, 1], changed=3))[0].kind == 'box form'
    with pytest.raises(UserError, match="boxes must be 'masks' or 'file', got 'mask'"):
        load(path, boxes='mask')


def test_rounded_boxes_and_none(tmp_path):
    for change in (
        lambda x, y, w, h: [x - 1, y + 1, w + 2, h - 2],
        lambda x, y, w, h: [x + 0.4, y, w - 0.5, h + 0.9],
        lambda *box: None,
    ):
        path = written(tmp_path, change)
        assert {one.severity for one in check(path)} <= {'warning'}
        for boxes in ('masks', 'file'):
            assert len(load(path, boxes=boxes).get_data_info(0)['instances']) == 20
    # A box without area is no reason to leave the object out.
    path = written(tmp_path, lambda x, y, w, h: [x, y, w, 0], changed=1)
    (first, *_) = load(path, boxes='file').get_data_info(0)['instances']
    assert first['bbox'] == [20, 10, 28, 14]
