"""A learned model holds nothing of too few people, says what it did, and is the same again for the same seed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from ehrsynth.errors import LearningError, MissingExtraError, UsageError
from ehrsynth.learning import LearningProgress, LearningSettings, learn
from ehrsynth.model import PatientModel
from ehrsynth.probability.histogram import Histogram
from ehrsynth.probability.quantiles import QuantileDistribution
from ehrsynth.records import Records

from .learning_records import cohort

QUICK = {"estimator": "numpy", "iterations": 6}
SECRET = "secret of one person"


def quick(**more: Any) -> LearningSettings:
    return LearningSettings(**{**QUICK, **more})


def with_secrets(small: Any) -> Records:
    """Return 120 hand-made patients, some of whom have values that hardly anybody shares."""
    records: Records = small.replicate(small.small_records(), 6)
    rng = np.random.default_rng(1)
    changed = {}
    for name, columns in {
        "condition": ("code", "display"),
        "medication_request": ("code", "sig", "route_display", "dose_unit"),
        "procedure": ("code",),
        "observation": ("code", "value_text", "value_unit", "value_display"),
        "immunization": ("code",),
        "device": ("code",),
        "encounter": ("type_code", "discharge_disposition_code", "admit_source_code"),
        "patient": ("race_code", "language_code", "marital_status_code", "state"),
    }.items():
        rows = records[name].to_pylist()
        patients = sorted({row["patient_id"] for row in rows})
        for column in columns:
            # Four people have the secret, in as many rows as they like: one too few.
            chosen = set(rng.choice(patients, 4, replace=False).tolist())
            value = "ZZ" if column == "state" else f"{SECRET} {name}.{column}"
            for row in rows:
                if row["patient_id"] in chosen and rng.random() < 0.7:
                    row[column] = value
        changed[name] = pa.Table.from_pylist(rows, schema=records[name].schema)
    return records.replace(**changed)


def strings(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield every text anywhere in a model, with where it is."""
    if isinstance(value, str):
        yield path, value
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            yield from strings(getattr(value, field.name), f"{path}.{field.name}")
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from strings(key, path)
            yield from strings(item, f"{path}[{key}]")
    elif isinstance(value, (tuple, list)):
        for i, item in enumerate(value):
            yield from strings(item, f"{path}[{i}]")


@pytest.fixture(scope="module")
def secret_records(small: Any) -> Records:
    return with_secrets(small)


@pytest.fixture(scope="module")
def model(secret_records: Records) -> PatientModel:
    return learn(secret_records, settings=quick(), seed=1)


def test_no_text_that_fewer_than_five_people_have_is_anywhere(model: PatientModel, secret_records: Records) -> None:
    told = list(strings(model))
    assert len(told) > 200
    assert not [place for place, text in told if SECRET in text or text == "ZZ"]
    # Nor any other: every text of the model that is a value of the records belongs to five people or more there.
    people: dict[str, set[str]] = {}
    for name in secret_records:
        table = secret_records[name]
        if "patient_id" not in table.column_names:
            continue
        owners = table["patient_id"].to_pylist()
        for column in table.schema:
            if pa.types.is_dictionary(column.type) or pa.types.is_string(column.type):
                for owner, text in zip(owners, table[column.name].to_pylist(), strict=True):
                    if text is not None:
                        people.setdefault(text, set()).add(owner)
    places = (".families", ".trajectory", ".person", ".measurements")
    rare = {
        text: place for place, text in told if place.startswith(places) and text in people and len(people[text]) < 5
    }
    assert not rare


def test_joint_attributes_have_five_people(model: PatientModel, secret_records: Records) -> None:
    for family in model.families:
        assert family.attributes is not None
        table = secret_records[family.table]
        rows = table.select(["patient_id", "code", *family.attributes.columns]).to_pylist()
        for c, coding in enumerate(family.codings):
            for i in range(int(family.attributes.offsets[c]), int(family.attributes.offsets[c + 1])):
                joint = family.attributes.rows[i]
                having = {
                    row["patient_id"]
                    for row in rows
                    if row["code"] == coding.code
                    and all(
                        value is None or row[name] == value or name in ("category", "status", "intent")
                        for name, value in zip(family.attributes.columns, joint, strict=True)
                    )
                }
                assert len(having) >= 5, (family.table, coding, joint)
            weights = family.attributes.weight[family.attributes.offsets[c] : family.attributes.offsets[c + 1]]
            assert weights.sum() == pytest.approx(1.0)


