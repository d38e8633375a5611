import json
import tracemalloc
import zipfile

import numpy as np
import pytest

from tests.evaluation.content import encode
from tests.evaluation.content import track as track_of
from vispropnet.datasets.annotation_rules import AnnotationFile
from vispropnet.datasets.check_report import Report, reports_as_json
from vispropnet.errors import UserError
from vispropnet.evaluation.check_results import check_results
from vispropnet.evaluation.result_file import write_results

H, W = 24, 32
NAMES = {7: ['a/0.jpg', 'a/1.jpg', 'a/2.jpg'], 3: ['b/0.jpg']}
VIDEOS = [{'id': one, 'width': W, 'height': H, 'file_names': NAMES[one]} for one in NAMES]
CATEGORIES = [{'id': 40, 'name': 'disc'}, {'id': 11, 'name': 'star'}]
ANNOTATIONS = {'videos': VIDEOS, 'categories': CATEGORIES}


def rle(left, top, width, height):
    mask = np.zeros((H, W), bool)
    mask[top : top + height, left : left + width] = True
    return encode(mask)


def track(video, category, score, *masks):
    return track_of(video, category, score, list(masks))


def good_tracks():
    return [
        track(7, 11, 0.5, rle(0, 0, 4, 4), None, rle(1, 0, 4, 4)),
        track(7, 40, 1, None, rle(3, 3, 9, 9), None),
        track(3, 40, 0.0, rle(2, 2, 5, 5)),
    ]


def check_file(path):
    contents, report = AnnotationFile(ANNOTATIONS, Report('ann.json')), Report('results.json')
    check_results(path, contents, report)
    return report


@pytest.fixture
def check(tmp_path):
    """Checks tracks, or a text in their place."""

    def check(tracks):
        path = tmp_path / 'results.json'
        path.write_text(tracks if isinstance(tracks, str) else json.dumps(tracks))
        report = check_file(path)
        json.dumps(reports_as_json([report]), allow_nan=False)
        return report

    return check


def found(report):
    return [(one.severity, one.kind, one.line('')) for one in report.findings]


def test_good_results_have_no_findings(check, tmp_path):
    write_results(tmp_path / 'out.json', good_tracks())
    summary = '0 errors, 0 warnings; looked at 2 videos, 3 tracks, 7 frames, 4 masks'
    for report in (check(good_tracks()), check_file(tmp_path / 'out.zip')):
        assert (found(report), report.summary()) == ([], f'results.json: {summary}')


@pytest.mark.parametrize(
    'names',
    [
        ['out/results.json'],
        ['masktrack.json'],
        ['Results.json'],
        ['./results.json'],
        ['results.json', 'readme.txt'],
        ['out/', 'results.json'],
        ['results.json', '__MACOSX/._results.json'],
        ['out\\results.json'],
    ],
)
def test_archives_that_the_server_refuses(names, tmp_path):
    path = tmp_path / 'out.ZIP'
    with zipfile.ZipFile(path, 'w') as archive:
        for name in names:
            archive.writestr(name, json.dumps(good_tracks()) if name.endswith('.json') else '')
    (finding,) = check_file(path).findings
    assert (finding.severity, finding.kind) == ('error', 'archive')
    assert finding.text.startswith(f'it holds {", ".join(map(repr, names))}; the server takes an')


def added(*values):
    """A change of the tracks that appends one."""
    return lambda tracks: tracks.append(track(*values) if len(values) > 1 else values[0])


def changed(value, *keys):
    """A change of what stands at these keys; ``...`` deletes it."""

    def change(tracks):
        place = tracks
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value
        if value is ...:
            del place[keys[-1]]

    return change


