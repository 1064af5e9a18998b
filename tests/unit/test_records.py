"""The schema documents and Records: keys, types, selection."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest

from ehrsynth import resources
from ehrsynth.errors import SourceError, UsageError
from ehrsynth.provenance import Provenance
from ehrsynth.records import Records, conform, dictionary_column
from ehrsynth.schema import clinical, datapackage
from ehrsynth.schema.descriptor import table_descriptor, table_from_descriptor

HERE = Provenance(source="a test")


def small(**changes: pa.Table) -> Records:
    tables = {
        "patient": pa.table(
            {"patient_id": ["p1", "p2"], "birth_date": ["1950-01-02", "1960-03-04"], "sex": ["male", "female"]}
        ),
        "encounter": pa.table(
            {
                "encounter_id": ["e1", "e2", "e3"],
                "patient_id": ["p1", "p1", "p2"],
                "sequence": [1, 2, 1],
                "status": ["finished"] * 3,
                "encounter_class": ["AMB", "IMP", "AMB"],
            }
        ),
    }
    return Records.from_tables({**tables, **changes}, provenance=HERE)


def test_every_table_has_keys_that_lead_somewhere() -> None:
    schema = clinical()
    seen: set[str] = set()
    for table in schema.tables:
        assert table.primary_key == f"{table.name}_id"
        assert table[table.primary_key].required
        for key in table.foreign_keys:
            assert key.column in table
            assert schema[key.reference_table].primary_key == key.reference_column
            # Referenced tables come first, so that a database takes them in this order.
            assert key.reference_table in seen
        names = [c for pair in table.order for c in pair] + [*table.within_life, *table.within_encounter]
        assert all(name in table for name in names)
        assert table.has_patient != table.shared
        seen.add(table.name)


def test_precision_columns_exist_and_everything_is_described() -> None:
    for table in clinical().tables:
        for column in table.columns:
            assert not column.precision_column or column.precision_column in table
            assert column.description or column.name.endswith("_id"), f"{table.name}.{column.name}"


@pytest.mark.parametrize("name", clinical().names)
def test_a_descriptor_survives_the_round_trip(name: str) -> None:
    document = resources.read_json(f"output_schemas/clinical/{name}.json")
    table = table_from_descriptor(document)
    plain = table_descriptor(table)
    again = table_from_descriptor({"name": name, **plain})
    assert again.names == table.names
    assert again.foreign_keys == table.foreign_keys
    assert [c.required for c in again.columns] == [c.required for c in table.columns]
    assert "ehrsynth" not in json.dumps(plain)


def test_a_data_package_lists_only_what_is_there() -> None:
    package = datapackage(clinical(), {"patient": {"path": "patient.csv"}}, name="x")
    assert [entry["name"] for entry in package["resources"]] == ["patient"]


def test_records_have_every_table_with_the_schemas_types() -> None:
    records = small()
    assert tuple(records) == clinical().names
    assert records["condition"].num_rows == 0
    for table in clinical().tables:
        assert records[table.name].schema == table.arrow
    assert records.check_keys() == []
    assert records["encounter"].to_pandas()["encounter_class"].tolist() == ["AMB", "IMP", "AMB"]
    assert records.row_counts["encounter"] == 3


def test_broken_keys_are_found_with_row_and_example() -> None:
    encounter = small()["encounter"].to_pylist()
    encounter[1]["encounter_id"] = "e1"
    encounter[2]["patient_id"] = "p9"
    problems = small(encounter=pa.Table.from_pylist(encounter, schema=clinical()["encounter"].arrow)).check_keys()
    assert {(p.kind, p.column, p.row, p.example, p.count) for p in problems} == {
        ("duplicate", "encounter_id", 2, "e1", 1),
        ("orphan", "patient_id", 3, "p9", 1),
    }


def test_empty_keys_are_found() -> None:
    encounter = small()["encounter"].to_pylist()
    encounter[0]["encounter_id"] = encounter[1]["patient_id"] = None
    problems = small(encounter=pa.Table.from_pylist(encounter, schema=clinical()["encounter"].arrow)).check_keys()
    assert {(p.kind, p.column, p.row) for p in problems} == {("empty", "encounter_id", 1), ("empty", "patient_id", 2)}


def test_unknown_tables_columns_and_types_are_refused() -> None:
    with pytest.raises(SourceError, match="no such table"):
        Records.from_tables({"visits": pa.table({})}, provenance=HERE)
    with pytest.raises(SourceError, match="no such column"):
        small(patient=pa.table({"patient_id": ["p1"], "shoe_size": [43]}))
    with pytest.raises(SourceError, match="do not fit date") as caught:
        small(patient=pa.table({"patient_id": ["p1"], "birth_date": ["2019-13-45"], "sex": ["male"]}))
    assert caught.value.place == "table patient, column birth_date"
    with pytest.raises(UsageError):
        small()["visits"]


def test_selection_keeps_whole_patients_and_shared_tables() -> None:
    records = small(organization=pa.table({"organization_id": ["o"], "name": ["Clinic"]}))
    one = records.select_patients(["p2"])
    assert one["encounter"]["encounter_id"].to_pylist() == ["e3"]
    assert one["organization"].num_rows == 1
    assert records.head(1)["encounter"]["encounter_id"].to_pylist() == ["e1", "e2"]
    both = Records.concat([records.head(1), one])
    assert both.row_counts == records.row_counts
    assert both.check_keys() == []


def test_a_dictionary_column_takes_negative_and_none_as_empty() -> None:
    column = dictionary_column([1, -1, 0, 2], ["a", None, "c"])
    assert column.to_pylist() == [None, None, "a", "c"]
    assert dictionary_column([-1, -1], []).to_pylist() == [None, None]
    table = conform(pa.table({"patient_id": ["p"], "sex": dictionary_column([0], ["male"])}), clinical()["patient"])
    assert table["sex"].type == pa.dictionary(pa.int32(), pa.string())
