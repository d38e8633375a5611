import json
import random
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.small_runs import assert_same_weights, quick
from tests.visualization.blocks import write_files
from vispropnet.apis.training import train
from vispropnet.datasets.samplers import VideoSampler
from vispropnet.datasets.ytvis import YouTubeVIS
from vispropnet.engine.hooks import validation_overlay
from vispropnet.engine.hooks.validation_overlay import ValidationOverlayHook, draw_beside_truth
from vispropnet.errors import UserError
from vispropnet.models.frame_masks import FrameMasks
from vispropnet.visualization.grid import CAPTION, GAP
from vispropnet.visualization.palette import track_color


@pytest.fixture
def blocks(tmp_path):
    """Videos 11 to 15 of three frames; in each frame two cats, at x = 20 and 160."""
    write_files(tmp_path)
    prefix = dict(img=str(tmp_path / 'images'))
    return YouTubeVIS(str(tmp_path / 'gt.json'), data_prefix=prefix, test_mode=True)


def instances(*columns, scores=None, **more):
    """Objects of 40 x 40 pixels, at (x, 50) for each x."""
    count = len(columns)
    masks = torch.zeros(count, 96, 240, dtype=torch.bool)
    for mask, x in zip(masks, columns, strict=True):
        mask[50:90, x : x + 40] = True
    more.update(ids=torch.arange(count), labels=torch.zeros(count, dtype=torch.long))
    scores = torch.tensor([0.9] * count if scores is None else scores)
    return InstanceData(scores=scores, masks=FrameMasks.dense(masks), **more)


def make_runner(dataset, by_epoch=True):
    """A runner whose visualizer keeps (name, image, step) of what it is given."""
    added, runner = [], SimpleNamespace(epoch=3, iter=70)
    runner.model = SimpleNamespace(takes_objects=False)
    runner.val_dataloader = SimpleNamespace(dataset=dataset, sampler=VideoSampler(dataset))
    runner.visualizer = SimpleNamespace(added=added, add_image=lambda *given: added.append(given))
    runner.log_processor = SimpleNamespace(by_epoch=by_epoch)
    return runner


def validate(hook, runner, found=None):
    """Goes through the frames as the validation loop does."""
    hook.before_val_epoch(runner)
    dataset = runner.val_dataloader.dataset
    for number, index in enumerate(runner.val_dataloader.sampler):
        info = dataset.get_data_info(index)
        sample = DetDataSample(metainfo={key: info[key] for key in ('video_id', 'frame_id')})
        sample.pred_instances = instances() if found is None else found
        hook.after_val_iter(runner, number, {}, [sample])
    return runner.visualizer.added


def in_training(**options):
    hook = ValidationOverlayHook(**options)
    hook.before_train(None)
    return hook


def test_middle_frames_are_spread_over_the_videos_and_bad_options_reported():
    lengths = np.array([4, 1, 3, 6, 2])  # they start at 0, 4, 5, 8 and 14
    middle_frames = validation_overlay.middle_frames
    found = [middle_frames(lengths, range(16), count) for count in (5, 9, 3, 1)]
    assert found == [[2, 4, 6, 11, 15], [2, 4, 6, 11, 15], [2, 6, 15], [2]]
    # A rank that has the second and the fourth video, and one without any.
    assert middle_frames(lengths, [4, *range(8, 14)], 4) == [4, 11]
    assert middle_frames(lengths, [], 4) == []
    whole, number = 'a whole number of at least 0', r'a number in \[0, 1\]'
    for option, value, expected in (
        *(('num_videos', value, whole) for value in (-1, 2.5, True)),
        *(('score_threshold', value, number) for value in (1.5, 'low')),
    ):
        with pytest.raises(UserError, match=f'{option} must be {expected}, got {value!r}'):
            ValidationOverlayHook(**{option: value})


def test_the_same_frames_are_drawn_each_time_and_generators_left_as_they_are(blocks, monkeypatch):
    def states():
        numbers = np.random.get_state()[1].tolist()  # noqa: NPY002
        return random.getstate(), numbers, torch.get_rng_state().tolist()

    before = states()
    assert len(validate(in_training(), make_runner(blocks), instances(20, 100))) == 4
    hook, runner = in_training(num_videos=3), make_runner(blocks)
    for epoch in (1, 2):
        runner.epoch = epoch
        validate(hook, runner, instances(20))
    assert states() == before
    names = [f'validation_video_{video}' for video in (11, 13, 15)]
    added = [(name, step) for name, _, step in runner.visualizer.added]
    assert added == [(name, epoch) for epoch in (1, 2) for name in names]
    runner = make_runner(blocks, by_epoch=False)
    assert [step for _, _, step in validate(hook, runner)] == [70] * 3
    # With ranks, videos of one length go to them in turn: 11, 13 and 15 to the first, which draws.
    monkeypatch.setattr('vispropnet.datasets.samplers.get_dist_info', lambda: (0, 2))
    drawn = validate(in_training(num_videos=9), make_runner(blocks))
    assert [name for name, _, _ in drawn] == names


