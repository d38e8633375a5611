"""The small models, and frames for them."""

from pathlib import Path

import torch
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.structures import InstanceData

from vispropnet.config import load_config
from vispropnet.models.frames import Frame
from vispropnet.registry import MODELS

SMALL = 'configs/masktrack_rcnn/masktrack-rcnn_r18_fpn_2e_moving-shapes.py'
SMALL_OBJPROP = 'configs/objprop/objprop_r18_fpn_2e_moving-shapes.py'
SMALL_MASK_PROP = 'configs/mask_prop/mask-prop_r18_fpn_2e_moving-shapes.py'
MINVIS = 'configs/minvis/minvis_r18_6e_moving-shapes.py'
MMDET = 'configs/mmdet_masktrack_rcnn/mmdet-masktrack-rcnn_r18_fpn_2e_moving-shapes.py'
SIZE = (64, 96)


def frame_sample(boxes=(), labels=(), ids=(), **metainfo):
    """Ground truth of one frame; the masks fill the boxes."""
    instances = InstanceData(bboxes=torch.tensor(boxes, dtype=torch.float).reshape(-1, 4))
    instances.labels = torch.tensor(labels, dtype=torch.long)
    instances.instances_ids = torch.tensor(ids, dtype=torch.long)
    masks = torch.zeros(len(boxes), *SIZE, dtype=torch.uint8)
    for mask, (left, top, right, bottom) in zip(masks, instances.bboxes.int(), strict=True):
        mask[top:bottom, left:right] = 1
    instances.masks = BitmapMasks(masks.numpy(), *SIZE)
    sample = DetDataSample(metainfo=frame_metainfo(**metainfo), gt_instances=instances)
    sample.ignored_instances = InstanceData(bboxes=torch.zeros(0, 4))
    return sample


def frame_metainfo(**metainfo):
    sizes = dict.fromkeys(('img_shape', 'ori_shape', 'pad_shape', 'batch_input_shape'), SIZE)
    return {**sizes, 'scale_factor': (1.0, 1.0), 'frame_id': 0, **metainfo}


def model_config(path, **changes):
    """Reads the model of a config, with changes such as ``{'prop_head.num_levels': 2}``."""
    config = load_config(Path(__file__).parents[2] / path)
    config.merge_from_dict({f'model.{key}': value for key, value in changes.items()})
    return config.model


def seeded_model(path, **changes):
    """Builds the model of a config, with changes, and with the weights of seed 0."""
    torch.manual_seed(0)
    model = MODELS.build(model_config(path, **changes))
    model.init_weights()
    return model


def step(model, image, metainfo, state):
    """Encodes a frame and steps through it, of a model that answers at once."""
    frame = Frame(model.encode(image[None]), metainfo)
    ((number, instances),), state = model.step(frame, state)
    assert number == metainfo['frame_id']
    return instances, state


def same(levels, others):
    """Tells whether features of two frames are equal, level by level."""
    return all(torch.equal(one, other) for one, other in zip(levels, others, strict=True))
