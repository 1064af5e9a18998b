"""The guarantees of the README, checked on ten thousand patients without the code that makes or validates them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

import ehrsynth
from ehrsynth import terminology
from ehrsynth.schema import clinical

POPULATION = {"default": 10_000, "lifelong": 400, "tiny": 10_000}
SHARED_TABLES = ("organization", "practitioner", "location", "payer")


@pytest.fixture(scope="module", params=POPULATION)
def frames(request: pytest.FixtureRequest, models: ModuleType) -> dict[str, pd.DataFrame]:
    """Ten thousand patients of the shipped model (the last two years), and of one that has every kind of row.

    And some with all that happened in their lives.
    """
    model = models.tiny_model() if request.param == "tiny" else None
    scenario = {"history_years": 2.0} if request.param == "default" else None
    records = ehrsynth.generate(model, population=POPULATION[request.param], seed=2, scenario=scenario)
    assert records.provenance.synthetic
    return {name: records[name].to_pandas() for name in records if records[name].num_rows}


def dates(frame: pd.DataFrame, column: str) -> pd.Series:
    """A column of dates or times as timestamps."""
    return pd.to_datetime(frame[column])


def test_no_orphans_and_no_duplicates(frames: dict[str, pd.DataFrame]) -> None:
    for name, frame in frames.items():
        table = clinical()[name]
        assert frame[table.primary_key].notna().all()
        assert frame[table.primary_key].is_unique
        for key in table.foreign_keys:
            values = frame[key.column].dropna()
            if len(values):
                assert values.isin(frames[key.reference_table][key.reference_column]).all(), (name, key.column)
            if table[key.column].required:
                assert len(values) == len(frame)
    ids = [value for name, frame in frames.items() for value in frame[clinical()[name].primary_key]]
    assert len(set(ids)) == len(ids), "an identifier stands for two things"
    assert len(frames["patient"]) in POPULATION.values()


def test_required_values_enums_and_patterns(frames: dict[str, pd.DataFrame]) -> None:
    for name, frame in frames.items():
        for column in clinical()[name].columns:
            values = frame[column.name].dropna()
            if column.required:
                assert len(values) == len(frame), (name, column.name)
            if column.enum:
                assert set(values.unique()) <= set(column.enum), (name, column.name)
            if column.pattern:
                assert values.astype(str).str.fullmatch(column.pattern).all(), (name, column.name)
            if column.minimum is not None:
                assert (values >= column.minimum).all(), (name, column.name)


def test_nothing_is_reversed(frames: dict[str, pd.DataFrame]) -> None:
    for name, frame in frames.items():
        for first, second in clinical()[name].order:
            one, other = frame[first], frame[second]
            if clinical()[name][first].type != "number":
                one, other = dates(frame, first), dates(frame, second)
            if clinical()[name][first].type == "date" and clinical()[name][second].type == "datetime":
                other = other.dt.normalize()
            both = one.notna() & other.notna()
            assert (one[both] <= other[both]).all(), (name, first, second)


def test_everything_lies_within_a_life(frames: dict[str, pd.DataFrame]) -> None:
    people = frames["patient"].set_index("patient_id")
    birth, death = dates(people, "birth_date"), dates(people, "death_datetime")
    for name, frame in frames.items():
        for column in clinical()[name].within_life:
            when = dates(frame, column)
            known = when.notna()
            born = birth.reindex(frame["patient_id"]).to_numpy()
            died = death.reindex(frame["patient_id"]).dt.normalize().to_numpy()
            assert (when[known] >= born[known]).all(), (name, column)
            alive = pd.isna(died) | (when.dt.normalize().to_numpy() <= died)
            assert alive[known].all(), (name, column)


def test_nothing_happens_after_the_reference_date(frames: dict[str, pd.DataFrame]) -> None:
    last = pd.Timestamp("2025-01-02")
    for name, frame in frames.items():
        for column in (*clinical()[name].within_life, *(["death_datetime"] if name == "patient" else [])):
            assert not (dates(frame, column) >= last).any(), (name, column)


def test_details_lie_within_their_encounter(frames: dict[str, pd.DataFrame]) -> None:
    encounters = frames["encounter"].set_index("encounter_id")
    start = dates(encounters, "start_datetime").dt.normalize()
    end = dates(encounters, "end_datetime").fillna(dates(encounters, "start_datetime")).dt.normalize()
    for name, frame in frames.items():
        for column in clinical()[name].within_encounter:
            linked = frame[frame["encounter_id"].notna() & frame[column].notna()]
            day = dates(linked, column).dt.normalize().to_numpy()
            known = end.reindex(linked["encounter_id"]).notna().to_numpy()
            assert (day >= start.reindex(linked["encounter_id"]).to_numpy())[known].all(), (name, column)
            assert (day <= end.reindex(linked["encounter_id"]).to_numpy())[known].all(), (name, column)


def test_details_belong_to_the_patient_of_their_encounter(frames: dict[str, pd.DataFrame]) -> None:
    owner = frames["encounter"].set_index("encounter_id")["patient_id"]
    for name, frame in frames.items():
        if "encounter_id" in frame and name != "encounter":
            linked = frame[frame["encounter_id"].notna()]
            assert (owner.reindex(linked["encounter_id"]).to_numpy() == linked["patient_id"].to_numpy()).all(), name


def test_encounters_are_numbered_in_the_order_of_time(frames: dict[str, pd.DataFrame]) -> None:
    frame = frames["encounter"]
    assert (frame["sequence"] == frame.groupby("patient_id").cumcount() + 1).all()
    start = dates(frame, "start_datetime")
    same = frame["patient_id"].eq(frame["patient_id"].shift())
    assert (start[same] >= start.shift()[same]).all()


def test_no_code_is_impossible_for_sex_or_age(frames: dict[str, pd.DataFrame]) -> None:
    people = frames["patient"].set_index("patient_id")
    looked_at = limited = 0
    for name, frame in frames.items():
        table = clinical()[name]
        if not table.sex_age_limits:
            continue
        sex = people["sex"].astype(str).reindex(frame["patient_id"]).to_numpy()
        when = dates(frame, table.within_encounter[0])
        age = (when - dates(people, "birth_date").reindex(frame["patient_id"]).to_numpy()).dt.days / 365.2425
        for system in frame["code_system"].unique():
            mine = (frame["code_system"] == system).to_numpy()
            wants, low, high = terminology.limits(system, frame.loc[mine, "code"].astype(str).tolist())
            assert not ((wants == 1) & (sex[mine] == "male")).any(), (name, system)
            assert not ((wants == 2) & (sex[mine] == "female")).any(), (name, system)
            years = age[mine].to_numpy()
            known = ~pd.isna(years)
            # A limit of 9 years counts until the tenth birthday; a day of slack for leap years.
            assert (years[known] >= low[known] - 0.01).all(), (name, system)
            assert (years[known] < high[known] + 1.01).all(), (name, system)
            looked_at += int(mine.sum())
            limited += int(((wants != 0) | (low > 0)).sum())
    assert looked_at > len(people)


RESOURCES = {
    "condition": ("Condition", ("recordedDate", "onsetDateTime"), ("recorded_date", "onset_date"), "code"),
    "medication_request": ("MedicationRequest", ("authoredOn",), ("authored_datetime",), "medicationCodeableConcept"),
    "procedure": ("Procedure", ("performedDateTime",), ("start_datetime",), "code"),
    "immunization": ("Immunization", ("occurrenceDateTime",), ("occurrence_datetime",), "vaccineCode"),
}


@pytest.fixture(scope="module")
def both(models: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same patients as CSV and as FHIR."""
    out = tmp_path_factory.mktemp("both") / "out"
    ehrsynth.generate_files(models.tiny_model(), out, formats=["csv", "fhir-ndjson"], population=400, seed=3)
    return out


