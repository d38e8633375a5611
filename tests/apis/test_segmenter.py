import weakref

import cv2
import numpy as np
import pytest
import torch

from tests.models.delayed import BrightPixels
from vispropnet.apis import VideoSegmenter, init_model, segment_video
from vispropnet.apis.segmentation import VideoSegmentation
from vispropnet.errors import UserError

OBJPROP = 'configs/objprop/objprop_r18_fpn_2e_moving-shapes.py'


@pytest.fixture(scope='module')
def model(root):
    """Untrained, and so finds ten things in any frame."""
    torch.manual_seed(0)
    eager = ['model.detector.test_cfg.rcnn.score_thr=0.0', 'model.recovery.mask_threshold=0.3']
    model = init_model(root / OBJPROP, None, 'cpu', overrides=eager)
    model.init_weights()
    return model.eval()


@pytest.fixture(scope='module')
def bright_of(model):
    """Makes a model that answers after so many frames."""

    def bright_of(look_ahead=0, fault=None):
        made = BrightPixels(look_ahead, fault)
        made.cfg, made.classes = model.cfg, ('a', 'b')
        return made.eval()

    return bright_of


@pytest.fixture(params=[0, 3])
def bright(request, bright_of):
    return bright_of(request.param)


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
        for one in segment_video(model, images, **options):
            seen.append(one.index)
    return seen


def test_instances_of_a_frame(model):
    found = step(VideoSegmenter(model), frames(1)[0])
    assert len(found) == len(found.ids) == 10 and found.ids.tolist() == list(range(10))
    assert found.categories == tuple(model.classes[label] for label in found.labels)
    assert found.boxes.shape == (10, 4) and found.boxes.min() >= 0
    assert (found.boxes.max(axis=0) <= [90, 60, 90, 60]).all()
    masks = found.masks.numpy()
    assert masks.shape == (10, 60, 90) and masks.dtype == bool
    assert not found.propagated.any()
    for mask, (left, top, right, bottom) in zip(masks, found.boxes, strict=True):
        rows, columns = np.nonzero(mask)
        if len(rows):  # pixel centres inside the box
            assert left <= columns.min() + 0.5 and columns.max() + 0.5 <= right
            assert top <= rows.min() + 0.5 and rows.max() + 0.5 <= bottom


def test_the_frame_is_fitted_into_the_scale_and_results_are_not(model, monkeypatch):
    seen = []
    encode, original = model.encode, model.step

    def watch_images(images):
        seen.append(tuple(images.shape))
        return encode(images)

    def watch(frame, state):
        seen.append((frame.metainfo['img_shape'], frame.metainfo['ori_shape']))
        return original(frame, state)

    monkeypatch.setattr(model, 'encode', watch_images)
    monkeypatch.setattr(model, 'step', watch)
    for scale in (None, (64, 64)):
        found = step(VideoSegmenter(model, scale=scale), frames(1, (120, 200, 3))[0])
        assert found.masks.size == (120, 200)
    # The config's video_scale is 160 x 96: 200 x 120 becomes 160 x 96; padded to 32s.
    assert seen == [
        *((1, 3, 96, 160), ((96, 160), (120, 200))),
        *((1, 3, 64, 64), ((38, 64), (120, 200))),
    ]


def test_videos_can_be_interleaved_and_begun_anew(model):
    one, other = frames(seed=1), frames(seed=2)
    first, second = VideoSegmenter(model), VideoSegmenter(model)
    found = []
    for frame, between in zip(one, other, strict=True):
        found.append(step(first, frame))
        step(second, between)
    same(found, instances(model, one))
    assert first.num_frames == 4
    first.reset()
    assert first.num_frames == 0
    same([step(first, one[0])], found[:1])


def test_threshold_leaves_out_and_changes_nothing_else(model):
    # Half of the first frame's instances score less.
    threshold = float(np.median(step(VideoSegmenter(model), frames()[0]).scores))
    everything, strict = VideoSegmenter(model), VideoSegmenter(model, score_threshold=threshold)
    counts = []
    for frame in frames():
        whole, part = step(everything, frame), step(strict, frame)
        kept = np.flatnonzero(whole.scores >= np.float32(threshold))
        counts.append((len(kept), len(whole)))
        np.testing.assert_array_equal(part.ids, whole.ids[kept])
        assert part.masks.rles() == whole.masks[kept].rles()
    assert any(0 < some < every for some, every in counts)
    assert len(step(VideoSegmenter(model, score_threshold=1.0), frames(1)[0])) == 0


