"""Evaluation part by part of the patients: the figures of evaluating at once."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from ehrsynth import api, plugins
from ehrsynth.engines.parts_evaluation import evaluate_sources
from ehrsynth.errors import SourceError
from ehrsynth.evaluation import EvaluationReport, RecordParts, can_be_in_parts, evaluate, evaluate_parts, tally
from ehrsynth.evaluation.completeness import CompletenessMetric
from ehrsynth.records import Records

NAMES = ("real", "synthetic", "control")


class Kept:
    """Parts in memory."""

    def __init__(self) -> None:
        self.things: list[Any] = []

    def put(self, thing: Any) -> int:
        self.things.append(thing)
        return len(self.things) - 1

    def get(self, place: int) -> Any:
        return self.things[place]


def in_parts(records: Records, *bounds: int) -> RecordParts:
    """Records cut before some of the patients."""
    parts, ids = RecordParts(store=Kept()), records["patient"]["patient_id"].combine_chunks()
    for start, stop in zip((0, *bounds), (*bounds, len(ids)), strict=True):
        parts.add(records.select_patients(ids[start:stop]))
    return parts


def assert_same(one: EvaluationReport, other: EvaluationReport) -> None:
    """The reports say the same; sums of measured values may be added up in another order."""
    assert [result.name for result in one.results] == [result.name for result in other.results]
    for first, second in zip(one.results, other.results, strict=True):
        assert first.note == second.note
        for name in ("value", "interval", "baseline", "baseline_interval"):
            left, right = getattr(first, name), getattr(second, name)
            assert left == (None if right is None else pytest.approx(right, abs=1e-12)), first.name
    assert (one.notes, one.patients, one.reference) == (other.notes, other.patients, other.reference)


@pytest.mark.parametrize("sample", [None, 50])
def test_every_metric_says_the_same(evaluated: ModuleType, sample: int | None) -> None:
    pytest.importorskip("sklearn")
    records = [evaluated.population(seed, 90) for seed in range(3)]
    whole = evaluate(*records[:2], control=records[2], bootstrap=12, seed=4, sample=sample)
    cut = [in_parts(records[0], 20, 55), in_parts(records[1]), in_parts(records[2], 3, 4, 60)]
    parts = evaluate_parts(*cut[:2], control=cut[2], bootstrap=12, seed=4, sample=sample)
    assert {result.group for result in parts.results} == set(plugins.names("ehrsynth.metrics"))
    assert_same(parts, whole)


def test_parts_without_dates_or_without_encounters(evaluated: ModuleType) -> None:
    # Where any start is known encounters without one do not count, whatever part they are in.
    records = evaluated.population(1, 60)
    start = records["encounter"]["start_datetime"].to_pylist()
    owner = records["encounter"]["patient_id"].to_pylist()
    ids = records["patient"]["patient_id"].to_pylist()
    late = [
        None if who in ids[40:] and at % 2 else when for at, (who, when) in enumerate(zip(owner, start, strict=True))
    ]
    lost = [None if who in ids[:10] else when for who, when in zip(owner, late, strict=True)]
    table = records["encounter"]
    at = table.column_names.index("start_datetime")
    records = records.replace(
        encounter=table.set_column(at, "start_datetime", pa.array(lost, pa.timestamp("s", "UTC")))
    )
    other = evaluated.population(2, 60)
    metrics = ["person", "codes", "temporal", "survival", "numeric", "subgroups", "completeness"]
    whole = evaluate(records, other, metrics=metrics, bootstrap=5)
    assert whole.patients["real"] < 60
    for bounds in ((10, 40), (5, 6, 7, 8), (9, 30)):
        parts = evaluate_parts(in_parts(records, *bounds), in_parts(other, 30), metrics=metrics, bootstrap=5)
        assert_same(parts, whole)
    undated = evaluated.population(3, 40, dated=False)
    whole = evaluate(undated, other, metrics=metrics, bootstrap=5)
    assert_same(evaluate_parts(in_parts(undated, 20), in_parts(other, 20), metrics=metrics, bootstrap=5), whole)


def test_nobody_with_an_encounter(evaluated: ModuleType) -> None:
    records = evaluated.population(1, 20)
    nobody = records.replace(encounter=records["encounter"].slice(0, 0))
    with pytest.raises(SourceError, match="The synthetic records have no patient with an encounter"):
        evaluate_parts(in_parts(records, 10), in_parts(nobody, 10), metrics=["person"])


@pytest.fixture
def sources(evaluated: ModuleType, tmp_path: Path) -> dict[str, Path]:
    """Three cohorts as CSV."""
    for seed, name in enumerate(NAMES):
        api.export(evaluated.population(seed, 40), tmp_path / name, formats=["csv"])
    return {name: tmp_path / name / "csv" for name in NAMES}


@pytest.fixture
def run(sources: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Evaluate sources; nothing is left of the parts."""
    spill = tmp_path / "spill"
    spill.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(spill))

    def call(**options: Any) -> Any:
        chosen = {"metrics": ["person", "codes", "temporal", "numeric", "completeness"], "bootstrap": 5, **options}
        found = evaluate_sources(sources, mappings={}, **chosen)
        assert list(spill.iterdir()) == []
        return found

    return call


