"""The one door to packaged data: domain models, vocabularies, output schemas."""

from __future__ import annotations

import gzip
import hashlib
import json
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

from ehrsynth.errors import ResourceError

__all__ = ["folder", "list_folders", "read_bytes", "read_json", "read_package"]

_HOUSES = ("domain_models", "vocabularies", "output_schemas")


def folder(path: str) -> Traversable:
    """Return the packaged folder or file `path`, e.g. ``vocabularies/code_systems/cvx``.

    Raises
    ------
    ResourceError
        It is not there: the installation is broken.
    """
    house, *rest = path.split("/")
    if house not in _HOUSES:
        raise ResourceError(f"No packaged data under {house!r}.", hint=f"Known: {', '.join(_HOUSES)}.")
    found: Traversable = files(f"ehrsynth.{house}").joinpath(*rest)
    if not (found.is_dir() or found.is_file()):
        raise ResourceError("Packaged data is missing.", file=path, hint="Reinstall ehrsynth.")
    return found


def list_folders(path: str) -> list[str]:
    """Return the sorted names of the folders inside the packaged folder `path`."""
    return sorted(
        item.name for item in folder(path).iterdir() if item.is_dir() and not item.name.startswith(("_", "."))
    )


def read_bytes(path: str, *, sha256: str | None = None) -> bytes:
    """Return the bytes of a packaged file (``.gz`` is unpacked); `sha256` of the stored bytes is checked if given."""
    raw = folder(path).read_bytes()
    if sha256 is not None and hashlib.sha256(raw).hexdigest() != sha256:
        raise ResourceError("Packaged data was altered.", file=path, hint="Reinstall ehrsynth.")
    return gzip.decompress(raw) if path.endswith(".gz") else raw


def read_json(path: str) -> Any:
    """Return a packaged JSON document."""
    return json.loads(read_bytes(path))


def read_package(path: str, resource: str) -> bytes:
    """Return the bytes of the resource named `resource` of the data package (``datapackage.json``) in folder `path`.

    The hash that the package's descriptor states (``"hash": "sha256:..."``) is checked.
    """
    descriptor = read_json(f"{path}/datapackage.json")
    for entry in descriptor["resources"]:
        if entry["name"] == resource:
            stated = entry.get("hash", "")
            return read_bytes(f"{path}/{entry['path']}", sha256=stated.removeprefix("sha256:") or None)
    raise ResourceError(f"The data package has no resource {resource!r}.", file=path)
