"""Runs kept as small files, without weights, from which the table can be made again.

A file, ``<folder>/<trial>/seed-<n>.json.gz``, holds the results of a run, its costs and what they
depend on, so that runs of several sittings, or several machines, can stand in one table.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from vispropnet.engine.checkpoints.reading import read_checkpoint
from vispropnet.errors import UserError
from vispropnet.fileio import atomic_path, read_json, write_json
from vispropnet.trials.plan import Plan, Run
from vispropnet.trials.scoring import run_costs
from vispropnet.trials.work_folder import PARTS, differences

_FORMAT = 1
_KEYS = {'format', 'run', 'manifest', 'weights', 'costs', 'results', 'tracks'}


def kept_path(folder: Path, run: Run) -> Path:
    """Returns the file that a run is kept in."""
    return folder / f'{run.key}.json.gz'


def read_kept(plan: Plan, folder: Path) -> dict[str, dict[str, Any]]:
    """Reads those runs of a plan that a folder keeps, by key.

    Raises:
        UserError: if a file is damaged, or of another run.
    """
    kept = {}
    for run in plan.tested():
        path = kept_path(folder, run)
        if not path.exists():
            continue
        try:
            content = json.loads(gzip.decompress(path.read_bytes()))
        except (OSError, EOFError, zlib.error, ValueError) as error:
            raise UserError(
                f'kept run {path} is damaged or was cut short: {error}. Remove it to run it anew.'
            ) from None
        if not isinstance(content, dict) or set(content) != _KEYS or content['format'] != _FORMAT:
            raise UserError(
                f'kept run {path}: expected an object with {", ".join(sorted(_KEYS))} of format '
                f'{_FORMAT}. Remove it to run it anew.'
            )
        if content['run'] != run.key:
            raise UserError(f'kept run {path} is of {content["run"]}, expected {run.key}.')
        kept[run.key] = content
    return kept


def join_manifests(
    plan: Plan, manifest: dict[str, Any], kept: Mapping[str, dict[str, Any]]
) -> dict[str, Any]:
    """Checks that kept runs may stand beside each other and those that are left to be run.

    If none is left, code and packages may have changed since: the table is then of those they were
    run with.

    Args:
        plan: The plan.
        manifest: What the results of runs here would depend on, of
            :func:`~vispropnet.trials.work_folder.manifest_of`; perhaps with ``annotations``.
        kept: Of :func:`read_kept`.

    Returns:
        The manifest of all.

    Raises:
        UserError: naming a run that depends on something else, and on what.
    """
    if not kept:
        return manifest
    manifests = {key: one['manifest'] for key, one in kept.items()}
    beside, common = 'what is run here', dict(manifest)
    if all(run.key in kept for run in plan.tested()):
        beside = next(iter(manifests))
        common |= {part: manifests[beside][part] for part in ('code', 'versions')}
    hardware = {*manifest.get('hardware', ())}
    for key, one in manifests.items():
        # Studies may have trials in common: equal runs are the same, whoever asks for them.
        lines = differences({**one, 'arguments': None, 'study': common['study']}, common)
        # What a run starts from is in no config.
        then, now = {*kept[key]['weights']}, {run.key for run in _chain(plan, plan.runs[key])}
        if then != now:
            lines.append(f'weights of {" ".join(sorted(then))} then, {" ".join(sorted(now))} now')
        if lines:
            raise UserError(
                f'the kept run {key} does not fit to {beside}:\n  '
                + '\n  '.join(lines)
                + '\nResults of the two cannot be mixed: give another --kept, or ask only for runs '
                'that are kept (--only, --seeds), of which the table can be made again.'
            )
        hardware.update(one.get('hardware', ()))
    _check_weights({f'{key}, kept': one['weights'] for key, one in kept.items()})
    return {**common, 'hardware': sorted(hardware)}


def unpack_kept(plan: Plan, kept: Mapping[str, dict[str, Any]]) -> None:
    """Lays kept runs into the folder of a plan, where they count as done; not onto those done."""
    for key, content in kept.items():
        run = plan.runs[key]
        if run.results.exists():
            continue
        run.folder.mkdir(parents=True, exist_ok=True)
        write_json(run.kept, {key: content[key] for key in ('costs', 'weights')})
        if run.tracks != run.results:
            write_json(run.tracks, content['tracks'])
        write_json(run.results, content['results'])


def check_unpacked(plan: Plan) -> None:
    """Checks that unpacked runs and those done here took the same weights of common trainings.

    Raises:
        UserError: naming two that did not.
    """
    done = [run for run in plan.tested() if run.done()]
    weights = {
        f'{run.key}, kept': read_json(run.kept)['weights'] for run in done if run.kept.exists()
    }
    if weights:
        digests: dict[Path, str] = {}
        for run in done:
            if not run.kept.exists():
                weights[f'{run.key}, run here'] = _weights_of(plan, run, digests)
    _check_weights(weights)


def keep_runs(
    plan: Plan, folder: Path, manifest: dict[str, Any], kept: Mapping[str, dict[str, Any]]
) -> list[Path]:
    """Keeps the runs of a plan that are done and not kept yet.

    Args:
        plan: The plan.
        folder: Where to.
        manifest: What the runs depend on, with ``annotations`` and ``hardware``.
        kept: Those that are kept already.

    Returns:
        The files written.

    Raises:
        UserError: if a run took other weights than the kept ones.
    """
    digests: dict[Path, str] = {}
    contents = {}
    for run in plan.tested():
        # What was unpacked has no weights here.
        if run.key in kept or not run.done() or run.kept.exists():
            continue
        chain = _chain(plan, run)
        parts = {part: manifest[part] for part in PARTS if part in manifest}
        names = {one.trial.name for one in chain}
        parts['configs'] = {name: manifest['configs'][name] for name in sorted(names)}
        contents[run.key] = dict(
            format=_FORMAT,
            run=run.key,
            manifest=parts,
            weights=_weights_of(plan, run, digests),
            costs=run_costs(plan.study.metrics, run),
            results=read_json(run.results),
            tracks=read_json(run.tracks) if run.tracks != run.results else None,
        )
    _check_weights(
        {f'{key}, kept': one['weights'] for key, one in kept.items()}
        | {f'{key}, run here': one['weights'] for key, one in contents.items()}
    )
    written = []
    for key, content in contents.items():
        written.append(kept_path(folder, plan.runs[key]))
        with atomic_path(written[-1]) as path:
            # Without a time stamp, so that equal runs make equal files.
            path.write_bytes(gzip.compress(json.dumps(content).encode(), mtime=0))
    return written


def _chain(plan: Plan, run: Run) -> list[Run]:
    """A run and those whose weights it took, itself first."""
    chain = [run]
    for one in chain:
        chain += [plan.runs[key] for key in one.needs]
    return chain


def _weights_of(plan: Plan, run: Run, known: dict[Path, str]) -> dict[str, str]:
    return {one.key: _weights_digest(one.checkpoint, known) for one in _chain(plan, run)}


def _weights_digest(checkpoint: Path, known: dict[Path, str]) -> str:
    if checkpoint not in known:
        found = hashlib.sha256()
        for name, tensor in sorted(read_checkpoint(checkpoint)['state_dict'].items()):
            found.update(name.encode())
            found.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy())
        known[checkpoint] = found.hexdigest()[:16]
    return known[checkpoint]


def _check_weights(weights: Mapping[str, Mapping[str, str]]) -> None:
    """Checks that runs which took the weights of one run took the same ones."""
    seen: dict[str, tuple[str, str]] = {}
    for whose, digests in weights.items():
        for key, digest in digests.items():
            other, theirs = seen.setdefault(key, (whose, digest))
            if digest != theirs:
                raise UserError(
                    f'{whose}, took weights of {key} ({digest}) that are not those ({theirs}) that '
                    f'{other}, took. Their results cannot be mixed: give another --kept.'
                )