def test_nothing_is_drawn_when_turned_off_outside_training_and_on_other_ranks(blocks, monkeypatch):
    assert not validate(in_training(num_videos=0), make_runner(blocks))
    # Nor are other frames looked at: predictions that cannot be read.
    hook, runner = in_training(), make_runner(blocks)
    hook.before_val_epoch(runner)
    samples = [SimpleNamespace(video_id=11, frame_id=frame) for frame in (0, 2)]
    hook.after_val_iter(runner, 0, {}, samples)
    assert not runner.visualizer.added
    assert not validate(hook := ValidationOverlayHook(), make_runner(blocks))
    hook.before_train(None)
    with monkeypatch.context() as patch:
        patch.setattr(validation_overlay, 'is_main_process', lambda: False)
        assert not validate(hook, make_runner(blocks))
    hook.after_train(None)
    assert not validate(hook, make_runner(blocks))


def drawn(info, found):
    """The halves of a picture, for the ground truth and for what was found."""
    picture = draw_beside_truth(info, found, ['cat'], 0.3)
    assert picture.shape == (CAPTION + 192, 2 * 480 + GAP, 3) and picture.dtype == np.uint8
    return picture[CAPTION:, :480], picture[CAPTION:, -480:]


def shows(panel, x, number):
    """Checks whether the 40 x 40 object at (x, 50) has the outline colour of a number."""
    rim = panel[100:180, 2 * x]  # frames of 240 x 96 are enlarged twice
    return (rim == track_color(number)).all(-1).mean() > 0.5


def test_found_objects_have_the_colours_of_the_true_ones(blocks):
    info = blocks.get_data_info(1)
    kept = json.dumps(info)
    # The second true object is followed, the first is not; one of the others scores too little.
    found = instances(90, 162, 20, scores=[0.8, 0.6, 0.2])
    truth, result = drawn(info, found)
    assert shows(truth, 20, 1) and shows(truth, 160, 2)
    assert shows(result, 162, 2) and shows(result, 90, 3)
    assert not any(shows(result, 20, number) for number in range(1, 5))
    assert json.dumps(info) == kept
    # It is drawn in RGB: what was blue, green, red comes the other way round.
    hook, runner = in_training(num_videos=1), make_runner(blocks)
    ((_, image, _),) = validate(hook, runner, found)
    assert np.array_equal(image[..., ::-1], draw_beside_truth(info, found, ['cat'], 0.3))


def test_frames_without_objects_are_shown_plain_and_large_ones_are_shrunk(blocks, tmp_path):
    info = dict(blocks.get_data_info(1), instances=[])
    for found in (instances(), instances(20, scores=[0.1])):
        truth, result = drawn(info, found)
        assert np.array_equal(truth, result) and len(np.unique(truth)) == 1  # the frame is gray
    path = str(tmp_path / 'frame.png')
    cv2.imwrite(path, np.full((720, 1280, 3), 90, np.uint8))
    found = instances()
    found.masks = FrameMasks((720, 1280))
    large = draw_beside_truth(dict(info, img_path=path, height=720, width=1280), found, [], 0.3)
    assert large.shape == (CAPTION + 270, 960 + GAP, 3)


def test_propagated_masks_have_dashes_and_plain_arrays_will_do(blocks):
    info, dense = blocks.get_data_info(1), instances(20)
    plain = drawn(info, dense)
    dashed = drawn(info, instances(20, propagated=torch.tensor([True])))
    few, many = ((result[90:190] == 255).all(-1).sum() for _, result in (plain, dashed))
    assert many > few
    dense.masks = dense.masks.to_tensor()
    assert np.array_equal(drawn(info, dense), plain)


def test_tensorboard_has_pictures_and_training_is_the_same(trained, shapes, small, tmp_path):
    """The shared training was without pictures."""
    options = [f'default_hooks.overlays.{one}' for one in ('num_videos=2', 'score_threshold=0.0')]
    train(small, tmp_path, overrides=quick(shapes, *options))
    files = [work_dir.glob('*/vis_data/events.out.tfevents.*') for work_dir in (tmp_path, trained)]
    ours, theirs = (EventAccumulator(str(path)).Reload() for (path,) in files)
    tags = ours.Tags()['images']
    assert tags == ['validation_video_1', 'validation_video_3'] and not theirs.Tags()['images']
    for tag in tags:
        events = ours.Images(tag)
        assert [event.step for event in events] == [1, 2]
        # Frames of 96 x 64 are enlarged five times.
        assert {(event.height, event.width) for event in events} == {(CAPTION + 320, 960 + GAP)}
    for tag, steps in (('loss', 6), ('loss_match', 6), ('ytvis/mAP', 2)):
        found = [(event.step, event.value) for event in ours.Scalars(tag)]
        assert [step for step, _ in found] == list(range(1, steps + 1))
        assert found == [(event.step, event.value) for event in theirs.Scalars(tag)]
    files = sorted(path.name for path in tmp_path.glob('*/vis_data/vis_image/*'))
    assert files == [f'validation_video_{video}_{step}.png' for video in (1, 3) for step in (1, 2)]
    assert not list(trained.glob('*/vis_data/vis_image/*'))
    assert_same_weights(tmp_path, trained)
