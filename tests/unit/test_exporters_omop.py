"""The OMOP exporter: keys, eras, concepts, where rows belong, and what is refused."""

from __future__ import annotations

import csv
import itertools
import json
from datetime import date, timedelta
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ehrsynth import api
from ehrsynth.errors import OutputError, UsageError
from ehrsynth.exporters.omop.athena import Athena
from ehrsynth.exporters.omop.block import ROW_BITS, facts
from ehrsynth.exporters.omop.concepts import LOCAL, Code, ConceptIds, local_id
from ehrsynth.exporters.omop.databases import database_schema
from ehrsynth.exporters.omop.eras import eras, expand
from ehrsynth.exporters.omop.people import _names
from ehrsynth.provenance import Provenance
from ehrsynth.records import Records
from ehrsynth.schema import omop
from ehrsynth.terminology import ICD9CM, ICD10CM, LOINC, RXNORM, SNOMED, library

PCS = "http://www.cms.gov/Medicare/Coding/ICD10"
HCPCS = "http://www.cms.gov/Medicare/Coding/HCPCSReleaseCodeSets"


def rows(folder: Path, table: str) -> list[dict[str, str]]:
    with (folder / f"{table}.csv").open(newline="") as handle:
        return list(csv.DictReader(handle))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, models: ModuleType) -> Path:
    folder = tmp_path_factory.mktemp("omop") / "out"
    formats = ["omop", "omop-parquet", "omop-duckdb"]
    api.generate_files(models.tiny_model(), folder, population=1100, seed=3, formats=formats)
    return folder


# -- keys --------------------------------------------------------------------------------------------------------------


def test_every_key_of_the_model_holds_and_the_database_has_checked_it(written: Path) -> None:
    import duckdb

    tables = {table.name: rows(written / "omop", table.name) for table in omop().tables}
    for table in omop().tables:
        keys = [row[table.primary_key] for row in tables[table.name]] if table.primary_key else []
        assert len(keys) == len(set(keys))
        for key in table.foreign_keys:
            there = {row[key.reference_column] for row in tables[key.reference_table]}
            assert {row[key.column] for row in tables[table.name]} - {""} <= there, (table.name, key.column)
    with duckdb.connect(str(written / "omop-duckdb" / "omop.duckdb"), read_only=True) as connection:
        for name, listed in tables.items():
            assert connection.execute(f'SELECT count(*) FROM "{name}"').fetchone() == (len(listed),)
        kinds = dict(
            connection.execute(
                "SELECT constraint_type, count(*) FROM duckdb_constraints() WHERE table_name NOT LIKE 'ehrsynth%' "
                "GROUP BY 1"
            ).fetchall()
        )
    assert kinds["PRIMARY KEY"] == sum(bool(table.primary_key) for table in omop().tables)
    assert kinds["FOREIGN KEY"] == sum(len(table.foreign_keys) for table in database_schema().tables) > 150


def test_ids_are_made_of_the_place_of_the_block(written: Path) -> None:
    person = [int(row["person_id"]) for row in rows(written / "omop", "person")]
    assert person == list(range(1, 1101))
    for table in ("measurement", "condition_occurrence", "drug_era", "visit_occurrence"):
        listed = rows(written / "omop", table)
        key = omop()[table].primary_key
        of_second = [int(row[key]) for row in listed if int(row["person_id"]) > 1024]
        assert of_second == [(1024 << ROW_BITS) + at for at in range(1, len(of_second) + 1)]
        assert max(int(row[key]) for row in listed) < 1 << 31


def test_the_first_patients_are_the_same_and_so_are_the_bytes_of_workers(
    written: Path, tmp_path: Path, models: ModuleType
) -> None:
    api.generate_files(models.tiny_model(), tmp_path / "few", population=50, seed=3, formats=["omop"])
    for table in ("person", "measurement", "observation", "drug_exposure", "condition_era", "payer_plan_period"):
        some = rows(tmp_path / "few" / "omop", table)
        assert some == rows(written / "omop", table)[: len(some)]
        assert some
    api.generate_files(
        models.tiny_model(), tmp_path / "two", population=1100, seed=3, formats=["omop", "omop-parquet"], workers=2
    )
    for path in (tmp_path / "two").rglob("*.*"):
        if path.parent.name.startswith("omop"):
            assert path.read_bytes() == (written / path.parent.name / path.name).read_bytes(), path.name


