# YouTube-VIS 2022 as its organisers pack it: the training videos of 2021, other validation videos,
# among them longer ones. Their file has no annotations.
_base_ = './youtube-vis.py'

data_root = 'data/youtube_vis_2022/'
hint = (
    'YouTube-VIS 2022 has to be downloaded by hand, after registration, from '
    'https://youtube-vos.org/dataset/vis/; unpack it into data/youtube_vis_2022 or set data_root '
    '(docs/data.md, "YouTube-VIS").'
)

train_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        ann_file='train/instances.json',
        data_prefix=dict(img='train/JPEGImages'),
        hint=hint,
    )
)
test_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        ann_file='valid/instances.json',
        data_prefix=dict(img='valid/JPEGImages'),
        hint=hint,
    )
)
test_evaluator = dict(evaluate=False)

val_dataloader = None
val_evaluator = None
val_cfg = None
