import itertools
import weakref
from unittest.mock import Mock

import cv2
import numpy as np
import pytest
import torch

from tests.models.delayed import BrightPixels
from tests.models.small_models import SMALL_OBJPROP
from vispropnet.apis import VideoSegmenter, init_model, segment_video
from vispropnet.apis.segmentation import VideoSegmentation
from vispropnet.errors import UserError


@pytest.fixture(scope='module')
def model(root):
    """Untrained, and so finds ten things in any frame."""
    torch.manual_seed(0)
    eager = ['model.detector.test_cfg.rcnn.score_thr=0.0', 'model.recovery.mask_threshold=0.3']
    model = init_model(root / SMALL_OBJPROP, None, 'cpu', overrides=eager)
    model.init_weights()
    return model.eval()


def bright_of(model, look_ahead=0, fault=None, overview=0):
    """A model that answers after so many frames, with the config of another."""
    made = BrightPixels(look_ahead, fault, overview=overview)
    made.cfg, made.classes = model.cfg, ('a', 'b')
    return made.eval()


@pytest.fixture(params=[0, 3])
def bright(request, model):
    return bright_of(model, request.param)


def frames(count=4, shape=(60, 90, 3), seed=0):
    return list(np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8))


def instances(model, images, **options):
    """What is found in the frames, whatever it scores."""
    return [one.instances for one in segment_video(model, images, 0.0, **options)]


def step(segmenter, frame):
    """Takes a frame of a model that answers at once."""
    ((number, found),) = segmenter.step(frame)
    assert number == segmenter.num_frames - 1
    return found


def same(ones, others):
    for one, other in zip(ones, others, strict=True):
        for name in ('ids', 'labels', 'scores', 'boxes', 'propagated'):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        assert one.masks.rles() == other.masks.rles()


def refused(model, images, words, **options):
    """Gives the positions of the frames that come before an error."""
    seen = []
    with pytest.raises(UserError, match=words):
        seen.extend(one.index for one in segment_video(model, images, **options))
    return seen


def test_instances_of_frames_and_those_that_a_threshold_leaves(model):
    found = step(VideoSegmenter(model), frames(1)[0])
    assert len(found) == 10 and found.ids.tolist() == list(range(10))
    assert found.categories == tuple(model.classes[label] for label in found.labels)
    assert found.boxes.shape == (10, 4) and found.boxes.min() >= 0
    assert (found.boxes.max(axis=0) <= [90, 60, 90, 60]).all()
    masks = found.masks.numpy()
    assert masks.shape == (10, 60, 90) and masks.dtype == bool and not found.propagated.any()
    for mask, (left, top, right, bottom) in zip(masks, found.boxes, strict=True):
        rows, columns = np.nonzero(mask)
        if len(rows):  # pixel centres inside the box
            assert left <= columns.min() + 0.5 and columns.max() + 0.5 <= right
            assert top <= rows.min() + 0.5 and rows.max() + 0.5 <= bottom
    # Half of the first frame's instances score less; leaving them out changes nothing else.
    threshold, counts = float(np.median(found.scores)), []
    everything, strict = VideoSegmenter(model), VideoSegmenter(model, score_threshold=threshold)
    for frame in frames():
        whole, part = step(everything, frame), step(strict, frame)
        kept = np.flatnonzero(whole.scores >= np.float32(threshold))
        counts.append((len(kept), len(whole)))
        np.testing.assert_array_equal(part.ids, whole.ids[kept])
        assert part.masks.rles() == whole.masks[kept].rles()
    assert any(0 < some < every for some, every in counts)
    assert len(step(VideoSegmenter(model, score_threshold=1.0), frames(1)[0])) == 0


