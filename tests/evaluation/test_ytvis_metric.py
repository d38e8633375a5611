import json
import zipfile
from pathlib import Path
from types import MappingProxyType

import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.evaluator import Evaluator
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData

from tests.evaluation.content import annotation_file, track
from tests.ranks import join_two, leave
from vispropnet.errors import UserError
from vispropnet.evaluation.result_file import read_results
from vispropnet.evaluation.ytvis_metric import YouTubeVISMetric
from vispropnet.models.frames import TrackScores

HEIGHT, WIDTH = 6, 8
CATEGORY_IDS = [10, 30]  # of label 0 and label 1
LENGTHS = MappingProxyType({1: 2, 2: 3})  # frames of the videos 1 and 2
NAMES = ('mAP', 'AP50', 'AP75', 'AR1', 'AR10')
# Runs 0 18 30 in digits of five bits, the low one first; 18 needs two for its sign.
WHOLE = {'size': [HEIGHT, WIDTH], 'counts': '0b0n0'}
COLUMNS = torch.arange(WIDTH).repeat(HEIGHT, 1)
PERFECT = (0, 1, 0.5, COLUMNS < 3)


def write_annotations(path, lengths=LENGTHS):
    """Each video has one object of category 30: columns 0 to 2 in every frame."""
    truths = [(video, 30, [WHOLE] * length) for video, length in lengths.items()]
    path.write_text(json.dumps(annotation_file(lengths, truths, CATEGORY_IDS, (HEIGHT, WIDTH))))
    return str(path)


def frame(video_id, frame_id, length, instances=()):
    """One frame as the evaluator hands it over; instances are (id, label, score, mask)."""
    ids, labels, scores, masks = zip(*instances, strict=True) if instances else ((),) * 4
    place = dict(video_id=video_id, frame_id=frame_id, video_length=length)
    masks = torch.stack(masks) if masks else torch.zeros(0, HEIGHT, WIDTH).bool()
    found = dict(ids=torch.LongTensor(ids), labels=torch.LongTensor(labels), masks=masks)
    found['scores'] = torch.FloatTensor(scores)
    return {**place, 'category_ids': CATEGORY_IDS, 'pred_instances': found}


def feed_perfect(metric, lengths=LENGTHS):
    for video_id, length in lengths.items():
        for frame_id in range(length):
            metric.process(None, [frame(video_id, frame_id, length, [PERFECT])])


def test_two_interleaved_videos(tmp_path):
    outfile = tmp_path / 'run' / 'results.json'
    metric = YouTubeVISMetric(write_annotations(tmp_path / 'truth.json'), outfile=str(outfile))
    # Video 2 begins first and ends last. Its object is found in two frames of three, once under the
    # other label; video 1's in both, and something false beside it.
    metric.process(None, [frame(2, 0, 3, [(0, 1, 0.75, COLUMNS < 3)])])
    metric.process(None, [frame(1, 0, 2, [PERFECT, (1, 0, 1.0, COLUMNS == 7)])])
    metric.process(None, [frame(2, 1, 3), frame(1, 1, 2, [(0, 1, 0.25, COLUMNS < 3)])])
    metric.process(None, [frame(2, 2, 3, [(0, 0, 0.5, COLUMNS < 3)])])
    metrics, last = metric.evaluate(5), {'size': [HEIGHT, WIDTH], 'counts': 'Z16'}  # runs 42 6
    own = track(1, 10, 1.0, [last, None]), track(1, 30, 0.375, [WHOLE, WHOLE])
    assert read_results(outfile) == [*own, track(2, 30, 0.625, [WHOLE, None, WHOLE])]
    with zipfile.ZipFile(tmp_path / 'run' / 'results.zip') as archive:
        assert archive.read('results.json') == outfile.read_bytes()
    # Category 30 alone has truth. Video 2's track comes first and has IoU 2/3 (met by 0.50, 0.55,
    # 0.60 and 0.65); above, video 1's comes second, at recall 1/2 (recalls 0.00 to 0.50 are 51).
    half = 51 / 101 * 0.5
    values = dict(zip(NAMES, ((4 + 6 * half) / 10, 1, half, 0.7, 0.7), strict=True))
    assert metrics == pytest.approx({f'ytvis/{name}': value for name, value in values.items()})


def test_any_number_of_evaluations(tmp_path):
    metric = YouTubeVISMetric(write_annotations(tmp_path / 'truth.json'), prefix='val')
    perfect = pytest.approx({f'val/{name}': 1.0 for name in NAMES})
    feed_perfect(metric)
    assert metric.evaluate(5) == perfect
    # An epoch without any detection.
    for video_id, length in LENGTHS.items():
        metric.process(None, [frame(video_id, index, length) for index in range(length)])
    # Then one in which nothing was processed at all.
    for _ in range(2):
        assert metric.evaluate(5) == {f'val/{name}': 0.0 for name in NAMES}
    feed_perfect(metric, {1: 2})
    assert metric.evaluate(2)['val/AR10'] == pytest.approx(0.5)


def test_through_mmengine_with_data_samples(tmp_path):
    config = dict(type='YouTubeVISMetric', ann_file=write_annotations(tmp_path / 'gt.json', {4: 1}))
    with DefaultScope.overwrite_default_scope('vispropnet'):  # as `default_scope` in a config
        evaluator = Evaluator(config)
    assert type(evaluator.metrics[0]) is YouTubeVISMetric  # and not mmdet's of the same name
    instances = frame(4, 0, 1, [(3, *PERFECT[1:])])
    sample = DetDataSample(pred_instances=InstanceData(**instances.pop('pred_instances')))
    sample.set_metainfo(instances)
    evaluator.process([sample])
    assert evaluator.evaluate(1) == pytest.approx({f'ytvis/{name}': 1.0 for name in NAMES})


