"""What holds between the rows of a person's life: days, drugs, codes, reports, pregnancies; what counts the breaks."""

from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from ehrsynth.evaluation.population_sense import RULES, SenseFacts
from ehrsynth.generation import Generator
from ehrsynth.generation.life_course.agreement import agree
from ehrsynth.generation.life_course.courses import Births, deliveries
from ehrsynth.generation.life_course.people import NEVER, LivesSampler
from ehrsynth.generation.life_course.therapy import Therapies, titrated, without_doubles
from ehrsynth.generation.life_course.working_days import nearest_working_day
from ehrsynth.model.catalogue import open_model
from ehrsynth.model.life_course import LifeCourseModel
from ehrsynth.records import Records, conform


@pytest.fixture(scope="module")
def model() -> LifeCourseModel:
    found = open_model("us_ambulatory")
    assert isinstance(found, LifeCourseModel)
    return found


@pytest.fixture(scope="module")
def block(model: LifeCourseModel) -> Records:
    return Generator(model, seed=5, evidence={"age": (20, 70)}).block(0, 256)


@pytest.mark.parametrize(
    ("day", "open_day"),
    [
        ("2024-12-25", "2024-12-24"),
        ("2024-11-28", "2024-11-27"),
        ("2024-01-01", "2024-01-02"),
        ("2022-06-25", "2022-06-24"),
        ("2022-06-26", "2022-06-27"),
        ("2024-05-27", "2024-05-28"),
        ("2024-06-04", "2024-06-04"),
    ],
)
def test_practices_open_on_the_nearest_working_day(day: str, open_day: str) -> None:
    number = np.array([np.datetime64(day, "D").astype(np.int64)])
    assert nearest_working_day(number)[0] == np.datetime64(open_day, "D").astype(np.int64)


def test_a_report_adds_up() -> None:
    codes = ("6690-2", "770-8", "736-9", "5905-5", "713-8", "706-2", "751-8", "2951-2", "2075-0", "2028-9", "10466-1")
    value = np.array([8.0, 62.0, 33.0, 9.0, 2.0, 1.0, 1.0, 141.0, 90.0, 26.0, 3.0])
    visit, code = np.zeros(len(value), dtype=np.int64), np.arange(len(value))
    agree(codes, code, visit, value, np.ones(len(value), dtype=np.int64))
    assert value[1:6].sum() == pytest.approx(100)
    assert value[6] == pytest.approx(8.0 * value[1] / 100, abs=0.05)
    assert value[10] == pytest.approx(value[7] - value[8] - value[9])
    assert 5 <= value[10] <= 16


def test_what_is_of_other_visits_does_not_agree() -> None:
    value = np.array([13.0, 70.0])
    agree(("718-7", "4544-3"), np.array([0, 1]), np.array([3, 4]), value, np.ones(2, dtype=np.int64))
    assert value.tolist() == [13.0, 70.0]


def therapies(*rows: tuple[int, int, int, int]) -> Therapies:
    patient, row, start, stop = (np.array(column, dtype=np.int64) for column in zip(*rows, strict=True))
    return Therapies(patient=patient, episode=np.zeros_like(row), row=row, start=start, stop=stop)


def test_nobody_takes_two_of_a_group_at_once() -> None:
    found = therapies((0, 0, 10, 100), (0, 1, 50, 200), (0, 0, 300, 400), (1, 1, 60, 90), (0, 2, 20, 30))
    group = np.array([0, 0, 1])
    kept = without_doubles(found, group, np.zeros(5, dtype=bool))
    assert sorted(zip(kept.patient.tolist(), kept.start.tolist(), strict=True)) == [(0, 10), (0, 20), (0, 300), (1, 60)]
    kept = without_doubles(found, group, np.array([False, True, False, False, False]))
    assert sorted(kept.start[kept.patient == 0].tolist()) == [20, 50, 300]


def test_a_dose_is_raised() -> None:
    found = titrated(therapies((0, 1, 10, 500), (1, 1, 10, 500)), np.array([-1, 0]), np.array([40, NEVER]))
    mine = found.take(found.patient == 0)
    order = np.argsort(mine.start)
    assert mine.row[order].tolist() == [0, 1]
    assert mine.start[order].tolist() == [10, 40]
    assert mine.stop[order].tolist() == [40, 500]
    assert found.take(found.patient == 1).row.tolist() == [1]


def test_births_know_their_pregnancies() -> None:
    births = Births(mother=np.array([0, 0, 2]), due=np.array([300, 900, 50]), cesarean=np.zeros(3, dtype=bool))
    inside = births.during(np.array([0, 0, 0, 1, 2]), np.array([100, 350, 700, 100, 60]), 280, 42)
    assert inside.tolist() == [True, False, True, False, True]


