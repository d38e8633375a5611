from collections import Counter

import pytest

from tests.evaluation.content import matched, track
from tests.evaluation.strips import data_set, random_case, shown, strip
from vispropnet.evaluation.average_precision import evaluate_tracks
from vispropnet.evaluation.breakdown import break_down

NAMES = ('AP', 'AP50', 'AP75', 'AR1', 'AR10')
NONE = dict.fromkeys(NAMES)


def parts(content, results, key):
    """By name of the part."""
    return {part['name']: part for part in break_down(matched(content, results))[key]}


def metrics_of(part):
    return {name: part[name] for name in NAMES}


def objects_of(by_name):
    return {name: part['objects'] for name, part in by_name.items()}


def wanted(*values):
    """AP, AP50, AP75, AR1 and AR10; one value for all of them."""
    values = values * 5 if len(values) == 1 else values
    return pytest.approx(dict(zip(NAMES, values, strict=True)))


def assert_scored_as(part, content, results):
    """A part has the metrics of a data set that holds nothing else."""
    expected = evaluate_tracks(content, results)
    assert metrics_of(part) == pytest.approx({name: expected[name] for name in NAMES})


@pytest.mark.parametrize('seed', range(4))
def test_a_part_is_scored_as_if_it_were_all(seed):
    content, results = random_case(seed)
    for part in break_down(matched(content, results))['categories']:
        truths = [one for one in content['annotations'] if one['category_id'] == part['id']]
        own = [entry for entry in results if entry['category_id'] == part['id']]
        assert_scored_as(part, {**content, 'annotations': truths}, own)
        assert (part['objects'], part['tracks']) == (len(truths), len(own))
    objects = Counter(truth['video_id'] for truth in content['annotations'])
    by_count = parts(content, results, 'objects_per_video')
    for name, counts in {'1': (1,), '2': (2,), '3-4': (3, 4), '5 or more': range(5, 99)}.items():
        ids, part = {one for one, count in objects.items() if count in counts}, by_count[name]
        assert (part['videos'], part['objects']) == (len(ids), sum(objects[one] for one in ids))
        if not ids:
            assert metrics_of(part) == NONE
            continue
        videos = [video for video in content['videos'] if video['id'] in ids]
        truths = [one for one in content['annotations'] if one['video_id'] in ids]
        own = [one for one in results if one['video_id'] in ids]
        assert_scored_as(part, {**content, 'videos': videos, 'annotations': truths}, own)


def test_categories_by_hand():
    truths = [(1, 5, [strip(0)]), (2, 5, [strip(0)]), (1, 2, [strip(3)]), (2, 2, [strip(3)], True)]
    content = data_set({1: 1, 2: 1}, truths, categories=(5, 2, 8))
    found = (1, 5), (2, 5), (2, 5), (2, 2), (1, 8), (1, 8)
    results = [track(*place, 0.9, [strip(0)]) for place in found]
    categories = break_down(matched(content, results))['categories']
    counts = [[one[key] for key in ('id', 'name', 'objects', 'tracks')] for one in categories]
    assert counts == [[2, 'kind 2', 1, 1], [5, 'kind 5', 2, 3], [8, 'kind 8', 0, 2]]
    assert [metrics_of(one) for one in categories] == [wanted(0), wanted(1), NONE]


@pytest.mark.parametrize(
    ('frames', 'name'),
    [
        *(('1', '1'), ('11', '2-8'), ('1' * 8, '2-8'), ('1' * 9, '9-16'), ('1' * 16, '9-16')),
        *(('1' * 17, '17-32'), ('1' * 32, '17-32'), ('1' * 33, '33 or more')),
        ('1' + '0' * 38 + '1', '2-8'),  # frames where it shows count, not those it spans
    ],
)
def test_edges_of_the_length_bins(frames, name):
    content = data_set({1: 40}, [(1, 1, shown(0, frames.ljust(40, '0')))])
    none = dict.fromkeys(('1', '2-8', '9-16', '17-32', '33 or more'), 0)
    assert objects_of(parts(content, [], 'track_length')) == {**none, name: 1}


