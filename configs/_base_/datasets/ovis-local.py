# Trains on a part of the training set of OVIS, validates and tests on the rest of it, as
# tools/split_ytvis.py divided its videos. Frames are where they were.
_base_ = './ovis.py'

hint = (
    'The local split is made with: python tools/split_ytvis.py data/ovis/annotations_train.json '
    '--val-fraction 0.1 --seed 0 --out-dir data/ovis/local (elsewhere than in data/ovis: set '
    'data_root). ' + _base_.hint
)

valid = dict(ann_file='local/valid.json', data_prefix=dict(img='train'), hint=hint)

train_dataloader = dict(dataset=dict(ann_file='local/train.json', hint=hint))
test_dataloader = dict(dataset=valid)
test_evaluator = dict(evaluate=True)

# The base validates on nothing: these replace None.
val_dataloader = dict(
    _base_.test_dataloader, _delete_=True, dataset=dict(_base_.test_dataloader.dataset, **valid)
)
val_evaluator = dict(_delete_=True, type='YouTubeVISMetric')
val_cfg = dict(_delete_=True, type='VideoValLoop')
