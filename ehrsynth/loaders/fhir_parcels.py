"""What is sent to a server, in which order: Bundles, or batches of lines; what is referred to goes first."""

from __future__ import annotations

import gzip
import hashlib
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson

from ehrsynth.errors import SourceError, UsageError

__all__ = ["BATCH_SIZE", "METHODS", "Message", "Parcel", "Stage", "plan"]

BATCH_SIZE = 100
"""Resources of NDJSON that are sent together."""

METHODS = ("put", "post")

_LARGEST = 256 << 20
_SIDE_FILES = frozenset(("manifest.json", "datapackage.json", "package.json", "log.ndjson"))
_ORDER = (
    *("Organization", "Location", "Practitioner", "PractitionerRole", "HealthcareService", "Medication", "Patient"),
    *("RelatedPerson", "Coverage", "Device", "Encounter", "CareTeam", "Condition", "AllergyIntolerance", "Specimen"),
    *("ServiceRequest", "Procedure", "Observation", "Immunization", "MedicationRequest", "MedicationDispense"),
    *("MedicationAdministration", "DiagnosticReport", "DocumentReference", "Goal", "CarePlan", "Claim"),
    "ExplanationOfBenefit",
)
_RANK = {kind: place for place, kind in enumerate(_ORDER)}


@dataclass(frozen=True, kw_only=True)
class Message:
    """A Bundle to POST.

    Attributes
    ----------
    entries : list of dict
    kind : str
        ``transaction`` (all or nothing) or ``batch`` (each for itself).
    repeatable : bool
        Whether sending it twice makes nothing twice: every entry is PUT by id, or created only if it is not there.
    patient : str
        Search that finds the patient of the Bundle, empty if there is none: in a transaction, if the patient is there,
        all of it is.
    """

    entries: list[dict[str, Any]]
    kind: str
    repeatable: bool
    patient: str = ""

    def body(self, entries: list[dict[str, Any]] | None = None) -> bytes:
        """Return the Bundle as JSON, of some of the entries."""
        return orjson.dumps({"resourceType": "Bundle", "type": self.kind, "entry": entries or self.entries})


@dataclass(frozen=True, kw_only=True)
class Parcel:
    """Something to send: a file, or some lines of one; read and made into a message by whoever sends it."""

    name: str
    path: Path
    method: str
    lines: tuple[bytes, ...] = ()

    def open(self) -> tuple[str, Message]:
        """Return a digest of the bytes, and the message.

        Raises
        ------
        SourceError
            It is no JSON, no Bundle, a resource has no id, or the Bundle is too large to be sent as one.
        """
        if not self.lines:
            data = _whole(self.path, self.name)
            return _digest(data, self.method), _message(_parsed(data, self.name), self.name, self.method)
        resources = [_parsed(line, self.name) for line in self.lines]
        entries = [_put(resource, self.name) for resource in resources]
        return _digest(b"\n".join(self.lines), "put"), Message(entries=entries, kind="batch", repeatable=True)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Parcels that can be sent in any order, when all before them are there."""

    name: str
    files: tuple[Path, ...]
    count: int
    is_lines: bool
    method: str
    root: Path

    def parcels(self) -> Iterator[Parcel]:
        """Yield the parcels, reading lines as they are needed."""
        for path in self.files:
            name = path.relative_to(self.root).as_posix()
            if not self.is_lines:
                yield Parcel(name=name, path=path, method=self.method)
                continue
            for start, lines in _batches(path, name):
                yield Parcel(name=f"{name}:{start}", path=path, method="put", lines=lines)


def plan(source: Path, *, method: str = "put") -> list[Stage]:
    """Return what is to be sent, in stages.

    Bundles without a patient come first, one after the other by name, then those with one. Lines are sent by type.

    Raises
    ------
    SourceError
        Nothing is there to send, or a file cannot be read.
    UsageError
        `source` holds both Bundles and NDJSON, or `method` is unknown.
    """
    if method not in METHODS:
        raise UsageError(f"There is no method {method!r}.", hint=f"One of: {', '.join(METHODS)}.")
    if not source.exists():
        raise SourceError("There is no such folder.", file=source, hint="Check the path.")
    root = source if source.is_dir() else source.parent
    found = sorted(path for path in source.rglob("*") if path.is_file()) if source.is_dir() else [source]
    visible = [p for p in found if p.name not in _SIDE_FILES and not p.name.startswith((".", "_"))]
    lines = [path for path in visible if _stem(path).endswith((".ndjson", ".jsonl"))]
    bundles = [path for path in visible if _stem(path).endswith(".json")]
    if lines and bundles:
        raise UsageError(
            f"{source} holds both Bundles and NDJSON.", hint="Name the folder of one: they are the same patients."
        )
    if not lines and not bundles:
        raise SourceError("There is no FHIR to load.", file=source, hint="It should hold Bundles (.json) or .ndjson.")
    return _line_stages(lines, root) if lines else _bundle_stages(bundles, root, method)


def _bundle_stages(files: list[Path], root: Path, method: str) -> list[Stage]:
    patients = {path for path in files if _has_patient(path)}
    groups: list[tuple[Path, ...]] = [(path,) for path in files if path not in patients]
    if patients:
        groups.append(tuple(path for path in files if path in patients))
    return [
        Stage(name=group[0].name, files=group, count=len(group), is_lines=False, method=method, root=root)
        for group in groups
    ]


def _line_stages(files: list[Path], root: Path) -> list[Stage]:
    kinds: dict[str, list[Path]] = {}
    counts: dict[str, int] = {}
    for path in files:
        kind, count = _survey(path, path.relative_to(root).as_posix())
        if count:
            kinds.setdefault(kind, []).append(path)
            counts[kind] = counts.get(kind, 0) + -(-count // BATCH_SIZE)
    ordered = sorted(kinds, key=lambda kind: (_RANK.get(kind, len(_RANK)), kind))
    return [
        Stage(name=kind, files=tuple(kinds[kind]), count=counts[kind], is_lines=True, method="put", root=root)
        for kind in ordered
    ]


def _stem(path: Path) -> str:
    return path.name.lower().removesuffix(".gz")


def _open_lines(path: Path, name: str) -> Iterator[bytes]:
    try:
        opener = gzip.open if path.name.lower().endswith(".gz") else open
        with opener(path, "rb") as handle:
            yield from (line for line in handle if not line.isspace())
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise SourceError(f"The gzip file is cut off or damaged ({error}).", file=name) from None
    except OSError as error:
        raise SourceError(f"The file cannot be read: {error.strerror or error}.", file=name) from None


def _survey(path: Path, name: str) -> tuple[str, int]:
    """The resource type of a file's first line, and how many lines it has."""
    kind, count = "", 0
    for line in _open_lines(path, name):
        if not count:
            kind = str(_parsed(line, f"{name}:1").get("resourceType"))
        count += 1
    return kind, count


