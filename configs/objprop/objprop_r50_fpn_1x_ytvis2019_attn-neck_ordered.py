# Trial "attention neck, ordered pairs".
_base_ = './objprop_r50_fpn_1x_ytvis2019_attn-neck.py'

train_dataloader = dict(dataset=dict(reference='ordered'))
