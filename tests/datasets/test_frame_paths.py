"""File names that do not lead to the frames as they stand."""

import json

import pytest

from tests.datasets.annotation_contents import good_content
from vispropnet.datasets.annotation_file import read_annotation_file
from vispropnet.datasets.annotation_rules import AnnotationFile
from vispropnet.datasets.annotation_values import name_fault
from vispropnet.datasets.check_frames import check_frames
from vispropnet.datasets.check_report import Report
from vispropnet.datasets.ytvis import YouTubeVIS
from vispropnet.errors import UserError


def placed(root, change=str):
    """The frames of the good content under train/JPEGImages; with changed names in the file."""
    content = good_content()
    images = root / 'train/JPEGImages'
    for video in content['videos']:
        for name in video['file_names']:
            (images / name).parent.mkdir(parents=True, exist_ok=True)
            (images / name).touch()
        video['file_names'] = [change(name) for name in video['file_names']]
    (root / 'ann.json').write_text(json.dumps(content))
    return content


def load(root, images):
    return YouTubeVIS('ann.json', str(root), dict(img=images), test_mode=True)


def test_backslashes_are_slashes_where_that_finds_the_file(tmp_path):
    content = placed(tmp_path, lambda name: name.replace('/', '\\'))
    images = tmp_path / 'train/JPEGImages'
    dataset = load(tmp_path, 'train/JPEGImages')
    assert dataset.get_data_info(2)['img_path'] == str(images / 'a/10.jpg')
    report = Report('x')
    check_frames(AnnotationFile(content, report).videos, images, report, progress=False)
    kinds = [one.kind for one in report.findings if one.kind != 'unreadable frame']
    assert kinds == ['file name']
    # A file that is called so is taken first.
    (images / 'a\\8.jpg').touch()
    assert load(tmp_path, str(images)).get_data_info(0)['img_path'] == str(images / 'a\\8.jpg')


@pytest.mark.parametrize(
    'name', ['..\\a.jpg', 'C:\\a\\0.jpg', 'd:/0.jpg', 'a\\..\\..\\0.jpg', '\\a']
)
def test_backslashes_do_not_lead_out(name):
    assert name_fault(name).startswith('the file name leads out of the image folder')


@pytest.mark.parametrize(
    ('change', 'images', 'advice'),
    [
        ('train/JPEGImages/{}', 'train/JPEGImages', 'with {root} as image folder'),
        ('train\\JPEGImages\\{}', 'train/JPEGImages', 'with {root} as image folder'),
        ('JPEGImages/{}', 'train/JPEGImages', 'with {root}/train as image folder'),
        ('{}', 'train', 'with {root}/train/JPEGImages as image folder'),
        ('{}', 'train/JPEGImages/b', 'with {root}/train/JPEGImages as image folder'),
        ('data/mine/{}', 'train/JPEGImages', 'without data/mine/ at the beginning of the names'),
        ('{}.png', 'train/JPEGImages', 'there is 8.jpg in place of 8.png: mend the names'),
        ('{}.JPG', 'train/JPEGImages', 'there is 8.jpg in place of 8.JPG: mend the names'),
    ],
)
def test_frames_that_are_elsewhere(tmp_path, change, images, advice):
    stem = 'png' in change or 'JPG' in change
    placed(tmp_path, lambda name: change.format(name.removesuffix('.jpg') if stem else name))
    wanted = advice.format(root=tmp_path)
    with pytest.raises(UserError) as caught:
        load(tmp_path, images).full_init()
    assert wanted in str(caught.value)
    report = Report('x')
    videos = AnnotationFile(json.loads((tmp_path / 'ann.json').read_text()), report).videos
    check_frames(videos, tmp_path / images, report, progress=False)
    assert report.findings[0].kind == 'image folder'
    assert wanted in report.findings[0].text
    read_annotation_file(tmp_path / 'ann.json')  # which does not look at frames


def test_frames_that_are_nowhere_are_left_to_who_reads_them(tmp_path):
    placed(tmp_path, 'x{}'.format)
    assert len(load(tmp_path, 'train/JPEGImages')) == 4
