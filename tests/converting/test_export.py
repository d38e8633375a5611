"""Results in the form of other programs, and back."""

import json

import numpy as np
import pytest
from PIL import Image

from tests.converting.sources import ids, masks_of, picture, rle, write_frames, write_json
from vispropnet.converting import EXPORTS
from vispropnet.converting.convert import convert
from vispropnet.converting.export import export
from vispropnet.converting.interface import Options
from vispropnet.errors import UserError

LOW, HIGH = '111000/111000/000000/000000', '001100/001100/000000/000000'
SIDE = '000000/000000/000011/000011'


def entry(video, category, score, *texts):
    masks = [text and rle(text) for text in texts]
    return dict(video_id=video, category_id=category, score=score, segmentations=masks)


RESULTS = [
    entry(5, 1, 0.4, LOW, LOW),
    entry(5, 2, 0.9, HIGH, None),
    entry(5, 1, 0.29, SIDE, SIDE),
    entry(6, 1, 0.5, SIDE),
]


@pytest.fixture
def files(tmp_path):
    """Results of two videos, their annotation file, and their frames."""
    frames = tmp_path / 'frames'
    write_frames(frames / 'a', '00003.jpg', '00004.jpg')
    write_frames(frames / 'b', '00000.jpg')
    size = dict(width=6, height=4)
    videos = [
        dict(id=5, **size, length=2, file_names=['a/00003.jpg', 'a/00004.jpg']),
        dict(id=6, **size, length=1, file_names=['b/00000.jpg']),
    ]
    categories = [{'id': 1, 'name': 'cat'}, {'id': 2, 'name': 'dog'}]
    write_json(tmp_path / 'video.json', {'videos': videos, 'categories': categories})
    write_json(tmp_path / 'results.json', RESULTS)
    return tmp_path / 'results.json', tmp_path / 'video.json'


def written(form, files, out, **options):
    assert export(form, *files, out, progress=False, **options) == (2, 3)
    return out


def test_pngs_with_the_best_score_in_front(files, tmp_path):
    out = written('masks', files, tmp_path / 'out')
    found = {
        path.relative_to(out).as_posix(): np.array(Image.open(path)) for path in out.rglob('*.png')
    }
    expected = {
        'masks/a/00003.png': '221100/221100/000000/000000',
        'masks/a/00004.png': '222000/222000/000000/000000',
        'masks/b/00000.png': '000000/000000/000011/000011',
    }
    assert found.keys() == expected.keys()
    assert all((found[name] == ids(text)).all() for name, text in expected.items())
    content = json.loads((out / 'categories.json').read_text())
    assert content == {'a': {'1': 'dog', '2': 'cat'}, 'b': {'1': 'cat'}}


def test_many_tracks_take_16_bits(files, tmp_path):
    write_json(files[0], [entry(6, 1, 0.5 + at / 1000, SIDE if at else LOW) for at in range(300)])
    out = tmp_path / 'out'
    assert export('masks', *files, out, progress=False) == (2, 300)
    found = np.array(Image.open(out / 'masks' / 'b' / '00000.png'))
    assert found[0, 0] == 300 and found[3, 5] == 1
    options = Options(categories=out / 'categories.json', images=tmp_path / 'frames')
    result = convert('masks', out, tmp_path / 'back', options, progress=False)
    # Of 299 tracks that cover each other, one is in front.
    assert result.objects == {'cat': 2}


def test_lines_of_mots(files, tmp_path):
    out = written('mots', files, tmp_path / 'out')
    rest = '110000/110000/000000/000000'
    assert (out / 'instances_txt' / 'a.txt').read_text().splitlines() == [
        f'3 2001 2 4 6 {rle(HIGH)["counts"]}',
        f'3 1001 1 4 6 {rle(rest)["counts"]}',
        f'4 1001 1 4 6 {rle(LOW)["counts"]}',
    ]
    assert json.loads((out / 'categories.json').read_text()) == {'1': 'cat', '2': 'dog'}


