# Trial "attention neck", in training and test alike.
_base_ = './objprop_r18_fpn_2e_crowded-shapes.py'

model = dict(attn_neck=dict(type='AttentionNeck', channels=64, value='current'))
# Weight decay would pull the weight of what is attended to towards none.
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'attn_neck.gamma': dict(decay_mult=0.0)}))
