"""Folders of tables: which file is which, Parquet of many hands, and what is missing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ehrsynth.errors import SourceError
from ehrsynth.readers.source import SourceFolder, list_tables


def test_names_without_case_and_suffixes(tmp_path: Path) -> None:
    for name in ("PERSON.CSV", "Death.tsv", "visit.csv.gz", "2b_concept.txt", "notes.md", ".hidden.csv", "_tmp.csv"):
        (tmp_path / name).write_text("a\n1\n")
    pq.write_table(pa.table({"a": [1]}), tmp_path / "x.parquet")
    (tmp_path / "y.parquet").mkdir()
    pq.write_table(pa.table({"a": [1]}), tmp_path / "y.parquet" / "part-0.parquet")
    (tmp_path / "empty").mkdir()
    assert sorted(list_tables(tmp_path)) == ["2b_concept", "death", "person", "visit", "x", "y"]
    assert SourceFolder(tmp_path).matching(r"(.*_)?concept") == ["2b_concept"]


def test_no_folder_no_table() -> None:
    assert list_tables(Path("/does/not/exist")) == {}
    with pytest.raises(SourceError, match="no such folder"):
        SourceFolder(Path("/does/not/exist"))


def test_a_file_and_an_empty_folder_are_no_source(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a\n")
    with pytest.raises(SourceError, match="This is a file"):
        SourceFolder(tmp_path / "a.csv")
    (tmp_path / "sub").mkdir()
    with pytest.raises(SourceError, match="no table in the folder") as caught:
        SourceFolder(tmp_path / "sub")
    assert caught.value.file == str(tmp_path / "sub")


def test_a_folder_whose_tables_are_one_below_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "csv").mkdir()
    (tmp_path / "csv" / "patient.csv").write_text("patient_id\n")
    with pytest.raises(SourceError, match="'csv'"):
        SourceFolder(tmp_path)


def test_a_missing_table_says_which_and_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "death.csv").write_text("a\n")
    with pytest.raises(SourceError, match="Found: death") as caught:
        SourceFolder(tmp_path).require("person", hint="Needed.")
    assert caught.value.table == "person"


def test_two_files_for_one_table_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a\n")
    (tmp_path / "A.tsv").write_text("a\n")
    with pytest.raises(SourceError, match=r"A\.tsv, a\.csv"):
        SourceFolder(tmp_path).read("a")


def test_parquet_as_pandas_and_spark_write_it(tmp_path: Path) -> None:
    folder = tmp_path / "t"
    folder.mkdir()
    words = pa.array(["x", "y", "x"]).dictionary_encode()
    pq.write_table(
        pa.table({"ID": [1.0, None, 3.0], "Word": words, "Half": [0.5, 1.0, 2.0]}), folder / "part-0.parquet"
    )
    more = {"ID": pa.array([4.0]), "Word": pa.array([None], pa.string()), "Half": pa.array([3.0])}
    pq.write_table(pa.table(more), folder / "part-1.parquet")
    table = SourceFolder(tmp_path).read("t")
    assert table["id"].to_pylist() == [1, None, 3, 4]
    assert table["word"].to_pylist() == ["x", "y", "x", None]
    assert table["half"].to_pylist() == [0.5, 1.0, 2.0, 3.0]
    assert table.rows.tolist() == [1, 2, 3, 4]
    assert len(SourceFolder(tmp_path).read("t", wanted=())) == 4


def test_broken_parquet_says_so(tmp_path: Path) -> None:
    (tmp_path / "t.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(SourceError, match="Parquet file cannot be read") as caught:
        SourceFolder(tmp_path).read("t")
    assert caught.value.table == "t"


def test_parquet_with_a_column_twice(tmp_path: Path) -> None:
    pq.write_table(pa.table([[1], [2]], names=["a", "A"]), tmp_path / "t.parquet")
    with pytest.raises(SourceError, match="Two columns"):
        SourceFolder(tmp_path).read("t")


def test_rows_keep_their_numbers(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n1,x\n2,y\n3,z\n")
    table = SourceFolder(tmp_path).read("t").keep(np.array([True, False, True]))
    assert table.rows.tolist() == [1, 3]
    assert table.take(np.array([1, 0])).rows.tolist() == [3, 1]
    assert table.get("absent").to_pylist() == [None, None]
    assert table.with_column("b", pa.array(["p", "q"]))["b"].to_pylist() == ["p", "q"]
