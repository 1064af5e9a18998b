"""The model package: one zip file (or a folder) of JSON documents and arrays, readable, hashed, without pickle.

::

    package.json      format, format number, ehrsynth version, sha256 of every other member
    model.json        title, provenance, disclosure: what a custodian reads first
    person.json       the Bayesian network      trajectory.json    the hidden Markov model
    calendar.json     families.json             measurements.json
    arrays/*.npy      numpy arrays, named as the documents refer to them

A life-course model has ``life_course.json`` in the place of trajectory, calendar, families and measurements.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
import zlib
from collections.abc import Mapping
from importlib.resources.abc import Traversable
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from ehrsynth.errors import ModelError, OutputError
from ehrsynth.model.arrays import array_bytes, array_of
from ehrsynth.model.documents import Arrays, from_document, to_document
from ehrsynth.model.life_course import LifeCourseModel
from ehrsynth.model.patient_model import PatientModel
from ehrsynth.provenance import versions

__all__ = ["FORMAT", "FORMAT_NUMBER", "load", "model_hash", "save"]

FORMAT = "ehrsynth-model"
FORMAT_NUMBER = 5
_DOCUMENTS = {
    "model.json": ("name", "title", "description", "licence", "provenance", "disclosure"),
    "person.json": ("person",),
    "calendar.json": ("calendar",),
    "trajectory.json": ("trajectory",),
    "families.json": ("families", "orders", "series"),
    "measurements.json": ("measurements",),
}
_LIFE_COURSE = "life_course.json"
_LIFE_COURSE_DOCUMENTS = {
    "model.json": ("name", "title", "description", "licence", "provenance", "disclosure"),
    "person.json": ("person",),
    _LIFE_COURSE: ("reference_date", "deceased_years", "listings", "arrays"),
}
_HASH = "_stored_sha256"
_LIMIT_BYTES = 4 << 30
# Zip members carry a fixed time: the same model gives the same bytes.
_EPOCH = (1980, 1, 1, 0, 0, 0)


def _members(model: PatientModel | LifeCourseModel) -> dict[str, bytes]:
    """Return the members of the package in order, ``package.json`` first."""
    arrays: Arrays = {}
    whole = to_document(model, arrays, "model")
    listed = _LIFE_COURSE_DOCUMENTS if isinstance(model, LifeCourseModel) else _DOCUMENTS
    members = {
        name: (json.dumps({key: whole[key] for key in keys}, indent=1, ensure_ascii=False) + "\n").encode()
        for name, keys in listed.items()
    }
    for name, array in arrays.items():
        members[f"arrays/{name.removeprefix('model.')}.npy"] = array_bytes(array)
    index = {
        "format": FORMAT,
        "format_number": FORMAT_NUMBER,
        "written_by": versions(),
        "members": {name: hashlib.sha256(data).hexdigest() for name, data in members.items()},
    }
    return {"package.json": (json.dumps(index, indent=1) + "\n").encode(), **members}


def model_hash(model: PatientModel | LifeCourseModel) -> str:
    """Return the SHA-256 of the model's content: documents and arrays, in whatever file they are.

    Of a model that was loaded and not changed since, those are the package's own bytes: they need not be written again.
    """
    stored = vars(model).get(_HASH)
    return stored if isinstance(stored, str) else _hash(_members(model))


def _hash(members: Mapping[str, bytes]) -> str:
    digest = hashlib.sha256()
    for name, data in members.items():
        if name != "package.json":
            digest.update(f"{name}\0{len(data)}\0".encode())
            digest.update(data)
    return digest.hexdigest()


def save(model: PatientModel | LifeCourseModel, path: Path) -> None:
    """Write `model` to `path`: into it if it is a folder, else to a zip file, which appears only when whole.

    Raises
    ------
    OutputError
        It cannot be written there.
    """
    members = _members(model)
    try:
        if path.is_dir():
            _write_folder(members, path)
        else:
            _write_zip(members, path)
    except OSError as error:
        raise OutputError(f"The model cannot be written: {error.strerror or error}.", file=path) from None


def _write_folder(members: Mapping[str, bytes], path: Path) -> None:
    for name, data in members.items():
        target = path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)


def _write_zip(members: Mapping[str, bytes], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.partial")
    try:
        with zipfile.ZipFile(part, "w", compression=zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
            for name, data in members.items():
                info = zipfile.ZipInfo(name, date_time=_EPOCH)
                info.compress_type = zipfile.ZIP_DEFLATED
                info.external_attr = 0o644 << 16
                archive.writestr(info, data)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def load(source: Path | Traversable) -> PatientModel | LifeCourseModel:
    """Read a model package from a zip file or a folder and check every hash.

    Raises
    ------
    ModelError
        No such file, not a package, truncated, altered, of a newer format, or a zip that climbs out of its folder.
    """
    members = _read_folder(source) if source.is_dir() else _read_zip(source)
    index = _index(members, source)
    arrays: Arrays = {}
    documents: dict[str, Any] = {}
    for name, stated in index["members"].items():
        if name not in members:
            raise ModelError(f"The package lacks {name}.", file=source, hint="Was it copied completely?")
        if hashlib.sha256(members[name]).hexdigest() != stated:
            raise ModelError(f"{name} was altered or damaged: its hash is not the stated one.", file=source)
        if name.startswith("arrays/"):
            arrays["model." + name.removeprefix("arrays/").removesuffix(".npy")] = _array(members[name], name, source)
    kind, listed = (LifeCourseModel, _LIFE_COURSE_DOCUMENTS) if _LIFE_COURSE in members else (PatientModel, _DOCUMENTS)
    for name, keys in listed.items():
        if name not in index["members"]:
            raise ModelError(f"The package lacks {name}.", file=source)
        content = json.loads(members[name])
        documents |= {key: content[key] for key in keys if key in content}
    try:
        model = from_document(kind, documents, arrays)
    except ModelError as error:
        raise ModelError(error.message, file=source) from None
    assert isinstance(model, PatientModel | LifeCourseModel)
    # No field: what is made of this model by replacing some is another one.
    object.__setattr__(model, _HASH, _hash({name: members[name] for name in index["members"]}))
    return model


def _index(members: Mapping[str, bytes], source: Path | Traversable) -> dict[str, Any]:
    not_ours = "This is not a model package of ehrsynth."
    if "package.json" not in members:
        raise ModelError(not_ours, file=source, hint="Make one with `ehrsynth learn`.")
    try:
        index = json.loads(members["package.json"])
        number, listed = index["format_number"], index["members"]
        if index["format"] != FORMAT or not isinstance(listed, dict) or not isinstance(number, int):
            raise ModelError(not_ours, file=source)
    except (ValueError, KeyError, TypeError):
        raise ModelError(not_ours, file=source) from None
    if number > FORMAT_NUMBER:
        raise ModelError(
            f"The package has format {number}; this ehrsynth reads up to {FORMAT_NUMBER}.",
            file=source,
            hint=f"It was written by ehrsynth {index.get('written_by', {}).get('ehrsynth', '?')}: upgrade ehrsynth.",
        )
    return dict(index)


def _array(data: bytes, name: str, source: Path | Traversable) -> np.ndarray[Any, Any]:
    try:
        return array_of(data)
    except (ValueError, EOFError, OSError):
        raise ModelError(f"{name} is not a numpy array.", file=source) from None


def _read_zip(source: Path | Traversable) -> dict[str, bytes]:
    if not source.is_file():
        raise ModelError(
            "There is no such model file.", file=source, hint="`ehrsynth models list` shows the shipped models."
        )
    members: dict[str, bytes] = {}
    total = 0
    try:
        with source.open("rb") as handle, zipfile.ZipFile(handle) as archive:
            for info in archive.infolist():
                where = PurePosixPath(info.filename)
                if where.is_absolute() or ".." in where.parts or "\\" in info.filename or ":" in info.filename:
                    raise ModelError(
                        f"The zip has a member that climbs out of its folder: {info.filename!r}.", file=source
                    )
                total += info.file_size
                if total > _LIMIT_BYTES:
                    raise ModelError("The zip unpacks to more than 4 GiB.", file=source)
                if not info.is_dir():
                    members[info.filename] = archive.read(info)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, zlib.error) as error:
        raise ModelError(
            f"The file is not a whole zip: {error}.", file=source, hint="It may be truncated; copy or learn it again."
        ) from None
    except OSError as error:
        raise ModelError(f"The file cannot be read: {error.strerror or error}.", file=source) from None
    return members


def _read_folder(source: Path | Traversable) -> dict[str, bytes]:
    members = {
        item.name: item.read_bytes() for item in source.iterdir() if item.is_file() and item.name.endswith(".json")
    }
    arrays = source.joinpath("arrays")
    if arrays.is_dir():
        members |= {f"arrays/{item.name}": item.read_bytes() for item in arrays.iterdir() if item.name.endswith(".npy")}
    return members
