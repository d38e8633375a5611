import pytest
import torch

from vispropnet.errors import UserError
from vispropnet.models.frames import Frame, TrackScores, split_frames


def test_features_of_any_form_are_split():
    values = torch.arange(12.0).reshape(3, 4)
    features = dict(fine=values, coarse=[values[:, :2], (values[:, :1],)])
    frames = split_frames(features, [dict(frame_id=number) for number in (5, 6, 7)])
    assert [frame.number for frame in frames] == [5, 6, 7]
    assert frames[1].features['fine'].tolist() == [[4, 5, 6, 7]]
    first, (second,) = frames[2].features['coarse']
    assert first.tolist() == [[8, 9]] and second.tolist() == [[8]]
    assert split_frames(values[:0], []) == []
    with pytest.raises(ValueError, match='expected features of 2 frames, got 3'):
        split_frames(values, [dict(frame_id=0)] * 2)


def test_frames_of_a_video_have_one_size():
    frame = Frame(None, dict(frame_id=4, video_id=9, ori_shape=(20, 30, 3)))
    assert frame.size_after(None) == frame.size_after((20, 30)) == (20, 30)
    told = 'frame 4 of video 9 has 30x20 pixels, the frames before it have 20x30'
    with pytest.raises(UserError, match=told):
        frame.size_after((30, 20))
    with pytest.raises(UserError, match='^frame 1 has 30x20 pixels'):
        Frame(None, dict(frame_id=1, ori_shape=(20, 30))).size_after((9, 9))


def test_the_best_category_of_a_track_stays_whatever_it_scores():
    scores = TrackScores(
        ids=torch.tensor([4, 4, 2, 4, 2]),
        labels=torch.tensor([0, 1, 1, 2, 0]),
        scores=torch.tensor([0.1, 0.6, 0.05, 0.3, 0.05]),
    )
    kept = scores.above(0.3)
    found = zip(kept.ids.tolist(), kept.labels.tolist(), kept.scores.tolist(), strict=True)
    assert list(found) == [
        (4, 1, pytest.approx(0.6)),
        (4, 2, pytest.approx(0.3)),
        (2, 1, pytest.approx(0.05)),
    ]
    assert len(scores.above(0.0).ids) == 5
    empty = TrackScores(torch.zeros(0).long(), torch.zeros(0).long(), torch.zeros(0)).above(0.3)
    assert empty.ids.tolist() == empty.scores.tolist() == []
