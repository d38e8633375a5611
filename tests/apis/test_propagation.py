import json

import cv2
import pytest
import torch

from tests.models.small_models import SMALL_MASK_PROP, seeded_model
from vispropnet.apis.propagation import show_propagation
from vispropnet.errors import UserError


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp('carried') / 'start.pth'
    names = ['disc', 'square', 'triangle', 'star']
    meta = dict(dataset_meta=dict(classes=names, category_ids=[2, 4, 6, 8]))
    torch.save(dict(state_dict=seeded_model(SMALL_MASK_PROP).state_dict(), meta=meta), path)
    return path


def show(root, checkpoint, shapes, out, **options):
    overrides = [f'data_root={shapes}']
    given = dict(device='cpu', overrides=overrides, **options)
    return show_propagation(root / SMALL_MASK_PROP, checkpoint, out, **given)


def test_files(root, checkpoint, shapes, tmp_path):
    found = show(root, checkpoint, shapes, tmp_path / 'out', distance=2, videos=2)
    content = json.loads((tmp_path / 'out/quality.json').read_text())
    assert [one['distance'] for one in content] == [one.distance for one in found] == [0, 1, 2]
    assert content[0]['copied'] == 1 and content[0]['count'] > content[2]['count'] > 0
    for name in ('quality', 'clip'):
        assert cv2.imread(str(tmp_path / f'out/{name}.png')).std() > 20


@pytest.mark.parametrize(
    ('place', 'message'),
    [
        ((3, None), '--video must be below the number of videos, 3, got 3'),
        ((0, 3), '--frame must be below the number of frames, 3, got 3'),
    ],
)
def test_places_beyond_the_data(root, checkpoint, shapes, tmp_path, place, message):
    with pytest.raises(UserError, match=message):
        show(root, checkpoint, shapes, tmp_path / 'out', place=place)
    assert not (tmp_path / 'out').exists()
