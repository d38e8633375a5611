"""What is valid in an annotation file: the same to the check, training, splitting and scoring."""

import json
import math

import pytest

from tests.datasets.annotation_contents import H, W, delete_in, entry, good_content, rle, set_in
from vispropnet.datasets.annotation_file import read_annotation_file
from vispropnet.datasets.annotation_rules import AnnotationFile
from vispropnet.datasets.annotation_values import leaves_folder
from vispropnet.datasets.check_annotations import check_annotations
from vispropnet.datasets.check_report import Report
from vispropnet.datasets.splits import count_by_category, read_divisible
from vispropnet.datasets.ytvis import YouTubeVIS
from vispropnet.errors import UserError
from vispropnet.evaluation.ground_truth import read_ground_truth

MASKS = ('annotations', 0, 'segmentations')
BOXES = ('annotations', 0, 'bboxes')
NAMES = ('videos', 0, 'file_names')
FIRST = 'annotations[0], annotation 1, video 7'


def append(key, value):
    return lambda content: content[key].append(value)


def copy_of_first(key):
    return lambda content: content[key].append(dict(content[key][0]))


# Each with all its findings: kind, place and text.
ERRORS = {
    # Structure.
    'no videos': (
        delete_in('videos'),
        "structure: key 'videos' must be a list, but it is missing",
        *(f'unknown video: annotations[{n}]' for n in range(3)),
    ),
    'videos are text': (
        set_in('videos', 'b'),
        "structure: key 'videos' must be a list, found 'b'",
        *(f'unknown video: annotations[{n}]' for n in range(3)),
    ),
    'annotations are an object': (
        set_in('annotations', {}),
        "structure: key 'annotations' must be a list, found {}",
    ),
    'video is no object': (
        set_in('videos', 1, 'b'),
        "structure: videos[1]: must be an object, found 'b'",
        'unknown video: annotations[2], annotation 6, video 3: video_id 3 is not among the videos',
    ),
    'video id is a number': (
        set_in('videos', 1, 'id', 3.0),
        "structure: videos[1]: 'id' must be an integer, found 3.0",
        'unknown video: annotations[2], annotation 6, video 3',
    ),
    'no width': (
        delete_in('videos', 0, 'width'),
        "structure: videos[0], video 7: key 'width' is missing, expected an integer",
    ),
    'width is text': (
        set_in('videos', 0, 'width', '32'),
        "structure: videos[0], video 7: 'width' must be an integer, found '32'",
    ),
    'height is 0': (
        set_in('videos', 0, 'height', 0),
        "structure: videos[0], video 7: 'height' must be from 1 to 65535, found 0",
    ),
    'height is huge': (
        set_in('videos', 0, 'height', 10**30),
        "structure: videos[0], video 7: 'height' must be from 1 to 65535",
    ),
    'category is null': (
        set_in('categories', 1, None),
        'structure: categories[1]: must be an object, found null',
        f'unknown category: {FIRST}: category_id 11 is not among the categories',
    ),
    'category id is a list': (
        set_in('categories', 1, 'id', [1]),
        "structure: categories[1]: 'id' must be an integer, found [1]",
        f'unknown category: {FIRST}',
    ),
    'category without a name': (
        delete_in('categories', 0, 'name'),
        "structure: categories[0]: 'name' must be a string, but it is missing",
    ),
    'category name is null': (
        set_in('categories', 0, 'name', None),
        "structure: categories[0]: 'name' must be a string, found null",
    ),
    'category name is no text': (
        set_in('categories', 0, 'name', 'a\ud800'),
        "structure: categories[0]: 'name' must be text that UTF-8 can hold (no halves of "
        "characters), found 'a\\ud800'",
    ),
    'annotation is a list': (
        append('annotations', []),
        'structure: annotations[3]: must be an object, found []',
    ),
    'annotation without a video': (
        append('annotations', {'id': 9, 'category_id': 11, 'segmentations': [rle(0, 0, 2, 2)]}),
        "structure: annotations[3], annotation 9: key 'video_id' is missing",
    ),
    'annotation without an id': (
        delete_in('annotations', 0, 'id'),
        "structure: annotations[0]: key 'id' is missing",
    ),
    **{
        f'annotation id is {value}': (
            set_in('annotations', 0, 'id', value),
            f"structure: annotations[0]: 'id' must be an integer{text}",
        )
        for value, text in (
            (True, ', found true'),
            (math.nan, ', found nan'),
            (10**30, ' of at most 64 bits, found 1000'),
        )
    },
    **{
        f'{key} is a list': (
            append('annotations', {**entry(9, 3, 40, [(0, 0, 2, 2)]), key: []}),
            f"structure: annotations[3], annotation 9{place}: '{key}' must be an integer, found []",
        )
        for key, place in (('video_id', ''), ('category_id', ', video 3'))
    },
    # References and lengths.
    'video id twice': (
        append('videos', {'id': 7, 'width': W, 'height': H, 'file_names': ['b/0.jpg']}),
        'duplicate id: videos[2], video 7: this id is that of videos[0] already',
    ),
    'category id twice': (
        append('categories', {'id': 11, 'name': 'square'}),
        "duplicate id: categories[2], category 11: this id is that of 'star' already",
    ),
    'annotation id twice': (
        set_in('annotations', 2, 'id', 1),
        'duplicate id: annotations[2], annotation 1, video 3: this id is that of annotations[0]',
    ),
    'unknown video': (
        append('annotations', entry(9, 8, 11, [(0, 0, 2, 2)])),
        'unknown video: annotations[3], annotation 9, video 8: video_id 8 is not among the videos',
    ),
    'unknown category': (
        append('annotations', entry(9, 3, 12, [(0, 0, 2, 2)])),
        'unknown category: annotations[3], annotation 9, video 3: category_id 12 is not among the',
    ),
    'length': (
        set_in('videos', 0, 'length', 4),
        "length: videos[0], video 7: 'length' is 4, but 'file_names' has 3 entries",
    ),
    'length is true': (
        set_in('videos', 1, 'length', True),
        "length: videos[1], video 3: 'length' is true, but 'file_names' has 1 entries",
    ),
    'length without names': (
        lambda content: content['videos'].append(
            {'id': 9, 'width': W, 'height': H, 'length': -1, 'file_names': []}
        ),
        "structure: videos[2], video 9: 'file_names' must be a list of at least one frame, found",
        "length: videos[2], video 9: 'length' must be a number of frames, found -1",
    ),
    # Entries per frame.
    'no list of masks': (
        delete_in(*MASKS),
        f"structure: {FIRST}: key 'segmentations' is missing, expected a list",
    ),
    'masks are null': (
        set_in(*MASKS, None),
        f"structure: {FIRST}: 'segmentations' must be a list, found null",
    ),
    'too few masks': (
        lambda content: content['annotations'][0]['segmentations'].pop(),
        f"number of entries: {FIRST}: 'segmentations' has 2 entries, but the video has 3 frames",
    ),
    'boxes are an object': (
        set_in(*BOXES, {}),
        f"structure: {FIRST}: 'bboxes' must be a list, found {{}}",
    ),
    'too many boxes': (
        lambda content: content['annotations'][0]['bboxes'].append(None),
        f"number of entries: {FIRST}: 'bboxes' has 4 entries, but the video has 3 frames",
    ),
    'no areas': (
        set_in('annotations', 0, 'areas', []),
        f"number of entries: {FIRST}: 'areas' has 0 entries, but the video has 3 frames",
    ),
    **{
        f'area is {value!r}': (
            set_in('annotations', 0, 'areas', 0, value),
            f'structure: {FIRST}, frame 0 (a/8.jpg): an area must be null or a number from 0 on',
        )
        for value in ('9', -1, True, [5], math.nan, math.inf, 10**30)
    },
    **{
        f'box is {value!r}'[:40]: (
            set_in(*BOXES, 0, value),
            f'structure: {FIRST}, frame 0 (a/8.jpg): a box must be null or [x, y, width, height]',
        )
        for value in ([1, 2, 3], [1, 2, 3, math.nan], ['1', 2, 3, 4], [True] * 4, 5, 10**30, {}, '')
    },
    # Masks.
    'mask of another size': (
        set_in(*MASKS, 0, 'size', [W, H]),
        f'mask of another size than its video: {FIRST}, frame 0 (a/8.jpg): the mask is 24x32 pix',
    ),
    **{
        f'counts are {str(counts)[:12]}': (
            set_in(*MASKS, 2, 'counts', counts),
            f"damaged mask: {FIRST}, frame 2 (a/10.jpg): 'counts' of the RLE are damaged",
        )
        for counts in (rle(2, 3, 5, 6)['counts'][:-1], '1', [1, 2, 3], [10**30], [math.nan])
    },
    **{
        f'mask is {mask!r}'[:40]: (
            set_in(*MASKS, 2, mask),
            f'damaged mask: {FIRST}, frame 2 (a/10.jpg): a mask must be null or an RLE',
        )
        for mask in ([[0, 0, 2, 0, 2, 2]], {}, '', 0, False)
    },
    'mask beyond all bounds': (
        append(
            'annotations',
            {
                'id': 9,
                'video_id': 8,
                'category_id': 11,
                'segmentations': [{'size': [10**10, 10**10], 'counts': '0'}],
            },
        ),
        'unknown video: annotations[3], annotation 9, video 8',
        "damaged mask: annotations[3], annotation 9, video 8, frame 0: 'size' of",
    ),
    # File names.
    'no file names': (
        delete_in(*NAMES),
        "structure: videos[0], video 7: 'file_names' must be a list of at least one frame, but it",
    ),
    'file names are null': (
        set_in(*NAMES, None),
        "structure: videos[0], video 7: 'file_names' must be a list of at least one frame, found",
    ),
    **{
        f'file name is {name!r}': (
            set_in(*NAMES, 1, name),
            'structure: videos[0], video 7, frame 1: a file name must be a string that is not empt',
        )
        for name in (9, '')
    },
    **{
        f'file name {name!r}': (
            set_in(*NAMES, 0, name),
            f'file name: videos[0], video 7, frame 0 ({name}): the file name leads out of the',
        )
        for name in ('/a/8.jpg', '../x.jpg', 'b/../../c.jpg')
    },
    **{
        f'file name {name!r}': (
            set_in(*NAMES, frame, name),
            f'file name: videos[0], video 7, frame {frame} (a{escaped}.jpg): the file name has',
        )
        for frame, name, escaped in ((0, 'a\0.jpg', r'\x00'), (2, 'a\ud800.jpg', r'\ud800'))
    },
    'long file name': (
        set_in(*NAMES, 2, 'a/' + 'é' * 128),
        f'file name: videos[0], video 7, frame 2 (a/{"é" * 128}): a part of the file name has 256 '
        'bytes: expected at most 255',
    ),
}
# What scoring can do without.
SPARE = {
    *('no width', 'no file names', 'category without a name', 'annotation without an id'),
    *('unknown video', 'unknown category'),
}


