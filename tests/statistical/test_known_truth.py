"""What is recovered of a hospital whose truth is written down: dynamics, recurrence, costs of a stay, no nonsense."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import ehrsynth
from ehrsynth.learning import LearningSettings
from ehrsynth.records import Records

from .known_truth import CHRONIC, FEMALE_ONLY, MALE_ONLY, RECURRENCE, simulate

LEARNED, JUDGED = 1000, 4000


class Hospital:
    """Encounters in order, with what comes next; and the conditions of each."""

    def __init__(self, records: Records) -> None:
        self.records = records
        self.people = records["patient"].to_pandas().set_index("patient_id")
        frame = records["encounter"].to_pandas().sort_values(["patient_id", "sequence"], ignore_index=True)
        frame["encounter_class"] = frame["encounter_class"].astype(str)
        same = frame["patient_id"].eq(frame["patient_id"].shift(-1))
        frame["next_class"] = frame["encounter_class"].shift(-1).where(same)
        frame["next_id"] = frame["encounter_id"].shift(-1).where(same)
        self.encounters = frame
        self.conditions = records["condition"].to_pandas()

    def bigrams(self) -> pd.Series:
        """P(class of a visit and of the next)."""
        both = self.encounters.dropna(subset=["next_class"])
        return both.groupby(["encounter_class", "next_class"]).size() / len(both)

    def inpatient_again(self) -> float:
        """P(inpatient | the visit before was)."""
        both = self.encounters.dropna(subset=["next_class"])
        return float(both.loc[both["encounter_class"] == "IMP", "next_class"].eq("IMP").mean())

    def recurrence(self) -> float:
        """P(a chronic condition is coded at the next visit | it is at this one)."""
        chronic = self.conditions[self.conditions["code"].astype(str).isin(CHRONIC)]
        following = self.encounters.set_index("encounter_id")["next_id"]
        asked = chronic.assign(next_id=chronic["encounter_id"].map(following)).dropna(subset=["next_id"])
        coded = set(zip(chronic["encounter_id"], chronic["code"].astype(str), strict=True))
        again = [
            (visit, code) in coded for visit, code in zip(asked["next_id"], asked["code"].astype(str), strict=True)
        ]
        return float(np.mean(again))

    def cost_by_class(self) -> float:
        """R2 of what a visit costs (minutes of staff, on the scale of logarithms) on the class of encounter."""
        stay = (self.encounters["end_datetime"] - self.encounters["start_datetime"]).dt.total_seconds() / 60
        cost = np.log1p(stay)
        mean = cost.groupby(self.encounters["encounter_class"]).transform("mean")
        return float(1 - ((cost - mean) ** 2).sum() / ((cost - cost.mean()) ** 2).sum())


@pytest.fixture(scope="module")
def source() -> Records:
    return simulate(LEARNED, seed=1).records


@pytest.fixture(scope="module")
def truth() -> Hospital:
    return Hospital(simulate(JUDGED, seed=2).records)


@pytest.fixture(scope="module")
def recovered(source: Records) -> Hospital:
    model = ehrsynth.learn(source, settings=LearningSettings(estimator="numpy"), seed=1)
    return Hospital(ehrsynth.generate(model, population=JUDGED, seed=3))


def test_the_hospital_is_as_big_as_it_should_be(source: Records) -> None:
    assert 6_500 <= source["encounter"].num_rows <= 8_500
    assert 5_000 <= source["condition"].num_rows <= 13_000


def test_classes_follow_each_other_as_they_do(truth: Hospital, recovered: Hospital) -> None:
    distance = truth.bigrams().sub(recovered.bigrams(), fill_value=0).abs().sum() / 2
    assert distance <= 0.034
    assert recovered.inpatient_again() == pytest.approx(truth.inpatient_again(), abs=0.02)


def test_chronic_conditions_come_again(truth: Hospital, recovered: Hospital) -> None:
    assert truth.recurrence() == pytest.approx(RECURRENCE, abs=0.02)
    assert recovered.recurrence() == pytest.approx(truth.recurrence(), abs=0.03)


def test_cost_depends_on_the_class(truth: Hospital, recovered: Hospital) -> None:
    assert recovered.cost_by_class() == pytest.approx(truth.cost_by_class(), abs=0.02)


def test_nothing_is_out_of_place(recovered: Hospital) -> None:
    assert recovered.records.check_keys() == []
    encounters, conditions = recovered.encounters.set_index("encounter_id"), recovered.conditions
    assert (encounters["end_datetime"] >= encounters["start_datetime"]).all()
    start = encounters["start_datetime"].reindex(conditions["encounter_id"]).dt.normalize().to_numpy()
    end = encounters["end_datetime"].reindex(conditions["encounter_id"]).dt.normalize().to_numpy()
    recorded, onset = (pd.to_datetime(conditions[name]).to_numpy() for name in ("recorded_date", "onset_date"))
    assert ((recorded >= start) & (recorded <= end)).all()
    # A condition that lasts begins in the first encounter that tells of it; all others in their own.
    first = conditions.assign(start=start, end=end).groupby(["patient_id", "code"], observed=True)
    in_first = (onset >= first["start"].transform("min").to_numpy()) & (
        onset <= first["end"].transform("min").to_numpy()
    )
    assert (in_first | ((onset >= start) & (onset <= end))).all()
    sex = recovered.people["sex"].astype(str).reindex(conditions["patient_id"]).to_numpy()
    code = conditions["code"].astype(str).to_numpy()
    assert np.isin(code, [*MALE_ONLY, *FEMALE_ONLY]).sum() > 50
    assert (sex[np.isin(code, MALE_ONLY)] == "male").all()
    assert (sex[np.isin(code, FEMALE_ONLY)] == "female").all()
