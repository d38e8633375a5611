# MinVIS on OVIS, by the configs of DVIS: 10,000 iterations are about 8 times all annotated frames,
# and their step at 7,000 is after about 5.
_base_ = './minvis_3e.py'

train_cfg = dict(max_epochs=8)
param_scheduler = [
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=8, milestones=[5], gamma=0.1),
]
