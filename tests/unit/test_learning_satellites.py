"""Conditions that hardly ever come without another one of the visit: found, learned, and drawn where that one is."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from ehrsynth.encoding import encode
from ehrsynth.encoding.union import unite
from ehrsynth.errors import ModelError
from ehrsynth.generation import Generator
from ehrsynth.learning import LearningSettings, learn
from ehrsynth.learning.apart import raw_part
from ehrsynth.learning.far_learner import learn_parts
from ehrsynth.learning.rows import Here
from ehrsynth.learning.satellites import satellite_parents
from ehrsynth.model import PatientModel
from ehrsynth.model.package import load, save
from ehrsynth.model.shapes import check_shapes
from ehrsynth.provenance import Provenance
from ehrsynth.records import Records

from .learning_records import Halves, differences

ICD = "http://hl7.org/fhir/sid/icd-10-cm"
DIABETES, RETINOPATHY, BLINDNESS, CYST = "E11.9", "H36.0", "H54.0", "N83.2"
"""Retinopathy comes beside diabetes only, blindness beside retinopathy, and cysts beside diabetes of women."""
OTHERS = ("I10", "J06.9", "K21.9", "M54.5", "R05.9")
SETTINGS = LearningSettings(estimator="numpy", iterations=8, classes=1, states=2)
PEOPLE, VISITS = 900, 6


def records_of(visits: list[list[list[str]]]) -> Records:
    """Records of the codes of each person's visits, ten days from one to the next."""
    tables: dict[str, list[dict[str, Any]]] = {"patient": [], "encounter": [], "condition": []}
    for i, of_person in enumerate(visits):
        tables["patient"].append(
            {"patient_id": f"p{i}", "birth_date": date(1940 + i % 30, 3, 1), "sex": ("male", "female")[i % 2]}
        )
        for v, codes in enumerate(of_person):
            key = {"patient_id": f"p{i}", "encounter_id": f"{i}-{v}"}
            start = datetime(2015, 1, 1, 9) + timedelta(days=10 * v)
            tables["encounter"].append(
                {
                    **key,
                    "sequence": v + 1,
                    "start_datetime": start,
                    "end_datetime": start + timedelta(hours=1),
                    "status": "finished",
                    "encounter_class": "AMB",
                }
            )
            tables["condition"] += [
                {
                    **key,
                    "condition_id": f"{i}-{v}-{c}",
                    "category": "encounter-diagnosis",
                    "code_system": ICD,
                    "code": c,
                }
                for c in codes
            ]
    return Records.from_tables(
        {name: pa.Table.from_pylist(rows) for name, rows in tables.items()},
        provenance=Provenance(source="a test", time_basis="calendar"),
    )


def lives(n: int, alone: float = 0.0) -> list[list[list[str]]]:
    """The codes of n people: retinopathy comes to .25 of the diabetic visits, and to .75 once it was there.

    Cysts come to .3 of those of women, and to a share `alone` of their other visits.
    """
    rng = np.random.default_rng(7)
    found = []
    for i in range(n):
        prone, blind, had, visits = rng.random() < 0.6, rng.random() < 0.5, False, []
        for _ in range(VISITS):
            codes = [code for code in OTHERS if rng.random() < 0.12][:2]
            if prone and rng.random() < 0.5:
                codes = [*codes[:1], DIABETES]
                if rng.random() < (0.75 if had else 0.25):
                    had = True
                    codes += [RETINOPATHY, *([BLINDNESS] if blind and rng.random() < 0.6 else [])]
                if i % 2 and rng.random() < 0.3:
                    codes.append(CYST)
            elif alone and i % 2 and rng.random() < alone:
                codes.append(CYST)
            visits.append(codes)
        found.append(visits)
    return found


@pytest.fixture(scope="module")
def records() -> Records:
    return records_of(lives(PEOPLE))


@pytest.fixture(scope="module")
def model(records: Records) -> PatientModel:
    return learn(records, settings=SETTINGS, seed=3)


def parents(family: Any, parent: np.ndarray) -> dict[str, str]:
    return {
        family.codings[code].code: family.codings[parent[code]].code for code in np.flatnonzero(parent >= 0).tolist()
    }


def found(visits: list[list[list[str]]], min_patients: int = 5, **options: Any) -> dict[str, str]:
    timelines = unite(encode(records_of(visits), min_patients=1))
    whole, apart = (
        satellite_parents(one, most=6, min_patients=min_patients, **options)
        for one in (timelines, Halves(timelines))  # type: ignore[arg-type]
    )
    np.testing.assert_array_equal(whole, apart)
    return parents(timelines.families["condition"], whole)


def test_the_commoner_one_leads_and_chains_are_kept() -> None:
    expected = {RETINOPATHY: DIABETES, BLINDNESS: RETINOPATHY, CYST: DIABETES}
    assert found(lives(300)) == expected
    # Of two that never come apart one leads.
    twins = [[["A", "B"]], [["C"]], [["C"]]] * 12
    assert found(twins) == {"B": "A"}
    # What most visits have goes with everything.
    assert found([[["A", "B"]], [["A"]], [["A"]]] * 12) == {}


def test_few_exceptions_few_visits_and_few_people() -> None:
    def visits(together: int, alone: int) -> list[list[list[str]]]:
        return [[["A", "B"]]] * together + [[["B"]]] * alone + [[["A"]]] * 30 + [[["C"]]] * 150

    assert found(visits(8, 0)) == {"B": "A"}
    assert found(visits(7, 0)) == {}
    assert found(visits(19, 1)) == {"B": "A"}
    assert found(visits(18, 2)) == {}
    assert found(visits(19, 1), without_exception=True) == {}
    assert found(visits(19, 0), without_exception=True) == {"B": "A"}
    assert found(visits(19, 0), min_patients=20) == {}
    # One person's twenty visits are one person.
    assert found([[["A", "B"]] * 20, *visits(0, 0)]) == {}