def test_the_frame_is_fitted_into_the_scale_and_results_are_not(model, monkeypatch):
    encode, track = Mock(wraps=model.encode), Mock(wraps=model.step)
    monkeypatch.setattr(model, 'encode', encode)
    monkeypatch.setattr(model, 'step', track)
    for scale in (None, (64, 64)):
        found = step(VideoSegmenter(model, scale=scale), frames(1, (120, 200, 3))[0])
        assert found.masks.size == (120, 200)
    # The config's video_scale is 160 x 96: 200 x 120 becomes 160 x 96; padded to 32s.
    shapes = [tuple(call.args[0].shape) for call in encode.call_args_list]
    assert shapes == [(1, 3, 96, 160), (1, 3, 64, 64)]
    infos = [call.args[0].metainfo for call in track.call_args_list]
    shapes = [(one['img_shape'], one['ori_shape']) for one in infos]
    assert shapes == [((96, 160), (120, 200)), ((38, 64), (120, 200))]


def test_videos_can_be_interleaved_and_begun_anew(model):
    one, other = frames(seed=1), frames(seed=2)
    first, second = VideoSegmenter(model), VideoSegmenter(model)
    pairs = [(step(first, one[n]), step(second, other[n])) for n in range(4)]
    same([found for found, _ in pairs], instances(model, one))
    assert first.num_frames == 4
    first.reset()
    assert first.num_frames == 0
    same([step(first, one[0])], [pairs[0][0]])


def test_grey_four_channels_and_any_size(model):
    for more in ((), (1,), (4,)):
        (frame,) = frames(1, (60, 90, *more))
        plain = frame[..., :3].copy() if more == (4,) else cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR)
        same(*([step(VideoSegmenter(model), one)] for one in (frame, plain)))
    for shape in ((1, 1, 3), (2, 31, 3), (4320, 7680, 3)):
        found = step(VideoSegmenter(model), np.full(shape, 90, np.uint8))
        assert found.masks.shape[1:] == shape[:2] and len(found.masks.rles()) == len(found)


def test_refuses_what_is_no_frame_and_bad_arguments(model):
    for frame, words in (
        (np.zeros((4, 4, 3)), r'got float64 of shape \(4, 4, 3\)'),
        (np.zeros((4, 4, 2), np.uint8), r'got uint8 of shape \(4, 4, 2\)'),
        (np.zeros((0, 4, 3), np.uint8), r'got uint8 of shape \(0, 4, 3\)'),
        ('frame.jpg', 'got str'),
        (np.zeros((1, 2000, 3), np.uint8), 'a frame of 2000x1 pixels cannot be scaled'),
    ):
        with pytest.raises(UserError, match=words):
            step(VideoSegmenter(model), frame)
    for options, words in (
        (dict(score_threshold=1.5), 'score_threshold must be from 0 to 1, got 1.5'),
        (dict(scale=(0, 5)), r'scale must be a width and a height, got \(0, 5\)'),
        (dict(every=2), 'every, start, end and max_size are for files'),
        *((dict(batch=bad), 'batch .* must be 1 or more, got') for bad in (0, -2, 1.5)),
    ):
        assert refused(model, [], words, **options) == []
    assert refused(model, 'no such file.mp4', "'no such file.mp4' not found") == []


def test_folder_of_frames(model, tmp_path):
    for number, image in enumerate(images := frames(5)):
        cv2.imwrite(str(tmp_path / f'frame_{number}.png'), image)
    found = list(segment_video(model, tmp_path, 0.0, every=2, start=1))
    assert [(one.index, one.name) for one in found] == [(1, 'frame_1.png'), (3, 'frame_3.png')]
    np.testing.assert_array_equal(found[1].image, images[3])
    same([one.instances for one in found], instances(model, images[1::2]))


@pytest.mark.gpu
def test_on_a_gpu_as_on_the_cpu(root):
    torch.manual_seed(0)
    model = init_model(root / SMALL_OBJPROP, None, 'cpu')
    expected = instances(model, frames())
    for one, other in zip(instances(model.cuda(), frames()), expected, strict=True):
        np.testing.assert_allclose(one.scores, other.scores, atol=1e-3)


