"""The Spark engine on local[2]: the local bytes, the local model, and what it says when it cannot start."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from ehrsynth import api
from ehrsynth.engines import spark as engine
from ehrsynth.engines.shards import cut, generate_shards
from ehrsynth.errors import EhrsynthError, MissingExtraError, OutputError, SourceError
from ehrsynth.learning import LearningSettings
from ehrsynth.model import PatientModel
from ehrsynth.model.package import model_hash

POPULATION = 1_100


@pytest.fixture(scope="module")
def spark() -> Iterator[Any]:
    """A session with two cores of this machine."""
    pytest.importorskip("pyspark", reason="needs the spark extra")
    if shutil.which("java") is None:
        pytest.skip("needs Java")
    session = engine.session("local[2]")
    yield session
    session.stop()


@pytest.fixture(scope="module")
def model(models: ModuleType) -> PatientModel:
    """A small model."""
    return models.tiny_model()


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below, with its bytes."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def local(model: PatientModel, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What the local engine writes."""
    out = tmp_path_factory.mktemp("local") / "out"
    api.generate_files(model, out, formats=["csv", "parquet"], population=POPULATION, seed=3, shards=2)
    return tree(out)


def test_the_same_bytes(spark: Any, model: PatientModel, local: dict[str, bytes], tmp_path: Path) -> None:
    settings: dict[str, Any] = {"formats": ["csv", "parquet"], "population": POPULATION, "seed": 3, "shards": 2}
    api.generate_files(model, tmp_path / "out", engine="spark", **settings)
    assert tree(tmp_path / "out") == local


def test_the_same_bytes_through_hadoop(
    spark: Any, model: PatientModel, local: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # file: stands for hdfs: the same calls of the same interface.
    monkeypatch.setattr(engine.storage, "as_url", str)
    monkeypatch.setattr(engine, "_is_known", lambda url: False)
    place = (tmp_path / "out").as_uri()
    job = engine.Job(model=model, population=POPULATION, seed=3, formats=("csv", "parquet"))
    store = engine.store_of(place)
    generate_shards(job, place, shards=2, run=engine.run_on_spark, store=store)
    written = {name: data for name, data in tree(tmp_path / "out").items() if not name.endswith(".crc")}
    assert written == local
    with pytest.raises(OutputError, match="something at the output"):
        generate_shards(job, place, shards=2, run=engine.run_on_spark, store=store)


def test_what_a_task_meets_is_said_in_one_sentence(spark: Any, model: PatientModel, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    job = engine.Job(model=model, population=POPULATION, seed=3, formats=("csv",))
    with pytest.raises(OutputError, match="cannot be written") as caught:
        list(engine.run_on_spark(job, cut(5), str(tmp_path / "file")))
    assert "\n" not in str(caught.value)


def test_a_file_system_that_spark_does_not_know(spark: Any, model: PatientModel) -> None:
    with pytest.raises(OutputError, match="Spark cannot write there") as caught:
        api.generate_files(model, "nowhere://host/out", formats=["csv"], population=5, engine="spark")
    assert "\n" not in str(caught.value)


@pytest.mark.learn
def test_the_same_model(spark: Any, learning_records: ModuleType) -> None:
    records = learning_records.cohort(300, visits=6)
    settings = LearningSettings(states=2, classes=2, iterations=4, chunk_visits=500)
    here = api.learn(records, seed=1, settings=settings)
    there = api.learn(records, seed=1, settings=settings, engine="spark")
    assert model_hash(here) == model_hash(there)


@pytest.mark.learn
@pytest.mark.parametrize("layout", ["tables", "omop"])
def test_the_same_model_of_parts_that_tasks_read(
    spark: Any, learning_records: ModuleType, tmp_path: Path, layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pyarrow.csv
    import pyarrow.parquet as pq

    source = tmp_path / "source"
    source.mkdir()
    api.export(learning_records.cohort(300, visits=6), tmp_path / "out", formats=["parquet", "omop"])
    if layout == "tables":
        source = tmp_path / "out" / "parquet"
    else:
        for path in (tmp_path / "out" / "omop").glob("*.csv"):
            pq.write_table(pyarrow.csv.read_csv(path), source / f"{path.stem}.parquet")
    settings = LearningSettings(states=2, classes=2, iterations=4, chunk_visits=500, estimator="numpy")
    here, _ = api.learn_from(source, seed=1, settings=settings)
    # The driver reads no records.
    monkeypatch.setattr(api, "read_with_report", None)
    there, report = api.learn_from(source, seed=1, settings=settings, engine="spark")
    assert report.rows_taken["person" if layout == "omop" else "patient"] == 300
    assert here.disclosure == there.disclosure
    for name in ("initial", "transition", "end_hazard", "gap"):
        assert np.allclose(getattr(here.trajectory, name), getattr(there.trajectory, name), rtol=0, atol=1e-6)
    for one, other in zip(here.families, there.families, strict=True):
        assert one.codings == other.codings
        for name in ("never", "previous", "earlier", "lift"):
            assert np.allclose(getattr(one, name), getattr(other, name), rtol=1e-6, atol=1e-6)
    for ours, theirs in zip(here.person.tables, there.person.tables, strict=True):
        assert np.allclose(ours, theirs, rtol=0, atol=1e-6)


def test_what_a_reading_task_meets(spark: Any, learning_records: ModuleType, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    api.export(learning_records.cohort(20), tmp_path / "out", formats=["parquet"])
    path = tmp_path / "out" / "parquet" / "condition.parquet"
    table = pq.read_table(path)
    strangers = pa.array(["stranger"] * table.num_rows)
    pq.write_table(table.set_column(table.column_names.index("patient_id"), "patient_id", strangers), path)
    with pytest.raises(SourceError, match="stranger") as caught:
        api.learn_from(tmp_path / "out" / "parquet", engine="spark")
    assert str(tmp_path) in str(caught.value.file)
    assert "within part" in str(caught.value.hint)


def test_no_java(monkeypatch: pytest.MonkeyPatch, model: PatientModel, tmp_path: Path) -> None:
    sql = pytest.importorskip("pyspark.sql")
    monkeypatch.setattr(sql.SparkSession, "getActiveSession", classmethod(lambda cls: None))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    with pytest.raises(MissingExtraError, match="Spark needs Java") as caught:
        api.generate_files(model, tmp_path / "out", formats=["csv"], population=5, engine="spark")
    assert "openjdk-17-jre-headless" in str(caught.value.hint)
    assert not list(tmp_path.iterdir())


def test_no_pyspark(monkeypatch: pytest.MonkeyPatch, model: PatientModel, tmp_path: Path) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "pyspark.sql", None)
    with pytest.raises(MissingExtraError, match="needs pyspark") as caught:
        api.generate_files(model, tmp_path / "out", formats=["csv"], population=5, engine="spark")
    assert "ehrsynth[spark]" in str(caught.value.hint)
    assert isinstance(caught.value, EhrsynthError)
    assert not list(tmp_path.iterdir())
