# The attention neck with values of the positions that it attends to, those of the reference frame.
_base_ = './objprop_r18_fpn_2e_crowded-shapes_attn-neck.py'

model = dict(attn_neck=dict(value='reference'))
