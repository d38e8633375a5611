from pathlib import Path
from types import SimpleNamespace

import pytest
from mmengine.logging import MessageHub

from vispropnet.engine.hooks.checkpoint import WholeCheckpointHook
from vispropnet.errors import UserError


@pytest.fixture
def runner(tmp_path):
    """Writes empty checkpoints, until ``full`` is set."""

    def save(out_dir, filename, **more):
        if runner.full:
            raise UserError('no room')
        Path(out_dir, filename).touch()

    runner = SimpleNamespace(work_dir=str(tmp_path), epoch=0, iter=0, full=False)
    runner.message_hub, runner.save_checkpoint = MessageHub(str(tmp_path)), save
    runner.logger = SimpleNamespace(info=lambda text: None)
    return runner


def files(runner):
    return sorted(path.name for path in Path(runner.work_dir).glob('*.pth'))


def validate(hook, runner, epoch, **figures):
    runner.epoch = epoch
    hook.after_val_epoch(runner, figures)


def test_unfinished_files_are_removed_and_others_are_not(runner, tmp_path):
    kept = [tmp_path / name for name in ('epoch_1.pth', '.hidden.pth', '.a.tmp.json')]
    unfinished = tmp_path / '.epoch_2.x1y2.tmp.pth'
    for path in (*kept, unfinished):
        path.write_text('half')
    WholeCheckpointHook().before_train(runner)
    assert sorted(tmp_path.iterdir()) == sorted(kept)


@pytest.mark.parametrize('names', [['mAP'], ['mAP', 'AP50']])
def test_best_is_removed_after_the_new_one_is_there(runner, names):
    hook = WholeCheckpointHook(save_best=names, rule='greater')
    hook.before_train(runner)
    other = ['best_AP50_epoch_1.pth'] * ('AP50' in names)
    # As after a validation that was cut, one is done again and its file written anew.
    for epoch, figure in ((1, 0.2), (1, 0.25), (2, 0.3)):
        validate(hook, runner, epoch, mAP=figure, AP50=0.7 - figure)
        assert files(runner) == [*other, f'best_mAP_epoch_{epoch}.pth']
    # The disk is full: what was best is kept.
    runner.full = True
    with pytest.raises(UserError, match='no room'):
        validate(hook, runner, 3, mAP=0.4, AP50=0.4)
    assert files(runner) == [*other, 'best_mAP_epoch_2.pth']


@pytest.mark.parametrize('named', ['outside.pth', 'folder', 'run/epoch_7.pth'])
def test_nothing_but_old_best_ones_is_removed(runner, tmp_path, named):
    """The name of the best one comes from the checkpoint that is resumed from."""
    runner.work_dir = str(tmp_path / 'run')
    for name in ('run', 'folder'):
        (tmp_path / name).mkdir()
    for name in ('outside.pth', 'run/epoch_7.pth'):
        (tmp_path / name).touch()
    runner.message_hub.update_info_dict(dict(best_ckpt=str(tmp_path / named), best_score=-1.0))
    hook = WholeCheckpointHook(save_best='mAP', rule='greater')
    hook.before_train(runner)
    validate(hook, runner, 1, mAP=0.2)
    assert (tmp_path / named).exists()
    assert files(runner) == ['best_mAP_epoch_1.pth', 'epoch_7.pth']
