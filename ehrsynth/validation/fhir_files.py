"""FHIR files as resources, one by one: NDJSON, Bundles and single resources, plain or gzipped, whole or broken."""

from __future__ import annotations

import gzip
import mmap
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from ehrsynth.validation.fhir_place import Where
from ehrsynth.validation.fhir_references import Scope, name_of
from ehrsynth.validation.findings import Findings

__all__ = ["FhirFiles", "Item", "fhir_files", "is_fhir_file"]

_LINES = (".ndjson", ".jsonl")
_SIDE_FILES = frozenset(
    ("manifest.json", "datapackage.json", "package.json", "log.ndjson", "package-lock.json", "tsconfig.json")
)
_CHUNK = 1 << 20
_WHOLE_LIMIT = 64 << 20
"""Bundles of more bytes than this are taken apart entry by entry; parsing one whole takes ten times its size."""

_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\]]', re.DOTALL)


@dataclass(slots=True)
class Item:
    """One resource: where it is, its Bundle, its entry without the resource, and the names its Bundle has so far."""

    resource: dict[str, Any]
    where: Where
    scope: Scope | None = None
    entry: dict[str, Any] | None = None
    seen: set[str] | None = None


def is_fhir_file(path: Path) -> bool:
    """Whether the name is that of a file with FHIR in it."""
    name = path.name
    stem = name.removesuffix(".gz")
    return stem.endswith((*_LINES, ".json")) and stem not in _SIDE_FILES and not name.startswith((".", "_"))


def fhir_files(source: Path) -> list[Path]:
    """Return the files with FHIR in them of `source`, sorted; a file that is named is taken whatever its name."""
    if source.is_file():
        return [source]
    return sorted(path for path in source.rglob("*") if path.is_file() and is_fhir_file(path))


