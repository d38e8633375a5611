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

from tests.small_runs import quick
from tests.visualization.blocks import write_files
from vispropnet.apis.training import train
from vispropnet.datasets.samplers import VideoSampler
from vispropnet.datasets.ytvis import YouTubeVIS
from vispropnet.engine.hooks import validation_overlay
from vispropnet.engine.hooks.validation_overlay import (
    ValidationOverlayHook,
    draw_beside_truth,
    middle_frames,
)
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


def mask_of(x):
    mask = torch.zeros(96, 240, dtype=torch.bool)
    mask[50:90, x : x + 40] = True
    return mask


def instances(*columns, scores=None, **more):
    masks = [mask_of(x) for x in columns] or [torch.zeros(96, 240, dtype=torch.bool)]
    return InstanceData(
        ids=torch.arange(len(columns)),
        labels=torch.zeros(len(columns), dtype=torch.long),
        scores=torch.tensor([0.9] * len(columns) if scores is None else scores),
        masks=FrameMasks.dense(torch.stack(masks)[: len(columns)]),
        **more,
    )


def make_runner(dataset, by_epoch=True):
    """A runner whose visualizer keeps (name, image, step) of what it is given."""
    added = []
    return SimpleNamespace(
        val_dataloader=SimpleNamespace(dataset=dataset, sampler=VideoSampler(dataset)),
        visualizer=SimpleNamespace(added=added, add_image=lambda *given: added.append(given)),
        log_processor=SimpleNamespace(by_epoch=by_epoch),
        epoch=3,
        iter=70,
    )


def validate(hook, runner, found=None):
    """Goes through the frames as the validation loop does."""
    hook.before_val_epoch(runner)
    dataset = runner.val_dataloader.dataset
    for number, index in enumerate(runner.val_dataloader.sampler):
        info = dataset.get_data_info(index)
        meta = {key: info[key] for key in ('video_id', 'frame_id')}
        sample = DetDataSample(metainfo=meta)
        sample.pred_instances = instances() if found is None else found
        hook.after_val_iter(runner, number, {}, [sample])
    return runner.visualizer.added


def in_training(**options):
    hook = ValidationOverlayHook(**options)
    hook.before_train(None)
    return hook


def test_middle_frames_are_spread_over_the_videos():
    lengths = np.array([4, 1, 3, 6, 2])  # they start at 0, 4, 5, 8 and 14
    frames = range(16)
    assert middle_frames(lengths, frames, 5) == [2, 4, 6, 11, 15]
    assert middle_frames(lengths, frames, 9) == [2, 4, 6, 11, 15]
    assert middle_frames(lengths, frames, 3) == [2, 6, 15]
    assert middle_frames(lengths, frames, 1) == [2]
    # A rank that has the second and the fourth video, and one without any.
    assert middle_frames(lengths, [4, *range(8, 14)], 4) == [4, 11]
    assert middle_frames(lengths, [], 4) == []


def test_the_same_middle_frames_are_drawn_at_each_validation(blocks):
    hook, runner = in_training(num_videos=3), make_runner(blocks)
    for epoch in (1, 2):
        runner.epoch = epoch
        validate(hook, runner, instances(20))
    names = [f'validation_video_{video}' for video in (11, 13, 15)]
    assert [(name, step) for name, _, step in runner.visualizer.added] == [
        (name, epoch) for epoch in (1, 2) for name in names
    ]
    runner = make_runner(blocks, by_epoch=False)
    assert [step for _, _, step in validate(hook, runner)] == [70] * 3


def test_other_frames_are_not_looked_at(blocks):
    hook, runner = in_training(), make_runner(blocks)
    hook.before_val_epoch(runner)
    # Predictions that cannot be read.
    samples = [SimpleNamespace(video_id=11, frame_id=frame) for frame in (0, 2)]
    hook.after_val_iter(runner, 0, {}, samples)
    assert not runner.visualizer.added


def test_nothing_is_drawn_when_turned_off_outside_training_and_on_other_ranks(blocks, monkeypatch):
    assert not validate(in_training(num_videos=0), make_runner(blocks))
    hook = ValidationOverlayHook()
    assert not validate(hook, make_runner(blocks))
    hook.before_train(None)
    with monkeypatch.context() as patch:
        patch.setattr(validation_overlay, 'is_main_process', lambda: False)
        assert not validate(hook, make_runner(blocks))
    hook.after_train(None)
    assert not validate(hook, make_runner(blocks))


def test_with_ranks_the_main_process_draws_videos_of_its_own(blocks, monkeypatch):
    monkeypatch.setattr('vispropnet.datasets.samplers.get_dist_info', lambda: (0, 2))
    # Videos of one length go to the ranks in turn: 11, 13 and 15 to the first.
    names = [name for name, _, _ in validate(in_training(num_videos=9), make_runner(blocks))]
    assert names == [f'validation_video_{video}' for video in (11, 13, 15)]