def test_numeric_cells_have_five_people(model: PatientModel, secret_records: Records) -> None:
    assert model.measurements is not None
    family = model.family("observation")
    assert family is not None
    table = secret_records["observation"].to_pylist()
    for m, code in enumerate(model.measurements.code):
        margin: QuantileDistribution = model.measurements.margins[m]
        values = [
            (row["value_number"], row["patient_id"])
            for row in table
            if row["code"] == family.codings[code].code and row["value_number"] is not None
        ]
        for low, high in zip(margin.lower, margin.upper, strict=True):
            low, high = low / 10.0**margin.decimals, high / 10.0**margin.decimals
            step = 10.0**-margin.decimals
            assert len({p for value, p in values if low - step <= value <= high + step}) >= 5


def test_cells_of_days_and_minutes_have_five_people(secret_records: Records, model: PatientModel) -> None:
    from ehrsynth.encoding import encode

    timelines = encode(secret_records, min_patients=5)
    patients = timelines.patient_of_visit
    for histogram, values in (
        (model.trajectory.gap_days, timelines.gap_days),
        (model.trajectory.stay_minutes, timelines.stay_minutes),
        (model.trajectory.start_minutes, timelines.start_minute),
    ):
        known = values >= 0
        assert isinstance(histogram, Histogram)
        cell = np.searchsorted(histogram.edges, values[known], side="right") - 1
        for f in np.flatnonzero(histogram.weight > 0):
            # Values between two cells are counted in the nearer one.
            near = np.abs(cell - f) <= 1
            assert len(np.unique(patients[known][near])) >= 5


def test_the_disclosure_says_what_was_done(model: PatientModel) -> None:
    disclosure = model.disclosure
    assert disclosure.min_patients == 5
    assert all(count % disclosure.rounding == 0 for count in disclosure.counts.values())
    assert disclosure.left_out["condition"] >= 1
    assert disclosure.left_out["medication_request"] >= 1
    assert disclosure.left_out["patient.race"] >= 1
    assert any("Fewer than 300 patients" in note for note in disclosure.notes)


def test_probabilities_are_probabilities(model: PatientModel) -> None:
    t = model.trajectory
    q = t.n_classes * t.n_states
    np.testing.assert_allclose(t.initial.reshape(len(t.strata), t.n_classes, t.n_states).sum(axis=-1), 1.0)
    np.testing.assert_allclose(t.transition.sum(axis=-1), 1.0)
    for table in (t.gap, t.encounter_class, t.stay, t.disposition, t.admit_source, t.encounter_type):
        np.testing.assert_allclose(table.sum(axis=-1), 1.0)
    if t.start_minute.shape[-1]:
        np.testing.assert_allclose(t.start_minute.sum(axis=-1), 1.0)
    for table in (t.end_hazard, t.death_given_end, t.stay_known):
        assert (table >= 0).all()
        assert (table <= 1).all()
    for family in model.families:
        c = len(family.codings)
        for name in ("never", "never_with_parent", "previous", "earlier"):
            table = getattr(family, name)
            assert table.shape == (q, c)
            assert table.dtype == np.float32
            assert (table >= 0).all()
            assert (table <= 1).all()
        # 0: at ages far from those of all who have it.
        assert (family.lift >= 0).all()
        assert (family.lift > 0).any(axis=0).all()
        assert family.lift.shape == (len(t.strata), c)
        assert family.position.sum() == pytest.approx(1.0)
    measurements = model.measurements
    assert measurements is not None
    np.testing.assert_allclose(measurements.state_share.sum(axis=0), 1.0, atol=1e-5)
    np.testing.assert_allclose((measurements.state_share * measurements.shift).sum(axis=0), 0.0, atol=0.05)
    assert np.linalg.eigvalsh(measurements.person).min() > 1e-3


def test_same_records_and_seed_make_the_same_model() -> None:
    records = cohort(60)
    first, second = (learn(records, settings=quick(), seed=3) for _ in range(2))
    np.testing.assert_array_equal(first.trajectory.transition, second.trajectory.transition)
    np.testing.assert_array_equal(first.families[0].never, second.families[0].never)
    assert first.disclosure == second.disclosure


