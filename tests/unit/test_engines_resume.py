"""Resuming: what an interrupted run left is cut back, checked and gone on with; another run is refused."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

import ehrsynth
from ehrsynth.engines import Output
from ehrsynth.engines.journal import read_journal
from ehrsynth.errors import OutputError, UsageError
from ehrsynth.exporters import Part

RUN = {"seed": 1, "formats": ("csv",)}


class BrokenOffError(Exception):
    """Something that ends a run."""


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below, with its bytes."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def broken_off(folder: Path) -> None:
    """Leave a run that wrote a block and a half."""
    with pytest.raises(BrokenOffError), Output(folder, run=RUN, resume=True) as output:
        writer = output.format("csv")
        writer.write([Part("a.csv", b"head\n")])
        output.record(-1, 0, {})
        writer.write([Part("a.csv", b"one\n", 1)])
        output.record(0, 1024, {"patient": 1})
        writer.write([Part("a.csv", b"half of the next", 1), Part("b.csv", b"new", 1)])
        raise BrokenOffError


def test_it_goes_on_after_the_last_whole_block(tmp_path: Path) -> None:
    broken_off(tmp_path / "out")
    with Output(tmp_path / "out", run=RUN, resume=True) as output:
        assert (output.progress.blocks, output.progress.patients) == (1, 1024)
        assert output.progress.row_counts == {"patient": 1}
        writer = output.format("csv")
        assert tree(output.staging / "csv") == {"a.csv": b"head\none\n"}
        writer.write([Part("a.csv", b"two\n", 1)])
        assert writer.files["a.csv"]["rows"] == 2
    assert tree(tmp_path) == {"out/csv/a.csv": b"head\none\ntwo\n"}


def test_a_torn_last_line_of_the_journal_is_cut_off(tmp_path: Path) -> None:
    broken_off(tmp_path / "out")
    journal = tmp_path / ".out.partial/journal.jsonl"
    whole = journal.read_bytes()
    for end in range(len(whole) - 40, len(whole)):
        journal.write_bytes(whole[:end])
        assert read_journal(journal.parent, RUN).blocks == 0
    assert journal.read_bytes().count(b"\n") == 2


@pytest.mark.parametrize("damage", [b"head\nONE\nhalf", b"head\n", None])
def test_files_that_are_not_what_the_journal_says(tmp_path: Path, damage: bytes | None) -> None:
    broken_off(tmp_path / "out")
    file = tmp_path / ".out.partial/csv/a.csv"
    if damage is None:
        file.unlink()
    else:
        file.write_bytes(damage)
    with pytest.raises(OutputError, match="not what its journal says"), Output(tmp_path / "out", run=RUN, resume=True):
        pass
    # It is for the user to say that it can go.
    assert (tmp_path / ".out.partial").exists()


@pytest.mark.parametrize("text", [b"{}\n", b"[]\n", b"nonsense\n"])
def test_a_journal_that_is_none(tmp_path: Path, text: bytes) -> None:
    broken_off(tmp_path / "out")
    (tmp_path / ".out.partial/journal.jsonl").write_bytes(text)
    with pytest.raises(OutputError, match="journal"), Output(tmp_path / "out", run=RUN, resume=True):
        pass


def test_two_runs_cannot_write_to_one_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ehrsynth.engines.output._PATIENCE_SECONDS", 0.1)
    with Output(tmp_path / "out", run=RUN) as output:
        with pytest.raises(OutputError, match="Another run"), Output(tmp_path / "out", run=RUN, resume=True):
            pass
        output.format("csv").write([Part("a.csv", b"x")])
    assert tree(tmp_path) == {"out/csv/a.csv": b"x"}


@pytest.mark.parametrize(
    "other", [{"seed": 2}, {"population": 2500}, {"formats": ["csv", "fhir-bundle"]}, {"reference_date": "2020-01-01"}]
)
def test_another_run_is_refused_and_the_same_ends_alike(
    models: ModuleType, tmp_path: Path, other: dict[str, object]
) -> None:
    from datetime import date

    settings: dict[str, object] = {"formats": ["fhir-ndjson", "csv"], "population": 1100, "seed": 1}

    def stop(done: int, total: int) -> None:
        raise BrokenOffError

    with pytest.raises(BrokenOffError):
        ehrsynth.generate_files(models.tiny_model(), tmp_path / "o", **settings, resume=True, progress=stop)  # type: ignore[arg-type]
    if "reference_date" in other:
        other = {"reference_date": date.fromisoformat(str(other["reference_date"]))}
    with pytest.raises(UsageError, match=next(iter(other))):
        ehrsynth.generate_files(models.tiny_model(), tmp_path / "o", **(settings | other), resume=True)  # type: ignore[arg-type]
    seen: list[int] = []
    ehrsynth.generate_files(
        models.tiny_model(),
        tmp_path / "o",
        **settings,  # type: ignore[arg-type]
        resume=True,
        progress=lambda done, total: seen.append(done),
    )
    assert seen == [1100]
    ehrsynth.generate_files(models.tiny_model(), tmp_path / "whole", **settings)  # type: ignore[arg-type]
    assert tree(tmp_path / "o") == tree(tmp_path / "whole")
