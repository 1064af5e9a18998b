"""The output folder appears whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import json
from pathlib import Path

import pytest

from ehrsynth.engines import Output
from ehrsynth.engines.files import write_at
from ehrsynth.errors import OutputError
from ehrsynth.exporters import Part


def everything(folder: Path) -> list[str]:
    """Names of all files and folders below, hidden ones too."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_nothing_is_there_before_the_end(tmp_path: Path) -> None:
    with Output(tmp_path / "out") as output:
        output.format("csv").write([Part("a.csv", b"x\n"), Part("b/c.csv", b"1", 1), Part("a.csv", b"y\n", 2)])
        output.write_json("manifest.json", {"a": 1})
        assert not (tmp_path / "out").exists()
        assert output.format("csv").files == {
            "a.csv": {"bytes": 4, "sha256": hashlib.sha256(b"x\ny\n").hexdigest(), "rows": 2},
            "b/c.csv": {"bytes": 1, "sha256": hashlib.sha256(b"1").hexdigest(), "rows": 1},
        }
    assert everything(tmp_path) == [
        "out",
        "out/csv",
        "out/csv/a.csv",
        "out/csv/b",
        "out/csv/b/c.csv",
        "out/manifest.json",
    ]
    assert json.loads((tmp_path / "out/manifest.json").read_text()) == {"a": 1}


def test_more_files_than_may_be_open(tmp_path: Path) -> None:
    with Output(tmp_path / "out") as output:
        writer = output.format("x")
        for round_ in range(3):
            writer.write(Part(f"{i}.txt", f"{round_}".encode()) for i in range(200))
    assert {path.read_text() for path in (tmp_path / "out/x").iterdir()} == {"012"}
    assert len(list((tmp_path / "out/x").iterdir())) == 200


@pytest.mark.parametrize("size", [0, 1, (1 << 18) - 1, 1 << 18, (1 << 18) + 1, (5 << 18) + 7])
def test_long_texts_are_written_in_pieces(tmp_path: Path, size: int) -> None:
    data = bytes(i * 7 % 251 for i in range(1 << 10)) * (size // 1024 + 1)
    with Output(tmp_path / "out") as output:
        output.format("csv").write([Part("a", memoryview(data)[:size], 2), Part("a", data[:size], 3)])
        files = output.format("csv").files
    written = (tmp_path / "out" / "csv" / "a").read_bytes()
    assert written == data[:size] * 2
    assert files == {"a": {"bytes": 2 * size, "sha256": hashlib.sha256(written).hexdigest(), "rows": 5}}
    write_at(tmp_path / "b", 3, [b"x", memoryview(data)[:size]])
    assert (tmp_path / "b").read_bytes() == b"\0\0\0x" + data[:size]


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt()])
def test_a_failure_leaves_nothing(tmp_path: Path, error: BaseException) -> None:
    with pytest.raises(type(error)), Output(tmp_path / "out") as output:
        output.format("csv").write([Part("a.csv", b"x")])
        raise error
    assert everything(tmp_path) == []


def test_a_full_disk_leaves_nothing_and_says_so(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="disk is full"), Output(tmp_path / "out") as output:
        output.format("csv").write([Part("a.csv", b"x")])
        raise OSError(errno.ENOSPC, "No space left on device")
    assert everything(tmp_path) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full (Linux)")
def test_a_disk_that_fills_at_the_last_byte(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="disk is full"), Output(tmp_path / "out") as output:
        writer = output.format("csv")
        writer.write([Part("a.csv", b"")])
        # The file system takes the bytes into its buffer and refuses them when the file is closed.
        writer._open["a.csv"].close()
        writer._open["a.csv"] = Path("/dev/full").open("ab")  # noqa: SIM115
        writer.write([Part("a.csv", b"x")])
    assert everything(tmp_path) == []


def test_an_existing_empty_folder_is_taken_and_a_full_one_refused(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with Output(tmp_path / "out") as output:
        output.write_json("a.json", {})
    with pytest.raises(OutputError, match="not empty"):
        Output(tmp_path / "out")
    with pytest.raises(OutputError, match="existing file"):
        Output(tmp_path / "out/a.json")
    assert everything(tmp_path) == ["out", "out/a.json"]


def test_what_a_killed_run_left_is_replaced(tmp_path: Path) -> None:
    (tmp_path / ".out.partial/csv").mkdir(parents=True)
    (tmp_path / ".out.partial/csv/old.csv").write_text("old")
    with Output(tmp_path / "out") as output:
        output.write_json("new.json", {})
    assert everything(tmp_path) == ["out", "out/new.json"]


def test_an_exporter_cannot_write_elsewhere(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="outside"), Output(tmp_path / "out") as output:
        output.format("csv").write([Part("../../evil", b"x")])
    assert everything(tmp_path) == []


def test_a_missing_parent_is_made(tmp_path: Path) -> None:
    with Output(tmp_path / "a/b/out") as output:
        output.write_json("x.json", {})
    assert (tmp_path / "a/b/out/x.json").exists()
