"""Report of the parts of a checkpoint that fitted a model, and of those that did not."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from vispropnet.text import first_of


@dataclass
class LoadReport:
    """Keys of a checkpoint and a model that fitted, and those that did not.

    Args:
        missing: Keys of the model that the checkpoint lacks.
        unexpected: Keys of the checkpoint that the model lacks.
        mismatched: (key, shape in the checkpoint, shape in the model).
        loaded: Number of keys that fitted.
        plain: Name of the part that holds a plain detector, which is counted by its modules; ''
            for none.
    """

    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    mismatched: list[tuple[str, tuple, tuple]] = field(default_factory=list)
    loaded: int = 0
    plain: str = ''

    @property
    def complete(self) -> bool:
        """True if everything fitted."""
        return not (self.missing or self.unexpected or self.mismatched)

    def __str__(self) -> str:
        lines = [f'{self.loaded} tensors fit']
        lines += self._section('missing in the checkpoint', self.missing)
        lines += self._section('not in the model', self.unexpected)
        lines += self._section(
            'of another shape',
            [
                f'{key}: {found} in the file, {wanted} wanted'
                for key, found, wanted in self.mismatched
            ],
        )
        return '\n'.join(lines)

    def _section(self, title: str, keys: list[str], most: int = 12) -> list[str]:
        if not keys:
            return []
        total = len(keys)
        if total > most:
            # Counts of whole modules.
            modules = Counter(self._module_of(key) for key in keys)
            keys = [f'{key}.* ({count})' for key, count in modules.items()]
        return [f'  {title} ({total}):', f'    {first_of(keys, most, chr(10) + 4 * " ")}']

    def _module_of(self, key: str) -> str:
        """First part of a key, or the first three within the plain detector."""
        parts = key.split(':')[0].split('.')
        return '.'.join(parts[: 3 if parts[0] == self.plain else 1])