def shares(records: Records) -> dict[str, float]:
    """What the records show of the codes that go together, and of the number of the others."""
    codes: dict[str, set[str]] = {key: set() for key in records["encounter"]["encounter_id"].to_pylist()}
    table = records["condition"]
    for key, code in zip(table["encounter_id"].to_pylist(), table["code"].to_pylist(), strict=True):
        codes[key].add(code)
    encounters = records["encounter"].sort_by([("patient_id", "ascending"), ("sequence", "ascending")])
    sex = dict(zip(*(records["patient"][name].to_pylist() for name in ("patient_id", "sex")), strict=True))
    counts: dict[str, list[bool]] = {}
    seen: dict[str, set[str]] = {}
    for patient, key in zip(*(encounters[name].to_pylist() for name in ("patient_id", "encounter_id")), strict=True):
        mine, before = codes[key], seen.setdefault(patient, set())
        woman = sex[patient] == "female"
        for name, given, told in (
            ("diabetes", True, DIABETES in mine),
            ("retinopathy, new", DIABETES in mine and RETINOPATHY not in before, RETINOPATHY in mine),
            ("retinopathy, again", DIABETES in mine and RETINOPATHY in before, RETINOPATHY in mine),
            ("blindness", RETINOPATHY in mine, BLINDNESS in mine),
            ("cyst of a woman", woman and DIABETES in mine, CYST in mine),
            ("cyst of a man", not woman, CYST in mine),
            ("retinopathy alone", RETINOPATHY in mine, DIABETES not in mine),
            ("blindness alone", BLINDNESS in mine, RETINOPATHY not in mine),
            ("cyst alone", CYST in mine, DIABETES not in mine),
            ("another one", True, bool(mine & set(OTHERS))),
            ("two of the others", True, len(mine & {*OTHERS, DIABETES}) == 2),
        ):
            if given:
                counts.setdefault(name, []).append(told)
        before |= mine
    return {name: float(np.mean(one)) for name, one in counts.items()}


@pytest.mark.learn
def test_pairs_come_as_often_as_seen_and_never_apart(records: Records, model: PatientModel) -> None:
    family = model.families[0]
    assert family.tilt is not None
    assert parents(family, np.asarray(family.parent)) == {RETINOPATHY: DIABETES, BLINDNESS: RETINOPATHY, CYST: DIABETES}
    # They keep no company, and were never seen alone.
    assert family.company is not None and not np.isin(np.asarray(family.company)[:, 1:], family.satellites).any()
    assert not np.asarray(family.never)[:, family.satellites].any()
    real, made = shares(records), shares(Records.concat(list(Generator(model, seed=5).blocks(4_000))))
    for name in ("cyst of a man", "retinopathy alone", "blindness alone", "cyst alone"):
        assert made.pop(name) == real.pop(name) == 0.0, name
    for name, share in real.items():
        assert made[name] == pytest.approx(share, rel=0.12), (name, share, made[name])


@pytest.mark.learn
def test_exceptions_are_as_rare_as_seen() -> None:
    records = records_of(lives(PEOPLE, alone=0.005))
    model = learn(records, settings=SETTINGS, seed=3)
    family = model.families[0]
    assert parents(family, np.asarray(family.parent))[CYST] == DIABETES
    real, made = shares(records), shares(Records.concat(list(Generator(model, seed=5).blocks(4_000))))
    assert 0.02 < real["cyst alone"] < 0.05
    assert made["cyst alone"] == pytest.approx(real["cyst alone"], rel=0.5)
    assert made["cyst of a woman"] == pytest.approx(real["cyst of a woman"], rel=0.12)
    assert made["cyst of a man"] == 0


@pytest.mark.learn
def test_packages_keep_satellites_and_the_same_seed_makes_the_same_bytes(
    records: Records, model: PatientModel, tmp_path: Path
) -> None:
    again = learn(records, settings=SETTINGS, seed=3)
    assert differences(model, again) == {}
    save(model, tmp_path / "model.zip")
    loaded = load(tmp_path / "model.zip")
    np.testing.assert_array_equal(loaded.families[0].satellites, model.families[0].satellites)
    assert len(loaded.families[0].satellites) == 3
    first, second = (list(Generator(one, seed=9).blocks(200)) for one in (model, loaded))
    assert all(a[name].equals(b[name]) for a, b in zip(first, second, strict=True) for name in a.tables)


@pytest.mark.learn
def test_learned_in_parts_is_learned_at_once(records: Records, model: PatientModel) -> None:
    ids = records["patient"]["patient_id"].to_pylist()
    parts = [records.select_patients(ids[i * len(ids) // 3 : (i + 1) * len(ids) // 3]) for i in range(3)]
    raw = Here([raw_part(part, i, SETTINGS.max_visits) for i, part in enumerate(parts)])
    assert max(differences(model, learn_parts(raw, seed=3, settings=SETTINGS)).values(), default=0.0) < 1e-9


def test_a_satellite_of_nothing_in_the_family_is_refused(models: Any) -> None:
    model = models.tiny_model()
    conditions, *others = (replace(family, parent_table="*") for family in model.families)
    parent = np.full(len(conditions.codings), -1, dtype=np.int32)
    parent[2] = len(conditions.codings)
    conditions = replace(conditions, parent=parent, tilt=np.ones((len(conditions.never), 3)))
    with pytest.raises(ModelError, match=r"condition\.parent points"):
        check_shapes(replace(model, families=(conditions, *others)))