def test_who_had_a_cesarean_mostly_has_one_again(model: LifeCourseModel) -> None:
    lives = LivesSampler(model, date(2025, 1, 1), {"sex": "female", "age": (50, 80)}).draw(1, 0, 1024)
    births = deliveries(lives, model.array("births"), np.random.default_rng(2))
    again = (births.mother[1:] == births.mother[:-1]) & births.cesarean[:-1]
    assert births.cesarean.mean() == pytest.approx(0.32, abs=0.05)
    assert births.cesarean[1:][again].mean() > 0.75
    assert (np.diff(births.due)[births.mother[1:] == births.mother[:-1]] >= 330).all()


def test_codes_are_those_of_who_has_what_they_say(model: LifeCourseModel) -> None:
    found = Generator(model, seed=5, evidence={"age": (50, 80), "condition": ("E11", "ckd")}).block(0, 128)
    rows = found["condition"].to_pandas().astype({"code": str, "patient_id": str})
    has = {code: set(rows.loc[rows["code"].str.startswith(code), "patient_id"]) for code in ("E11.22", "N18", "I13")}
    assert has["E11.22"]
    assert has["E11.22"] <= has["N18"]
    assert has["I13"] <= has["N18"]
    # The code of a complication takes the place of the one before: both are not active together.
    active = rows[rows["clinical_status"] == "active"]
    plain = set(active.loc[active["code"] == "E11.9", "patient_id"])
    assert not plain & set(active.loc[active["code"] == "E11.22", "patient_id"])


def test_an_artificial_joint_has_its_operation_on_its_side(model: LifeCourseModel) -> None:
    found = Generator(model, seed=5, evidence={"age": (65, 85), "condition": "joint_replacement"}).block(0, 128)
    status = (
        found["condition"].to_pandas().astype({"code": str, "patient_id": str}).drop_duplicates(["patient_id", "code"])
    )
    done = found["procedure"].to_pandas().astype({"code": str, "patient_id": str})
    people = operated = 0
    for code, operation in (("Z96.651", "0SRC0J9"), ("Z96.652", "0SRD0J9"), ("Z96.641", "0SR904A")):
        mine = status.loc[status["code"] == code, ["patient_id", "recorded_date"]].set_index("patient_id")[
            "recorded_date"
        ]
        first = done[done["code"] == operation].groupby("patient_id")["start_datetime"].min().dt.tz_localize(None)
        both = mine.index.intersection(first.index)
        assert len(mine) > 3
        people, operated = people + len(mine), operated + len(both)
        assert (first[both].dt.normalize() <= pd.to_datetime(mine[both])).all()
    # Of some the operation was elsewhere, before the record.
    assert operated >= 0.9 * people


def test_a_history_of_cancer_follows_the_cancer(block: Records) -> None:
    rows = block["condition"].to_pandas().astype({"code": str, "patient_id": str})
    before = rows[rows["code"].str.startswith("C50")].groupby("patient_id")["onset_date"].min()
    after = rows[rows["code"] == "Z85.3"].groupby("patient_id")["onset_date"].min()
    assert len(after)
    known = before.reindex(after.index).dropna()
    assert (pd.to_datetime(known) < pd.to_datetime(after.loc[known.index])).all()
    assert (rows.loc[rows["code"].str.startswith("C25"), "clinical_status"] == "active").all()


def test_a_physician_stumbles_over_little(block: Records) -> None:
    sense = SenseFacts()
    sense.add(block)
    assert set(sense.counts) == set(RULES)
    assert all(hit <= of for hit, of in sense.counts.values())
    assert sum(hit for hit, _ in sense.counts.values()) < 0.0005 * sum(of for _, of in sense.counts.values())


def test_the_rules_find_what_breaks_them(block: Records) -> None:
    """Records that were spoilt on purpose are found out by the rule that is about it."""
    frames = {name: block[name].to_pandas() for name in block}
    orders = frames["medication_request"]
    orders["reason_condition_id"] = None
    adult = orders["display"].astype(str).str.contains("isinopril")
    orders["display"] = orders["display"].astype(str)
    orders.loc[adult, "display"] = "Amoxicillin 50 MG/ML Oral Suspension"
    encounters = frames["encounter"]
    shift = pd.Timedelta(days=1) * ((5 - encounters["start_datetime"].dt.day_of_week) % 7)
    encounters["start_datetime"] = encounters["start_datetime"] + shift
    conditions = frames["condition"]
    conditions["clinical_status"] = "resolved"
    spoilt = {"medication_request": orders, "encounter": encounters, "condition": conditions}
    tables = {
        name: conform(pa.Table.from_pandas(frame, preserve_index=False), block.schema[name])
        for name, frame in spoilt.items()
    }
    sense = SenseFacts()
    sense.add(block.replace(**tables))
    for rule in (
        "drug without a reason",
        "drug of another age",
        "planned visit while closed",
        "lasting disease that ends",
    ):
        hit, of = sense.counts[rule]
        assert hit > 0.01 * of, rule
