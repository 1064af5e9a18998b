"""What everybody has at an age nobody has far from it; of what few people have nothing is said."""

from __future__ import annotations

from datetime import date

import numpy as np
import pyarrow as pa
import pytest

from ehrsynth.encoding import Timelines, encode
from ehrsynth.encoding.union import unite
from ehrsynth.generation import Generator
from ehrsynth.learning import LearningSettings, learn
from ehrsynth.learning.age_spans import possible_ages
from ehrsynth.model import Strata
from ehrsynth.records import Records

from .learning_records import Halves, cohort

STRATA = Strata(sexes=("female", "male"), age_edges=(0.0, 20.0, 40.0, 60.0, float("inf")))
AGE_2015 = (10, 30, 50, 70)


def _records() -> Records:
    """People of four ages with visits of one of two codes; one in five of those of 50 has a third, and four of 10."""
    records = cohort(800, visits=3, per_visit=1, codes=2)
    born = [date(2015 - AGE_2015[i % 4], 1, 1) for i in range(800)]
    people = records["patient"].set_column(
        records["patient"].column_names.index("birth_date"), "birth_date", pa.array(born)
    )
    rows = records["condition"].to_pylist()
    late = [row for row in rows if int(row["patient_id"][1:]) % 4 == 2][::2]
    early = [row for row in rows if int(row["patient_id"][1:]) % 4 == 0][:12:3]
    for row in late + early:
        row["code"] = "LATE"
    return records.replace(patient=people, condition=pa.Table.from_pylist(rows, schema=records["condition"].schema))


@pytest.fixture(scope="module")
def records() -> Records:
    return _records()


@pytest.fixture(scope="module")
def timelines(records: Records) -> Timelines:
    return unite(encode(records))


def _code(timelines: Timelines, code: str) -> int:
    return [one.code for one in timelines.families["condition"].codings].index(code)


def test_strata_far_from_where_people_have_a_code_are_left_out(timelines: Timelines) -> None:
    late = _code(timelines, "LATE")
    fits = possible_ages(timelines, "condition", STRATA, 5)
    # Four children are too few to be told of; 45 to 55 of the band of 40 and of that of 60 years hold no more than 5.
    np.testing.assert_array_equal(fits[:4, late], [False, False, True, False])
    np.testing.assert_array_equal(fits[:4], fits[4:])
    assert fits[:, [code for code in range(fits.shape[1]) if code != late]].all()
    # Told of four people as well, it comes at their age too; of few people nothing is said.
    assert possible_ages(timelines, "condition", STRATA, 4)[:3, late].all()
    assert possible_ages(timelines, "condition", STRATA, 50).all()


def test_two_halves_say_what_the_whole_says(timelines: Timelines) -> None:
    whole = possible_ages(timelines, "condition", STRATA, 5)
    np.testing.assert_array_equal(possible_ages(Halves(timelines), "condition", STRATA, 5), whole)


def test_nobody_is_generated_with_it_at_another_age(records: Records) -> None:
    model = learn(records, settings=LearningSettings(estimator="numpy", iterations=4, classes=1, states=2), seed=1)
    made = Generator(model, seed=3).block(0)
    condition, encounter = made["condition"].to_pandas(), made["encounter"].to_pandas().set_index("encounter_id")
    born = made["patient"].to_pandas().set_index("patient_id")["birth_date"]
    late = condition[condition["code"] == "LATE"]
    assert len(late) > 100
    start = encounter["start_datetime"].reindex(late["encounter_id"]).to_numpy().astype("datetime64[D]")
    age = (start - born.reindex(late["patient_id"]).to_numpy().astype("datetime64[D]")).astype(float) / 365.25
    first, last = model.trajectory.strata.age_edges[1:-1][0], model.trajectory.strata.age_edges[-2]
    assert first < 45
    assert last > 55
    # By whole strata: those that reach 45 or begin before 60.
    edges = np.array(model.trajectory.strata.age_edges)
    assert age.min() >= edges[edges <= 45][-1] - 0.1
    assert age.max() <= edges[edges >= 60][0] + 0.1
