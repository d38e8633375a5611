import json

import numpy as np
import pytest
from pycocotools import mask as mask_utils

from vispropnet.datasets.check_annotations import check_annotations
from vispropnet.datasets.check_videos import check_contents, compare_categories
from vispropnet.datasets.findings import Report, reports_as_json, told_reports
from vispropnet.datasets.moving_shapes import write_moving_shapes
from vispropnet.datasets.values import leaves_folder
from vispropnet.errors import UserError

H, W = 24, 32


def rle(left, top, width, height):
    mask = np.zeros((H, W), np.uint8, order='F')
    mask[top : top + height, left : left + width] = 1
    counts = mask_utils.encode(mask)['counts'].decode()
    return {'size': [H, W], 'counts': counts}


def entry(identity, video, category, boxes):
    return {
        'id': identity,
        'video_id': video,
        'category_id': category,
        'iscrowd': 0,
        'segmentations': [box and rle(*box) for box in boxes],
        'bboxes': [box and list(map(float, box)) for box in boxes],
        'areas': [box and box[2] * box[3] for box in boxes],
    }


def good_content():
    """Video 7 of three frames with two objects, video 3 of one frame with one."""
    return {
        'videos': [
            {
                'id': 7,
                'width': W,
                'height': H,
                'length': 3,
                'file_names': [f'a/{frame}.jpg' for frame in (8, 9, 10)],
            },
            {'id': 3, 'width': W, 'height': H, 'length': 1, 'file_names': ['b/0.jpg']},
        ],
        'categories': [{'id': 40, 'name': 'disc'}, {'id': 11, 'name': 'star'}],
        'annotations': [
            entry(1, 7, 11, [(2, 3, 5, 6), None, (20, 10, 8, 4)]),
            entry(5, 7, 40, [(0, 0, 4, 4), (1, 0, 4, 4), (2, 0, 32 - 2, 24)]),
            entry(6, 3, 40, [(5, 5, 3, 3)]),
        ],
    }


def check(tmp_path, content, **options):
    path = tmp_path / 'ann.json'
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    report = Report('ann.json')
    check_annotations(path, report, progress=False, **options)
    json.dumps(reports_as_json([report]), allow_nan=False)
    return report


def found(report):
    return [(one.severity, one.kind, one.told('ann.json')) for one in report.findings]


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


def set_in(*path):
    """Sets what lies at a path through the content: keys and numbers, then the value."""
    *steps, key, value = path

    def damage(content):
        for step in steps:
            content = content[step]
        content[key] = value

    return damage


def delete_in(*path):
    *steps, key = path

    def damage(content):
        for step in steps:
            content = content[step]
        del content[key]

    return damage


