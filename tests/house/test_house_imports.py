"""Importing costs little and does nothing; imports run downwards only."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted(
    ".".join(path.with_suffix("").relative_to(ROOT).parts).removesuffix(".__init__")
    for path in (ROOT / "ehrsynth").rglob("*.py")
)


def run(code: str, *, cwd: Path | None = None) -> str:
    """Run Python code in a fresh process and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        cwd=cwd,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_ehrsynth_takes_nothing_heavy_along() -> None:
    heavy = {"numpy", "pandas", "pyarrow", "torch", "faker", "pomegranate", "fhir", "rich", "typer", "pydantic"}
    loaded = set(json.loads(run("import ehrsynth, json, sys; print(json.dumps(sorted(sys.modules)))")))
    assert not heavy & loaded


@pytest.mark.parametrize("command", ["ehrsynth.cli.app", "ehrsynth.engines", "ehrsynth.validation", "ehrsynth.readers"])
def test_only_learning_imports_torch(command: str) -> None:
    loaded = set(json.loads(run(f"import {command}, json, sys; print(json.dumps(sorted(sys.modules)))")))
    assert not {"torch", "pomegranate", "pandas", "faker", "fhir.resources"} & loaded


def test_every_module_imports_without_side_effect(tmp_path: Path) -> None:
    printed = run(
        f"""
        import importlib, os, random, signal, socket, sys
        def refuse(*args, **kwargs):
            raise AssertionError("network on import")
        socket.socket.connect = refuse
        import numpy, rich.console, rich.markup, rich.table, typer  # rich draws numbers for its own link identifiers
        environment, state = dict(os.environ), random.getstate()
        seeded = numpy.random.get_state()[1].tolist()
        handler = signal.getsignal(signal.SIGINT)
        for name in {MODULES!r}:
            importlib.import_module(name)
        assert dict(os.environ) == environment, "environment changed"
        assert random.getstate() == state, "global randomness used"
        assert numpy.random.get_state()[1].tolist() == seeded, "global randomness used"
        assert signal.getsignal(signal.SIGINT) is handler, "signal handler changed"
        """,
        cwd=tmp_path,
    )
    assert printed == ""
    assert list(tmp_path.iterdir()) == []


def test_floors() -> None:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
