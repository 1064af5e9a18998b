"""The benchmarks' arithmetic and their cohorts; what they measure is not for tests."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> object:
    """Import a module of the benchmarks, which are no part of the package."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))
    return lambda name: importlib.import_module(f"benchmarks.{name}")


def entry(name: str, patients: int, cpu: float, peak: float = 300.0) -> dict[str, object]:
    """One run, of a hundred resources a patient and a thousand bytes a resource."""
    return {
        "format": name,
        "patients": patients,
        "rows": 40 * patients,
        "written": 100 * patients,
        "bytes": 100_000 * patients,
        "cpu_seconds": cpu,
        "wall_seconds": cpu,
        "peak_mb": peak,
    }


def test_the_table(load: object) -> None:
    table: ModuleType = load("table")  # type: ignore[operator]
    text = table.table(
        {
            "first_patient": {"cpu_seconds": 0.9, "wall_seconds": 1.0, "peak_mb": 150.0},
            "runs": [
                *(entry("fhir-ndjson", n, n / 1000) for n in (1000, 10_000, 100_000)),
                *(entry("fhir-ndjson.gz", n, n / 800, 300.0 * n / 1000) for n in (1000, 10_000, 100_000)),
            ],
            "workers": {
                "1": {"patients": 10, "wall_seconds": 10.0, "cpu_seconds": 10.0},
                "2": {"patients": 10, "wall_seconds": 5.0, "cpu_seconds": 11.0},
            },
            "yardsticks": {"dict + json": 50_000.0},
            "sampling": {"ehrsynth": 1_000_000.0, "pomegranate": 1_000.0},
            "learning": [
                {"patients": 100, "visits": 1200, "codes": 10, "cpu_seconds": 1.0, "peak_mb": 200.0},
                {"patients": 1000, "visits": 12_000, "codes": 10, "cpu_seconds": 10.0, "peak_mb": 200.0},
                {"patients": 100, "visits": 1200, "codes": 100, "cpu_seconds": 1.0, "peak_mb": 200.0},
            ],
        }
    )
    assert "| fhir-ndjson | 100,000 | 10,000,000 | 100.0 | 1,000 | 100,000 | 100 | 100.0 | 300 |" in text
    assert (
        "fhir-ndjson: from 10,000 to 100,000 patients CPU time grows with the power 1.000, peak memory with 0.000"
        in text
    )
    assert "peak memory with 1.000" in text
    assert "gzip NDJSON at 80% of the plain rate" in text
    assert "2 workers: 2.00 times as fast by the clock, 1.10 times the CPU seconds" in text
    assert "ours is 1,000 times as fast" in text
    assert "grows with patients to the power 1.00, with codes to the power 0.00" in text


def test_the_cohort_to_learn_from_is_sound(load: object) -> None:
    learning: ModuleType = load("learning")  # type: ignore[operator]
    records = learning.cohort(50, 40)
    assert records.n_patients == 50
    assert records.check_keys() == []
    assert len(set(records["condition"]["code"].to_pylist())) > 20
