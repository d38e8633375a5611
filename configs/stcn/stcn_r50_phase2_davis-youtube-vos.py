# Phase 2: DAVIS 2017, five times, and YouTube-VOS; starts from phase 1.
_base_ = [
    '../_base_/models/stcn_r50.py',
    '../_base_/datasets/video-objects.py',
    '../_base_/default_runtime.py',
]

load_from = 'work_dirs/stcn_r50_phase1_still-images/epoch_120.pth'
# 150,000 iterations: epochs of 3,771 clips, 942 iterations each.
max_epochs = 159
clips = dict(
    clip_length=3,
    per_video=True,
    # The largest gap grows, and is small again in the end: from 10, 20, 30, 40, 90 % of the epochs.
    max_gap=[(0, 5), (16, 10), (32, 15), (48, 20), (64, 25), (143, 5)],
    pipeline={{_base_.train_pipeline}},
)
train_dataloader = dict(
    dataset=dict(
        type='ConcatDataset',
        datasets=[
            dict(
                type='RepeatDataset',
                times=5,
                dataset=dict(type='DAVIS', data_root='data/DAVIS', split='train', **clips),
            ),
            dict(type='YouTubeVOS', data_root='data/YouTubeVOS/train', **clips),
        ],
    ),
)
test_dataloader = dict(
    dataset=dict(
        type='DAVIS',
        data_root='data/DAVIS',
        split='val',
        test_mode=True,
        pipeline={{_base_.test_pipeline}},
    )
)
val_dataloader = dict(dataset=dict(test_dataloader['dataset'], with_truth=True))

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=10)
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=1e-5, weight_decay=1e-7))
# After 125,000 iterations.
param_scheduler = [dict(type='MultiStepLR', milestones=[133], gamma=0.1)]
