import pytest
import torch
from mmdet.structures import DetDataSample

from vispropnet.engine.bad_numbers_dump import Pass
from vispropnet.engine.bad_numbers_report import describe


def frame(number):
    return DetDataSample(metainfo=dict(frame_id=number, video_id=7, img_path=f'{number}.jpg'))


@pytest.mark.parametrize(
    ('samples', 'lines'),
    [
        (
            [[frame(1), frame(4)], [frame(2), frame(5)]],
            [
                'key frame 1 of video 7 (1.jpg); reference frame 2 of video 7 (2.jpg)',
                'key frame 4 of video 7 (4.jpg); reference frame 5 of video 7 (5.jpg)',
            ],
        ),
        (
            [(frame(1),), (frame(2),), (frame(3),)],
            [
                'key frame 1 of video 7 (1.jpg); reference frame 2 of video 7 (2.jpg); '
                'reference frame 3 of video 7 (3.jpg)'
            ],
        ),
        ([frame(1), frame(4)], ['frame 1 of video 7 (1.jpg)', 'frame 4 of video 7 (4.jpg)']),
    ],
)
def test_all_frames_of_a_clip_are_named(samples, lines):
    one = Pass(0, 2, dict(data_samples=samples), dict(loss=torch.tensor(float('nan'))))
    told = describe('loss', [one], [], [], 'no dump').splitlines()
    start = told.index('  samples:') + 1
    assert [line.strip() for line in told[start:-1]] == lines
