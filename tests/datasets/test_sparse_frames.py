"""Data sets of which only some frames are annotated."""

import json

import pytest

from tests.datasets.annotation_contents import FRAMES, rle, sparse_content, sparse_results
from vispropnet.datasets.check_annotations import check_annotations
from vispropnet.datasets.check_report import Report
from vispropnet.datasets.sparse_frames import find_stride
from vispropnet.datasets.splits import read_divisible
from vispropnet.datasets.ytvis import YouTubeVIS
from vispropnet.errors import UserError
from vispropnet.evaluation.average_precision import evaluate_tracks
from vispropnet.evaluation.ground_truth import ground_truth, read_ground_truth
from vispropnet.evaluation.overlaps import measure_tracks

NO_FRAMES = "'annotated_frames' must be null or a list of different frame numbers from 0"


def findings(tmp_path, content, **options):
    path = tmp_path / 'ann.json'
    path.write_text(json.dumps(content))
    report = Report('ann.json')
    check_annotations(path, report, progress=False, **options)
    return path, [f'{one.severity}: {one.kind}: {one.line("")}' for one in report.findings]


def test_frames_that_are_not_annotated_do_not_count():
    content, tracks = sparse_content(), sparse_results()
    # Over all frames the first has 3 of 11 masks right, the second 1 of 5.
    assert evaluate_tracks(content, tracks)['mAP'] == 0
    (one, two) = measure_tracks(ground_truth(content), tracks, frame_by_frame=True).ious
    assert [one.max(), two.max()] == pytest.approx([3 / 11, 0.2])
    listed = sparse_content(annotated_frames=[10, 0, 5])
    for truth in (ground_truth(listed), ground_truth(content, annotated_only=True)):
        assert evaluate_tracks(truth, tracks)['mAP'] == 1
        measured = measure_tracks(truth, tracks, frame_by_frame=True)
        assert measured.length.tolist() == [3, 1]
        assert measured.area.tolist() == [30, 32]
        # The second object is hidden on none of its annotated frames.
        assert truth.hidden.tolist() == [0, 0]
    # An annotated frame without the object is one where it is absent.
    truth = ground_truth(sparse_content(annotated_frames=[0, 1, 5, 10]))
    assert measure_tracks(truth, tracks).ious[0].max() == 0.75
    assert truth.hidden.tolist() == [0.25, 0]


def test_tracks_on_other_frames_only_are_left_out():
    tracks = sparse_results()
    for score, frame in ((0.95, 3), (0.94, 5)):
        masks = [rle(0, 0, 2, 2) if at == frame else None for at in range(FRAMES)]
        tracks.append(dict(video_id=7, category_id=11, score=score, segmentations=masks))
    tracks.append(dict(video_id=7, category_id=11, score=0.1, segmentations=[None] * FRAMES))
    truth = ground_truth(sparse_content(annotated_frames=[0, 5, 10]))
    measured = measure_tracks(truth, tracks, frame_by_frame=True)
    assert measured.score.tolist() == [0.9, 0.9, 0.94, 0.1]
    assert [one.tolist() for one in measured.ious] == [[1, 0], [0, 1], [0, 0], [0, 0]]
    assert [one[1].sum() for one in measured.frames] == [90, 32, 4, 0]
    # Category 11 has a false track first, category 40 is right.
    assert evaluate_tracks(truth, tracks)['mAP'] == pytest.approx((0.5 + 1) / 2)
    # Masks of other frames are checked all the same.
    tracks[2]['segmentations'][3]['counts'] = '1'
    with pytest.raises(UserError, match='frame 3 .*damaged'):
        measure_tracks(truth, tracks)


def test_a_stride_is_noted_unless_there_is_a_rule(tmp_path):
    path, (found,) = findings(tmp_path, sparse_content())
    assert found.startswith('warning: sparse frames: objects show on one frame in 5 and count')
    assert read_ground_truth(path).notes[0].startswith('objects show on one frame in 5')
    assert findings(tmp_path, sparse_content(), annotated_only=True)[1] == []
    assert read_ground_truth(path, annotated_only=True).notes == []
    path, found = findings(tmp_path, sparse_content(annotated_frames=[0, 5, 10]))
    assert found == []
    assert read_ground_truth(path).notes == []


@pytest.mark.parametrize(
    ('shown', 'stride'),
    [
        ([(range(0, 30, 6), 30)], 'one frame in 6'),
        ([([0, 5], 9), ([0, 5], 9)], 'one frame in 5'),
        ([([0, 5, 10, 20], 30), ([0, 6, 12], 13)], 'one frame in 5'),
        ([([0], 9)] * 4, 'one frame of each video'),
        ([(range(9), 9)], None),
        ([([0, 1, 2, 7, 8], 9)], None),
        ([([0, 5], 9), ([], 9)], None),  # too few to tell
        ([([0], 1)] * 9, None),
        ([(range(0, 30, 5), 30), (range(30), 30)], None),
        ([], None),
    ],
)
def test_strides(shown, stride):
    assert find_stride(shown) == stride


@pytest.mark.parametrize(
    ('value', 'fault'),
    [
        (None, None),
        ([0, 5, 10], None),
        ([0, 5, 10, 7], None),
        ([0, 5], 'the object has a mask here, but the frame is not among the annotated_frames'),
        ([], 'the object has a mask here'),
        *((value, NO_FRAMES) for value in (5, '0', {}, True, [[0]], [None])),
        *((value, NO_FRAMES) for value in ([0, 5, 5, 10], [-1, 0, 5, 10], [0, 5, 10.0])),
        ([0, 5, 10, 11], 'frame numbers from 0 to 10, found [0, 5, 10, 11]'),
        ([0, 5, 10**30], 'frame numbers from 0'),
    ],
)
def test_annotated_frames_of_a_video(tmp_path, value, fault):
    path, found = findings(tmp_path, sparse_content(annotated_frames=value))
    errors = [one for one in found if one.startswith('error')]
    assert bool(errors) == (fault is not None)
    assert all(fault in one for one in errors)
    readers = (
        lambda path: YouTubeVIS(str(path), data_prefix=dict(img=str(tmp_path))).full_init(),
        read_divisible,
        read_ground_truth,
    )
    for reader in readers:
        if fault is None:
            reader(path)
            continue
        with pytest.raises(UserError) as caught:
            reader(path)
        assert fault in str(caught.value)
