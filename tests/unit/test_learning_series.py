"""What is given or done at visits of its own: found, learned as series beside the chain, and drawn as such."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from ehrsynth.encoding import Timelines, encode
from ehrsynth.encoding.selection import select_visits
from ehrsynth.encoding.union import unite
from ehrsynth.errors import ModelError
from ehrsynth.generation import Generator
from ehrsynth.learning import LearningSettings, learn
from ehrsynth.learning.apart import raw_part
from ehrsynth.learning.far_learner import learn_parts
from ehrsynth.learning.rows import Here
from ehrsynth.learning.series import learn_series
from ehrsynth.learning.series_visits import choose_items, events_of, without_series
from ehrsynth.model import PatientModel, Series
from ehrsynth.model.package import load, save
from ehrsynth.model.shapes import check_shapes
from ehrsynth.model.summary import summarise
from ehrsynth.provenance import Provenance
from ehrsynth.randomness import BLOCK_SIZE
from ehrsynth.records import Records

from .learning_records import Halves, differences

ICD, CVX, CPT, RX = (
    "http://hl7.org/fhir/sid/icd-10-cm",
    "http://hl7.org/fhir/sid/cvx",
    "http://example.org/p",
    "http://www.nlm.nih.gov/research/umls/rxnorm",
)
COLD, SPRAIN, BACK = "J06.9", "S93.4", "M54.5"
POLIO, THERAPY, PILL = "10", "therapy", "pill"
DOSES, SESSIONS, PEOPLE, END = 3, 8, 500, date(2020, 1, 1)
SETTINGS = LearningSettings(estimator="numpy", iterations=5, classes=1, states=2)


def _life(rng: np.random.Generator, born: date, female: bool) -> list[tuple[date, str, str]]:
    """Return the days, tables and codes of a life.

    Colds and sprains at random; polio at 60, 120 and 180 days; eight weekly sessions after the first sore back; the
    pill once a year from 16 to 25.
    """
    days = (END - born).days
    found = [
        (int(day), "condition", COLD if rng.random() < 0.7 else SPRAIN)
        for day in rng.integers(0, days, rng.poisson(days / 365))
    ]
    found += [(60 * dose + int(rng.integers(3)), "immunization", POLIO) for dose in range(1, DOSES + 1)]
    if rng.random() < 0.5:
        onset = int(rng.integers(20 * 365, days))
        found.append((onset, "condition", BACK))
        found += [(onset + 7 * session, "procedure", THERAPY) for session in range(1, SESSIONS + 1)]
    if female:
        found += [(365 * year + 100, "medication_request", PILL) for year in range(16, 26)]
    return [(born + timedelta(days=day), table, code) for day, table, code in sorted(found) if day < days]


_CODED = {
    "condition": ("condition_id", ICD, {"category": "encounter-diagnosis"}),
    "immunization": ("immunization_id", CVX, {"status": "completed"}),
    "procedure": ("procedure_id", CPT, {"status": "completed"}),
    "medication_request": ("medication_request_id", RX, {"status": "completed", "intent": "order"}),
}


def _records() -> Records:
    rng = np.random.default_rng(2)
    tables: dict[str, list[dict[str, Any]]] = {name: [] for name in ("patient", "encounter", *_CODED)}
    for i in range(PEOPLE):
        born, female = date(1960, 1, 1) + timedelta(days=int(rng.integers(30 * 365))), bool(i % 2)
        tables["patient"].append({"patient_id": f"p{i}", "birth_date": born, "sex": "female" if female else "male"})
        visits: dict[date, str] = {}
        for day, table, code in _life(rng, born, female):
            key = {"patient_id": f"p{i}", "encounter_id": visits.setdefault(day, f"{i}-{len(visits)}")}
            identifier, system, fixed = _CODED[table]
            row = {identifier: f"{table}{len(tables[table])}", **key, "code_system": system, "code": code}
            if table == "immunization":
                row["occurrence_datetime"] = datetime(day.year, day.month, day.day)
            tables[table].append(row | fixed)
        for v, (day, name) in enumerate(visits.items()):
            tables["encounter"].append(
                {
                    "patient_id": f"p{i}",
                    "encounter_id": name,
                    "sequence": v + 1,
                    "start_datetime": datetime(day.year, day.month, day.day),
                    "time_precision": "day",
                    "status": "finished",
                    "encounter_class": "AMB",
                }
            )
    frames = {name: pa.Table.from_pylist(rows) for name, rows in tables.items()}
    return Records.from_tables(frames, provenance=Provenance(source="a test"))


@pytest.fixture(scope="module")
def source() -> tuple[Records, Timelines]:
    records = _records()
    return records, unite(encode(records))


@pytest.fixture(scope="module")
def model(source: tuple[Records, Timelines]) -> PatientModel:
    return learn(source[0], settings=SETTINGS, seed=1)


@pytest.fixture(scope="module")
def made(model: PatientModel) -> Records:
    return Generator(model, seed=3).block(0, 800)


def _series(model: PatientModel) -> Series:
    assert model.series is not None
    return model.series


def _days(records: Records, table: str) -> dict[str, list[int]]:
    """Return the days of age at each patient's rows of a table, ascending."""
    born = dict(
        zip(records["patient"]["patient_id"].to_pylist(), records["patient"]["birth_date"].to_pylist(), strict=True)
    )
    start = dict(
        zip(
            records["encounter"]["encounter_id"].to_pylist(),
            records["encounter"]["start_datetime"].to_pylist(),
            strict=True,
        )
    )
    found = defaultdict(list)
    for who, visit in zip(
        records[table]["patient_id"].to_pylist(), records[table]["encounter_id"].to_pylist(), strict=True
    ):
        found[who].append((start[visit].date() - born[who]).days)
    return {who: sorted(days) for who, days in found.items()}