def test_parquet_and_csv_say_the_same(written: Path) -> None:
    for name in ("visit_occurrence", "measurement", "death", "concept"):
        table = pq.read_table(written / "omop-parquet" / f"{name}.parquet")
        listed = rows(written / "omop", name)
        assert table.num_rows == len(listed)
        for column in ("visit_occurrence_id", "value_as_number", "death_date", "concept_code", "concept_id"):
            if column in table.column_names:
                texts = table[column].to_pylist()
                same = [str(value) if value is not None else "" for value in texts]
                numbers = column == "value_as_number"
                assert (
                    [float(a or 0) for a in same] == [float(row[column] or 0) for row in listed]
                    if numbers
                    else (same == [row[column] for row in listed])
                )
        assert not [one for one in table.schema if pa.types.is_dictionary(one.type)]


# -- eras --------------------------------------------------------------------------------------------------------------


def by_hand(spans: list[tuple[int, int]], window: int) -> list[tuple[int, int, int, int]]:
    """Eras as the definition words it, one after the other."""
    found: list[list[int]] = []
    for start, end in sorted(spans):
        if found and start - found[-1][1] <= window:
            era = found[-1]
            # Days exposed of what lies beyond all so far.
            era[3] += max(end - max(start, era[1]), 0) if start <= era[1] else end - start
            era[1], era[2] = max(era[1], end), era[2] + 1
        else:
            found.append([start, end, 1, end - start])
    return [(start, end, count, end - start - exposed) for start, end, count, exposed in found]


@pytest.mark.parametrize("seed", range(6))
def test_eras_are_those_of_the_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = 400
    person, concept = rng.integers(0, 6, n), rng.integers(100, 103, n)
    start = rng.integers(0, 900, n)
    end = start + rng.integers(0, 40, n) * rng.integers(0, 2, n)
    found = eras(person, concept, start, end)
    expected = [
        (who, what, *era)
        for who, what in itertools.product(range(6), range(100, 103))
        for era in by_hand(
            [(int(start[i]), int(end[i])) for i in range(n) if person[i] == who and concept[i] == what],
            30,
        )
    ]
    assert list(zip(*(column.tolist() for column in found), strict=True)) == expected


def test_thirty_days_between_are_one_era_and_thirty_one_are_two() -> None:
    one, two = np.array([0, 0]), np.array([5, 5])
    assert eras(one, two, np.array([0, 40]), np.array([10, 50])).occurrences.tolist() == [2]
    assert eras(one, two, np.array([0, 41]), np.array([10, 50])).occurrences.tolist() == [1, 1]
    nothing = np.zeros(0, dtype=np.int64)
    assert eras(nothing, nothing, nothing, nothing).person.tolist() == []


def test_a_drug_of_two_ingredients_is_in_the_eras_of_both() -> None:
    row, part = expand(np.array([7, 8, 9, 7]), {7: (1, 2), 9: (3,)})
    assert list(zip(row.tolist(), part.tolist(), strict=True)) == [(0, 1), (0, 2), (2, 3), (3, 1), (3, 2)]


