import hashlib
import json

import cv2
import numpy as np
import pytest
from pycocotools import mask as mask_utils

from vispropnet.datasets.moving_shapes import (
    PRESETS,
    MovingShapesSpec,
    files,
    render_video,
    write_moving_shapes,
)
from vispropnet.datasets.moving_shapes.files import RECIPE_VERSION
from vispropnet.errors import UserError

COUNT = 20


@pytest.fixture(scope='module')
def videos():
    return {
        preset: [render_video(MovingShapesSpec(preset), 'train', index) for index in range(COUNT)]
        for preset in PRESETS
    }


@pytest.fixture(scope='module')
def occlusion_set(tmp_path_factory):
    return write_moving_shapes(
        tmp_path_factory.mktemp('shapes') / 'set', 'occlusion', 3, 1, seed=3, progress=False
    )


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob('*'))
        if path.is_file()
    }


def hidden_runs(visible):
    """Lengths of the gaps between the first and the last visible frame."""
    runs, length = [], 0
    seen = np.flatnonzero(visible)
    for value in visible[seen[0] : seen[-1] + 1]:
        if value and length:
            runs.append(length)
        length = 0 if value else length + 1
    return runs


# ---- reproducibility


def test_same_seed_gives_the_same_bytes_and_another_seed_does_not(tmp_path, occlusion_set):
    again = write_moving_shapes(tmp_path / 'again', 'occlusion', 3, 1, seed=3, progress=False)
    other = write_moving_shapes(tmp_path / 'other', 'occlusion', 3, 1, seed=4, progress=False)
    first, second, third = contents(occlusion_set), contents(again), contents(other)
    assert len(first) == 4 * 12 + 2
    assert first == second
    assert first.keys() == third.keys()
    assert all(first[name] != third[name] for name in first)


def test_a_video_does_not_depend_on_how_many_are_made(tmp_path, occlusion_set):
    larger = write_moving_shapes(tmp_path / 'larger', 'occlusion', 5, 2, seed=3, progress=False)
    few, many = contents(occlusion_set), contents(larger)
    images = [name for name in few if name.endswith('.jpg')]
    assert len(images) == 48
    assert all(few[name] == many[name] for name in images)
    for split, count in (('train', 3), ('valid', 1)):
        small = json.loads(few[f'{split}/instances.json'])
        large = json.loads(many[f'{split}/instances.json'])
        assert small['videos'] == large['videos'][:count]
        assert small['annotations'] == large['annotations'][: len(small['annotations'])]
        assert all(a['video_id'] > count for a in large['annotations'][len(small['annotations']) :])


def test_train_and_validation_videos_differ():
    spec = MovingShapesSpec()
    train = [render_video(spec, 'train', index)[0] for index in range(3)]
    valid = [render_video(spec, 'valid', index)[0] for index in range(3)]
    for one in train:
        for other in valid:
            assert np.abs(one.astype(int) - other).mean() > 5


# Of 20 videos, categories and masks as a digest; of the first five, the mean blue, green and red,
# standard deviation, and mean difference of neighbours along x and over time.
PINNED = {
    'easy': ('36ccc61778957cb4', [103.32, 96.931, 130.844, 34.717, 6.293, 8.567]),
    'occlusion': ('902bc544583f6f33', [121.83, 107.421, 118.951, 29.637, 5.097, 5.811]),
}


@pytest.mark.parametrize('preset', PRESETS)
def test_the_recipe_is_pinned(videos, preset):
    """Whoever changes it on purpose raises RECIPE_VERSION, and pins the new one."""
    digest = hashlib.sha256()
    for _, tracks in videos[preset]:
        for category, masks in tracks:
            digest.update(bytes([category]) + np.packbits(masks).tobytes())
    looks = []
    for frames, _ in videos[preset][:5]:
        steps = [np.abs(np.diff(frames.astype(float), axis=axis)).mean() for axis in (2, 0)]
        looks.append([*frames.mean((0, 1, 2)), frames.std(), *steps])
    wanted_digest, wanted_looks = PINNED[preset]
    assert digest.hexdigest()[:16] == wanted_digest
    # Other instruction sets round some pixels by one level.
    np.testing.assert_allclose(np.mean(looks, 0), wanted_looks, atol=0.01)
    assert RECIPE_VERSION == 1


