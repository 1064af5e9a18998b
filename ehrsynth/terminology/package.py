"""A vocabulary as a data package: a folder with ``datapackage.json`` and its tables, read when asked for.

What a package is for stands under ``ehrsynth`` in its descriptor: ``kind`` (code_system, value_set, concept_map or
identity), for a code system ``uri``, for a concept map ``source`` and ``target``. Everything else is Data Package 2.0.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from functools import cached_property
from importlib.resources.abc import Traversable
from typing import TYPE_CHECKING, Any

from ehrsynth.errors import ResourceError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["KINDS", "VocabularyPackage"]

KINDS = ("code_system", "value_set", "concept_map", "identity")
"""What a vocabulary can be; the folders under ``vocabularies/`` are their plurals."""


class VocabularyPackage:
    """One folder of data.

    Parameters
    ----------
    folder : Traversable
        A packaged folder or a `pathlib.Path` of the user's own.
    """

    def __init__(self, folder: Traversable) -> None:
        self.folder = folder
        try:
            self.descriptor: dict[str, Any] = json.loads(folder.joinpath("datapackage.json").read_bytes())
        except (OSError, ValueError) as error:
            raise ResourceError(
                f"Not a vocabulary: {error}", file=folder, hint="A vocabulary is a folder with a datapackage.json."
            ) from None
        ours = self.descriptor.get("ehrsynth", {})
        if ours.get("kind") not in KINDS or not self.descriptor.get("name"):
            raise ResourceError(
                "The descriptor does not say what vocabulary this is.",
                file=folder.joinpath("datapackage.json"),
                hint=f'It needs "name" and "ehrsynth": {{"kind": one of {", ".join(KINDS)}}}.',
            )
        self.kind: str = ours["kind"]
        self.name: str = self.descriptor["name"]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"

    @property
    def title(self) -> str:
        """What it is called."""
        return str(self.descriptor.get("title", self.name))

    @property
    def version(self) -> str:
        """Version of its source."""
        return str(self.descriptor.get("version", ""))

    @property
    def licences(self) -> list[str]:
        """Names of the licences it is under."""
        return [str(entry.get("name") or entry.get("title", "")) for entry in self.descriptor.get("licenses", [])]

    @property
    def licence(self) -> str:
        """Names of the licences it is under, separated by commas."""
        return ", ".join(self.licences)

    @property
    def properties(self) -> dict[str, Any]:
        """What the descriptor says under ``ehrsynth``: kind, uri, source, target..."""
        return dict(self.descriptor["ehrsynth"])

    @cached_property
    def _tables(self) -> dict[str, pa.Table]:
        return {}

    def _entry(self, resource: str) -> dict[str, Any]:
        for entry in self.descriptor.get("resources", []):
            if entry["name"] == resource:
                return dict(entry)
        raise ResourceError(f"The vocabulary has no resource {resource!r}.", file=self.folder)

    def read(self, resource: str) -> bytes:
        """Return the bytes of a resource, unpacked; the hash that the descriptor states, if any, is checked.

        Raises
        ------
        ResourceError
            It is missing or was altered.
        """
        entry = self._entry(resource)
        place = self.folder.joinpath(entry["path"])
        try:
            raw = place.read_bytes()
        except OSError as error:
            raise ResourceError(f"A table of a vocabulary cannot be read: {error}", file=place) from None
        stated = str(entry.get("hash", "")).removeprefix("sha256:")
        if stated and hashlib.sha256(raw).hexdigest() != stated:
            raise ResourceError("A table of a vocabulary was altered.", file=place, hint="Reinstall ehrsynth.")
        return gzip.decompress(raw) if entry["path"].endswith(".gz") else raw

    def table(self, resource: str) -> pa.Table:
        """Return a table of the package, typed by its schema; empty text is null. Read once.

        Raises
        ------
        ResourceError
            It is missing, was altered, or is not the table that its schema describes.
        """
        if resource not in self._tables:
            self._tables[resource] = _parse(self.read(resource), self._entry(resource), self.folder)
        return self._tables[resource]


def _parse(data: bytes, entry: dict[str, Any], folder: Traversable) -> pa.Table:
    import pyarrow as pa
    from pyarrow import csv

    from ehrsynth.schema.column import arrow_type

    fields = entry.get("schema", {}).get("fields", [])
    types = {field["name"]: arrow_type(field.get("type", "string")) for field in fields}
    try:
        return csv.read_csv(
            pa.BufferReader(data),
            # One thread: the tables are small and a pool of threads costs more to start than it saves.
            read_options=csv.ReadOptions(use_threads=False, block_size=max(len(data), 1)),
            parse_options=csv.ParseOptions(newlines_in_values=False),
            convert_options=csv.ConvertOptions(
                column_types=types,
                include_columns=list(types) or None,
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=True,
            ),
        )
    except (pa.ArrowInvalid, pa.ArrowKeyError) as error:
        raise ResourceError(
            f"Not the table its schema describes: {error}", file=folder.joinpath(entry["path"])
        ) from None
