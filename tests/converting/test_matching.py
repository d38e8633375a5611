"""Files of masks matched to frames."""

from pathlib import Path

import pytest

from vispropnet.converting.interface import Frames, SourceVideo
from vispropnet.converting.matching import (
    check_missing,
    check_numbering,
    frame_numbers,
    gaps,
    match_masks,
    number_of,
)
from vispropnet.datasets.check_report import Report


def matched(frames, masks, total=None):
    """Names of masks by frame, and kinds of what was found; a number of frames is a video file."""
    report = Report('source')
    video = SourceVideo('v', [Path(name) for name in frames or ()])
    total = len(video.images) if total is None else total
    of_video = Frames(list(range(total)), [], (4, 6), (4, 6), total)
    found = match_masks([Path(name) for name in masks], video, of_video, report)
    kinds = [one.kind for one in report.findings]
    return {frame: path.name for frame, path in found.items()}, kinds


@pytest.mark.parametrize(
    ('frames', 'masks', 'expected'),
    [
        (['a.jpg', 'b.jpg'], ['b.png'], {1: 'b.png'}),
        (['f_0.jpg', 'f_1.jpg'], ['m_000.png', 'm_001.png'], {0: 'm_000.png', 1: 'm_001.png'}),
        (['f_5.jpg', 'f_6.jpg'], ['m_6.png'], {1: 'm_6.png'}),
    ],
)
def test_by_name_or_by_number(frames, masks, expected):
    assert matched(frames, masks) == (expected, [])


def test_one_counts_from_0_and_the_other_from_1():
    frames, masks = ['0.jpg', '1.jpg', '2.jpg'], ['m1.png', 'm2.png', 'm3.png']
    expected = {0: 'm1.png', 1: 'm2.png', 2: 'm3.png'}
    assert matched(frames, masks) == (expected, ['numbering'])
    assert matched(None, masks, total=3) == (expected, ['numbering'])
    frames, masks = ['1.jpg', '2.jpg'], ['m0.png', 'm1.png']
    assert matched(frames, masks) == ({0: 'm0.png', 1: 'm1.png'}, ['numbering'])
    # With fewer masks than frames nobody can know.
    found, kinds = matched(None, ['m1.png', 'm3.png'], total=3)
    assert found == {1: 'm1.png'} and kinds == ['mask without frame']


def test_masks_without_a_frame_and_two_for_one():
    found, kinds = matched(['1.jpg'], ['m01.png', 'm1.png', 'm.png'])
    assert found == {0: 'm01.png'}
    assert kinds == ['mask without frame', 'two files for one frame']


def test_missing_masks():
    files, frames = {0: Path('0.png')}, Frames([0, 2], [], (4, 6), (4, 6), 3)
    video = SourceVideo('v', [Path(f'{at}.jpg') for at in range(3)])
    for missing, annotated, places in (
        ('error', None, [2]),
        ('empty', None, []),
        ('unannotated', [0], []),
    ):
        report = Report('source')
        assert check_missing(files, video, frames, missing, report) == annotated
        assert [one.where['frame'] for one in report.findings] == places


def test_numbers_in_names():
    names = ('a12', 'a-3', '7b', 'x', '1_002', '9' * 30)
    assert [number_of(name) for name in names] == [12, 3, 7, None, 2, None]
    assert frame_numbers(['a/12.jpg', 'a/9.jpg']) == [12, 9]
    assert frame_numbers(['a.jpg', '9.jpg']) == [0, 1] == frame_numbers(['a1.jpg', 'b1.jpg'])
    assert frame_numbers([]) == []


def test_gaps_are_larger_than_most_steps():
    assert (
        gaps([0, 5, 10, 20, 25]) == [3]
        and gaps([0, 1, 3]) == [2]
        and gaps([3]) == gaps([]) == gaps([1, 2, 3]) == []
    )


@pytest.mark.parametrize(
    ('names', 'kinds'),
    [
        ('0.jpg 1.jpg 3.jpg 4.jpg', ['gap in numbering']),
        ('1.jpg 01.jpg 2.jpg', ['two files for one frame']),
        ('a.jpg a.png', ['two files for one frame']),
        ('a1.jpg b1.jpg b7.jpg', []),
        ('00000.jpg 00005.jpg 00010.jpg', []),
    ],
)
def test_numbering(names, kinds):
    report = Report('source')
    check_numbering(SourceVideo('v', [Path(name) for name in names.split()]), report)
    assert [one.kind for one in report.findings] == kinds
