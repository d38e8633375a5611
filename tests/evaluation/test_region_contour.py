"""J and F, against a slow evaluator written from the definition."""

import json
import math

import numpy as np
import pytest
from PIL import Image

from tests.processes import run_tool
from vispropnet.datasets.index_masks import read_id_map, read_index_mask, write_index_mask
from vispropnet.errors import UserError
from vispropnet.evaluation.mask_folders import score_folders, seen_unseen, truth_folders
from vispropnet.evaluation.region_contour import (
    METRICS,
    SequenceScorer,
    boundary,
    measure_frame,
    overall,
    statistics,
)


def score_sequence(name, frames, *options, **more):
    """Scores of (truth, result) of each frame; the result may be None where none is asked for."""
    scorer = SequenceScorer(name, len(frames), *options, **more)
    for truth, result in frames:
        assert result is not None or not scorer.next_counts
        scorer.add(truth, result if scorer.next_counts else None)
    return scorer.scores()


def slow_boundary(mask):
    height, width = mask.shape
    found = set()
    for y in range(height):
        for x in range(width):
            near = [(y, x + 1), (y + 1, x), (y + 1, x + 1)]
            near = [mask[b, a] for b, a in near if b < height and a < width]
            if any(one != mask[y, x] for one in near):
                found.add((y, x))
    return found


def slow_measure(truth, result):
    union = (truth | result).sum()
    j = (truth & result).sum() / union if union else 1.0
    radius = math.ceil(0.008 * math.sqrt(truth.shape[0] ** 2 + truth.shape[1] ** 2))
    edges = slow_boundary(truth), slow_boundary(result)

    def share(these, others):
        near = [any((y - b) ** 2 + (x - a) ** 2 <= radius**2 for b, a in others) for y, x in these]
        return sum(near) / len(near)

    if not edges[0] or not edges[1]:
        return j, 1.0 if not edges[0] and not edges[1] else 0.0
    recall, precision = share(edges[0], edges[1]), share(edges[1], edges[0])
    return j, 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def slow_statistics(values):
    count = len(values)
    ends = [math.floor((count - 1) * k / 4 + 0.5) for k in range(5)]  # ties go up
    quarters = [values[ends[k] : ends[k + 1] + 1] for k in range(4)]
    means = [sum(quarter) / len(quarter) for quarter in quarters]
    return sum(values) / count, sum(v > 0.5 for v in values) / count, means[0] - means[3]


def slow_davis(sequences, skipped_ids=False):
    """Means over all objects; a sequence is a list of (truth, result)."""
    rows = []
    for frames in sequences:
        ids = set(frames[0][0].ravel().tolist()) - {0}
        for one in range(1, max(ids) + 1) if skipped_ids else ids:
            pairs = [slow_measure(truth == one, result == one) for truth, result in frames[1:-1]]
            rows.append([*slow_statistics([j for j, _ in pairs])])
            rows[-1] += slow_statistics([f for _, f in pairs])
    means = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
    return dict(zip(METRICS, [*means, (means[0] + means[3]) / 2], strict=True))


def blobs(generator, size, ids):
    """A mask of rectangles and noise, some objects absent."""
    mask = np.zeros(size, np.uint8)
    for one in ids:
        if generator.random() < 0.8:
            top, left = (int(generator.integers(-3, side)) for side in size)
            mask[max(top, 0) : top + 9, max(left, 0) : left + 12] = one
    noisy = generator.random(size) < 0.03
    mask[noisy] = generator.choice(np.array([0, *ids], np.uint8), noisy.sum())
    return mask


def sequence(generator, size, ids, frames):
    pairs = [(blobs(generator, size, ids), blobs(generator, size, ids)) for _ in range(frames)]
    pairs[0][0][0, : len(ids)] = ids
    return pairs


def scored(pairs):
    last = len(pairs) - 1
    return [(g, r if 0 < n < last else None) for n, (g, r) in enumerate(pairs)]


