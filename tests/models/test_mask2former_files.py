import pytest

from vispropnet.models.detectors.mask2former_files import explain_misfit

HEAD = 'panoptic_head.'


def shapes(classes, queries=100, prefix=HEAD):
    return {
        f'{prefix}cls_embed.weight': (classes + 1, 256),
        f'{prefix}query_feat.weight': (queries, 256),
        'backbone.conv1.weight': (64, 3, 7, 7),
    }


@pytest.mark.parametrize(
    ('found', 'message'),
    [
        (shapes(133), 'of COCO.s panoptic segmentation.*r50_8xb2-lsj-50e_coco$'),
        (shapes(133, prefix=f'detector.{HEAD}'), 'panoptic segmentation'),
        (shapes(40, 200), 'it has 200 queries and the config 100: .*num_queries=200'),
        (shapes(80), 'it tells 80 categories apart and the config 40: .*model.num_classes=80'),
        (shapes(40, prefix='track_head.'), "mmdet's Mask2FormerVideo"),
        ({'sem_seg_head.predictor.class_embed.weight': (41, 256)}, "detectron2's Mask2Former"),
        (shapes(40), '^$'),
        ({'conv1.weight': (64, 3, 7, 7)}, '^$'),
        ({}, '^$'),
    ],
)
def test_kinds_of_files_are_named(found, message):
    import re

    assert re.search(message, explain_misfit(found, shapes(40)))
