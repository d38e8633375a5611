"""XML of CVAT for video."""

import pytest

from tests.converting.sources import converted, findings, masks_of, write_frames
from tests.videos import write_h264
from vispropnet.errors import UserError

META = """<version>1.1</version><meta><task><id>7</id><size>5</size>
<original_size><width>{width}</width><height>4</height></original_size></task></meta>"""
BOX = '<box frame="{}" outside="{}" xtl="{}" ytl="0" xbr="{}" ybr="2" keyframe="1"/>'


def write(folder, *tracks, width=6, name='clip.xml', head='<?xml version="1.0"?>', **options):
    folder.mkdir(parents=True, exist_ok=True)
    text = '\r\n'.join([head, '<annotations>', META.format(width=width), *tracks, '</annotations>'])
    (folder / name).write_text(text, **{'encoding': 'utf-8-sig', **options})
    return folder / name


def track(number, label, *shapes):
    return f'<track id="{number}" label="{label}" source="manual">{"".join(shapes)}</track>'


@pytest.fixture
def folder(tmp_path):
    write_frames(tmp_path / 'in' / 'images', *(f'frame_{at:06d}.PNG' for at in range(5)))
    return tmp_path / 'in'


def test_boxes_between_keyframes_and_to_the_end(folder, tmp_path):
    path = write(
        folder,
        track(0, 'Auto ü', BOX.format(0, 0, 0, 2), BOX.format(2, 0, 4, 6), BOX.format(3, 1, 4, 6)),
        track(1, 'hund', BOX.format(3, 0, 1, 3)),
    )
    result, content = converted('cvat', path, tmp_path / 'out')
    rows = '{0}/{0}/000000/000000'.format
    assert masks_of(content)['clip'] == [
        [rows('110000'), rows('001100'), rows('000011'), None, None],
        [None, None, None, rows('011000'), rows('011000')],
    ]
    assert [one['name'] for one in content['categories']] == ['Auto ü', 'hund']
    assert content['videos'][0]['file_names'][0] == 'clip/frame_000000.PNG'
    assert findings(result) == []


def test_polygons_masks_and_ellipses(folder, tmp_path):
    polygon = '<polygon frame="{}" outside="0" points="{}"/>'
    path = write(
        folder,
        track(
            0,
            'cat',
            polygon.format(0, '0,0;2,0;2,2;0,2'),
            polygon.format(4, '4.0,0.0;6.0,0.0;6.0,2.0;4.0,2.0'),
        ),
        track(
            1,
            'cat',
            '<mask frame="1" outside="0" rle="1, 2, 1" left="3" top="2" width="2" height="2"/>',
            '<mask frame="3" outside="0" rle="0, 4" left="3" top="2" width="2" height="2"/>',
        ),
        track(2, 'cat', '<ellipse frame="4" outside="0" cx="3" cy="2" rx="2.5" ry="1.4"/>'),
        track(3, 'cat', '<points frame="4" outside="0" points="1,1"/>'),
    )
    result, content = converted('cvat', path, tmp_path / 'out')
    first, second, third = masks_of(content)['clip']
    assert [one and one.split('/')[0] for one in first] == [
        '110000',
        '011000',
        '001100',
        '000110',
        '000011',
    ]
    # Masks stand on their own frames only.
    assert second == [
        None,
        '000000/000000/000010/000100',
        None,
        '000000/000000/000110/000110',
        None,
    ]
    assert third[4] == '000000/011110/011110/000000' and third[:4] == [None] * 4
    assert [text.partition(': ')[2] for _, text in findings(result)] == [
        'a <points> has no area: left out'
    ]


def test_a_turned_box(folder, tmp_path):
    box = '<box frame="0" outside="0" xtl="1" ytl="1" xbr="5" ybr="3" rotation="{}"/>'
    path = write(folder, track(0, 'cat', box.format(0)), track(1, 'cat', box.format(90)))
    found = [one[0] for one in masks_of(converted('cvat', path, tmp_path / 'out')[1])['clip']]
    assert found == ['000000/011110/011110/000000', '001100/001100/001100/001100']