@pytest.mark.parametrize('count', [0, 1, 2, 3, 4, 11])
@pytest.mark.parametrize('batch', [None, 1, 2, 4])
def test_any_lag_and_any_batch_give_the_same(bright, model, count, batch):
    images = frames(count, (32, 48, 3))
    found = list(segment_video(bright, images, 0.0, batch=batch))
    names = [(one.index, one.name) for one in found]
    assert names == [(number, f'{number:08d}') for number in range(count)]
    assert all(one.image is image for one, image in zip(found, images, strict=True))
    same([one.instances for one in found], instances(bright_of(model), images))


@pytest.mark.parametrize('count', [0, 1, 2, 11])
def test_an_overview_is_taken_from_what_has_a_length(model, tmp_path, count):
    images, places = frames(count, (32, 48, 3)), {0: [], 1: [0], 2: [0, 1], 11: [0, 5, 10]}[count]
    segmenter = VideoSegmenter(bright_of(model, overview=3))
    segmenter.look_over((place, images[place]) for place in places)
    expected = [step(segmenter, image) for image in images]
    for number, image in enumerate(images):
        cv2.imwrite(str(tmp_path / f'{number}.png'), image)
    sources = [images, np.array(images), *([tmp_path] if count else [])]
    for source, batch in itertools.product(sources, (1, 2, 4)):
        bright = bright_of(model, overview=3)
        same(instances(bright, source, batch=batch), expected)
        assert bright.looked_over == places
        overview = min(len(places), batch)
        assert bright.encoded[:1] == ([overview] if count else [])
    # A stream has none; its frames are not drawn for it.
    bright = bright_of(model, overview=3)
    found = instances(bright, iter(images))
    assert bright.looked_over == [] and len(found) == count
    if count > 1:
        assert found[1].scores[0] != expected[1].scores[0]


def test_a_bad_frame_of_the_overview_is_named(model):
    images = [*frames(3), *frames(2, (70, 90, 3))]
    images[2] = images[2].astype(np.float32)
    bright = bright_of(model, overview=3)
    assert refused(bright, images, 'a frame must be .* got float32 of shape') == []


@pytest.fixture(scope='module')
def temporal(root):
    """Untrained Temporal RoI Align with supports from the whole video."""
    torch.manual_seed(0)
    config = root / 'configs/temporal_roi_align'
    config /= 'masktrack-rcnn_r18_fpn_2e_moving-shapes_temporal-roi-align.py'
    eager = ['model.detector.test_cfg.rcnn.score_thr=0.0', 'model.support.mode=offline']
    model = init_model(config, None, 'cpu', overrides=[*eager, 'model.support.num_frames=3'])
    model.init_weights()
    return model.eval()


def test_supports_of_the_whole_video(temporal):
    images = frames(5)
    segmenter = VideoSegmenter(temporal)
    for word in ('a stream', 'again'):
        words = "mode='offline' needs 3 frames of the whole video .* or set mode='online'"
        assert refused(temporal, iter(images), words) == [], word
        with pytest.raises(UserError, match=words):
            segmenter.step(images[0])
        segmenter.look_over((place, images[place]) for place in (0, 2, 4))
        expected = [step(segmenter, image) for image in images]
        segmenter.reset()
        same(instances(temporal, images), expected)
    # A change of the last frame changes what is found in the first; of one between, nothing.
    changed = [*images[:3], *frames(2, seed=1)]
    first = instances(temporal, changed)[0]
    assert (first.scores != expected[0].scores).any()
    changed[4] = images[4]
    same(instances(temporal, changed)[:1], expected[:1])
    assert len(instances(temporal, images[:1])[0]) > 0


