"""Training of the small config in seconds."""

import json

SMALL = 'configs/masktrack_rcnn/masktrack-rcnn_r18_fpn_2e_moving-shapes.py'


def quick(root, *more):
    """Overrides that make the small config train in seconds."""
    return [
        f'data_root={root}',
        'train_cfg.max_epochs=2',
        'train_cfg.val_interval=1',
        'param_scheduler.1.end=2',
        'default_hooks.logger.interval=1',
        'train_dataloader.persistent_workers=False',
        *more,
    ]


def logged(work_dir, key):
    """Values of one figure from all logs of a work dir, in order."""
    lines = []
    for path in sorted(work_dir.glob('*/vis_data/scalars.json')):
        lines += [json.loads(line) for line in path.read_text().splitlines()]
    return [line[key] for line in lines if key in line]
