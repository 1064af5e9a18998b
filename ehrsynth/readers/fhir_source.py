"""FHIR files as resources, one by one: NDJSON, Bundles and single resources, plain or gzipped, each with its place."""

from __future__ import annotations

import gzip
import mmap
import re
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from ehrsynth.errors import SourceError
from ehrsynth.readers.fhir_account import FhirAccount
from ehrsynth.readers.fhir_references import Identifiers, Scope

__all__ = ["Item", "fhir_files", "is_fhir_file", "read_items"]

_LINES = (".ndjson", ".jsonl")
_SIDE_FILES = frozenset(("manifest.json", "datapackage.json", "package.json", "log.ndjson", "package-lock.json"))
_CHUNK = 1 << 20
_WHOLE_LIMIT = 64 << 20
"""Bundles of more bytes than this are taken apart entry by entry; parsing one whole takes ten times its size."""

_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\]]', re.DOTALL)

Buffer = bytes | mmap.mmap


@dataclass(slots=True)
class Item:
    """One resource, its place (a file or Bundle by number, and the line or entry in it), its Bundle, its entry."""

    resource: dict[str, Any]
    file: int
    number: int
    scope: Scope | None = None
    entry: dict[str, Any] = field(default_factory=dict)


def is_fhir_file(path: Path) -> bool:
    """Whether the name is that of a file with FHIR in it."""
    stem = path.name.lower().removesuffix(".gz")
    return stem.endswith((*_LINES, ".json")) and stem not in _SIDE_FILES and not stem.startswith((".", "_"))


def fhir_files(source: Path) -> list[Path]:
    """Return the files with FHIR in them at or below `source`, sorted.

    Raises
    ------
    SourceError
        There is no such file or folder, or nothing of FHIR in it.
    """
    if not source.exists():
        raise SourceError("There is no such file or folder.", file=source, hint="Check the path.")
    if source.is_file():
        return [source]
    found = sorted(path for path in source.rglob("*") if is_fhir_file(path) and path.is_file())
    if not found:
        raise SourceError(
            "There is no FHIR in the folder.",
            file=source,
            hint="It should hold .ndjson files with a resource a line, or .json files with Bundles (or either as .gz).",
        )
    return found


def read_items(source: Path, account: FhirAccount, identifiers: Identifiers) -> Iterator[Item]:
    """Yield every resource of `source`, in the order of the files' names and of what stands in them.

    A resource that a Bundle creates only if none has its identifier (`ifNoneExist`) is the one that `identifiers` knows
    by then. What cannot be read is refused by the account: it raises, or is counted and the rest is read all the same.
    """
    root = source if source.is_dir() else source.parent
    for path in fhir_files(source):
        name = path.relative_to(root).as_posix()
        if path.name.lower().removesuffix(".gz").endswith(_LINES):
            yield from _lines(_split_lines(_chunks(path, name, account)), name, account, identifiers)
        else:
            yield from _document(path, name, account, identifiers)


def _chunks(path: Path, name: str, account: FhirAccount) -> Iterator[bytes]:
    """The bytes of a file, unpacked. What a gzip that was cut off still gives is given before it is refused."""
    try:
        with path.open("rb") as handle:
            packed = handle.read(2) == b"\x1f\x8b"
            handle.seek(0)
            read = gzip.GzipFile(fileobj=handle).read1 if packed else handle.read
            while chunk := read(_CHUNK):
                yield chunk
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        account.refuse_file(
            name, f"The gzip file is cut off or damaged ({error}).", "gzip cut off or damaged: the rest is lost"
        )
    except OSError as error:
        account.refuse_file(name, f"The file cannot be read: {error.strerror or error}.", "file cannot be read")


def _lines(lines: Iterable[bytes], name: str, account: FhirAccount, identifiers: Identifiers) -> Iterator[Item]:
    file = account.file(name)
    for number, line in enumerate(lines, 1):
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        if not line or line.isspace():
            continue
        resource = _parse(line, file, number, account)
        if resource is None:
            continue
        if resource.get("resourceType") == "Bundle":
            yield from _bundle(_entries_of(resource), f"{name}:{number}", account, identifiers)
        else:
            yield Item(resource, file, number)


def _parse(data: bytes, file: int, number: int, account: FhirAccount) -> dict[str, Any] | None:
    try:
        found = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        account.refuse_json(file, number, f"This is not JSON: {error}.", "invalid JSON")
        return None
    if type(found) is not dict:
        account.refuse_json(file, number, f"This is JSON, but {type(found).__name__} and no object.", "not an object")
        return None
    return found


