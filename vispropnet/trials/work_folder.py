"""The folder of trials: a manifest of what it was begun with."""

from __future__ import annotations

import hashlib
import json
import os
from importlib.metadata import version
from pathlib import Path
from typing import Any

from vispropnet.config import load_config
from vispropnet.engine.folder_lock import LOCK
from vispropnet.errors import UserError
from vispropnet.fileio import read_json, write_json
from vispropnet.text import first_of
from vispropnet.text import shown as shown_value
from vispropnet.trials.plan import ROOT, Plan, shown

MANIFEST = 'trials.json'
# Parts of the package that results do not depend on.
WITHOUT_EFFECT = ('apis', 'trials', 'visualization')
BUT_WITH = ('apis/testing.py', 'apis/training.py', 'apis/vos_testing.py', 'apis/vos_outputs.py')
PACKAGES = ('torch', 'torchvision', 'onedl-mmengine', 'onedl-mmcv', 'onedl-mmdetection', 'numpy')
_KEYS = {'arguments', 'preset', 'data', 'versions', 'code', 'configs'}
# What results depend on, and where they came from.
PARTS = ('study', 'preset', 'data', 'versions', 'code', 'configs', 'annotations', 'hardware')
# By key of the manifest: what changed, and whether only what both manifests have counts, as trials
# may be asked for or not.
_DIGESTS = {
    'versions': ('version of', False),
    'code': ('code', False),
    'configs': ('config of', True),
    'annotations': ('annotations to', True),
}


def code_files() -> dict[str, str]:
    """Returns a digest of each file of the package that results depend on, by its path."""
    package = ROOT / 'vispropnet'
    return {
        str(path.relative_to(ROOT)): hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        for path in sorted(package.rglob('*.py'))
        if path.relative_to(package).parts[0] not in WITHOUT_EFFECT
        or path.relative_to(package).as_posix() in BUT_WITH
    }


def digest(content: Any) -> str:
    """Returns a short digest of what JSON can hold."""
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def manifest_of(plan: Plan) -> dict[str, Any]:
    """Gathers what the results of a plan depend on, but for the annotations.

    Returns:
        ``arguments`` (what was asked for, which may change), ``study``, ``preset``, ``data``
        (options that make them, or ``'given'``), ``versions``, ``code`` (a digest by file) and
        ``configs`` (a digest by trial, of the config with all changes, in training and at test).
    """
    configs = {}
    for trial in {run.trial.name: run.trial for run in plan.runs.values()}.values():
        path = shown(ROOT / plan.preset.config_of(trial))
        # Without the paths of this folder, which may be moved.
        both = [plan.training_options(trial), plan.test_options(trial)]
        configs[trial.name] = digest([load_config(path, one).to_dict() for one in both])
    return dict(
        arguments=plan.arguments,
        study=plan.study.name,
        preset=plan.preset.name,
        data=plan.shapes_options() or 'given',
        versions={name: version(name) for name in PACKAGES},
        code=code_files(),
        configs=configs,
    )


def asked_before(out: Path) -> dict[str, Any]:
    """Reads the arguments, by name, of the plan that a folder's trials last ran with.

    Raises:
        UserError: if the file is damaged.
    """
    return _read_manifest(out)['arguments'] if os.path.lexists(out / MANIFEST) else {}


def check_manifest(out: Path, manifest: dict[str, Any], resume: bool) -> dict[str, Any]:
    """Checks that a folder holds nothing of other trials, and marks it as the folder of these.

    Args:
        out: The folder, which exists.
        manifest: From :func:`manifest_of`, perhaps with ``annotations``, a digest by part.
        resume: Whether it may hold runs of the same trials.

    Returns:
        The manifest, joined with the folder's; it is written only where no run was begun yet.

    Raises:
        UserError: if it holds runs and is not to be resumed, something that results depend on was
            different when it was begun, or the file is damaged.
    """
    marked = os.path.lexists(out / MANIFEST)
    if not marked and any(one.name != LOCK for one in out.iterdir()):
        raise UserError(
            f'{out} is not empty and holds no trials (no {MANIFEST}); give another --out.'
        )
    begun = _read_manifest(out) if marked else {}
    # Before the first run there is nothing that could be mixed.
    if not marked or not any(out.glob('*/seed-*')):
        write_manifest(out, manifest)
        return manifest
    lines = differences(begun, manifest)
    if lines:
        raise UserError(
            f'{out} was begun with something else:\n  '
            + '\n  '.join(lines)
            + '\nResults of the two cannot be mixed: give another --out, or remove the folder.'
        )
    if not resume:
        raise UserError(f'{out} has these trials already: give --resume to continue them.')
    return {**begun, **manifest, 'configs': {**begun['configs'], **manifest['configs']}}


def write_manifest(out: Path, manifest: dict[str, Any]) -> None:
    """Marks a folder as that of trials."""
    write_json(out / MANIFEST, manifest, indent=1)


def _read_manifest(out: Path) -> dict[str, Any]:
    path = out / MANIFEST
    content = found = read_json(path, 'list of trials')
    expected = "an object with 'arguments'"
    if isinstance(content, dict) and 'arguments' in content:
        parts = {key: content.get(key, {}) for key in ('arguments', *_DIGESTS)}
        wrong = [key for key, part in parts.items() if not isinstance(part, dict)]
        if not wrong:
            return content
        expected, found = f'an object at key {wrong[0]!r}', parts[wrong[0]]
    raise UserError(
        f'list of trials {path} is damaged: expected {expected}, found {shown_value(found)}. Give '
        'another --out, or remove the folder.'
    )


def differences(begun: dict[str, Any], manifest: dict[str, Any]) -> list[str]:
    """Tells in words what two manifests, then and now, differ in."""
    if _KEYS - set(begun):
        return [f'{MANIFEST} is of another version of this command']
    lines = [
        f'{key}: {_words(begun[key])} then, {_words(manifest[key])} now'
        for key in ('study', 'preset', 'data')
        if begun.get(key, manifest[key]) != manifest[key]  # older folders name no study
    ]
    for key, (what, common) in _DIGESTS.items():
        then, now = begun.get(key, {}), manifest.get(key, {})
        names = then.keys() & now.keys() if common else then.keys() | now.keys()
        changed = sorted(name for name in names if then.get(name) != now.get(name))
        if changed and key == 'versions':
            changed = [f'{name} ({then.get(name)} then, {now.get(name)} now)' for name in changed]
        if changed:
            lines.append(f'{what} {first_of(changed, 5)} changed')
    return lines


def _words(value: Any) -> str:
    return ' '.join(value) if isinstance(value, list) else str(value)
