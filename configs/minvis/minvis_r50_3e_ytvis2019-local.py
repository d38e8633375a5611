# Validates each epoch, and is tested, on videos that were left out of training.
_base_ = [
    '../_base_/models/minvis_r50.py',
    '../_base_/datasets/youtube-vis-2019-local.py',
    '../_base_/schedules/minvis_3e.py',
    '../_base_/default_runtime.py',
]

train_dataloader = dict(dataset={{_base_.single_frames}})

# Mask2Former trained on COCO; what does not fit (class layer) starts fresh.
load_from = (
    'https://download.openmmlab.com/mmdetection/v3.0/mask2former/'
    'mask2former_r50_8xb2-lsj-50e_coco/'
    'mask2former_r50_8xb2-lsj-50e_coco_20220506_191028-41b088b6.pth'
)
