"""Training of a small model in a second or two."""

import contextlib
import gc
import json

SMALL = 'configs/masktrack_rcnn/masktrack-rcnn_r18_fpn_2e_moving-shapes.py'
# Narrow; and hardly trained, it finds something only if all is kept.
NARROW = """_base_ = {base!r}
model = dict(
    detector=dict(
        backbone=dict(base_channels=8, stem_channels=8),
        neck=dict(in_channels=[8, 16, 32]),
        roi_head=dict(bbox_head=dict(fc_out_channels=16)),
        test_cfg=dict(rcnn=dict(score_thr=0.0)),
    ),
    track_head=dict(embed_head=dict(fc_out_channels=16)),
)
"""


def quick(data, *more):
    """Overrides: two epochs of three iterations, a validation after each."""
    return [
        f'data_root={data}',
        'train_cfg.max_epochs=2',
        'train_cfg.val_interval=1',
        'param_scheduler.1.end=2',
        'train_dataloader.batch_size=2',
        'default_hooks.logger.interval=1',
        'default_hooks.overlays.num_videos=0',
        *more,
    ]


def logged(work_dir, key):
    """Values of one metric from all logs of a work dir, in order."""
    lines = []
    for path in sorted(work_dir.glob('*/vis_data/scalars.json')):
        lines += [json.loads(line) for line in path.read_text().splitlines()]
    return [line[key] for line in lines if key in line]


def assert_same_weights(*work_dirs):
    """Compares what two work dirs have after two epochs."""
    import torch

    paths = [work_dir / 'epoch_2.pth' for work_dir in work_dirs]
    ours, theirs = (torch.load(path, weights_only=False)['state_dict'] for path in paths)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], value) for name, value in theirs.items())


@contextlib.contextmanager
def hastened():
    """Spares each run of this process a second: garbage to look through, and the layout of configs.

    So the text of a config, and its digest, are not those of other processes.
    """
    from yapf.yapflib import yapf_api

    import vispropnet.apis.training  # noqa: F401 (all that it imports is no garbage)

    gc.freeze()
    before, yapf_api.FormatCode = yapf_api.FormatCode, lambda text, **style: (text, None)
    try:
        yield
    finally:
        yapf_api.FormatCode = before
