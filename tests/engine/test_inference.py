import itertools

import pytest
import torch
from mmdet.structures import DetDataSample

from tests.models.delayed import BrightPixels
from vispropnet.engine.inference import GPU_BATCH, VideoRun, frames_at_once
from vispropnet.errors import UserError
from vispropnet.models.detectors import VISDetector
from vispropnet.models.frame_masks import FrameMasks

SIZE = (8, 12)


def video(count, seed=0):
    """``count`` frames of noise as a data loader gives them."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, 3, *SIZE), generator=generator, dtype=torch.uint8)
    meta = dict(video_id=seed, video_length=count, scale_factor=(1.0, 1.0))
    meta.update(img_shape=SIZE, ori_shape=SIZE)
    return list(images), [DetDataSample(metainfo=dict(meta, frame_id=n)) for n in range(count)]


def run(model, images, samples, at_once=1):
    """Answers of a whole video, and how many frames were given when each came."""
    progress, found = VideoRun(model), []
    for first in range(0, len(images), at_once):
        some = slice(first, first + at_once)
        for number, instances in progress.answers(images[some], samples[some]):
            found.append((number, instances, min(first + at_once, len(images))))
    return found + [(*answer, len(images)) for answer in progress.finish()]


def same(one, other):
    for name in ('ids', 'labels', 'scores', 'bboxes'):
        assert torch.equal(one[name], other[name])
    assert torch.equal(one.masks.to_tensor(), other.masks.to_tensor())


@pytest.mark.parametrize('count', [1, 2, 3, 4, 9])
@pytest.mark.parametrize('at_once', [1, 2, 4])
def test_lag_changes_when_answers_come_and_nothing_else(count, at_once):
    images, samples = video(count)
    expected = run(BrightPixels(), images, samples)
    assert [number for number, _, _ in expected] == list(range(count))
    late = BrightPixels(look_ahead=3)
    found = run(late, images, samples, at_once)
    assert [number for number, _, _ in found] == list(range(count))
    for (number, one, given), (_, other, _) in zip(found, expected, strict=True):
        same(one, other)
        # Frame n is answered when frame n + 3 was given, or with the rest at the end.
        assert given == min(-(-(number + 4) // at_once) * at_once, count)
    assert late.most_held <= 4
    assert sum(late.encoded) == count and max(late.encoded) == min(at_once, count)


def test_interleaved_videos_do_not_mix():
    model = BrightPixels(look_ahead=3)
    videos = [video(6, seed) for seed in (1, 2)]
    expected = [run(BrightPixels(), *one) for one in videos]
    runs, found = [VideoRun(model), VideoRun(model)], [[], []]
    for number, which in itertools.product(range(6), (0, 1)):
        images, samples = videos[which]
        found[which] += runs[which].answers([images[number]], [samples[number]])
    for which in (1, 0):
        found[which] += runs[which].finish()
        assert [number for number, _ in found[which]] == list(range(6))
        for (_, one), (_, other, _) in zip(found[which], expected[which], strict=True):
            same(one, other)


@pytest.mark.parametrize('at_once', [1, 2, 5])
def test_the_overview_reaches_the_state_before_the_first_frame(at_once):
    (images, samples), model = video(5), BrightPixels(overview=3)
    plain, progress = run(BrightPixels(), images, samples), VideoRun(model)
    for first in range(0, 3, at_once):
        places = [0, 2, 4][first : first + at_once]
        progress.look_over([images[one] for one in places], [samples[one] for one in places])
    assert model.looked_over == [0, 2, 4] and progress.num_frames == 0
    found = list(progress.answers(images, samples))
    # By hand: the scores are 1 by how many frames came, and by the spread of those looked over.
    spreads = [images[one].float().mean(dim=0).std() for one in (2, 4)]
    added = (2 * spreads[0] + 4 * spreads[1]) / 1000
    for (number, instances), (_, without, _) in zip(found, plain, strict=True):
        torch.testing.assert_close(instances.scores[0], 1 / (number + 1 + added))
        assert torch.equal(instances.masks.to_tensor(), without.masks.to_tensor())
    with pytest.raises(ValueError, match='the overview comes before the first frame, not 5'):
        progress.look_over(images[:1], samples[:1])
    # A model that says that it has one, and takes none.
    lacking = type('Lacking', (BrightPixels,), dict(look_over=VISDetector.look_over))
    with pytest.raises(NotImplementedError, match='Lacking sets overview without look_over'):
        VideoRun(lacking(overview=1)).look_over(images[:1], samples[:1])


def test_answers_that_are_wrong_are_named_after_those_before():
    for count, look_ahead, fault, words in (
        *((7, lag, 'twice', 'answered frame 2 twice') for lag in (0, 3)),
        (7, 0, 'never', r'has not answered frame 2 after frame 2 \(its look_ahead is 0\)'),
        (7, 3, 'never', r'has not answered frame 2 after frame 5 \(its look_ahead is 3\)'),
        (3, 3, 'never', 'never answered frame 2'),
        *((7, lag, 'another', 'answered frame 9, which it was not given') for lag in (0, 3)),
        (5, 5, 'swapped', 'answered frame 4 before frame 0'),
    ):
        message = f'BrightPixels, video 5: it {words}. See VISDetector.step'
        with pytest.raises(UserError, match=message):
            run(BrightPixels(look_ahead, fault), *video(count, seed=5))
    answers = VideoRun(BrightPixels(fault='twice')).answers(*video(4))
    assert [next(answers)[0], next(answers)[0]] == [0, 1]
    with pytest.raises(UserError, match='answered frame 2 twice'):
        list(answers)


def test_given_objects_reach_the_step_and_an_interruption_loses_no_answer():
    """The caller is interrupted while it has frame 1: finish() gives that again, and the rest."""
    progress, found = VideoRun(BrightPixels(look_ahead=2)), []
    images, samples = video(6)
    with pytest.raises(KeyboardInterrupt):
        for number, _ in progress.answers(images[:5], samples[:5]):
            if number == 1:
                raise KeyboardInterrupt
            found.append(number)
    assert found == [0]
    # Frame 3 was the last that was stepped through.
    assert [number for number, _ in progress.finish()] == [1, 2, 3]
    model, step, seen = BrightPixels(), BrightPixels.step, []
    model.step = lambda frame, *state: seen.append(frame.objects) or step(model, frame, *state)
    masks = {4: torch.ones(SIZE, dtype=torch.bool)}
    list(VideoRun(model).answers(*video(2), [masks, None]))
    assert seen == [masks, None]


def faulty(method, change):
    """The class of a model one of whose methods gives something else."""

    def changed(model, *arguments):
        return change(getattr(BrightPixels, method)(model, *arguments))

    return type('Faulty', (BrightPixels,), {method: changed})


def spoil(name, change=None):
    """A model whose instances have a field that is changed, or lack it."""

    def changed(instances):
        value = instances.pop(name)
        if change:
            instances.set_field(change(value), name)
        return instances

    return faulty('_found', changed)


def test_what_else_a_model_gives_and_odd_batch_sizes_are_reported():
    dense = torch.zeros(2, 8, 12, dtype=torch.bool)
    small = FrameMasks.dense(torch.zeros(2, 4, 6, dtype=torch.bool))
    stateless = faulty('step', lambda given: given[0])
    bare = faulty('step', lambda given: (given[0][0][1], given[1]))
    unnumbered = faulty('step', lambda given: ([given[0][0][1]], given[1]))
    no_masks = r'gave masks of frame 0 as a torch.bool tensor of shape .*, expected FrameMasks'
    for model, words in (
        *((spoil(name), f'gave no {name} for frame 0') for name in ('ids', 'bboxes', 'masks')),
        (spoil('masks', lambda one: dense), no_masks),
        (spoil('masks', lambda one: small), 'gave masks of 6x4 pixels for frame 0, which has 12x8'),
        (spoil('ids', torch.Tensor.float), 'gave ids of frame 0 as a torch.float32 tensor'),
        (stateless, 'gave a list of 1 from step, expected .answers, state.'),
        (bare, 'gave a InstanceData as answers'),
        (unnumbered, 'gave a list of 1 as answers, expected'),
    ):
        with pytest.raises(UserError, match=f'Faulty, video 0: it {words}'):
            run(model(), *video(2))
    flat = faulty('encode', lambda features: torch.zeros(6, *SIZE))
    with pytest.raises(UserError, match=r'Faulty.encode must .* expected features of 2 .* got 6'):
        run(flat(), *video(2), at_once=2)
    forgetful = type('Forgetful', (BrightPixels,), dict(state_type=object))
    with pytest.raises(ValueError, match='Forgetful must set state_type to the class that its'):
        run(forgetful(), *video(1))
    assert frames_at_once(None, torch.device('cpu')) == 1
    assert frames_at_once(None, torch.device('cuda')) == GPU_BATCH == 4
    assert frames_at_once(8, torch.device('cpu')) == 8
    for bad in (0, -1, 1.5, True, '2'):
        with pytest.raises(UserError, match=r'batch .* must be 1 or more'):
            frames_at_once(bad, torch.device('cpu'))
