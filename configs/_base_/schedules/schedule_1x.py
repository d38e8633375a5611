# 12 epochs for 16 clips an iteration (4 GPUs with 4 clips each): MaskTrack R-CNN, section 5.
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=12, val_interval=1)
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.005, momentum=0.9, weight_decay=0.0001),
    clip_grad=dict(max_norm=35, norm_type=2),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1 / 3, by_epoch=False, begin=0, end=500),
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=12, milestones=[8, 11], gamma=0.1),
]
# Scale the learning rate with `--cfg-options auto_scale_lr.enable=True` on another number of GPUs.
auto_scale_lr = dict(enable=False, base_batch_size=16)
