"""Which reader reads a source: the one that is named, or the first that recognises it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ehrsynth import plugins, storage
from ehrsynth.errors import SourceError, UsageError
from ehrsynth.readers.database import is_database, recognise
from ehrsynth.readers.report import Reader, ReadReport
from ehrsynth.records import Records

__all__ = ["at_hand", "read_as", "reader_of", "recognised"]


@contextmanager
def at_hand(source: str | Path) -> Iterator[str | Path]:
    """Give where a source can be read: the address of a database as it is, else a path of this machine."""
    if is_database(source):
        yield source
        return
    with storage.fetched(source) as path:
        yield path


def read_as(
    source: str | Path,
    format: str | None,  # noqa: A002
    strict: bool,
    mapping: str | Path | None,
) -> tuple[Records, ReadReport]:
    """Read a source with the reader that is named, or with the first that recognises it; see `ehrsynth.read`."""
    return reader_of(source, format, mapping).read(source, strict=strict)


def reader_of(
    source: str | Path,
    format: str | None,  # noqa: A002
    mapping: str | Path | None,
) -> Reader:
    """Return the reader that is named, or the first that recognises the source."""
    database = is_database(source)
    if mapping is not None:
        if format not in (None, "mapping"):
            raise UsageError(f"The format {format} takes no mapping.", hint="Leave one of the two out.")
        reader = plugins.load("ehrsynth.readers", "mapping")(mapping)
    elif format is not None:
        if database and format not in ("omop", "tables", "mapping"):
            raise UsageError(f"The format {format} is not read from a database.", hint="Leave --format out.")
        reader = plugins.load("ehrsynth.readers", format)()
    elif database:
        known = recognise(str(source))
        if known is None:
            raise UsageError(
                "The tables of the database are of no layout that ehrsynth knows.",
                hint="Have a mapping proposed: ehrsynth inspect URL -o mapping.toml; then add --mapping mapping.toml.",
            )
        reader = plugins.load("ehrsynth.readers", known)()
    else:
        source = Path(source)
        if not source.exists():
            raise SourceError("There is no such folder.", file=source, hint="Name the folder that holds the records.")
        readers = (plugins.load("ehrsynth.readers", name)() for name in plugins.names("ehrsynth.readers"))
        reader = next((reader for reader in readers if reader.recognises(source)), None)
        if reader is None:
            raise SourceError(
                "This is no format that ehrsynth recognises.",
                file=source,
                hint=f"Name it: one of {', '.join(plugins.names('ehrsynth.readers'))}; or have a mapping proposed: "
                "ehrsynth inspect SOURCE -o mapping.toml.",
            )
    found: Reader = reader
    return found


def recognised(source: str | Path) -> str:
    """Return the name of the reader whose layout a source has, empty for none."""
    if is_database(source):
        return recognise(str(source)) or ""
    readers = (plugins.load("ehrsynth.readers", name)() for name in plugins.names("ehrsynth.readers"))
    return next((reader.name for reader in readers if reader.name != "mapping" and reader.recognises(Path(source))), "")