FIRST, FRAME = 'entry 0, video 7', 'entry 0, video 7, frame 2 (a/2.jpg)'
MASKS, MASK = (0, 'segmentations'), (0, 'segmentations', 2)
LIST_OF_RUNS, SMALL = [0, 5, H * W - 5], rle(0, 0, 2, 2)
TWO, OTHER_SIZE = "'segmentations' has 2 entries", 'mask of another size than its video'
# A kind of finding, the start of its line, and a change that gives this one and no other.
ERRORS = [
    ('structure', 'entry 3: must be an object, found 3', added(3)),
    ('structure', f"{FIRST}: key 'score' is missing, expected a number", changed(..., 0, 'score')),
    ('structure', f"{FIRST}: key 'segmentations' is missing", changed(..., *MASKS)),
    ('structure', f"{FIRST}: 'segmentations' must be a list, found {{}}", changed({}, *MASKS)),
    ('structure', f"{FIRST}: 'category_id' must be an integer", changed('11', 0, 'category_id')),
    *(
        (kind, f"{FIRST}: 'score' must be {wanted}", changed(score, 0, 'score'))
        for score, kind, wanted in [
            ('0.5', 'structure', "a number, found '0.5'"),
            (True, 'structure', 'a number, found true'),
            (None, 'structure', 'a number, found null'),
            (float('nan'), 'score', 'from 0 to 1, found nan'),
            (-float('inf'), 'score', 'from 0 to 1, found -inf'),
            (50, 'score', 'from 0 to 1, found 50'),
            (-1e-9, 'score', 'from 0 to 1, found -1e-09'),
        ]
    ),
    ('unknown video', 'entry 3, video 8: video_id 8 is not', added(8, 11, 0.5, SMALL)),
    ('unknown category', 'entry 1, video 7: category_id 1 is not', changed(1, 1, 'category_id')),
    ('number of entries', f'entry 1, video 7: {TWO}', changed(..., 1, 'segmentations', 2)),
    ('number of entries', f'entry 2, video 3: {TWO}', changed([SMALL, None], 2, 'segmentations')),
    (OTHER_SIZE, f'{FRAME}: the mask is', changed([9, 9], *MASK, 'size')),
    ('damaged mask', f"{FRAME}: 'counts' of the RLE are damaged", changed('ö', *MASK, 'counts')),
    ('damaged mask', f'{FRAME}: a mask must be null or an RLE', changed(..., *MASK, 'counts')),
    ('uncompressed mask', f"{FRAME}: 'counts' is a list", changed(LIST_OF_RUNS, *MASK, 'counts')),
]
NO_PIXELS = 'entry 3, video 7: no frame has a mask with pixels'
REPEATED = 'entry 3, video 7: video, category, score and masks are those of entry 0'
WARNINGS = [
    ('track without masks', NO_PIXELS, added(7, 11, 0.5, None, None, None)),
    ('track without masks', NO_PIXELS, added(7, 11, 0.5, None, rle(0, 0, 0, 0), None)),
    ('absent object', f'{FIRST}, frame 1 (a/1.jpg): 1 masks are []', changed([], *MASKS, 1)),
    ('video without tracks', 'video 3: it has no track', changed(..., 2)),
    ('repeated track', REPEATED, added(good_tracks()[0])),
]


@pytest.mark.parametrize(
    ('severity', 'kind', 'text', 'change'),
    [('error', *one) for one in ERRORS] + [('warning', *one) for one in WARNINGS],
)
def test_what_is_wrong_or_odd_is_found_and_nothing_else(check, severity, kind, text, change):
    tracks = good_tracks()
    change(tracks)
    ((severity_found, kind_found, line),) = found(check(tracks))
    assert (severity_found, kind_found) == (severity, kind)
    assert line.startswith(text)


def test_everything_is_listed_at_once_and_nothing_else(check):
    tracks = good_tracks()
    planted = [ERRORS[0], ERRORS[10], *ERRORS[12:14], ERRORS[17], *WARNINGS[:2]]
    for _, _, change in planted:
        change(tracks)
    assert sorted(one[1] for one in found(check(tracks))) == sorted(one[0] for one in planted)
    # Tracks that differ a little are no repetition.
    tracks = good_tracks()
    tracks += [{**tracks[0], 'score': 0.25}, {**tracks[0], 'category_id': 40}]
    tracks.append(track(7, 11, 0.5, None, *tracks[0]['segmentations'][::2]))
    tracks.append({**tracks[0], 'segmentations': [rle(0, 0, 4, 5), None, rle(1, 0, 4, 4)]})
    assert found(check(tracks)) == []


def test_only_a_hundred_tracks_of_a_video_and_category_count(check):
    crowd = [track(7, 40, n / 200, None, rle(3, 3, 9, 9), None) for n in range(133)]
    # One of the good tracks is of that video and category, too.
    assert found(check(good_tracks() + crowd[:99])) == []
    ((severity, kind, line),) = found(check(good_tracks() + crowd))
    assert (severity, kind) == ('warning', 'more tracks than count')
    assert line.startswith('category 40, video 7: 134 tracks')


def test_no_tracks_and_what_is_no_list_are_findings_and_no_json_an_error(check):
    kinds = [(severity, kind) for severity, kind, _ in found(check([]))]
    assert kinds == [('warning', 'video without tracks')] * 2
    ((severity, kind, line),) = found(check('{"a": 1}'))
    assert (severity, kind) == ('error', 'structure')
    assert 'must hold a list of tracks' in line
    with pytest.raises(UserError, match=r'result file .*results\.json'):
        check('[{"video_id": 7')


def test_a_large_file_is_not_held(tmp_path):
    mask = encode(np.random.default_rng(0).random((H, W)) < 0.5)
    path = tmp_path / 'results.json'
    path.write_text(json.dumps([track(7, 11, n / 10000, *[mask] * 3) for n in range(10000)]))
    tracemalloc.start()
    report = check_file(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert report.looked_at['masks'] == 30000
    assert path.stat().st_size > 13e6
    # A window on the text, a batch of masks, a digest per track.
    assert peak < 10e6, peak
