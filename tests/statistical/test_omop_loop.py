"""OMOP costs a model nothing: not when it is learned from, and not when what was learned is learned again."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

from ehrsynth import api
from ehrsynth.evaluation.metric import MetricResult
from ehrsynth.records import Records

N, SEEDS, BOOTSTRAP = 240, (4, 5, 6), 30


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


def lost(models: ModuleType, seed: int, folder: Path) -> set[tuple[int, str]]:
    """Return the results that are worse through OMOP, with the generation after which they are."""
    from ehrsynth.learning import LearningSettings

    settings = LearningSettings(states=3, classes=1, iterations=10)

    def generation(source: Records) -> Records:
        return api.generate(api.learn(source, seed=seed, settings=settings), population=N, seed=seed)

    people = api.generate(models.tiny_model(), population=2 * N, seed=seed)
    ids = people["patient"]["patient_id"].combine_chunks()
    real, judge = (
        through_omop(people.select_patients(half), folder / str(at)) for at, half in enumerate((ids[:N], ids[N:]))
    )
    plain = people.select_patients(ids[:N])
    carried = real
    found = set()
    for turn in range(2):
        plain, carried = generation(plain), through_omop(generation(carried), folder / f"turn{turn}")
        without = through_omop(plain, folder / f"without{turn}")
        one, two = (
            api.evaluate(real, made, control=judge, seed=seed, bootstrap=BOOTSTRAP) for made in (without, carried)
        )
        found |= {(turn, r.name) for r in two.results if r.name in one and worse(one[r.name], r)}
    return found


def test_two_generations_through_omop_are_those_without_it(models: ModuleType, tmp_path: Path) -> None:
    pytest.importorskip("pomegranate", reason="needs the learn extra")
    # Of a hundred results of two draws one or another is worse by chance, in a third of seeds; what OMOP costs is worse
    # for other people and draws as well.
    found = [lost(models, seed, tmp_path / str(seed)) for seed in SEEDS]
    assert [one for one, times in Counter(one for some in found for one in some).items() if times > 1] == []
