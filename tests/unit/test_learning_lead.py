"""An examination that people have once, where an illness is found: transitions remember it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from ehrsynth.encoding import Timelines, encode
from ehrsynth.encoding.union import UNION, unite
from ehrsynth.errors import ModelError
from ehrsynth.generation import Generator
from ehrsynth.generation.codes import Present, VisitContext
from ehrsynth.generation.outline import OutlineSampler
from ehrsynth.learning import LearningSettings, learn
from ehrsynth.learning.lead import find_lead, first_with, had_before
from ehrsynth.learning.lead_margins import LeadMargins
from ehrsynth.learning.margins import with_margins
from ehrsynth.learning.tree import within_visit_forest
from ehrsynth.model import PatientModel
from ehrsynth.model.shapes import check_shapes
from ehrsynth.records import Records

from .learning_records import cohort

SETTINGS = LearningSettings(estimator="numpy", iterations=15, classes=1, states=4)
N, EXAM, FOUND = 900, "EXAM", "FOUND"
SYSTEM = "http://unknown.example.org/codes"


def _records() -> Records:
    """Nine of ten have the examination once; in three of ten of them an illness is found there, hardly elsewhere."""
    rng = np.random.default_rng(3)
    records = cohort(N, visits=lambda i: 5 + i % 6, per_visit=1, codes=3)
    keep = records["condition"].filter(rng.random(records["condition"].num_rows) < 0.3).to_pylist()
    observations: list[dict[str, Any]] = []
    for i in range(N):
        exam = int(rng.integers(0, 5 + i % 6)) if rng.random() < 0.9 else -1
        for v in range(5 + i % 6):
            here = {"patient_id": f"p{i}", "encounter_id": f"{i}-{v}", "code_system": SYSTEM}
            at = {"category": "exam", "status": "final", "value_type": None}
            name = EXAM if v == exam else "PULSE"
            observations.append(here | at | {"observation_id": f"o{i}-{v}", "code": name})
            if rng.random() < (0.3 if v == exam else 0.005):
                keep.append(here | {"condition_id": f"f{i}-{v}", "category": "encounter-diagnosis", "code": FOUND})
    ever: set[str] = set()
    conditions = []
    for row in keep:
        if row["code"] != FOUND or row["patient_id"] not in ever:
            conditions.append(row)
        ever |= {row["patient_id"]} if row["code"] == FOUND else set()
    table = pa.Table.from_pylist(conditions, schema=records["condition"].schema)
    kept = {name: [row[name] for row in observations] for name in observations[0] if name != "value_type"}
    tables = {name: records[name] for name in ("patient", "encounter")}
    return Records.from_tables(
        tables | {"condition": table, "observation": pa.table(kept)}, provenance=records.provenance
    )


@pytest.fixture(scope="module")
def learned() -> tuple[PatientModel, Timelines]:
    records = _records()
    return learn(records, settings=SETTINGS, seed=1), unite(encode(records))


def _numbers(model: PatientModel) -> tuple[int, int]:
    """Return the examination and the illness among the codes of all families."""
    codes = [coding.code for family in model.families for coding in family.codings]
    return codes.index(EXAM), codes.index(FOUND)


def _draw(model: PatientModel) -> tuple[VisitContext, Present, Present]:
    visits, present = OutlineSampler(model).draw(7, 0)
    return visits, present["condition"], present["observation"]


def _share_found_there(model: PatientModel) -> tuple[float, float]:
    """Return the people who have the examination, and the share of the illness that is found there."""
    exam, found = _numbers(model)
    visits, conditions, observations = _draw(model)
    exam -= len(model.families[0].codings)
    there = np.zeros(len(visits), dtype=bool)
    there[observations.visit[observations.code == exam]] = True
    mine = (conditions.code == found) & ~conditions.recurs
    people = len(np.unique(visits.patient[np.flatnonzero(there)]))
    return people / (len(visits.offsets) - 1), float(there[conditions.visit[mine]].mean())


def test_what_is_found_at_an_examination_is_found_there(learned: tuple[PatientModel, Timelines]) -> None:
    model = learned[0]
    exam, _ = _numbers(model)
    assert model.trajectory.lead == exam
    people, there = _share_found_there(model)
    assert abs(people - 0.9) < 0.04
    # In truth .9 * .3 of the people have it there, and some .03 elsewhere.
    assert 0.75 < there < 0.95
    # Forgetful of who has had it, the chain comes to the examination again and again, and finds without it.
    t = model.trajectory
    without = np.split(np.asarray(t.transition), 2)[0]
    forgetful = replace(model, trajectory=replace(t, transition=np.concatenate([without, without])))
    assert _share_found_there(forgetful)[1] < there - 0.1


def test_nobody_has_it_twice_and_the_tables_agree(learned: tuple[PatientModel, Timelines]) -> None:
    model = learned[0]
    visits, _, observations = _draw(model)
    exam = _numbers(model)[0] - len(model.families[0].codings)
    mine = observations.code == exam
    assert visits.leads is not None
    np.testing.assert_array_equal(np.sort(observations.visit[mine]), np.flatnonzero(visits.leads))
    patient = visits.patient[np.sort(observations.visit[mine])]
    assert (np.diff(patient) == 0).mean() < 0.02
    rows = Generator(model, seed=7).block(0)["observation"]
    code = np.array(rows["code"].to_pylist())
    people = np.array(rows["patient_id"].to_pylist())
    assert len(np.unique(people[code == EXAM])) > 0.8 * 1024


def test_the_lead_hangs_from_nothing_and_others_from_it(learned: tuple[PatientModel, Timelines]) -> None:
    model, timelines = learned
    exam, found = _numbers(model)
    union = timelines.families[UNION]
    n = timelines.families["condition"].n_codes
    first = np.full(n, -1, dtype=np.int32)
    free = within_visit_forest(timelines, union, n, first=first)
    assert free[exam] == found
    assert find_lead(timelines, free) == exam
    led = within_visit_forest(timelines, union, n, first=first, lead=exam)
    assert led[exam] == -1
    assert (led[:n] == -1).all()
    # What comes again and again leads nothing, and neither does what fewer people have than the illness.
    again = np.where(np.arange(len(free)) == exam, -1, free)
    assert find_lead(timelines, again) == -1


def test_who_has_had_it_is_known_from_the_visit_after(learned: tuple[PatientModel, Timelines]) -> None:
    model, timelines = learned
    exam = _numbers(model)[0]
    first, before = first_with(timelines, exam), had_before(timelines, exam)
    owner = timelines.patient_of_visit
    has = first < timelines.n_visits
    assert not before[first[has]].any()
    assert before[np.flatnonzero(np.arange(timelines.n_visits) > first[owner])].all()
    assert not before[~has[owner]].any()
    assert not had_before(timelines, -1).any()


def test_when_it_comes_is_moved_to_what_was_seen(learned: tuple[PatientModel, Timelines]) -> None:
    model, timelines = learned
    t = model.trajectory
    margins = LeadMargins(t, timelines)
    number, owner = timelines.number.astype(np.int64), timelines.patient_of_visit
    age = np.rint(timelines.age_years[timelines.offsets[:-1]].astype(np.float64) * 365.2425).astype(np.int64)
    place, first = np.arange(timelines.n_visits), first_with(timelines, t.lead)[owner]
    days = timelines.elapsed_days.astype(np.int64)
    ones = np.ones(timelines.n_visits)
    seen = margins.count(number, age[owner], days, place > first, place == first, timelines.is_last, ones)
    same = margins.moved(t, seen, 1.0)
    np.testing.assert_allclose(same.lead_tilt, 0.0, atol=1e-9)
    np.testing.assert_allclose(same.lead_end, 1.0)
    half = seen.copy()
    half[1] *= 0.5
    more = margins.moved(t, half, 1.0)
    assert np.asarray(more.lead_tilt).max() > 0.3
    assert np.asarray(more.lead_end).max() > 1.3
    off = replace(model, trajectory=replace(t, lead_tilt=np.full_like(np.asarray(t.lead_tilt), -3.0)))
    assert _share_found_there(off)[0] < 0.75
    assert abs(_share_found_there(with_margins(off, timelines, seed=4))[0] - 0.9) < 0.05


def test_a_package_whose_lead_does_not_fit_is_refused(learned: tuple[PatientModel, Timelines]) -> None:
    model = learned[0]
    t = model.trajectory
    odd = replace(t, transition=np.asarray(t.transition)[:1])
    cases: list[tuple[Any, str]] = [
        (odd, "as many matrices"),
        (replace(t, lead_tilt=np.zeros((7, 3))), "lead_tilt"),
        (replace(t, lead_end=np.ones((7, 2))), "lead_end"),
        (replace(t, lead=10_000), "no code of the model"),
    ]
    for broken, message in cases:
        with pytest.raises(ModelError, match=message):
            changed = replace(model, trajectory=broken)
            check_shapes(changed)
            OutlineSampler(changed)
