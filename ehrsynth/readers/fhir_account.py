"""The account of reading FHIR: every resource is taken, or set aside for a reason, or stops the reading."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from ehrsynth.errors import SourceError
from ehrsynth.readers.report import ReadReport, SetAside

__all__ = ["FhirAccount", "Places"]

_OR_LENIENT = "Correct it, or read leniently (--lenient, strict=False) to set such resources aside."

Places = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]
"""Files and the lines or entries in them, each of shape (n,)."""


class FhirAccount:
    """Keeps a `ReadReport` while FHIR is read; its tables are resource types.

    A resource can become several rows (a blood pressure) or none of its own (a Medication that orders refer to): what
    is counted are resources.

    Parameters
    ----------
    source : Path
    strict : bool
        Whether what must be refused raises; else it is set aside and counted.
    """

    def __init__(self, source: Path, *, strict: bool) -> None:
        self.report = ReadReport(source=str(source), format="fhir")
        self.strict = strict
        self._files: list[tuple[str, bool]] = []
        self._by_name: dict[tuple[str, bool], int] = {}
        self._aside: dict[tuple[str, str, str], list[int | str]] = {}
        self._adjusted: dict[tuple[str, str, str], list[int | str]] = {}
        self._silent: frozenset[str] = frozenset()

    def of_part(self, number: int, silent: frozenset[str], *, strict: bool) -> FhirAccount:
        """Return the account of a part of what was read with this one; put together they are one.

        The first goes on from here. The others say nothing of the types in `silent`, which all parts have.
        """
        part = FhirAccount(Path(self.report.source), strict=strict)
        part._files, part._by_name = self._files, self._by_name
        if number == 0:
            part.report.rows_read, part.report.notes = dict(self.report.rows_read), list(self.report.notes)
            for mine, theirs in ((part._aside, self._aside), (part._adjusted, self._adjusted)):
                mine.update({key: list(entry) for key, entry in theirs.items()})
        else:
            part._silent = silent
        return part

    def file(self, name: str, *, lines: bool = True) -> int:
        """Return the number of a file with lines, or of a Bundle with entries."""
        key = (name, lines)
        if key not in self._by_name:
            self._by_name[key] = len(self._files)
            self._files.append(key)
        return self._by_name[key]

    def place(self, file: int, number: int) -> str:
        """Return where that is, as a reader can find it: ``Patient.ndjson:812``, ``bundle.json entry 3``."""
        name, lines = self._files[file]
        if number == 0:
            return name
        return f"{name}:{number}" if lines else f"{name} entry {number}"

    def note(self, text: str) -> None:
        """Add a note for the custodian, once."""
        if text not in self.report.notes:
            self.report.notes.append(text)

    def read(self, kind: str) -> None:
        """Count a resource that was read."""
        self.report.rows_read[kind] = self.report.rows_read.get(kind, 0) + 1

    def refuse_file(self, name: str, problem: str, reason: str) -> None:
        """Refuse (the rest of) a file."""
        if self.strict:
            raise SourceError(problem, file=name, hint="Copy it again, or read leniently (--lenient).")
        self._add(self._aside, name, reason, "", 1, name)
        self.read(name)

    def refuse_json(self, file: int, number: int, problem: str, reason: str) -> None:
        """Refuse a text that holds no resource."""
        name = self._files[file][0]
        if self.strict:
            raise SourceError(problem, file=self.place(file, number), hint=_OR_LENIENT)
        self.read(name)
        self._add(self._aside, name, reason, "", 1, self.place(file, number))

    def refuse(self, kind: str, file: int, number: int, *, problem: str, reason: str, element: str = "") -> None:
        """Refuse one resource, which was counted as read: raise, or set it aside."""
        if self.strict:
            raise SourceError(
                problem, file=self.place(file, number), table=kind, column=element or None, hint=_OR_LENIENT
            )
        self.set_aside(kind, file, number, reason=reason, element=element)

    def refuse_rows(self, kind: str, places: Places, *, problem: str, reason: str, element: str) -> None:
        """Refuse resources by their places (one may come several times); raise for the first."""
        if len(places[0]) == 0:
            return
        if self.strict:
            raise SourceError(
                problem,
                file=self.place(int(places[0][0]), int(places[1][0])),
                table=kind,
                column=element or None,
                hint=_OR_LENIENT,
            )
        self.set_rows_aside(kind, places, reason=reason, element=element)

    def set_aside(self, kind: str, file: int, number: int, *, reason: str, element: str = "") -> None:
        """Count a resource that is not taken, and why."""
        self._add(self._aside, kind, reason, element, 1, self.place(file, number))

    def set_rows_aside(self, kind: str, places: Places, *, reason: str, element: str = "") -> None:
        """Count the resources of some rows that are not taken."""
        if len(places[0]):
            count = len(np.unique(np.stack(places), axis=1).T)
            self._add(self._aside, kind, reason, element, count, self.place(int(places[0][0]), int(places[1][0])))

    def adjust(self, kind: str, file: int, number: int, *, what: str, element: str = "") -> None:
        """Count a resource that is taken with one value changed or left out."""
        self._add(self._adjusted, kind, what, element, 1, self.place(file, number))

    def adjust_rows(self, kind: str, places: Places, *, what: str, element: str = "") -> None:
        """Count the rows that are taken with one value changed or left out."""
        if len(places[0]):
            where = self.place(int(places[0][0]), int(places[1][0]))
            self._add(self._adjusted, kind, what, element, len(places[0]), where)

    def close(self) -> ReadReport:
        """Return the report: what was read and not set aside was taken."""
        report = self.report
        report.set_aside = _entries(self._aside)
        report.adjusted = _entries(self._adjusted)
        lost: dict[str, int] = {}
        for entry in report.set_aside:
            lost[entry.table] = lost.get(entry.table, 0) + entry.count
        report.rows_read = dict(sorted(report.rows_read.items()))
        # Of what the first part read others may lose some: theirs is less than nothing.
        report.rows_taken = {
            kind: report.rows_read.get(kind, 0) - lost.get(kind, 0) for kind in {**report.rows_read, **lost}
        }
        return report

    def _add(
        self,
        counts: dict[tuple[str, str, str], list[int | str]],
        kind: str,
        why: str,
        element: str,
        count: int,
        example: str,
    ) -> None:
        if kind in self._silent:
            return
        entry = counts.setdefault((kind, why, element), [0, example])
        entry[0] = int(entry[0]) + count


def _entries(counts: dict[tuple[str, str, str], list[int | str]]) -> list[SetAside]:
    return [
        SetAside(table=kind, reason=why, count=int(count), example=str(example), column=element)
        for (kind, why, element), (count, example) in counts.items()
    ]