def test_step_and_finish(bright, model):
    images, answers = frames(5, (32, 48, 3)), []
    expected, segmenter = instances(bright_of(model), images), VideoSegmenter(bright)
    for number, image in enumerate(images):
        ready, due = segmenter.step(image), number - bright.look_ahead
        assert [place for place, _ in ready] == ([due] if due >= 0 else [])
        answers += ready
    answers += segmenter.finish()
    assert [place for place, _ in answers] == list(range(5))
    same([found for _, found in answers], expected)
    # The next frame is the first of another video.
    assert segmenter.num_frames == 0
    again = segmenter.step(images[0]) + segmenter.finish()
    same([again[0][1]], expected[:1])


def test_no_more_frames_are_held_than_wait(model):
    """Each frame's array is let go of, however long the video is."""

    def stream():
        for image in frames(20, (16, 24, 3)):
            image = image.copy()
            alive.append(weakref.ref(image))
            yield image

    # The current one, four that lie ready, one in the making, the batch, those that wait.
    lags = (bright_of(model, lag) for lag in (0, 3))
    for one, batch, limit in zip((model, *lags), (None, 2, 2), (8, 10, 13), strict=True):
        alive, most = [], 0
        for _ in segment_video(one, stream(), batch=batch):
            most = max(most, sum(reference() is not None for reference in alive))
        assert most <= limit and len(alive) == 20


@pytest.mark.parametrize('batch', [2, 3, 8])
def test_several_frames_at_once_give_the_same_tracks(model, batch):
    images = frames(7)
    found, expected = instances(model, images, batch=batch), instances(model, images)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.ids, other.ids)
        np.testing.assert_array_equal(one.labels, other.labels)
        np.testing.assert_allclose(one.boxes, other.boxes, atol=1e-2)
        ours, plain = one.masks.numpy(), other.masks.numpy()
        shared, union = (both.sum(axis=(1, 2)) for both in (ours & plain, ours | plain))
        assert (shared >= 0.999 * union).all()


def test_frames_before_a_change_of_size_are_given(model):
    images = [*frames(3), *frames(2, (70, 90, 3))]
    words = 'frame 3 has 90x70 pixels, the frames before it have 90x60'
    for batch in (None, 4):
        assert refused(model, images, words, batch=batch) == [0, 1, 2]
    # A model that minds no size sees no batch of two sizes.
    bright = bright_of(model)
    assert len(instances(bright, images, batch=4)) == 5 and bright.encoded == [3, 2]
    # A refused frame is not counted.
    segmenter = VideoSegmenter(model)
    step(segmenter, images[0])
    with pytest.raises(UserError, match='frame 1 has 90x70 pixels'):
        segmenter.step(images[4])
    assert segmenter.num_frames == 1
    step(segmenter, images[0])


def test_cut_short_or_before_bad_input_all_frames_are_given_that_were_taken(bright, model):
    images, seen = frames(9, (32, 48, 3)), []
    video = VideoSegmentation(bright, images, 0.0, batch=2)
    seen += itertools.islice(video, 3)
    seen += video.rest()
    video.close()
    # Frame 2 is answered when frame 2 + lag was taken.
    count = 3 + bright.look_ahead
    assert [one.index for one in seen] == list(range(count))
    same([one.instances for one in seen], instances(bright, images)[:count])

    def stream():
        yield from images[:6]
        raise UserError('frame 6 is damaged.')

    for batch in (1, 4):
        assert refused(bright, stream(), 'frame 6 is damaged', batch=batch) == list(range(6))
    # A GPU without enough memory for what comes next.
    short = torch.cuda.OutOfMemoryError(
        'CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 ...'
    )
    lacking = bright_of(model, bright.look_ahead)
    lacking.encode = Mock(side_effect=[*map(bright.encode, torch.ones(5, 1, 3, 32, 48)), short])
    words = r'too little memory \(CUDA out of memory. Tried to allocate 20.00 GiB\). Lower --batch'
    assert refused(lacking, images, words) == list(range(5))
    # A wrong model is reported, not what follows from it.
    refused(bright_of(model, 3, 'twice'), images, 'answered frame 2 twice')
