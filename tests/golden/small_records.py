"""Twenty hand-made patients: every table, every optional column present and absent, awkward text, coarse dates, deaths.

They are clean (keys hold, dates lie within lives and encounters, codes are possible for sex and age), so that whoever
tests a check can break one thing and whoever tests a writer can expect no finding. Codes and units are real; people,
places and numbers belong to nobody. Other tests get them through the fixture ``small_records``.
"""

from __future__ import annotations

import importlib.util
import sys
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from ehrsynth.provenance import Provenance
from ehrsynth.randomness import identifiers, stream
from ehrsynth.records import Records
from ehrsynth.schema import clinical

__all__ = ["AWKWARD", "N_PATIENTS", "replicate", "small_records", "split"]

N_PATIENTS = 20
SEED = 20


def _sibling(name: str) -> Any:
    # Tests are no package: pytest imports them by file, and so do we.
    known = f"ehrsynth_tests_golden_{name}"
    if known not in sys.modules:
        spec = importlib.util.spec_from_file_location(known, Path(__file__).with_name(f"{name}.py"))
        assert spec is not None
        assert spec.loader is not None
        sys.modules[known] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[known])
    return sys.modules[known]


clinical_rows = _sibling("small_clinical")

AWKWARD = (
    'O"Brien',
    "Núñez Ünal",
    "back\\slash",
    "comma, and ; semicolon",
    "two\nlines",
    "tab\there",
    "李小龍",
    "smile 😀 end",
    "a\u2028b",
    " lead and trail ".strip() + "\u00a0x",
    "<b>&amp;</b>",
    "=1+1",
    "'single'",
)
"""Text that a careless writer breaks on; none starts or ends with white space, which FHIR forbids."""


def npi(number: int) -> str:
    """Return a ten-digit identifier with the check digit of the NPI (Luhn over 80840 and nine digits)."""
    base = f"{number:09d}"
    total = sum(
        sum(divmod(int(digit) * (2 if place % 2 == 0 else 1), 10))
        for place, digit in enumerate(reversed("80840" + base))
    )
    return base + str(-total % 10)


class _Maker:
    """Collects rows and hands out keys and awkward texts in turn."""

    def __init__(self) -> None:
        self.rows: dict[str, list[dict[str, Any]]] = {table.name: [] for table in clinical().tables}
        self.ids = {table.name: iter(identifiers(SEED, table.name, 0, 4000).tolist()) for table in clinical().tables}
        self.panels = iter(identifiers(SEED, "panel", 0, 400).tolist())
        self.random = stream(SEED, "small-records")
        self.texts = 0

    def pick(self, choices: Any) -> Any:
        return choices[int(self.random.integers(len(choices)))]

    def awkward(self) -> str:
        self.texts += 1
        return AWKWARD[self.texts % len(AWKWARD)]

    def add(self, table: str, required: dict[str, Any], optional: dict[str, Any] | None = None) -> str:
        """Add a row and return its key: the first of a table is full, the second bare, later ones in between."""
        number, optional = len(self.rows[table]), optional or {}
        # System, code and display of one coding come or go together.
        groups = {
            name: name.rsplit("_", 1)[0] if name.rsplit("_", 1)[0] + "_system" in optional else name
            for name in optional
        }
        there = {
            group: number == 0 or (number != 1 and self.random.random() < 0.65)
            for group in dict.fromkeys(groups.values())
        }
        kept = {name: value for name, value in optional.items() if there[groups[name]]}
        key = next(self.ids[table])
        self.rows[table].append({clinical()[table].primary_key: key, **required, **kept})
        return key


def _address(maker: _Maker, number: int) -> dict[str, Any]:
    return {
        "address_line": f"{100 + number} {maker.awkward()} Street",
        "city": maker.pick(["Boston", "Saint-Étienne", "Springfield"]),
        "state": maker.pick(["MA", "NY", "PR"]),
        "postal_code": maker.pick(["02115", "10001-0001"]),
        "country": "US",
    }


def _shared(maker: _Maker) -> dict[str, list[str]]:
    keys: dict[str, list[str]] = {"organization": [], "practitioner": [], "location": [], "payer": []}
    for n in range(4):
        keys["organization"].append(
            maker.add(
                "organization",
                {"name": f"Clinic {maker.awkward()}"},
                {
                    "organization_type_code": "prov",
                    "npi": npi(299999900 + n),
                    "phone": f"555-010{n}",
                    **_address(maker, n),
                },
            )
        )
    for n in range(5):
        keys["practitioner"].append(
            maker.add(
                "practitioner",
                {"family_name": maker.awkward()},
                {
                    "npi": npi(199999900 + n),
                    "name_prefix": "Dr.",
                    "given_name": maker.awkward(),
                    "sex": maker.pick(["male", "female", "other", "unknown"]),
                    "specialty_code": "207Q00000X",
                    "specialty_display": "Family Medicine Physician",
                    "organization_id": maker.pick(keys["organization"]),
                    "phone": f"555-011{n}",
                    "email": f"practitioner{n}@example.org",
                },
            )
        )
    for n in range(3):
        keys["location"].append(
            maker.add(
                "location",
                {"name": f"Ward {maker.awkward()}"},
                {
                    "location_type_code": maker.pick(["HOSP", "ER", "OF"]),
                    "organization_id": keys["organization"][n],
                    "phone": f"555-012{n}",
                    **_address(maker, n),
                },
            )
        )
    for n in range(3):
        keys["payer"].append(
            maker.add(
                "payer",
                {"name": f"Payer {maker.awkward()}"},
                {"payer_type_code": maker.pick(["1", "2", "5"]), "phone": f"555-013{n}", **_address(maker, n)},
            )
        )
    return keys


