"""The test pipeline of a config, for frames that are arrays already."""

from __future__ import annotations

from typing import Any

from mmcv.transforms import Compose

from vispropnet.engine.quiet import quiet
from vispropnet.errors import UserError
from vispropnet.registry import TRANSFORMS


def array_pipeline(cfg: Any, scale: tuple[int, int] | None = None) -> Compose:
    """Builds the config's test pipeline without the steps that load.

    Args:
        cfg: Config of a model.
        scale: Width and height to fit frames into, instead of the pipeline's own.

    Returns:
        The pipeline.

    Raises:
        UserError: if the config has no test pipeline, or the scale is no size.
    """
    loader = cfg.get('test_dataloader') or cfg.get('val_dataloader')
    if loader is None:
        raise UserError('the config has no test_dataloader, whose pipeline prepares the frames.')
    steps = [dict(step) for step in loader.dataset.pipeline if 'Load' not in step['type']]
    if scale is not None:
        if len(scale) != 2 or min(scale) < 1:
            raise UserError(f'scale must be a width and a height, got {tuple(scale)}.')
        resize = dict(type='Resize', scale=tuple(scale), keep_ratio=True)
        steps = [resize, *(step for step in steps if step['type'] != 'Resize')]
    with quiet():
        return Compose([TRANSFORMS.build(step) for step in steps])
