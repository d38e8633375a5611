import torch

from benchmarking.postprocess import benchmark, draw, make
from benchmarking.settings import PostprocessSettings as Settings


def test_both_make_the_same_masks():
    settings = Settings(detections=12, size=(200, 120), sides=(0.1, 0.9), seed=3)
    ours, baseline = (make(name, settings) for name in ('ours', 'baseline'))
    found, expected = ours(), baseline()
    assert len(found) == 12 and len({rle['counts'] for rle in found}) == 12
    for one, other in zip(found, expected, strict=True):
        assert one['size'] == other['size'] == [120, 200]
        assert one['counts'].encode() == other['counts']
    # Run again on the same inputs: mmdet scales boxes in place.
    assert baseline() == expected


def test_drawn_boxes_lie_inside_the_frame():
    logits, labels, boxes = draw(Settings(detections=50, size=(64, 48), sides=(0.25, 0.5)))
    assert logits.shape == (50, 40, 28, 28) and labels.shape == (50,)
    sides = boxes[:, 2:] - boxes[:, :2]
    assert boxes.min() >= 0 and (boxes[:, 2:] <= torch.tensor([64, 48])).all()
    assert sides[:, 0].min() >= 16 and sides[:, 0].max() <= 32


def test_last_line(last_line):
    row = benchmark(Settings(detections=3, size=(64, 48), repeats=1, memory=False))
    assert last_line() == row
    assert row['name'] == 'postprocess' and row['differing_pixels'] == row['max_abs_diff'] == 0
    assert row['detections'] == 3 and 0 < row['mean_box_share'] < 1
