"""OMOP costs a model nothing: not when it is learned from, and not when what was learned is learned again."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from ehrsynth import api
from ehrsynth.evaluation.metric import MetricResult
from ehrsynth.records import Records

N, SEED, BOOTSTRAP = 240, 4, 30


def through_omop(records: Records, folder: Path) -> Records:
    api.export(records, folder, formats=["omop-parquet"])
    return api.read(folder / "omop-parquet", format="omop")


def worse(without: MetricResult, carried: MetricResult) -> bool:
    """Whether a result is worse through OMOP, beyond noise; parts of others and what real patients fail say nothing."""
    if without.detail or without.interval is None or carried.interval is None or (without.baseline or 0) < 0:
        return False
    if without.better == "higher":
        return carried.interval[1] < without.interval[0]
    return carried.interval[0] > without.interval[1]


def test_two_generations_through_omop_are_those_without_it(models: ModuleType, tmp_path: Path) -> None:
    pytest.importorskip("pomegranate", reason="needs the learn extra")
    from ehrsynth.learning import LearningSettings

    settings = LearningSettings(states=3, classes=1, iterations=10)

    def generation(source: Records) -> Records:
        return api.generate(api.learn(source, seed=SEED, settings=settings), population=N, seed=SEED)

    people = api.generate(models.tiny_model(), population=2 * N, seed=SEED)
    ids = people["patient"]["patient_id"].combine_chunks()
    real, judge = (
        through_omop(people.select_patients(half), tmp_path / str(at)) for at, half in enumerate((ids[:N], ids[N:]))
    )
    plain = people.select_patients(ids[:N])
    carried = real
    for turn in range(2):
        plain, carried = generation(plain), through_omop(generation(carried), tmp_path / f"turn{turn}")
        without = through_omop(plain, tmp_path / f"without{turn}")
        one, two = (
            api.evaluate(real, made, control=judge, seed=SEED, bootstrap=BOOTSTRAP) for made in (without, carried)
        )
        lost = [(one[r.name], r) for r in two.results if r.name in one and worse(one[r.name], r)]
        assert lost == [], turn
