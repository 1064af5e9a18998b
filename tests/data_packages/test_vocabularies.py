"""The vocabularies as data packages: described, licensed, sealed by hashes, sound, and rebuilt from their sources."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest
from ehrsynth.vocabularies import build

from ehrsynth.terminology import library, ucum

ROOT = Path(__file__).parents[2] / "vocabularies"
FOLDERS = sorted(path.parent for path in ROOT.glob("*/*/datapackage.json"))
HOUSES = {
    "code_system": "code_systems",
    "value_set": "value_sets",
    "concept_map": "concept_maps",
    "identity": "identity",
}


def descriptor(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "datapackage.json").read_text())
    return found


def unpacked(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def rows(folder: Path, resource: str) -> list[dict[str, str]]:
    entry = next(entry for entry in descriptor(folder)["resources"] if entry["name"] == resource)
    return list(csv.DictReader(io.StringIO(unpacked(folder / entry["path"]).decode(), newline="")))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: f"{folder.parent.name}/{folder.name}")
def test_a_package_says_what_it_is_and_whence(folder: Path) -> None:
    found = descriptor(folder)
    assert found["name"] == folder.name
    assert folder.parent.name == HOUSES[found["ehrsynth"]["kind"]]
    for key in ("title", "version", "description"):
        assert found[key].strip()
    assert all(entry["title"] and entry["path"] for entry in found["sources"])
    assert found["sources"]
    assert found["licenses"]
    assert all(entry.get("name") for entry in found["licenses"])
    assert not re.search(r"/work/|/home/|/tmp/|\\", json.dumps(found["sources"]))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: f"{folder.parent.name}/{folder.name}")
def test_a_package_holds_what_it_states(folder: Path) -> None:
    found = descriptor(folder)
    assert {entry["path"] for entry in found["resources"]} | {"datapackage.json"} == {
        path.name for path in folder.iterdir()
    }
    for entry in found["resources"]:
        raw = (folder / entry["path"]).read_bytes()
        assert entry["hash"] == f"sha256:{hashlib.sha256(raw).hexdigest()}"
        assert entry["bytes"] == len(raw)
        if entry["path"].endswith(".gz"):
            # No name and no time in the header: the bytes depend on the rows alone.
            assert raw[3:8] == bytes(5)
        if "schema" not in entry:
            continue
        fields = entry["schema"]["fields"]
        table = rows(folder, entry["name"])
        assert table
        assert list(table[0]) == [field["name"] for field in fields]
        for field in fields:
            values = [row[field["name"]] for row in table]
            limits = field.get("constraints", {})
            if limits.get("required"):
                assert all(values), field["name"]
            if limits.get("unique"):
                assert len(set(values)) == len(values), field["name"]
            if "enum" in limits:
                assert set(values) - {""} <= set(limits["enum"]), field["name"]
            if field.get("type") in ("number", "integer"):
                assert all(float(value) >= 0 for value in values if value), field["name"]
            if field.get("type") == "boolean":
                assert set(values) <= {"true", "false", ""}, field["name"]


def test_every_package_is_in_the_library_and_every_table_can_be_read() -> None:
    packages = library.packages()
    assert [one.name for one in packages] == [
        folder.name for house in HOUSES.values() for folder in FOLDERS if folder.parent.name == house
    ]
    for one in packages:
        for entry in one.descriptor["resources"]:
            if "schema" in entry:
                assert one.table(entry["name"]).num_rows > 0
    uris = [system.uri for system in library.code_systems()]
    assert len(set(uris)) == len(uris)


def test_what_is_shipped_of_each_system() -> None:
    least = {
        "icd10cm": 97_000,
        "icd9cm": 17_000,
        "ccsr": 540,
        "rxnorm": 20_000,
        "loinc": 2_700,
        "cvx": 280,
        "cdcrec": 1_300,
        "snomed": 60,
    }
    for name, count in least.items():
        assert len(library.code_system(name)) >= count
    # SNOMED CT: only what bindings need. CPT: never.
    assert len(library.code_system("snomed")) < 100
    for system in library.code_systems():
        assert "ama-assn.org" not in system.uri


def test_all_billable_codes_of_the_year_are_there_with_chapter_and_category(shared: Path) -> None:
    with gzip.open(shared / "vocab" / "icd_10_cm_2026.csv.gz", "rt", encoding="utf-8", newline="") as handle:
        current = {row[0]: row[1] for row in csv.reader(handle)}
    ours = {row["code"].replace(".", ""): row for row in rows(ROOT / "code_systems/icd10cm", "codes")}
    assert {code for code, row in ours.items() if row["billable"] == "true" and row["status"] == "active"} == set(
        current
    )
    assert all(ours[code]["display"] == title.strip() for code, title in current.items())
    assert sum(ours[code]["category"] != "" for code in current) / len(current) > 0.995
    assert sum(ours[code]["chronic"] != "" for code in current) / len(current) > 0.995


def test_limits_are_few_and_sane() -> None:
    table = [row for row in rows(ROOT / "code_systems/icd10cm", "codes") if row["billable"] == "true"]
    women, men = (sum(row["sex"] == sex for row in table) for sex in ("female", "male"))
    assert 3_300 < women < 3_600
    assert 500 < men < 650
    # Outside of pregnancy and the perinatal period few codes are limited by age.
    aged = [row for row in table if row["min_age"] or row["max_age"]]
    assert 3_000 < len(aged) < 3_600
    assert sum(row["code"][0] not in "OP" for row in aged) < 600
    for row in table:
        if row["min_age"] and row["max_age"]:
            assert float(row["min_age"]) < float(row["max_age"])


@pytest.mark.parametrize(
    "folder", [path.parent for path in sorted(ROOT.glob("*/*/limit_rules.csv"))], ids=lambda path: path.name
)
def test_limit_rules_are_well_formed(folder: Path) -> None:
    for row in rows(folder, "limit_rules"):
        re.compile(row["title"])
        assert row["reason"]
        assert row["codes"] or row["title"]
        assert row["sex"] or row["min_age"] or row["max_age"]
        assert row["sex"] in ("", "female", "male", "any")


def test_loinc_codes_have_their_check_digit_and_units_are_ucum() -> None:
    table = rows(ROOT / "code_systems/loinc", "codes")
    for row in table:
        stem, check = row["code"].split("-")
        total = sum(sum(divmod(int(digit) * (2 - at % 2), 10)) for at, digit in enumerate(reversed(stem)))
        assert -total % 10 == int(check), row["code"]
    units = {row["unit"] for row in table if row["unit"]}
    assert [unit for unit in sorted(units) if not ucum.is_valid(unit)] == []
    ranges = rows(ROOT / "code_systems/loinc", "reference_ranges")
    assert {row["code"] for row in ranges} <= {row["code"] for row in table}
    assert "LOINC is copyright" in (ROOT / "code_systems/loinc/NOTICE.txt").read_text()


def test_tables_beside_the_codes_are_about_codes_that_there_are() -> None:
    drugs = {row["code"]: row for row in rows(ROOT / "code_systems/rxnorm", "codes")}
    for row in rows(ROOT / "code_systems/rxnorm", "sigs"):
        assert drugs[row["code"]]["display"]
        assert row["sig"][0].isupper()
        assert ucum.is_valid(row["dose_unit"])
    vaccines = {row["code"] for row in rows(ROOT / "code_systems/cvx", "codes")}
    for row in rows(ROOT / "code_systems/cvx", "schedule"):
        assert row["code"] in vaccines
        assert float(row["due_months"]) < float(row["latest_months"])


def test_products_of_rxnorm_have_strength_and_form_and_mostly_a_class() -> None:
    products = [
        row
        for row in rows(ROOT / "code_systems/rxnorm", "codes")
        if row["term_type"] in ("SCD", "SBD") and row["display"]
    ]
    assert sum(row["strength"] != "" for row in products) / len(products) > 0.99
    by_code = {row["code"]: row for row in products}
    assert (by_code["314076"]["strength"], by_code["314076"]["dose_form"]) == ("10 MG", "Oral Tablet")
    # How long a tablet works and how much is in a syringe are no strengths.
    assert by_code["866436"]["strength"] == "50 MG"
    assert by_code["854235"]["strength"] == "100 MG/ML"
    assert by_code["197886"]["strength"] == "12.5 MG / 20 MG"
    prescribed = {row["code"] for row in rows(ROOT / "code_systems/rxnorm", "sigs")}
    assert sum(by_code[code]["category"] != "" for code in prescribed & set(by_code)) > 0.8 * len(prescribed)


def test_reference_ranges_are_by_sex_and_age_and_do_not_overlap() -> None:
    bands: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for row in rows(ROOT / "code_systems/loinc", "ranges"):
        assert float(row["low"]) <= float(row["high"])
        assert ucum.is_valid(row["unit"])
        for sex in [row["sex"]] if row["sex"] else ["female", "male"]:
            span = (float(row["min_age"] or 0), float(row["max_age"] or 200))
            bands.setdefault((row["code"], sex), []).append(span)
    assert len({code for code, _ in bands}) > 80
    for found in bands.values():
        found.sort()
        assert all(left[1] <= right[0] for left, right in itertools.pairwise(found))


def test_procedures_are_not_cpt() -> None:
    assert len(library.code_system("icd10pcs")) > 100
    assert all(re.fullmatch(r"[0-9A-HJ-NP-Z]{7}", row["code"]) for row in rows(ROOT / "code_systems/icd10pcs", "codes"))
    assert all(re.fullmatch(r"[A-V]\d{4}", row["code"]) for row in rows(ROOT / "code_systems/hcpcs", "codes"))


def test_snomed_codes_have_their_check_digit() -> None:
    """Verhoeff's scheme by its definition: permutations and products of the dihedral group of ten elements."""

    def product(a: int, b: int) -> int:
        if a < 5:
            return (a + b) % 5 if b < 5 else 5 + (a + b) % 5
        return 5 + (a - b) % 5 if b < 5 else (a - b) % 5

    permutation = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4]
    for row in rows(ROOT / "code_systems/snomed", "codes"):
        total = 0
        for at, letter in enumerate(reversed(row["code"])):
            digit = int(letter)
            for _ in range(at % 8):
                digit = permutation[digit]
            total = product(total, digit)
        assert total == 0, row["code"]


