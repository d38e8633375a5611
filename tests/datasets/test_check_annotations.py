import json

import pytest

from tests.datasets.annotation_contents import H, W, delete_in, entry, good_content, rle, set_in
from vispropnet.datasets.annotation_file import read_annotation_file
from vispropnet.datasets.check_annotations import check_annotations
from vispropnet.datasets.check_report import Report, report_lines, reports_as_json
from vispropnet.datasets.moving_shapes import write_moving_shapes


def check(tmp_path, content, **options):
    path = tmp_path / 'ann.json'
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    report = Report('ann.json')
    check_annotations(path, report, progress=False, **options)
    json.dumps(reports_as_json([report]), allow_nan=False)
    return report


def found(report):
    return [(one.severity, one.kind, one.line('ann.json')) for one in report.findings]


def test_good_data_have_no_findings(tmp_path):
    report = check(tmp_path, good_content(), for_training=True)
    assert found(report) == []
    assert report.summary() == (
        'ann.json: 0 errors, 0 warnings; looked at 2 videos, 3 annotations, 6 masks'
    )


def test_moving_shapes_have_no_findings(tmp_path):
    write_moving_shapes(
        tmp_path / 'set', train_videos=4, val_videos=2, frames=4, size=(96, 64), progress=False
    )
    for split in ('train', 'valid'):
        report = Report(split)
        check_annotations(tmp_path / 'set' / split / 'instances.json', report, progress=False)
        kinds = {finding.kind for finding in report.findings}
        assert kinds <= {'category without annotations'}  # few videos do not show every category
        assert report.looked_at['masks'] > 10


def test_optional_parts_may_be_missing_or_plain(tmp_path):
    content = good_content()
    for key in ('iscrowd', 'bboxes', 'areas'):
        del content['annotations'][0][key]
    content['annotations'][1]['bboxes'] = content['annotations'][1]['areas'] = None
    del content['videos'][0]['length']
    runs = [0, 4] + [20, 4] * 3 + [H * W - 4 - 24 * 3]  # 4 rows in each of the 4 left columns
    content['annotations'][1]['segmentations'][0] = {'size': [H, W], 'counts': runs}
    content['annotations'][2]['bboxes'] = [[4.2, 5.9, 4.5, 2.0]]  # every side at most 1 pixel off
    content['annotations'][2]['areas'] = [10]
    content['annotations'][2]['iscrowd'] = 1
    assert found(check(tmp_path, content)) == []


MASKS = ('annotations', 0, 'segmentations')
FIRST = 'annotations[0], annotation 1, video 7'
CONTRADICTIONS = {
    'box moved': (
        set_in('annotations', 0, 'bboxes', 0, [4.0, 3.0, 5.0, 6.0]),
        [('box', f'{FIRST}, frame 0 (a/8.jpg): the box is [4.0, 3.0, 5.0, 6.0], but')],
    ),
    'box ends too far': (
        set_in('annotations', 0, 'bboxes', 0, [2.0, 3.0, 5.0, 7.5]),
        [('box', f'{FIRST}, frame 0 (a/8.jpg): the box is [2.0, 3.0, 5.0, 7.5]')],
    ),
    'box of corners': (
        set_in('annotations', 0, 'bboxes', 2, [20, 10, 28, 14]),
        [('box', f'{FIRST}, frame 2 (a/10.jpg): the box is [20, 10, 28, 14], but')],
    ),
    'box without mask': (
        set_in('annotations', 0, 'bboxes', 1, [1, 1, 2, 2]),
        [('box', f'{FIRST}, frame 1 (a/9.jpg): the box is [1, 1, 2, 2], but the mask is null')],
    ),
    'nothing but null': (
        lambda content: content['annotations'].append(entry(10, 7, 11, [None] * 3)),
        [
            (
                'empty track',
                'annotations[3], annotation 10, video 7: no frame has a mask with pixels',
            )
        ],
    ),
}
ODD = {
    'mask without box': (
        set_in('annotations', 0, 'bboxes', 0, None),
        [('box', f'{FIRST}, frame 0 (a/8.jpg): there is a mask, but no box: that of the mask')],
    ),
    'masks as empty lists': (
        set_in(*MASKS, 1, []),
        [('absent object', f'{FIRST}, frame 1 (a/9.jpg): 1 masks are []: expected null')],
    ),
    'boxes of zeros': (
        set_in('annotations', 0, 'bboxes', 1, [0, 0, 0, 0]),
        [('absent object', f'{FIRST}, frame 1 (a/9.jpg): 1 boxes are [] or zeros')],
    ),
    'category without annotations': (
        lambda content: content['categories'].append({'id': 9, 'name': 'x'}),
        [('category without annotations', "category 9: 'x' has no annotation")],
    ),
    'video without annotations': (
        lambda content: content['annotations'].pop(),
        [('video without annotations', 'videos[1], video 3: it has no annotation')],
    ),
    'area': (
        set_in('annotations', 0, 'areas', 0, 32),
        [('area', f'{FIRST}, frame 0 (a/8.jpg): the area is 32, but the mask has 30 pixels')],
    ),
    'no area': (
        set_in('annotations', 0, 'areas', 2, None),
        [('area', f'{FIRST}, frame 2 (a/10.jpg): the area is null, but the mask has 32 pixels')],
    ),
    'area without mask': (
        set_in('annotations', 0, 'areas', 1, 30.0),
        [('area', f'{FIRST}, frame 1 (a/9.jpg): the area is 30.0, but the mask has 0 pixels')],
    ),
    'empty mask': (
        set_in(*MASKS, 1, rle(0, 0, 0, 0)),
        [('empty mask', f'{FIRST}, frame 1 (a/9.jpg): the mask has no pixels: expected null')],
    ),
    'no annotations': (
        delete_in('annotations'),
        [('no annotations', 'the file has no annotations (official validation and test')],
    ),
    'annotations are null': (
        set_in('annotations', None),
        [('no annotations', 'the file has no annotations (official validation and test')],
    ),
    'repeated frame': (
        set_in('videos', 0, 'file_names', 1, 'a/./8.jpg'),
        [('repeated frame', 'videos[0], video 7, frame 1 (a/./8.jpg): the same file as frame 0')],
    ),
    'frame order': (
        set_in('videos', 0, 'file_names', ['a/9.jpg', 'a/10.jpg', 'a/8.jpg']),
        [('frame order', 'videos[0], video 7, frame 2 (a/8.jpg): sorts before the frame before')],
    ),
    'annotation id 0': (
        set_in('annotations', 2, 'id', 0),
        [('annotation id 0', 'annotations[2], annotation 0: the id is 0')],
    ),
}