MASKS = ('annotations', 0, 'segmentations')
FIRST = 'annotations[0], annotation 1, video 7'
PLANTED = {
    # Structure.
    'video is no object': (
        set_in('videos', 1, 'b'),
        [
            ('structure', "videos[1]: must be an object, found 'b'"),
            ('unknown video', 'annotations[2], annotation 6, video 3: video_id 3 is not among'),
        ],
    ),
    'no width': (
        delete_in('videos', 0, 'width'),
        [('structure', "videos[0], video 7: key 'width' is missing")],
    ),
    'width is text': (
        set_in('videos', 0, 'width', '32'),
        [('structure', "videos[0], video 7: 'width' must be an integer, found '32'")],
    ),
    'height is 0': (
        set_in('videos', 0, 'height', 0),
        [('structure', "videos[0], video 7: 'height' must be from 1 to 65535, found 0")],
    ),
    'height is huge': (
        set_in('videos', 0, 'height', 10**30),
        [('structure', "videos[0], video 7: 'height' must be from 1 to 65535")],
    ),
    'no file names': (
        delete_in('videos', 0, 'file_names'),
        [('structure', "videos[0], video 7: 'file_names' must be a list of at least one frame")],
    ),
    'file name is a number': (
        set_in('videos', 0, 'file_names', 1, 9),
        [('structure', 'videos[0], video 7, frame 1: a file name must be a string that is not')],
    ),
    'file name is empty': (
        set_in('videos', 0, 'file_names', 1, ''),
        [('structure', 'videos[0], video 7, frame 1: a file name must be a string that is not')],
    ),
    'category is null': (
        set_in('categories', 1, None),
        [
            ('structure', 'categories[1]: must be an object, found null'),
            ('unknown category', f'{FIRST}: category_id 11 is not among the categories'),
        ],
    ),
    'category without a name': (
        delete_in('categories', 0, 'name'),
        [('structure', "categories[0]: 'name' must be a string, but it is missing")],
    ),
    'annotation is a list': (
        lambda content: content['annotations'].append([]),
        [('structure', 'annotations[3]: must be an object, found []')],
    ),
    'annotation without a video': (
        lambda content: content['annotations'].append(
            {'id': 9, 'category_id': 11, 'segmentations': [rle(0, 0, 2, 2)]}
        ),
        [('structure', "annotations[3], annotation 9: key 'video_id' is missing")],
    ),
    'annotation without masks': (
        delete_in(*MASKS),
        [('structure', f"{FIRST}: key 'segmentations' is missing, expected a list")],
    ),
    'masks are null': (
        set_in(*MASKS, None),
        [('structure', f"{FIRST}: 'segmentations' must be a list, found null")],
    ),
    'boxes are an object': (
        set_in('annotations', 0, 'bboxes', {}),
        [('structure', f"{FIRST}: 'bboxes' must be a list, found {{}}")],
    ),
    'id is true': (
        set_in('annotations', 0, 'id', True),
        [('structure', "annotations[0]: 'id' must be an integer, found true")],
    ),
    # References and lengths.
    'video id twice': (
        lambda content: content['videos'].append({**content['videos'][1], 'id': 7}),
        [('duplicate id', 'videos[2], video 7: this id is that of videos[0] already')],
    ),
    'category id twice': (
        lambda content: content['categories'].append({'id': 11, 'name': 'square'}),
        [('duplicate id', "categories[2], category 11: this id is that of 'star' already")],
    ),
    'annotation id twice': (
        set_in('annotations', 2, 'id', 1),
        [
            (
                'duplicate id',
                'annotations[2], annotation 1, video 3: this id is that of annotations[0]',
            )
        ],
    ),
    'unknown video': (
        lambda content: content['annotations'].append(entry(9, 8, 11, [(0, 0, 2, 2)])),
        [('unknown video', 'annotations[3], annotation 9, video 8: video_id 8 is not among')],
    ),
    'unknown category': (
        lambda content: content['annotations'].append(entry(9, 3, 12, [(0, 0, 2, 2)])),
        [
            (
                'unknown category',
                'annotations[3], annotation 9, video 3: category_id 12 is not among',
            )
        ],
    ),
    'length': (
        set_in('videos', 0, 'length', 4),
        [('length', "videos[0], video 7: 'length' is 4, but 'file_names' has 3 entries")],
    ),
    'too few masks': (
        lambda content: content['annotations'][0]['segmentations'].pop(),
        [('number of entries', f"{FIRST}: 'segmentations' has 2 entries, but the video")],
    ),
    'too many boxes': (
        lambda content: content['annotations'][0]['bboxes'].append(None),
        [('number of entries', f"{FIRST}: 'bboxes' has 4 entries, but the video has 3 frames")],
    ),
    'no areas': (
        set_in('annotations', 0, 'areas', []),
        [('number of entries', f"{FIRST}: 'areas' has 0 entries, but the video has 3 frames")],
    ),
    # Masks.
    'mask of another size': (
        set_in(*MASKS, 0, 'size', [W, H]),
        [
            (
                'mask of another size than its video',
                f'{FIRST}, frame 0 (a/8.jpg): the mask is 24x32 pixels',
            )
        ],
    ),
    'damaged counts': (
        set_in(*MASKS, 2, 'counts', rle(2, 3, 5, 6)['counts'][:-1]),
        [('damaged mask', f"{FIRST}, frame 2 (a/10.jpg): 'counts' of the RLE are damaged")],
    ),
    'damaged plain counts': (
        set_in(*MASKS, 2, 'counts', [1, 2, 3]),
        [('damaged mask', f"{FIRST}, frame 2 (a/10.jpg): 'counts' of the RLE are damaged")],
    ),
    'polygon': (
        set_in(*MASKS, 2, [[0, 0, 2, 0, 2, 2]]),
        [('damaged mask', f'{FIRST}, frame 2 (a/10.jpg): a mask must be null or an RLE')],
    ),
    'mask beyond all bounds': (
        lambda content: content['annotations'].append(
            {
                'id': 9,
                'video_id': 8,
                'category_id': 11,
                'segmentations': [{'size': [10**10, 10**10], 'counts': '0'}],
            }
        ),
        [
            ('unknown video', 'annotations[3], annotation 9, video 8'),
            ('damaged mask', "annotations[3], annotation 9, video 8, frame 0: 'size' of"),
        ],
    ),
    # Boxes, tracks, crowds.
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
    'mask without box': (
        set_in('annotations', 0, 'bboxes', 0, None),
        [('box', f'{FIRST}, frame 0 (a/8.jpg): there is a mask, but no box: expected')],
    ),
    'box of three': (
        set_in('annotations', 0, 'bboxes', 0, [1, 2, 3]),
        [('structure', f'{FIRST}, frame 0 (a/8.jpg): a box must be null or [x, y, width,')],
    ),
    'box of what is no number': (
        set_in('annotations', 0, 'bboxes', 0, [1, 2, 3, float('nan')]),
        [('structure', f'{FIRST}, frame 0 (a/8.jpg): a box must be null or [x, y, width,')],
    ),
    'area is text': (
        set_in('annotations', 0, 'areas', 0, 'large'),
        [('structure', f'{FIRST}, frame 0 (a/8.jpg): an area must be null or a number')],
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
    'crowd of 2': (
        set_in('annotations', 0, 'iscrowd', 2),
        [('iscrowd', f"{FIRST}: 'iscrowd' must be 0 or 1, found 2")],
    ),
    'crowd of null': (
        set_in('annotations', 0, 'iscrowd', None),
        [('iscrowd', f"{FIRST}: 'iscrowd' must be 0 or 1, found null")],
    ),
    # File names.
    'absolute file name': (
        set_in('videos', 0, 'file_names', 0, '/a/8.jpg'),
        [('file name', 'videos[0], video 7, frame 0 (/a/8.jpg): the file name leads out')],
    ),
    'file name above': (
        set_in('videos', 1, 'file_names', 0, 'b/../../c.jpg'),
        [('file name', 'videos[1], video 3, frame 0 (b/../../c.jpg): the file name leads out')],
    ),
}
ODD = {
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


@pytest.mark.parametrize('name', PLANTED)
def test_a_planted_error_is_found_and_nothing_else(tmp_path, name):
    assert_found(tmp_path, *PLANTED[name], severity='error')


@pytest.mark.parametrize('name', ODD)
def test_a_planted_oddity_is_a_warning_and_nothing_else(tmp_path, name):
    assert_found(tmp_path, *ODD[name], severity='warning')


def assert_found(tmp_path, damage, wanted, severity):
    content = good_content()
    damage(content)
    report = check(tmp_path, content)
    findings = found(report)
    assert [kind for _, kind, _ in findings] == [kind for kind, _ in wanted]
    for (has_severity, _, line), (_, text) in zip(findings, wanted, strict=True):
        assert has_severity == severity
        assert line.startswith(f'ann.json: {text}')


@pytest.mark.parametrize(
    ('content', 'wanted'),
    [
        (
            '[1]',
            [
                'ann.json: the file must hold an object with videos, categories and annotations, '
                'found [1]'
            ],
        ),
        (
            '{}',
            [
                "ann.json: key 'videos' must be a list, but it is missing",
                "ann.json: key 'categories' must be a list, but it is missing",
            ],
        ),
        (
            '{"videos": [], "categories": {}, "annotations": 5}',
            [
                'ann.json: there are no videos: expected at least one',
                "ann.json: key 'categories' must be a list, found {}",
                "ann.json: key 'annotations' must be a list, found 5",
            ],
        ),
    ],
)
def test_files_that_hold_something_else(tmp_path, content, wanted):
    lines = [line for severity, _, line in found(check(tmp_path, content)) if severity == 'error']
    assert lines == wanted


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match=r'annotation file not found: .*ann\.json\. Ask Ann\.'):
        check_annotations(tmp_path / 'ann.json', Report('x'), hint='Ask Ann.')
    with pytest.raises(UserError, match='is not valid JSON'):
        check(tmp_path, '{"videos": [')


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
    together = [
        'no width', 'unknown video', 'annotation id twice', 'damaged counts', 'box moved',
        'box without mask', 'crowd of 2', 'absolute file name', 'length', 'nothing but null',
    ]  # fmt: skip
    odd = ['area without mask', 'category without annotations', 'area']
    content = good_content()
    wanted = []
    for planted, names in ((PLANTED, together), (ODD, odd)):
        for name in names:
            planted[name][0](content)
            wanted += [kind for kind, _ in planted[name][1]]
    report = check(tmp_path, content)
    assert sorted(kind for _, kind, _ in found(report)) == sorted(wanted)
    lines = list(told_reports([report]))
    assert lines[-1].startswith('ann.json: 10 errors, 3 warnings; looked at 2 videos, 5 annot')
    headings = [line for line in lines if line and not line.startswith(('  ', 'ann.json'))]
    assert headings[0] == 'error: structure (1)'
    assert 'error: box (2)' in headings
    # Errors come before warnings.
    severities = [line.split(':')[0] for line in headings]
    assert severities == sorted(severities)
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
    lines = list(told_reports([report]))
    assert all(line.isprintable() for line in lines)
    assert any(r'(/b\x1b[2J\n\ud800.jpg)' in line for line in lines)


def test_a_long_file_name_is_cut_in_the_message(tmp_path):
    content = good_content()
    content['videos'][1]['file_names'] = ['x' * 5000]
    (line,) = (one for one in told_reports([check(tmp_path, content)]) if 'xxx' in one)
    assert line.endswith('...): a part of the file name has 5000 bytes: expected at most 255')
    assert "frame 0 ('" + 'x' * 76 + '...)' in line


def test_a_category_name_that_is_no_text(tmp_path):
    content = good_content()
    content['categories'][0]['name'] = 'a\ud800'
    lines = list(told_reports([check(tmp_path, content)]))
    wanted = "'name' must be text that UTF-8 can hold (no halves of characters), found 'a\\ud800'"
    assert any(wanted in line for line in lines)


def test_categories_of_two_files(tmp_path):
    def differences(change):
        contents = []
        for number in range(2):
            content = good_content()
            if number:
                change(content['categories'])
            (tmp_path / 'ann.json').write_text(json.dumps(content))
            contents.append(check_contents(tmp_path / 'ann.json', Report('x')))
        report = Report('ann.json')
        compare_categories(report, contents[1], 'train.json', contents[0])
        return found(report)

    def renumber(categories):
        categories[0]['id'] = 1

    kind = 'other categories than for training'
    assert differences(lambda categories: None) == []
    assert differences(renumber) == []  # labels follow the order, not the ids
    assert differences(lambda categories: categories.reverse()) == [
        ('error', kind, "ann.json: categories[0]: 'star' stands where train.json has 'disc'")
    ]
    assert differences(lambda categories: categories.pop()) == [
        ('error', kind, 'ann.json: 1 categories, but train.json has 2')
    ]
    assert differences(lambda categories: categories[1].update(name='sun')) == [
        ('warning', kind, "ann.json: categories[1]: 'sun' stands where train.json has 'star'")
    ]


@pytest.mark.parametrize(
    ('name', 'leaves'),
    [
        ('a/0.jpg', False),
        ('a/../b/0.jpg', False),
        ('./0.jpg', False),
        ('..a/0.jpg', False),
        ('...', False),
        ('..', True),
        ('../0.jpg', True),
        ('a/../../0.jpg', True),
        ('/a/0.jpg', True),
        ('//a/0.jpg', True),
    ],
)
def test_names_that_leave_the_folder(name, leaves):
    assert leaves_folder(name) is leaves
