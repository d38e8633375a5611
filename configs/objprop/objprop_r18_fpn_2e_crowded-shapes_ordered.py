# Trial "ordered pairs": the reference frame is the previous one.
_base_ = './objprop_r18_fpn_2e_crowded-shapes.py'

train_dataloader = dict(dataset=dict(reference='ordered'))