def test_metrics_equal_the_slow_evaluator():
    generator = np.random.default_rng(0)
    sequences = [
        sequence(generator, (17, 23), [1, 4, 200], 7),
        sequence(generator, (30, 9), [2], 3),
        sequence(generator, (5, 4), [1], 300),  # more than fit into 8 bits
    ]
    sequences[0][2][0][:] = 4  # a full frame
    sequences[0][3][1][:] = 1
    got = overall([score_sequence(str(n), scored(one)) for n, one in enumerate(sequences)])
    assert got == pytest.approx(slow_davis(sequences), abs=1e-9)
    # As the published code counts: ids up to the largest, 195 of the first sequence never shown.
    sequences[0][4][0][:3] = 3  # skipped at first
    some = [score_sequence('s', scored(one), skipped_ids=True) for one in sequences]
    assert overall(some) == pytest.approx(slow_davis(sequences, True), abs=1e-9)
    assert [one.skipped for one in some] == [(2, 3, *range(5, 200)), (1,), ()]


@pytest.mark.parametrize(
    ('shift', 'j', 'f'), [(1, 0.9048, 1), (2, 0.8182, 1), (3, 0.7391, 0.55), (0, 1, 1)]
)
def test_a_shifted_square(shift, j, f):
    masks = np.zeros((2, 100, 100), np.uint8)
    masks[0, 40:60, 40:60] = masks[1, 40:60, 40 + shift : 60 + shift] = 3
    assert boundary(masks[0] == 3).sum() == 80
    assert measure_frame(*masks, [3]).ravel() == pytest.approx([j, f], abs=5e-5)


@pytest.mark.parametrize(
    ('truth', 'result', 'expected'),
    [(0, 0, (1, 1)), (1, 0, (0, 1)), (1, 1, (1, 1)), (0, 1, (0, 1))],
)
def test_frames_without_boundaries(truth, result, expected):
    frames = [np.full((8, 9), value, np.uint8) for value in (truth, result)]
    assert tuple(measure_frame(*frames, [1]).ravel()) == expected


def test_an_empty_prediction_scores_nothing():
    truth, result = np.zeros((2, 8, 9), np.uint8)
    truth[2:4, 3:5] = 1
    assert measure_frame(truth, result, [1]).ravel().tolist() == [0, 0]


def test_statistics_by_hand():
    assert statistics(np.linspace(1, 0, 9)) == pytest.approx((0.5, 4 / 9, 0.75))


def test_youtube_vos_counts_objects_from_the_frame_after_their_first():
    one, both = np.ones((4, 6), np.uint8), np.ones((4, 6), np.uint8)
    both[:, 3:] = 2
    wrong = np.where(both == 2, 0, both).astype(np.uint8)
    scores = score_sequence('v', [(one, None), (both, both), (both, wrong), (both, both)], True)
    assert scores.ids == (1, 2)
    # Results are asked for after the first object only; one that comes last does not count.
    none = np.zeros_like(one)
    late = score_sequence('v', [(none, None), (one, None), (one, one), (both, one)], True)
    assert late.ids == (1,) and late.values[0].tolist() == [[1, 0.5]]
    assert scores.values[0, 0].tolist() == [1, 1, 1]
    assert np.isnan(scores.values[0, 1, 0]) and scores.values[0, 1, 1:].tolist() == [0, 1]
    means = seen_unseen([scores], {('v', 1): 'cat', ('v', 2): 'dog'}, {'cat'})
    assert means['J_seen'] == 1 and means['J_unseen'] == 0.5
    assert means['G'] == (1 + 0.5 + means['F_seen'] + means['F_unseen']) / 4


@pytest.fixture
def folders(tmp_path):
    """A ground truth of two sequences, and results that equal it."""
    generator = np.random.default_rng(1)
    for name, ids in (('a', [1, 3]), ('b', [2])):
        for number in range(6):
            mask = blobs(generator, (24, 32), ids)
            mask[0, : len(ids)] = ids
            if name == 'b' and number == 4:
                mask[5, 5] = 255
            for kind in ('truth', 'results', 'other'):
                write = np.roll(mask, 2, axis=1) if kind == 'other' else mask
                write_index_mask(tmp_path / kind / name / f'{number:05}.png', write)
    return tmp_path


