"""Input that asks for trouble: each case is learned from sensibly, and said so, or refused with what and why."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import ehrsynth
from ehrsynth.errors import LearningError
from ehrsynth.learning import LearningSettings
from ehrsynth.model import PatientModel
from ehrsynth.provenance import Provenance
from ehrsynth.records import Records

from .learning_records import cohort

QUICK = LearningSettings(estimator="numpy", iterations=4, classes=1, states=2)


def learned(records: Records, settings: LearningSettings = QUICK) -> PatientModel:
    """Learn, and see that patients can be made of what was learned."""
    model = ehrsynth.learn(records, settings=settings, seed=1)
    made = ehrsynth.generate(model, population=50, seed=2)
    assert made.n_patients == 50
    assert made.check_keys() == []
    return model


def notes(model: PatientModel) -> str:
    return " ".join(model.disclosure.notes)


def test_three_patients_are_refused() -> None:
    with pytest.raises(LearningError, match="Only 3 patients can be learned from") as caught:
        learned(cohort(3))
    assert "would tell about each of them" in str(caught.value.hint)


def test_one_visit_each() -> None:
    model = learned(cohort(40, visits=1))
    assert "Too few patients have a second visit" in notes(model)
    visits = ehrsynth.generate(model, population=50, seed=2)["encounter"].num_rows
    assert visits < 75, "records of one visit must stay short"


def test_one_code_in_all() -> None:
    model = learned(cohort(40, codes=1))
    assert [coding.code for coding in model.families[0].codings] == ["C0"]
    made = ehrsynth.generate(model, population=50, seed=2)
    assert set(made["condition"]["code"].to_pylist()) == {"C0"}
    assert made["condition"].num_rows == made["encounter"].num_rows


def test_all_dates_equal() -> None:
    made = ehrsynth.generate(learned(cohort(40, same_day=True)), population=50, seed=2)
    frame = made["encounter"].to_pandas()
    days = frame["start_datetime"].dt.normalize().groupby(frame["patient_id"]).nunique()
    assert (days == 1).all()


def test_a_column_all_missing() -> None:
    model = learned(cohort(40, race_code=pa.nulls(40, pa.string())))
    assert "race" not in [variable.name for variable in model.person.variables]
    made = ehrsynth.generate(model, population=50, seed=2)
    assert made["patient"]["race_code"].null_count == 50


def test_a_sex_that_nobody_recorded() -> None:
    model = learned(cohort(40, sex="unknown"))
    assert set(ehrsynth.generate(model, population=50, seed=2)["patient"]["sex"].to_pylist()) == {"unknown"}


def test_twenty_thousand_codes() -> None:
    n, n_codes = 2_000, 20_000
    # Each code in ten people, fifty of them in each of two visits: none too rare, none common.
    code = np.random.default_rng(1).permutation(np.repeat(np.arange(n_codes), 10))
    visit = np.arange(len(code)) // 50
    start = np.datetime64("2015-01-01", "s") + (np.arange(2 * n) % 2 * 40 * 86_400).astype("timedelta64[s]")
    patients = [f"p{i}" for i in range(n)]
    records = Records.from_tables(
        {
            "patient": pa.table(
                {"patient_id": patients, "birth_date": [date(1950, 3, 1)] * n, "sex": ["male", "female"] * (n // 2)}
            ),
            "encounter": pa.table(
                {
                    "encounter_id": [f"e{v}" for v in range(2 * n)],
                    "patient_id": [f"p{v // 2}" for v in range(2 * n)],
                    "sequence": [v % 2 + 1 for v in range(2 * n)],
                    "start_datetime": start,
                    "status": ["finished"] * (2 * n),
                    "encounter_class": ["AMB"] * (2 * n),
                }
            ),
            "condition": pa.table(
                {
                    "condition_id": [str(i) for i in range(len(code))],
                    "patient_id": [f"p{v // 2}" for v in visit.tolist()],
                    "encounter_id": [f"e{v}" for v in visit.tolist()],
                    "category": ["encounter-diagnosis"] * len(code),
                    "code_system": ["urn:codes"] * len(code),
                    "code": [f"C{c}" for c in code.tolist()],
                }
            ),
        },
        provenance=Provenance(source="a test", time_basis="calendar"),
    )
    model = ehrsynth.learn(records, settings=LearningSettings(estimator="numpy", iterations=2, classes=1, states=2))
    # Dealt at random, a few codes fall twice to one person.
    assert 19_000 < len(model.families[0].codings) <= n_codes
    made = ehrsynth.generate(model, population=100, seed=2)
    assert made["condition"].num_rows / made["encounter"].num_rows == pytest.approx(50, rel=0.1)


def test_a_patient_of_five_thousand_visits() -> None:
    model = learned(cohort(12, visits=lambda i: 5_000 if i == 0 else 2))
    assert "Only the first 500 visits of a patient were learned from" in notes(model)


def test_a_code_system_that_nobody_knows() -> None:
    model = learned(cohort(40, system="urn:oid:1.2.3.4.5.6"))
    family = model.families[0]
    assert {coding.system for coding in family.codings} == {"urn:oid:1.2.3.4.5.6"}
    # Nothing is known of whom its codes can befall: no structural zeros.
    assert (family.sex_limit == 0).all()
    assert (family.age_min == 0).all()
    assert np.isinf(family.age_max).all()


def test_negative_ages() -> None:
    births: list[Any] = [date(2040, 1, 1) if i < 4 else date(1950 + i % 30, 3, 1) for i in range(40)]
    records = cohort(40).replace()
    patients = records["patient"].set_column(1, "birth_date", pa.array(births, pa.date32()))
    model = learned(records.replace(patient=patients))
    assert "of negative or impossible age were set aside (about 10 %)" in notes(model)
    made = ehrsynth.generate(model, population=50, seed=2)
    first = made["encounter"].to_pandas().groupby("patient_id")["start_datetime"].min()
    birth = made["patient"].to_pandas().set_index("patient_id")["birth_date"].astype("datetime64[s]")
    assert (first >= birth.reindex(first.index)).all()
