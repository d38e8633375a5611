"""Reading configs: overrides from the command line, and messages for what is wrong in them."""

from __future__ import annotations

import contextlib
import difflib
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from mmengine.config import Config, DictAction
from mmengine.registry import Registry

from vispropnet import registry as registries
from vispropnet.config_variables import READ_KEYS, apply_options, dotted_keys
from vispropnet.errors import UserError

# Registered names may be told apart by the library that registers them.
_SCOPED = re.compile(r'(vispropnet|mmdet|mmengine|mmcv)\.\w+')
# Their values are texts, also those that look like numbers or lists.
_PATHS = {'ann_file', 'checkpoint', 'data_root', 'img', 'load_from', 'outfile', 'work_dir'}
# Groups whose keys no part checks when it is built: what nothing reads would have no effect.
_UNCHECKED = re.compile(r'model(\.\w+)*\.(train|test)_cfg(\.\w+)*')
# Keys of them that mmdet reads where they are, and that configs may leave out.
_OPTIONAL = {'filter_low_score', 'instance_on', 'min_bbox_size', 'nms_pre', 'object_mask_thr'}
_OPTIONAL |= {'panoptic_on', 'semantic_on'}
_NEW = object()  # in place of the value of a key that a config does not have
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
AUTO = 'auto'  # as num_classes: the number of categories of the data


class FormattedOnceConfig(Config):
    """mmengine's config, which keeps its formatted text as long as nothing in it changes.

    Formatting takes a second or more, and the text goes into logs and each checkpoint.
    """

    _formatted: tuple[str, str] | None = None  # what was formatted, and its text

    @classmethod
    def of(cls, config: Config) -> FormattedOnceConfig:
        """Gives a config that shares the content of another."""
        ours = cls.__new__(cls)
        # Past __setattr__, which sets keys of the content.
        ours.__dict__.update(config.__dict__)
        return ours

    @property
    def pretty_text(self) -> str:
        """The whole config as formatted Python."""
        content = repr(self.to_dict())
        if self._formatted is None or self._formatted[0] != content:
            self.__dict__['_formatted'] = content, super().pretty_text
        return self._formatted[1]


def load_config(path: str | os.PathLike, overrides: Sequence[str] = ()) -> Config:
    """Reads a config file.

    Args:
        path: The file.
        overrides: ``key=value`` strings; keys may be dotted. ``data_root`` is of every data set,
            ``num_classes`` of every part of the model.

    Returns:
        The config; evaluators that name no annotation file have got their data set's.

    Raises:
        UserError: if the file is missing or broken, or an override names no known key.
    """
    path = os.fspath(path)
    if not os.path.isfile(path):
        raise UserError(f'config not found: {path}')
    try:
        config = Config.fromfile(path)
        _check_paths(config, path)
        options = _parse_overrides(overrides, config)
        _check_top_level(options, config, path)
        for key, value in options.items():
            _check_type_name(key, value)
            _check_kind(key, value, config)
            _check_new(key, options, config, path)
        before = _annotation_files(config)
        config = FormattedOnceConfig.of(apply_options(config, path, options))
    except UserError:
        raise
    except Exception as error:  # whatever the file's own code raises
        raise UserError(f'config {path} cannot be read: {type(error).__name__}: {error}') from error
    if 'num_classes' in options or config.get('num_classes') == AUTO:
        for part in class_counts(config.get('model')):
            part['num_classes'] = config.num_classes
    for name in LOADERS:
        if config.get(name) is not None:
            _pass_data_root_on(config[name].dataset)
            if 'data_root' in options:
                _set_data_root(config[name].dataset, options['data_root'], name)
    _name_annotation_files(config, before)
    return config


def named_data_sets(dataset: Any) -> Iterator[dict]:
    """Yields the configs that name an annotation file within that of a (wrapped) data set."""
    if not isinstance(dataset, dict):
        return
    if dataset.get('ann_file'):
        yield dataset
    else:
        for part in (dataset.get('dataset'), *(dataset.get('datasets') or ())):
            yield from named_data_sets(part)


