import json
import tracemalloc

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
ANNOTATIONS = {
    'videos': [
        {'id': 7, 'width': W, 'height': H, 'file_names': ['a/0.jpg', 'a/1.jpg', 'a/2.jpg']},
        {'id': 3, 'width': W, 'height': H, 'file_names': ['b/0.jpg']},
    ],
    'categories': [{'id': 40, 'name': 'disc'}, {'id': 11, 'name': 'star'}],
}


def rle(left, top, width, height):
    mask = np.zeros((H, W), bool)
    mask[top : top + height, left : left + width] = True
    return encode(mask)


def good_tracks():
    return [
        track(7, 11, 0.5, rle(0, 0, 4, 4), None, rle(1, 0, 4, 4)),
        track(7, 40, 1, None, rle(3, 3, 9, 9), None),
        track(3, 40, 0.0, rle(2, 2, 5, 5)),
    ]


def track(video, category, score, *masks):
    return track_of(video, category, score, list(masks))


def check(tmp_path, tracks):
    contents = AnnotationFile(ANNOTATIONS, Report('ann.json'))
    path = tmp_path / 'results.json'
    path.write_text(tracks if isinstance(tracks, str) else json.dumps(tracks))
    report = Report('results.json')
    check_results(path, contents, report, progress=False)
    json.dumps(reports_as_json([report]), allow_nan=False)
    return report


def found(report):
    return [(one.severity, one.kind, one.line('')) for one in report.findings]


def test_good_results_have_no_findings(tmp_path):
    report = check(tmp_path, good_tracks())
    assert found(report) == []
    assert report.summary() == (
        'results.json: 0 errors, 0 warnings; looked at 2 videos, 3 tracks, 7 frames, 4 masks'
    )


def test_the_archive_is_read_too(tmp_path):
    check(tmp_path, good_tracks())
    contents = AnnotationFile(ANNOTATIONS, Report('ann.json'))
    write_results(tmp_path / 'out.json', good_tracks())
    report = Report('out.zip')
    check_results(tmp_path / 'out.zip', contents, report, progress=False)
    assert found(report) == []
    assert report.looked_at['masks'] == 4


def changed(number, key, value):
    def damage(tracks):
        tracks[number][key] = value

    return damage


def changed_mask(number, frame, key, value):
    def damage(tracks):
        tracks[number]['segmentations'][frame][key] = value

    return damage


def without(number, key):
    def damage(tracks):
        del tracks[number][key]

    return damage


FRAME = 'entry 0, video 7, frame 2 (a/2.jpg)'
PLANTED = {
    'a number': (
        lambda tracks: tracks.append(3),
        [('structure', 'entry 3: must be an object, found 3')],
    ),
    'no score': (
        without(0, 'score'),
        [('structure', "entry 0, video 7: key 'score' is missing, expected a number")],
    ),
    'no masks': (
        without(0, 'segmentations'),
        [('structure', "entry 0, video 7: key 'segmentations' is missing, expected a list with")],
    ),
    'masks are an object': (
        changed(0, 'segmentations', {}),
        [('structure', "entry 0, video 7: 'segmentations' must be a list, found {}")],
    ),
    'category is text': (
        changed(0, 'category_id', '11'),
        [('structure', "entry 0, video 7: 'category_id' must be an integer, found '11'")],
    ),
    **{
        f'score {score!r}': (
            changed(0, 'score', score),
            [(kind, f"entry 0, video 7: 'score' must be {wanted}")],
        )
        for score, kind, wanted in [
            ('0.5', 'structure', "a number, found '0.5'"),
            (True, 'structure', 'a number, found true'),
            (None, 'structure', 'a number, found null'),
            (float('nan'), 'score', 'from 0 to 1, found nan'),
            (float('inf'), 'score', 'from 0 to 1, found inf'),
            (-float('inf'), 'score', 'from 0 to 1, found -inf'),
            (50, 'score', 'from 0 to 1, found 50'),
            (-1e-9, 'score', 'from 0 to 1, found -1e-09'),
        ]
    },
    'unknown video': (
        lambda tracks: tracks.append(track(8, 11, 0.5, rle(0, 0, 2, 2))),
        [
            (
                'unknown video',
                'entry 3, video 8: video_id 8 is not among the videos of the annotation file',
            )
        ],
    ),
    'unknown category': (
        changed(1, 'category_id', 1),
        [
            (
                'unknown category',
                'entry 1, video 7: category_id 1 is not among the categories of the',
            )
        ],
    ),
    'too few entries': (
        lambda tracks: tracks[1]['segmentations'].pop(),
        [('number of entries', "entry 1, video 7: 'segmentations' has 2 entries, but the video")],
    ),
    'too many entries': (
        lambda tracks: tracks[2]['segmentations'].append(None),
        [('number of entries', "entry 2, video 3: 'segmentations' has 2 entries, but the video")],
    ),
    'mask of another size': (
        changed_mask(0, 2, 'size', [12, 16]),
        [('mask of another size than its video', f'{FRAME}: the mask is 16x12 pixels')],
    ),
    'damaged mask': (
        changed_mask(0, 2, 'counts', 'ö'),
        [('damaged mask', f"{FRAME}: 'counts' of the RLE are damaged")],
    ),
    'no counts': (
        lambda tracks: tracks[0]['segmentations'][2].pop('counts'),
        [('damaged mask', f"{FRAME}: a mask must be null or an RLE with 'size' and 'counts'")],
    ),
    'plain counts': (
        changed_mask(0, 2, 'counts', [0, 5, H * W - 5]),
        [('uncompressed mask', f"{FRAME}: 'counts' is a list: expected a string")],
    ),
}
ODD = {
    'nothing but null': (
        lambda tracks: tracks.append(track(7, 11, 0.5, None, None, None)),
        [('track without masks', 'entry 3, video 7: no frame has a mask with pixels')],
    ),
    'empty masks only': (
        lambda tracks: tracks.append(track(7, 11, 0.5, None, rle(0, 0, 0, 0), None)),
        [('track without masks', 'entry 3, video 7: no frame has a mask with pixels')],
    ),
    'an empty list for a mask': (
        lambda tracks: tracks[0]['segmentations'].__setitem__(1, []),
        [('absent object', 'entry 0, video 7, frame 1 (a/1.jpg): 1 masks are []: expected null')],
    ),
    'video without tracks': (
        lambda tracks: tracks.pop(),
        [('video without tracks', 'video 3: it has no track')],
    ),
    'the same track again': (
        lambda tracks: tracks.append(good_tracks()[0]),
        [
            (
                'repeated track',
                'entry 3, video 7: video, category, score and masks are those of entry 0',
            )
        ],
    ),
}


