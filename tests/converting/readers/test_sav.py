"""JSON files of SA-V."""

import pytest

from tests.converting.sources import converted, findings, masks_of, rle, write_frames, write_json
from vispropnet.errors import UserError

LEFT, RIGHT, NONE = (
    '110000/110000/000000/000000',
    '000000/000011/000011/000000',
    '000000/000000/000000/000000',
)


@pytest.fixture
def source(tmp_path):
    """A video of six frames, of which 0 and 4 have masks; the second object is hidden first."""
    write_frames(tmp_path / 'in' / 'sav_1', *(f'{at:05d}.jpg' for at in range(6)))
    masklet = [[rle(LEFT), rle(NONE)], [rle(LEFT), rle(RIGHT)]]
    write_json(
        tmp_path / 'in' / 'sav_1_manual.json',
        {'video_id': 'sav_1', 'masklet': masklet, 'masklet_id': [0, 3]},
    )
    write_json(tmp_path / 'in' / 'sav_1_auto.json', {'masklet': [], 'masklet_id': []})
    return tmp_path / 'in'


def test_annotated_frames_come_and_all_if_asked_for(source, tmp_path):
    result, content = converted('sav', source, tmp_path / 'out')
    assert content['videos'][0]['file_names'] == ['sav_1/00000.jpg', 'sav_1/00004.jpg']
    assert masks_of(content) == {'sav_1': [[LEFT, LEFT], [None, RIGHT]]}
    assert content['categories'] == [{'id': 1, 'name': 'object'}] and findings(result) == []
    _, content = converted('sav', source, tmp_path / 'all', every=2)
    assert content['videos'][0]['annotated_frames'] == [0, 2]
    assert masks_of(content) == {'sav_1': [[LEFT, None, LEFT], [None, None, RIGHT]]}


def test_what_is_wrong(source, tmp_path):
    path = source / 'sav_1_manual.json'
    damaged = {'size': [4, 6], 'counts': '0'}
    content = {'masklet': [[rle(LEFT)], [damaged, rle(LEFT)], []], 'masklet_id': [0, 3]}
    write_json(path, content)
    found = [text for _, text in findings(converted('sav', source, tmp_path / 'out')[0])]
    assert found[:2] == [
        f'video sav_1 ({path}): there are masks up to frame 8, but the video has 6 frames',
        f'video sav_1, frame 0 ({path}): there are 1 masks for 2 objects',
    ]
    assert found[2].startswith(f'video sav_1, frame 4 ({path}): ') and 'damaged' in found[2]
    write_json(path, {'masklet': [None], 'masklet_id': [0]})
    ((_, text),) = findings(converted('sav', source, tmp_path / 'out')[0])
    assert text.startswith(
        f"video sav_1 ({path}): 'masklet_id' must be a list of ids, and 'masklet' one"
    )
    write_json(source / 'sav_2_auto.json', content)
    found = [text for _, text in findings(converted('sav', source, tmp_path / 'out')[0])]
    assert f'there is no sav_2.mp4, nor a folder sav_2 of images, in {source}' in found[0]
    with pytest.raises(UserError, match=r'holds no files \*_manual.json'):
        converted('sav', source / 'sav_1', tmp_path / 'out')
