import numpy as np
import pytest
import torch

from tests.evaluation.test_propagation_quality import LEFT, OTHER, RIGHT, frame
from tests.models import small_models
from tests.models.small_models import seeded_model
from vispropnet.errors import UserError
from vispropnet.visualization.carried_clip import carry_clip


@pytest.mark.parametrize('head', ['gated', 'paper'])
def test_a_clip_of_the_largest_objects(head):
    model = seeded_model(small_models.SMALL_MASK_PROP, **{'prop_head.head': head}).eval()
    torch.nn.init.normal_(model.prop_head.offset.weight, std=0.1)
    frames = [frame((RIGHT, 1)), frame(([0, 0, 8, 8], 3), (LEFT, 1), (OTHER, 2)), frame()]
    frames[0]['inputs'] = frames[0]['inputs'].flip(1)
    clip = carry_clip(model, frames, 1)
    assert [one.title for one in clip] == ['d = -1', 'its own frame', 'd = +1']
    for one, given in zip(clip, frames, strict=True):
        assert one.masks.shape == one.features.shape == (2, 16, 24) and one.stride == 4
        assert one.offsets.shape == (2, 16, 24)
        # BGR, as it is loaded, to RGB.
        assert np.array_equal(one.image[..., 0], given['inputs'][2].numpy())
    own = clip[1]
    assert not own.offsets.any() and np.abs(clip[0].offsets).mean() > 0.01
    # Features are those under the masks: of the square on the left first, then the other.
    inside = np.zeros((2, 16, 24), dtype=bool)
    inside[0, 2:10, 2:10], inside[1, 6:14, 16:22] = True, True
    assert (own.features > 0)[inside].all() and not own.features[~inside].any()


def test_a_frame_without_objects():
    model = seeded_model(small_models.SMALL_MASK_PROP).eval()
    with pytest.raises(UserError, match='frame 0 shows no object'):
        carry_clip(model, [frame(), frame((LEFT, 1))], 0)
