# MinVIS on OVIS: 10,000 iterations are 7.6 times all annotated frames; its step at 7,000 is at 5.3.
_base_ = './minvis_3e.py'

train_cfg = dict(max_epochs=8)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=10),
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=8, milestones=[5], gamma=0.1),
]
