# Weighted affinity with a matrix of low rank per category, the identity at the start.
_base_ = './objprop_r18_fpn_2e_crowded-shapes.py'

model = dict(prop_head=dict(affinity=dict(type='CategoryAffinity', rank=8)))
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'prop_head.affinity': dict(decay_mult=0.0)}))