OBJECT = 'the file must hold an object with videos, categories and annotations'


def written(tmp_path, content):
    path = tmp_path / 'ann.json'
    path.write_text(json.dumps(content))
    return path


def found(path):
    report = Report('ann.json')
    check_annotations(path, report, progress=False)
    return report.findings


@pytest.mark.parametrize('name', ERRORS)
def test_an_error_is_found_and_nothing_else(tmp_path, name):
    damage, *wanted = ERRORS[name]
    content = good_content()
    damage(content)
    findings = [one for one in found(written(tmp_path, content)) if 'without' not in one.kind]
    assert [one.severity for one in findings] == ['error'] * len(wanted)
    for one, text in zip(findings, wanted, strict=True):
        assert f'{one.kind}: {one.line("")}'.startswith(text)


@pytest.mark.parametrize('name', ERRORS)
def test_every_reader_stops_at_the_first_error(tmp_path, name):
    damage, *wanted = ERRORS[name]
    content = good_content()
    damage(content)
    path = written(tmp_path, content)
    for reader in (read_annotation_file, read_divisible, read_ground_truth):
        texts = [text.partition(': ')[2] for text in wanted]
        if reader is read_ground_truth:
            if name in SPARE:
                reader(path)
                continue
            unknown = ('unknown video', 'unknown category')
            texts = [text.partition(': ')[2] for text in wanted if not text.startswith(unknown)]
        with pytest.raises(UserError) as caught:
            reader(path)
        message = str(caught.value)
        assert message.startswith(f'annotation file {path}: {texts[0]}')
        assert message.endswith('.') and not message.endswith('..')


