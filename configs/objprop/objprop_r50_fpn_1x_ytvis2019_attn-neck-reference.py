# The attention neck with values of the positions that it attends to, those of the reference frame.
_base_ = './objprop_r50_fpn_1x_ytvis2019_attn-neck.py'

model = dict(attn_neck=dict(value='reference'))
