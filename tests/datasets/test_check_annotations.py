import json

import pytest

from tests.datasets.annotation_contents import H, W, changed, entry, good_content, parsed
from vispropnet.datasets.annotation_file import read_annotation_file
from vispropnet.datasets.check_annotations import check_annotations
from vispropnet.datasets.check_report import Report, report_lines, reports_as_json


def check(tmp_path, content, **options):
    path = tmp_path / 'ann.json'
    path.write_text(json.dumps(content))
    report = Report('ann.json')
    check_annotations(path, report, progress=False, **options)
    json.dumps(reports_as_json([report]), allow_nan=False)
    return report


def test_good_data_have_no_findings(tmp_path):
    report = check(tmp_path, good_content(), for_training=True)
    assert report.findings == []
    summary = 'ann.json: 0 errors, 0 warnings; looked at 2 videos, 3 annotations, 6 masks'
    assert report.summary() == summary


def test_optional_parts_may_be_missing_or_plain(tmp_path):
    content = good_content()
    for key in ('iscrowd', 'bboxes', 'areas'):
        del content['annotations'][0][key]
    content['annotations'][1]['bboxes'] = content['annotations'][1]['areas'] = None
    del content['videos'][0]['length']
    runs = [0, 4] + [20, 4] * 3 + [H * W - 4 - 24 * 3]  # 4 rows in each of the 4 left columns
    content['annotations'][1]['segmentations'][0] = {'size': [H, W], 'counts': runs}
    content['annotations'][2]['bboxes'] = [[4, 6, 5.0, 2.0]]  # every side at most 1 pixel off
    content['annotations'][2]['areas'] = [10]
    content['annotations'][2]['iscrowd'] = 1
    assert check(tmp_path, content).findings == []


# Changes of the good file with all their findings, which stop no reader. Those of absent objects
# are in test_annotation_rules.py.
ODD = parsed("""
set annotations/0/bboxes/0 [4.0, 3.0, 5.0, 6.0]
  box: {0}: the box is [4.0, 3.0, 5.0, 6.0], but that of the mask is [2, 3, 5, 6]
set annotations/0/bboxes/0 [2.0, 3.0, 5.0, 7.5]
  box: {0}: the box is [2.0, 3.0, 5.0, 7.5]
set annotations/0/bboxes/2 [20, 10, 28, 14]
  box: {2}: the box is [20, 10, 28, 14], but
set annotations/0/bboxes/1 [1, 1, 2, 2]
  box: {1}: the box is [1, 1, 2, 2], but the mask is null
add annotations {"id": 10, "video_id": 7, "category_id": 11, "segmentations": [null, null, null]}
  empty track: annotations[3], annotation 10, video 7: no frame has a mask with pixels
add categories {"id": 9, "name": "x"}
  category without annotations: category 9: 'x' has no annotation
del annotations/2
  video without annotations: videos[1], video 3: it has no annotation
set annotations/0/areas/0 32
  area: {0}: the area is 32, but the mask has 30 pixels
set annotations/0/areas/2 null
  area: {2}: the area is null, but the mask has 32 pixels
set annotations/0/areas/1 30.0
  area: {1}: the area is 30.0, but the mask has 0 pixels
del annotations
set annotations null
  no annotations: the file has no annotations (official validation and test
set videos/0/file_names/1 "a/./8.jpg"
  repeated frame: videos[0], video 7, frame 1 (a/./8.jpg): the same file as frame 0
set videos/0/file_names ["a/9.jpg", "a/10.jpg", "a/8.jpg"]
  frame order: videos[0], video 7, frame 2 (a/8.jpg): sorts before the frame before
set annotations/2/id 0
  annotation id 0: annotations[2], annotation 0: the id is 0
""")


@pytest.mark.parametrize('change', ODD)
def test_oddities_are_warnings_and_nothing_else(tmp_path, change):
    findings = check(tmp_path, changed(change)).findings
    for one, text in zip(findings, ODD[change], strict=True):
        assert one.severity == 'warning'
        assert f'{one.kind}: {one.line("")}'.startswith(text)
    read_annotation_file(tmp_path / 'ann.json')


