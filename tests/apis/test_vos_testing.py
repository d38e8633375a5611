"""Test of a config whose objects are given: index masks, result files, scores, seeds."""

import json
import shutil
import zipfile

import numpy as np
import pytest
import torch
from pycocotools import mask as mask_utils

from tests.processes import run_tool
from vispropnet.apis import init_model, vos_testing
from vispropnet.config import load_config
from vispropnet.datasets.index_masks import read_index_mask, write_index_mask
from vispropnet.errors import UserError
from vispropnet.evaluation.mask_folders import jf_report, score_folders, truth_folders
from vispropnet.registry import DATASETS

CONFIG = 'configs/stcn/stcn_tiny_40e_moving-shapes.py'
TRUTH = 'valid/instances.json'


@pytest.fixture(scope='module')
def checkpoint(root, tmp_path_factory):
    torch.manual_seed(0)
    model = init_model(str(root / CONFIG), None, 'cpu')
    path = tmp_path_factory.mktemp('stcn') / 'weights.pth'
    torch.save(dict(state_dict=model.state_dict()), path)
    return str(path)


@pytest.fixture
def segment(root, shapes, checkpoint):
    """Tests the small config on the shapes, or on data elsewhere."""

    def segment(out, *options, data=shapes, **more):
        options = [f'data_root={data}', *options]
        return vos_testing.test_vos(
            root / CONFIG, checkpoint, out, overrides=options, device='cpu', **more
        )

    return segment


def test_a_config_is_tested_and_scored(root, shapes, segment, tmp_path, capsys):
    out = tmp_path / 'masks'
    report = segment(out, evaluate=True, archive='youtube-vos', batch=2)
    config = load_config(root / CONFIG, [f'data_root={shapes}'])
    data = DATASETS.build(config.test_dataloader.dataset)
    assert [one['sequence'] for one in report['sequences']] == [name for name, _ in data.videos()]
    # As the folders are scored by themselves.
    for name, numbers in data.videos():
        for position, number in enumerate(numbers):
            path = tmp_path / 'truth' / name / f'{position:05}.png'
            write_index_mask(path, data.index_mask(number))
            for one, mask in data.given_objects(number).items():
                assert (read_index_mask(out / name / path.name)[mask] == one).all()
    scores = score_folders(truth_folders(tmp_path / 'truth'), out, late_objects=True)
    costs = report.pop('costs')
    assert jf_report(scores) == report
    # Three videos of three frames; of each the first and, two frames later, the last are kept.
    assert costs['frames'] == 9 and costs['frames_kept'] == 2
    assert 0 < costs['seconds_per_frame'] < 10 and costs['peak_mib'] > 10
    with zipfile.ZipFile(tmp_path / 'masks.zip') as archive:
        written = {str(path.relative_to(out)) for path in out.rglob('*.png')}
        assert {name.removeprefix('Annotations/') for name in archive.namelist()} == written
    text = capsys.readouterr().out
    assert f'JF {report["JF"]:.4f}' in text and '9 frames, ' in text


def test_a_result_file_holds_what_the_index_masks_show(shapes, segment, tmp_path):
    segment(tmp_path / 'masks')
    segment(tmp_path / 'out.json')
    results = json.loads((tmp_path / 'out.json').read_text())
    truth = json.loads((shapes / TRUTH).read_text())
    for video in truth['videos']:
        objects = [one for one in truth['annotations'] if one['video_id'] == video['id']]
        tracks = [one for one in results if one['video_id'] == video['id']]
        categories = sorted(one['category_id'] for one in objects)
        assert sorted(one['category_id'] for one in tracks) == categories
        folder = tmp_path / 'masks' / video['file_names'][0].split('/')[0]
        for frame, name in enumerate(video['file_names']):
            drawn = read_index_mask(folder / name.split('/')[1].replace('.jpg', '.png'))
            masks = [one['segmentations'][frame] for one in tracks]
            shown = sum(mask_utils.decode(one) for one in masks if one)
            assert ((shown > 0) == (drawn > 0)).all()
    assert all(0 < one['score'] <= 1 and 'propagated' not in one for one in results)


def seeds_of(shapes, path):
    """A result file with two of the true tracks: whole, and from its second frame on."""
    truth = json.loads((shapes / TRUTH).read_text())
    whole = [one for one in truth['annotations'] if all(one['segmentations'])][:2]
    tracks = [
        {key: one[key] for key in ('video_id', 'category_id', 'segmentations')} for one in whole
    ]
    tracks[1]['segmentations'] = [None, *tracks[1]['segmentations'][1:]]
    for score, one in zip((0.75, 0.5), tracks, strict=True):
        one['score'] = score
    path.write_text(json.dumps(tracks))
    return tracks