def test_the_tool_compares_folders(folders):
    out = folders / 'out.json'
    arguments = ['tools/eval_vos.py', folders / 'truth', folders / 'results', '--bootstrap', 50]
    status, text = run_tool(*arguments, '--baseline', folders / 'other', '--json', out)
    assert status == 0, text
    report = json.loads(out.read_text())
    assert report['JF'] == report['J_mean'] == report['F_recall'] == 1 and report['J_decay'] == 0
    assert [(one['sequence'], one['id']) for one in report['objects']] == [
        ('a', 1),
        ('a', 3),
        ('b', 2),
    ]
    assert report['ci']['JF'] == [1, 1] and report['baseline']['JF'] < 0.9
    low, high = report['baseline']['difference']['JF']
    assert 0 < low <= 1 - report['baseline']['JF'] <= high
    assert 'F_decay' in text and text.count('\n') > 15


def test_a_split_of_davis(folders):
    root = folders / 'DAVIS'
    (root / 'Annotations').mkdir(parents=True)
    (folders / 'truth').rename(root / 'Annotations/480p')
    (root / 'ImageSets/2017').mkdir(parents=True)
    (root / 'ImageSets/2017/val.txt').write_text('b\n')
    truth = truth_folders(root, 'val')
    assert list(truth) == ['b'] and overall(score_folders(truth, folders / 'results'))['JF'] == 1
    # The first frame of b shows 2 alone; the published code counts 1 as well.
    arguments = ['tools/eval_vos.py', root, folders / 'other', '--json', folders / 'scores.json']
    status, text = run_tool(*arguments, '--split', 'val')
    assert status == 0 and 'sequence b: the first frame skips 1;' in text
    report = json.loads((folders / 'scores.json').read_text())
    one, two = (row['JF'] for row in report['objects'])
    assert one == 1 and report['JF'] == (1 + two) / 2 < 1
    (root / 'ImageSets/2017/val.txt').write_text('b\nlost\n')
    with pytest.raises(UserError, match='lost of split val is absent'):
        truth_folders(root, 'val')
    with pytest.raises(UserError, match='--split val'):
        truth_folders(root)
    with pytest.raises(UserError, match=r'test-dev\.txt cannot be read'):
        truth_folders(root, 'test-dev')


FAULTS = {
    'frame missing': (lambda p: p.unlink(), r'mask not found: .*a/00002\.png'),
    'sequence missing': (lambda p: p.parent.rename(p.parent.parent / 'c'), '1 of 2 .* absent: a'),
    'other size': (lambda p: write_index_mask(p, np.ones((24, 30), np.uint8)), '30x24 .*32x24'),
    'unknown id': (
        lambda p: write_index_mask(p, np.full((24, 32), 7, np.uint8)),
        'sequence a, frame 2: .* id 7.*1, 3',
    ),
    'colours': (lambda p: Image.new('RGB', (32, 24)).save(p), r'00002\.png has colours \(RGB\)'),
    'damaged': (lambda p: p.write_bytes(b'x'), r'00002\.png cannot be read .*: it is none, or it'),
    'cut short': (
        lambda p: p.write_bytes(p.read_bytes()[:20]),
        'cannot be read as an image: Truncated',
    ),
    'large ids': (
        lambda p: Image.fromarray(np.full((24, 32), 300, np.uint16)).save(p),
        'value 300: ids of objects are 1 to 254',
    ),
}


@pytest.mark.parametrize('fault', FAULTS)
def test_results_that_do_not_fit_are_named(folders, fault):
    change, message = FAULTS[fault]
    change(folders / 'results/a/00002.png')
    with pytest.raises(UserError, match=message):
        score_folders(truth_folders(folders / 'truth'), folders / 'results')