def _patient(maker: _Maker, n: int, keys: dict[str, list[str]]) -> tuple[str, dict[str, Any]]:
    birth_precision = ("day", None, "month", "year")[n % 4]
    birth = date(
        1940 + 3 * n, 1 if birth_precision == "year" else 1 + n % 12, 1 if birth_precision in ("year", "month") else 14
    )
    sex = ("female", "male", "other", "unknown")[n % 4] if n < 8 else ("female", "male")[n % 2]
    optional = {
        "birth_sex": {"female": "F", "male": "M"}.get(sex, "UNK"),
        "race_code": ("2106-3", "2054-5", "2028-9", "1002-5", "2076-8", "2131-1")[n % 6],
        "ethnicity_code": ("2186-5", "2135-2")[n % 2],
        "marital_status_code": ("M", "S", "D", "W", "UNK")[n % 5],
        "language_code": ("en-US", "es", "zh")[n % 3],
        "record_start_date": date(2015, 1, 1),
        "record_end_date": date(2020, 12, 31) if n % 5 else None,
        "name_prefix": maker.pick(["Mr.", "Ms.", "Dr."]),
        "given_name": maker.awkward(),
        "middle_name": maker.awkward(),
        "family_name": maker.awkward(),
        "maiden_name": maker.awkward(),
        **_address(maker, n),
        "phone": f"555-01{40 + n}",
        "email": f"patient{n}@example.org",
        "medical_record_number": f"MRN-{n:04d}",
        "social_security_number": f"999-{10 + n}-{1000 + n}",
        "organization_id": maker.pick(keys["organization"]),
        "practitioner_id": maker.pick(keys["practitioner"]),
    }
    death: dict[str, Any] = {}
    if n in (0, 3, 7, 11):
        death = {"death_datetime": datetime(2021, 2, n + 1), "death_precision": "day"}
        if n != 3:
            death = {
                "death_datetime": datetime(2021, 2, n + 1, 4, 5),
                "death_precision": ("second", None, "minute")[n % 3],
            }
        death |= clinical_rows.coded(
            "cause_of_death", clinical_rows.ICD10, "I21.9", "Acute myocardial infarction, unspecified"
        )
    required = {
        "birth_date": birth,
        "sex": sex,
        **({"birth_date_precision": birth_precision} if birth_precision else {}),
    }
    return maker.add("patient", {**required, **death}, optional), {"sex": sex, "birth": birth, "alive": not death}


def small_records() -> Records:
    """Return the twenty patients; the same on every call."""
    maker = _Maker()
    keys = _shared(maker)
    for n in range(N_PATIENTS):
        patient, who = _patient(maker, n, keys)
        cover = maker.add(
            "coverage",
            {"patient_id": patient, "payer_id": keys["payer"][n % 3]},
            {
                "member_id": f"M-{n:05d}",
                "status": maker.pick(["active", "cancelled"]),
                "relationship_code": maker.pick(["self", "child", "spouse"]),
                "start_date": date(2014, 1, 1),
                "end_date": date(2020, 12, 31),
            },
        )
        # One patient has never been anywhere.
        for k in range(0 if n == 9 else 1 + n % 3):
            clinical_rows.visit(maker, n, patient, who, keys, cover, k)
        if n % 2:
            clinical_rows.allergy(maker, n, patient, keys)
    tables = {
        table.name: pa.Table.from_pylist(maker.rows[table.name], schema=table.arrow) for table in clinical().tables
    }
    provenance = Provenance(
        source="twenty hand-made patients",
        source_format="ehrsynth",
        licence="Apache-2.0",
        synthetic=True,
        details={"seed": SEED, "generated_at": "2024-01-01T00:00:00Z"},
    )
    return Records.from_tables(tables, provenance=provenance)


def split(records: Records) -> tuple[Records, Records]:
    """Return the (block, shared) that an exporter's `encode` is given: patients' tables only, shared tables only."""
    empty = {table.name: table.arrow.empty_table() for table in records.schema.tables}
    block = {t.name: empty[t.name] if t.shared else records[t.name] for t in records.schema.tables}
    shared = {t.name: records[t.name] if t.shared else empty[t.name] for t in records.schema.tables}
    return tuple(Records(tables=half, schema=records.schema, provenance=records.provenance) for half in (block, shared))  # type: ignore[return-value]


def replicate(records: Records, times: int) -> Records:
    """Return `times` copies of every patient under new keys, the shared tables once: for measuring speed."""
    tables = {}
    for table in records.schema.tables:
        rows = records[table.name]
        if table.shared:
            tables[table.name] = rows
            continue
        own = {
            table.primary_key,
            "panel_id",
            *(k.column for k in table.foreign_keys if not records.schema[k.reference_table].shared),
        }
        copies = []
        for copy in range(times):
            renamed = rows
            for name in own & set(rows.column_names):
                position = rows.column_names.index(name)
                renamed = renamed.set_column(position, name, _renamed(rows[name], copy))
            copies.append(renamed)
        # Copies of a patient stay together with nothing else's: sorted by patient, as records are.
        tables[table.name] = pa.concat_tables(copies).unify_dictionaries().combine_chunks()
    return Records(tables=tables, schema=records.schema, provenance=records.provenance)


def _renamed(values: pa.ChunkedArray, copy: int) -> pa.ChunkedArray:
    texts = [None if text is None else f"{text[:28]}{copy:08x}" for text in values.to_pylist()]
    return pa.chunked_array([pa.array(texts, pa.string())])
