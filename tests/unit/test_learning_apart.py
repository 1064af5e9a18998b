"""Learning from parts: reading, encoding and counting each apart comes to the same as all at once."""

from __future__ import annotations

import dataclasses
from functools import reduce
from operator import add
from pathlib import Path
from types import ModuleType

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from ehrsynth import api
from ehrsynth.encoding import Timelines, encode
from ehrsynth.encoding.census import Census, added
from ehrsynth.encoding.joining import joined
from ehrsynth.encoding.vocabulary import Vocabulary, rest_of, written_down
from ehrsynth.errors import LearningError, SourceError
from ehrsynth.learning import LearningSettings, learn
from ehrsynth.learning.apart import raw_part
from ehrsynth.learning.far_learner import learn_parts
from ehrsynth.learning.rows import Here
from ehrsynth.readers.partition import is_partitionable, take_part
from ehrsynth.records import Records

SETTINGS = LearningSettings(states=2, classes=2, iterations=5, chunk_visits=500, estimator="numpy")


def cut(records: Records, n: int) -> list[Records]:
    """The records of the patients in n parts."""
    ids = records["patient"]["patient_id"].to_pylist()
    return [records.select_patients(ids[i * len(ids) // n : (i + 1) * len(ids) // n]) for i in range(n)]


def encoded_apart(records: Records, min_patients: int, n: int) -> Timelines:
    parts = [(part, encode(part, min_patients=1)) for part in cut(records, n)]
    vocabulary = Vocabulary.of(reduce(add, (Census.of(*pair) for pair in parts)), min_patients)
    rest = reduce(added, (rest_of(timelines, vocabulary) for _, timelines in parts))
    return joined([written_down(timelines, vocabulary, rest) for _, timelines in parts])


@pytest.mark.parametrize(("min_patients", "parts"), [(5, 3), (40, 7)])
def test_encoded_apart_is_encoded_at_once(learning_records: ModuleType, min_patients: int, parts: int) -> None:
    records = learning_records.cohort(200, visits=lambda i: 1 + i % 6, codes=60)
    whole = encode(records, min_patients=min_patients)
    assert learning_records.differences(whole, encoded_apart(records, min_patients, parts)) == {}


def test_every_table_encoded_apart(learning_records: ModuleType) -> None:
    records = api.generate(population=150, seed=2)
    assert learning_records.differences(encode(records), encoded_apart(records, 5, 4)) == {}


@pytest.mark.learn
def test_learned_apart_is_learned_at_once(learning_records: ModuleType) -> None:
    records = learning_records.cohort(300, visits=6)
    here = learn(records, seed=1, settings=SETTINGS)
    raw = Here([raw_part(part, i, SETTINGS.max_visits) for i, part in enumerate(cut(records, 4))])
    there = learn_parts(raw, seed=1, settings=SETTINGS)
    assert max(learning_records.differences(here, there).values(), default=0.0) < 1e-9


@pytest.mark.learn
def test_of_very_many_visits_both_learn_from_the_same_few(
    learning_records: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What needs people side by side is learned from every k-th patient, wherever the patients are.
    for name, value in (("_START_VISITS", 300), ("_FIRST_ON_FEW", 100), ("LAST_ON_ALL", 2)):
        monkeypatch.setattr(f"ehrsynth.learning.climb.{name}", value)
    monkeypatch.setattr("ehrsynth.learning.far_learner.LAST_ON_ALL", 2)
    monkeypatch.setattr("ehrsynth.learning.near.MOST_NEAR", 700)
    records = learning_records.cohort(300, visits=6)
    raw = Here([raw_part(part, i, SETTINGS.max_visits) for i, part in enumerate(cut(records, 4))])
    here, there = learn(records, seed=1, settings=SETTINGS), learn_parts(raw, seed=1, settings=SETTINGS)
    assert max(learning_records.differences(here, there).values(), default=0.0) < 1e-9


def test_parts_of_nobody_and_too_few(learning_records: ModuleType) -> None:
    records = learning_records.cohort(40)
    nobody = records.replace(encounter=records["encounter"].slice(0, 0), condition=records["condition"].slice(0, 0))
    some, other = cut(records, 2)
    settings = dataclasses.replace(SETTINGS, states=1, classes=1)
    raw = [raw_part(part, i, 500) for i, part in enumerate([some, cut(nobody, 2)[1]])]
    assert learn_parts(Here(raw), settings=settings).disclosure.counts["patient"] == 20
    with pytest.raises(LearningError, match="Only 20 patients"):
        learn_parts(Here(raw), settings=dataclasses.replace(settings, min_patients=21))
    assert other.n_patients == 20


def test_parts_of_a_folder(learning_records: ModuleType, tmp_path: Path) -> None:
    records = learning_records.cohort(30)
    api.export(records, tmp_path / "out", formats=["parquet"])
    source = tmp_path / "out" / "parquet"
    assert is_partitionable(source)
    parts = []
    for number in range(4):
        (tmp_path / str(number)).mkdir()
        take_part(source, tmp_path / str(number), number, 4)
        parts.append(api.read(tmp_path / str(number), format="tables"))
    assert [part.n_patients for part in parts] == [7, 8, 7, 8]
    whole = api.read(source)
    for name in ("patient", "encounter", "condition"):
        rows = pa.concat_tables([part[name] for part in parts]).unify_dictionaries()
        assert rows.to_pylist() == whole[name].to_pylist()


def test_rows_of_nobody_go_with_the_first_part(learning_records: ModuleType, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    api.export(learning_records.cohort(10), tmp_path / "out", formats=["parquet"])
    path = tmp_path / "out" / "parquet" / "condition.parquet"
    table = pq.read_table(path)
    ids = pc.if_else(pc.equal(table["patient_id"], "p7"), "stranger", table["patient_id"])
    pq.write_table(table.set_column(table.column_names.index("patient_id"), "patient_id", ids), path)
    (tmp_path / "part").mkdir()
    take_part(tmp_path / "out" / "parquet", tmp_path / "part", 0, 2)
    with pytest.raises(SourceError, match="stranger"):
        api.read(tmp_path / "part", format="tables")


def test_keys_of_other_types_are_the_same_keys(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    (tmp_path / "source").mkdir()
    keys = {"person": pa.array([1, 2, 3, 4]), "death": pa.array(["4", "1"]), "cost": pa.nulls(0)}
    for name, column in keys.items():
        pq.write_table(pa.table({"PERSON_ID": column}), tmp_path / "source" / f"{name}.parquet")
    found = {name: [] for name in keys}
    for number in range(2):
        (tmp_path / str(number)).mkdir()
        take_part(tmp_path / "source", tmp_path / str(number), number, 2)
        for name, rows in found.items():
            rows.append(pq.read_table(tmp_path / str(number) / f"{name}.parquet")["PERSON_ID"].to_pylist())
    assert found == {"person": [[1, 2], [3, 4]], "death": [["1"], ["4"]], "cost": [[], []]}


def test_csv_is_not_read_in_parts(learning_records: ModuleType, tmp_path: Path) -> None:
    api.export(learning_records.cohort(10), tmp_path / "out", formats=["csv"])
    assert not is_partitionable(tmp_path / "out" / "csv")
    assert not is_partitionable("sqlite:///nowhere.db")