@pytest.mark.parametrize(
    ('content', 'first', 'number'),
    [
        ([1], f'{OBJECT}, found a list, which is what a result file holds', 1),
        (None, f'{OBJECT}, found null', 1),
        ({'annotations': []}, "key 'videos' must be a list, but it is missing", 2),
        (
            {'videos': [], 'categories': {}, 'annotations': 5},
            'there are no videos: expected at least one',
            3,
        ),
    ],
)
def test_files_that_hold_something_else(tmp_path, content, first, number):
    path = written(tmp_path, content)
    errors = [one.line('ann.json') for one in found(path) if one.severity == 'error']
    assert len(errors) == number
    assert errors[0].startswith(f'ann.json: {first}')
    for reader in (read_annotation_file, read_divisible, read_ground_truth):
        with pytest.raises(UserError) as caught:
            reader(path)
        assert str(caught.value).startswith(f'annotation file {path}: {first}')


@pytest.mark.parametrize('reader', [read_annotation_file, read_divisible, read_ground_truth])
def test_files_that_cannot_be_read(tmp_path, reader):
    path = tmp_path / 'ann.json'
    with pytest.raises(UserError, match=r'annotation file not found: .*ann\.json'):
        reader(path)
    path.write_text('{"videos": [')
    with pytest.raises(UserError, match='is not valid JSON'):
        reader(path)
    with pytest.raises(UserError, match='cannot be read'):
        reader(tmp_path)


