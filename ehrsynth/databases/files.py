"""A database that is a file: made under another name until it is whole, or changed in one transaction."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ehrsynth.databases.ddl import METADATA
from ehrsynth.errors import OutputError
from ehrsynth.schema import DatasetSchema

__all__ = ["metadata_rows", "refuse_existing", "whole_or_nothing"]


@contextmanager
def whole_or_nothing(path: Path, shown: str) -> Iterator[Path]:
    """Give the path to write to: the file itself if it is there, else a hidden one that takes its name at the end."""
    if path.exists() and path.stat().st_size:
        yield path
        return
    if not path.absolute().parent.is_dir():
        raise OutputError("There is no such folder.", file=path.parent, hint="Make it, or name another file.")
    partial = path.with_name(f".{path.name}.partial")
    _remove(partial)
    try:
        yield partial
        partial.replace(path)
    except OSError as error:
        raise OutputError(f"{shown} cannot be written: {error.strerror or error}.", file=path) from None
    finally:
        _remove(partial)


def _remove(path: Path) -> None:
    for name in (path.name, f"{path.name}.wal", f"{path.name}-journal"):
        path.with_name(name).unlink(missing_ok=True)


def refuse_existing(schema: DatasetSchema, existing: Collection[str], shown: str, hint: str) -> None:
    """Raise OutputError if the database has tables of ours."""
    there = [name for name in (*schema.names, METADATA) if name in existing]
    if there:
        raise OutputError(
            f"The database has the table{'s' if len(there) > 1 else ''} {', '.join(there[:4])}"
            f"{'...' if len(there) > 4 else ''} already; nothing was loaded.",
            file=shown,
            hint=hint,
        )


def metadata_rows(metadata: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the rows of the table of what the records are."""
    return [(name, json.dumps(value, sort_keys=True, ensure_ascii=False)) for name, value in metadata.items()]