# -- concepts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("system", "code", "standard", "domain", "relation"),
    [
        (ICD10CM, "I10", 320128, "Condition", "mapped"),
        (ICD10CM, "E11.319", 4226121, "Condition", "broader"),
        (ICD10CM, "L03.90", 4028387, "Condition", "chapter"),
        (ICD10CM, "R26.89", 0, "", "none"),
        (HCPCS, "G0328", 4018619, "Measurement", "broader"),
        (ICD10CM, "S93.401A", 81151, "Condition", "broader"),
        (ICD10CM, "Z00.00", 4085799, "Observation", "broader"),
        (ICD10CM, "W19.XXXA", 436583, "Observation", "broader"),
        (ICD10CM, "Y92.9", 0, "", "none"),
        (LOINC, "2345-7", 3004501, "Measurement", "mapped"),
        (LOINC, "99999-0", 0, "", "none"),
        (RXNORM, "860975", 40163924, "Drug", "mapped"),
        (PCS, "0CTPXZZ", 4301351, "Procedure", "chapter"),
        (PCS, "0DTJ4ZZ", 4198190, "Procedure", "broader"),
        (PCS, "BY4CZZZ", 4297090, "Procedure", "chapter"),
        (PCS, "5A1955Z", 4230167, "Procedure", "broader"),
        (PCS, "10E0XZZ", 0, "", "none"),
        (ICD9CM, "96.71", 4230167, "Procedure", "broader"),
        (ICD9CM, "38.97", 4301351, "Procedure", "chapter"),
        (ICD9CM, "380.4", 0, "", "none"),
        (PCS, "BW03ZZZ", 4163872, "Procedure", "broader"),
        ("urn:ehrsynth:source:item", "x", 0, "", "none"),
    ],
)
def test_where_a_code_leads(system: str, code: str, standard: int, domain: str, relation: str) -> None:
    found = ConceptIds().resolve([Code(system, code, None)])[0]
    assert (found.standard, found.domain, found.relation) == (standard, domain, relation)
    assert found.source > 0


def test_ids_of_our_own_are_apart_and_the_same_in_every_run() -> None:
    listed = [Code(ICD10CM, code, None) for code in ("E11.319", "S93.401A", "Z00.00")]
    values = [code._replace(role="value") for code in listed]
    strange = [Code("urn:x", str(number), None) for number in range(2000)]
    ids = [local_id(code) for code in (*listed, *values, *strange)]
    assert len(set(ids)) == len(ids)
    assert all(LOCAL < one < 1 << 31 for one in ids[:6])
    assert all(1 << 32 < one < 1 << 53 for one in ids[6:])
    assert local_id(strange[0]) == local_id(Code("urn:x", "0", "another text"))


def test_every_concept_that_can_be_written_is_described() -> None:
    known = facts()
    fixed = [one for entry in known.values() for one in (entry.values() if isinstance(entry, dict) else [entry])]
    ids = {one for one in fixed if isinstance(one, int)}
    package = library.concept_map("omop_vocabulary")
    ids |= {int(one) for one in package.table("map")["target_code"].to_pylist()}
    ids |= {int(one) for one in package.table("broader")["target_code"].to_pylist()}
    ids |= set(package.table("ingredients")["ingredient_concept_id"].to_pylist())
    found = {one.concept_id for one in ConceptIds().describe(ids, {})}
    assert ids - found == set()


def test_values_of_measurements_are_of_their_domain(written: Path) -> None:
    concepts = {row["concept_id"]: row for row in rows(written / "omop", "concept")}
    values = {row["value_as_concept_id"] for row in rows(written / "omop", "measurement")} - {""}
    assert {concepts[one]["domain_id"] for one in values} <= {"Meas Value"}


def test_no_code_or_name_of_snomed_ct_is_packaged_but_those_that_come_along() -> None:
    listed = set(library.code_system(SNOMED).codes["code"].to_pylist())
    packaged = library.concept_map("omop_vocabulary").table("concepts").to_pylist()
    snomed = [row for row in packaged if row["vocabulary_id"] == "SNOMED"]
    assert len(snomed) > 1000
    assert {row["concept_code"] for row in snomed} - {None} <= listed
    assert all(row["concept_name"] is None for row in snomed if row["concept_code"] is None)


def test_the_manifest_counts_the_rows_with_a_standard_concept(written: Path) -> None:
    note = json.loads((written / "manifest.json").read_text())["formats"]["omop"]["notes"]
    lacking = sum(
        row[f"{name.split('_')[0]}_concept_id"] == "0"
        for name in ("condition_occurrence", "drug_exposure", "measurement", "observation", "procedure_occurrence")
        for row in rows(written / "omop", name)
    )
    lacking += sum(row["device_concept_id"] == "0" for row in rows(written / "omop", "device_exposure"))
    assert note["rows_with_code"] - note["rows_with_standard_concept"] == lacking > 0


# -- a user's own vocabularies -----------------------------------------------------------------------------------------


