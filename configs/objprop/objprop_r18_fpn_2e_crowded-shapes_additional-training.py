# Trial "additional training": the same schedule once more, from the trained baseline.
_base_ = './objprop_r18_fpn_2e_crowded-shapes.py'

load_from = 'work_dirs/objprop_r18_fpn_2e_crowded-shapes/epoch_2.pth'
