"""A run that is killed at any moment goes on with --resume and ends with the bytes of one that was not."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import ModuleType

import pytest

from ehrsynth.model.package import save

from .long_runs import POPULATION as LONG
from .long_runs import started

EHRSYNTH = str(Path(sys.executable).with_name("ehrsynth"))
POPULATION = 6_000  # Six blocks.
KILLS = 20


@pytest.fixture(scope="module")
def model(models: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model in a file."""
    path = tmp_path_factory.mktemp("model") / "tiny.ehrsynth"
    save(models.tiny_model(), path)
    return path


def command(model: Path, output: Path, *words: object, population: int = POPULATION) -> list[str]:
    """The command that generates two formats."""
    options = ("-p", population, "-s", 3, "-f", "csv", "-f", "fhir-ndjson", "-o", output, *words)
    return [EHRSYNTH, "generate", str(model), *map(str, options)]


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below, with its bytes."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def size(folder: Path) -> int:
    """Bytes of all files below, as far as they are there: folders vanish while this looks, when a run ends."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                total += (Path(root) / name).stat().st_size
    return total


def kill_after(command: list[str], staging: Path, more: int) -> bool:
    """Run until `more` bytes than now are there and kill it there and then; return whether it was still running."""
    before = size(staging)
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
    while process.poll() is None and size(staging) < before + more:
        time.sleep(0.03)  # A look at the folder costs time of the run itself.
    running = process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    return running


def test_killed_at_twenty_moments_and_resumed(model: Path, tmp_path: Path) -> None:
    subprocess.run(command(model, tmp_path / "whole"), check=True, stdout=subprocess.DEVNULL)
    expected = tree(tmp_path / "whole")
    total = sum(map(len, expected.values()))
    moments = random.Random(7)
    staging = tmp_path / ".o.partial"
    killed = 0
    for _ in range(KILLS):
        workers = moments.choice([1, 2])
        # Bytes and not seconds: so the moments lie all over the run on every machine.
        more = moments.randrange(1, total // 3)
        killed += kill_after(command(model, tmp_path / "o", "--resume", "-w", workers), staging, more)
        if (tmp_path / "o").exists():
            # It ended before it could be killed: from the start again.
            assert tree(tmp_path / "o") == expected
            shutil.rmtree(tmp_path / "o")
    assert killed >= KILLS // 2
    subprocess.run(command(model, tmp_path / "o", "--resume", "-w", 2), check=True, stdout=subprocess.DEVNULL)
    assert tree(tmp_path / "o") == expected
    assert sorted(path.name for path in tmp_path.iterdir()) == ["o", "whole"]


def interrupted(model: Path, tmp_path: Path, *words: object) -> subprocess.CompletedProcess[str]:
    """Run until some blocks are journalled, then Ctrl-C."""
    words = command(model, tmp_path / "o", *words, population=LONG)  # type: ignore[assignment]
    journal = tmp_path / ".o.partial/journal.jsonl"
    with started(words) as process:  # type: ignore[arg-type]
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not (journal.exists() and journal.read_bytes().count(b"\n") > 4):
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=60)
    return subprocess.CompletedProcess(words, process.returncode, "", said)


@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_keeps_what_is_whole_only_if_it_can_be_resumed(model: Path, tmp_path: Path, workers: int) -> None:
    done = interrupted(model, tmp_path, "--resume", "-w", workers)
    assert done.returncode == 130
    assert "kept" in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == [".o.partial"]
    lines = [json.loads(line) for line in (tmp_path / ".o.partial/journal.jsonl").read_text().splitlines()]
    assert lines[0]["run"]["population"] == LONG
    assert [line["block"] for line in lines[1:]] == list(range(-1, len(lines) - 2))
    said = subprocess.run(
        command(model, tmp_path / "o", "--resume", "-s", 4, population=LONG),
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 2
    assert "seed: 3 then, 4 now" in " ".join(said.stderr.split())
    # Without --resume it starts anew, and nothing of the old is in it.
    subprocess.run(command(model, tmp_path / "o", population=30), check=True, stdout=subprocess.DEVNULL)
    assert [path.name for path in tmp_path.iterdir()] == ["o"]
    assert json.loads((tmp_path / "o/manifest.json").read_text())["population"] == 30
