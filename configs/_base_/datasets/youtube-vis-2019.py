# YouTube-VIS 2019 as its organisers pack it. The official validation file has no annotations, so
# there is nothing to validate against while training; tools/test_video.py writes the file to
# upload.
_base_ = './youtube-vis.py'

data_root = 'data/youtube_vis_2019/'
hint = (
    'YouTube-VIS 2019 has to be downloaded by hand, after registration, from '
    'https://youtube-vos.org/dataset/vis/; unpack it into data/youtube_vis_2019 or set data_root '
    '(docs/data.md, "YouTube-VIS").'
)

train_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        ann_file='train.json',
        data_prefix=dict(img='train/JPEGImages'),
        hint=hint,
    )
)
test_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        ann_file='valid.json',
        data_prefix=dict(img='valid/JPEGImages'),
        hint=hint,
    )
)
test_evaluator = dict(evaluate=False)

val_dataloader = None
val_evaluator = None
val_cfg = None
