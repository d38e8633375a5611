import os
import re
import runpy
import signal
import subprocess
import sys
import time
from fractions import Fraction
from functools import partial
from pathlib import Path
from unittest.mock import Mock

import av
import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from tests.models.delayed import write_config
from tests.videos import cut, number_of, numbered_frame, read_video, write_h264, write_uneven
from vispropnet.apis import init_model, video_outputs
from vispropnet.datasets.annotation_file import read_annotation_file
from vispropnet.errors import UserError
from vispropnet.evaluation.result_file import read_results
from vispropnet.video.writer import VideoWriter

ROOT = Path(__file__).resolve().parents[2]
CONFIG = str(ROOT / 'configs/masktrack_rcnn/masktrack-rcnn_r18_fpn_2e_moving-shapes.py')
ENVIRONMENT = {**os.environ, 'PYTHONPATH': str(ROOT)}
CHECK = runpy.run_path(str(ROOT / 'tools/check_data.py'))['main']
# An untrained model scores low; with this it finds ten things in any frame.
# Every detection is an instance.
EAGER = ['--score-thr', '0', '--cfg-options', 'model.detector.test_cfg.rcnn.score_thr=0.0']
EAGER += ['model.tracker.on_conflict=next']


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    torch.manual_seed(0)
    model = init_model(CONFIG, None, 'cpu')
    model.init_weights()
    path = tmp_path_factory.mktemp('model') / 'weights.pth'
    names = ['disc', 'square', 'star', 'triangle']
    meta = dict(dataset_meta=dict(classes=names, category_ids=[2, 4, 6, 8]))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), path)
    return str(path)


@pytest.fixture
def run(checkpoint, tool):
    """Runs the tool on a source: exit status, stdout, stderr."""
    return partial(tool, CONFIG, checkpoint)


def write_folder(folder, count=4, size=(64, 48)):
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        cv2.imwrite(str(folder / f'{number}.png'), numbered_frame(number, size))
    return folder


def sound(results):
    """Has tools/check_data.py look at a result file; gives its tracks and its video."""
    description = results.with_name(f'{results.stem}_video.json')
    CHECK(['--results', str(results), '--ann', str(description)])  # exits if there is an error
    return read_results(results), read_annotation_file(description)


def test_video_to_video_results_and_masks(run, tmp_path):
    write_h264(tmp_path / 'in.mp4', 12, size=(640, 360), fps=12.5)
    out, results, masks = (tmp_path / name for name in ('out.mp4', 'out.json', 'masks'))
    files = ['--out', out, '--json', results, '--masks', masks]
    status, printed, progress = run(tmp_path / 'in.mp4', *files, *EAGER)
    assert status == 0 and '12/12' in progress and 'frame/s' in progress
    assert re.match(r'12 frames, 120 instances, [\d.]+ s \([\d.]+ frames per second\)', printed)
    assert all(str(path) in printed for path in (out, results, masks))
    frames = read_video(out)
    assert len(frames) == 12 and frames[0].shape == (360, 640, 3)
    assert cv2.VideoCapture(str(out)).get(cv2.CAP_PROP_FPS) == pytest.approx(12.5)
    tracks, description = sound(results)
    video = description['videos'][0]
    assert (video['width'], video['height'], video['length']) == (640, 360, 12)
    assert [one['id'] for one in description['categories']] == [2, 4, 6, 8]
    assert sum(mask is not None for one in tracks for mask in one['segmentations']) == 120
    # Nothing but what the official form has, 'propagated' only of models that propagate.
    for one in tracks:
        assert sorted(one) == ['category_id', 'score', 'segmentations', 'video_id']
        assert one['video_id'] == 1 and one['category_id'] in (2, 4, 6, 8)
    assert not results.with_suffix('.zip').exists()
    names = [f'{number:08d}.png' for number in range(12)]
    assert sorted(path.name for path in masks.iterdir()) == names
    with Image.open(masks / names[0]) as picture:
        assert picture.size == (640, 360) and 1 <= np.array(picture).max() <= 10


def test_chosen_frames_scaled_down(run, tmp_path):
    write_h264(tmp_path / 'in.mp4', 20, fps=20)
    options = ['--every', 3, '--start', '0.2s', '--end', 15, '--max-size', 160]
    out = tmp_path / 'out.mp4'
    # No instance scores 1: the frames stay as they are.
    assert run(tmp_path / 'in.mp4', '--out', out, *options, '--score-thr', 1)[0] == 0
    frames = read_video(out)
    assert [number_of(frame) for frame in frames] == [4, 7, 10, 13]
    # Enlarged by 3, so that labels can be read.
    assert frames[0].shape == (270, 480, 3)
    assert cv2.VideoCapture(str(out)).get(cv2.CAP_PROP_FPS) == pytest.approx(20 / 3, rel=1e-3)


