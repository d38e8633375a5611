_base_ = './masktrack-rcnn_r18_fpn_2e_moving-shapes.py'

model = dict(detector=dict(backbone=dict(depth=34)))