def test_keyframes_out_of_order_are_sorted(folder, tmp_path):
    shapes = BOX.format(2, 0, 4, 6), BOX.format(0, 0, 0, 2)
    path = write(folder, track(0, 'cat', *shapes))
    result, content = converted('cvat', path, tmp_path / 'out')
    assert masks_of(content)['clip'][0][1] == '001100/001100/000000/000000'
    assert findings(result) == [
        (
            'warning',
            f'video clip ({path}, track 0): the frames of the track are out of order: sorted',
        )
    ]


def test_all_that_is_wrong_is_listed_with_track_and_frame(folder, tmp_path):
    path = write(
        folder,
        track(0, 'cat', BOX.format(0, 0, 0, 2), BOX.format(0, 0, 1, 3)),
        track(1, 'cat', BOX.format(5, 0, 0, 2)),
        track(2, 'cat', '<polygon frame="1" points="0,0;2,2"/>'),
        track(3, 'cat', '<polygon frame="2" points="0,0;a,2;1,1"/>'),
        track(4, 'cat', '<box frame="3" xtl="1"/>'),
        track(5, 'cat', '<mask frame="0" rle="1,1" left="0" top="0" width="2" height="2"/>'),
        track(6, 'cat', BOX.format(0, 0, 0, 2), '<polygon frame="2" points="0,0;2,2;0,2"/>'),
        track(7, 'cat', BOX.format(1, 0, 500, 600)),
        '<track id="8"></track>',
        track(9, 'cat', BOX.format(4, 0, 3, 3)),
        track(10, 'cat', BOX.format(4, 0, 3, 8)),
    )
    found = [text for _, text in findings(converted('cvat', path, tmp_path / 'out')[0])]
    for frame, number, words in (
        (', frame 0', 0, 'the track is twice on this frame'),
        (', frame 5', 1, 'there is no frame 5: the video has 5, from 0'),
        (', frame 1', 2, 'a polygon must have 3 points or more'),
        (', frame 2', 3, '<polygon> is damaged: could not convert'),
        (', frame 3', 4, "attribute 'ytl' is missing"),
        (', frame 0', 5, 'the runs cover 2 pixels, expected 2x2'),
        (', frame 2', 6, 'a polygon follows a box: nothing can lie between them'),
        (', frame 1', 7, 'far out of the frame'),
        ('', 8, 'the track has no label'),
        (', frame 4', 9, 'the shape covers no pixel of the frame: left out'),
        (', frame 4', 10, 'reaches out of the frame'),
    ):
        begin = f'video clip{frame} ({path}, track {number}): '
        assert [one for one in found if one.startswith(begin) and words in one], (number, found)


def test_frames_of_a_video_file_and_of_another_size(tmp_path):
    path = write(tmp_path / 'in', track(0, 'cat', BOX.format(1, 0, 0, 2)), width=64)
    write_h264(path.with_suffix('.mp4'), 3, size=(64, 48))
    ((_, text),) = findings(converted('cvat', path, tmp_path / 'out')[0])
    assert text == f'video clip ({path}): the file says 64x4 pixels, the frames have 64x48'
    path.write_text(path.read_text('utf-8-sig').replace('<height>4<', '<height>48<'), 'utf-8')
    _, content = converted('cvat', path, tmp_path / 'out')
    assert content['annotations'][0]['areas'] == [None, 4, 4]
    assert content['videos'][0]['timestamps'] == [0, 0.04, 0.08]


def test_several_files_and_what_is_none(folder, tmp_path):
    write_frames(folder / 'a', '0.jpg')
    write(folder, track(0, 'cat', BOX.format(0, 0, 0, 2)), name='a.xml')
    write(folder, name='b.xml')
    ((_, text),) = findings(converted('cvat', folder, tmp_path / 'out')[0])
    assert text.startswith(f'video b ({folder}/b.xml): there are no frames beside it')
    (folder / 'b.xml').unlink()
    assert masks_of(converted('cvat', folder, tmp_path / 'out')[1])['a']
    for text, words in (
        ('<annotations><image id="0"/></annotations>', 'has no tracks: export the task as'),
        ('<boxes/>', 'expected <annotations>, found <boxes>'),
        ('<annotations>', 'cannot be read as XML: no element found'),
    ):
        (folder / 'a.xml').write_text(text)
        with pytest.raises(UserError, match=words):
            converted('cvat', folder / 'a.xml', tmp_path / 'other')