def test_coco_results_and_their_images(files, tmp_path):
    out = written('coco', files, tmp_path / 'out')
    images = json.loads((out / 'images.json').read_text())
    size = {'height': 4, 'width': 6}
    assert images['images'] == [
        {'id': 1, 'file_name': 'a/00003.jpg', **size, 'video_id': 1, 'frame_id': 0},
        {'id': 2, 'file_name': 'a/00004.jpg', **size, 'video_id': 1, 'frame_id': 1},
        {'id': 3, 'file_name': 'b/00000.jpg', **size, 'video_id': 2, 'frame_id': 0},
    ]
    results = json.loads((out / 'results.json').read_text())
    keys = ('image_id', 'category_id', 'track_id', 'score', 'bbox')
    assert [tuple(one[key] for key in keys) for one in results] == [
        (1, 2, 1, 0.9, [2, 0, 2, 2]),
        (1, 1, 2, 0.4, [0, 0, 3, 2]),
        (2, 1, 2, 0.4, [0, 0, 3, 2]),
        (3, 1, 3, 0.5, [4, 2, 2, 2]),
    ]
    assert picture(results[1]['segmentation']) == LOW


def test_labelme_polygons_are_read_back(files, tmp_path):
    frames = tmp_path / 'frames'
    out = written('labelme', files, tmp_path / 'out', images=frames)
    content = json.loads((out / 'labels' / 'a' / '00003.json').read_text())
    assert (content['imageHeight'], content['imageWidth']) == (4, 6)
    assert content['imagePath'] == '../../../frames/a/00003.jpg'
    first = content['shapes'][0]
    assert (first['label'], first['group_id'], first['shape_type']) == ('dog', 1, 'polygon')
    assert {tuple(point) for point in first['points']} == {(2, 0), (4, 0), (4, 2), (2, 2)}
    result = convert('labelme', out / 'labels', tmp_path / 'back', progress=False)
    content = json.loads((tmp_path / 'back' / 'instances.json').read_text())
    for one in content['annotations']:
        one['segmentations'] = [picture(mask) for mask in one['segmentations']]
    assert masks_of(content) == {'a': [[HIGH, None], [LOW, LOW]], 'b': [[SIDE]]}
    assert result.objects == {'cat': 2, 'dog': 1}


def test_thresholds_nothing_found_and_older_outputs(files, tmp_path):
    assert export('masks', *files, tmp_path / 'all', score_threshold=0, progress=False) == (2, 4)
    for form in EXPORTS:
        out = tmp_path / form
        assert export(form, *files, out, score_threshold=1, progress=False) == (2, 0)
        with pytest.raises(UserError, match='exists and is not empty'):
            export(form, *files, out)
        assert export(form, *files, out, force=True, progress=False) == (2, 3)
    empty = np.array(Image.open(tmp_path / 'all' / 'masks' / 'a' / '00004.png'))
    assert empty.max() == 3


def test_mistakes_name_file_and_entry(files, tmp_path):
    out = tmp_path / 'out'
    for wrong, words in (
        ([entry(7, 1, 0.5, LOW)], 'entry 0: video_id 7 is not in the annotation file'),
        ([entry(6, 9, 0.5, LOW)], 'entry 0: category_id 9 is not in the annotation file'),
        ([entry(6, 1, 0.5, LOW, LOW)], "entry 0: 'segmentations' has 2 entries, but video 6 has 1"),
        ([entry(6, 1, 0.5, '1')], 'entry 0, frame 0: the mask is 1x1 pixels'),
        ({}, 'must hold a list of tracks'),
    ):
        write_json(files[0], wrong)
        with pytest.raises(UserError, match=words):
            export('coco', *files, out, progress=False)
        assert not out.exists()
    for options, words in (
        ({'form': 'x'}, "unknown format 'x'; expected one of masks, mots, coco, labelme"),
        ({'score_threshold': 2}, 'must be within'),
        ({'images': tmp_path / 'gone'}, 'folder of frames not found'),
        ({'annotations': files[0]}, "key 'videos' must be a list"),
    ):
        given = dict(form='coco', results=files[0], annotations=files[1], out=out) | options
        with pytest.raises(UserError, match=words):
            export(**given, progress=False)


def test_videos_without_a_folder_or_of_one_name_go_by_id(files, tmp_path):
    content = json.loads(files[1].read_text())
    content['videos'][0]['file_names'] = ['1.jpg', '2.jpg']
    write_json(files[1], content)
    out = written('masks', files, tmp_path / 'out')
    assert sorted(path.name for path in (out / 'masks').iterdir()) == ['5', 'b']
    for video in content['videos']:
        video['name'] = 'same'
    write_json(files[1], content)
    out = written('masks', files, tmp_path / 'alike')
    assert sorted(path.name for path in (out / 'masks').iterdir()) == ['5', '6']
