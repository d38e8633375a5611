# LV-VIS: 1,196 categories. Both files have annotations; objects of the training videos are not all
# annotated, as its authors say.
_base_ = './youtube-vis.py'

data_root = 'data/lv_vis/'
hint = (
    'LV-VIS has to be downloaded by hand from https://github.com/haochenheheda/LVVIS; unpack it '
    'into data/lv_vis (docs/data.md, "Other public data sets") or set data_root.'
)

train_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        ann_file='train/train_instances.json',
        data_prefix=dict(img='train/JPEGImages'),
        hint=hint,
    )
)
val_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        ann_file='val/val_instances.json',
        data_prefix=dict(img='val/JPEGImages'),
        hint=hint,
    )
)
test_dataloader = val_dataloader
