from unittest import mock

import cv2
import numpy as np
import pytest
import torch

from tests.models.small_models import SMALL
from vispropnet.apis import VideoSegmenter, init_model, support_places
from vispropnet.apis.support_places import draw_support_places
from vispropnet.engine.inference import encode_frames
from vispropnet.errors import UserError
from vispropnet.video import open_source

CONFIG = 'configs/temporal_roi_align/masktrack-rcnn_r18_fpn_2e_moving-shapes_temporal-roi-align.py'
EXTRACTOR = 'model.detector.roi_head.bbox_roi_extractor'
EAGER = 'model.detector.test_cfg.rcnn.score_thr=0.0'


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Eight frames of noise of 80x48, half of what the network takes."""
    path, generator = tmp_path_factory.mktemp('frames'), np.random.default_rng(0)
    for number in range(8):
        frame = generator.integers(0, 256, (6, 10, 3), dtype=np.uint8)
        cv2.imwrite(str(path / f'{number}.png'), cv2.resize(frame, (80, 48)))
    return path


def build(root, *overrides, config=CONFIG):
    torch.manual_seed(0)
    model = init_model(root / config, None, 'cpu', overrides=[EAGER, *overrides])
    model.init_weights()
    return model.eval()


def drawn(model, folder, *arguments):
    """What is given to be drawn."""
    seen, blank = [], np.zeros((1, 1, 3), np.uint8)
    with mock.patch.object(
        support_places, 'draw_support', lambda *some: seen.append(some) or blank
    ):
        draw_support_places(model, open_source(folder), *arguments)
    return seen


def slow_places(model, folder, numbers, frame, box, level):
    """Where each cell looks at one level, position by position."""
    segmenter = VideoSegmenter(model)
    images = {n: cv2.imread(str(folder / f'{n}.png')) for n in (frame, *numbers)}
    prepared = {n: segmenter.prepare(image) for n, image in images.items()}
    features = {
        n: encode_frames(model, [one['inputs']], [one['data_samples']])[0].features
        for n, one in prepared.items()
    }
    extractor = model.detector.roi_head.bbox_roi_extractor
    roi = torch.tensor([[0.0, *(2 * side for side in box)]])
    # Without support it is RoIAlign.
    cells = type(extractor).__mro__[1].forward(extractor, features[frame][:3], roi)[0]
    best = np.zeros((len(numbers), 7, 7, 2))
    for which, number in enumerate(numbers):
        (found,) = features[number][level]
        stride = 4 * 2**level
        for row in range(7):
            for column in range(7):
                cosines = torch.cosine_similarity(
                    found.flatten(1), cells[:, row, column, None], dim=0
                )
                y, x = divmod(int(cosines.argmax()), found.shape[2])
                # A pixel of the frame is two of the network's input.
                best[which, row, column] = (x + 0.5) * stride / 2, (y + 0.5) * stride / 2
    return best


@pytest.mark.parametrize(
    ('frame', 'box', 'changes', 'numbers', 'level'),
    [
        (5, (8, 8, 40, 40), [], [0, 1, 2, 3, 4], 2),
        (7, (8, 8, 40, 40), ['model.support.num_frames=2'], [5, 6], 2),
        (
            2,
            (30, 8, 36, 14),
            [f'{EXTRACTOR}.level=own', 'model.support.mode=offline', 'model.support.num_frames=3'],
            [0, 4, 7],
            0,
        ),
    ],
)
def test_places_are_those_of_the_most_similar_features(
    root, folder, frame, box, changes, numbers, level
):
    model = build(root, *changes)
    ((current, others, given, places, spacing, title, captions),) = drawn(model, folder, frame, box)
    assert (current == cv2.imread(str(folder / f'{frame}.png'))).all()
    for number, other in zip(numbers, others, strict=True):
        assert (other == cv2.imread(str(folder / f'{number}.png'))).all()
    assert captions == [f'frame {number}' for number in (frame, *numbers)]
    assert given == list(box) and title == 'detector.roi_head.bbox_roi_extractor'
    assert spacing == (2.0 * 2**level, 2.0 * 2**level) and places.shape == (
        len(numbers),
        7,
        7,
        2,
        2,
    )
    expected = slow_places(model, folder, numbers, frame, box, level)
    np.testing.assert_allclose(places[..., 0, :], expected)


def test_the_best_detection_and_every_part_that_looks(root, folder):
    kind = 'type=vispropnet.TemporalRoIAlign'
    model = build(root, f'model.detector.roi_head.mask_roi_extractor.{kind}')
    parts = drawn(model, folder, 3)
    names = [f'detector.roi_head.{part}_roi_extractor' for part in ('bbox', 'mask')]
    assert [one[5] for one in parts] == names
    segmenter = VideoSegmenter(model)
    for number in range(4):
        ((_, found),) = segmenter.step(cv2.imread(str(folder / f'{number}.png')))
    assert parts[0][2] == found.boxes[found.scores.argmax()].tolist()
    picture = draw_support_places(model, open_source(folder), 3)
    assert picture.dtype == np.uint8 and picture.shape[0] > 2 * 216


def test_what_cannot_be_drawn_is_named(root, folder):
    model, plain = build(root), build(root, config=SMALL)
    none = 'no frame supports frame {}: the model of this config looks at single frames, or'
    for one, arguments, words in (
        (model, (8,), 'has no frame 8: it has 8, counted from 0'),
        (model, (0,), none.format(0)),
        (plain, (3,), none.format(3)),
        (model, (3, (10, 10, 90, 40)), 'box 10 10 90 40 must be x1 y1 x2 y2 with x1 < x2 <= 80'),
        (model, (3, (10, 10, 10, 40)), 'box 10 10 10 40 must be'),
    ):
        with pytest.raises(UserError, match=words):
            draw_support_places(one, open_source(folder), *arguments)
    nothing = build(root, 'model.detector.test_cfg.rcnn.score_thr=1.0')
    with pytest.raises(UserError, match='nothing is found in frame 3: give a box'):
        draw_support_places(nothing, open_source(folder), 3)