def test_generators_are_left_as_they_are(blocks):
    def states():
        numbers = np.random.get_state()[1].tolist()  # noqa: NPY002
        return random.getstate(), numbers, torch.get_rng_state().tolist()

    before = states()
    assert len(validate(in_training(), make_runner(blocks), instances(20, 100))) == 4
    assert states() == before


def shows(panel, x, number):
    """Checks whether the 40 x 40 object at (x, 50) has the outline colour of a number."""
    rim = panel[100:180, 2 * x]  # frames of 240 x 96 are enlarged twice
    return (rim == track_color(number)).all(-1).mean() > 0.5


def halves(picture):
    """The parts of a picture for the ground truth and for what was found."""
    assert picture.shape == (CAPTION + 192, 2 * 480 + GAP, 3) and picture.dtype == np.uint8
    return picture[CAPTION:, :480], picture[CAPTION:, -480:]


def test_found_objects_have_the_colours_of_the_true_ones(blocks):
    info = blocks.get_data_info(1)
    kept = json.dumps(info)
    # The second true object is followed, the first is not; one of the others scores too little.
    found = instances(90, 162, 20, scores=[0.8, 0.6, 0.2])
    truth, result = halves(draw_beside_truth(info, found, ['cat'], 0.3))
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
        truth, result = halves(draw_beside_truth(info, found, ['cat'], 0.3))
        assert np.array_equal(truth, result) and len(np.unique(truth)) == 1  # the frame is gray
    path = str(tmp_path / 'frame.png')
    cv2.imwrite(path, np.full((720, 1280, 3), 90, np.uint8))
    found = instances()
    found.masks = FrameMasks((720, 1280))
    large = draw_beside_truth(dict(info, img_path=path, height=720, width=1280), found, [], 0.3)
    assert large.shape == (CAPTION + 270, 960 + GAP, 3)


def test_propagated_masks_have_dashes_and_plain_arrays_will_do(blocks):
    info = blocks.get_data_info(1)
    plain = draw_beside_truth(info, instances(20), ['cat'], 0.3)
    carried = instances(20, propagated=torch.tensor([True]))
    dashed = draw_beside_truth(info, carried, ['cat'], 0.3)
    white = [
        (picture[CAPTION + 90 : CAPTION + 190] == 255).all(-1).sum() for picture in (plain, dashed)
    ]
    assert white[1] > white[0]
    dense = instances(20)
    dense.masks = mask_of(20)[None]
    assert np.array_equal(draw_beside_truth(info, dense, ['cat'], 0.3), plain)


@pytest.mark.parametrize(
    ('option', 'value', 'expected'),
    [
        ('num_videos', -1, 'a whole number of at least 0, got -1'),
        ('num_videos', 2.5, 'a whole number of at least 0, got 2.5'),
        ('num_videos', True, 'a whole number of at least 0, got True'),
        ('score_threshold', 1.5, r'a number in \[0, 1\], got 1.5'),
        ('score_threshold', 'low', r"a number in \[0, 1\], got 'low'"),
    ],
)
def test_bad_options_are_reported(option, value, expected):
    with pytest.raises(UserError, match=f'{option} must be {expected}'):
        ValidationOverlayHook(**{option: value})


def events_of(work_dir):
    (events,) = work_dir.glob('*/vis_data/events.out.tfevents.*')
    accumulator = EventAccumulator(str(events))
    accumulator.Reload()
    return accumulator


def test_tensorboard_has_losses_metrics_and_pictures_and_training_is_the_same(
    trained, shapes, small, tmp_path
):
    """The shared training was without pictures."""
    options = [f'default_hooks.overlays.{one}' for one in ('num_videos=2', 'score_threshold=0.0')]
    train(small, tmp_path, overrides=quick(shapes, *options))
    drawn, plain = events_of(tmp_path), events_of(trained)
    tags = drawn.Tags()
    assert tags['images'] == ['validation_video_1', 'validation_video_3']
    assert plain.Tags()['images'] == []
    for tag in tags['images']:
        events = drawn.Images(tag)
        assert [event.step for event in events] == [1, 2]
        # Frames of 96 x 64 are enlarged five times.
        assert {(event.height, event.width) for event in events} == {(CAPTION + 320, 960 + GAP)}
    for tag, steps in (('loss', 6), ('loss_match', 6), ('ytvis/mAP', 2)):
        ours, theirs = drawn.Scalars(tag), plain.Scalars(tag)
        assert [event.step for event in ours] == list(range(1, steps + 1))
        assert [event.value for event in ours] == [event.value for event in theirs]
    files = sorted(path.name for path in tmp_path.glob('*/vis_data/vis_image/*'))
    assert files == [f'validation_video_{video}_{step}.png' for video in (1, 3) for step in (1, 2)]
    assert not list(trained.glob('*/vis_data/vis_image/*'))
    ours, weights = (
        torch.load(folder / 'epoch_2.pth', weights_only=False)['state_dict']
        for folder in (tmp_path, trained)
    )
    assert ours.keys() == weights.keys()
    assert all(torch.equal(ours[key], weights[key]) for key in weights)
