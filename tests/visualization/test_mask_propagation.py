import cv2
import numpy as np
import pytest

from vispropnet.evaluation.propagation_quality import Quality
from vispropnet.visualization.carried_clip import CarriedFrame
from vispropnet.visualization.mask_propagation import draw_clip, draw_quality

pytestmark = pytest.mark.filterwarnings('error')


def carried(title, right):
    """Two objects, one of which is carried to nowhere; arrows lead to the right."""
    masks = np.zeros((2, 16, 24), dtype=np.float32)
    masks[0, 4:8, 4:8] = 0.9
    offsets = np.stack([np.zeros((16, 24)), np.full((16, 24), right)])
    return CarriedFrame(title, np.full((64, 96, 3), 90, np.uint8), 2 * masks, masks, offsets, 4)


def test_quality_over_distance(drawn, tmp_path):
    found = [Quality(0, 0.9, 1.0, 4), Quality(1, 0.7, 0.5, 8), Quality(3, 0.4, 0.1, 2)]
    draw_quality(found, tmp_path / 'quality.png')
    (axes,) = drawn[0].axes
    lines = {line.get_label(): line.get_xydata().tolist() for line in axes.lines}
    assert lines['carried'] == [[0, 0.9], [1, 0.7], [3, 0.4]]
    assert lines['left where they were'] == [[0, 1.0], [1, 0.5], [3, 0.1]]


def test_panels_and_arrows_of_a_clip(drawn, tmp_path):
    draw_clip([carried('d = -1', 0.0), carried('its own frame', 2.0)], tmp_path / 'clip.png')
    panels = np.array(drawn[0].axes).reshape(3, 2)
    assert [one.get_title(loc='left') for one in panels[0]] == ['d = -1', 'its own frame']
    assert [one.get_ylabel() for one in panels[1:, 0]] == ['object 1', 'object 2']
    arrows = [one for one in panels[1, 1].collections if hasattr(one, 'U')]
    (arrow,) = arrows
    # In pixels, from the centres of the 16 cells of the mask, two cells to the right.
    assert arrow.N == 16 and (arrow.U == 8).all() and not arrow.V.any()
    assert (arrow.X.min(), arrow.X.max()) == (17.5, 29.5)
    (none,) = [one for one in panels[2, 1].collections if hasattr(one, 'U')]
    assert none.N == 0


def test_a_picture_is_written(tmp_path):
    draw_clip([carried('d = 0', 1.0)], tmp_path / 'clip.png')
    picture = cv2.imread(str(tmp_path / 'clip.png'))
    assert picture.std() > 20
