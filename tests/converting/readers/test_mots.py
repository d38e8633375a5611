"""KITTI MOTS and MOTSChallenge."""

import numpy as np
import pytest
from PIL import Image

from tests.converting.sources import converted, findings, masks_of, rle, write_frames, write_json
from vispropnet.errors import UserError

CAR, PERSON = '110000/110000/000000/000000', '000000/000000/000011/000011'
# Two cars and a person in front, as the values of a PNG: 1000 * class + number; 10000 is ignored.
VALUES = np.array([[1001] * 2 + [0] * 4] * 2 + [[10000] + [0] * 3 + [2001] * 2] * 2, np.uint16)


def line(frame, number, kind, text):
    return f'{frame} {number} {kind} 4 6 {rle(text)["counts"]}'


LINES = [
    line(0, 1001, 1, CAR),
    line(0, 2001, 2, PERSON),
    line(0, 10000, 10, '000000/000000/100000/100000'),
    line(1, 1001, 1, CAR),
]
EXPECTED = {'0002': [[CAR, CAR], [PERSON, None]]}


def kitti(tmp_path, lines, first=0):
    root = tmp_path / 'kitti'
    write_frames(root / 'image_02' / '0002', f'{first:06d}.png', f'{first + 1:06d}.png')
    (root / 'instances_txt').mkdir(parents=True, exist_ok=True)
    (root / 'instances_txt' / '0002.txt').write_text('\n'.join(lines), encoding='utf-8')
    return root


def test_text_files(tmp_path):
    result, content = converted('mots', kitti(tmp_path, LINES), tmp_path / 'out')
    assert masks_of(content) == EXPECTED
    assert content['categories'] == [{'id': 1, 'name': 'car'}, {'id': 2, 'name': 'pedestrian'}]
    assert findings(result) == [] and result.notes == ['1 regions to be ignored were left out.']


def test_pngs_of_16_bits(tmp_path):
    root = kitti(tmp_path, [])
    (root / 'instances_txt' / '0002.txt').unlink()
    (root / 'instances_txt').rmdir()
    folder = root / 'instances' / '0002'
    folder.mkdir(parents=True)
    Image.fromarray(VALUES).save(folder / '000000.png')
    Image.fromarray(VALUES * (VALUES == 1001)).save(folder / '000001.png')
    result, content = converted('mots', root, tmp_path / 'out')
    assert masks_of(content) == EXPECTED
    assert result.notes == ['1 regions to be ignored were left out.']
    (folder / '000001.png').unlink()
    (error,) = findings(converted('mots', root, tmp_path / 'other')[0])
    assert error[1].startswith('video 0002, frame 1 (') and 'no file of masks' in error[1]


def test_mots_challenge_counts_from_1_with_a_byte_order_mark_and_windows_line_ends(tmp_path):
    root = tmp_path / 'train'
    write_frames(root / 'MOTS20-02' / 'img1', '000001.jpg', '000002.jpg')
    lines = [line(1, 2001, 2, PERSON), line(2, 2001, 2, PERSON), '']
    path = root / 'MOTS20-02' / 'gt' / 'gt.txt'
    path.parent.mkdir()
    path.write_text('\ufeff' + '\r\n'.join(lines), encoding='utf-8', newline='')
    result, content = converted('mots', root, tmp_path / 'out')
    assert masks_of(content) == {'MOTS20-02': [[PERSON, PERSON]]}
    # Ids are those of the classes.
    assert content['categories'] == [{'id': 2, 'name': 'pedestrian'}] and findings(result) == []


def test_all_that_is_wrong_is_listed_with_its_line(tmp_path):
    bad = [
        '0 1001 1 4 6',
        '0 one 1 4 6 abc',
        line(5, 1001, 1, CAR),
        f'0 1002 1 5 6 {rle(CAR)["counts"]}',
        '0 1003 1 4 6 0',
        line(0, 7001, 7, CAR),
        line(0, 1001, 1, CAR),
        line(0, 1001, 1, CAR),
        line(1, 1001, 2, PERSON),
    ]
    root = kitti(tmp_path, bad)
    result, _ = converted('mots', root, tmp_path / 'out')
    file, frame = f'{root}/instances_txt/0002.txt', f'{root}/image_02/0002/00000'
    found = [text for _, text in findings(result)]
    expected = [
        f"video 0002 ({file}, line 1): expected: frame id class height width rle, found '0 1001",
        f'video 0002 ({file}, line 2): expected: frame id class height width rle',
        f'video 0002 ({file}, line 3): there is no frame of number 5',
        f'video 0002, frame 0 ({file}, line 4): the mask is 6x5 pixels (width x height), but',
        f"video 0002, frame 0 ({file}, line 5): 'counts' of the RLE are damaged",
        f'video 0002, frame 0 ({frame}0.png): object 7001 is of class 7: --categories names it',
        f'video 0002, frame 0 ({frame}0.png): id 1001 is twice on this frame',
        f"video 0002, frame 1 ({frame}1.png): id 1001 is of category 'pedestrian', before it was",
    ]
    assert len(found) == len(expected), chr(10).join(found)
    for text, begin in zip(found, expected, strict=True):
        assert text.startswith(begin), text


def test_other_classes_are_named_by_a_file(tmp_path):
    root = kitti(tmp_path, [line(0, 7001, 7, CAR), line(1, 7001, 7, CAR)])
    write_json(tmp_path / 'names.json', {'7': 'tram'})
    _, content = converted('mots', root, tmp_path / 'out', categories=tmp_path / 'names.json')
    assert content['categories'] == [{'id': 7, 'name': 'tram'}]
    with pytest.raises(UserError, match='holds no MOTS data'):
        converted('mots', root / 'image_02', tmp_path / 'other')
