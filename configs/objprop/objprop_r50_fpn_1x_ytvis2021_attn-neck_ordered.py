# Trial "attention neck, ordered pairs".
_base_ = './objprop_r50_fpn_1x_ytvis2021_attn-neck.py'

train_dataloader = dict(dataset=dict(reference='ordered'))
