import hashlib
import json
from unittest.mock import Mock

import cv2
import numpy as np
import pytest
from pycocotools import mask as mask_utils

from vispropnet.datasets.check_annotations import check_annotations
from vispropnet.datasets.check_report import Report
from vispropnet.datasets.moving_shapes import PRESETS, MovingShapesSpec, files, render_video
from vispropnet.errors import UserError

COUNT = 20


def write(folder, preset='easy', videos=(1, 1), frames=2, **options):
    options['progress'] = False
    return files.write_moving_shapes(folder, preset, *videos, frames, **options)


@pytest.fixture(scope='module')
def videos():
    specs = {preset: MovingShapesSpec(preset) for preset in PRESETS}
    return {name: [render_video(specs[name], 'train', i) for i in range(COUNT)] for name in specs}


@pytest.fixture(scope='module')
def occlusion_set(tmp_path_factory):
    return write(tmp_path_factory.mktemp('shapes') / 'set', 'occlusion', (3, 1), 12, seed=3)


def contents(folder):
    paths = sorted(path for path in folder.rglob('*') if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def test_a_video_depends_on_seed_split_and_index_only(tmp_path, occlusion_set):
    few = contents(occlusion_set)
    many = contents(write(tmp_path / 'many', 'occlusion', (5, 2), 12, seed=3))
    other = contents(write(tmp_path / 'other', 'occlusion', (3, 1), 12, seed=4))
    images = {name: content for name, content in few.items() if name.endswith('.jpg')}
    assert len(images) == len({*images.values()}) == 48
    assert images.items() <= many.items()
    assert few.keys() == other.keys() and not few.items() & other.items()
    for split, count in (('train', 3), ('valid', 1)):
        small, large = (json.loads(one[f'{split}/instances.json']) for one in (few, many))
        assert small['videos'] == large['videos'][:count]
        kept = [one for one in large['annotations'] if one['video_id'] <= count]
        assert small['annotations'] == kept == large['annotations'][: len(kept)]


def test_processes_make_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(files, '_VIDEOS_A_WORKER', 1)
    made = [
        contents(write(tmp_path / f'{workers}', 'crowded', (2, 1), 2, workers=workers))
        for workers in (1, 2)
    ]
    assert made[0] == made[1] and len(made[0]) == 8
    with pytest.raises(UserError, match='0 workers asked for'):
        write(tmp_path / 'none', workers=0)


def test_a_preset_names_its_categories(tmp_path):
    content = json.loads((write(tmp_path / 'set', 'crowded') / 'valid/instances.json').read_text())
    assert [one['name'] for one in content['categories']][3:] == [
        *('star', 'cross', 'arrow', 'heart', 'crescent')
    ]


# Of 20 videos, categories and masks as a digest; of the first five, the mean blue, green and red,
# standard deviation, and mean difference of neighbours along x and over time.
PINNED = {
    'easy': ('36ccc61778957cb4', [103.32, 96.931, 130.844, 34.717, 6.293, 8.567]),
    'occlusion': ('902bc544583f6f33', [121.83, 107.421, 118.951, 29.637, 5.097, 5.811]),
    'crowded': ('ad08bd303203c6f6', [122.092, 141.252, 105.423, 38.392, 6.131, 7.86]),
}


@pytest.mark.parametrize('preset', PRESETS)
def test_the_recipe_is_pinned(videos, preset):
    """Whoever changes it on purpose raises RECIPE_VERSION, and pins the new one."""
    digest, looks = hashlib.sha256(), []
    for _, tracks in videos[preset]:
        for category, masks in tracks:
            digest.update(bytes([category]) + np.packbits(masks).tobytes())
    for frames, _ in videos[preset][:5]:
        steps = [np.abs(np.diff(frames.astype(float), axis=axis)).mean() for axis in (2, 0)]
        looks.append([*frames.mean((0, 1, 2)), frames.std(), *steps])
    assert (digest.hexdigest()[:16], files.RECIPE_VERSION) == (PINNED[preset][0], 1)
    # Other instruction sets round some pixels by one level.
    np.testing.assert_allclose(np.mean(looks, 0), PINNED[preset][1], atol=0.01)


def test_annotations_are_the_rendered_masks_with_tight_boxes_and_areas(occlusion_set):
    content = json.loads((occlusion_set / 'train/instances.json').read_text())
    names = ('disc', 'square', 'triangle', 'star')
    assert content['categories'] == [{'id': i, 'name': name} for i, name in enumerate(names, 1)]
    info = {'preset': 'occlusion', 'seed': 3, 'size': [160, 96], 'frames': 12, 'videos': 3}
    assert content['info'].items() >= info.items()
    shape, nulls = {'width': 160, 'height': 96, 'length': 12}, 0
    for index, video in enumerate(content['videos']):
        assert video.items() >= {'id': index + 1, **shape}.items()
        frames, tracks = render_video(MovingShapesSpec('occlusion', seed=3), 'train', index)
        entries = [a for a in content['annotations'] if a['video_id'] == video['id']]
        for frame, name in zip(frames, video['file_names'], strict=True):
            image = cv2.imread(str(occlusion_set / 'train/JPEGImages' / name))
            # Camera noise costs JPEG about 4 grey levels.
            assert np.abs(image.astype(int) - frame).mean() < 8
        for entry, (category_id, masks) in zip(entries, tracks, strict=True):
            assert entry.items() >= {'category_id': category_id, 'iscrowd': 0, **shape}.items()
            lists = entry['segmentations'], entry['bboxes'], entry['areas']
            for mask, rle, box, area in zip(masks, *lists, strict=True):
                if not mask.any():
                    nulls += 1
                    assert rle is box is area is None
                    continue
                np.testing.assert_array_equal(mask_utils.decode(rle), mask)
                rows, columns = np.nonzero(mask)
                corner = [columns.min(), rows.min()]
                assert (box, area) == ([*corner, np.ptp(columns) + 1, np.ptp(rows) + 1], mask.sum())
    assert nulls > 5
    for split in ('train', 'valid'):
        report = Report(split)
        check_annotations(occlusion_set / split / 'instances.json', report, progress=False)
        # Few videos do not show every category.
        assert {one.kind for one in report.findings} <= {'category without annotations'}
        assert report.looked_at['masks'] > 10


@pytest.mark.parametrize('preset', PRESETS)
def test_one_video_of_one_frame(tmp_path, preset):
    out = write(tmp_path / preset, preset, frames=1)
    for path in (out / 'train/instances.json', out / 'valid/instances.json'):
        content = json.loads(path.read_text())
        assert [video['length'] for video in content['videos']] == [1]
        areas = [entry['areas'][0] for entry in content['annotations']]
        assert len(areas) >= 2 and min(areas) >= 8


def test_a_failed_run_leaves_nothing_and_spares_what_was_there(tmp_path, monkeypatch):
    out = write(tmp_path / 'set')
    before, full = contents(out), Mock(side_effect=OSError(28, 'No space left on device'))
    monkeypatch.setattr(files, 'write_json', full)
    for name, force in (('set', True), ('other', False)):
        with pytest.raises(UserError, match='No space left'):
            write(tmp_path / name, force=force)
    assert [path.name for path in tmp_path.iterdir()] == ['set']
    assert contents(out) == before


def test_force_replaces_a_data_set_but_nothing_else(tmp_path):
    out = write(tmp_path / 'set', videos=(2, 1))
    with pytest.raises(UserError, match='--force'):
        write(out)
    write(out, force=True)
    assert len(list((out / 'train/JPEGImages').iterdir())) == 1
    (out / 'thesis.txt').write_text('years of work')
    with pytest.raises(UserError, match=r'thesis\.txt'):
        write(out, force=True)
    assert (out / 'thesis.txt').read_text() == 'years of work'
    assert [path.name for path in tmp_path.iterdir()] == ['set']


@pytest.mark.parametrize(
    ('name', 'value', 'message'),
    [
        *(('preset', 'hard', 'easy or occlusion'), ('frames', 0, 'frames is 0')),
        *(('size', (160, 31), '160x31'), ('seed', -1, 'seed is -1')),
    ],
)
def test_bad_values_are_named(name, value, message):
    with pytest.raises(UserError, match=message):
        MovingShapesSpec(**{name: value})


@pytest.mark.parametrize(
    ('preset', 'most', 'kinds'), [('easy', 5, 4), ('occlusion', 5, 4), ('crowded', 9, 8)]
)
def test_at_least_two_objects_often_two_of_a_category(videos, preset, most, kinds):
    categories = []
    for _, tracks in videos[preset]:
        masks = np.stack([mask for _, mask in tracks])
        assert masks.sum(0).max() == 1  # disjoint
        areas = masks.sum((2, 3))
        assert areas[areas > 0].min() >= 8
        categories.append([category for category, _ in tracks])
    counts = [len(names) for names in categories]
    assert min(counts) >= 2 and max(counts) == most
    assert sum(len(set(names)) < len(names) for names in categories) >= COUNT / 2
    shares = np.bincount(np.concatenate(categories), minlength=kinds + 1)[1:] / sum(counts)
    assert len(shares) == kinds and shares.min() > 0.48 / kinds


def test_ids_survive_full_occlusion(videos):
    """In each video of the occlusion preset one track is seen, gone for two frames, and back."""
    shares = {}
    for preset, made in videos.items():
        visible = [[masks.any((1, 2)) for _, masks in tracks] for _, tracks in made]
        gaps = [[np.diff(np.flatnonzero(one)) - 1 for one in tracks] for tracks in visible]
        if preset != 'easy':
            assert all(max(one.max(initial=0) for one in tracks) >= 2 for tracks in gaps)
        gone, seen = (np.concatenate(sum(some, [])).sum() for some in (gaps, visible))
        shares[preset] = gone / seen
    assert shares['easy'] < 0.03 and min(shares['occlusion'], shares['crowded']) > 0.1
