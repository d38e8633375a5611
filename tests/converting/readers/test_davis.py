"""The layouts of DAVIS and YouTube-VOS."""

import pytest

from tests.converting.sources import (
    converted,
    findings,
    masks_of,
    write_frames,
    write_json,
    write_mask,
)
from vispropnet.errors import UserError

MASK = '100000/100220/000220/000000'


def write(root, video, frames, masks, resolution=''):
    write_frames(root / 'JPEGImages' / resolution / video, *(f'{one}.jpg' for one in frames))
    for one in masks:
        write_mask(root / 'Annotations' / resolution / video / f'{one}.png', MASK)


@pytest.fixture
def davis(tmp_path):
    root = tmp_path / 'DAVIS'
    for video in ('bear', 'swan'):
        write(root, video, ['00000', '00001'], ['00000', '00001'], '480p')
    (root / 'ImageSets' / '2017').mkdir(parents=True)
    (root / 'ImageSets' / '2017' / 'val.txt').write_bytes(b'swan\r\n')
    return root


def test_all_sequences_of_davis_or_those_of_a_list(davis, tmp_path):
    _, content = converted('davis', davis, tmp_path / 'all')
    first, second = (['100000/100000/000000/000000'] * 2, ['000000/000110/000110/000000'] * 2)
    assert masks_of(content) == {'bear': [first, second], 'swan': [first, second]}
    _, content = converted('davis', davis, tmp_path / 'val', split='val')
    assert masks_of(content) == {'swan': [first, second]}
    assert content['videos'][0]['file_names'] == ['swan/00000.jpg', 'swan/00001.jpg']


def test_what_is_missing_in_davis(davis, tmp_path):
    (davis / 'ImageSets' / '2017' / 'val.txt').write_text('swan goose')
    (davis / 'Annotations' / '480p' / 'swan' / '00001.png').unlink()
    result, _ = converted('davis', davis, tmp_path / 'out', split='val')
    assert [text.partition(': ')[0] for _, text in findings(result)] == [
        'video goose',
        f'video swan, frame 1 ({davis}/JPEGImages/480p/swan/00001.jpg)',
    ]
    with pytest.raises(UserError, match=r'train.txt cannot be read'):
        converted('davis', davis, tmp_path / 'out', split='train')
    with pytest.raises(UserError, match='DAVIS has JPEGImages and Annotations'):
        converted('davis', tmp_path, tmp_path.parent / 'other_out')
    (davis / 'Annotations' / '480p').rename(davis / 'Annotations' / '1080p')
    (davis / 'Annotations' / '240p').mkdir()
    with pytest.raises(UserError, match='found 240p, 1080p'):
        converted('davis', davis, tmp_path / 'out')


@pytest.fixture
def vos(tmp_path):
    """All frames of a video, of which every other one is annotated."""
    root = tmp_path / 'vos'
    write(root, 'v', ['00000', '00001', '00002'], ['00000', '00002'])
    listed = {'frames': ['00000', '00002']}
    objects = {'1': {'category': 'fox', **listed}, '2': {'category': 'ape', **listed}}
    write_json(root / 'meta.json', {'videos': {'v': {'objects': objects}}})
    return root


def test_youtube_vos_with_its_categories_and_frames_between(vos, tmp_path):
    _, content = converted('youtube-vos', vos, tmp_path / 'out')
    assert content['categories'] == [{'id': 1, 'name': 'ape'}, {'id': 2, 'name': 'fox'}]
    assert [one['category_id'] for one in content['annotations']] == [2, 1]
    assert content['videos'][0]['annotated_frames'] == [0, 2]
    assert masks_of(content)['v'][0] == [
        '100000/100000/000000/000000',
        None,
        '100000/100000/000000/000000',
    ]


def test_what_is_wrong_in_youtube_vos(vos, tmp_path):
    (vos / 'Annotations' / 'v' / '00002.png').unlink()
    objects = {'1': {'category': 'fox', 'frames': ['00000', '00002']}}
    write_json(vos / 'meta.json', {'videos': {'v': {'objects': objects}, 'w': {'objects': {}}}})
    result, _ = converted('youtube-vos', vos, tmp_path / 'out')
    frame = f'{vos}/JPEGImages/v/0000'
    assert [text for _, text in findings(result)] == [
        f'video w: there is no folder of masks {vos}/Annotations/w',
        f'video v, frame 2 ({frame}2.jpg): meta.json says that an object is here, but there is no '
        '00002.png',
        f'video v, frame 0 ({frame}0.jpg): id 2 is not among the objects of this video in '
        'meta.json',
    ]
    write_json(vos / 'meta.json', {'videos': {'v': {}}})
    with pytest.raises(UserError, match=r'meta file .* must hold'):
        converted('youtube-vos', vos, tmp_path / 'out')
    with pytest.raises(UserError, match='--split is not for this form, which takes none'):
        converted('youtube-vos', vos, tmp_path / 'out', split='train')
