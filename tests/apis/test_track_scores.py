"""Scores of tracks by the model's own rule, from a video to the result file."""

import json

import cv2
import numpy as np
import pytest
import torch

from tests.models.small_models import MINVIS
from vispropnet.apis import VideoSegmenter, init_model
from vispropnet.apis.video_outputs import segment_to_files
from vispropnet.video import open_source


@pytest.fixture(scope='module')
def model(root):
    torch.manual_seed(0)
    model = init_model(root / MINVIS, None, 'cpu')
    model.init_weights()
    # Queries that differ in what they find.
    torch.nn.init.normal_(model.detector.panoptic_head.cls_embed.weight, std=0.3)
    return model.eval()


@pytest.fixture
def folder(tmp_path):
    """Three frames."""
    images = np.random.default_rng(0).integers(0, 256, (3, 96, 160, 3), dtype=np.uint8)
    (tmp_path / 'frames').mkdir()
    for number, image in enumerate(images):
        cv2.imwrite(str(tmp_path / f'frames/{number}.png'), image)
    return tmp_path / 'frames', images


def entries_of(scores, shown):
    pairs = zip(scores.ids.tolist(), scores.labels.tolist(), scores.scores.tolist(), strict=True)
    return sorted((1 + label, score) for track, label, score in pairs if track in shown)


@pytest.mark.parametrize('threshold', [0.0, 0.25])
def test_a_result_file_has_the_scores_of_the_video(model, folder, tmp_path, threshold):
    path, images = folder
    segmenter, shown = VideoSegmenter(model, threshold), set()
    assert segmenter.track_scores is None
    for image in images:
        for _, found in segmenter.step(image):
            shown |= set(found.ids.tolist())
    assert segmenter.finish() == [] and len(shown) > 3
    scores = segmenter.track_scores
    # Of each of the 16 tracks the best of the 4 categories, and others that score enough.
    assert set(scores.ids.tolist()) == set(range(16))
    assert (len(scores.ids) == 16 * 4) == (threshold == 0)
    outcome = segment_to_files(
        model, open_source(path), results=tmp_path / 'out.json', score_threshold=threshold
    )
    assert outcome.error is None
    entries = json.loads((tmp_path / 'out.json').read_text())
    found = sorted((one['category_id'], one['score']) for one in entries)
    assert found == entries_of(scores, shown)


def test_another_video_has_scores_of_its_own(model, folder):
    segmenter, alone = VideoSegmenter(model), []
    for some in (folder[1][:2], folder[1][2:]):
        for image in some:
            segmenter.step(image)
        segmenter.finish()
        alone.append(segmenter.track_scores.scores)
    assert not torch.equal(*alone)
    fresh = VideoSegmenter(model)
    fresh.step(folder[1][2])
    fresh.finish()
    assert torch.equal(fresh.track_scores.scores, alone[1])
