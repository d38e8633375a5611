"""Kinds of checkpoints that are near to Mask2Former's of mmdet and do not fit it."""

from __future__ import annotations

from collections.abc import Mapping

Shapes = Mapping[str, tuple[int, ...]]

# Things and stuff of COCO's panoptic segmentation.
COCO_PANOPTIC = 80 + 53
# Ends of the keys, below the head, whose first axis is classes with "no object", and queries.
CLASSES, QUERIES = 'panoptic_head.cls_embed.weight', 'panoptic_head.query_feat.weight'


def explain_misfit(found: Shapes, wanted: Shapes) -> str:
    """Says of which kind a checkpoint is that does not fit a Mask2Former for objects.

    Args:
        found: Shapes of the checkpoint's tensors by key.
        wanted: Those of the Mask2Former.

    Returns:
        The explanation; '' if it is of none of the kinds.
    """
    if any(key.startswith('sem_seg_head.') for key in found):
        return (
            "it is a file of detectron2's Mask2Former, Mask2Former-VIS or MinVIS (its keys begin "
            'with sem_seg_head). Take the file of mmdet of the same model, or rename its weights: '
            'sem_seg_head.pixel_decoder and .predictor are panoptic_head.pixel_decoder and '
            ".transformer_decoder here, and its backbone has the names of detectron2's"
        )
    if 'track_head.cls_embed.weight' in found:
        return (
            "it is a file of mmdet's Mask2FormerVideo, which segments clips as a whole. Its "
            'queries are trained on clips; take a file of Mask2Former, which is trained on images'
        )
    classes, own_classes = _rows(found, CLASSES), _rows(wanted, CLASSES)
    if classes == COCO_PANOPTIC + 1 != own_classes:
        return (
            "it is a file of COCO's panoptic segmentation, with 80 kinds of things and 53 of "
            'stuff. Take the one of instance segmentation, as mask2former_r50_8xb2-lsj-50e_coco'
        )
    queries, own_queries = _rows(found, QUERIES), _rows(wanted, QUERIES)
    if queries not in (None, own_queries):
        return (
            f'it has {queries} queries and the config {own_queries}: '
            f'--cfg-options model.detector.panoptic_head.num_queries={queries}'
        )
    if classes not in (None, own_classes):
        return (
            f'it tells {classes - 1} categories apart and the config {own_classes - 1}: '
            f'--cfg-options model.num_classes={classes - 1}'
        )
    return ''


def _rows(shapes: Shapes, end: str) -> int | None:
    """First axis of the tensor whose key ends so; None if there is none."""
    return next((shape[0] for key, shape in shapes.items() if key.endswith(end)), None)