# Of the webm, as browsers record it, neither length nor rate are known; the AVI has empty slots.
@pytest.mark.parametrize(
    ('name', 'codec', 'ticks'),
    [
        *(('in.mp4', 'libx264', 1000), ('in.mkv', 'libx264', 1000)),
        *(('in.webm', 'libvpx', 1000), ('in.avi', 'mpeg4', 25)),
    ],
)
def test_frames_keep_their_times_and_shape(run, tmp_path, name, codec, ticks):
    times = np.cumsum(np.random.default_rng(1).integers(1, 10, 15)) / 25
    times -= times[0]
    live, aspect = ({'live': '1'}, Fraction(1)) if codec == 'libvpx' else ({}, Fraction(4, 3))
    source = write_uneven(tmp_path / name, times, codec, ticks, live, aspect)
    out, slow, results = (tmp_path / name for name in ('out.mp4', 'slow.mp4', 'out.json'))
    options = ['--score-thr', 1, '--max-size', 64]
    status, _, said = run(source, '--out', out, '--json', results, *options)
    assert status == 0 and '15/15' in said and 'note' not in said
    with av.open(str(out)) as written:
        new = [frame.time for frame in written.decode(video=0)]
        np.testing.assert_allclose(new, times, atol=1e-3)
        # To one frame, at the average rate.
        frame = times[-1] / 14
        assert written.duration / av.time_base == pytest.approx(times[-1] + frame, abs=frame)
        assert written.streams.video[0].sample_aspect_ratio == aspect
    _, description = sound(results)
    assert description['videos'][0]['timestamps'] == pytest.approx(times.tolist(), abs=1e-3)
    assert run(source, '--out', slow, *options, '--fps', 2)[0] == 0
    with av.open(str(slow)) as written:
        assert [frame.time for frame in written.decode(video=0)] == [n / 2 for n in range(15)]


def test_damaged_and_other_files(run, tmp_path):
    folder = write_folder(tmp_path / 'frames', 5)
    (folder / 'notes.txt').write_text('no image')
    (folder / '2.png').write_bytes(b'damaged')
    status, _, said = run(folder, '--json', tmp_path / 'out.json', *EAGER)
    assert status == 0 and 'notes.txt' in said and '2.png' in said
    video = sound(tmp_path / 'out.json')[1]['videos'][0]
    assert video['file_names'] == ['0.png', '1.png', '3.png', '4.png']
    # A video that is cut short.
    write_h264(tmp_path / 'whole.mp4', 40, faststart=True, every_key=10)
    cut(tmp_path / 'whole.mp4', tmp_path / 'cut.mp4', 0.7)
    status, _, said = run(tmp_path / 'cut.mp4', '--json', tmp_path / 'o.json', *EAGER)
    assert status == 0 and re.search(r'note: .*cut.mp4: \d+ of 40 frames are lost', said)
    assert 5 < sound(tmp_path / 'o.json')[1]['videos'][0]['length'] < 40


@pytest.mark.parametrize('name', ['a.mp4', 'a.png', 'a.webp', 'a.gif'])
def test_a_last_frame_stays_for_its_time(run, tmp_path, name):
    images = [numbered_frame(number, (64, 48)) for number in range(4)]
    path, out = tmp_path / name, tmp_path / 'o.mp4'
    if name == 'a.mp4':
        with VideoWriter(path, 10) as writer:
            for number, image in enumerate(images):
                writer.write(image, number / 10)
            writer.end = 2.3
    else:
        first, *others = map(Image.fromarray, images)
        durations = [100, 100, 100, 2000]
        first.save(path, save_all=True, append_images=others, duration=durations)
    for options, seconds in [((), 2.3), (('--every', 2), 2.3), (('--fps', 5), 0.8)]:
        assert run(path, '--out', out, *options)[0] == 0
        with av.open(str(out)) as written:
            assert written.duration / av.time_base == pytest.approx(seconds, abs=0.01)


@pytest.mark.parametrize(
    ('size', 'written'),
    [((33, 1000), (34, 1000)), ((64, 1920), (64, 1920)), ((40, 300), (240, 1800))],
)
def test_narrow_frames_are_enlarged_within_bounds(run, tmp_path, size, written):
    """As far as they do not become taller than 1920; odd sides get a pixel more."""
    folder = write_folder(tmp_path / 'frames', 2, size)
    assert run(folder, '--out', tmp_path / 'o.mp4', *EAGER)[0] == 0
    assert [frame.shape for frame in read_video(tmp_path / 'o.mp4')] == [(*written[::-1], 3)] * 2