# ---- files


def test_annotations_are_the_rendered_masks_with_tight_boxes_and_areas(occlusion_set):
    spec = MovingShapesSpec('occlusion', seed=3)
    content = json.loads((occlusion_set / 'train/instances.json').read_text())
    names = ('disc', 'square', 'triangle', 'star')
    assert content['categories'] == [{'id': i, 'name': name} for i, name in enumerate(names, 1)]
    info = {'preset': 'occlusion', 'seed': 3, 'size': [160, 96], 'frames': 12, 'videos': 3}
    assert content['info'].items() >= info.items()
    assert [video['id'] for video in content['videos']] == [1, 2, 3]
    ids = [entry['id'] for entry in content['annotations']]
    assert ids == list(range(1, len(ids) + 1))
    nulls = 0
    for index, video in enumerate(content['videos']):
        assert (video['width'], video['height'], video['length']) == (160, 96, 12)
        frames, tracks = render_video(spec, 'train', index)
        entries = [a for a in content['annotations'] if a['video_id'] == video['id']]
        assert len(entries) == len(tracks)
        for frame, name in zip(frames, video['file_names'], strict=True):
            image = cv2.imread(str(occlusion_set / 'train/JPEGImages' / name))
            # Camera noise costs JPEG about 4 grey levels.
            assert np.abs(image.astype(int) - frame).mean() < 8
        for entry, (category_id, masks) in zip(entries, tracks, strict=True):
            assert entry['category_id'] == category_id
            assert entry['iscrowd'] == 0
            assert (entry['width'], entry['height'], entry['length']) == (160, 96, 12)
            for mask, rle, box, area in zip(
                masks, entry['segmentations'], entry['bboxes'], entry['areas'], strict=True
            ):
                if not mask.any():
                    nulls += 1
                    assert rle is box is area is None
                    continue
                assert isinstance(rle['counts'], str)
                np.testing.assert_array_equal(mask_utils.decode(rle), mask)
                rows, columns = np.nonzero(mask)
                left, top = columns.min(), rows.min()
                assert box == [left, top, columns.max() - left + 1, rows.max() - top + 1]
                assert area == mask.sum()
    assert nulls > 5


@pytest.mark.parametrize('preset', PRESETS)
def test_one_video_of_one_frame(tmp_path, preset):
    out = write_moving_shapes(tmp_path / preset, preset, 1, 1, frames=1, progress=False)
    for split in ('train', 'valid'):
        content = json.loads((out / split / 'instances.json').read_text())
        assert [video['length'] for video in content['videos']] == [1]
        assert len(content['annotations']) >= 2
        assert min(entry['areas'][0] for entry in content['annotations']) >= 8


def test_a_failed_run_leaves_nothing_and_spares_what_was_there(tmp_path, monkeypatch):
    out = write_moving_shapes(tmp_path / 'set', 'easy', 1, 1, frames=2, progress=False)
    before = contents(out)

    def fail(*_):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(files, 'write_json', fail)
    for name, force in (('set', True), ('other', False)):
        with pytest.raises(UserError, match='No space left'):
            write_moving_shapes(tmp_path / name, 'easy', 1, 1, progress=False, force=force)
    assert [path.name for path in tmp_path.iterdir()] == ['set']
    assert contents(out) == before


def test_force_replaces_a_data_set_but_nothing_else(tmp_path):
    out = write_moving_shapes(tmp_path / 'set', 'easy', 2, 1, frames=2, progress=False)
    with pytest.raises(UserError, match='--force'):
        write_moving_shapes(out, 'easy', 1, 1, frames=2, progress=False)
    write_moving_shapes(out, 'easy', 1, 1, frames=2, progress=False, force=True)
    assert len(list((out / 'train/JPEGImages').iterdir())) == 1
    (out / 'thesis.txt').write_text('years of work')
    with pytest.raises(UserError, match=r'thesis\.txt'):
        write_moving_shapes(out, 'easy', 1, 1, frames=2, progress=False, force=True)
    assert (out / 'thesis.txt').read_text() == 'years of work'
    assert [path.name for path in tmp_path.iterdir()] == ['set']


