# OVIS as its organisers pack it, 25 categories. The official validation file has no annotations.
_base_ = './youtube-vis.py'

data_root = 'data/ovis/'
hint = (
    'OVIS has to be downloaded by hand from https://songbai.site/ovis/; unpack it into data/ovis '
    'or set data_root.'
)

train_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        ann_file='annotations_train.json',
        data_prefix=dict(img='train'),
        hint=hint,
    )
)
test_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        ann_file='annotations_valid.json',
        data_prefix=dict(img='valid'),
        hint=hint,
    )
)
test_evaluator = dict(evaluate=False)

val_dataloader = None
val_evaluator = None
val_cfg = None