def _document(path: Path, name: str, account: FhirAccount, identifiers: Identifiers) -> Iterator[Item]:
    with tempfile.TemporaryFile() as spill:
        # A packed Bundle is unpacked beside, not in memory: it can be twenty times its file.
        size, pieces = 0, []
        for chunk in _chunks(path, name, account):
            size += len(chunk)
            pieces.append(chunk)
            if size > _WHOLE_LIMIT:
                spill.writelines(pieces)
                pieces.clear()
        if size > _WHOLE_LIMIT:
            spill.writelines(pieces)
            spill.flush()
            with mmap.mmap(spill.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
                yield from _large(mapped, name, account, identifiers)
            return
    data = b"".join(pieces).removeprefix(b"\xef\xbb\xbf")
    file = account.file(name, lines=False)
    if not data.strip():
        account.refuse_json(file, 0, "The file is empty.", "empty file")
        return
    try:
        found = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        first, _, rest = data.lstrip().partition(b"\n")
        if rest.strip() and _is_object(first):
            yield from _lines(data.split(b"\n"), name, account, identifiers)  # NDJSON under another name
            return
        account.refuse_json(file, 0, f"This is not JSON: {error}.", "no JSON as a whole: what is whole in it is taken")
        yield from _large(data, name, account, identifiers)
        return
    if type(found) is dict and found.get("resourceType") == "Bundle":
        yield from _bundle(_entries_of(found), name, account, identifiers)
    elif type(found) is dict:
        yield Item(found, file, 0)
    else:
        account.refuse_json(file, 0, f"This is JSON, but {type(found).__name__} and no object.", "not an object")


def _is_object(data: bytes) -> bool:
    try:
        return type(orjson.loads(data)) is dict
    except orjson.JSONDecodeError:
        return False


def _large(data: Buffer, name: str, account: FhirAccount, identifiers: Identifiers) -> Iterator[Item]:
    """A Bundle entry by entry, without ever holding it all as objects; of a broken one what is whole."""
    yield from _bundle(_Spans(data, _entry_spans(data), name, account), name, account, identifiers)


def _bundle(entries: Iterable[Any], name: str, account: FhirAccount, identifiers: Identifiers) -> Iterator[Item]:
    """The resources of a Bundle. `entries` is gone through twice: first for what its references may mean."""
    file = account.file(name, lines=False)
    scope = Scope()
    for entry in entries:
        if type(entry) is dict and type(entry.get("resource")) is dict:
            request = entry.get("request")
            condition = request.get("ifNoneExist") if type(request) is dict else None
            scope.add(entry["resource"], entry.get("fullUrl"), condition, identifiers)
    for number, entry in enumerate(entries, 1):
        if type(entry) is not dict:
            account.refuse_json(file, number, "The entry is no object.", "entry is no object")
            continue
        resource = entry.get("resource")
        method = entry["request"].get("method") if type(entry.get("request")) is dict else None
        if type(resource) is dict and method not in ("DELETE", "GET"):
            shell = {key: value for key, value in entry.items() if key != "resource"}
            yield Item(resource, file, number, scope, shell)


def _entries_of(bundle: dict[str, Any]) -> list[Any]:
    entries = bundle.get("entry")
    return entries if type(entries) is list else []


def _split_lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    rest: list[bytes] = []
    for chunk in chunks:
        first, *more = chunk.split(b"\n")
        rest.append(first)
        if more:
            yield b"".join(rest)
            yield from more[:-1]
            rest = [more[-1]]
    last = b"".join(rest)
    if last:
        yield last


def _entry_spans(data: Buffer) -> list[tuple[int, int]]:
    """Return where the entries of a Bundle's text stand; no parsing."""
    depth, inside, begun, spans = 0, False, 0, []
    last_key = b""
    for token in _TOKEN.finditer(data):
        sign = data[token.start()]
        if sign == 0x22:  # a text
            if depth == 1:
                last_key = token[0]
        elif sign in b"{[":
            depth += 1
            if depth == 2 and sign == 0x5B and last_key == b'"entry"':
                inside = True
            elif inside and depth == 3:
                begun = token.start()
        else:
            depth -= 1
            if inside and depth == 2:
                spans.append((begun, token.end()))
            elif inside and depth == 1:
                return spans
    return spans


class _Spans:
    """Entries parsed each time they are asked for; those that do not parse are refused the first time round."""

    def __init__(self, data: Buffer, spans: list[tuple[int, int]], name: str, account: FhirAccount) -> None:
        self._data, self._spans, self._name, self._account = data, spans, name, account
        self._first = True

    def __iter__(self) -> Iterator[Any]:
        first, self._first = self._first, False
        file = self._account.file(self._name, lines=False)
        for number, (start, end) in enumerate(self._spans, 1):
            try:
                yield orjson.loads(self._data[start:end])
            except orjson.JSONDecodeError as error:
                if first:
                    self._account.refuse_json(file, number, f"This is not JSON: {error}.", "invalid JSON")
                yield {}
