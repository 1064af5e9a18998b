"""Rebuild ``omop_cdm_5.4`` from the CSV files that OHDSI publishes.

    python -m ehrsynth.output_schemas.omop_cdm LIBRARIES [INTO]

LIBRARIES holds ``CommonDataModel/inst/csv`` and ``DataQualityDashboard/inst/csv`` of OHDSI (Apache-2.0), as the folder
``riab/libs`` of the package rabbit-in-a-blender does (``pip download --no-deps rabbit-in-a-blender==0.0.74``). Facts
only are taken: no guidance, no names of concepts.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

__all__ = ["build", "main"]

HERE = Path(__file__).parent / "omop_cdm_5.4"
Row = Mapping[str, str]

# Checks of fields that need more than a threshold: the column of the published list that says what.
_VALUES = {
    "fkDomain": "fkDomain",
    "fkClass": "fkClass",
    "isForeignKey": "fkTableName",
    "sourceValueCompleteness": "standardConceptFieldName",
    "plausibleStartBeforeEnd": "plausibleStartBeforeEndFieldName",
    "plausibleValueLow": "plausibleValueLow",
    "plausibleValueHigh": "plausibleValueHigh",
}
_PLAIN = (
    "isRequired",
    "cdmDatatype",
    "isPrimaryKey",
    "isForeignKey",
    "fkDomain",
    "fkClass",
    "isStandardValidConcept",
    "measureValueCompleteness",
    "standardConceptRecordCompleteness",
    "sourceConceptRecordCompleteness",
    "sourceValueCompleteness",
    "plausibleValueLow",
    "plausibleValueHigh",
    "plausibleTemporalAfter",
    "plausibleDuringLife",
    "plausibleStartBeforeEnd",
    "plausibleAfterBirth",
    "plausibleBeforeDeath",
    "withinVisitDates",
)
_CONCEPT = (
    "plausibleGender",
    "plausibleGenderUseDescendants",
    "plausibleUnitConceptIds",
    "plausibleValueLow",
    "plausibleValueHigh",
)


def _read(path: Path) -> list[Row]:
    with path.open(encoding="utf-8-sig", newline="") as handle:
        rows = csv.DictReader(handle)
        return [
            {(name or "").strip(): (text or "").strip() for name, text in row.items() if isinstance(text, str)}
            for row in rows
        ]


def _fields(rows: Iterable[Row]) -> Iterator[Sequence[str]]:
    for row in rows:
        yield (
            row["cdmTableName"].lower(),
            row["cdmFieldName"].strip('"').lower(),
            _boolean(row["isRequired"]),
            row["cdmDatatype"].lower(),
            _boolean(row["isPrimaryKey"]),
            row["fkTableName"].lower(),
            row["fkFieldName"].lower(),
            row["fkDomain"],
            row["fkClass"],
        )


def _boolean(text: str) -> str:
    return "true" if text.lower() in ("yes", "true") else "false"


def _table_checks(rows: Iterable[Row]) -> Iterator[Sequence[str]]:
    for row in rows:
        table = row["cdmTableName"].lower()
        required = "required" if row["isRequired"] == "Yes" else ""
        yield ("cdmTable", table, "", "0", required, "", "")
        for check in ("measurePersonCompleteness", "measureConditionEraCompleteness"):
            if row[check] == "Yes":
                yield (check, table, "", row[f"{check}Threshold"], "", "", "")


def _field_checks(rows: Iterable[Row]) -> Iterator[Sequence[str]]:
    for row in rows:
        table, field = row["cdmTableName"].lower(), row["cdmFieldName"].strip('"').lower()
        yield ("cdmField", table, field, "0", "", "", "")
        for check in _PLAIN:
            said = row[check]
            # The published list checks the type of integers only.
            asked = said.lower() == "integer" if check == "cdmDatatype" else said not in ("", "No")
            if not asked:
                continue
            value = row[_VALUES[check]] if check in _VALUES else ""
            if check == "plausibleTemporalAfter":
                value = f"{row['plausibleTemporalAfterTableName']}.{row['plausibleTemporalAfterFieldName']}"
            if not check.startswith("fk") and not value.startswith(("DATEADD", "YEAR")):
                value = value.lower()
            yield (check, table, field, row[f"{check}Threshold"] or "0", value.strip("'"), "", "")


def _concept_checks(rows: Iterable[Row]) -> Iterator[Sequence[str]]:
    for row in rows:
        for check in _CONCEPT:
            if row[check]:
                yield (
                    check,
                    row["cdmTableName"].lower(),
                    row["cdmFieldName"].lower(),
                    row[f"{check}Threshold"],
                    re.sub(r"\s", "", row[check]),
                    re.sub(r"\s", "", row["conceptId"]),
                    row["unitConceptId"] if check.startswith("plausibleValue") else "",
                )


def _descriptions(rows: Iterable[Row]) -> Iterator[Sequence[str]]:
    for row in rows:
        yield (row["checkName"], row["checkLevel"], row["kahnContext"], row["kahnCategory"], row["severity"])


def build(libraries: Path, into: Path = HERE) -> None:
    """Write the tables of the data package and bring its hashes up to date."""
    model = libraries / "CommonDataModel" / "inst" / "csv"
    dashboard = libraries / "DataQualityDashboard" / "inst" / "csv"
    checks = [
        *_table_checks(_read(dashboard / "OMOP_CDMv5.4_Table_Level.csv")),
        *_field_checks(_read(dashboard / "OMOP_CDMv5.4_Field_Level.csv")),
        *_concept_checks(_read(dashboard / "OMOP_CDMv5.4_Concept_Level.csv")),
    ]
    tables: dict[str, Sequence[Sequence[str]]] = {
        "tables": [
            (row["cdmTableName"].lower(), row["schema"].lower(), _boolean(row["isRequired"]))
            for row in _read(model / "OMOP_CDMv5.4_Table_Level.csv")
        ],
        "fields": list(_fields(_read(model / "OMOP_CDMv5.4_Field_Level.csv"))),
        "checks": list(dict.fromkeys(checks)),
        "kinds": list(_descriptions(_read(dashboard / "OMOP_CDMv5.4_Check_Descriptions.csv"))),
    }
    descriptor = json.loads((HERE / "datapackage.json").read_bytes())
    for resource in descriptor["resources"]:
        path = into / resource["path"]
        names = [field["name"] for field in resource["schema"]["fields"]]
        with path.open("w", encoding="utf-8", newline="") as handle:
            writer = csv.writer(handle, lineterminator="\n")
            writer.writerow(names)
            writer.writerows(tables[resource["name"]])
        data = path.read_bytes()
        resource["bytes"] = len(data)
        resource["hash"] = f"sha256:{hashlib.sha256(data).hexdigest()}"
    (into / "datapackage.json").write_text(json.dumps(descriptor, indent=1, ensure_ascii=False) + "\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    build(Path(given[0]), *(Path(one) for one in given[1:2]))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
