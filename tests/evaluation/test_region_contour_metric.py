"""J and F in validation: frames of videos as the loop hands them on."""

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData

from vispropnet.errors import UserError
from vispropnet.evaluation.region_contour import SequenceScorer, overall
from vispropnet.evaluation.region_contour_metric import RegionContourMetric, drawn_ids
from vispropnet.models.frame_masks import FrameMasks

SIZE = (16, 20)


def picture(objects):
    """Squares of 6 pixels: by id, their left sides."""
    ids = np.zeros(SIZE, np.uint8)
    for one, left in objects.items():
        ids[4:10, left : left + 6] = one
    return ids


def instances(ids):
    numbers = [one for one in np.unique(ids).tolist() if one]
    masks = torch.from_numpy(np.stack([ids == one for one in numbers] or [np.zeros(SIZE, bool)]))
    masks = FrameMasks.dense(masks[: len(numbers)])
    return InstanceData(ids=torch.tensor(numbers, dtype=torch.long), masks=masks)


def samples(video, pairs):
    """Dicts of frames, of the truth and of what was found."""
    return [
        dict(
            video_id=video,
            frame_id=frame,
            video_length=len(pairs),
            index_mask=truth,
            pred_instances=dict(instances(found).items()),
        )
        for frame, (truth, found) in enumerate(pairs)
    ]


# The second object comes in the second frame; of the last frame half is found.
VIDEOS = {
    3: [
        (picture({1: 0}), picture({1: 0})),
        (picture({1: 1, 2: 10}), picture({1: 2})),
        (picture({1: 2, 2: 10}), picture({1: 2, 2: 13})),
    ],
    'a': [(picture({7: 0}), picture({})), (picture({7: 3}), picture({7: 3}))],
    'empty': [(picture({}), picture({}))] * 3,
    'short': [(picture({1: 0}), picture({1: 0}))],
}


def expected(late, names):
    scores = []
    for name in names:
        scorer = SequenceScorer(str(name), len(VIDEOS[name]), late)
        for truth, found in VIDEOS[name]:
            scorer.add(truth, found if scorer.next_counts else None)
        scores.append(scorer.scores())
    metrics = overall(scores)
    return {f'vos/{name}': pytest.approx(metrics[name]) for name in ('J_mean', 'F_mean', 'JF')}


def test_videos_are_scored_as_their_frames_come():
    metric = RegionContourMetric()
    metric.dataset_meta = dict(late_objects=True)
    first, second = (samples(name, VIDEOS[name]) for name in (3, 'a'))
    # Mixed, several at once; twice, as validation comes again.
    for _ in range(2):
        for some in (first[:1], [second[0], *first[1:]], second[1:]):
            metric.process({}, some)
        for name in ('empty', 'short'):
            metric.process({}, samples(name, VIDEOS[name]))
        found = metric.evaluate()
        assert found == expected(True, (3, 'a'))
    # By hand: of object 1 a shift by one pixel of six, then none; of object 2 half of 6 columns.
    ious = [(5 / 7 + 1) / 2, 3 / 9, 1]
    assert found['vos/J_mean'] == pytest.approx(sum(ious) / 3)


def test_objects_are_those_of_the_first_frame_where_the_data_say_so():
    metric = RegionContourMetric()
    metric.dataset_meta = dict(late_objects=False)
    metric.process({}, samples(3, VIDEOS[3]))
    # The frame in the middle, and object 1 alone.
    assert metric.evaluate()['vos/J_mean'] == pytest.approx(5 / 7)


def test_faults_are_named():
    metric = RegionContourMetric('valid.json')
    metric.process({}, samples('empty', VIDEOS['empty']))
    with pytest.raises(UserError, match='no video of valid.json gives an object'):
        metric.evaluate()
    with pytest.raises(UserError, match='video 5: frame 0 has no ground truth'):
        metric.process({}, [dict(samples(5, VIDEOS[3])[0], index_mask=None)])
    metric = RegionContourMetric()
    metric.process({}, samples(3, VIDEOS[3])[:2])
    with pytest.raises(RuntimeError, match='video 3 was left unfinished'):
        metric.evaluate()
    for _ in range(2):
        metric.process({}, samples(3, VIDEOS[3]))
    with pytest.raises(RuntimeError, match=r'videos \[3\] were processed more than once'):
        metric.evaluate()


@pytest.mark.gpu
def test_masks_of_a_gpu_are_drawn():
    found = instances(picture({1: 0, 7: 9}))
    found = dict(ids=found.ids.cuda(), masks=FrameMasks.dense(found.masks.to_tensor().cuda()))
    assert (drawn_ids(found) == picture({1: 0, 7: 9})).all()