@pytest.mark.parametrize('shape', [(60, 90), (60, 90, 1), (60, 90, 4)])
def test_grey_and_four_channels(model, shape):
    frame = frames(1, shape)[0]
    grey = shape[2:] != (4,)
    plain = cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR) if grey else frame[..., :3].copy()
    same(*([step(VideoSegmenter(model), one)] for one in (frame, plain)))


@pytest.mark.parametrize('shape', [(1, 1, 3), (2, 31, 3), (4320, 7680, 3)])
def test_tiny_and_huge_frames(model, shape):
    found = step(VideoSegmenter(model), np.full(shape, 90, np.uint8))
    assert found.masks.shape[1:] == shape[:2]
    assert len(found.masks.rles()) == len(found)


@pytest.mark.parametrize(
    ('frame', 'words'),
    [
        (np.zeros((4, 4, 3)), r'got float64 of shape \(4, 4, 3\)'),
        (np.zeros((4, 4, 2), np.uint8), r'got uint8 of shape \(4, 4, 2\)'),
        (np.zeros((0, 4, 3), np.uint8), r'got uint8 of shape \(0, 4, 3\)'),
        ('frame.jpg', 'got str'),
        (np.zeros((1, 2000, 3), np.uint8), 'a frame of 2000x1 pixels cannot be scaled'),
    ],
)
def test_refuses_what_is_no_frame(model, frame, words):
    with pytest.raises(UserError, match=words):
        step(VideoSegmenter(model), frame)


@pytest.mark.parametrize(
    ('source', 'options', 'words'),
    [
        ([], dict(score_threshold=1.5), 'score_threshold must be from 0 to 1, got 1.5'),
        ([], dict(scale=(0, 5)), r'scale must be a width and a height, got \(0, 5\)'),
        ([], dict(every=2), 'every, start, end and max_size are for files'),
        ('no such file.mp4', {}, "'no such file.mp4' not found"),
        *([[], dict(batch=bad), 'batch .* must be 1 or more, got'] for bad in (0, -2, 1.5)),
    ],
)
def test_refuses_bad_arguments(model, source, options, words):
    assert refused(model, source, words, **options) == []


def test_folder_of_frames(model, tmp_path):
    images = frames(5)
    for number, image in enumerate(images):
        cv2.imwrite(str(tmp_path / f'frame_{number}.png'), image)
    found = list(segment_video(model, tmp_path, 0.0, every=2, start=1))
    assert [(one.index, one.name) for one in found] == [(1, 'frame_1.png'), (3, 'frame_3.png')]
    np.testing.assert_array_equal(found[1].image, images[3])
    same([one.instances for one in found], instances(model, images[1::2]))


def test_nothing_is_kept_of_earlier_frames(model):
    """Each frame's array is let go of, however long the video is."""
    alive = []

    def stream():
        for image in frames(14, (16, 24, 3)):
            image = image.copy()
            alive.append(weakref.ref(image))
            yield image

    most = 0
    for _ in segment_video(model, stream()):
        most = max(most, sum(reference() is not None for reference in alive))
    # The current one, four that lie ready, and one in the making.
    assert most <= 8 and len(alive) == 14


@pytest.mark.gpu
def test_on_a_gpu_as_on_the_cpu(root):
    torch.manual_seed(0)
    model = init_model(root / OBJPROP, None, 'cpu')
    expected = instances(model, frames())
    for one, other in zip(instances(model.cuda(), frames()), expected, strict=True):
        np.testing.assert_allclose(one.scores, other.scores, atol=1e-3)


@pytest.mark.parametrize('count', [0, 1, 2, 3, 4, 11])
@pytest.mark.parametrize('batch', [None, 1, 2, 4])
def test_any_lag_and_any_batch_give_the_same(bright, bright_of, count, batch):
    images = frames(count, (32, 48, 3))
    found = list(segment_video(bright, images, 0.0, batch=batch))
    names = [(number, f'{number:08d}') for number in range(count)]
    assert [(one.index, one.name) for one in found] == names
    assert all(one.image is image for one, image in zip(found, images, strict=True))
    same([one.instances for one in found], instances(bright_of(), images))