@pytest.mark.parametrize(
    ('values', 'message'),
    [
        ({'preset': 'hard'}, 'easy or occlusion'),
        ({'frames': 0}, 'frames is 0'),
        ({'size': (160, 31)}, '160x31'),
        ({'seed': -1}, 'seed is -1'),
    ],
)
def test_bad_values_are_named(values, message):
    with pytest.raises(UserError, match=message):
        MovingShapesSpec(**values)


# ---- what the videos contain


@pytest.mark.parametrize('preset', ['easy', 'occlusion'])
def test_masks_of_a_frame_are_disjoint_and_no_slivers(videos, preset):
    for _, tracks in videos[preset]:
        masks = np.stack([mask for _, mask in tracks])
        assert masks.sum(0).max() == 1
        areas = masks.sum((2, 3))
        assert areas[areas > 0].min() >= 8


@pytest.mark.parametrize('preset', ['easy', 'occlusion'])
def test_two_to_five_objects_often_two_of_a_category(videos, preset):
    categories = [[category for category, _ in tracks] for _, tracks in videos[preset]]
    counts = [len(names) for names in categories]
    assert min(counts) >= 2
    assert max(counts) == 5
    assert sum(len(set(names)) < len(names) for names in categories) >= COUNT / 2
    shares = np.bincount(np.concatenate(categories), minlength=5)[1:] / sum(counts)
    assert shares.min() > 0.12


def test_objects_of_easy_move_touch_and_stand_out(videos):
    travels, touches, contrasts = [], 0, []
    ring_shape, near_shape = np.ones((9, 9)), np.ones((3, 3))
    for frames, tracks in videos['easy']:
        near = [
            np.stack([cv2.dilate(mask.astype(np.uint8), near_shape) for mask in masks])
            for _, masks in tracks
        ]
        touches += bool((np.sum(near, 0) > 1).any())
        for _, masks in tracks:
            seen = np.flatnonzero(masks.any((1, 2)))
            if len(seen) > 6:
                ends = [np.argwhere(masks[frame]).mean(0) for frame in (seen[0], seen[-1])]
                travels.append(np.linalg.norm(ends[1] - ends[0]) / (seen[-1] - seen[0]))
            best = masks.sum((1, 2)).argmax()
            ring = cv2.dilate(masks[best].astype(np.uint8), ring_shape).astype(bool)
            ring &= ~np.any([other[best] for other in near], 0)
            if ring.sum() > 20:
                frame = frames[best].astype(float)
                contrasts.append(np.linalg.norm(frame[masks[best]].mean(0) - frame[ring].mean(0)))
    assert np.median(travels) > 1.5  # Pixels a frame.
    assert touches >= 0.9 * COUNT
    assert min(contrasts) > 40
    assert np.ptp(contrasts) > 80


def test_ids_survive_full_occlusion(videos):
    """In each video of the occlusion preset one track is seen, gone for two frames, and back."""
    for _, tracks in videos['occlusion']:
        assert any(max(hidden_runs(masks.any((1, 2))), default=0) >= 2 for _, masks in tracks)


def test_objects_leave_the_frame_and_come_back_under_the_same_id():
    spec = MovingShapesSpec('easy', frames=60)
    returns = 0
    for index in range(6):
        for _, masks in render_video(spec, 'train', index)[1]:
            visible = masks.any((1, 2))
            for gone in np.flatnonzero(visible[:-2] & ~visible[1:-1]):
                border = np.ones((96, 160), bool)
                border[1:-1, 1:-1] = False
                returns += (masks[gone] & border).any() and visible[gone + 2 :].any()
    assert returns >= 2


def test_occlusion_hides_clearly_more_than_easy(videos):
    hidden, fractions = {}, {}
    for preset, made in videos.items():
        tracks = [masks for _, video_tracks in made for _, masks in video_tracks]
        gaps = sum(sum(hidden_runs(masks.any((1, 2)))) for masks in tracks)
        spans = sum(np.ptp(np.flatnonzero(masks.any((1, 2)))) + 1 for masks in tracks)
        hidden[preset] = gaps / spans
        areas = [masks.sum((1, 2)) for masks in tracks]
        fractions[preset] = np.mean([(area / area.max()).mean() for area in areas])
    assert hidden['easy'] < 0.03
    assert hidden['occlusion'] > 0.1
    assert fractions['occlusion'] < fractions['easy'] - 0.2
