_base_ = './masktrack-rcnn_r18_fpn_2e_crowded-shapes.py'

model = dict(detector=dict(backbone=dict(depth=34)))
