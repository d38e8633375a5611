import pytest
import torch
from pycocotools import mask as mask_utils

from benchmarking import infer
from benchmarking.settings import InferSettings
from tests.models.small_models import MINVIS


@pytest.fixture
def settings(root):
    config = str(root / MINVIS)
    pair = dict(config=config, baseline=config)
    return InferSettings(**pair, size=(96, 64), detections=3, repeats=1, memory=False)


def test_both_find_the_same_masks(settings):
    ours, baseline = (infer.make(name, settings)()[0] for name in ('ours', 'baseline'))
    assert 0 < len(ours) <= 3 and len(baseline) == 3
    theirs = mask_utils.decode(baseline.rles)
    for rle in ours.rles:
        mask = mask_utils.decode(rle)
        assert max((theirs[..., one] == mask).mean() for one in range(3)) > 0.999


def test_the_last_line(settings, last_line):
    row = infer.benchmark(settings)
    assert last_line() == row and row['baseline_by'] == 'PlainQueriesRunner'
    parts = {'decode', 'preprocess', 'backbone and neck', 'queries', 'association', 'masks'}
    assert all(set(one) == parts | {'encode', 'rest'} for one in row['parts_s'].values())
    assert all(seconds >= 0 for one in row['parts_s'].values() for seconds in one.values())


def test_tracks_of_the_baseline_go_on_with_the_nearest_embedding(settings):
    runners = {}
    infer.make('baseline', settings, runners)
    runner, prepare = runners['baseline']
    frame, state = runner.encode([1])[0], prepare()
    order = torch.randperm(len(state))
    # The frame is the same, so its embeddings go where theirs are.
    torch.testing.assert_close(runner.step(frame, state[order])[1], state[order])
