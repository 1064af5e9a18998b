"""Parquet: whoever reads it finds what went in; its footer is one whatever was appended, in whatever way."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import ehrsynth
from ehrsynth.databases.target import plain_schema
from ehrsynth.errors import OutputError, UsageError
from ehrsynth.exporters.parquet_footer import frame, row_group, unpack
from ehrsynth.records import Records
from ehrsynth.schema import clinical


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def made(models: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Makes two blocks of patients as Parquet and CSV."""
    folder = tmp_path_factory.mktemp("made")

    def make(name: str, **settings: Any) -> Path:
        settings = {"formats": ["parquet"], "population": 1100, "seed": 5, **settings}
        ehrsynth.generate_files(models.tiny_model(), folder / name, **settings)
        return folder / name

    return make


@pytest.fixture(scope="module")
def one(made: Callable[..., Path]) -> Path:
    return made("one", formats=["parquet", "csv"])


def test_the_number_of_workers_tells_nowhere(made: Callable[..., Path], one: Path) -> None:
    assert tree(made("two", workers=2) / "parquet") == tree(one / "parquet")


def test_it_holds_what_the_csv_holds(one: Path) -> None:
    for name in clinical().names:
        parquet, csv = f"'{one}/parquet/{name}.parquet'", f"'{one}/csv/{name}.csv'"
        columns = ", ".join(f"'{c.name}': '{_SQL[c.type]}'" for c in clinical()[name].columns)
        text = f"read_csv({csv}, columns = {{{columns}}}, header = true, quote = '\"', escape = '\"')"
        for a, b in ((parquet, text), (text, parquet)):
            found = duckdb.execute(f"SELECT count(*) FROM (SELECT * FROM {a} EXCEPT ALL SELECT * FROM {b})").fetchall()
            assert found == [(0,)], name


_SQL = {
    "string": "VARCHAR",
    "integer": "BIGINT",
    "number": "DOUBLE",
    "boolean": "BOOLEAN",
    "date": "DATE",
    "datetime": "TIMESTAMP",
}


def test_a_block_is_a_row_group_and_every_offset_leads_to_its_column(one: Path) -> None:
    metadata = pq.read_metadata(one / "parquet/encounter.parquet")
    assert metadata.num_row_groups == 2
    assert metadata.num_rows == sum(metadata.row_group(i).num_rows for i in range(2))
    ends = [(c.data_page_offset, c.total_compressed_size) for c in map(metadata.row_group(1).column, range(20))]
    first = metadata.row_group(0)
    assert min(offset for offset, _ in ends) > max(first.column(i).data_page_offset for i in range(20))
    table = pq.ParquetFile(one / "parquet/encounter.parquet")
    assert table.read_row_group(1).num_rows == metadata.row_group(1).num_rows
    statistics = metadata.row_group(1).column(clinical()["encounter"].names.index("start_datetime")).statistics
    assert statistics.min == table.read_row_group(1)["start_datetime"].combine_chunks().to_pandas().min()


def test_texts_are_texts_and_times_have_no_zone(one: Path) -> None:
    for table in clinical().tables:
        found = pq.read_schema(one / f"parquet/{table.name}.parquet")
        assert found.names == list(table.names)
        for column in table.columns:
            kind = found.field(column.name).type
            wanted = {"string": pa.string(), "datetime": pa.timestamp("ms")}.get(column.type, column.arrow_type)
            assert kind == wanted, (table.name, column.name)


def test_a_table_without_rows_is_there(small_records: Records, tmp_path: Path) -> None:
    without = small_records.replace(device=clinical()["device"].arrow.empty_table())
    ehrsynth.export(without, tmp_path / "o", formats=["parquet"])
    ehrsynth.export(without, tmp_path / "split", formats=["parquet"], options={"split_mb": 1})
    for path in ("o/parquet/device.parquet", "split/parquet/device/part.000.parquet"):
        found = pq.read_table(tmp_path / path)
        assert found.num_rows == 0
        assert found.column_names == list(clinical()["device"].names)


def test_our_reader_gives_the_same_records(small_records: Records, tmp_path: Path) -> None:
    for name, options in {"plain": {}, "zstd": {"compress": "zstd"}, "split": {"split_mb": 1}}.items():
        ehrsynth.export(small_records, tmp_path / name, formats=["parquet"], options=options)
        again = ehrsynth.read(tmp_path / name / "parquet")
        for table in small_records:
            assert again[table].to_pylist() == small_records[table].to_pylist(), (name, table)
    assert again.provenance.synthetic == small_records.provenance.synthetic


