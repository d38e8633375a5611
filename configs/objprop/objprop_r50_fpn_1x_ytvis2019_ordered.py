# Trial "ordered pairs": the reference frame is the previous one.
_base_ = './objprop_r50_fpn_1x_ytvis2019.py'

train_dataloader = dict(dataset=dict(reference='ordered'))