def test_visits_of_series_are_told_from_others(source: tuple[Records, Timelines]) -> None:
    timelines = source[1]
    items = choose_items(timelines, 5)
    assert items is not None
    codings = timelines.families["*"].codings
    assert {codings[code].code for code in items.code} == {POLIO, THERAPY, PILL}
    events = events_of(timelines, items)
    per_item = Counter(codings[items.code[item]].code for item in events.item.tolist())
    assert per_item[POLIO] == DOSES * PEOPLE
    chain = without_series(timelines, items)
    assert chain.n_patients == PEOPLE
    # Of who has no other visit the first one stays.
    conditions = np.diff(chain.families["condition"].offsets)
    assert (conditions > 0).mean() > 0.99
    assert chain.families["immunization"].codes.size == 0


def test_without_some_visits_times_are_those_of_the_others(source: tuple[Records, Timelines]) -> None:
    bare = encode(source[0])
    kept = np.ones(bare.n_visits, dtype=bool)
    # The first, the third and the last of the first patient.
    low, high = int(bare.offsets[0]), int(bare.offsets[1])
    kept[[low, low + 2, high - 1]] = False
    some = select_visits(bare, kept)
    elapsed = bare.elapsed_days[low:high]
    rest = np.delete(elapsed, [0, 2, high - low - 1])
    np.testing.assert_array_equal(some.gap_days[: len(rest)], np.append(np.diff(rest), -1))
    np.testing.assert_array_equal(some.number[: len(rest)], np.arange(1, len(rest) + 1))
    assert some.age_at_start[0] == pytest.approx(bare.age_at_start[0] + elapsed[1] / 365.2425)
    assert some.last_day[0] == bare.last_day[0] - (elapsed[-1] - elapsed[-2])
    assert some.n_patients == bare.n_patients
    np.testing.assert_array_equal(some.age_at_start[1:], bare.age_at_start[1:])


def test_doses_come_when_they_are_due(model: PatientModel, made: Records) -> None:
    doses = _days(made, "immunization")
    n = len(made["patient"])
    assert len(doses) / n > 0.97
    counts = Counter(len(days) for days in doses.values())
    assert counts[DOSES] / len(doses) > 0.93
    assert max(counts) <= DOSES + 1
    first = np.array([days[0] for days in doses.values()])
    assert ((first >= 55) & (first <= 70)).mean() > 0.95
    gaps = np.concatenate([np.diff(days) for days in doses.values() if len(days) > 1])
    assert ((gaps >= 56) & (gaps <= 64)).mean() > 0.95


def test_a_course_follows_what_it_is_for(source: tuple[Records, Timelines], model: PatientModel, made: Records) -> None:
    series, codings = _series(model), [coding for family in model.families for coding in family.codings]
    item = [codings[code].code for code in series.code].index(THERAPY)
    assert codings[series.after[item]].code == BACK
    sessions = _days(made, "procedure")
    backs = made["condition"].filter(pa.compute.equal(made["condition"]["code"].cast(pa.string()), BACK))
    onsets = _days(made.replace(condition=backs), "condition")
    # Nobody has it who has not had what it is for, nor before.
    assert set(sessions) <= set(onsets)
    waited = np.array([days[0] - onsets[who][0] for who, days in sessions.items()])
    assert (waited > 0).all()
    assert (waited <= 10).mean() > 0.9
    assert len(sessions) / len(onsets) > 0.85
    lengths = np.array([len(days) for days in sessions.values()])
    assert np.mean(lengths == SESSIONS) > 0.8
    gaps = np.concatenate([np.diff(days) for days in sessions.values()])
    assert np.mean(gaps == 7) > 0.9