# --- crowds and absent objects --------------------------------------------------------------------


def load(path, tmp_path):
    return YouTubeVIS(str(path), data_prefix=dict(img=str(tmp_path)))


def refused_by_all(path, tmp_path, text):
    assert any(one.severity == 'error' and text in one.line('') for one in found(path))
    for reader in (lambda path: load(path, tmp_path), read_divisible, read_ground_truth):
        with pytest.raises(UserError) as caught:
            reader(path)
        assert text in str(caught.value)
    return True


@pytest.mark.parametrize(
    ('value', 'crowd'),
    [
        *((value, False) for value in ('missing', None, 0, 0.0, -0.0, False)),
        *((value, True) for value in (1, 1.0, True)),
        *((value, None) for value in ('0', '1', '', 'no', [], [0, 0], {}, 2, -1, 0.5, math.nan)),
    ],
)
def test_all_take_the_same_objects_for_crowds(tmp_path, value, crowd):
    content = good_content()
    set_in('annotations', 0, 'iscrowd', value)(content)
    if value == 'missing':
        del content['annotations'][0]['iscrowd']
    path = written(tmp_path, content)
    if crowd is None:
        assert refused_by_all(path, tmp_path, f"{FIRST}: 'iscrowd' must be 0 or 1, found ")
        return
    assert found(path) == []
    assert read_annotation_file(path)['annotations'][0]['iscrowd'] == int(crowd)
    instances = load(path, tmp_path).get_data_info(0)['instances']
    assert [one['ignore_flag'] for one in instances] == [int(crowd), 0]
    # Category 11 has this one object.
    assert count_by_category(read_divisible(path)) == [(2, 2), (0, 0) if crowd else (1, 1)]
    assert sorted(read_ground_truth(path).crowd.tolist()) == [False, False, crowd]


EMPTY, MASK, BOX, ZEROS = rle(0, 0, 0, 0), rle(1, 1, 2, 2), [1, 1, 2, 2], [0, 0, 0.0, 0]


