"""The local engine: what goes wrong is said, and progress is told."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

import ehrsynth
from ehrsynth.errors import UsageError
from ehrsynth.records import Records


def test_progress_reaches_the_end(models: ModuleType, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    ehrsynth.generate_files(
        models.tiny_model(), tmp_path / "o", formats=["csv"], population=1500, progress=lambda *step: seen.append(step)
    )
    assert seen == [(1024, 1500), (1500, 1500)]


@pytest.mark.parametrize(("setting", "value"), [("population", 0), ("workers", 0), ("formats", [])])
def test_settings_that_cannot_be(models: ModuleType, tmp_path: Path, setting: str, value: object) -> None:
    settings = {"formats": ["csv"], "population": 1, "workers": 1} | {setting: value}
    with pytest.raises(UsageError):
        ehrsynth.generate_files(models.tiny_model(), tmp_path / "o", **settings)  # type: ignore[arg-type]
    with pytest.raises(UsageError):
        ehrsynth.generate(models.tiny_model(), population=0)
    assert list(tmp_path.iterdir()) == []


def test_a_format_named_twice_is_written_once(models: ModuleType, tmp_path: Path) -> None:
    summary = ehrsynth.generate_files(models.tiny_model(), tmp_path / "o", formats=["csv", "csv"], population=2)
    assert list(summary.files) == ["csv"]
    assert summary.files["csv"]["patient.csv"]["rows"] == 2


def test_memory_and_files_hold_the_same(models: ModuleType, tmp_path: Path) -> None:
    model = models.tiny_model()
    inside = ehrsynth.generate(model, population=1100, seed=5)
    ehrsynth.export(inside, tmp_path / "a", formats=["csv"])
    ehrsynth.generate_files(model, tmp_path / "b", formats=["csv"], population=1100, seed=5)
    for path in (tmp_path / "a/csv").glob("*.csv"):
        assert path.read_bytes() == (tmp_path / "b/csv" / path.name).read_bytes()
    assert inside.check_keys() == []


def test_export_of_hand_made_records_round_trips(small_records: Records, tmp_path: Path) -> None:
    ehrsynth.export(small_records, tmp_path / "o", formats=["csv"])
    again = ehrsynth.read(tmp_path / "o/csv")
    for name in small_records:
        assert again[name].to_pylist() == small_records[name].to_pylist()
