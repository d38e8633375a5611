"""What is valid in an annotation file: the same to the check, training, splitting and scoring."""

import json
import math

import pytest

from tests.datasets.annotation_contents import FIRST, changed, good_content, parsed, rle
from vispropnet.datasets.annotation_file import read_annotation_file
from vispropnet.datasets.annotation_values import name_fault
from vispropnet.datasets.check_annotations import check_annotations
from vispropnet.datasets.check_report import Report
from vispropnet.datasets.splits import count_by_category, read_divisible
from vispropnet.datasets.ytvis import YouTubeVIS
from vispropnet.errors import UserError
from vispropnet.evaluation.ground_truth import read_ground_truth

# The findings' kinds, places, and the beginning of the text.
ERRORS = r"""
del videos
set videos "b"
  structure: key 'videos' must be a list,
  unknown video: annotations[0]
  unknown video: annotations[1]
  unknown video: annotations[2]
set annotations {}
  structure: key 'annotations' must be a list, found {}
set videos/1 "b"
  structure: videos[1]: must be an object, found 'b'
  unknown video: annotations[2], annotation 6, video 3: video_id 3 is not among the videos
set videos/1/id 3.0
  structure: videos[1]: 'id' must be an integer, found 3.0
  unknown video: annotations[2], annotation 6, video 3
del videos/0/width
  structure: videos[0], video 7: key 'width' is missing, expected an integer
set videos/0/height 0
set videos/0/height 65536
  structure: videos[0], video 7: 'height' must be from 1 to 65535, found
set categories/1 null
  structure: categories[1]: must be an object, found null
  unknown category: annotations[0], annotation 1, video 7: category_id 11 is not among the categ
del categories/0/name
  structure: categories[0]: 'name' must be a string, but it is missing
set categories/0/name "a\ud800"
  structure: categories[0]: 'name' must be text that UTF-8 can hold (no halves of characters), f
add annotations []
  structure: annotations[3]: must be an object, found []
add annotations {"id": 9, "video_id": [], "category_id": 11, "segmentations": [MASK]}
  structure: annotations[3], annotation 9: 'video_id' must be an integer, found []
del annotations/0/id
  structure: annotations[0]: key 'id' is missing
set annotations/0/id true
  structure: annotations[0]: 'id' must be an integer, found true
set annotations/0/id 9223372036854775808
  structure: annotations[0]: 'id' must be an integer of at most 64 bits, found 9223372036854775808
add videos {"id": 7, "width": 32, "height": 24, "file_names": ["b/0.jpg"]}
  duplicate id: videos[2], video 7: this id is that of videos[0] already
add categories {"id": 11, "name": "square"}
  duplicate id: categories[2], category 11: this id is that of 'star' already
set annotations/2/id 1
  duplicate id: annotations[2], annotation 1, video 3: this id is that of annotations[0]
add annotations {"id": 9, "video_id": 8, "category_id": 11, "segmentations": [MASK]}
  unknown video: annotations[3], annotation 9, video 8: video_id 8 is not among the videos
add annotations {"id": 9, "video_id": 3, "category_id": 12, "segmentations": [MASK]}
  unknown category: annotations[3], annotation 9, video 3: category_id 12 is not among the
set videos/0/length 4
  length: videos[0], video 7: 'length' is 4, but 'file_names' has 3 entries
set videos/1/length true
  length: videos[1], video 3: 'length' is true, but 'file_names' has 1 entries
add videos {"id": 9, "width": 32, "height": 24, "file_names": [], "length": -1}
  structure: videos[2], video 9: 'file_names' must be a list of at least one frame, found []
  length: videos[2], video 9: 'length' must be a number of frames, found -1
del annotations/0/segmentations
  structure: {}: key 'segmentations' is missing, expected a list
set annotations/0/segmentations null
  structure: {}: 'segmentations' must be a list, found null
set annotations/0/segmentations [MASK, null]
  number of entries: {}: 'segmentations' has 2 entries, but the video has 3 frames
set annotations/0/bboxes [null, null, null, null]
  number of entries: {}: 'bboxes' has 4 entries, but the video has 3 frames
set annotations/0/areas []
  number of entries: {}: 'areas' has 0 entries, but the video has 3 frames
set annotations/0/areas/0 "9"
set annotations/0/areas/0 -1
set annotations/0/areas/0 NaN
set annotations/0/areas/0 1000000000000000
  structure: {0}: an area must be null or a number from 0 on
set annotations/0/bboxes/0 [1, 2, 3, NaN]
set annotations/0/bboxes/0 ["1", 2, 3, 4]
set annotations/0/bboxes/0 [true, true, true, true]
  structure: {0}: a box must be null or [x, y, width, height], found
set annotations/0/segmentations/0/size [32, 24]
  mask of another size than its video: {0}: the mask is 24x32 pixels
set annotations/0/segmentations/0/counts "1"
set annotations/0/segmentations/0/counts "b2l0"
set annotations/0/segmentations/0/counts [1000000000000000000000000000000]
set annotations/0/segmentations/0/counts [NaN]
  damaged mask: {0}: 'counts' of the RLE are damaged
set annotations/0/segmentations/0 false
  damaged mask: {0}: a mask must be null or an RLE
set annotations/0/segmentations/0/size [10000000000, 10000000000]
  mask of another size than its video: {0}: 'size' of an RLE must be [height, width], got [10000
del videos/0/file_names
  structure: videos[0], video 7: 'file_names' must be a list of at least one frame, but it is mi
set videos/0/file_names/1 9
set videos/0/file_names/1 ""
  structure: videos[0], video 7, frame 1: a file name must be a string that is not empty, found
set videos/0/file_names/0 "/a/8.jpg"
  file name: videos[0], video 7, frame 0 (/a/8.jpg): the file name leads out of the image folder
set videos/0/file_names/2 "a\ud800.jpg"
  file name: videos[0], video 7, frame 2 (a\ud800.jpg): the file name has characters that no fil
"""
# What scoring can do without.
SPARE = [
    'del videos/0/width',
    'del videos/0/file_names',
    'del categories/0/name',
    'del annotations/0/id',
    *(line for line in ERRORS.splitlines() if '"video_id": 8' in line or '": 12' in line),
]