def test_an_empty_first_frame_is_named():
    empty = np.zeros((4, 4), np.uint8)
    with pytest.raises(UserError, match='sequence s: the first frame of the truth shows no object'):
        score_sequence('s', [(empty, None), (empty, empty), (empty, None)])
    with pytest.raises(UserError, match='sequence s: no frame is scored'):
        score_sequence('s', [(empty + 1, None), (empty, None)])


@pytest.mark.parametrize('mode', ['L', 'P', '1', 'I;16'])
@pytest.mark.parametrize('options', [{}, dict(compress_level=0), dict(optimize=True)])
def test_any_index_png_is_read(tmp_path, mode, options):
    generator = np.random.default_rng(0)
    ids = generator.integers(0, 2 if mode == '1' else 9, (31, 45)).astype(np.uint8)
    ids[0, 0] = 0 if mode == '1' else 255
    image = Image.fromarray(ids.astype(np.uint16) if mode == 'I;16' else ids)
    if mode in ('P', '1'):
        image = Image.fromarray(ids * (255 if mode == '1' else 1)).convert(mode)
        if mode == 'P':
            image = Image.fromarray(ids)
            image.putpalette(list(range(256)) * 3)
    image.save(tmp_path / 'a.png', **options)
    expected = np.where(ids == 255, 0, ids)
    assert (read_index_mask(tmp_path / 'a.png') == expected).all()
    # Rows that differ from those above: filters of all kinds.
    import cv2

    if mode == 'L':
        cv2.imwrite(str(tmp_path / 'b.png'), ids, [cv2.IMWRITE_PNG_STRATEGY, 1])
        assert (read_index_mask(tmp_path / 'b.png') == expected).all()
    whole = (tmp_path / 'a.png').read_bytes()
    for damaged in (whole[:-30], whole[:60] + bytes([whole[60] ^ 1]) + whole[61:]):
        (tmp_path / 'a.png').write_bytes(damaged)
        with pytest.raises(UserError, match=r'a\.png cannot be read as an image'):
            read_index_mask(tmp_path / 'a.png')


def test_smooth_edges_are_told_from_many_objects(tmp_path):
    y, x = np.mgrid[:64, :96]
    smooth = np.clip(200 - 12 * (np.hypot(y - 32, x - 40) - 15), 0, 200).astype(np.uint8)
    Image.fromarray(smooth).save(tmp_path / 'smooth.png')
    with pytest.raises(UserError, match=r'smooth\.png has \d+ values, \d+ of them on edges only'):
        read_index_mask(tmp_path / 'smooth.png')
    many = (1 + x // 8 + 12 * (y // 8)).astype(np.uint8)
    write_index_mask(tmp_path / 'many.png', many)
    assert (read_index_mask(tmp_path / 'many.png') == many).all()
    palette = Image.open(tmp_path / 'many.png').getpalette()
    assert palette[:12] == [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0]


def test_ids_of_16_bits(tmp_path):
    ids = np.array([[0, 1, 254], [255, 300, 65535]], np.uint16)
    Image.fromarray(ids).save(tmp_path / 'wide.png')
    found = read_id_map(tmp_path / 'wide.png')
    assert found.dtype == np.uint16 and found.tolist() == [[0, 1, 254], [255, 300, 0]]
    with pytest.raises(UserError, match=r'wide\.png has the value 300'):
        read_index_mask(tmp_path / 'wide.png')
    Image.fromarray(ids[:, :2] % 256).save(tmp_path / 'narrow.png')
    assert read_index_mask(tmp_path / 'narrow.png').tolist() == [[0, 1], [0, 44]]
    Image.fromarray(ids.astype(np.uint8)).save(tmp_path / 'bytes.png')
    found = read_id_map(tmp_path / 'bytes.png', (2, 3))
    assert found.dtype == np.uint8 and found.tolist() == [[0, 1, 254], [0, 44, 0]]
    with pytest.raises(UserError, match='has 3x2 pixels, expected 2x3'):
        read_id_map(tmp_path / 'bytes.png', (3, 2))