def test_track_lengths_by_hand():
    def frames(row, count):
        return shown(row, '1' * count + '0' * (40 - count))

    objects = [(1, 1, frames(row, count)) for row, count in enumerate((2, 9, 17, 33))]
    content = data_set({1: 40}, [*objects, (1, 1, frames(5, 1), True)])
    # The first two meet nothing: false among the tracks of 2 to 8 frames, and of 9 to 16. The last
    # has IoU 16 / 17, up to a threshold of 0.90, 9 of 10. It finds an object of 17 to 32 frames:
    # its own length plays no part, and among those of 9 to 16 it is not false.
    found = (0.9, 7, 8), (0.8, 6, 9), (0.7, 0, 2), (0.6, 1, 9), (0.95, 2, 16)
    results = [track(1, 1, score, frames(*place)) for score, *place in found]
    by_length = parts(content, results, 'track_length')
    # That of one frame is a crowd.
    assert [*objects_of(by_length).values()] == [0, 1, 1, 1, 1]
    assert metrics_of(by_length['1']) == NONE
    # The best track of the video is the one of the object of 17 frames. A false track before each
    # of the two others.
    assert metrics_of(by_length['2-8']) == wanted(0.5, 0.5, 0.5, 0, 1)
    # From a threshold of 0.95 on it finds nothing, and is false among its own length; behind it,
    # and the other one, the found one is third.
    assert metrics_of(by_length['9-16']) == wanted((9 / 2 + 1 / 3) / 10, 0.5, 0.5, 0, 1)
    assert metrics_of(by_length['17-32']) == wanted(0.9, 1, 1, 0.9, 0.9)
    assert metrics_of(by_length['33 or more']) == wanted(0)


def test_objects_in_a_video_by_hand():
    """Video v has v objects of two categories; 6 has 7, 7 has none, 1 has a crowd as well."""
    counts = {1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 7, 7: 0}
    places = [(video, row) for video, count in counts.items() for row in range(count)]
    truths = [(video, 1 + row % 2, [strip(row, 9)]) for video, row in places]
    content = data_set(dict.fromkeys(counts, 1), [*truths, (1, 1, [strip(7)], True)])
    results = [
        track(1, 1, 0.5, [strip(0, 9)]),
        track(1, 1, 0.9, [strip(7)]),  # finds the crowd: not false
        track(7, 1, 0.95, [strip(0)]),  # false, but in a video without objects, of no part
    ]
    by_count = parts(content, results, 'objects_per_video')
    sizes = {name: (part['videos'], part['objects']) for name, part in by_count.items()}
    assert sizes == {'1': (1, 1), '2': (1, 2), '3-4': (2, 7), '5 or more': (2, 12)}
    # Of category 2 there is no object in video 1.
    assert metrics_of(by_count['1']) == wanted(1, 1, 1, 0, 1)
    assert metrics_of(by_count['2']) == wanted(0)


@pytest.mark.parametrize(
    ('name', 'some'),
    [
        # Not there yet, or no more, is not hidden.
        ('never', ['1111111111', '0001100000', '0000100000']),
        # 1 frame of 10, 1 of 4, 2 of 9; then 3 of 10, 1 of 3, 8 of 10.
        ('up to 25 %', ['1111101111', '0101100000', '0110101111']),
        ('over 25 %', ['1011001111', '0010100000', '1000000001']),
    ],
)
def test_share_of_frames_hidden(name, some):
    for frames in some:
        content = data_set({1: 10}, [(1, 1, shown(0, frames))])
        hidden = parts(content, [track(1, 1, 0.5, shown(0, frames))], 'hidden')
        assert objects_of(hidden) == {'never': 0, 'up to 25 %': 0, 'over 25 %': 0, name: 1}
        for key, part in hidden.items():
            assert metrics_of(part) == (wanted(1) if key == name else NONE)


def test_hidden_by_hand():
    always, early, crowd = shown(0, '1' * 10), shown(0, '1111111110'), shown(3, '1000000001')
    away = shown(1, '1110000111')
    truths = [(1, 1, always), (1, 1, away), (2, 1, early), (2, 1, crowd, True)]
    content = data_set({1: 10, 2: 10}, truths)
    results = [
        *(track(1, 1, 0.9, always), track(1, 1, 0.7, away), track(2, 1, 0.6, early)),
        track(2, 1, 0.8, shown(5, '1' * 10)),  # false in every part
        track(2, 1, 0.95, crowd),  # found
    ]
    hidden = parts(content, results, 'hidden')
    assert [*objects_of(hidden).values()] == [2, 0, 1]
    # Found, false, found; the tracks of the other parts are neither. In video 2 the best track is
    # that of the crowd.
    two_of_three = (51 + 50 * 2 / 3) / 101
    assert metrics_of(hidden['never']) == wanted(*[two_of_three] * 3, 0.5, 1)
    assert metrics_of(hidden['up to 25 %']) == NONE
    assert metrics_of(hidden['over 25 %']) == wanted(0.5, 0.5, 0.5, 0, 1)