def test_errors_come_before_the_run_and_only_writing_needs_no_truth(tmp_path):
    missing, out = str(tmp_path / 'missing.json'), str(tmp_path / 'out.json')
    metric = YouTubeVISMetric(missing, outfile=out, evaluate=False)
    feed_perfect(metric)
    assert metric.evaluate(5) == {}
    assert [track['video_id'] for track in read_results(out)] == [1, 2]
    with pytest.raises(UserError, match='annotation file not found'):
        YouTubeVISMetric(missing)
    hidden = tmp_path / 'hidden.json'
    hidden.write_text(json.dumps(annotation_file(LENGTHS, [], CATEGORY_IDS, (HEIGHT, WIDTH))))
    with pytest.raises(UserError, match=r'hidden\.json.*nothing to score against'):
        YouTubeVISMetric(hidden)
    with pytest.raises(UserError, match=r'must be named \.json'):
        YouTubeVISMetric(hidden, outfile=str(tmp_path / 'out.zip'), evaluate=False)


def test_frames_out_of_order_or_left_out(tmp_path):
    metric = YouTubeVISMetric(write_annotations(tmp_path / 'truth.json'))
    metric.process(None, [frame(2, 0, 3)])
    with pytest.raises(AssertionError, match='video 2: .* expected 1 of 3, got 2'):
        metric.process(None, [frame(2, 2, 3)])
    with pytest.raises(RuntimeError, match='video 2 was left unfinished .* first 1 frames'):
        metric.evaluate(5)
    feed_perfect(metric)  # the failed evaluation left nothing behind
    assert metric.evaluate(5)['ytvis/mAP'] == pytest.approx(1.0)
    feed_perfect(metric)
    feed_perfect(metric, {1: 2})
    with pytest.raises(RuntimeError, match=r'videos \[1\] were processed more than once'):
        metric.evaluate(5)


def on_rank(rank, folder, sharing):
    """What one of two processes does; leaves what it saw in ``folder``."""
    join_two(rank, folder)
    lengths, seen = {1: 2, 2: 3, 5: 1}, []
    metric = YouTubeVISMetric(f'{folder}/truth.json', outfile=f'{folder}/out.json')
    for shares in sharing:
        feed_perfect(metric, {video: lengths.get(video, 1) for video in shares[rank]})
        try:
            seen.append(metric.evaluate(6))
        except (UserError, RuntimeError) as error:
            seen.append([type(error).__name__, str(error)])
        if rank == 0:
            seen.append([track['video_id'] for track in read_results(metric.outfile)])
    Path(f'{folder}/seen{rank}.json').write_text(json.dumps(seen))
    leave()


def test_two_ranks_with_unequal_shares(tmp_path):
    write_annotations(tmp_path / 'truth.json', {1: 2, 2: 3, 5: 1})
    # The fifth: the same video on both; the sixth: one that the truth does not have, which only the
    # main rank can know.
    sharing = [([5], [1, 2]), ([], [1, 2, 5]), ([2, 1], []), ([], []), ([1, 2], [2, 5])]
    sharing += [([1], [8]), ([5, 2, 1], [])]
    # Forked: importing everything anew takes most of the time, and nothing of this process is used.
    start = torch.multiprocessing.start_processes
    start(on_rank, (str(tmp_path), sharing), nprocs=2, start_method='fork')
    main, other = (json.loads((tmp_path / f'seen{rank}.json').read_text()) for rank in (0, 1))
    metrics, videos = main[::2], main[1::2]
    assert metrics == other
    perfect = pytest.approx({f'ytvis/{name}': 1.0 for name in NAMES})
    assert [metrics[index] for index in (0, 1, 6)] == [perfect] * 3
    assert metrics[2]['ytvis/AR10'] == pytest.approx(2 / 3)
    assert metrics[3] == {f'ytvis/{name}': 0.0 for name in NAMES}
    kind, message = metrics[4]
    assert kind == 'RuntimeError' and '[2] were processed more than once' in message
    assert metrics[5] == ['UserError', 'result entry 1: video_id 8 is not in the annotations.']
    assert videos == [[1, 2, 5], [1, 2, 5], [1, 2], [], [], [1, 8], [1, 2, 5]]


def test_the_scores_of_a_video_come_with_its_last_frame(tmp_path):
    out = tmp_path / 'out.json'
    metric = YouTubeVISMetric('none.json', str(out), evaluate=False)
    first, last = (frame(1, number, 2, [PERFECT]) for number in range(2))
    scores = TrackScores(torch.tensor([0, 0]), torch.tensor([1, 0]), torch.tensor([0.25, 0.125]))
    last['track_scores'] = scores
    metric.process(None, [first])
    metric.process(None, [last])
    metric.process(None, [frame(2, 0, 1, [PERFECT])])
    assert metric.evaluate() == {}
    assert read_results(out) == [
        track(1, 30, 0.25, [WHOLE, WHOLE]),
        track(1, 10, 0.125, [WHOLE, WHOLE]),
        track(2, 30, 0.5, [WHOLE]),
    ]
