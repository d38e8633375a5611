"""Findings of checks in a file: collected, printed, and written as JSON."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from vispropnet.errors import UserError
from vispropnet.text import printable, shown

ERROR, WARNING = 'error', 'warning'

# Wording of the parts of a place, in this order.
_PLACES = {
    'annotation_id': 'annotation',
    'category_id': 'category',
    'video_id': 'video',
    'frame': 'frame',
}


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong in a file."""

    severity: str  # ``'error'`` or ``'warning'``
    kind: str  # findings are grouped by it
    text: str  # what was found and what was expected
    # Place in the file: some of ``list``, ``entry`` (number in that list, or in the file itself),
    # ``annotation_id``, ``category_id``, ``video_id``, ``frame``, ``file_name``.
    where: dict[str, int | str]

    def line(self, file: str) -> str:
        """Writes file, place and text as one line, without characters a terminal would act on."""
        parts = [f'{name} {self.where[key]}' for key, name in _PLACES.items() if key in self.where]
        if 'list' in self.where and 'entry' in self.where:
            parts.insert(0, f'{self.where["list"]}[{self.where["entry"]}]')
        elif 'entry' in self.where:
            parts.insert(0, f'entry {self.where["entry"]}')
        place = ', '.join(parts)
        if 'file_name' in self.where:
            name = self.where['file_name']
            place += f' ({name if len(name) <= 500 else shown(name)})'
        return printable(': '.join(part for part in (file, place, self.text) if part))


@dataclass
class Report:
    """The findings in one file."""

    file: str  # the file, as the user named it
    findings: list[Finding] = field(default_factory=list)  # in the order in which they were found
    # How many videos, masks and so on were looked at.
    looked_at: dict[str, int] = field(default_factory=dict)
    # Why the file could not be read (to its end), or its frames not at all.
    unreadable: str | None = None

    def error(self, kind: str, text: str, **where: Any) -> None:
        """Adds something that makes a run fail or a result wrong; arguments as of ``Finding``."""
        self._add(ERROR, kind, text, where)

    def warn(self, kind: str, text: str, **where: Any) -> None:
        """Adds something odd that may be meant; arguments as of ``Finding``."""
        self._add(WARNING, kind, text, where)

    def note(self, kind: str, text: str) -> None:
        """Adds a warning of the whole file, which :class:`StrictReport` keeps too."""
        self._add(WARNING, kind, text, {})

    def notes(self) -> list[str]:
        """Gives the texts of the warnings."""
        return [finding.text for finding in self.findings if finding.severity == WARNING]

    def look_at(self, **numbers: int) -> None:
        """Counts what was looked at: how many more, by what they are."""
        for name, number in numbers.items():
            self.looked_at[name] = self.looked_at.get(name, 0) + number

    def count(self, severity: str) -> int:
        """Counts the findings of one severity, ``'error'`` or ``'warning'``."""
        return sum(finding.severity == severity for finding in self.findings)

    def summary(self) -> str:
        """Writes the closing line: file, numbers of errors and warnings, what was looked at."""
        if self.unreadable and not self.looked_at:
            return printable(f'{self.file}: not read')
        so_far = 'not all could be read; so far ' if self.unreadable else ''
        text = f'{self.file}: {so_far}{self.count(ERROR)} errors, {self.count(WARNING)} warnings'
        if self.looked_at:
            looked_at = [f'{number} {name}' for name, number in self.looked_at.items()]
            text += f'; looked at {", ".join(looked_at)}'
        return printable(text)

    def _add(self, severity: str, kind: str, text: str, where: dict[str, Any]) -> None:
        # What stands in the file may be of any type; the findings must be JSON.
        sound = {key: one if type(one) in (int, str) else shown(one) for key, one in where.items()}
        text = text if len(text) <= 500 else f'{text[:497]}...'
        self.findings.append(Finding(severity, kind, text, sound))


class StrictReport(Report):
    """Raises the first error unless its kind is tolerated, and passes over warnings."""

    def __init__(self, file: str, tolerated: Collection[str] = ()) -> None:
        super().__init__(file)
        self._tolerated = tolerated

    def error(self, kind: str, text: str, **where: Any) -> None:
        """Raises the error as a ``UserError``, or keeps it as a finding; see the base class."""
        super().error(kind, text, **where)
        if kind not in self._tolerated:
            raise UserError(f'{self.findings[-1].line(self.file).rstrip(".")}.')

    def warn(self, kind: str, text: str, **where: Any) -> None:
        """Passes over the warning."""


def report_lines(reports: Iterable[Report]) -> Iterator[str]:
    """Yields lines with all findings: errors, then warnings, each by kind; a summary per file."""
    reports = list(reports)
    for severity in (ERROR, WARNING):
        kinds: dict[str, list[str]] = {}
        for report in reports:
            for finding in report.findings:
                if finding.severity == severity:
                    kinds.setdefault(finding.kind, []).append(finding.line(report.file))
        for kind, lines in kinds.items():
            yield f'{severity}: {kind} ({len(lines)})'
            yield from (f'  {line}' for line in lines)
            yield ''
    yield from (report.summary() for report in reports)


def reports_as_json(reports: Iterable[Report]) -> dict[str, Any]:
    """Puts reports into a form for programs.

    Args:
        reports: One per file.

    Returns:
        ``errors`` and ``warnings``, their numbers; ``files``, what each summary line says;
        ``findings``, each with ``severity``, ``kind``, ``file``, its place and ``text``.
    """
    files, findings = [], []
    for report in reports:
        counts = {'errors': report.count(ERROR), 'warnings': report.count(WARNING)}
        more = {'looked_at': report.looked_at, 'unreadable': report.unreadable}
        files.append({'file': report.file, **counts, **more})
        for one in report.findings:
            kind = {'severity': one.severity, 'kind': one.kind, 'file': report.file}
            findings.append({**kind, **one.where, 'text': one.text})
    errors, warnings = (sum(file[key] for file in files) for key in ('errors', 'warnings'))
    return {'errors': errors, 'warnings': warnings, 'files': files, 'findings': findings}
