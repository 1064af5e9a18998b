"""The README names every command, and every command teaches with an example."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from ehrsynth.cli.app import app

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def commands() -> dict[str, Any]:
    """Every command of the command line by its full name."""
    found = {}
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        for sub, inner in getattr(command, "commands", {"": command}).items():
            found[f"{name} {sub}".strip()] = inner
    return found


@pytest.mark.parametrize("name", commands())
def test_the_readme_shows_the_command(name: str) -> None:
    assert f"ehrsynth {name}" in README


@pytest.mark.parametrize("name", commands())
def test_the_help_has_an_example(name: str) -> None:
    result = CliRunner().invoke(app, [*name.split(), "--help"])
    assert result.exit_code == 0
    assert "Example" in result.output


def test_every_command_line_in_the_readme_parses() -> None:
    known = commands()
    for line in re.findall(r"^(?:\$ )?ehrsynth ([^\n#&|]+)", README, flags=re.MULTILINE):
        words = line.split()
        if words[0].startswith("-"):
            continue
        name = " ".join(words[:2]) if " ".join(words[:2]) in known else words[0]
        assert name in known, line
        options = {option for parameter in known[name].params for option in parameter.opts}
        for word in words:
            if re.match(r"--?[a-z]", word):
                assert word.split("=")[0] in options | {"--help"}, line


def test_the_other_documents_are_there() -> None:
    assert "Apache License" in (ROOT / "LICENSE").read_text()
    assert "## 0.1.0" in (ROOT / "CHANGELOG.md").read_text()
    glossary = (ROOT / "GLOSSARY.md").read_text()
    for word in ("patient", "encounter", "trajectory class", "fidelity", "disclosure", "coding"):
        assert f"**{word}**" in glossary


def test_the_readme_holds_no_blanks() -> None:
    assert "@@" not in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_readme_gives_a_reason_for_every_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [*project["dependencies"]]
    for extra, wanted in project["optional-dependencies"].items():
        if extra != "dev":
            asked += wanted
    reasons = README[README.index("### What it is built on") : README.index("## What it does not promise")]
    told = {
        name.strip() for row in re.findall(r"^\| ([^|]+) \|", reasons, flags=re.MULTILINE) for name in row.split(",")
    }
    assert {re.split(r"[\[<>=]", one)[0] for one in asked} <= told


def test_no_row_of_the_readme_comes_twice() -> None:
    # Branches that add rows to one table are merged line by line: an older form of a row can come back.
    first = [line.split(" | ")[0] for line in README.splitlines() if line.startswith("| ") and "`ehrsynth " in line]
    assert len(first) == len(set(first))
    bullets = [line[:40] for line in README.splitlines() if line.startswith("- ")]
    assert len(bullets) == len(set(bullets))
