"""Whether files are what their descriptors and manifests say: size, SHA-256, rows."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ehrsynth.provenance import sha256_file
from ehrsynth.validation.findings import Findings

__all__ = [
    "Stated",
    "check_bulk_manifest",
    "check_files",
    "read_document",
    "stated_by_datapackage",
    "stated_by_manifest",
]


@dataclass(frozen=True)
class Stated:
    """What a document says about a file: a size, hash or number of rows that it does not give is None."""

    path: Path
    name: str
    bytes: int | None = None
    sha256: str | None = None
    rows: int | None = None


def read_document(path: Path, findings: Findings) -> dict[str, Any] | None:
    """Return a descriptor or manifest; one that is broken is reported, one that is absent is None."""
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, OSError) as error:
        findings.add("unreadable-descriptor", path.name, f"{path.name}: {error}")
        return None
    if not isinstance(found, dict):
        findings.add("unreadable-descriptor", path.name, f"{path.name}: not an object")
        return None
    return found


def stated_by_datapackage(folder: Path, document: Mapping[str, Any]) -> Iterator[Stated]:
    """Yield what ``datapackage.json`` (Data Package 2.0) says of its resources' files."""
    for entry in document.get("resources") or ():
        if not isinstance(entry, dict):
            continue
        paths = entry.get("path")
        names = [paths] if isinstance(paths, str) else paths if isinstance(paths, list) else []
        rows = entry.get("rowCount", entry.get("rows"))
        for name in names:
            if _is_inside(name):
                one = len(names) == 1
                yield Stated(
                    path=folder / name,
                    name=name,
                    bytes=_number(entry.get("bytes")) if one else None,
                    sha256=_sha256(entry.get("hash")) if one else None,
                    rows=_number(rows) if one else None,
                )


def stated_by_manifest(folder: Path, document: Mapping[str, Any], format: str) -> Iterator[Stated]:  # noqa: A002
    """Yield what our ``manifest.json`` (in `folder`) says of the files of `format`."""
    formats = document.get("formats")
    entry = formats.get(format) if isinstance(formats, dict) else None
    files = entry.get("files") if isinstance(entry, dict) else None
    for name, item in (files or {}).items() if isinstance(files, dict) else ():
        if isinstance(item, dict) and _is_inside(name):
            yield Stated(
                path=folder / format / name,
                name=name,
                bytes=_number(item.get("bytes")),
                sha256=_sha256(item.get("sha256")),
                # Zero means: rows have no meaning there.
                rows=_number(item.get("rows")) or None,
            )


def check_files(stated: Iterator[Stated], document: str, findings: Findings) -> int:
    """Report files that are missing, or whose size or hash is another; return how many were looked at."""
    checked = 0
    for item in stated:
        checked += 1
        if not item.path.is_file():
            findings.add("missing-file", document, f"{document}: {item.name}")
            continue
        size = item.path.stat().st_size
        if item.bytes is not None and size != item.bytes:
            findings.add("altered-file", document, f"{item.name}: {size} bytes, {document} says {item.bytes}")
        elif item.sha256 is not None and sha256_file(item.path) != item.sha256:
            findings.add("altered-file", document, f"{item.name}: another SHA-256 than {document} says")
    return checked


def check_bulk_manifest(source: Path, counts: Mapping[str, int], findings: Findings) -> int:
    """Hold a bulk-export ``manifest.json`` in `source` against the resources counted; return its number of outputs."""
    document = read_document(source / "manifest.json", findings) if source.is_dir() else None
    output = document.get("output") if document is not None else None
    if not isinstance(output, list):
        return 0
    stated: dict[str, int] = {}
    for entry in output:
        if not isinstance(entry, dict) or not isinstance(entry.get("type"), str):
            findings.add("unreadable-descriptor", "manifest.json", f"manifest.json: output entry {entry!r}"[:200])
            continue
        name = str(entry.get("url", "")).rsplit("/", 1)[-1]
        if name and not (source / name).is_file():
            findings.add("missing-file", "manifest.json", f"manifest.json: {name}")
        if isinstance(entry.get("count"), int):
            stated[entry["type"]] = stated.get(entry["type"], 0) + entry["count"]
    for kind, count in sorted(stated.items()):
        if counts.get(kind, 0) != count:
            findings.add("wrong-count", kind, f"manifest.json: {count}, in the files {counts.get(kind, 0)}")
    return len(output)


def _is_inside(name: object) -> bool:
    """A path that stays in its folder: a document may come from anybody."""
    return isinstance(name, str) and "://" not in name and not Path(name).is_absolute() and ".." not in Path(name).parts


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _sha256(value: object) -> str | None:
    if not isinstance(value, str):
        return None
    text = value.lower().removeprefix("sha256:")
    return text if len(text) == 64 and ":" not in text else None
