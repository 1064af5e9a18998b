"""Pairs of codes that compete for places: learned from few people, they are nearer to the truth than those people."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ehrsynth.generation.outline import OutlineSampler
from ehrsynth.learning import LearningSettings, learn
from ehrsynth.provenance import Provenance
from ehrsynth.records import Records

CODES, PLACES, VISITS, PATIENTS = 40, 3, 2, 2_000
TOGETHER = (3, 7)


def visits_of(n: int, seed: int) -> npt.NDArray[np.int64]:
    """Return three codes of each visit, int64[n, 3]: by their odds, but that two nearly always come together."""
    rng = np.random.default_rng(seed)
    odds = 1.0 / np.arange(3, CODES + 3)
    # The greatest of odds divided by exponentials are drawn in turn, without replacement (Efraimidis, Spirakis 2006).
    codes = np.argsort(rng.exponential(size=(n, CODES)) / odds, axis=1)[:, :PLACES]
    first, second = TOGETHER
    one = (codes == first).any(axis=1) & ~(codes == second).any(axis=1) & (rng.random(n) < 0.8)
    other = np.argmax(codes[one] != first, axis=1)
    codes[np.flatnonzero(one), other] = second
    return codes


def records_of(codes: npt.NDArray[np.int64]) -> Records:
    """Return people of two visits each, with the codes."""
    people = [
        {
            "patient_id": f"p{i}",
            "sex": "female" if i % 2 else "male",
            "birth_date": date(1960, 1, 1),
            "record_start_date": date(2010, 1, 1),
        }
        for i in range(len(codes) // VISITS)
    ]
    visits: list[dict[str, Any]] = []
    conditions: list[dict[str, Any]] = []
    for number, some in enumerate(codes.tolist()):
        keys = {"encounter_id": f"e{number}", "patient_id": f"p{number // VISITS}"}
        visits.append(keys | {"sequence": number % VISITS + 1, "status": "finished", "encounter_class": "IMP"})
        conditions += [
            keys
            | {
                "condition_id": f"e{number}-{code}",
                "category": "encounter-diagnosis",
                "code_system": "http://codes.example.org",
                "code": f"c{code:02d}",
            }
            for code in some
        ]
    tables = {
        name: pa.Table.from_pylist(rows)
        for name, rows in (("patient", people), ("encounter", visits), ("condition", conditions))
    }
    origin = Provenance(source="simulated", source_format="none", licence="", synthetic=True, time_basis="order")
    return Records.from_tables(tables, provenance=origin)


def pairs(codes: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return P(both codes in a visit), float64[C, C]."""
    has = np.zeros((len(codes), CODES))
    has[np.arange(len(codes))[:, None], codes] = 1.0
    return np.triu(has.T @ has / len(has), 1)


def test_pairs_of_visits_with_places_are_nearer_to_the_truth_than_the_source() -> None:
    source = visits_of(VISITS * PATIENTS, 1)
    settings = LearningSettings(estimator="numpy", states=2, classes=1, iterations=4)
    model = learn(records_of(source), settings=settings, seed=2)
    family = model.families[0]
    assert family.sizes is not None
    number = {coding.code: int(coding.code[1:]) for coding in family.codings}
    name = np.array([number[coding.code] for coding in family.codings])
    outline, made = OutlineSampler(model), []
    for block in range(40):
        visits, present = outline.draw(3, block)
        mine = present["condition"]
        size = np.bincount(mine.visit, minlength=len(visits))
        assert (size == PLACES).all()
        made.append(name[mine.code].reshape(-1, PLACES))
    truth = pairs(visits_of(200_000, 4))
    seen, found = pairs(source), pairs(np.concatenate(made))
    off = [float(((one - truth) ** 2).sum()) for one in (seen, found)]
    assert off[1] < off[0]
    assert abs(found[TOGETHER] / truth[TOGETHER] - 1.0) < 0.15
