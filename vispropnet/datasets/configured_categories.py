"""Categories of the data sets that a config names, and ``num_classes`` from them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vispropnet.config import AUTO, class_counts, named_data_sets
from vispropnet.datasets.annotation_rules import AnnotationFile
from vispropnet.datasets.categories import chosen_classes, select_categories
from vispropnet.datasets.check_report import StrictReport
from vispropnet.errors import UserError
from vispropnet.fileio import read_json


def configured_categories(dataset: Mapping[str, Any] | None) -> dict[str, int]:
    """Reads the categories of a data set's config, without building it.

    Args:
        dataset: The config, perhaps of a wrapper.

    Returns:
        Ids by name, in the order of labels; empty if it names no annotation file.

    Raises:
        UserError: if a file is missing or not sound.
    """
    found: dict[str, int] = {}
    for one in named_data_sets(dataset):
        path = os.path.join(one.get('data_root') or '', one['ann_file'])
        content = read_json(path, 'annotation file', one.get('hint') or '')
        file = AnnotationFile(content, StrictReport(f'annotation file {path}'))
        chosen = one.get('category_map'), chosen_classes(one.get('metainfo'))
        names = select_categories(file.categories, *chosen, f'annotation file {path}')
        for identity, name in names.items():
            found.setdefault(name, identity)
    return found


def check_scored_file(path: str | os.PathLike, dataset: Any) -> None:
    """Checks that the file that is scored against has no other categories under a data set's ids.

    Args:
        path: The file, perhaps that of the data set.
        dataset: The data set, whose file's ids results have.

    Raises:
        UserError: if one id means two categories.
    """
    files = [os.fspath(path), getattr(dataset, 'ann_file', path)]
    if len(set(map(os.path.realpath, files))) == 1:
        return
    scored, own = (
        AnnotationFile(read_json(one, 'annotation file'), StrictReport(one), sparse=True).categories
        for one in files
    )
    for identity, name in scored.items():
        if name is not None and name != own.get(identity, name):
            raise UserError(
                f'annotation file {files[0]} is to score against, but its category {identity} is '
                f'{name!r}, which is {own[identity]!r} in {files[1]}, whose ids results have.'
            )


def fill_num_classes(
    cfg: Mapping[str, Any], trained: Callable[[], Sequence[str] | None] | None = None
) -> None:
    """Replaces ``num_classes='auto'`` in the model of a config by a number, in place.

    Args:
        cfg: The config.
        trained: Gives the names of the categories that the model was trained on; by default, and
            where it gives None, those of the data to train on are taken.

    Raises:
        UserError: if neither is there.
    """
    parts = [one for one in class_counts(cfg.get('model')) if one['num_classes'] == AUTO]
    if not parts:
        return
    names = (trained and trained()) or configured_categories(
        (cfg.get('train_dataloader') or {}).get('dataset')
    )
    if not names:
        raise UserError(
            "num_classes='auto' takes the number of categories from the data of train_dataloader, "
            'which names no annotation file; write the number instead.'
        )
    for one in parts:
        one['num_classes'] = len(names)