def test_an_animated_image_that_its_masks_would_replace(run, tmp_path):
    first, second = (Image.fromarray(numbered_frame(number, (64, 48))) for number in (1, 2))
    path = tmp_path / '00000000.png'
    first.save(path, save_all=True, append_images=[second], duration=200)
    status, _, said = run(path, '--masks', tmp_path)
    assert status == 2 and 'holds the input' in said
    assert run(path, '--json', tmp_path / 'o.json')[0] == 0
    _, description = sound(tmp_path / 'o.json')
    assert description['videos'][0]['timestamps'] == [0, 0.2]


def test_tiny_frames_and_a_single_one(run, tmp_path):
    files = ['--out', tmp_path / 'o.mp4', '--json', tmp_path / 'o.json']
    for size in ((1, 1), (31, 2), (17, 64)):
        assert run(write_folder(tmp_path / 'frames', 2, size), *files, *EAGER)[0] == 0
        assert len(read_video(tmp_path / 'o.mp4')) == 2
        video = sound(tmp_path / 'o.json')[1]['videos'][0]
        assert (video['width'], video['height']) == size
    cv2.imwrite(str(tmp_path / 'one.jpg'), numbered_frame(5))
    options = ['--json', tmp_path / 'o.json', '--score-thr', 1]
    status, printed, _ = run(tmp_path / 'one.jpg', *options)
    tracks, description = sound(tmp_path / 'o.json')
    assert status == 0 and tracks == [] and description['videos'][0]['length'] == 1
    assert '1 frame, 0 instances' in printed


def test_frames_before_a_fault_are_kept(run, tmp_path, monkeypatch):
    """Here the disk becomes full while the third frame is written."""
    write = Mock(side_effect=[None, None, UserError('the disk is full.')])
    monkeypatch.setattr(video_outputs, 'write_mask_png', write)
    out, results = tmp_path / 'out.mp4', tmp_path / 'out.json'
    options = ['--out', out, '--json', results, '--masks', tmp_path / 'masks', *EAGER]
    status, printed, said = run(write_folder(tmp_path / 'frames', 5), *options)
    assert status == 2 and said.rstrip().endswith('error: the disk is full.')
    assert printed.startswith('2 frames') and str(out) in printed
    assert len(read_video(out)) == 3
    sound(results)


@pytest.mark.parametrize(('number', 'look_ahead'), [(signal.SIGINT, None), (signal.SIGTERM, 3)])
def test_ctrl_c_leaves_what_was_done(checkpoint, tmp_path, tmp_path_factory, number, look_ahead):
    """Also of a model whose answers lag: what it has taken in is answered and written."""
    config, eager = CONFIG, EAGER
    if look_ahead is not None:
        config, checkpoint = write_config(tmp_path_factory.mktemp('c'), CONFIG, look_ahead)
        eager = ['--score-thr', '0', '--batch', '2']
    write_h264(tmp_path / 'in.mp4', 900)
    out, results = tmp_path / 'out.mp4', tmp_path / 'out.json'
    command = [sys.executable, 'tools/demo_video.py', config, checkpoint, tmp_path / 'in.mp4']
    command += ['--out', out, '--json', results, '--masks', tmp_path / 'masks', *eager]
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process = subprocess.Popen(list(map(str, command)), cwd=ROOT, env=ENVIRONMENT, **pipes)
    deadline = time.monotonic() + 120
    while not (tmp_path / 'masks/00000004.png').exists() and time.monotonic() < deadline:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    process.send_signal(number)
    said, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert 'interrupted: completing the files; once more drops them' in errors
    assert 'interrupted: what was done so far is written' in errors and 'Traceback' not in errors
    done = int(said.split()[0])
    assert 5 <= done < 900
    # A frame is in all files or in none.
    assert len(read_video(out)) == done == len(list((tmp_path / 'masks').iterdir()))
    tracks, description = sound(results)
    assert description['videos'][0]['length'] == done and tracks
    if look_ahead is not None:
        assert tracks[0]['segmentations'].count(None) in (0, 1)
    names = ['in.mp4', 'masks', 'out.json', 'out.mp4', 'out_video.json']
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def test_mistakes_are_one_message_before_the_work(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path / 'frames')
    (tmp_path / 'file').write_text('no video at all')
    (tmp_path / 'taken.json').mkdir()
    for options, message in (
        ([], 'nothing to write: pass --out MP4, --json JSON or --masks DIR.'),
        (['--out', 'o.avi'], r'o\.avi must be named \.mp4'),
        (['--json', 'o.txt'], r'o\.txt must be named \.json'),
        (['--json', 'file/o.json'], r'cannot make the folder of file/o\.json'),
        (['--json', 'taken.json'], r'taken\.json is a folder'),
        (['--masks', 'file'], 'file is a file: masks take a folder'),
        (['--masks', 'frames'], 'frames holds the input: name another folder for the masks'),
        (['--out', 'o.mp4', '--fps', 0], 'fps of video .* above 0 and at most 1000, got 0'),
    ):
        status, _, said = run('frames', *options)
        assert status == 2 and re.search(f'error: .*{message}', said), said
        assert 'segmenting' not in said and 'Traceback' not in said
    for arguments, message in (
        (['file'], 'file is a text, not a video'),
        (['frames', '--start', 9], 'start=9'),
        (['frames', '--every', 0], r'every must be a whole number from 1 up \(frames, .* got .0'),
        (['frames', '--every', '1s'], r'every=1s is in seconds, but folder frames has no frame'),
        (['frames', '--font', 'file'], 'font file cannot be read'),
        (['frames', '--batch', 0], '--batch must be 1 or more, got 0'),
        (['frames', '--amp', 'fp16'], r'fp16 .* needs a GPU'),
        (['frames', '--score-thr', 2], '--score-thr must be from 0 to 1, got 2'),
        (['frames', '--scale', 0, 5], r'scale must be a width and a height, got \(0, 5\)'),
        (['frames', '--device', 'cuda:77'], 'device cuda:77'),
    ):
        status, _, said = run(*arguments, '--json', 'o.json')
        assert status == 2 and re.search(f'error: .*{message}', said), said
        assert 'Traceback' not in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ['file', 'frames', 'taken.json']


