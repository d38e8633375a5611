# Validates each epoch, and is tested, on videos that were left out of training.
_base_ = [
    '../_base_/models/minvis_swin-l.py',
    '../_base_/datasets/youtube-vis-2021-local.py',
    '../_base_/schedules/minvis_3e.py',
    '../_base_/default_runtime.py',
]

train_dataloader = dict(batch_size=2, dataset={{_base_.single_frames}})

# Mask2Former trained on COCO's panoptic segmentation, as there is none of instances with this
# backbone; what does not fit (class layer) starts fresh.
load_from = (
    'https://download.openmmlab.com/mmdetection/v3.0/mask2former/'
    'mask2former_swin-l-p4-w12-384-in21k_16xb1-lsj-100e_coco-panoptic/'
    'mask2former_swin-l-p4-w12-384-in21k_16xb1-lsj-100e_coco-panoptic_20220407_104949-82f8d28d.pth'
)