@pytest.mark.parametrize(
    ('mask', 'box', 'shows', 'finding'),
    [
        (None, None, False, None),
        (None, [], False, 'absent object: 1 boxes are [] or zeros'),
        (None, ZEROS, False, 'absent object: 1 boxes are [] or zeros'),
        ([], None, False, 'absent object: 1 masks are []'),
        ([], [], False, 'absent object: 1 masks are []'),
        ([], ZEROS, False, 'absent object: 1 masks are []'),
        (EMPTY, None, False, 'empty mask: the mask has no pixels'),
        (EMPTY, [], False, 'absent object: 1 boxes are [] or zeros'),
        (EMPTY, ZEROS, False, 'absent object: 1 boxes are [] or zeros'),
        (MASK, BOX, True, None),
        (MASK, None, True, 'box: there is a mask, but no box: that of the mask is taken, [1, 1, 2'),
        # Not by the rules.
        (MASK, [], None, 'the box is [], but the object has a mask'),
        (MASK, ZEROS, None, 'the box is [0, 0, 0.0, 0], but the object has a mask'),
        ({}, None, None, 'a mask must be null or an RLE'),
        ('', None, None, 'a mask must be null or an RLE'),
        (0, None, None, 'a mask must be null or an RLE'),
        ([[1, 1, 3, 1, 3, 3]], None, None, 'a mask must be null or an RLE'),
        (None, {}, None, 'a box must be null or [x, y, width, height], found {}'),
        (None, '', None, "a box must be null or [x, y, width, height], found ''"),
        (None, False, None, 'a box must be null or [x, y, width, height], found false'),
        (None, [0, 0, 0], None, 'a box must be null or [x, y, width, height], found [0, 0, 0]'),
        (None, [False] * 4, None, 'a box must be null or [x, y, width, height], found [False'),
    ],
)
def test_all_take_the_same_objects_for_absent(tmp_path, mask, box, shows, finding):
    """Frame 1 of the first object."""
    content = good_content()
    set_in(*MASKS, 1, mask)(content)
    set_in(*BOXES, 1, box)(content)
    content['annotations'][0]['areas'] = None
    path = written(tmp_path, content)
    if shows is None:
        assert refused_by_all(path, tmp_path, finding)
        return
    findings = [f'{one.kind}: {one.text}' for one in found(path)]
    assert {one.severity for one in found(path)} <= {'warning'}
    assert findings == [] if finding is None else findings[0].startswith(finding)
    training = load(path, tmp_path).get_data_info(1)['instances']
    assert [one['bbox'] for one in training if one['instance_id'] == 1] == [[1, 1, 3, 3]] * shows
    truth = read_ground_truth(path).videos[1]
    assert truth.entry['id'] == 7
    assert truth.areas[0].tolist() == [30, 4 * shows, 32]
    # To the splitter it is an object either way, and stays as it was written.
    divisible = read_divisible(path)
    assert divisible == content
    assert count_by_category(divisible) == [(2, 2), (1, 1)]


def test_training_passes_over_damaged_masks_if_told(tmp_path):
    content = good_content()
    set_in(*MASKS, 2, 'counts', '1')(content)
    set_in(*MASKS, 0, 'size', [W, H])(content)
    faults = {}
    read = read_annotation_file(written(tmp_path, content), mask_faults=faults)
    assert read['annotations'][0]['segmentations'] == [None] * 3
    assert faults[7, 2].startswith("annotation 1: 'counts' of the RLE are damaged")
    assert faults[7, 0].startswith('annotation 1: the mask is 24x32 pixels')
    assert len(faults) == 2
    set_in(*MASKS, None)(content)
    with pytest.raises(UserError, match="'segmentations' must be a list"):
        read_annotation_file(written(tmp_path, content), mask_faults=faults)


# --- others ---------------------------------------------------------------------------------------


def test_categories_of_two_files():
    def differences(change):
        files = []
        for number in range(2):
            content = good_content()
            if number:
                change(content['categories'])
            reports = [Report('train.json'), Report('ann.json')]
            files.append(AnnotationFile(content, reports[number]))
        files[1].compare_categories('train.json', files[0])
        report = reports[1]
        kind = 'other categories than for training'
        assert all(one.kind == kind for one in report.findings)
        return [(one.severity, one.line('ann.json')) for one in report.findings]

    def renumber(categories):
        categories[0]['id'] = 1

    assert differences(lambda categories: None) == []
    assert differences(renumber) == []  # labels follow the order, not the ids
    assert differences(lambda categories: categories.reverse()) == [
        ('error', "ann.json: categories[0]: 'star' stands where train.json has 'disc'")
    ]
    assert differences(lambda categories: categories.pop()) == [
        ('error', 'ann.json: 1 categories, but train.json has 2')
    ]
    assert differences(lambda categories: categories[1].update(name='sun')) == [
        ('warning', "ann.json: categories[1]: 'sun' stands where train.json has 'star'")
    ]


@pytest.mark.parametrize('name', ['..', '../0.jpg', 'a/../../0.jpg', '/a/0.jpg', '//a/0.jpg'])
def test_names_that_leave_the_folder(name):
    assert leaves_folder(name)


@pytest.mark.parametrize('name', ['a/0.jpg', 'a/../b/0.jpg', './0.jpg', '..a/0.jpg', '...'])
def test_names_that_stay_in_the_folder(name):
    assert not leaves_folder(name)