class FhirFiles:
    """Reads files and reports what cannot be read; what can be is yielded all the same.

    Parameters
    ----------
    source : Path
        What was asked for; files are named relative to it.
    findings : Findings
    progress : callable, optional
        Called with bytes done and bytes in all.
    """

    def __init__(self, source: Path, findings: Findings, progress: Callable[[int, int], None] | None = None) -> None:
        self.files = fhir_files(source)
        self.findings = findings
        self._root = source if source.is_dir() else source.parent
        self._progress = progress
        self._total = sum(path.stat().st_size for path in self.files)
        self._done = 0
        self.bundles: list[tuple[dict[str, Any], Where]] = []

    def __iter__(self) -> Iterator[Item]:
        for path in self.files:
            name = path.relative_to(self._root).as_posix()
            before = self._done
            if path.name.removesuffix(".gz").endswith(_LINES):
                yield from self._lines(_split_lines(self._chunks(path, name)), name)
            else:
                yield from self._document(path, name)
            self._done = before + path.stat().st_size
            if self._progress is not None:
                self._progress(self._done, self._total)

    # -- bytes -------------------------------------------------------------------------------------------------------

    def _chunks(self, path: Path, name: str) -> Iterator[bytes]:
        """The bytes of a file, unpacked; one that is cut off or damaged is reported and yields what it has."""
        try:
            with path.open("rb") as handle:
                packed = handle.read(2) == b"\x1f\x8b"
                handle.seek(0)
                read = gzip.GzipFile(fileobj=handle).read1 if packed else handle.read
                start = self._done
                while chunk := read(_CHUNK):
                    if self._progress is not None:
                        self._progress(start + handle.tell(), self._total)
                    yield chunk
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            self.findings.add("unreadable-file", name, f"{name}: gzip is cut off or damaged ({error})")
        except OSError as error:
            self.findings.add("unreadable-file", name, f"{name}: {error.strerror or error}")

    # -- NDJSON ------------------------------------------------------------------------------------------------------

    def _lines(self, lines: Iterable[bytes], name: str) -> Iterator[Item]:
        for number, line in enumerate(lines, 1):
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            if not line or line.isspace():
                continue
            resource = self._parse(line, Where(name, number))
            if resource is not None:
                if resource.get("resourceType") == "Bundle":
                    yield from self._bundle(resource, _entries_of(resource), f"{name}:{number}")
                else:
                    yield Item(resource, Where(name, number))

    def _parse(self, data: bytes, where: Where) -> dict[str, Any] | None:
        try:
            found = orjson.loads(data)
        except orjson.JSONDecodeError as error:
            check = "invalid-json"
            try:
                data.decode("utf-8")
            except UnicodeDecodeError:
                check = "not-utf8"
            self.findings.add(check, where.file, f"{where}: {error}")
            return None
        if type(found) is not dict:
            self.findings.add("invalid-json", where.file, f"{where}: it is {type(found).__name__}, not an object")
            return None
        return found

    # -- documents ---------------------------------------------------------------------------------------------------

    def _document(self, path: Path, name: str) -> Iterator[Item]:
        if path.stat().st_size > _WHOLE_LIMIT and not path.name.endswith(".gz"):
            with path.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
                if _looks_like_bundle(mapped):
                    yield from self._pieces(mapped, name)
                    return
        data = b"".join(self._chunks(path, name)).removeprefix(b"\xef\xbb\xbf")
        if not data.strip():
            self.findings.add("invalid-json", name, f"{name}: the file is empty")
            return
        if len(data) > _WHOLE_LIMIT and _looks_like_bundle(data):
            yield from self._pieces(data, name)
            return
        try:
            found = orjson.loads(data)
        except orjson.JSONDecodeError:
            yield from self._broken(data, name)
            return
        if type(found) is dict and found.get("resourceType") == "Bundle":
            yield from self._bundle(found, _entries_of(found), name)
        elif type(found) is dict:
            yield Item(found, Where(name, 0))
        else:
            self._parse(data, Where(name, 0))

    def _broken(self, data: bytes, name: str) -> Iterator[Item]:
        """A document that does not parse: lines under another name, or a Bundle whose sound entries are taken."""
        first, _, rest = data.lstrip().partition(b"\n")
        try:
            is_lines = bool(rest.strip()) and type(orjson.loads(first)) is dict
        except orjson.JSONDecodeError:
            is_lines = False
        if is_lines:
            yield from self._lines(data.split(b"\n"), name)
            return
        self._parse(data, Where(name, 0))
        if _looks_like_bundle(data):
            yield from self._pieces(data, name, reported=True)

    def _pieces(self, data: bytes | mmap.mmap, name: str, *, reported: bool = False) -> Iterator[Item]:
        """A Bundle entry by entry, without ever holding it all as objects; `reported`: that it is broken is known."""
        spans, around = _entry_spans(data)
        head = {"resourceType": "Bundle"}
        start = around[0] + 1 if around is not None else 4096
        rest = (data[:start] + (data[around[1] :] if around is not None else b"")).removeprefix(b"\xef\xbb\xbf")
        try:
            head = orjson.loads(rest)
        except orjson.JSONDecodeError as error:
            if not reported:
                self.findings.add("invalid-json", name, f"{name}: around its entries: {error}")
            kind = re.search(rb'"type"\s*:\s*"([a-z-]+)"', data[:start])
            head |= {"type": kind[1].decode()} if kind else {}
        yield from self._bundle(head, _Spans(self, data, spans, name), name)

    # -- Bundles -----------------------------------------------------------------------------------------------------

    def _bundle(self, bundle: dict[str, Any], entries: Iterable[Any], name: str) -> Iterator[Item]:
        """The resources of a Bundle. `entries` is gone through twice: first for what its references may mean."""
        head = {key: value for key, value in bundle.items() if key != "entry"}
        self.bundles.append((head, Where(name, 0, name_of("Bundle", bundle.get("id")) or "Bundle")))
        names: dict[str, str] = {}
        types: dict[str, str] = {}
        for entry in entries:
            resource = entry.get("resource") if type(entry) is dict else None
            url = entry.get("fullUrl") if type(entry) is dict else None
            if type(url) is str and type(resource) is dict and type(resource.get("resourceType")) is str:
                # Of two with one fullUrl the first is meant; that there are two is a finding of its own.
                names.setdefault(url, name_of(resource["resourceType"], resource.get("id"), url))
                types.setdefault(url, resource["resourceType"])
        scope = Scope(file=name, names=names, types=types)
        seen: set[str] = set()
        urls: set[str] = set()
        for number, entry in enumerate(entries, 1):
            where = Where(name, number)
            if type(entry) is not dict:
                self.findings.add("json-type", "Bundle.entry", str(where), detail="It is to be an object.")
                continue
            shell = {key: value for key, value in entry.items() if key != "resource"}
            self._check_entry(shell, entry.get("resource"), str(head.get("type")), where, urls)
            if type(entry.get("resource")) is dict:
                yield Item(entry["resource"], where, scope, shell, seen)

    def _check_entry(self, entry: dict[str, Any], resource: Any, kind: str, where: Where, urls: set[str]) -> None:
        url = entry.get("fullUrl")
        if url is None:
            if kind in ("transaction", "collection", "document", "message") and type(resource) is dict:
                self.findings.add("bundle-full-url", "Bundle.entry.fullUrl", f"{where} missing")
        elif type(url) is str:
            if url in urls and kind != "history":
                self.findings.add("bundle-full-url", "Bundle.entry.fullUrl", f"{where} {url} twice")
            elif url.startswith("urn:uuid:") and not _UUID(url):
                self.findings.add("bundle-full-url", "Bundle.entry.fullUrl", f"{where} {url}")
            urls.add(url)
        request = entry.get("request")
        if kind not in ("transaction", "batch", "history"):
            if request is not None:
                self.findings.add("bundle-request", "Bundle.entry.request", f"{where} in a Bundle of type {kind}")
            if type(resource) is not dict and "response" not in entry:
                self.findings.add("bundle-resource", "Bundle.entry", str(where))
            return
        fault = _request_fault(request, resource)
        if fault:
            self.findings.add("bundle-request", "Bundle.entry.request", f"{where} {fault}")


