"""Several data sets as one, whose categories are joined by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine import dataset as wrappers
from mmengine.logging import print_log

from vispropnet.datasets.annotation_values import is_number
from vispropnet.datasets.categories import annotation_files, join_classes, use_classes
from vispropnet.datasets.randomness import SampleIndex
from vispropnet.errors import UserError
from vispropnet.registry import DATASETS
from vispropnet.text import first_of


@DATASETS.register_module()
class ConcatDataset(wrappers.ConcatDataset):
    """Joins data sets to train on; videos and their ids stay those of each.

    Its categories are those of the first, then what the others add, by name: ``category_map`` of a
    data set renames what others have under another name. What each brings is logged.

    Args:
        datasets: Configs of the data sets.
        ratios: For each data set, how many of its samples an epoch has, as a part of all: 0.25 is
            a quarter, another one in the next epoch, and 2 is each twice. A data set with 1, as all
            have by default, keeps its order; samples of others are drawn so that none comes again
            before all have come.

    Raises:
        UserError: if ``ratios`` are not as many positive numbers.
    """

    def __init__(self, datasets: Sequence[dict], ratios: Sequence[float] | None = None) -> None:
        ratios = [1] * len(datasets) if ratios is None else list(ratios)
        if len(ratios) != len(datasets) or not all(is_number(one) and one > 0 for one in ratios):
            raise UserError(
                f'ratios of a ConcatDataset must be {len(datasets)} numbers above 0, one for each '
                f'data set, got {ratios!r}.'
            )
        # mmengine's wants the categories to be the same.
        self.datasets = [DATASETS.build(one) for one in datasets]
        self.ratios = ratios
        self._metainfo: dict = {}
        self._fully_initialized = False
        # By data set, the last order that was drawn, after the seed and how often all came before.
        self._orders: dict[int, tuple[tuple[int, int], np.ndarray]] = {}
        self.full_init()
        counts = [
            len(one) if ratio == 1 else max(1, round(ratio * len(one)))
            for one, ratio in zip(self.datasets, ratios, strict=True)
        ]
        self.cumulative_sizes = np.cumsum(counts).tolist()
        use_classes(self, join_classes(one.metainfo['classes'] for one in self.datasets))
        for dataset, count in zip(self.datasets, counts, strict=True):
            print_log(_described(dataset, count), logger='current')

    def get_cat_ids(self, idx: int) -> list[int]:
        """Gives the labels in a sample's key frame (for mmdet's ``ClassBalancedDataset``)."""
        dataset, sample = self._get_ori_dataset_idx(idx)
        return self.datasets[dataset].get_cat_ids(sample)

    def _get_ori_dataset_idx(self, idx: int) -> tuple[int, int]:
        """Finds the data set of a sample, and its index there; a plain index is of epoch 0."""
        number, sample = super()._get_ori_dataset_idx(idx)
        if self.ratios[number] == 1:
            return number, sample
        seed, epoch, *_ = key = getattr(idx, 'key', (0, 0, int(idx)))
        first = self.cumulative_sizes[number - 1] if number else 0
        place = epoch * (self.cumulative_sizes[number] - first) + int(sample)
        turn, place = divmod(place, len(self.datasets[number]))
        return number, SampleIndex(int(self._order(number, seed, turn)[place]), key)

    def _order(self, number: int, seed: int, turn: int) -> np.ndarray:
        """Draws the order in which the samples of a data set come for the n-th time."""
        known = self._orders.get(number)
        if known is None or known[0] != (seed, turn):
            generator = np.random.default_rng([seed, number, turn])
            known = (seed, turn), generator.permutation(len(self.datasets[number]))
            self._orders[number] = known
        return known[1]


def _described(dataset: Any, count: int) -> str:
    """Says what a data set brings: samples, and categories under the names that they get."""
    names = getattr(dataset, 'category_names', None)
    files = first_of(annotation_files(dataset), 3)
    text = f'{files}: {len(dataset)} samples, {count} in an epoch'
    if not names:
        return text
    kept = [old if old == new else f'{old} as {new}' for old, new in names.items() if new]
    left_out = [old for old, new in names.items() if not new]
    text += f'; categories: {", ".join(kept)}'
    return text + (f'; left out: {", ".join(left_out)}' if left_out else '')
