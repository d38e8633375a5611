_base_ = '../masktrack_rcnn/masktrack-rcnn_r18_fpn_2e_crowded-shapes.py'

model = dict(
    support=dict(type='SupportWindow', num_frames=6),
    detector=dict(roi_head=dict(bbox_roi_extractor=dict(type='vispropnet.TemporalRoIAlign'))),
)
# The references of a clip support its key frame in training.
train_dataloader = dict(dataset=dict(num_refs=2))
