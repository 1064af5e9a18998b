"""Delimited text: dialects, encodings, quoting, and errors that say which row."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from ehrsynth.errors import SourceError
from ehrsynth.readers.delimited import Delimited, read_delimited


def read(tmp_path: Path, data: bytes, name: str = "t.csv") -> Delimited:
    path = tmp_path / name
    path.write_bytes(data)
    return read_delimited(path, table="t")


@pytest.mark.parametrize("mark", [",", "\t", ";", "|"])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_delimiters_marks_and_line_ends(tmp_path: Path, mark: str, bom: bytes, end: str) -> None:
    lines = ["Person_ID{0}NAME{0}x", "1{0}Zoë{0}", "-2{0}{0}3"]
    data = bom + end.join(line.format(mark) for line in lines).encode()
    found = read(tmp_path, data)
    assert found.header == ("person_id", "name", "x")
    assert found.columns.to_pydict() == {"person_id": ["1", "-2"], "name": ["Zoë", None], "x": [None, "3"]}
    assert found.rows.tolist() == [1, 2]


def test_only_the_wanted_columns_are_read_and_all_are_named(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,b,c\n1,2,3\n")
    found = read_delimited(path, table="t", wanted={"c", "z"}.__contains__)
    assert found.columns.to_pydict() == {"c": ["3"]}
    assert found.header == ("a", "b", "c")


def test_no_wanted_column_leaves_the_number_of_rows(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,b\n1,2\n3,4\n")
    found = read_delimited(path, table="t", wanted=lambda name: False)
    assert found.columns.column_names == []
    assert found.rows.tolist() == [1, 2]


def test_quoted_values_hold_delimiters_quotes_and_line_breaks(tmp_path: Path) -> None:
    found = read(tmp_path, b'a,b\n"x, y","say ""hi"""\n"two\nlines",2\n')
    assert found.columns.to_pydict() == {"a": ["x, y", "two\nlines"], "b": ['say "hi"', "2"]}


def test_a_value_longer_than_a_block(tmp_path: Path) -> None:
    long = "x" * 9_000_000
    found = read(tmp_path, f'a,b\n1,"{long}\n"\n2,y\n'.encode())
    assert found.columns["b"].to_pylist() == [long + "\n", "y"]


def test_tabs_with_bare_quotation_marks_are_characters(tmp_path: Path) -> None:
    found = read(tmp_path, b'a\tb\n1\t"Foetal" growth\n2\t5" wide\n', "t.tsv")
    assert found.columns["b"].to_pylist() == ['"Foetal" growth', '5" wide']


def test_tabs_with_enclosing_quotation_marks_are_quoted(tmp_path: Path) -> None:
    found = read(tmp_path, b'"a"\t"b"\n"1"\t"x\ty"\n', "t.tsv")
    assert found.columns.to_pydict() == {"a": ["1"], "b": ["x\ty"]}


def test_gzip_by_content_even_without_the_suffix(tmp_path: Path) -> None:
    assert read(tmp_path, gzip.compress(b"a\n1\n"), "t.csv").columns["a"].to_pylist() == ["1"]


def test_a_header_alone_is_a_table_without_rows(tmp_path: Path) -> None:
    assert read(tmp_path, b"a,b").columns.num_rows == 0


def test_ragged_lines_are_left_out_with_their_numbers(tmp_path: Path) -> None:
    found = read(tmp_path, b"a,b\n1,2\n3\n4,5,6\n\n7,8\n")
    assert found.columns["a"].to_pylist() == ["1", "7"]
    assert found.rows.tolist() == [1, 4]
    assert found.ragged == [(2, 1), (3, 3)]


def test_rows_are_numbered_like_the_file_across_many_blocks(tmp_path: Path) -> None:
    n = 3_000
    lines = [f"{i},{'y' * 4_000}" for i in range(1, n + 1)]
    lines[1_500 - 1] = "ragged"
    found = read(tmp_path, ("i,y\n" + "\n".join(lines)).encode())
    assert np.array_equal(found.rows, [int(i) for i in found.columns["i"].to_pylist()])
    assert found.ragged == [(1_500, 1)]


@pytest.mark.parametrize(
    ("data", "name", "message", "place"),
    [
        (b"", "t.csv", "empty", {}),
        (b"\n1,2\n", "t.csv", "empty", {}),
        (b"\xff\xfea\x00", "t.csv", "UTF-16", {}),
        (b"PK\x03\x04\x00\x00,", "t.csv", "not text", {}),
        (b"a,b\n1,caf\xe9\n", "t.csv", "not UTF-8", {"row": 1, "column": "b"}),
        (b"a,b\n1,x\n2,y\n3,\xff\n", "t.csv", "not UTF-8", {"row": 3, "column": "b"}),
        (b"caf\xe9,b\n1,2\n", "t.csv", "header is not UTF-8", {}),
        (b"id,Id\n1,2\n", "t.csv", "Two columns", {"column": "id"}),
        (b'a,b\n1,2\n2,"x\n3,4\n4,5\n', "t.csv", "never closed", {"row": 2, "column": "b"}),
        (gzip.compress(b"a,b\n" + bytes(range(48, 58)) * 999, mtime=0)[:40], "t.csv.gz", "cannot be read", {}),
        (b"a,b\n1,2\n", "t.csv.gz", "cannot be read", {}),
    ],
)
def test_what_cannot_be_read_says_where(
    tmp_path: Path, data: bytes, name: str, message: str, place: dict[str, object]
) -> None:
    with pytest.raises(SourceError, match=message) as caught:
        read(tmp_path, data, name)
    assert caught.value.file == str(tmp_path / name)
    assert caught.value.table == "t"
    assert caught.value.hint
    for key, value in place.items():
        assert getattr(caught.value, key) == value


def test_an_unclosed_mark_in_a_column_nobody_wants_is_found(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b'a,b\n1,2\n2,"x\n3,4\n')
    with pytest.raises(SourceError, match="never closed"):
        read_delimited(path, table="t", wanted={"a"}.__contains__)


def test_an_odd_mark_inside_a_value_is_harmless(tmp_path: Path) -> None:
    assert read(tmp_path, b'a,b\n1,5" wide\n2,y\n').columns["b"].to_pylist() == ['5" wide', "y"]
