# Trial "attention neck, ordered pairs".
_base_ = './objprop_r18_fpn_2e_crowded-shapes_attn-neck.py'

train_dataloader = dict(dataset=dict(reference='ordered'))
