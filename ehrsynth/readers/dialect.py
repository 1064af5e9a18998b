"""How a file of delimited text is written: told from its beginning."""

from __future__ import annotations

import csv as text_csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from ehrsynth.errors import SourceError

__all__ = ["SAMPLE_BYTES", "Dialect", "lower_header", "sniff"]

SAMPLE_BYTES = 1 << 16
"""What is looked at of a file."""

_DELIMITERS = (",", "\t", ";", "|")


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """How a file is written: its delimiter, whether quotation marks enclose values, and its header as it stands."""

    delimiter: str
    quoted: bool
    header: tuple[str, ...]


def lower_header(names: Sequence[str], *, file: Path | str, table: str) -> tuple[str, ...]:
    """Return the names of a table's columns in lower case; a SourceError if two are the same."""
    header = tuple(name.strip().lower() for name in names)
    for at, name in enumerate(header):
        if name in header[:at]:
            raise SourceError(
                f"Two columns are named {name!r} (case does not count).",
                file=file,
                table=table,
                column=name,
                hint="Rename or remove one of them.",
            )
    return header


def sniff(buffer: pa.Buffer, *, path: Path, table: str) -> Dialect:
    """Return the dialect of a file from its first 64 KiB.

    The delimiter is the one that parts the header into most names. In tab-separated files a quotation mark is a mere
    character unless some value is enclosed in a pair of them: the OHDSI vocabularies are written like that.

    Raises
    ------
    SourceError
        No header, UTF-16, or not text at all.
    """
    sample = buffer.slice(0, min(SAMPLE_BYTES, buffer.size)).to_pybytes()
    if sample.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise SourceError("The file is UTF-16.", file=path, table=table, hint="Save it as UTF-8.")
    sample = sample.removeprefix(b"\xef\xbb\xbf")
    if b"\0" in sample:
        raise SourceError("The file is not text.", file=path, table=table, hint="Give CSV, TSV or Parquet.")
    lines = re.split(rb"\r\n|\n|\r", sample)
    try:
        first = lines[0].decode("utf-8")
    except UnicodeDecodeError:
        raise SourceError(
            "The header is not UTF-8.", file=path, table=table, row=0, hint="Save the file as UTF-8."
        ) from None
    if not first.strip():
        raise SourceError(
            "The file is empty: it has not even a header.",
            file=path,
            table=table,
            hint="Export the table again, or remove the file if the table is optional.",
        )
    delimiter = max(_DELIMITERS, key=lambda mark: len(next(text_csv.reader([first], delimiter=mark))))
    quoted = delimiter != "\t" or _encloses(lines, delimiter.encode())
    header = next(text_csv.reader([first], delimiter=delimiter, quoting=0 if quoted else text_csv.QUOTE_NONE))
    return Dialect(delimiter=delimiter, quoted=quoted, header=tuple(header))


def _encloses(lines: list[bytes], delimiter: bytes) -> bool:
    head = lines[0].split(delimiter)
    if all(len(value) > 1 and value.startswith(b'"') and value.endswith(b'"') for value in head):
        return True
    paired = False
    for line in lines:
        for value in line.split(delimiter):
            if value.startswith(b'"'):
                if len(value) < 2 or not value.endswith(b'"'):
                    return False
                paired = True
    return paired
