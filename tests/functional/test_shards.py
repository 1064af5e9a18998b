"""Shards: whole by themselves, together the run, and the same whoever makes them."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest

from ehrsynth import api
from ehrsynth.engines.shards import cut
from ehrsynth.errors import EhrsynthError, OutputError, UsageError
from ehrsynth.model import PatientModel

FORMATS = ("csv", "fhir-ndjson", "parquet")
POPULATION = 1_100  # Two blocks, the last not full.


@pytest.fixture(scope="module")
def model(models: ModuleType) -> PatientModel:
    """A small model."""
    return models.tiny_model()


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below, with its bytes."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def sharded(model: PatientModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two shards of a block each."""
    out = tmp_path_factory.mktemp("sharded") / "out"
    api.generate_files(model, out, formats=FORMATS, population=POPULATION, seed=3, shards=2)
    return out


def test_together_they_are_the_run(model: PatientModel, sharded: Path, tmp_path: Path) -> None:
    api.generate_files(model, tmp_path / "one", formats=FORMATS, population=POPULATION, seed=3)
    whole = tree(tmp_path / "one")
    first, second = tree(sharded / "shard-00000"), tree(sharded / "shard-00001")
    lines = [name for name in whole if name.endswith((".csv", ".ndjson"))]
    assert len(lines) > 20
    for name in lines:
        more = second.get(name, b"")
        if name.endswith(".csv"):
            header, _, more = more.partition(b"\n")
            assert header == whole[name].partition(b"\n")[0]
        assert first.get(name, b"") + more == whole[name], name
    # What belongs to nobody is there once.
    assert second["csv/organization.csv"].count(b"\n") == 1
    assert "fhir-ndjson/Organization.ndjson" not in second


def test_each_is_valid_by_itself_and_readable(sharded: Path) -> None:
    first, second = (api.read(sharded / f"shard-0000{k}" / "parquet", format="tables", strict=k == 0) for k in (0, 1))
    assert first.n_patients + second.n_patients == POPULATION
    assert api.validate(sharded / "shard-00000" / "csv").worst() is None


def test_the_manifest_names_every_file_of_every_shard(sharded: Path) -> None:
    manifest = json.loads((sharded / "manifest.json").read_text())
    named = {path for entry in manifest["formats"].values() for path in entry["files"]}
    there = {name for name in tree(sharded) if name.count("/") > 1}
    assert named == there
    assert manifest["row_counts"]["patient"] == POPULATION
    assert {name: entry["patients"] for name, entry in manifest["shards"].items()} == {
        "shard-00000": 1024,
        "shard-00001": POPULATION - 1024,
    }
    one = json.loads((sharded / "shard-00001" / "manifest.json").read_text())
    assert one["shard"] == {"number": 1, "of": 2, "patients": POPULATION - 1024}


def test_workers_do_not_matter_nor_that_there_are_more_than_cores_and_shards(
    model: PatientModel, sharded: Path, tmp_path: Path
) -> None:
    api.generate_files(model, tmp_path / "o", formats=FORMATS, population=POPULATION, seed=3, shards=2, workers=9)
    assert tree(tmp_path / "o") == tree(sharded)


@pytest.mark.parametrize(("population", "shards", "sizes"), [(1, None, [1]), (5000, 2, [2, 3]), (5000, 99, [1] * 5)])
def test_how_a_population_is_cut(population: int, shards: int | None, sizes: list[int]) -> None:
    parts = cut(population, shards)
    assert [len(part.tasks) for part in parts] == sizes
    assert sum(part.patients for part in parts) == population
    assert [index for part in parts for index, _ in part.tasks] == list(range(sum(sizes)))


@pytest.mark.parametrize(
    "wrong",
    [
        {"shards": 0},
        {"population": 0},
        {"workers": 0},
        {"resume": True, "engine": "spark"},
        {"engine": "flink"},
        {"master": "local"},
        {"formats": ["sqlite"]},
    ],
)
def test_settings_that_cannot_be(model: PatientModel, tmp_path: Path, wrong: dict[str, object]) -> None:
    settings = {"formats": ["csv"], "population": 10, "shards": 2} | wrong
    with pytest.raises(UsageError):
        api.generate_files(model, tmp_path / "out", **settings)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_a_run_in_shards_goes_on_where_it_was_interrupted(
    model: PatientModel, sharded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ehrsynth.engines import shards

    out, staging = tmp_path / "out", tmp_path / ".out.partial"
    settings = {"formats": FORMATS, "population": POPULATION, "seed": 3, "shards": 2, "resume": True}
    made = shards.make_shard

    def interrupted(shard: shards.Shard, **given: object) -> object:
        if shard.number == 1:
            raise KeyboardInterrupt
        return made(shard, **given)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(shards, "make_shard", interrupted)
        with pytest.raises(KeyboardInterrupt):
            api.generate_files(model, out, **settings)  # type: ignore[arg-type]
    assert not out.exists()
    kept = staging / "shard-00000" / "manifest.json"
    before = kept.stat()
    with pytest.raises(UsageError, match="seed: 3 then, 4 now"):
        api.generate_files(model, out, **settings | {"seed": 4})  # type: ignore[arg-type]
    (staging / ".shard-00001.partial").mkdir()
    (staging / ".shard-00001.partial" / "half").write_text("left behind")
    summary = api.generate_files(model, out, **settings)  # type: ignore[arg-type]
    after = (out / "shard-00000" / "manifest.json").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert summary.patients == POPULATION
    assert tree(out) == tree(sharded)


def test_a_failure_leaves_nothing(model: PatientModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ehrsynth.exporters.tables import CsvExporter

    def full(self: object, summary: object) -> object:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(CsvExporter, "end", full)
    with pytest.raises(OutputError, match="disk is full"):
        api.generate_files(model, tmp_path / "out", formats=["csv"], population=10, shards=1)
    assert not list(tmp_path.iterdir())


def test_a_worker_that_dies(model: PatientModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from concurrent import futures
    from concurrent.futures.process import BrokenProcessPool

    class Pool:
        def __init__(self, *_: object, **__: object) -> None: ...

        def map(self, *_: object) -> None:
            raise BrokenProcessPool

        def shutdown(self, **_: object) -> None: ...

    monkeypatch.setattr(futures, "ProcessPoolExecutor", Pool)
    with pytest.raises(EhrsynthError, match="worker process died"):
        api.generate_files(model, tmp_path / "out", formats=["csv"], population=3000, shards=2, workers=2)
    assert not list(tmp_path.iterdir())