@pytest.fixture
def athena(tmp_path: Path) -> Path:
    folder = tmp_path / "athena"
    folder.mkdir()
    names = "concept_id concept_name domain_id vocabulary_id concept_class_id standard_concept concept_code"
    lines = [
        "\t".join([*names.split(), "valid_start_date", "valid_end_date", "invalid_reason"]),
        '1\tBruise of "toe"\tCondition\tICD10CM\t5-char\t\tS90.1\t20200101\t20991231\t',
        "2\tContusion of toe\tCondition\tSNOMED\tDisorder\tS\t123\t20200101\t20991231\t",
        "3\tOld\tCondition\tICD10CM\t5-char\t\tI10\t20200101\t20991231\tD",
        "4\tRepair\tProcedure\tICD10PCS\tICD10PCS\tS\t0HQ1XZZ\t20200101\t20991231\t",
    ]
    (folder / "CONCEPT.csv").write_text("\n".join(lines) + "\n")
    (folder / "CONCEPT_RELATIONSHIP.csv").write_text(
        "concept_id_1\tconcept_id_2\trelationship_id\tvalid_start_date\tvalid_end_date\tinvalid_reason\n"
        "1\t2\tMaps to\t20200101\t20991231\t\n1\t3\tIs a\t20200101\t20991231\t\n3\t2\tMaps to\t20200101\t20991231\tD\n"
    )
    (folder / "VOCABULARY.csv").write_text(
        "vocabulary_id\tvocabulary_name\tvocabulary_version\nNone\t\tv5.0 30-AUG-25\n"
    )
    return folder


def test_a_download_of_athena_comes_first(athena: Path) -> None:
    ids = ConceptIds(Athena(athena))
    found = ids.resolve([Code(ICD10CM, "S90.1", None), Code(ICD10CM, "I10", None), Code(PCS, "0HQ1XZZ", None)])
    assert (found[0].source, found[0].standard, found[0].domain, found[0].relation) == (1, 2, "Condition", "mapped")
    # What is invalid there is taken from the packaged map.
    assert found[1].standard == 320128
    assert (found[2].source, found[2].standard, found[2].domain) == (4, 4, "Procedure")
    described = {one.concept_id: one for one in ids.describe([1, 2, 320128], {})}
    assert described[1].concept_name == 'Bruise of "toe"'
    assert described[2].concept_code == "123"
    assert ids.version == "v5.0 30-AUG-25"


def test_an_export_with_athena_and_a_folder_that_is_none(athena: Path, tmp_path: Path, models: ModuleType) -> None:
    records = api.generate(models.tiny_model(), population=5, seed=1)
    api.export(records, tmp_path / "out", formats=["omop"], options={"athena": str(athena)})
    assert rows(tmp_path / "out" / "omop", "cdm_source")[0]["vocabulary_version"] == "v5.0 30-AUG-25"
    with pytest.raises(UsageError, match="no download of Athena"):
        api.export(records, tmp_path / "none", formats=["omop"], options={"athena": str(tmp_path)})
    (athena / "CONCEPT.csv").write_text("a\tb\n1\t2\n")
    with pytest.raises(UsageError, match="Not a table of Athena"):
        api.export(records, tmp_path / "bad", formats=["omop"], options={"athena": str(athena)})
    assert not (tmp_path / "bad").exists()


# -- rows --------------------------------------------------------------------------------------------------------------


def records(**tables: list[dict[str, object]]) -> Records:
    shared = {"patient": [{"patient_id": "p", "birth_date": date(1980, 2, 3), "sex": "female"}]}
    made = {
        name: pa.Table.from_pylist(
            [dict.fromkeys({key: None for row in listed for key in row}) | row for row in listed]
        )
        for name, listed in (shared | tables).items()
    }
    return Records.from_tables(made, provenance=Provenance(source="by hand", source_format="hand"))


def visit(key: str, day: date | None, **more: object) -> dict[str, object]:
    start = None if day is None else pa.scalar(day).cast(pa.timestamp("s")).as_py()
    common = {"encounter_id": key, "patient_id": "p", "sequence": 1, "status": "finished", "encounter_class": "AMB"}
    return common | {"start_datetime": start, "time_precision": "day"} | more


