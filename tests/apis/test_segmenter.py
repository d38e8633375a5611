import contextlib
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
def model(pytestconfig):
    """Untrained, and so finds ten things in any frame."""
    torch.manual_seed(0)
    config = str(pytestconfig.rootpath / OBJPROP)
    eager = ['model.detector.test_cfg.rcnn.score_thr=0.0', 'model.recovery.mask_threshold=0.3']
    model = init_model(config, None, 'cpu', overrides=eager)
    model.init_weights()
    return model.eval()


def frames(count=4, shape=(60, 90, 3), seed=0):
    return list(np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8))


def step(segmenter, frame):
    """Takes a frame of a model that answers at once."""
    ((number, found),) = segmenter.step(frame)
    assert number == segmenter.num_frames - 1
    return found


def same(one, other):
    for name in ('ids', 'labels', 'scores', 'boxes', 'propagated'):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert one.masks.rles() == other.masks.rles()


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


def test_the_frame_is_fitted_into_the_scale_and_results_are_not(model):
    seen = []
    encode, original = model.encode, model.step

    def watch_images(images):
        seen.append(tuple(images.shape))
        return encode(images)

    def watch(frame, state):
        seen.append((frame.metainfo['img_shape'], frame.metainfo['ori_shape']))
        return original(frame, state)

    model.encode, model.step = watch_images, watch
    try:
        frame = frames(1, (120, 200, 3))[0]
        found = [step(VideoSegmenter(model, scale=scale), frame) for scale in (None, (64, 64))]
    finally:
        del model.encode, model.step
    # The config's video_scale is 160 x 96: 200 x 120 becomes 160 x 96; padded to 32s.
    assert seen == [
        *((1, 3, 96, 160), ((96, 160), (120, 200))),
        *((1, 3, 64, 64), ((38, 64), (120, 200))),
    ]
    assert all(one.masks.size == (120, 200) for one in found)


def test_videos_can_be_interleaved_and_begun_anew(model):
    one, other = frames(seed=1), frames(seed=2)
    expected = [segmented.instances for segmented in segment_video(model, one, 0.0)]
    first, second = VideoSegmenter(model), VideoSegmenter(model)
    for position, frame in enumerate(one):
        same(step(first, frame), expected[position])
        step(second, other[position])
    assert first.num_frames == 4
    first.reset()
    assert first.num_frames == 0
    same(step(first, one[0]), expected[0])


def test_threshold_leaves_out_and_changes_nothing_else(model):
    # Half of the first frame's instances score less.
    threshold = float(np.median(step(VideoSegmenter(model), frames()[0]).scores))
    everything = VideoSegmenter(model)
    strict = VideoSegmenter(model, score_threshold=threshold)
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
    if shape[2:] == (4,):
        plain = np.ascontiguousarray(frame[..., :3])
    else:
        plain = cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR)
    same(step(VideoSegmenter(model), frame), step(VideoSegmenter(model), plain))


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
    ],
)
def test_refuses_what_is_no_frame(model, frame, words):
    with pytest.raises(UserError, match=words):
        step(VideoSegmenter(model), frame)


def test_refuses_bad_arguments(model):
    with pytest.raises(UserError, match='score_threshold must be from 0 to 1, got 1.5'):
        VideoSegmenter(model, score_threshold=1.5)
    with pytest.raises(UserError, match=r'scale must be a width and a height, got \(0, 5\)'):
        VideoSegmenter(model, scale=(0, 5))
    with pytest.raises(UserError, match='every, start, end and max_size are for files'):
        list(segment_video(model, frames(), every=2))
    with pytest.raises(UserError, match="'no such file.mp4' not found"):
        list(segment_video(model, 'no such file.mp4'))
    thin = np.zeros((1, 2000, 3), np.uint8)
    with pytest.raises(UserError, match='a frame of 2000x1 pixels cannot be scaled'):
        step(VideoSegmenter(model), thin)


def test_frames_of_another_size_come_to_nothing(model):
    seen = []
    with pytest.raises(
        UserError, match='frame 2 has 80x60 pixels, the frames before it have 90x60'
    ):
        for segmented in segment_video(model, [*frames(2), *frames(1, (60, 80, 3))]):
            seen.append(segmented.index)
    assert seen == [0, 1]


def test_folder_of_frames(model, tmp_path):
    images = frames(5)
    for number, image in enumerate(images):
        cv2.imwrite(str(tmp_path / f'frame_{number}.png'), image)
    found = list(segment_video(model, tmp_path, 0.0, every=2, start=1))
    assert [(one.index, one.name) for one in found] == [(1, 'frame_1.png'), (3, 'frame_3.png')]
    np.testing.assert_array_equal(found[1].image, images[3])
    expected = VideoSegmenter(model)
    for one in found:
        same(one.instances, step(expected, one.image))


def test_no_frames(model):
    assert list(segment_video(model, [])) == []


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
def test_on_a_gpu_as_on_the_cpu(pytestconfig):
    torch.manual_seed(0)
    model = init_model(str(pytestconfig.rootpath / OBJPROP), None, 'cpu')
    expected = [one.instances for one in segment_video(model, frames(), 0.0)]
    found = [one.instances for one in segment_video(model.cuda(), frames(), 0.0)]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.scores, other.scores, atol=1e-3)


@pytest.fixture(params=[0, 3])
def bright(request, model):
    """A model that answers after so many frames."""
    late = BrightPixels(request.param)
    late.cfg, late.classes = model.cfg, ('a', 'b')
    return late.eval()


