import cv2
import numpy as np
import pytest

from tests.apis.test_support_places import CONFIG, EAGER, build, folder  # noqa: F401


@pytest.fixture(scope='module')
def checkpoint(root, tmp_path_factory):
    import torch

    path = tmp_path_factory.mktemp('weights') / 'weights.pth'
    torch.save(dict(state_dict=build(root).state_dict()), path)
    return path


def test_the_picture_is_written_or_nothing(tool, root, checkpoint, folder, tmp_path):  # noqa: F811
    out = tmp_path / 'new' / 'support.png'
    common = root / CONFIG, checkpoint, folder, '--out', out
    status, said, _ = tool(*common, '--frame', 3, '--box', 8, 8, 40, 40)
    assert status == 0 and said.splitlines()[-1] == str(out)
    picture = cv2.imread(str(out))
    # The frame and three others, in a row; dots of many colours.
    assert picture.shape[1] > 4 * 360 and len(np.unique(picture.reshape(-1, 3), axis=0)) > 49
    out.unlink()
    for arguments, words in (
        (('--frame', -1), '--frame must be 0 or more, got -1'),
        (('--frame', 9), 'has no frame 9: it has 8'),
        (('--frame', 3, '--box', 8, 8, 400, 40), 'box 8 8 400 40 must be'),
        (('--frame', 3, '--out', tmp_path / 'a.jpg'), '--out must be named .png, got'),
    ):
        status, _, said = tool(*common, *arguments)
        assert status == 2 and words in said and not out.exists()