def test_step_and_finish(bright, bright_of):
    images = frames(5, (32, 48, 3))
    expected = instances(bright_of(), images)
    segmenter, answers = VideoSegmenter(bright), []
    for number, image in enumerate(images):
        ready = segmenter.step(image)
        due = number - bright.look_ahead
        assert [place for place, _ in ready] == ([due] if due >= 0 else [])
        answers += ready
    answers += segmenter.finish()
    assert [place for place, _ in answers] == list(range(5))
    same([found for _, found in answers], expected)
    # The next frame is the first of another video.
    assert segmenter.num_frames == 0
    again = segmenter.step(images[0]) + segmenter.finish()
    same([again[0][1]], expected[:1])


@pytest.mark.parametrize(
    ('look_ahead', 'batch', 'limit'),
    # The current one, four that lie ready, one in the making, the batch, those that wait.
    [(None, None, 8), (0, 2, 8 + 2), (3, 2, 8 + 2 + 3)],
)
def test_no_more_frames_are_held_than_wait(model, bright_of, look_ahead, batch, limit):
    alive, most = [], 0

    def stream():
        for image in frames(20, (16, 24, 3)):
            image = image.copy()
            alive.append(weakref.ref(image))
            yield image

    one = model if look_ahead is None else bright_of(look_ahead)
    for _ in segment_video(one, stream(), batch=batch):
        most = max(most, sum(reference() is not None for reference in alive))
    assert most <= limit and len(alive) == 20


def test_cut_short_the_rest_is_what_the_model_has_taken(bright):
    images = frames(9, (32, 48, 3))
    video, seen = VideoSegmentation(bright, images, 0.0, batch=2), []
    for frame in video:
        seen.append(frame)
        if frame.index == 2:
            break
    seen += video.rest()
    video.close()
    # Frame 2 is answered when frame 2 + lag was taken.
    count = 3 + bright.look_ahead
    assert [one.index for one in seen] == list(range(count))
    same([one.instances for one in seen], instances(bright, images)[:count])


@pytest.mark.parametrize('batch', [2, 3, 8])
def test_several_frames_at_once_give_the_same_tracks(model, batch):
    images = frames(7)
    found, expected = instances(model, images, batch=batch), instances(model, images)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.ids, other.ids)
        np.testing.assert_array_equal(one.labels, other.labels)
        np.testing.assert_allclose(one.boxes, other.boxes, atol=1e-2)
        ours, plain = one.masks.numpy(), other.masks.numpy()
        union = (ours | plain).sum(axis=(1, 2))
        shared = (ours & plain).sum(axis=(1, 2))
        assert (shared >= 0.999 * union).all()


def test_frames_before_a_change_of_size_are_given(bright_of, model):
    images = [*frames(3), *frames(2, (70, 90, 3))]
    for batch in (None, 4):
        words = 'frame 3 has 90x70 pixels, the frames before it have 90x60'
        assert refused(model, images, words, batch=batch) == [0, 1, 2]
    # A model that minds no size sees no batch of two sizes.
    bright = bright_of()
    assert len(instances(bright, images, batch=4)) == 5 and bright.encoded == [3, 2]
    # A refused frame is not counted.
    segmenter = VideoSegmenter(model)
    step(segmenter, images[0])
    with pytest.raises(UserError, match='frame 1 has 90x70 pixels'):
        segmenter.step(images[4])
    assert segmenter.num_frames == 1
    step(segmenter, images[0])


@pytest.mark.parametrize('batch', [1, 4])
def test_frames_before_bad_input_are_given_however_late_answers_are(bright, batch):
    def stream():
        yield from frames(6, (16, 24, 3))
        raise UserError('frame 6 is damaged.')

    assert refused(bright, stream(), 'frame 6 is damaged', batch=batch) == list(range(6))


def test_a_wrong_model_is_reported_not_what_follows_from_it(bright_of):
    refused(bright_of(3, 'twice'), frames(9, (16, 24, 3)), 'answered frame 2 twice')