def test_chunks_do_not_change_the_model() -> None:
    records = cohort(60, visits=lambda i: 1 + i % 5)
    whole, parts = (
        learn(records, settings=quick(classes=1, states=3, chunk_visits=size), seed=3) for size in (10**6, 17)
    )
    np.testing.assert_allclose(whole.trajectory.transition, parts.trajectory.transition, atol=1e-5)
    for name in ("never", "previous", "earlier", "lift"):
        np.testing.assert_allclose(
            getattr(whole.families[0], name), getattr(parts.families[0], name), rtol=2e-3, atol=1e-6, err_msg=name
        )
    np.testing.assert_allclose(whole.person.tables[0], parts.person.tables[0], atol=1e-6)


def test_progress_is_told_with_log_likelihoods() -> None:
    told: list[LearningProgress] = []
    learn(cohort(60), settings=quick(), seed=1, progress=told.append)
    stages = list(dict.fromkeys(progress.stage for progress in told))
    assert stages == ["encoding", "sizes", "trajectory", "person", "details", "done"]
    climbs = [progress.log_likelihood for progress in told if progress.stage == "trajectory"]
    assert all(isinstance(value, float) and np.isfinite(value) for value in climbs)


@pytest.mark.parametrize(
    ("records", "words"),
    [
        (cohort(40, visits=1), "second visit"),
        (cohort(40, per_visit=0), "No condition is common enough"),
        (cohort(40, codes=10**6), "No condition is common enough"),
        (cohort(40, basis="order", record_start_date=[date(2015, 1, 1)] * 40), "only their order was learned"),
        (cohort(12, visits=lambda i: 700 if i == 0 else 2), "first 500 visits"),
    ],
    ids=["one visit each", "no codes", "all codes rare", "order only", "700 visits"],
)
def test_odd_cohorts_are_learned_and_the_notes_say_so(records: Records, words: str) -> None:
    model = learn(records, settings=quick(states=2, classes=1), seed=1)
    assert any(words in note for note in model.disclosure.notes)


@pytest.mark.parametrize(
    "records",
    [
        cohort(40, codes=1),
        cohort(40, same_day=True),
        cohort(40, sex="male"),
        cohort(40, sex="unknown"),
        cohort(40, birth=date(1950, 1, 1)),
        cohort(40, birth=date(2014, 12, 30)),
        cohort(40, race_code=pa.nulls(40, pa.string())),
        cohort(5),
    ],
    ids=["one code", "all dates equal", "one sex", "sex unknown", "one age", "newborns", "column missing", "five"],
)
def test_plain_cohorts_are_learned(records: Records) -> None:
    model = learn(records, settings=quick(), seed=1)
    assert model.trajectory.n_states >= 1
    assert "race" not in [variable.name for variable in model.person.variables]


def test_too_few_patients_are_refused() -> None:
    with pytest.raises(LearningError, match="fewer than the minimum of 11"):
        learn(cohort(10), settings=quick(min_patients=11))


def test_reference_date_is_the_month_after_the_last_day_of_enough_people() -> None:
    model = learn(cohort(40, visits=2), settings=quick(states=1, classes=1))
    assert model.calendar.basis == "calendar"
    assert model.calendar.spread_days == 0
    assert model.calendar.reference_date.startswith("2015-")
    assert model.calendar.reference_date.endswith("-01")
    shifted = learn(cohort(40, basis="shifted"), settings=quick(states=1, classes=1))
    assert shifted.calendar.reference_date == "2025-01-01"
    assert shifted.calendar.spread_days > 0
    told = learn(cohort(40), settings=quick(states=1, classes=1, reference_date="2020-06-15"))
    assert told.calendar.reference_date == "2020-06-15"


@pytest.mark.parametrize(
    "wrong",
    [
        {"min_patients": 0},
        {"states": 0},
        {"classes": "many"},
        {"iterations": 0},
        {"validation_fraction": 1.0},
        {"reference_date": "2020-13-01"},
        {"estimator": "guess"},
    ],
    ids=str,
)
def test_settings_that_cannot_be_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        LearningSettings(**wrong)


def test_pomegranate_is_asked_for_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib

    def absent(name: str, package: str | None = None) -> Any:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(MissingExtraError, match=r"ehrsynth\[learn\]"):
        learn(cohort(40))


@pytest.mark.learn
def test_both_estimators_of_the_person_agree() -> None:
    pytest.importorskip("pomegranate")
    records = cohort(80, race_code=["2106-3", "2054-5", "2106-3", None] * 20)
    models = [
        learn(records, settings=quick(estimator=name, classes=2, states=2), seed=1) for name in ("pomegranate", "numpy")
    ]
    assert models[0].person.parents == models[1].person.parents
    for a, b in zip(models[0].person.tables, models[1].person.tables, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    assert "pomegranate" in models[0].provenance["versions"]
