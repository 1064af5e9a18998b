"""Records, models and outputs at URLs: fsspec's memory stands for a store; stores without package or credentials."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from ehrsynth import api, storage
from ehrsynth.errors import MissingExtraError, OutputError, SourceError
from ehrsynth.model import PatientModel


@pytest.fixture(scope="module")
def model(models: ModuleType) -> PatientModel:
    """A small model."""
    return models.tiny_model()


@pytest.fixture(autouse=True)
def memory() -> Iterator[MemoryFileSystem]:
    """The store, empty."""
    system = MemoryFileSystem()
    system.store.clear()
    system.pseudo_dirs[:] = [""]
    yield system
    system.store.clear()


def stored(system: MemoryFileSystem, root: str) -> dict[str, bytes]:
    """Every file under `root` with its bytes, in the order in which they were sent."""
    return {name.removeprefix(root): system.cat_file(name) for name in system.store if name.startswith(root)}


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below, with its bytes."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("shards", [None, 2])
def test_the_same_files_with_the_manifest_last(
    model: PatientModel, memory: MemoryFileSystem, tmp_path: Path, shards: int | None
) -> None:
    settings: dict[str, Any] = {"formats": ["csv", "fhir-ndjson"], "population": 1100, "seed": 2, "shards": shards}
    summary = api.generate_files(model, "memory://bucket/out", **settings)
    api.generate_files(model, tmp_path / "out", **settings)
    sent = stored(memory, "/bucket/out/")
    assert sent == tree(tmp_path / "out")
    assert list(sent)[-1] == "manifest.json"
    assert str(summary.output) == "memory://bucket/out"


def test_what_was_sent_is_read_exported_and_validated(
    model: PatientModel, memory: MemoryFileSystem, tmp_path: Path
) -> None:
    api.generate_files(model, "memory://b/out", formats=["csv"], population=40, seed=2)
    # As it comes through a Path, with one slash less.
    records = api.read(Path("memory://b/out/csv"))
    assert records.n_patients == 40
    api.export(records, "memory://b/again", formats=["csv"])
    before, after = stored(memory, "/b/out/csv/"), stored(memory, "/b/again/csv/")
    assert before["observation.csv"] == after["observation.csv"]
    assert not api.validate("memory://b/again/csv").issues


def test_a_model_at_a_url(model: PatientModel, memory: MemoryFileSystem) -> None:
    api.save_model(model, "memory://b/models/tiny.ehrsynth")
    assert api.load_model("memory://b/models/tiny.ehrsynth").name == model.name


def test_one_file_is_fetched_as_a_file(memory: MemoryFileSystem) -> None:
    memory.pipe_file("/b/x/one.ndjson", b"{}\n")
    with storage.fetched("memory://b/x/one.ndjson") as path:
        assert path.name == "one.ndjson"
        assert path.read_bytes() == b"{}\n"
    assert not path.exists()


def test_an_output_that_is_there_is_refused(model: PatientModel, memory: MemoryFileSystem) -> None:
    memory.pipe_file("/b/out/old.csv", b"old\n")
    for shards in (None, 1):
        with pytest.raises(OutputError, match="something at the output"):
            api.generate_files(model, "memory://b/out", formats=["csv"], population=5, shards=shards)
    assert list(memory.store) == ["/b/out/old.csv"]


def test_nothing_to_read() -> None:
    with pytest.raises(SourceError, match="nothing at this URL"):
        api.read("memory://b/none")


@pytest.mark.parametrize(
    ("place", "url"),
    [
        ("s3://b/k", "s3://b/k"),
        (Path("s3://b/k"), "s3://b/k"),
        ("s3a://b/k", "s3://b/k"),
        ("abfss://c@a.dfs.core.windows.net/k", "abfss://c@a.dfs.core.windows.net/k"),
        ("out/s3", None),
        ("C:/data", None),
        ("file:///tmp/x", None),
    ],
)
def test_what_is_a_url(place: str | Path, url: str | None) -> None:
    assert storage.as_url(place) == url


class Guarded(MemoryFileSystem):
    """A store that wants credentials."""

    protocol = "guarded"

    def exists(self, path: str, **_: object) -> bool:
        raise PermissionError("Unable to locate credentials")


@pytest.mark.parametrize("shards", [None, 1])
def test_an_output_without_credentials(model: PatientModel, shards: int | None) -> None:
    fsspec.register_implementation("guarded", Guarded, clobber=True)
    with pytest.raises(OutputError, match="Unable to locate credentials") as caught:
        api.generate_files(model, "guarded://b/out", formats=["csv"], population=5, shards=shards)
    assert caught.value.file == "guarded://b/out"
    assert "AWS_PROFILE" in str(caught.value.hint)


def test_a_store_whose_package_is_missing(model: PatientModel, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(url: str, **_: object) -> object:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    with pytest.raises(MissingExtraError, match="Install s3fs to access S3") as caught:
        api.generate_files(model, "s3://bucket/out", formats=["csv"], population=5)
    assert caught.value.hint == "Run pip install s3fs."


def test_a_kind_of_store_that_nobody_knows(model: PatientModel) -> None:
    with pytest.raises(OutputError, match="no kind of store nowhere://"):
        api.generate_files(model, "nowhere://bucket/out", formats=["csv"], population=5)


def test_what_is_sent_when_the_store_fails_has_no_manifest(
    model: PatientModel, memory: MemoryFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = MemoryFileSystem.put_file

    def fails(self: MemoryFileSystem, local: str, path: str, **more: Any) -> None:
        if path.endswith("encounter.csv"):
            raise ConnectionResetError("the network went away")
        put(self, local, path, **more)

    monkeypatch.setattr(MemoryFileSystem, "put_file", fails)
    with pytest.raises(OutputError, match="network went away"):
        api.generate_files(model, "memory://b/out", formats=["csv"], population=5)
    assert "/b/out/csv/condition.csv" in memory.store
    assert "/b/out/manifest.json" not in memory.store


def test_a_manifest_that_arrived_says_that_all_is_there(model: PatientModel, memory: MemoryFileSystem) -> None:
    api.generate_files(model, "memory://b/out", formats=["csv"], population=5)
    sent = stored(memory, "/b/out/")
    files = json.loads(sent["manifest.json"])["formats"]["csv"]["files"]
    assert {f"csv/{name}": entry["bytes"] for name, entry in files.items()} == {
        name: len(data) for name, data in sent.items() if name.startswith("csv/")
    }
