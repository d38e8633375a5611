"""Each field with odd values: all readers accept or all refuse, and no number changes unsaid."""

import copy
import json
import math

import pytest

from tests.datasets.annotation_contents import good_content
from vispropnet.datasets.annotation_file import read_annotation_file
from vispropnet.datasets.annotation_rules import AnnotationFile
from vispropnet.datasets.check_annotations import check_annotations
from vispropnet.datasets.check_report import Report
from vispropnet.datasets.splits import read_divisible
from vispropnet.datasets.ytvis import YouTubeVIS
from vispropnet.errors import UserError
from vispropnet.evaluation.average_precision import plain_metrics
from vispropnet.evaluation.check_results import check_results
from vispropnet.evaluation.ground_truth import read_ground_truth
from vispropnet.evaluation.report import score_file

MISSING = 'the key is left out'
VALUES = [
    *(
        MISSING,
        None,
        True,
        False,
        0,
        1,
        -1,
        2,
        7,
        11,
        1.0,
        0.5,
        math.nan,
        math.inf,
        10**30,
        -(10**30),
    ),
    *('', '0', '1', '7', 'x', [], [0], [0, 0], [None], [[]], ['x'], {}, {'a': 1}),
    *([0, 0, 0, 0], [1, 2, 3, 4], [math.nan] * 4, [[2, 3, 7, 3, 7, 9]]),
]
FIELDS = [
    *('videos/0', 'videos/0/id', 'videos/0/width', 'videos/0/height', 'videos/0/length'),
    *('videos/0/file_names', 'videos/0/file_names/0', 'videos/0/annotated_frames'),
    *('categories/0', 'categories/0/id', 'categories/0/name', 'info'),
    *(f'annotations/0{key}' for key in ('', '/id', '/video_id', '/category_id', '/iscrowd')),
    *(f'annotations/0/segmentations{key}' for key in ('', '/0', '/0/size', '/0/counts')),
    *('annotations/0/bboxes', 'annotations/0/bboxes/0'),
    *('annotations/0/areas', 'annotations/0/areas/0'),
]
# What scoring can do without, and what it leaves out and says so.
SPARE = ('videos/0/width', 'videos/0/height', 'videos/0/file_names', 'categories/0/name')
SPARE += ('annotations/0/id',)
LEFT_OUT = ('annotations/0/video_id', 'annotations/0/category_id')
RESULT_FIELDS = [
    '0',
    *(f'0/{key}' for key in ('video_id', 'category_id', 'score', 'segmentations')),
]
RESULT_FIELDS += ['0/segmentations/0', '0/segmentations/0/size', '0/segmentations/0/counts']


def changes(content, field):
    """Values, each with the content that has it in the field."""
    *steps, key = (int(step) if step.isdigit() else step for step in field.split('/'))
    for value in VALUES:
        changed = target = copy.deepcopy(content)
        for step in steps:
            target = target[step]
        if value != MISSING:
            target[key] = value
        elif isinstance(target, dict):
            target.pop(key, None)
        else:
            continue
        yield value, changed


def results():
    keys = ('video_id', 'category_id', 'segmentations')
    found = enumerate(good_content()['annotations'])
    return [{**{key: one[key] for key in keys}, 'score': 0.9 - 0.1 * at} for at, one in found]


def outcome(read):
    """What a reader gives, or None if it refuses."""
    try:
        return read()
    except UserError:
        return None


@pytest.mark.parametrize('field', FIELDS)
def test_fields_of_annotations(tmp_path, field):
    path, result_path = tmp_path / 'ann.json', tmp_path / 'results.json'
    result_path.write_text(json.dumps(results()))

    def training():
        dataset = YouTubeVIS(str(path), data_prefix=dict(img=str(tmp_path)))
        dataset.full_init()
        return str([dataset.get_data_info(at)['instances'] for at in range(4)])

    def outcomes(content):
        path.write_text(json.dumps(content))
        report = Report('ann.json')
        check_annotations(path, report, progress=False, for_training=True)
        return report, dict(
            read=outcome(lambda: str(read_annotation_file(path))),
            train=outcome(training),
            split=outcome(lambda: str(read_divisible(path))),
            score=outcome(lambda: plain_metrics(score_file(read_ground_truth(path), result_path))),
        )

    _, usual = outcomes(good_content())
    assert None not in usual.values()
    refused = 0
    for value, content in changes(good_content(), field):
        report, found = outcomes(content)
        if (value == MISSING and field in SPARE) or (type(value) is int and field in LEFT_OUT):
            del found['score']
        is_refused = report.count('error') > 0
        refused += is_refused
        refusals = {name: one is None for name, one in found.items()}
        assert refusals == dict.fromkeys(found, is_refused), (value, report.findings)
        if is_refused or report.findings or (field.endswith('iscrowd') and value == 1):
            continue
        for name in ('train', 'score'):
            if name in found and field != 'annotations/0/id':
                assert found[name] == usual[name], (name, value)
    assert refused or field in ('info', 'annotations/0/areas')


@pytest.mark.parametrize('field', RESULT_FIELDS)
def test_fields_of_results(tmp_path, field):
    path, result_path = tmp_path / 'ann.json', tmp_path / 'results.json'
    path.write_text(json.dumps(good_content()))
    truth = read_ground_truth(path)
    for value, content in changes(results(), field):
        result_path.write_text(json.dumps(content))
        report = Report('results.json')
        file = AnnotationFile(good_content(), report)
        check_results(result_path, file, report)
        scored = outcome(lambda: plain_metrics(score_file(truth, result_path)))
        assert (scored is None) == (report.count('error') > 0), (value, report.findings)
        # A mask less is another track; all else that is accepted is a matter of a finding.
        if scored is not None and not report.findings and value is not None:
            assert scored['AP'] == 1 or field == '0/score', value
