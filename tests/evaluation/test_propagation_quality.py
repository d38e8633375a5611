import pytest
import torch

from tests.models import small_models
from tests.models.small_models import SIZE, frame_sample, seeded_model
from vispropnet.errors import UserError
from vispropnet.evaluation.propagation_quality import annotated_videos, quality_by_distance

LEFT, RIGHT = [8, 8, 40, 40], [24, 8, 56, 40]  # half of each on the other: IoU 1/3
OTHER = [64, 24, 88, 56]


@pytest.fixture(scope='module')
def model():
    """Carries masks unchanged: of its head only what passes them on is left."""
    built = seeded_model(small_models.SMALL_MASK_PROP).eval()
    head = built.prop_head
    torch.nn.init.constant_(head.attention.bias, 20.0)
    torch.nn.init.zeros_(head.attention.weight)
    # All but the channel that is the mask.
    head.readout.logit.weight.data[:, :-1] = 0
    return built


def frame(*objects):
    """What a data set gives of a frame with these (box, id)."""
    boxes, ids = [box for box, _ in objects], [one for _, one in objects]
    sample = frame_sample(boxes, [0] * len(boxes), ids)
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (3, *SIZE), generator=generator).byte()
    return dict(inputs=image, data_samples=sample)


def test_by_hand(model):
    video = [
        frame((LEFT, 1), (OTHER, 2)),
        frame((OTHER, 2), (RIGHT, 1)),
        frame(),
        frame((RIGHT, 1), (OTHER, 7)),
    ]
    found = quality_by_distance(model, [video, video[3:]], 2)
    # At 0: both objects of the first two frames, two of the last, which is a video of its own too.
    assert [(one.distance, one.count) for one in found] == [(0, 8), (1, 4), (2, 2)]
    # At 1: from frame 0 to 1 and back, one of 1/3 and one at rest. At 2: at rest, from 1 to 3.
    assert [one.copied for one in found] == pytest.approx([1, 2 / 3, 1])
    for one in found:
        # Cells of 4 pixels: corners are rounded.
        assert one.carried == pytest.approx(one.copied, abs=0.12)
    assert found[0].carried > 0.9


def test_distances_are_within_the_reach(model):
    video = [frame((LEFT, 1))] * 4
    (one, two) = quality_by_distance(model, [video], 1)
    assert (one.count, two.count) == (4, 6)


def test_what_cannot_be_measured(model):
    with pytest.raises(UserError, match='the videos show no object'):
        quality_by_distance(model, [[frame()]], 2)
    other = seeded_model(small_models.SMALL)
    with pytest.raises(UserError, match='a MaskTrackRCNN has no mask propagation head'):
        quality_by_distance(other, [[frame((LEFT, 1))]], 2)


def test_videos_of_a_data_set():
    class Frames(list):
        video_lengths = (2, 1, 3)

    found = [list(video) for video in annotated_videos(Frames('abcdef'), 2)]
    assert found == [['a', 'b'], ['c']]
    assert len(list(annotated_videos(Frames('abcdef')))) == 3