def test_series_are_of_a_sex_and_of_ages(made: Records) -> None:
    sex = dict(zip(made["patient"]["patient_id"].to_pylist(), made["patient"]["sex"].to_pylist(), strict=True))
    pills = _days(made, "medication_request")
    assert {sex[who] for who in pills} == {"female"}
    assert len(pills) / sum(one == "female" for one in sex.values()) > 0.9
    days = np.concatenate(list(pills.values()))
    assert days.min() >= 15 * 365
    assert days.max() <= 27 * 365
    assert np.mean([len(one) for one in pills.values()]) == pytest.approx(10, abs=1.5)


def test_records_with_series_are_whole(model: PatientModel, made: Records) -> None:
    encounters = made["encounter"].to_pandas()
    assert encounters["encounter_id"].is_unique
    keys = set(encounters["encounter_id"])
    for name in _CODED:
        assert set(made[name]["encounter_id"].to_pylist()) <= keys
    # In order of time, numbered from 1, nothing before birth.
    for _, one in encounters.groupby("patient_id", observed=True):
        assert one["sequence"].tolist() == list(range(1, len(one) + 1))
        assert one["start_datetime"].is_monotonic_increasing
    people = made["patient"].to_pandas().set_index("patient_id")
    start = encounters.groupby("patient_id", observed=True)["start_datetime"].min()
    assert (start.dt.date >= people["birth_date"].reindex(start.index)).all()
    assert (people["record_start_date"].reindex(start.index) == start.dt.date).all()
    last = encounters.groupby("patient_id", observed=True)["start_datetime"].max()
    assert (last.dt.date <= people["record_end_date"].reindex(last.index)).all()
    # The first patients are the same however many are asked for, and under the same seed.
    again = Generator(model, seed=3).block(0, 50)
    for name in ("encounter", "immunization", "procedure"):
        assert again[name].equals(made[name].slice(0, len(again[name])))


def test_nothing_of_a_series_comes_after_death(source: tuple[Records, Timelines]) -> None:
    records = source[0]
    people = records["patient"].to_pylist()
    last = records["encounter"].to_pandas().groupby("patient_id", observed=True)["start_datetime"].max()
    for i, person in enumerate(people):
        if i % 2:
            person["death_datetime"] = last[person["patient_id"]].to_pydatetime() + timedelta(days=30)
            person["death_precision"] = "day"
    dying = records.replace(patient=pa.Table.from_pylist(people, schema=records["patient"].schema))
    made = Generator(learn(dying, settings=SETTINGS, seed=1), seed=5).block(0, 600)
    death = made["patient"].to_pandas().set_index("patient_id")["death_datetime"].dropna()
    assert len(death) > 100
    encounters = made["encounter"].to_pandas()
    mine = encounters[encounters["patient_id"].isin(death.index)]
    after = mine["start_datetime"].dt.date.to_numpy() > death.reindex(mine["patient_id"]).dt.date.to_numpy()
    assert not after.any()


def test_series_of_parts_are_those_of_the_whole(source: tuple[Records, Timelines]) -> None:
    timelines = source[1]

    class Both(Halves):
        n_patients, n_visits = timelines.n_patients, timelines.n_visits

    apart: Any = Both(timelines)
    items, other = choose_items(timelines, 5), choose_items(apart, 5)
    assert items is not None
    assert other is not None
    np.testing.assert_array_equal(items.code, other.code)
    one, two = learn_series(timelines, items, 5), learn_series(apart, other, 5)
    for name in ("code", "after", "stop", "period", "sex", "joins", "oldest_days", "from_birth", "to_end"):
        np.testing.assert_allclose(getattr(one, name), getattr(two, name), rtol=1e-6, atol=1e-12)
    for name in ("start", "delay"):
        np.testing.assert_allclose(getattr(one, name).rate, getattr(two, name).rate, rtol=1e-6)
        np.testing.assert_array_equal(getattr(one, name).edges, getattr(two, name).edges)