def test_training_needs_annotations(tmp_path):
    content = good_content()
    for one in content['annotations']:
        one['iscrowd'] = 1
    assert check(tmp_path, content).findings == []
    (one,) = check(tmp_path, content, for_training=True).findings
    assert (one.severity, one.kind) == ('error', 'nothing to train on')
    del content['annotations']
    (one,) = check(tmp_path, content, for_training=True).findings
    assert (one.severity, one.kind) == ('error', 'no annotations')
    assert one.text.endswith('training needs them')


def test_everything_is_listed_at_once_and_for_programs(tmp_path):
    content = changed(
        'del videos/0/width',
        'set videos/1/length 4',
        'set annotations/0/segmentations/2/counts "1"',
        'set annotations/0/bboxes/0/0 4',
        'set annotations/0/areas/1 30.0',
        'set annotations/1/iscrowd 2',
        'set videos/1/file_names/0 "/b/0.jpg"',
        'add annotations {"id": 1, "video_id": 8, "category_id": 11, "segmentations": [MASK]}',
        'add categories {"id": 9, "name": "x"}',
    )
    report = check(tmp_path, content)
    lines = list(report_lines([report]))
    summary = 'ann.json: 7 errors, 3 warnings; looked at 2 videos, 4 annotations, 7 masks'
    assert lines[-1] == summary
    headings = [line for line in lines if line and not line.startswith(('  ', 'ann.json'))]
    # Errors come before warnings, and what is found first before the rest.
    assert headings == [
        *('error: structure (1)', 'error: length (1)', 'error: file name (1)'),
        *('error: iscrowd (1)', 'error: duplicate id (1)', 'error: unknown video (1)'),
        *('error: damaged mask (1)', 'warning: box (1)'),
        *('warning: area (1)', 'warning: category without annotations (1)'),
    ]
    assert sum(line.startswith('  ann.json: ') for line in lines) == 10
    told = reports_as_json([report])
    assert (told['errors'], told['warnings']) == (7, 3)
    looked_at = {'videos': 2, 'annotations': 4, 'masks': 7}
    counts = {'errors': 7, 'warnings': 3, 'looked_at': looked_at, 'unreadable': None}
    assert told['files'] == [{'file': 'ann.json', **counts}]
    (damaged,) = (one for one in told['findings'] if one['kind'] == 'damaged mask')
    place = dict(list='annotations', entry=0, annotation_id=1, video_id=7, frame=2)
    place.update(file='ann.json', file_name='a/10.jpg')
    assert 'must be runs that cover 768 pixels, but cover 1' in damaged['text']
    assert damaged == dict(place, severity='error', kind='damaged mask', text=damaged['text'])


def test_a_fault_does_not_hide_behind_another_batch(tmp_path):
    """Faults in many tracks, more than one batch of masks, each with its own place."""
    content = good_content()
    content['annotations'] = [
        entry(number, 7, 11 if number % 2 else 40, [(number % 20, 3, 5, 6), None, (2, 2, 4, 4)])
        for number in range(1, 1501)
    ] + [entry(1501, 3, 11, [(0, 0, 2, 2)])]
    bad = [0, 511, 512, 513, 1023, 1024, 1499]
    for number in bad:
        content['annotations'][number]['segmentations'][2]['counts'] = '1'
        content['annotations'][number]['bboxes'][0][0] += 2
    report = check(tmp_path, content)
    places = [(one.kind, one.where['entry'], one.where['frame']) for one in report.findings]
    wanted = [(kind, n, f) for n in bad for kind, f in (('damaged mask', 2), ('box', 0))]
    assert sorted(places) == sorted(wanted)
    assert report.looked_at['masks'] == 3001


def test_names_that_a_terminal_would_act_on_or_that_are_long(tmp_path):
    content = good_content()
    content['videos'][1]['file_names'] = ['/b\x1b[2J\n\ud800.jpg']
    lines = list(report_lines([check(tmp_path, content)]))
    assert all(line.isprintable() for line in lines)
    assert any(r'(/b\x1b[2J\n\ud800.jpg)' in line for line in lines)
    content['videos'][1]['file_names'] = ['x' * 5000]
    (line,) = (one for one in report_lines([check(tmp_path, content)]) if 'xxx' in one)
    assert line.endswith('...): a part of the file name has 5000 bytes: expected at most 255')
    assert "frame 0 ('" + 'x' * 76 + '...)' in line