CASES = parsed(ERRORS)


def written(tmp_path, content):
    path = tmp_path / 'ann.json'
    path.write_text(json.dumps(content))
    return path


def found(path):
    report = Report('ann.json')
    check_annotations(path, report, progress=False)
    return report.findings


OBJECT = 'the file must hold an object with videos, categories and annotations'
READERS = (read_annotation_file, read_divisible, read_ground_truth)


@pytest.mark.parametrize('change', CASES)
def test_an_error_is_found_and_nothing_else_and_stops_every_reader(tmp_path, change):
    path, texts = written(tmp_path, changed(change)), CASES[change]
    findings = [one for one in found(path) if 'without annotations' not in one.kind]
    assert [one.severity for one in findings] == ['error'] * len(texts)
    for one, text in zip(findings, texts, strict=True):
        assert f'{one.kind}: {one.line("")}'.startswith(text)
    for reader in READERS:
        if reader is read_ground_truth:
            if change in SPARE:
                reader(path)
                continue
            texts = [text for text in texts if not text.startswith('unknown')]
        with pytest.raises(UserError) as caught:
            reader(path)
        message = str(caught.value)
        assert message.startswith(f'annotation file {path}: {texts[0].partition(": ")[2]}')
        assert message.endswith('.') and not message.endswith('..')


def test_the_largest_values(tmp_path):
    content = good_content()
    video = {'id': 2**63 - 1, 'width': 65535, 'height': 1, 'file_names': ['é' * 127 + 'x']}
    content['videos'] += [video, {**video, 'id': -(2**63)}]
    content['annotations'][0]['areas'][0] = 999999999999999
    read_annotation_file(written(tmp_path, content))
    video['file_names'] = ['a/' + 'é' * 128]
    with pytest.raises(UserError, match='has 256 bytes: expected at most 255'):
        read_annotation_file(written(tmp_path, content))