@pytest.mark.learn
def test_a_model_with_series_is_learned_from_parts(source: tuple[Records, Timelines], model: PatientModel) -> None:
    records = source[0]
    ids = records["patient"]["patient_id"].to_pylist()
    cuts = [records.select_patients(ids[i * len(ids) // 3 : (i + 1) * len(ids) // 3]) for i in range(3)]
    settings = replace(SETTINGS, chunk_visits=4000)
    raw = Here([raw_part(part, i, settings.max_visits) for i, part in enumerate(cuts)])
    here, there = learn(records, seed=1, settings=settings), learn_parts(raw, seed=1, settings=settings)
    assert there.series is not None
    assert max(differences(here, there).values(), default=0.0) < 1e-9


def test_where_nothing_has_visits_of_its_own_there_are_no_series(source: tuple[Records, Timelines]) -> None:
    records = source[0]
    everywhere = records["encounter"].select(["patient_id", "encounter_id"]).to_pylist()
    rows = [
        {"condition_id": f"x{i}", **one, "code_system": ICD, "code": COLD, "category": "encounter-diagnosis"}
        for i, one in enumerate(everywhere)
    ]
    found = records.replace(condition=pa.Table.from_pylist(rows))
    assert choose_items(unite(encode(found)), 5) is None
    few = records.select_patients(records["patient"]["patient_id"].combine_chunks().slice(0, 10))
    assert choose_items(unite(encode(few)), 5) is None


def test_what_few_people_have_again_comes_once(source: tuple[Records, Timelines]) -> None:
    """Six people have a rare therapy, and four of them every day for ten days: of the days between nothing is told."""
    records = source[0]
    encounters, procedures = records["encounter"].to_pylist(), records["procedure"].to_pylist()
    for i in range(6):
        for day in range(10 if i < 4 else 1):
            key = {"patient_id": f"p{i}", "encounter_id": f"rare{i}-{day}"}
            start = datetime(2019, 3, 1) + timedelta(days=day)
            like = next(one for one in encounters if one["patient_id"] == key["patient_id"])
            encounters.append({**like, **key, "sequence": 5000 + day, "start_datetime": start})
            procedures.append(
                {**procedures[0], **key, "procedure_id": f"rare{i}-{day}", "code": "rare", "start_datetime": None}
            )
    more = records.replace(
        encounter=pa.Table.from_pylist(encounters, schema=records["encounter"].schema),
        procedure=pa.Table.from_pylist(procedures, schema=records["procedure"].schema),
    )
    timelines = unite(encode(more))
    items = choose_items(timelines, 5)
    assert items is not None
    series = learn_series(timelines, items, 5)
    codings = timelines.families["*"].codings
    rare = [codings[code].code for code in series.code].index("rare")
    assert (np.asarray(series.stop)[rare] == 1).all()


def _changed(**changes: Any) -> Callable[[Series], Series]:
    return lambda series: replace(series, **changes)


BROKEN: dict[str, tuple[Callable[[Series], Series], str]] = {
    "a code that is none": (_changed(code=np.array([0, 1, 99])), "series.code points"),
    "after a later item": (lambda s: replace(s, after=np.full(3, s.code[-1])), "comes later"),
    "no probability": (lambda s: replace(s, joins=np.full(3, 2.0)), "no probability"),
    "a negative rate": (
        lambda s: replace(s, start=replace(s.start, rate=-s.start.rate - 1)),
        "series.start has a rate",
    ),
    "offsets": (lambda s: replace(s, delay=replace(s.delay, offsets=np.array([0, 0, 0, 99]))), "do not part"),
    "edges": (
        lambda s: replace(s, start=replace(s.start, edges=s.start.edges[::-1].copy())),
        "The edges of series.start do not ascend",
    ),
    "gaps": (lambda s: replace(s, gap=tuple(2 * one for one in s.gap)), "does not sum to 1"),
    "items": (lambda s: replace(s, gap=s.gap[:1]), "other numbers"),
    "bands": (lambda s: replace(s, age_edges=tuple(np.arange(99) for _ in s.gap)), "has 99 bands"),
    "classes": (lambda s: replace(s, encounter_class=np.ones((3, 2))), "series.encounter_class has the shape"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_series_that_do_not_fit_are_refused(name: str, model: PatientModel) -> None:
    change, words = BROKEN[name]
    with pytest.raises(ModelError, match=words):
        check_shapes(replace(model, series=change(_series(model))))


def test_a_package_keeps_series_and_shows_them(model: PatientModel, tmp_path: Path) -> None:
    save(model, tmp_path / "model.zip")
    kept = load(tmp_path / "model.zip")
    assert isinstance(kept, PatientModel)
    check_shapes(kept)
    np.testing.assert_array_equal(_series(kept).stop, _series(model).stop)
    assert Generator(kept, seed=3).block(0, 30)["encounter"].equals(Generator(model, seed=3).block(0, 30)["encounter"])
    shown = {one.code: one for one in summarise(kept).series}
    course = next(one for code, one in shown.items() if THERAPY in code)
    assert BACK in course.follows
    assert course.visits == pytest.approx(SESSIONS, abs=0.5)
    assert course.days == 7
    assert summarise(kept).sizes["series"] == len(shown)


def test_blocks_of_series_are_the_same_for_any_order(model: PatientModel) -> None:
    generator = Generator(model, seed=7)
    second = generator.block(1, 20)
    assert next(iter(generator.blocks(20)))["encounter"].equals(generator.block(0, 20)["encounter"])
    assert generator.block(1, 20)["procedure"].equals(second["procedure"])
    assert BLOCK_SIZE > 20