@pytest.mark.parametrize('name', PLANTED)
def test_a_planted_error_is_found_and_nothing_else(tmp_path, name):
    assert_found(tmp_path, *PLANTED[name], severity='error')


@pytest.mark.parametrize('name', ODD)
def test_a_planted_oddity_is_a_warning_and_nothing_else(tmp_path, name):
    assert_found(tmp_path, *ODD[name], severity='warning')


def assert_found(tmp_path, damage, wanted, severity):
    tracks = good_tracks()
    damage(tracks)
    findings = found(check(tmp_path, tracks))
    assert [kind for _, kind, _ in findings] == [kind for kind, _ in wanted]
    for (has_severity, _, line), (_, text) in zip(findings, wanted, strict=True):
        assert has_severity == severity
        assert line.startswith(text)


def test_tracks_that_differ_a_little_are_no_repetition(tmp_path):
    tracks = good_tracks()
    tracks.append({**tracks[0], 'score': 0.25})
    tracks.append({**tracks[0], 'category_id': 40})
    tracks.append(track(7, 11, 0.5, None, *tracks[0]['segmentations'][::2]))
    tracks.append({**tracks[0], 'segmentations': [rle(0, 0, 4, 5), None, rle(1, 0, 4, 4)]})
    assert found(check(tmp_path, tracks)) == []


def test_only_a_hundred_tracks_of_a_video_and_category_count(tmp_path):
    def crowd(number):
        return [track(7, 40, n / 200, None, rle(3, 3, 9, 9), None) for n in range(number)]

    # One of the good tracks is of that video and category, too.
    assert found(check(tmp_path, good_tracks() + crowd(99))) == []
    ((severity, kind, line),) = found(check(tmp_path, good_tracks() + crowd(133)))
    assert (severity, kind) == ('warning', 'more tracks than count')
    assert line.startswith('category 40, video 7: 134 tracks')


def test_no_tracks_at_all(tmp_path):
    kinds = [(severity, kind) for severity, kind, _ in found(check(tmp_path, []))]
    assert kinds == [('warning', 'video without tracks')] * 2


def test_everything_is_listed_at_once(tmp_path):
    tracks = good_tracks()
    wanted = []
    for planted, names in (
        (
            PLANTED,
            ['unknown video', 'score 50', 'damaged mask', 'unknown category', 'a number'],
        ),
        (ODD, ['nothing but null', 'empty masks only']),
    ):
        for name in names:
            planted[name][0](tracks)
            wanted += [kind for kind, _ in planted[name][1]]
    assert sorted(kind for _, kind, _ in found(check(tmp_path, tracks))) == sorted(wanted)


@pytest.mark.parametrize('content', ['{"a": 1}', '"text"', 'null', '5'])
def test_what_is_no_list_is_a_finding(tmp_path, content):
    ((severity, kind, line),) = found(check(tmp_path, content))
    assert (severity, kind) == ('error', 'structure')
    assert 'must hold a list of tracks' in line


@pytest.mark.parametrize('content', ['', '[{"video_id": 7', '[3, x]', '[] 5'])
def test_what_is_no_json_cannot_be_read(tmp_path, content):
    with pytest.raises(UserError, match=r'result file .*results\.json'):
        check(tmp_path, content)


def test_a_large_file_is_not_held(tmp_path):
    mask = encode(np.random.default_rng(0).random((H, W)) < 0.5)
    tracks = [track(7, 11, n / 10000, mask, mask, mask) for n in range(10000)]
    contents = AnnotationFile(ANNOTATIONS, Report('ann.json'))
    path = tmp_path / 'results.json'
    path.write_text(json.dumps(tracks))
    del tracks
    report = Report('results.json')
    tracemalloc.start()
    check_results(path, contents, report, progress=False)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert report.looked_at['masks'] == 30000
    assert path.stat().st_size > 13e6
    # A window on the text, a batch of masks, a digest per track.
    assert peak < 10e6, peak