_UUID = re.compile(r"urn:uuid:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}").fullmatch


def _request_fault(request: Any, resource: Any) -> str:
    if type(request) is not dict or type(request.get("method")) is not str or type(request.get("url")) is not str:
        return "no method or no url"
    method, url = request["method"], request["url"]
    if method not in ("POST", "PUT"):
        return ""
    if type(resource) is not dict:
        return f"{method} without a resource"
    kind, _, ident = url.partition("?")[0].partition("/")
    if kind != resource.get("resourceType"):
        return f"{method} {url} does not fit a {resource.get('resourceType')}"
    if method == "PUT" and "?" not in url and ident != resource.get("id"):
        return f"PUT {url} does not fit the id {resource.get('id')}"
    return ""


def _entries_of(bundle: dict[str, Any]) -> list[Any]:
    entries = bundle.get("entry")
    return entries if type(entries) is list else []


def _split_lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        first, *more = chunk.split(b"\n")
        if not more:
            rest += first
            continue
        yield rest + first
        yield from more[:-1]
        rest = more[-1]
    if rest:
        yield rest


def _looks_like_bundle(data: bytes | mmap.mmap) -> bool:
    return re.search(rb'"resourceType"\s*:\s*"Bundle"', data[:4096]) is not None or b'"entry"' in data[:4096]


def _entry_spans(data: bytes | mmap.mmap) -> tuple[list[tuple[int, int]], tuple[int, int] | None]:
    """Return where the entries of a Bundle's text stand, and its entry array without the brackets; no parsing."""
    depth, inside, begun, spans = 0, False, 0, []
    opened = 0
    last_key = b""
    for token in _TOKEN.finditer(data):
        sign = data[token.start()]
        if sign == 0x22:  # a text
            if depth == 1:
                last_key = token[0]
        elif sign in b"{[":
            depth += 1
            if depth == 2 and sign == 0x5B and last_key == b'"entry"':
                inside, opened = True, token.start()
            elif inside and depth == 3:
                begun = token.start()
        else:
            depth -= 1
            if inside and depth == 2:
                spans.append((begun, token.end()))
            elif inside and depth == 1:
                return spans, (opened, token.start())
    return spans, (opened, len(data)) if inside else None


class _Spans:
    """Entries parsed each time they are asked for; those that do not parse are reported the first time round."""

    def __init__(self, files: FhirFiles, data: bytes | mmap.mmap, spans: list[tuple[int, int]], name: str) -> None:
        self._files, self._data, self._spans, self._name = files, data, spans, name
        self._first = True

    def __iter__(self) -> Iterator[Any]:
        for number, (start, end) in enumerate(self._spans, 1):
            try:
                yield orjson.loads(self._data[start:end])
            except orjson.JSONDecodeError as error:
                if self._first:
                    self._files.findings.add("invalid-json", self._name, f"{Where(self._name, number)}: {error}")
                yield {}
        self._first = False
