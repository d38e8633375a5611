"""Files of other forms in place of annotations and results."""

import json

import pytest

from tests.datasets.annotation_contents import good_content
from vispropnet.converting import FORMATS
from vispropnet.datasets.annotation_file import read_annotation_file
from vispropnet.datasets.other_forms import CONVERTED, not_annotations
from vispropnet.datasets.splits import read_divisible
from vispropnet.errors import UserError
from vispropnet.evaluation.ground_truth import read_ground_truth
from vispropnet.evaluation.result_file import read_results

TRACK = {key: good_content()['annotations'][0][key] for key in ('video_id', 'segmentations')}
RESULTS = [{**TRACK, 'category_id': 11, 'score': 0.5}]
IMAGE = {'id': 1, 'file_name': 'a.jpg', 'video_id': 1, 'frame_id': 0}
OF_IMAGE = {'id': 1, 'image_id': 1, 'category_id': 1, 'bbox': [0, 0, 1, 1], 'segmentation': []}
COCO = {'images': [IMAGE], 'annotations': [OF_IMAGE], 'categories': [{'id': 1, 'name': 'a'}]}
OBJECTS = {'objects': {'1': {'category': 'penguin', 'frames': ['00000']}}}
OTHERS = [
    (COCO, 'a COCO file (annotations of single images)'),
    ({**COCO, 'videos': [{'id': 1, 'name': 'a'}]}, 'a CocoVID file'),
    ({'videos': {'003234408d': OBJECTS}}, 'meta.json of YouTube-VOS (its masks are PNG files)'),
    ({'videos': {'a': {'expressions': {}, 'frames': []}}}, 'meta_expressions.json'),
    ([{**OF_IMAGE, 'score': 0.5}], 'COCO results (of single images)'),
    ([OF_IMAGE], 'annotations of single images'),
    ({'sequences': [], 'split': 'val'}, 'a file in the form of BURST'),
    ({'shapes': [], 'imagePath': 'a.jpg', 'version': '5'}, 'a file of LabelMe'),
    ({'masklet': [], 'masklet_id': []}, 'a file of SA-V'),
    ({'AP': 0.5, 'detail': {}}, 'metrics'),
]


@pytest.mark.parametrize(('content', 'form'), [*OTHERS, (RESULTS, 'a result file')])
def test_in_place_of_annotations(tmp_path, content, form):
    path = tmp_path / 'a.json'
    path.write_text(json.dumps(content))
    for reader in (read_annotation_file, read_divisible, read_ground_truth):
        with pytest.raises(UserError) as caught:
            reader(path)
        assert str(caught.value).startswith(f'annotation file {path}: this is {form}')
        wanted = 'give the annotation file' if content is RESULTS else 'see docs/data.md'
        assert wanted in str(caught.value)
        named = [name for begin, name in CONVERTED.items() if form.startswith(begin)]
        assert all(f'convert_data.py {name} SOURCE OUT' in str(caught.value) for name in named)
        assert named or 'convert_data' not in str(caught.value)


@pytest.mark.parametrize(
    ('content', 'form'),
    [
        *OTHERS,
        (good_content(), 'an annotation file in the YouTube-VIS form'),
        (good_content()['annotations'], "the list 'annotations' of an annotation file"),
    ],
)
def test_in_place_of_results(tmp_path, content, form):
    path = tmp_path / 'a.json'
    path.write_text(json.dumps(content))
    with pytest.raises(UserError) as caught:
        read_results(path)
    assert str(caught.value).startswith(f'result file {path} must hold a list of tracks')
    assert f': this is {form}' in str(caught.value)
    assert str(caught.value).endswith(': expected a result file (a list of tracks with scores).')


def test_forms_that_are_converted_are_those_of_the_converter():
    assert set(CONVERTED.values()) <= set(FORMATS)
    forms = [form for _, form in OTHERS]
    assert all(any(form.startswith(begin) for form in forms) for begin in CONVERTED)


def test_own_files_with_keys_of_others(tmp_path):
    for more in ({'images': [IMAGE]}, {'images': []}, {'sequences': []}, {'info': {}}):
        assert not_annotations({**good_content(), **more}) is None
    path = tmp_path / 'a.json'
    for results in ([], RESULTS, [{**RESULTS[0], 'id': 1}]):
        path.write_text(json.dumps(results))
        assert read_results(path) == results
