"""A user's own download of the OHDSI vocabularies (Athena): CONCEPT.csv and CONCEPT_RELATIONSHIP.csv."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth.errors import UsageError

if TYPE_CHECKING:
    from ehrsynth.exporters.omop.concepts import Concept

__all__ = ["Athena"]

_COLUMNS = (
    "concept_id",
    "concept_name",
    "domain_id",
    "vocabulary_id",
    "concept_class_id",
    "standard_concept",
    "concept_code",
    "invalid_reason",
)
_FEW = ("domain_id", "vocabulary_id", "concept_class_id", "standard_concept", "invalid_reason")


class Athena:
    """A folder as Athena gives it: tables separated by tabs, without quotation marks.

    Concepts are held as columns and searched for what is asked; of the relationships only "Maps to" is kept.

    Parameters
    ----------
    folder : str or Path

    Raises
    ------
    UsageError
        There is no such folder, or no CONCEPT.csv and CONCEPT_RELATIONSHIP.csv in it, or they are other tables.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        names = {path.name.upper(): path for path in self.folder.iterdir()} if self.folder.is_dir() else {}
        missing = [name for name in ("CONCEPT.CSV", "CONCEPT_RELATIONSHIP.CSV") if name not in names]
        if missing:
            raise UsageError(
                "This is no download of Athena.",
                file=self.folder,
                hint="It holds CONCEPT.csv and CONCEPT_RELATIONSHIP.csv, unpacked.",
            )
        self._concept_file, self._relation_file = names["CONCEPT.CSV"], names["CONCEPT_RELATIONSHIP.CSV"]
        self._vocabulary_file = names.get("VOCABULARY.CSV")

    @cached_property
    def _concepts(self) -> pa.Table:
        types: dict[str, pa.DataType] = dict.fromkeys(_COLUMNS, pa.string())
        types |= dict.fromkeys(_FEW, pa.dictionary(pa.int32(), pa.string()))
        table = _read(self._concept_file, types | {"concept_id": pa.int64()})
        return table.unify_dictionaries().combine_chunks()

    @cached_property
    def _maps_to(self) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
        types = {"concept_id_1": pa.int64(), "concept_id_2": pa.int64(), "relationship_id": pa.string()}
        table = _read(self._relation_file, types | {"invalid_reason": pa.string()})
        kept = pc.and_(
            pc.equal(table["relationship_id"], "Maps to"),
            pc.equal(pc.fill_null(table["invalid_reason"], ""), ""),
        )
        table = table.filter(kept)
        return table["concept_id_1"], table["concept_id_2"]

    @property
    def version(self) -> str:
        """The version of the vocabularies, as VOCABULARY.csv states it; 20 characters at most."""
        if self._vocabulary_file is None:
            return "Athena"
        kinds = {"vocabulary_id": pa.string(), "vocabulary_version": pa.string()}
        table = _read(self._vocabulary_file, kinds)
        found = table.filter(pc.equal(table["vocabulary_id"], "None"))["vocabulary_version"].to_pylist()
        return str(found[0])[:20] if found and found[0] else "Athena"

    def targets(self, codes: Sequence[tuple[Sequence[str], str]]) -> list[tuple[int, int, str] | None]:
        """Return (own id, standard id or 0, its domain) of each code, given with the vocabularies it may be in."""
        wanted = pa.array(sorted({code for _, code in codes}), pa.string())
        rows = self._concepts.filter(pc.is_in(self._concepts["concept_code"], value_set=wanted)).to_pylist()
        own: dict[tuple[str, str], dict[str, object]] = {}
        for row in rows:
            own.setdefault((row["vocabulary_id"], row["concept_code"]), row)
        hits = [
            next((own[name, code] for name in vocabularies if (name, code) in own), None)
            for vocabularies, code in codes
        ]
        others = [int(str(hit["concept_id"])) for hit in hits if hit is not None and not _is_standard(hit)]
        one, two = self._maps_to
        asked = pc.is_in(one, value_set=pa.array(others, pa.int64()))
        leads: dict[int, int] = {}
        for source, target in sorted(zip(one.filter(asked).to_pylist(), two.filter(asked).to_pylist(), strict=True)):
            leads.setdefault(source, target)
        domains: dict[object, str] = {
            row["concept_id"]: str(row["domain_id"])
            for row in self._rows(sorted(set(leads.values())))
            if _is_standard(row)
        }
        found: list[tuple[int, int, str] | None] = []
        for hit in hits:
            if hit is None:
                found.append(None)
                continue
            key = int(str(hit["concept_id"]))
            standard = key if _is_standard(hit) else leads.get(key, 0)
            domain = str(hit["domain_id"]) if _is_standard(hit) else domains.get(standard, "")
            found.append((key, standard if domain else 0, domain))
        return found

    def _rows(self, concept_ids: Sequence[int]) -> list[dict[str, object]]:
        mask = pc.is_in(self._concepts["concept_id"], value_set=pa.array(concept_ids, pa.int64()))
        rows: list[dict[str, object]] = self._concepts.filter(mask).to_pylist()
        return rows

    def has(self, concept_id: int) -> bool:
        """Whether there is a concept with this id."""
        return int(pc.index(self._concepts["concept_id"], concept_id).as_py()) >= 0

    def concepts(self, concept_ids: Sequence[int]) -> dict[int, Concept]:
        """Return the rows of concepts by id."""
        from ehrsynth.exporters.omop.concepts import Concept

        found = {}
        for row in self._rows(concept_ids):
            key = int(str(row["concept_id"]))
            values = [row[name] for name in _COLUMNS[1:-1]]
            found[key] = Concept(key, *("" if value is None and at != 4 else value for at, value in enumerate(values)))  # type: ignore[arg-type]
        return found


def _is_standard(row: dict[str, object]) -> bool:
    return row["standard_concept"] == "S" and not row["invalid_reason"]


def _read(path: Path, types: dict[str, pa.DataType]) -> pa.Table:
    from pyarrow import csv

    try:
        return csv.read_csv(
            path,
            parse_options=csv.ParseOptions(delimiter="\t", quote_char=False),
            convert_options=csv.ConvertOptions(
                column_types=types, include_columns=list(types), null_values=[""], strings_can_be_null=True
            ),
        )
    except (pa.ArrowInvalid, pa.ArrowKeyError) as error:
        raise UsageError(
            f"Not a table of Athena: {error}", file=path, hint="Unpack the download again; do not open it in Excel."
        ) from None