def test_sources_are_read_in_parts(run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    whole, reports = run(parts=1)
    parts, accounts = run(parts=3)
    assert_same(parts, whole)
    assert {name: report.rows_taken for name, report in accounts.items()} == {
        name: report.rows_taken for name, report in reports.items()
    }
    called: list[str] = []
    monkeypatch.setattr("ehrsynth.engines.parts_evaluation.evaluate_parts", lambda **_: called.append("in parts"))
    run()
    assert called == []
    monkeypatch.setattr("ehrsynth.engines.parts_learning._MANY_ROWS", 100)
    run()
    assert called == ["in parts"]


def test_a_metric_that_looks_at_all_patients_is_given_all(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert can_be_in_parts(None)
    monkeypatch.delattr(CompletenessMetric, "in_parts")
    assert not can_be_in_parts(["completeness"])
    assert can_be_in_parts(["person"])
    monkeypatch.setattr("ehrsynth.engines.parts_evaluation.evaluate_parts", None)
    assert run(parts=3)[0].patients == {"real": 40, "synthetic": 40, "control": 40}


def test_sums_of_tallies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tally, "_MERGED", 40)
    rng = np.random.default_rng(0)
    whole: dict[tuple[int, int], float] = {}
    parts = []
    for number in range(9):
        n = 60 * (number % 4)
        pairs = sorted({(int(g), int(k) << 33 * (number == 7)) for g, k in rng.integers(0, 20, size=(n, 2))})
        amount = rng.integers(1, 9, size=len(pairs)) + (0.1 if number == 6 else 0.0)
        for pair, value in zip(pairs, amount.tolist(), strict=True):
            whole[pair] = whole.get(pair, 0.0) + value
        sizes = np.bincount([g for g, _ in pairs], minlength=21) if pairs else np.zeros(21, dtype=np.int64)
        key = np.array([k for _, k in pairs], dtype=np.int64)
        parts.append({"a": tally.Tally(sizes=sizes, key=key, amount=amount.astype(np.float64))})
    found = tally.merged(parts)["a"]
    group = np.repeat(np.arange(21), found.sizes)
    assert list(zip(group.tolist(), found.key.tolist(), strict=True)) == sorted(whole)
    assert found.amount.tolist() == pytest.approx([whole[pair] for pair in sorted(whole)], abs=1e-12)
    nothing = {"a": tally.Tally(sizes=np.zeros(3, np.int64), key=np.zeros(0, np.int64), amount=np.zeros(0))}
    assert len(tally.merged([nothing, nothing])["a"].key) == 0