def class_counts(part: Any) -> Iterator[dict]:
    """Yields the configs with ``num_classes``, that of the data, within the config of a model."""
    if isinstance(part, dict):
        if 'num_classes' in part:
            yield part
        # A classifier's own classes, and those of proposals, are not the data's.
        values = [part[key] for key in part if key not in ('backbone', 'rpn_head')]
    else:
        values = part if isinstance(part, (list, tuple)) else ()
    for one in values:
        yield from class_counts(one)


@contextlib.contextmanager
def explain_config_errors(path: str | os.PathLike) -> Iterator[None]:
    """Turns what building a config raises into a :class:`UserError` that names the file.

    Raises:
        UserError: for an unknown ``type``, a key that a part does not take or lacks, and values
            that a part refuses.
    """
    try:
        yield
    except KeyError as error:
        if ' is not in the ' not in str(error):
            raise
        name, _, rest = _text(error).partition(' is not in the ')
        registry = rest.partition(' registry')[0]
        known: list[str] = []
        for one in vars(registries).values():
            if isinstance(one, Registry) and one.name == registry.split('::')[-1]:
                known += [*one.module_dict, *one.parent.module_dict, *one.parent.parent.module_dict]
        raise UserError(
            f'config {path}: unknown type {name!r} (looked for in {registry}).'
            + _did_you_mean(name, known)
        ) from None
    except TypeError as error:
        if 'argument' not in str(error):
            raise
        hint = ''
        if 'Dataset.__init__() got an unexpected' in str(error):
            hint = ' It wraps data sets: options of data sets go to those in it.'
        raise UserError(f'config {path}: {_text(error)}.{hint}') from None
    except ValueError as error:
        raise UserError(f'config {path}: {_text(error)}') from error


def _parse_overrides(overrides: Sequence[str], config: Config) -> dict:
    options = {}
    for override in overrides:
        key, found, text = override.partition('=')
        if not found:
            raise UserError(f'--cfg-options: expected KEY=VALUE, found {override!r}.')
        unquoted = text.strip('\'"')
        if key.rpartition('.')[2] in _PATHS:
            options[key] = None if unquoted == 'None' else unquoted
            continue
        try:
            value = DictAction._parse_iterable(text)
        except AssertionError:
            raise UserError(
                f'--cfg-options: {override}: each bracket that is opened must be closed.'
            ) from None
        # mmengine takes the spaces out of texts, and makes numbers of 2019 and lists of a,b.
        bare = type(value) in (int, float, list) and unquoted[:1] not in '[('
        present = _present(key, config)
        if isinstance(value, str) or (bare and isinstance(present, str) and present != AUTO):
            value = unquoted
        # A text such as 960,540 in place of a pair.
        if isinstance(value, list) and isinstance(present, tuple):
            value = tuple(value)
        options[key] = value
    return options


def _check_paths(config: Config, path: str) -> None:
    for key, value in dotted_keys(config.to_dict()):
        if key.rpartition('.')[2] in _PATHS and isinstance(value, (int, float, list, tuple)):
            raise UserError(f'config {path}: {key} must be a text with a path, found {value!r}.')


def _check_top_level(options: dict, config: Config, path: str) -> None:
    known = {*config.keys(), *READ_KEYS, 'data_root', 'num_classes'}
    for key in options:
        top = key.split('.')[0]
        if top not in known:
            hint = _did_you_mean(top, known)
            raise UserError(f'--cfg-options: config {path} has no key {top!r}.{hint}')


def _check_type_name(key: str, value: object) -> None:
    """Refuses types by import path: mmengine would import and call whatever they name."""
    named = key.rpartition('.')[2] == 'type' and isinstance(value, str) and '.' in value
    if named and not _SCOPED.fullmatch(value):
        raise UserError(
            f'--cfg-options: {key}={value} names a type by its import path, which could run any '
            'code. Give a registered name, such as mmdet.ResNet, or write it into the config file.'
        )