def test_members_of_value_sets_are_codes_of_their_systems() -> None:
    for one in library.packages("value_set"):
        for coding in library.value_set(one.name).codings:
            system = library.find_code_system(coding.system)
            if system is not None:
                assert coding.code in system, (one.name, coding)


def test_places_have_the_people_of_the_census() -> None:
    table = rows(ROOT / "identity/places", "places")
    groups = ("white", "black", "api", "native", "multiple", "hispanic")
    people = {group: sum(int(row[group]) for row in table) for group in groups}
    # 308.1 million in 2010, of whom 94 % live where a place is known.
    assert 285e6 < sum(people.values()) < 309e6
    assert 0.14 < people["hispanic"] / sum(people.values()) < 0.18
    assert len({row["state"] for row in table}) == 51
    manhattan = next(row for row in table if row["postal_code"] == "10001")
    assert (manhattan["city"], manhattan["state"]) == ("New York", "NY")


def test_the_vocabularies_stay_small() -> None:
    total = sum(path.stat().st_size for folder in FOLDERS for path in folder.iterdir())
    assert total < 8e6


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: f"{folder.parent.name}/{folder.name}")
def test_a_recipe_rebuilds_the_same_rows(folder: Path, shared: Path, tmp_path: Path) -> None:
    key, found = f"{folder.parent.name}/{folder.name}", descriptor(folder)
    if build.recipe(key, found) is None:
        pytest.skip("kept by hand")
    sources = build.Sources(root=shared)
    missing = build.missing_sources(found, sources)
    if missing:
        pytest.skip(f"its sources are not there: {', '.join(missing)}")
    for entry in found["sources"]:
        if entry["title"].startswith("Faker "):
            faker = pytest.importorskip("faker")
            if faker.VERSION not in entry["title"]:
                pytest.skip(f"made with another version of Faker than {faker.VERSION}")
    build.build(key, sources, tmp_path)
    for entry in found["resources"]:
        # Unpacked, because another zlib packs the same rows into other bytes.
        assert unpacked(tmp_path / key / entry["path"]) == unpacked(folder / entry["path"])
