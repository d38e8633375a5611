"""Videos as disks and strangers leave them: frames of one size and in order, or a UserError."""

import random
from pathlib import Path

import numpy as np
import pytest

from tests.faults.damage import DAMAGES
from tests.videos import write_h264, write_sound
from vispropnet.errors import UserError
from vispropnet.video import open_source

SUFFIXES = ('.mp4', '.mkv', '.ts', '.avi', '.mpg', '.flv')


@pytest.fixture(scope='module')
def sound(tmp_path_factory):
    folder = tmp_path_factory.mktemp('sound')
    options = dict(size=(64, 48), faststart=True, every_key=10)
    paths = {suffix: folder / f'clip{suffix}' for suffix in SUFFIXES}
    return {one: write_h264(path, 40, **options).read_bytes() for one, path in paths.items()}


@pytest.mark.parametrize('number', [120, pytest.param(6000, marks=pytest.mark.long)])
def test_files_damaged_in_every_way(tmp_path, sound, number):
    read, rng = set(), random.Random(number)
    for index in range(number):
        suffix, damage = SUFFIXES[index % 6], DAMAGES[index // 6 % len(DAMAGES)]
        content = bytearray(sound[suffix])
        for _ in range(rng.choice((1, 1, 5))):
            if len(content) > 100:
                damage(content, rng)
        path = tmp_path / f'clip{suffix}'
        path.write_bytes(content)
        try:
            frames = list(open_source(path))
        except UserError as error:
            assert str(path) in str(error)
            continue
        assert len({frame.image.shape for frame in frames}) == 1
        assert {frame.image.dtype for frame in frames} == {np.dtype(np.uint8)}
        assert [one.index for one in frames] == sorted({one.index for one in frames})
        read.add(suffix)
    assert read == set(SUFFIXES)


def test_names_say_nothing_of_content_and_are_no_addresses(tmp_path, sound, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = ('clip.xyz', 'concat:a.mp4', 'file:b.mp4', 'frame%03d.mp4', '-.mp4', 'ü ?.mp4')
    for name, content in zip(names, sound.values(), strict=True):
        (tmp_path / name).write_bytes(content)
        assert len(list(open_source(name))) == 40


def test_what_is_no_regular_file_is_refused(tmp_path):
    write_sound(tmp_path / 'sound.mp4')
    for target, text in ('/dev/zero', r'zero\.mp4 is no regular file'), ('sound.mp4', 'only sound'):
        (link := tmp_path / f'to_{Path(target).stem}.mp4').symlink_to(target)
        with pytest.raises(UserError, match=text):
            open_source(link)
