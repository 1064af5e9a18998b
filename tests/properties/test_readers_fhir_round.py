"""Records that go through FHIR come back the same, in either style; what FHIR cannot carry is in fhir_carried.py."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ehrsynth import api
from ehrsynth.records import Records

STYLES = ("fhir-ndjson", "fhir-bundle")


def differences(rules: ModuleType, records: Records, folder: Path) -> list[tuple[object, ...]]:
    """What differs between records and what comes back from both styles, as (style, table, key, column, was, is)."""
    api.export(records, folder, formats=STYLES)
    was = rules.carried(records)
    found: list[tuple[object, ...]] = []
    for style in STYLES:
        again, report = api.read_with_report(folder / style, format="fhir")
        # Nothing is lost but what was derived from rows that are all there.
        assert {(one.table, one.reason) for one in report.set_aside} <= {
            *((kind, "no table is for this resource type") for kind in rules.DERIVED),
            *((kind, "derived from what the other resources say") for kind in rules.DERIVED_BESIDE),
        }
        assert report.adjusted == []
        assert again.provenance.synthetic == records.provenance.synthetic
        assert again.check_keys() == []
        now = rules.read_back(again)
        for table, rows in was.items():
            found += [(style, table, key, "missing") for key in rows.keys() - now[table].keys()]
            found += [(style, table, key, "new") for key in now[table].keys() - rows.keys()]
            for key in rows.keys() & now[table].keys():
                found += [
                    (style, table, key, column, value, now[table][key][column])
                    for column, value in rows[key].items()
                    if now[table][key][column] != value
                ]
    return found


def test_hand_made_patients_come_back(fhir_carried: ModuleType, small_records: Records, tmp_path: Path) -> None:
    assert differences(fhir_carried, small_records, tmp_path / "out") == []


def test_patients_of_the_shipped_model_come_back(fhir_carried: ModuleType, tmp_path: Path) -> None:
    records = api.generate(population=12, seed=5)
    # Routes have words and no codes, some results of laboratories are codes and words.
    assert "Oral" in records["medication_request"]["route_display"].to_pylist()
    assert "Clear" in records["observation"]["value_text"].to_pylist()
    assert differences(fhir_carried, records, tmp_path / "out") == []


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), population=st.integers(1, 25))
def test_generated_patients_come_back(
    fhir_carried: ModuleType, models: ModuleType, tmp_path_factory: pytest.TempPathFactory, seed: int, population: int
) -> None:
    records = api.generate(models.tiny_model(), population=population, seed=seed)
    assert differences(fhir_carried, records, tmp_path_factory.mktemp("round") / "out") == []
