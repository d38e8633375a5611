"""Saves checkpoints so that none is lost before the next one is safe."""

from __future__ import annotations

import copy
from collections import deque
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner

from vispropnet.engine.hooks.interrupt import INTERRUPTED
from vispropnet.fileio import atomic_path
from vispropnet.registry import HOOKS


@HOOKS.register_module()
class WholeCheckpointHook(CheckpointHook):
    """mmengine's hook, which removes old checkpoints only after the new one reads back whole.

    The arguments are those of ``mmengine.hooks.CheckpointHook``. The runner writes each file beside
    its place and renames it (``VISRunner.save_checkpoint``).
    """

    def before_train(self, runner: Runner) -> None:
        """Removes what a killed process left half written."""
        super().before_train(runner)
        if is_main_process():
            for path in Path(self.out_dir).glob('.*.tmp.pth'):
                path.unlink(missing_ok=True)
                runner.logger.info(f'Removed {path}, which was not written to its end.')

    def after_train(self, runner: Runner) -> None:
        """Removes what an interruption of the last validation left: it is done now."""
        super().after_train(runner)
        if is_main_process():
            Path(runner.work_dir, INTERRUPTED).unlink(missing_ok=True)

    def _save_best_checkpoint(self, runner: Runner, metrics: dict[str, float]) -> None:
        backend, removed = self.file_backend, set()
        self.file_backend = copy.copy(backend)
        # No checkpoint of ours is a folder.
        self.file_backend.remove, self.file_backend.rmtree = removed.add, lambda path: None
        try:
            super()._save_best_checkpoint(runner, metrics)
        finally:
            self.file_backend = backend
        own = vars(self)
        kept = {own.get('best_ckpt_path'), *own.get('best_ckpt_path_dict', {}).values()}
        # Validated again after an interruption, the best one may have the name it had.
        for path in removed - kept:
            # The name comes from a checkpoint, whoever wrote that.
            if Path(path).parent == Path(self.out_dir) and Path(path).name.startswith('best_'):
                backend.remove(path)

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        dropped = []
        if self.max_keep_ckpts > 0 and step not in self.keep_ckpt_ids:
            kept = [*self.keep_ckpt_ids, step]
            dropped, kept = kept[: -self.max_keep_ckpts], kept[-self.max_keep_ckpts :]
            self.keep_ckpt_ids = deque(kept)
            # In the checkpoint itself, so that a resumed run knows what to remove next.
            runner.message_hub.update_info('keep_ckpt_ids', kept)
        name = self.filename_tmpl.format(step)
        self.last_ckpt = str(Path(self.out_dir, name))
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        kept = ('save_optimizer', 'save_param_scheduler', 'by_epoch')
        options = {option: getattr(self, option) for option in kept}
        runner.save_checkpoint(self.out_dir, name, meta=meta, **options)
        if not is_main_process():
            return
        # mmengine's own tools look for it.
        with atomic_path(Path(runner.work_dir, 'last_checkpoint')) as temporary:
            temporary.write_text(self.last_ckpt)
        for one in dropped:
            Path(self.out_dir, self.filename_tmpl.format(one)).unlink(missing_ok=True)
        Path(runner.work_dir, INTERRUPTED).unlink(missing_ok=True)
