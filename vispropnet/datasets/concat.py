"""Several data sets as one, whose categories are joined by name."""

from __future__ import annotations

from collections.abc import Sequence

from mmengine import dataset as wrappers

from vispropnet.datasets.categories import join_classes, use_classes
from vispropnet.registry import DATASETS


@DATASETS.register_module()
class ConcatDataset(wrappers.ConcatDataset):
    """Joins data sets to train on; videos and their ids stay those of each.

    Its categories are those of the first, then what the others add, by name: ``category_map`` of a
    data set renames what others have under another name.

    Args:
        datasets: Configs of the data sets.
    """

    def __init__(self, datasets: Sequence[dict]) -> None:
        # mmengine's wants the categories to be the same.
        self.datasets = [DATASETS.build(one) for one in datasets]
        self._metainfo: dict = {}
        self._fully_initialized = False
        self.full_init()
        use_classes(self, join_classes(one.metainfo['classes'] for one in self.datasets))

    def get_cat_ids(self, idx: int) -> list[int]:
        """Gives the labels in a sample's key frame (for mmdet's ``ClassBalancedDataset``)."""
        dataset, sample = self._get_ori_dataset_idx(idx)
        return self.datasets[dataset].get_cat_ids(sample)
