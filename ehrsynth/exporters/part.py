"""What an exporter is: pure functions from blocks of records to bytes under paths.

An exporter never touches the disk and holds no state. Blocks can so be encoded by any number of workers and their parts
appended in order: same bytes for any number of workers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ehrsynth import plugins
from ehrsynth.errors import UsageError
from ehrsynth.records import Records

__all__ = ["GROUP", "STAGED", "ExportSummary", "Exporter", "Finishing", "Made", "Note", "Part", "make_exporters"]

GROUP = "ehrsynth.exporters"

STAGED = ".staged/"
"""Parts under this folder serve `Finishing.finish` and are no part of the output."""


@dataclass(frozen=True, slots=True)
class Part:
    """`data` to append to the file `path` (relative to the format's folder, ``/`` as separator).

    `rows` is how many table rows or resources `data` holds; headers and manifests hold none. With `split_at` the file
    is one of a series, numbered before its first suffix (``Patient.000.ndjson``): the next is begun where this part
    would make it larger than so many bytes. A view of bytes saves the copy of an Arrow buffer.
    """

    path: str
    data: bytes | memoryview
    rows: int = 0
    split_at: int = 0


@dataclass(frozen=True, slots=True)
class Made:
    """A file `path` with `rows` rows that `Finishing.finish` has written into the format's folder itself."""

    path: str
    rows: int


@dataclass(frozen=True, slots=True)
class Note:
    """What `Finishing.finish` has to say of the whole; it stands in ``manifest.json`` beside the format's files."""

    content: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class ExportSummary:
    """What has been written when an export ends.

    Attributes
    ----------
    files : mapping of path to {"bytes": int, "sha256": str, "rows": int}
        Every file of the format so far; `rows` is the sum over its parts.
    row_counts : mapping of table name to rows
    provenance : mapping
        JSON-serialisable provenance of the records, with ``generated_at`` (the model's reference date, not the clock).
    """

    files: Mapping[str, Mapping[str, Any]]
    row_counts: Mapping[str, int]
    provenance: Mapping[str, Any]

    @property
    def instant(self) -> str:
        """When the data are as of, with time and zone: the date of the model or of the source, never the clock."""
        text = str(self.provenance.get("generated_at") or "1970-01-01")
        return f"{text}T00:00:00Z" if len(text) == len("1970-01-01") else text


class Exporter(Protocol):
    """An output format. Registered under the entry-point group ``ehrsynth.exporters``.

    A class that names settings in an attribute ``options`` (a tuple) is made with those of them that were given, by
    name; they have to be plain values, as they travel to other processes. Any other is made without arguments.

    `begin`, `encode` and `end` are called in that order, `encode` once per block and possibly in other processes; the
    engine appends the parts in block order and hashes the files.
    """

    name: str

    def begin(self, shared: Records) -> Iterator[Part]:
        """Yield headers and the shared tables (organization, practitioner, location, payer)."""
        ...

    def encode(self, block: Records, shared: Records) -> Iterator[Part]:
        """Yield the parts of one block of patients. `block` holds patients' tables only; keys lead into `shared`."""
        ...

    def end(self, summary: ExportSummary) -> Iterator[Part]:
        """Yield what needs the whole: manifests and descriptors."""
        ...


class Finishing(Exporter, Protocol):
    """An exporter of files that are more than blocks one after the other: a footer that knows them all, a database.

    When all blocks are written and before `end`, `finish` is called once, in the parent. It gets the folder of the
    format, with what was staged in it, and yields parts to append, the files that it has made, and notes. It reads what
    blocks left in the order of their numbers, so the number of workers tells nowhere; a run that is resumed calls it
    again.
    """

    def finish(self, folder: Path, summary: ExportSummary) -> Iterator[Part | Made | Note]:
        """Yield what completes the files in `folder`."""
        ...


def make_exporters(formats: Iterable[str], options: Mapping[str, Any] | None = None) -> dict[str, Exporter]:
    """Return the exporters of `formats` by name, each with those of `options` that it knows.

    Raises
    ------
    UsageError
        An unknown format, an option that none of the formats knows, or a value that an exporter does not take.
    """
    given = dict(options or {})
    kinds = {name: plugins.load(GROUP, name) for name in formats}
    known = {name: tuple(getattr(kind, "options", ())) for name, kind in kinds.items()}
    for option in given:
        if not any(option in names for names in known.values()):
            choices = sorted({name for names in known.values() for name in names})
            raise UsageError(
                f"None of the formats {', '.join(kinds)} has the option {option!r}.",
                hint=f"Known to them: {', '.join(choices) or 'none'}.",
            )
    return {
        name: kind(**{option: given[option] for option in known[name] if option in given})
        for name, kind in kinds.items()
    }