@pytest.mark.parametrize('count', [1, 2, 3, 4, 11])
@pytest.mark.parametrize('batch', [None, 1, 2, 4])
def test_any_lag_and_any_batch_give_the_same(bright, count, batch):
    plain = BrightPixels()
    plain.cfg, plain.classes = bright.cfg, bright.classes
    images = frames(count, (32, 48, 3))
    expected = list(segment_video(plain, images, 0.0))
    found = list(segment_video(bright, images, 0.0, batch=batch))
    assert [(one.index, one.name) for one in found] == [
        (number, f'{number:08d}') for number in range(count)
    ]
    for one, other, image in zip(found, expected, images, strict=True):
        assert one.image is image
        same(one.instances, other.instances)


def test_step_and_finish(bright):
    plain = BrightPixels()
    plain.cfg, plain.classes = bright.cfg, bright.classes
    images = frames(5, (32, 48, 3))
    expected = [one.instances for one in segment_video(plain, images, 0.0)]
    segmenter, answers = VideoSegmenter(bright), []
    for number, image in enumerate(images):
        ready = segmenter.step(image)
        due = number - bright.look_ahead
        assert [place for place, _ in ready] == ([due] if due >= 0 else [])
        answers += ready
    answers += segmenter.finish()
    assert [place for place, _ in answers] == list(range(5))
    for (_, one), other in zip(answers, expected, strict=True):
        same(one, other)
    # The next frame is the first of another video.
    assert segmenter.num_frames == 0
    again = segmenter.step(images[0]) + segmenter.finish()
    same(again[0][1], expected[0])


def test_no_more_frames_are_held_than_wait(bright):
    alive, most = [], 0

    def stream():
        for image in frames(30, (16, 24, 3)):
            image = image.copy()
            alive.append(weakref.ref(image))
            yield image

    for _ in segment_video(bright, stream(), batch=2):
        most = max(most, sum(reference() is not None for reference in alive))
    # Those read ahead, the batch, and those that wait for their answers.
    assert most <= 8 + 2 + bright.look_ahead and len(alive) == 30


def test_cut_short_the_rest_is_what_the_model_has_taken(bright):
    images = frames(9, (32, 48, 3))
    expected = list(segment_video(bright, images, 0.0))
    video = VideoSegmentation(bright, images, 0.0, batch=2)
    seen = []
    with contextlib.suppress(KeyboardInterrupt):
        for frame in video:
            seen.append(frame)
            if frame.index == 2:
                raise KeyboardInterrupt
    seen += video.rest()
    video.close()
    # Frame 2 is answered when frame 2 + lag was taken.
    assert [one.index for one in seen] == list(range(3 + bright.look_ahead))
    for one, other in zip(seen, expected, strict=False):
        same(one.instances, other.instances)


def test_frames_before_a_change_of_size_are_given(bright, model):
    sizes = [*frames(3, (32, 48, 3)), *frames(2, (40, 48, 3))]
    seen = []
    with pytest.raises(UserError, match='frame 3 has 90x70 pixels'):
        for one in segment_video(model, [*frames(3), *frames(2, (70, 90, 3))], batch=4):
            seen.append(one.index)
    assert seen == [0, 1, 2]
    # A model that minds no size sees no batch of two sizes.
    assert len(list(segment_video(bright, sizes, batch=4))) == 5
    assert bright.encoded == [3, 2]


@pytest.mark.parametrize('batch', [2, 3, 8])
def test_several_frames_at_once_give_the_same_tracks(model, batch):
    images = frames(7)
    expected = [one.instances for one in segment_video(model, images, 0.0)]
    found = [one.instances for one in segment_video(model, images, 0.0, batch=batch)]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.ids, other.ids)
        np.testing.assert_array_equal(one.labels, other.labels)
        np.testing.assert_allclose(one.boxes, other.boxes, atol=1e-2)
        ours, plain = one.masks.numpy(), other.masks.numpy()
        union = (ours | plain).sum(axis=(1, 2))
        shared = (ours & plain).sum(axis=(1, 2))
        assert (shared >= 0.999 * union).all()


def test_refuses_a_batch_of_nothing(model):
    for bad in (0, -2, 1.5):
        with pytest.raises(UserError, match=r'batch .* must be 1 or more, got'):
            list(segment_video(model, frames(1), batch=bad))


@pytest.mark.parametrize('batch', [1, 4])
def test_frames_before_bad_input_are_given_however_late_answers_are(bright, batch):
    def stream():
        yield from frames(6, (16, 24, 3))
        raise UserError('frame 6 is damaged.')

    seen = []
    with pytest.raises(UserError, match='frame 6 is damaged'):
        for frame in segment_video(bright, stream(), batch=batch):
            seen.append(frame.index)
    assert seen == list(range(6))


def test_a_wrong_model_is_reported_not_what_follows_from_it(model):
    wrong = BrightPixels(look_ahead=3, fault='twice')
    wrong.cfg, wrong.classes = model.cfg, ('a', 'b')
    with pytest.raises(UserError, match='answered frame 2 twice'):
        list(segment_video(wrong, frames(9, (16, 24, 3))))


def test_a_refused_frame_is_not_counted(model):
    segmenter = VideoSegmenter(model)
    step(segmenter, frames(1)[0])
    with pytest.raises(UserError, match='frame 1 has 80x60 pixels'):
        segmenter.step(frames(1, (60, 80, 3))[0])
    assert segmenter.num_frames == 1
    step(segmenter, frames(1)[0])