@pytest.mark.parametrize(
    ('content', 'first', 'number'),
    [
        ([1], f'{OBJECT}, found [1]', 1),
        (None, f'{OBJECT}, found null', 1),
        ({'annotations': []}, "key 'videos' must be a list, but it is missing", 2),
        ({'videos': [], 'categories': {}, 'annotations': 5}, 'there are no videos: expected at', 3),
    ],
)
def test_files_that_hold_something_else(tmp_path, content, first, number):
    path = written(tmp_path, content)
    errors = [one.line('ann.json') for one in found(path) if one.severity == 'error']
    assert len(errors) == number
    assert errors[0].startswith(f'ann.json: {first}')
    for reader in READERS:
        with pytest.raises(UserError) as caught:
            reader(path)
        assert str(caught.value).startswith(f'annotation file {path}: {first}')


@pytest.mark.parametrize('reader', READERS)
def test_files_that_cannot_be_read(tmp_path, reader):
    path = tmp_path / 'ann.json'
    with pytest.raises(UserError, match=r'annotation file not found: .*ann\.json'):
        reader(path)
    path.write_text('{"videos": [')
    with pytest.raises(UserError, match='is not valid JSON'):
        reader(path)
    with pytest.raises(UserError, match='cannot be read'):
        reader(tmp_path)


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
    content['annotations'][0]['iscrowd'] = value
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
        (EMPTY, None, False, 'empty mask: the mask has no pixels'),
        (EMPTY, [], False, 'absent object: 1 boxes are [] or zeros'),
        (MASK, BOX, True, None),
        (MASK, None, True, 'box: there is a mask, but no box: that of the mask is taken, [1, 1, 2'),
        # Not by the rules.
        (MASK, [], None, 'the box is [], but the object has a mask'),
        (MASK, ZEROS, None, 'the box is [0, 0, 0.0, 0], but the object has a mask'),
        ({}, None, None, 'a mask must be null or an RLE'),
        (0, None, None, 'a mask must be null or an RLE'),
        ([[1, 1, 3, 1]], None, None, 'a polygon must be [x, y, x, y, ...] of at least 3 points'),
        (None, {}, None, 'a box must be null or [x, y, width, height], found {}'),
        (None, False, None, 'a box must be null or [x, y, width, height], found false'),
        (None, [False] * 4, None, 'a box must be null or [x, y, width, height], found [False'),
    ],
)
def test_all_take_the_same_objects_for_absent(tmp_path, mask, box, shows, finding):
    """Frame 1 of the first object."""
    content = good_content()
    content['annotations'][0]['segmentations'][1] = mask
    content['annotations'][0]['bboxes'][1] = box
    content['annotations'][0]['areas'] = None
    path = written(tmp_path, content)
    if shows is None:
        assert refused_by_all(path, tmp_path, finding)
        return
    findings = [f'{one.kind}: {one.text}' for one in found(path)]
    assert {(one.severity, one.where['frame']) for one in found(path)} <= {('warning', 1)}
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
    masks = 'set annotations/0/segmentations'
    content = changed(f'{masks}/2/counts "1"', f'{masks}/0/size [32, 24]')
    faults = {}
    read = read_annotation_file(written(tmp_path, content), mask_faults=faults)
    assert read['annotations'][0]['segmentations'] == [None] * 3
    assert faults[7, 2].startswith("annotation 1: 'counts' of the RLE are damaged")
    assert faults[7, 0].startswith('annotation 1: the mask is 24x32 pixels')
    assert len(faults) == 2
    with pytest.raises(UserError, match="'segmentations' must be a list"):
        read_annotation_file(written(tmp_path, changed(f'{masks} null')), mask_faults=faults)


def test_names_that_leave_the_folder():
    for name in ('..', '../0.jpg', 'a/../../0.jpg', '/a/0.jpg', '//a/0.jpg'):
        assert name_fault(name).startswith('the file name leads out of the image folder')
    for name in ('a/0.jpg', 'a/../b/0.jpg', './0.jpg', '..a/0.jpg', '...'):
        assert name_fault(name) is None