def test_parts_of_a_series_are_whole_files(
    made: Callable[..., Path], one: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ehrsynth.exporters.parquet.MEGABYTE", 1000)
    out = made("split", options={"split_mb": 300})
    parts = sorted((out / "parquet/observation").iterdir())
    assert [part.name for part in parts] == ["part.000.parquet", "part.001.parquet"]
    together = pa.concat_tables([pq.read_table(part) for part in parts])
    assert together.equals(pq.read_table(one / "parquet/observation.parquet"))
    assert pd.read_parquet(out / "parquet/observation").shape == together.shape
    described = json.loads((out / "parquet/datapackage.json").read_text())
    entry = next(item for item in described["resources"] if item["name"] == "observation")
    assert entry["path"] == ["observation/part.000.parquet", "observation/part.001.parquet"]
    assert entry["rowCount"] == together.num_rows


def test_the_package_describes_every_table_with_its_keys(one: Path) -> None:
    described = json.loads((one / "parquet/datapackage.json").read_text())
    assert [item["name"] for item in described["resources"]] == list(clinical().names)
    for item in described["resources"]:
        table = clinical()[item["name"]]
        assert item["schema"]["primaryKey"] == [table.primary_key]
        assert len(item["schema"].get("foreignKeys", ())) == len(table.foreign_keys)
        assert item["rowCount"] == pq.read_metadata(one / "parquet" / item["path"]).num_rows
        assert item["bytes"] == (one / "parquet" / item["path"]).stat().st_size
    manifest = json.loads((one / "manifest.json").read_text())
    assert set(manifest["formats"]["parquet"]["files"]) == {
        *(f"{n}.parquet" for n in clinical().names),
        "datapackage.json",
    }


@pytest.mark.parametrize("options", [{"compress": "lzma"}, {"split_mb": 0}])
def test_options_that_cannot_be(small_records: Records, tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        ehrsynth.export(small_records, tmp_path / "o", formats=["parquet"], options=options)


@pytest.mark.parametrize("rows", [0, 1, 300, 70_000])
@pytest.mark.parametrize("columns", [1, 14, 15, 40])
def test_a_footer_that_is_cut_and_put_together_is_the_same(rows: int, columns: int) -> None:
    table = pa.table({f"column_{i}": pa.array(range(rows), pa.int64()) for i in range(columns)})
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, table.schema, store_schema=False) as writer:
        if rows:
            writer.write_table(table)
    file = sink.getvalue()
    assert all(isinstance(part, bytes) and part for part in frame(file))
    if not rows:
        with pytest.raises(OutputError, match="0 row groups"):
            row_group(file)
        return
    group = row_group(file)
    assert group.rows == rows
    (again,) = unpack(group.pack())
    assert again == group
    assert len(group.pieces) >= 2 * columns
    assert group.at(1000) != group.at(0)


def test_an_interrupted_finish_is_done_again(
    models: ModuleType, one: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = {"formats": ["parquet"], "population": 1100, "seed": 5, "resume": True}
    with monkeypatch.context() as broken:
        broken.setattr("ehrsynth.exporters.parquet.footer", _interrupted)
        with pytest.raises(KeyboardInterrupt):
            ehrsynth.generate_files(models.tiny_model(), tmp_path / "o", **settings)
    assert not (tmp_path / "o").exists()
    ehrsynth.generate_files(models.tiny_model(), tmp_path / "o", **settings)
    assert tree(tmp_path / "o/parquet") == tree(one / "parquet")


def _interrupted(around: tuple[bytes, bytes], groups: list[bytes], rows: int) -> bytes:
    if rows > 1000:
        raise KeyboardInterrupt
    return b"half a footer"


def test_rows_of_a_large_block_go_into_several_row_groups(
    small_records: Records, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ehrsynth.exporters.parquet.MOST_ROWS", 7)
    ehrsynth.export(small_records, tmp_path / "o", formats=["parquet"])
    file = pq.ParquetFile(tmp_path / "o/parquet/condition.parquet")
    assert file.num_row_groups == -(-small_records["condition"].num_rows // 7)
    assert file.read().cast(plain_schema(clinical()["condition"])).to_pylist() == small_records["condition"].to_pylist()