def resources(folder: Path, kind: str) -> dict[str, dict[str, object]]:
    """Resources of a type by id."""
    path = folder / "fhir-ndjson" / f"{kind}.ndjson"
    found = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
    # What FHIR's formats derive from the records (refusals, screenings) stands in no table.
    return {resource["id"]: resource for resource in found if not derived(resource)}


def derived(resource: dict[str, object]) -> bool:
    """Whether the resource says by its identifier that it was derived."""
    identifiers = resource.get("identifier", [])
    assert isinstance(identifiers, list)
    return any("/derived_" in identifier.get("system", "") for identifier in identifiers)


@pytest.mark.parametrize("table", RESOURCES)
def test_both_formats_tell_the_same_story(both: Path, table: str) -> None:
    kind, elements, columns, code = RESOURCES[table]
    frame = pd.read_csv(both / "csv" / f"{table}.csv", dtype=str)
    found = resources(both, kind)
    assert len(frame) > 50
    assert set(frame[f"{table}_id"]) == set(found)
    for row in frame.to_dict("records"):
        resource = found[row[f"{table}_id"]]
        subject = resource.get("subject") or resource["patient"]
        assert subject["reference"] == f"Patient/{row['patient_id']}"
        assert resource["encounter"]["reference"] == f"Encounter/{row['encounter_id']}"
        coding = resource[code]["coding"][0]
        assert (coding["system"], coding["code"]) == (row["code_system"], row["code"])
        times = [resource[element] for element in elements if element in resource]
        wanted = [row[column] for column in columns if isinstance(row[column], str)]
        assert all(any(time[:10] == want[:10] for want in wanted) for time in times)
        if not times and kind == "Procedure":
            assert resource["performedPeriod"]["start"][:10] == row["start_datetime"][:10]


def test_both_formats_tell_of_the_same_people_and_visits(both: Path) -> None:
    people = pd.read_csv(both / "csv/patient.csv", dtype=str).set_index("patient_id")
    found = resources(both, "Patient")
    assert set(found) == set(people.index)
    for key, resource in found.items():
        assert resource["gender"] == people.at[key, "sex"]
        assert resource["birthDate"] == people.at[key, "birth_date"]
        assert ("deceasedDateTime" in resource) == isinstance(people.at[key, "death_datetime"], str)
        assert resource["name"][0]["family"] == people.at[key, "family_name"]
    visits = pd.read_csv(both / "csv/encounter.csv", dtype=str).set_index("encounter_id")
    encounters = resources(both, "Encounter")
    assert set(encounters) == set(visits.index)
    for key, resource in encounters.items():
        assert resource["period"]["start"][:10] == visits.at[key, "start_datetime"][:10]
        assert resource["class"]["code"] == visits.at[key, "encounter_class"]


def test_both_formats_hold_the_same_measurements(both: Path) -> None:
    frame = pd.read_csv(both / "csv/observation.csv", dtype={"value_code": str, "code": str})
    numbers = Counter(
        (row.patient_id, row.code, row.value_number) for row in frame.itertuples() if not pd.isna(row.value_number)
    )
    seen: Counter[tuple[str, str, float]] = Counter()
    for resource in resources(both, "Observation").values():
        patient = resource["subject"]["reference"].removeprefix("Patient/")
        for part in [resource, *resource.get("component", [])]:
            if "valueQuantity" in part:
                seen[patient, part["code"]["coding"][0]["code"], part["valueQuantity"]["value"]] += 1
    assert numbers == seen
    assert sum(seen.values()) > 500