def test_tracks_of_a_result_file_give_the_objects(shapes, segment, tmp_path):
    tracks = seeds_of(shapes, tmp_path / 'vis.json')
    segment(tmp_path / 'out.json', seeds=tmp_path / 'vis.json', batch=2)
    found = json.loads((tmp_path / 'out.json').read_text())
    key = lambda one: (one['video_id'], -one['score'])  # noqa: E731
    for one, seed, first in zip(found, sorted(tracks, key=key), (0, 1), strict=True):
        same = ('video_id', 'category_id', 'score')
        assert [one[name] for name in same] == [seed[name] for name in same]
        # Its first mask as it is, none before, and the others carried from there.
        assert one['segmentations'][:first] == seed['segmentations'][:first]
        masks = [mask_utils.decode(of['segmentations'][first]) for of in (one, seed)]
        assert np.array_equal(*masks)
        carried = one.get('propagated', [False] * 3)
        shown = [mask is not None for mask in one['segmentations']]
        assert carried == [at > first and has for at, has in enumerate(shown)]
    segment(tmp_path / 'few.json', seeds=tmp_path / 'vis.json', seed_threshold=0.6)
    assert len(json.loads((tmp_path / 'few.json').read_text())) == 1
    status, text = run_tool('tools/eval_vis.py', shapes / TRUTH, tmp_path / 'out.json')
    assert status == 0 and '2 tracks' in text


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(video_id=99), r'vis.json: entry 0: video_id 99 is not in .*valid/instances.json'),
        (dict(category_id=77), 'entry 0: category_id 77 is not in'),
        (dict(segmentations=[None]), "entry 0: 'segmentations' has 1 entries, .* has 3 frames"),
        (dict(score='high'), "entry 0: 'score' must be a number"),
    ],
)
def test_tracks_that_do_not_fit_are_named(shapes, segment, tmp_path, change, message):
    track = dict(seeds_of(shapes, tmp_path / 'vis.json')[0], **change)
    (tmp_path / 'vis.json').write_text(json.dumps([track]))
    with pytest.raises(UserError, match=message):
        segment(tmp_path / 'out.json', seeds=tmp_path / 'vis.json')
    assert not (tmp_path / 'out.json').exists()


def test_options_that_do_not_go_together(shapes, segment, tmp_path):
    seeds_of(shapes, tmp_path / 'vis.json')
    with pytest.raises(UserError, match='--eval scores the objects of the data set, and --seeds'):
        segment(tmp_path / 'out.json', seeds=tmp_path / 'vis.json', evaluate=True)
    with pytest.raises(UserError, match='--zip packs index masks'):
        segment(tmp_path / 'out.json', archive='davis')
    (tmp_path / 'file').touch()
    with pytest.raises(UserError, match='file is a file: masks take a folder'):
        segment(tmp_path / 'file')
    status, text = run_tool('tools/test_vos.py', CONFIG, 'none.pth', '--out', 'x', '--json', 'y')
    assert status == 2 and '--json writes metrics, which --eval gives' in text


def edited(shapes, folder, edit):
    """A copy of the data whose file to test on is edited."""
    shutil.copytree(shapes, folder)
    content = json.loads((folder / TRUTH).read_text())
    edit(content)
    (folder / TRUTH).write_text(json.dumps(content))
    return folder


def test_more_objects_than_index_masks_hold(shapes, segment, tmp_path):
    track = seeds_of(shapes, tmp_path / 'vis.json')[0]
    (tmp_path / 'vis.json').write_text(json.dumps([track] * 255))
    with pytest.raises(UserError, match='has 255 objects, index masks hold 254: raise --score-thr'):
        segment(tmp_path / 'masks', seeds=tmp_path / 'vis.json')


def test_data_without_objects(shapes, segment, tmp_path, capsys):
    data = edited(shapes, tmp_path / 'none', lambda content: content.pop('annotations'))
    with pytest.raises(UserError, match='nothing is scored'):
        segment(tmp_path / 'masks', data=data, evaluate=True)
    assert 'without an object before the last frame: ' in capsys.readouterr().out
    assert not list((tmp_path / 'masks').rglob('*.png'))

    def shows_last(content):
        """One object, in the last frame of the second video."""
        (kept,) = content['annotations'][:] = content['annotations'][:1]
        for key in ('segmentations', 'bboxes', 'areas'):
            kept[key] = [None, None, kept[key][0]]

    data = edited(shapes, tmp_path / 'last', shows_last)
    with pytest.raises(UserError, match='no video gives an object in a frame before its last'):
        segment(tmp_path / 'out.json', data=data, evaluate=True)
    (track,) = json.loads((tmp_path / 'out.json').read_text())
    assert [mask is not None for mask in track['segmentations']] == [False, False, True]


def test_ground_truth_that_is_missing_is_found_before_the_work(root, checkpoint, tmp_path):
    from tests.datasets.test_video_objects import drawn, write

    write(tmp_path, '480p', 'b', [drawn({2: 10}), None, drawn({2: 10})])
    (tmp_path / 'ImageSets/2017').mkdir(parents=True)
    (tmp_path / 'ImageSets/2017/val.txt').write_text('b\n')
    dataset = dict(type='DAVIS', data_root=str(tmp_path), split='val', test_mode=True)
    config = tmp_path / 'davis.py'
    config.write_text(
        f'_base_ = {str(root / CONFIG)!r}\n'
        f'dataset = dict({dataset}, pipeline={{{{_base_.test_pipeline}}}}, _delete_=True)\n'
        'test_dataloader = dict(dataset=dataset)\n'
    )
    with pytest.raises(UserError, match='video b: frame 00001 has no ground truth'):
        vos_testing.test_vos(config, checkpoint, tmp_path / 'masks', evaluate=True)
    with pytest.raises(UserError, match=r'name videos by number, .* and sequence b has not'):
        vos_testing.test_vos(config, checkpoint, tmp_path / 'out.json')
    vos_testing.test_vos(config, checkpoint, tmp_path / 'masks', device='cpu')
    assert (read_index_mask(tmp_path / 'masks/b/00000.png') == drawn({2: 10})).all()


def test_other_models_and_data_are_refused(shapes, small, tmp_path):
    with pytest.raises(UserError, match='is no video object segmentation'):
        weights = tmp_path / 'other.pth'
        torch.save(dict(state_dict=init_model(small, None, 'cpu').state_dict()), weights)
        vos_testing.test_vos(small, weights, tmp_path, overrides=[f'data_root={shapes}'])