def test_the_input_is_not_overwritten(run, tmp_path):
    write_h264(tmp_path / 'clip.mp4', 3)
    (tmp_path / 'link.mp4').symlink_to('clip.mp4')
    before = (tmp_path / 'clip.mp4').read_bytes()
    for source, out in (('clip', 'clip'), ('link', 'clip'), ('clip', 'link')):
        status, _, said = run(tmp_path / f'{source}.mp4', '--out', tmp_path / f'{out}.mp4')
        assert status == 2 and f'{out}.mp4 is the input: name another file' in said
    assert (tmp_path / 'clip.mp4').read_bytes() == before
    folder, masks = write_folder(tmp_path / 'frames', 4), tmp_path / 'masks'
    status, _, said = run(folder / '0.png', '--masks', folder)
    assert status == 2 and 'holds the input' in said
    # Masks of another run are named.
    status, _, said = run(folder, '--masks', masks)
    assert status == 0 and 'note' not in said
    status, _, said = run(folder, '--masks', masks, '--end', 3)
    assert status == 0 and 'masks holds 1 other PNG files, which are not of this run' in said


def test_without_standard_error(checkpoint, tmp_path):
    folder = write_folder(tmp_path / 'frames', 2)
    command = ['sh', '-c', 'exec "$@" 2>&-', '', sys.executable, 'tools/demo_video.py', CONFIG]
    command += [checkpoint, folder, '--json', tmp_path / 'o.json']
    assert subprocess.run(command, cwd=ROOT, env=ENVIRONMENT).returncode == 0
    sound(tmp_path / 'o.json')


@pytest.mark.parametrize('count', [1, 2, 9])
def test_a_model_that_lags(tool, tmp_path, count):
    """Shorter and longer videos than the lag: the files of a model that answers at once."""
    folder, content = write_folder(tmp_path / 'frames', count), {}
    for look_ahead in (0, 3):
        model = write_config(tmp_path, CONFIG, look_ahead)
        out = tmp_path / str(look_ahead)
        names = ['--out', out / 'o.mp4', '--json', out / 'o.json', '--masks', out / 'masks']
        for batch in (1, 4):
            options = [*names, '--batch', batch, '--score-thr', 0]
            assert tool(*model, folder, *options)[0] == 0
            assert len(read_video(out / 'o.mp4')) == count
            files = [out / 'o.json', out / 'o_video.json', *sorted((out / 'masks').iterdir())]
            content[look_ahead, batch] = [path.read_bytes() for path in files]
    assert len(content[0, 1]) == 2 + count
    assert all(one == content[0, 1] for one in content.values())
