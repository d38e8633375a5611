"""Variables of config files: a value set in a child holds wherever its bases use the variable.

mmengine evaluates a base before its child, so that ``num_classes = 3`` in a child, or on the
command line, would not reach the heads for which the base wrote ``num_classes=num_classes``. Here
the files are evaluated again with the final value after each statement that assigns the variable.
"""

from __future__ import annotations

import ast
import contextlib
import copy
import inspect
import os
import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import mmengine.config.config as mmengine_config
from mmengine.config import Config
from mmengine.runner import Runner

from vispropnet.errors import UserError
from vispropnet.text import first_of, shown

# Top-level keys that the code reads; the others are variables.
READ_KEYS = frozenset(inspect.signature(Runner).parameters) | {
    'acceleration',
    'activation_checkpointing',
    'auto_scale_lr',
    'compile',
    'custom_imports',
    'efficient_conv_bn_eval',
    'find_unused_parameters',
    'model_wrapper_cfg',
    'runner_type',
    'sync_bn',
    'trust_checkpoint',
    'video_scale',
}
_BASE_VARIABLE = re.compile(r'\b_base_\.(\w+)')


def apply_options(config: Config, path: str, options: Mapping[str, Any]) -> Config:
    """Merges options into a config, and has its bases use the variables that it or they set.

    Args:
        config: The config as mmengine reads it.
        path: Its file.
        options: Dotted keys with the values that they get.

    Returns:
        The config.

    Raises:
        UserError: if an option does not fit, or a variable of the file or the options would change
            nothing.
    """
    config = _with_variables(config, path, options)
    _merge(config, path, options)
    return config


def _merge(config: Config, path: str, options: Mapping[str, Any]) -> None:
    try:
        config.merge_from_dict(dict(options))
    except AttributeError:  # mmengine merges into the entry
        raise UserError(
            f'--cfg-options do not fit config {path}: an entry of a list that is no group of keys '
            "cannot be set by itself. Give the whole list, as in 'KEY=[1,2]'."
        ) from None
    except (KeyError, TypeError, IndexError, ValueError) as error:
        text = error.args[0] if error.args else type(error).__name__
        raise UserError(f'--cfg-options do not fit config {path}: {text}') from None


def _with_variables(config: Config, path: str, options: Mapping[str, Any]) -> Config:
    variables = {key.split('.')[0] for key in options} - READ_KEYS
    variables &= set(config.keys())
    if Config._is_lazy_import(path):
        for name in sorted(variables):
            raise UserError(
                f'--cfg-options: {name} is a variable of config {path}, which imports its bases. '
                f'{_advice(name, config)}'
            )
        return config
    files = list(_statements(path))
    if len(files) > 1:  # one file may be what a run wrote, with all variables
        _refuse_unread(path, files, config)
    times = Counter(name for assigned, _ in files for name in assigned)
    pinned: dict[str, Any] = {}
    for name in [one for one in config if one in variables or times[one] > 1]:
        if name in READ_KEYS:
            continue
        asked = {key: value for key, value in options.items() if key.split('.')[0] == name}
        wanted = Config({name: copy.deepcopy(config[name])})
        _merge(wanted, path, asked)
        changed = wanted[name] != config[name]
        if not changed and times[name] < 2:
            continue
        pinned[name] = wanted.to_dict()[name]
        if not _is_literal(pinned[name]):
            raise UserError(
                f'config {path}: {name} is a variable of a base, and is set to something else than '
                f'plain data: {shown(pinned[name])}. {_advice(name, config)}'
            )
        before, config = config, _evaluated(path, pinned)
        if changed and name != 'data_root' and _without(config, name) == _without(before, name):
            raise UserError(
                f'--cfg-options: {name} is a variable of config {path} that changes nothing when '
                f'it becomes {shown(pinned[name])}. {_advice(name, config)}'
            )
    return config


def _statements(path: str) -> Iterator[tuple[set[str], set[str]]]:
    """Gives the names that each file of a config assigns and reads, bases first."""
    path = os.path.abspath(os.path.expanduser(path))
    with tempfile.TemporaryDirectory() as folder:
        plain = os.path.join(folder, f'config{os.path.splitext(path)[1]}')
        Config._substitute_env_variables(path, plain)
        bases = Config._get_base_files(plain)
        with open(plain, encoding='utf-8') as stream:
            text = stream.read()
    for base in bases:
        yield from _statements(Config._get_cfg_path(base, path)[0])
    if path.endswith('.py'):
        tree = ast.parse(text)
        yield _names(tree, ast.Store), _names(tree, ast.Load) | set(_BASE_VARIABLE.findall(text))
    else:
        yield set(mmengine_config.load(path)), set(_BASE_VARIABLE.findall(text))


def _names(tree: ast.AST, use: type[ast.expr_context] = ast.expr_context) -> set[str]:
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    return {node.id for node in names if isinstance(node.ctx, use)}


def _refuse_unread(path: str, files: Sequence[tuple[set[str], set[str]]], config: Config) -> None:
    read = READ_KEYS.union(*(names for _, names in files))
    for name in sorted((files[-1][0] & set(config.keys())) - read):
        raise UserError(
            f'config {path}: {name} changes nothing: neither the file nor a base of it uses it. '
            f'{_advice(name, config)}'
        )


class _Pinning(mmengine_config.RemoveAssignFromAST):
    """Assigns the final value of a variable after each statement that may have changed it."""

    pinned: Mapping[str, Any] = {}

    def visit_Module(self, node: ast.Module) -> ast.Module:
        """Adds the assignments."""
        body = []
        for statement in node.body:
            body.append(statement)
            for name in sorted(_names(statement) & self.pinned.keys()):
                body += ast.parse(f'{name} = {self.pinned[name]!r}').body
        node.body = body
        return self.generic_visit(node)


def _evaluated(path: str, pinned: Mapping[str, Any]) -> Config:
    with _replaced(type('_Pinned', (_Pinning,), dict(pinned=pinned))):
        return Config.fromfile(path)


@contextlib.contextmanager
def _replaced(transformer: type[_Pinning]) -> Iterator[None]:
    plain = mmengine_config.RemoveAssignFromAST
    mmengine_config.RemoveAssignFromAST = transformer
    try:
        yield
    finally:
        mmengine_config.RemoveAssignFromAST = plain


def _is_literal(value: Any) -> bool:
    try:
        return ast.literal_eval(repr(value)) == value
    except (ValueError, SyntaxError):
        return False


def _without(config: Config, name: str) -> dict:
    return {key: value for key, value in config.to_dict().items() if key != name}


def _advice(name: str, config: Config) -> str:
    keys = [key for key, _ in dotted_keys(config.to_dict()) if key.endswith(f'.{name}')]
    if not keys:
        return 'Remove it, or set the keys of the parts that it was meant for.'
    return f'Set the keys themselves: {first_of(keys, 8)}.'


def dotted_keys(value: Any, place: str = '') -> Iterator[tuple[str, Any]]:
    """Gives the dotted keys within dicts and lists, with their values."""
    if isinstance(value, (list, tuple)):
        value = dict(enumerate(value))
    if isinstance(value, dict):
        for key, below in value.items():
            inner = f'{place}.{key}' if place else str(key)
            yield inner, below
            yield from dotted_keys(below, inner)
