"""Workers: what is handed out, and that forked ones write what others write."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from types import ModuleType

import pytest

import ehrsynth
from ehrsynth.engines.blocks import Job, Maker, Task
from ehrsynth.engines.files import Piece
from ehrsynth.engines.work import _Text
from ehrsynth.engines.workers import may_fork
from ehrsynth.errors import UsageError
from ehrsynth.exporters import Part
from ehrsynth.generation import Generator
from ehrsynth.model import catalogue


def _tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_blocks_are_cut_where_patients_are_drawn_together(models: ModuleType) -> None:
    life = Maker(Job(model=catalogue.open_model("us_ambulatory"), population=1300, seed=1, formats=("csv",)))
    tasks = life.tasks([(0, 1024), (1, 276)])
    assert tasks[:2] == [Task(0, 0, 128, last=False), Task(0, 128, 256, last=False)]
    assert tasks[7:] == [
        Task(0, 896, 1024, last=True),
        Task(1, 0, 128, last=False),
        Task(1, 128, 256, last=False),
        Task(1, 256, 276, last=True),
    ]
    assert sum(task.patients for task in tasks) == 1300
    learned = Maker(Job(model=models.tiny_model(), population=1300, seed=1, formats=("csv",)))
    assert learned.tasks([(0, 1024), (1, 276)]) == [Task(0, 0, 1024), Task(1, 0, 276)]


def test_parts_begin_where_they_are_asked_to(models: ModuleType) -> None:
    generator = Generator(catalogue.open_model("us_ambulatory"), seed=3)
    (part,) = generator.parts(0, 150, 128)
    assert part.first_patient == 128
    assert part["patient"].to_pylist() == [*generator.parts(0, 150)][1]["patient"].to_pylist()
    with pytest.raises(UsageError, match="100"):
        list(generator.parts(0, 150, 100))
    with pytest.raises(UsageError, match="128"):
        list(Generator(models.tiny_model(), seed=3).parts(0, 150, 128))


def test_forked_and_new_processes_write_the_same(tmp_path: Path) -> None:
    """A life course in three tasks of one block, as text, as many files and as a series of files."""
    settings = {"formats": ["csv", "fhir-bundle", "parquet"], "population": 270, "seed": 5}
    settings |= {"scenario": {"history_years": 0.5}}
    ehrsynth.generate_files(None, tmp_path / "one", **settings)  # type: ignore[arg-type]
    ehrsynth.generate_files(None, tmp_path / "new", workers=2, **settings)  # type: ignore[arg-type]
    code = (
        "import sys, json, multiprocessing.popen_fork as started, ehrsynth\n"
        "forks = []\n"
        "fork = started.Popen._launch\n"
        "started.Popen._launch = lambda self, process: (forks.append(process.name), fork(self, process))[1]\n"
        "ehrsynth.generate_files(None, sys.argv[1], workers=2, fork=True, **json.loads(sys.argv[2]))\n"
        "assert len(forks) == 2, forks\n"
    )
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    words = [sys.executable, "-c", code, str(tmp_path / "fork"), json.dumps(settings)]
    subprocess.run(words, check=True, env=environment)
    expected = _tree(tmp_path / "one")
    assert len(expected) > 270
    assert _tree(tmp_path / "new") == expected
    assert _tree(tmp_path / "fork") == expected


def test_a_process_with_threads_is_not_forked() -> None:
    waiting = threading.Event()
    thread = threading.Thread(target=waiting.wait)
    thread.start()
    try:
        assert not may_fork()
    finally:
        waiting.set()
        thread.join()


def test_text_goes_to_its_places_from_memory_and_from_disk(tmp_path: Path) -> None:
    (tmp_path / "csv").mkdir()
    text = _Text(tmp_path)
    for path, data in (("a.csv", b"one\n"), ("b.csv", b"two\n"), ("a.csv", b"three\n")):
        text.add("csv", Part(path=path, data=data, rows=1))
        text.put_away_more_than(5)
    assert [(s.path, s.size, s.rows) for s in text.stretches["csv"]] == [("a.csv", 10, 2), ("b.csv", 4, 1)]
    text.write({"csv": [Piece("a.csv", 0, 10, 2), Piece("b.csv", 3, 4, 1)]})
    assert (tmp_path / "csv/a.csv").read_bytes() == b"one\nthree\n"
    assert (tmp_path / "csv/b.csv").read_bytes() == b"\0\0\0two\n"
    assert list(text.hashes["csv"]) == ["a.csv"]
    # It goes on after what is written.
    text.add("csv", Part(path="a.csv", data=b"four\n", rows=1))
    text.write({"csv": [Piece("a.csv", 10, 5, 1)]})
    assert (tmp_path / "csv/a.csv").read_bytes() == b"one\nthree\nfour\n"