@pytest.mark.parametrize('name', CONTRADICTIONS)
def test_a_contradiction_is_an_error_and_nothing_else(tmp_path, name):
    assert_found(tmp_path, *CONTRADICTIONS[name], severity='error')
    read_annotation_file(tmp_path / 'ann.json')


@pytest.mark.parametrize('name', ODD)
def test_an_oddity_is_a_warning_and_nothing_else(tmp_path, name):
    assert_found(tmp_path, *ODD[name], severity='warning')
    read_annotation_file(tmp_path / 'ann.json')


def assert_found(tmp_path, damage, wanted, severity):
    content = good_content()
    damage(content)
    report = check(tmp_path, content)
    findings = found(report)
    assert [kind for _, kind, _ in findings] == [kind for kind, _ in wanted]
    for (has_severity, _, line), (_, text) in zip(findings, wanted, strict=True):
        assert has_severity == severity
        assert line.startswith(f'ann.json: {text}')


def test_training_needs_annotations(tmp_path):
    content = good_content()
    for one in content['annotations']:
        one['iscrowd'] = 1
    assert found(check(tmp_path, content)) == []
    (one,) = found(check(tmp_path, content, for_training=True))
    assert one[:2] == ('error', 'nothing to train on')
    del content['annotations']
    (one,) = found(check(tmp_path, content, for_training=True))
    assert one[:2] == ('error', 'no annotations')
    assert one[2].endswith('training needs them')


def test_everything_is_listed_at_once(tmp_path):
    content = good_content()
    del content['videos'][0]['width']
    content['videos'][1]['length'] = 4
    content['annotations'].append(entry(1, 8, 11, [(0, 0, 2, 2)]))
    set_in(*MASKS, 2, 'counts', '1')(content)
    set_in('annotations', 1, 'iscrowd', 2)(content)
    set_in('videos', 1, 'file_names', 0, '/b/0.jpg')(content)
    for name in ('box moved', 'box without mask', 'nothing but null'):
        CONTRADICTIONS[name][0](content)
    for name in ('area without mask', 'category without annotations', 'area'):
        ODD[name][0](content)
    report = check(tmp_path, content)
    lines = list(report_lines([report]))
    assert lines[-1].startswith('ann.json: 10 errors, 3 warnings; looked at 2 videos, 5 annot')
    headings = [line for line in lines if line and not line.startswith(('  ', 'ann.json'))]
    # Errors come before warnings, and what is found first before the rest.
    assert headings == [
        *('error: structure (1)', 'error: length (1)', 'error: file name (1)'),
        *('error: iscrowd (1)', 'error: duplicate id (1)', 'error: unknown video (1)'),
        *('error: damaged mask (1)', 'error: box (2)', 'error: empty track (1)'),
        *('warning: area (2)', 'warning: category without annotations (1)'),
    ]
    assert sum(line.startswith('  ann.json: ') for line in lines) == 13


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


def test_findings_for_programs(tmp_path):
    content = good_content()
    set_in(*MASKS, 2, 'counts', '1')(content)
    content['categories'].append({'id': 9, 'name': 'x'})
    told = reports_as_json([check(tmp_path, content)])
    assert (told['errors'], told['warnings']) == (1, 1)
    assert told['files'][0]['looked_at'] == {'videos': 2, 'annotations': 3, 'masks': 6}
    error, warning = told['findings']
    text = error.pop('text')
    assert 'must be runs that cover 768 pixels, but cover 1' in text
    assert error == {
        'severity': 'error',
        'kind': 'damaged mask',
        'file': 'ann.json',
        'list': 'annotations',
        'entry': 0,
        'annotation_id': 1,
        'video_id': 7,
        'frame': 2,
        'file_name': 'a/10.jpg',
    }
    assert (warning['severity'], warning['category_id']) == ('warning', 9)


def test_names_that_a_terminal_would_act_on(tmp_path):
    content = good_content()
    content['videos'][1]['file_names'] = ['/b\x1b[2J\n\ud800.jpg']
    report = check(tmp_path, content)
    lines = list(report_lines([report]))
    assert all(line.isprintable() for line in lines)
    assert any(r'(/b\x1b[2J\n\ud800.jpg)' in line for line in lines)


def test_a_long_file_name_is_cut_in_the_message(tmp_path):
    content = good_content()
    content['videos'][1]['file_names'] = ['x' * 5000]
    (line,) = (one for one in report_lines([check(tmp_path, content)]) if 'xxx' in one)
    assert line.endswith('...): a part of the file name has 5000 bytes: expected at most 255')
    assert "frame 0 ('" + 'x' * 76 + '...)' in line