def _batches(path: Path, name: str) -> Iterator[tuple[int, tuple[bytes, ...]]]:
    waiting: list[bytes] = []
    start = 1
    for number, line in enumerate(_open_lines(path, name), 1):
        waiting.append(line)
        if len(waiting) == BATCH_SIZE:
            yield start, tuple(waiting)
            waiting, start = [], number + 1
    if waiting:
        yield start, tuple(waiting)


def _whole(path: Path, name: str) -> bytes:
    return b"".join(_pieces(path, name))


def _pieces(path: Path, name: str) -> Iterator[bytes]:
    size = 0
    for line in _open_lines(path, name):
        size += len(line)
        if size > _LARGEST:
            raise SourceError(
                f"The Bundle has more than {_LARGEST >> 20} MiB: no server takes that in one request.",
                file=name,
                hint="Export it as NDJSON, or one Bundle per patient.",
            )
        yield line


def _has_patient(path: Path) -> bool:
    tail = b""
    for line in _open_lines(path, path.name):
        if re.search(rb'"resourceType"\s*:\s*"Patient"', tail + line):
            return True
        tail = line[-40:]
    return False


def _digest(data: bytes, method: str) -> str:
    return hashlib.blake2b(data, digest_size=12, key=method.encode()).hexdigest()


def _parsed(data: bytes, name: str) -> dict[str, Any]:
    try:
        found = orjson.loads(data.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError as error:
        raise SourceError(f"This is not JSON: {error}.", file=name) from None
    if type(found) is not dict:
        raise SourceError("This is JSON, but no resource.", file=name)
    return found


def _message(bundle: dict[str, Any], name: str, method: str) -> Message:
    if bundle.get("resourceType") != "Bundle":
        return Message(entries=[_put(bundle, name)], kind="transaction", repeatable=True)
    given = bundle.get("entry")
    entries = [entry for entry in given if type(entry) is dict] if type(given) is list else []
    if bundle.get("type") in ("transaction", "batch"):
        kind = str(bundle["type"])
        if method == "put":
            entries = [_put_entry(entry) for entry in entries]
    else:
        kind = "transaction"
        entries = [
            {**_put(entry["resource"], name), **({"fullUrl": entry["fullUrl"]} if "fullUrl" in entry else {})}
            for entry in entries
            if type(entry.get("resource")) is dict and entry["resource"].get("resourceType") != "OperationOutcome"
        ]
    if not entries:
        raise SourceError("The Bundle is empty.", file=name)
    repeatable = all(_is_repeatable(entry.get("request")) for entry in entries)
    return Message(entries=entries, kind=kind, repeatable=repeatable, patient=_patient_search(entries))


def _put(resource: dict[str, Any], name: str) -> dict[str, Any]:
    kind, ident = resource.get("resourceType"), resource.get("id")
    if type(kind) is not str or type(ident) is not str or not ident:
        raise SourceError(f"A {kind} has no id: it cannot be loaded under one.", file=name)
    return {"resource": resource, "request": {"method": "PUT", "url": f"{kind}/{ident}"}}


def _put_entry(entry: dict[str, Any]) -> dict[str, Any]:
    """An entry that creates made one that puts under the resource's own id; others as they are."""
    request, resource = entry.get("request"), entry.get("resource")
    if type(request) is not dict or type(resource) is not dict or request.get("method") != "POST":
        return entry
    kind, ident = resource.get("resourceType"), resource.get("id")
    if type(kind) is not str or type(ident) is not str or not ident:
        return entry
    return {**entry, "request": {"method": "PUT", "url": f"{kind}/{ident}"}}


def _is_repeatable(request: Any) -> bool:
    if type(request) is not dict:
        return False
    return request.get("method") in ("PUT", "GET", "HEAD", "DELETE") or bool(request.get("ifNoneExist"))


def _patient_search(entries: list[dict[str, Any]]) -> str:
    for entry in entries:
        resource = entry.get("resource")
        if type(resource) is not dict or resource.get("resourceType") != "Patient":
            continue
        identifiers = resource.get("identifier")
        for identifier in identifiers if type(identifiers) is list else ():
            if type(identifier) is dict and identifier.get("system") and identifier.get("value"):
                token = quote(f"{identifier['system']}|{identifier['value']}", safe="")
                return f"Patient?identifier={token}&_summary=count"
    return ""
