# Trial "additional training": the same schedule once more, from the trained baseline.
_base_ = './objprop_r50_fpn_1x_ytvis2019.py'

load_from = 'work_dirs/objprop_r50_fpn_1x_ytvis2019/epoch_12.pth'
