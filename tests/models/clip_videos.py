"""Videos of masks for the joining of clips, and the definition of that, written plainly."""

import itertools

import torch

from vispropnet.models.trackers import ClipJoiner, JoinMemory

# The worked example: of each clip its first frame, and its objects' masks frame by frame.
EXAMPLE = [
    (0, [[[1, 1, 0, 0], [0, 1, 0.5, 0]]]),
    (
        0,
        [
            [[0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0.5, 1]],
            [[1, 0.5, 0, 0], [0, 1, 1, 0], [0, 1, 0.5, 0]],
        ],
    ),
    (1, [[[0, 1, 0, 0], [0, 1, 1, 0]], [[0, 0, 0, 1], [0, 0, 0, 1]]]),
]


def example():
    """Masks of the worked example: of each clip a dict of frames, (N, 1, 4)."""
    clips = []
    for first, objects in EXAMPLE:
        masks = torch.tensor(objects, dtype=torch.float)  # (N, F, 4)
        clips.append({first + at: masks[:, at, None] for at in range(masks.shape[1])})
    return clips


def random_clips(length, reach, seed):
    """Objects that move by a cell or so a frame, masks with noise, some detections missing."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.rand(*shape, generator=generator)

    places = draw(4, 2) * 8
    speeds = draw(4, 2) * 2 - 1
    rows, columns = torch.arange(8.0)[:, None], torch.arange(8.0)
    clips = []
    for centre in range(length):
        shown = (draw(4) > 0.3).nonzero().flatten().tolist()
        frames = range(max(centre - reach, 0), min(centre + reach + 1, length))
        clip = {}
        for frame in frames:
            y, x = ((places + speeds * frame) % 8).t()[:, :, None, None]
            distance = (rows - y) ** 2 + (columns - x) ** 2
            blobs = (distance < 5) * (0.7 + 0.3 * draw(4, 8, 8))
            blobs[draw(4) < 0.1] = 0
            clip[frame] = blobs[shown]
        clips.append(clip)
    return clips


def permuted(clips, seed):
    """The clips with each one's objects in another order, and these orders."""
    generator = torch.Generator().manual_seed(seed)
    orders = [torch.randperm(len(next(iter(clip.values()))), generator=generator) for clip in clips]
    shuffled = [
        {frame: masks[order] for frame, masks in clip.items()}
        for clip, order in zip(clips, orders, strict=True)
    ]
    return shuffled, orders


def stream(clips, joiner, watch=lambda memory: None):
    """Gives a joiner clip after clip, only what is known by then; what it gives for each frame."""
    memory, joined = JoinMemory(), []
    for number, clip in enumerate(clips):
        before = range(max(number - joiner.reach, 0), number)
        carried = [clips[one][number] for one in before]
        own = [clip[frame] for frame in (*before, number)]
        count = len(clip[number])
        labels, scores = torch.arange(count) % 2, torch.linspace(0.9, 0.5, count)
        some, memory = joiner.take_in(memory, carried, own, labels, scores)
        joined += some
        watch(memory)
        assert len(joined) >= number + 1 - joiner.look_ahead
    return joined + joiner.finish(memory)


def ids_of(clips, **options):
    return [one.ids.tolist() for one in stream(clips, ClipJoiner(**options))]


def slow_overlap(clip, row, other, column, kind):
    """Overlap of two objects over the frames that both clips have."""
    common, total, values = 0.0, 0.0, []
    for frame in sorted(clip.keys() & other.keys()):
        one, two = clip[frame][row].numpy(), other[frame][column].numpy()
        inner = float((one * two).sum())
        outer = float(one.sum() + two.sum()) - inner
        common, total = common + inner, total + outer
        if one.max() >= 0.5 or two.max() >= 0.5:
            values.append(inner / outer)
    if kind == 'space-time':
        return common / total if total else 0.0
    return sum(values) / len(values) if values else 0.0


def slow_ids(clips, reach, threshold=0.25, overlap='frames'):
    """Ids of the whole video at once: each clip takes the assignment with the largest sum."""
    ids, next_id = [], 0
    for number, clip in enumerate(clips):
        count = len(clip[number]) if clip else 0
        scores = [{} for _ in range(count)]
        for row in range(count):
            for earlier in range(max(number - 2 * reach, 0), number):
                for column, known in enumerate(ids[earlier]):
                    value = slow_overlap(clip, row, clips[earlier], column, overlap)
                    scores[row].setdefault(known, []).append(value)
        means = [{one: sum(m) / len(m) for one, m in row.items()} for row in scores]
        own = best_assignment(means, threshold)
        for row, one in enumerate(own):
            if one is None:
                own[row], next_id = next_id, next_id + 1
        ids.append(own)
    return ids


def best_assignment(means, threshold):
    """Of all ways to give rows different ids or none, the one with the largest sum."""
    choices = [[None, *(one for one, m in row.items() if m > threshold)] for row in means]
    best, most = [None] * len(means), -1.0
    for way in itertools.product(*choices):
        taken = [one for one in way if one is not None]
        if len(set(taken)) < len(taken):
            continue
        value = sum(threshold if one is None else means[row][one] for row, one in enumerate(way))
        if value > most:
            best, most = list(way), value
    return best