def test_rows_go_where_their_concept_belongs_and_what_did_not_happen_stays_out(tmp_path: Path) -> None:
    day = date(2020, 5, 1)
    condition = {"patient_id": "p", "encounter_id": "e", "category": "encounter-diagnosis", "code_system": ICD10CM}
    made = records(
        encounter=[visit("e", day), visit("x", day, status="cancelled")],
        condition=[
            condition
            | {"condition_id": "1", "code": "I10", "onset_date": day - timedelta(days=900), "recorded_date": day},
            condition | {"condition_id": "2", "code": "Z00.00", "onset_date": day, "recorded_date": day},
            condition | {"condition_id": "3", "code": "I10", "verification_status": "refuted", "recorded_date": day},
            condition | {"condition_id": "4", "code": "I10", "encounter_id": None},
        ],
        allergy_intolerance=[
            {
                "allergy_intolerance_id": "a",
                "patient_id": "p",
                "code_system": SNOMED,
                "code": "102263004",
                "recorded_date": day,
            }
        ],
    )
    summary = api.export(made, tmp_path / "out", formats=["omop"])
    folder = tmp_path / "out" / "omop"
    kept = rows(folder, "condition_occurrence")
    assert [(row["condition_source_value"], row["condition_start_date"]) for row in kept] == [("I10", "2020-05-01")]
    observed = {row["observation_source_value"]: row["observation_concept_id"] for row in rows(folder, "observation")}
    assert observed == {"Z00.00": "4085799", "102263004": "442116"}
    assert summary.notes["omop"]["not_carried"] == {
        "condition that did not happen": 1,
        "condition without a date": 1,
        "encounter that did not take place": 1,
    }
    assert rows(folder, "observation_period")[0]["observation_period_start_date"] == "2020-05-01"
    assert summary.notes["omop"]["values_not_carried"] == {}
    again = api.read(folder, format="omop")
    assert again["condition"]["code"].to_pylist() == ["I10", "Z00.00"]


def test_records_that_only_have_an_order_are_refused(tmp_path: Path) -> None:
    made = records(encounter=[visit("e", None)])
    with pytest.raises(OutputError, match="only have an order"):
        api.export(made, tmp_path / "out", formats=["omop"])
    assert not (tmp_path / "out").exists()


def test_marks_of_the_format_are_quoted(tmp_path: Path) -> None:
    made = records(
        organization=[{"organization_id": "o", "name": 'The "Clinic", north\nwing'}],
        encounter=[visit("e", date(2020, 1, 1), organization_id="o")],
    )
    api.export(made, tmp_path / "out", formats=["omop"])
    assert rows(tmp_path / "out" / "omop", "care_site")[0]["care_site_name"] == 'The "Clinic", north\nwing'


def test_codes_of_a_source_s_own_come_back_whole(tmp_path: Path) -> None:
    day, system = date(2020, 5, 1), "urn:ehrsynth:source:mimiciv-meas-chartevents-value"
    code = "SR (Sinus Rhythm), as it was written down beside the bed"
    common = {"patient_id": "p", "encounter_id": "e", "category": "encounter-diagnosis", "recorded_date": day}
    made = records(
        encounter=[visit("e", day)],
        condition=[common | {"condition_id": "1", "code_system": system, "code": code, "onset_date": day}],
    )
    api.export(made, tmp_path / "out", formats=["omop"])
    again = api.read(tmp_path / "out" / "omop", format="omop")["condition"]
    assert (again["code_system"][0].as_py(), again["code"][0].as_py()) == (system, code)


@pytest.mark.parametrize("chunks", [[["Ann", None, "Bo", None]], [[None], [None]]])
def test_providers_without_a_name_keep_their_rows(chunks: list[list[str | None]]) -> None:
    given = pa.chunked_array(chunks, pa.string())
    family = pa.chunked_array([[None if one != "Bo" else "Li" for one in chunk] for chunk in chunks], pa.string())
    names = {"Ann": "Ann", "Bo": "Bo Li", None: None}
    assert _names(given, family).to_pylist() == [names[one] for one in given.to_pylist()]