def _check_kind(key: str, value: object, config: Config) -> None:
    present = _present(key, config)
    if present is _NEW:
        return  # the part that takes it checks it
    wanted = None
    if isinstance(present, bool):
        wanted = None if isinstance(value, (bool, int)) or value is None else 'True or False'
    elif isinstance(present, (int, float)):
        automatic = value == AUTO and key.endswith('num_classes')
        wanted = 'a number' if isinstance(value, str) and not automatic else None
    elif isinstance(present, dict):
        wanted = None if isinstance(value, dict) or value is None else 'nothing but None as a whole'
    if wanted:
        shown = 'a group of keys' if isinstance(present, dict) else repr(present)
        raise UserError(
            f'--cfg-options: {key} is {shown} in the config and takes {wanted}, got {value!r}.'
        )


def _check_new(key: str, options: dict, config: Config, path: str) -> None:
    """Refuses keys that a group without a type, and whose keys no part checks, does not have."""
    parts = key.split('.')
    for depth in range(len(parts) - 1, 0, -1):
        owner, name = '.'.join(parts[:depth]), parts[depth]
        group = _present(owner, config)
        if group is not _NEW:
            break
    else:
        return
    # Groups with a type are checked by what takes their keys; _delete_ begins one anew.
    if not _UNCHECKED.fullmatch(owner) or not isinstance(group, dict) or 'type' in group:
        return
    anew = options.get(f'{owner}._delete_') or name == '_delete_'
    if not anew and name not in group and name not in _OPTIONAL:
        raise UserError(
            f'--cfg-options: {owner} of config {path} has no key {name!r}, and no part would '
            f'complain if nothing read it; it has {", ".join(group) or "none"}.'
            f'{_did_you_mean(name, group)} A key that a part of yours reads belongs in the config '
            'file.'
        )


def _present(key: str, config: Config) -> object:
    present = config
    for part in key.split('.'):
        if isinstance(present, (list, tuple)) and part.isdigit() and int(part) < len(present):
            present = present[int(part)]
        elif isinstance(present, (dict, Config)) and part in present:
            present = present[part]
        else:
            return _NEW
    return present


def _set_data_root(dataset: dict, root: str, loader: str) -> None:
    roots = {str(one.get('data_root')) for one in named_data_sets(dataset)}
    if len(roots) > 1:
        raise UserError(
            f'--cfg-options data_root: the data sets of {loader} are in {len(roots)} folders '
            f'({", ".join(sorted(roots))}); set that of each, as '
            f'{loader}.dataset.datasets.0.data_root=DIR.'
        )
    _pass_data_root_on(dataset, root)


def _pass_data_root_on(dataset: Any, root: str | None = None) -> None:
    """Gives a ``data_root``, by default that of a wrapper, to the data sets within."""
    if not isinstance(dataset, dict):
        return
    inner = [dataset.get('dataset'), *(dataset.get('datasets') or ())]
    if any(inner):
        own = dataset.pop('data_root', None)
        for one in inner:
            _pass_data_root_on(one, own if root is None else root)
    elif root is not None:
        dataset['data_root'] = root


def _annotation_files(config: Config) -> dict[str, str]:
    """Annotation files of the data to validate and test on, as far as they are named."""
    found = {}
    for part in ('val', 'test'):
        dataset = (config.get(f'{part}_dataloader') or {}).get('dataset') or {}
        if dataset.get('ann_file'):
            found[part] = os.path.join(dataset.get('data_root') or '', dataset['ann_file'])
    return found


def _name_annotation_files(config: Config, before: Mapping[str, str]) -> None:
    """Names them to evaluators that name none, or those of before the options."""
    for part in ('val', 'test'):
        dataset = (config.get(f'{part}_dataloader') or {}).get('dataset') or {}
        if not dataset.get('ann_file') and list(named_data_sets(dataset)):
            raise UserError(
                f'config: {part}_dataloader.dataset is a {dataset.get("type")}, but results and '
                'scores are of one annotation file: name one data set there, without a wrapper.'
            )
    for part, path in _annotation_files(config).items():
        evaluator = config.get(f'{part}_evaluator')
        if evaluator is None:
            continue
        if not isinstance(evaluator, dict):
            raise UserError(f'config: {part}_evaluator must be one dict, found {evaluator!r}.')
        if evaluator.get('ann_file') in (None, '', before.get(part)):
            evaluator.ann_file = path


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f' Did you mean {close[0]!r}?' if close else ''


def _text(error: BaseException) -> str:
    return str(error.args[0]) if error.args else type(error).__name__
