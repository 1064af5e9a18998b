"""The rooms: names, sizes, public faces, entry points."""

from __future__ import annotations

import ast
import importlib
import re
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import ehrsynth
from ehrsynth import plugins

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "ehrsynth").rglob("*.py"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_has_a_caption_a_public_face_and_under_400_lines(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 400
    tree = ast.parse(text)
    assert ast.get_docstring(tree), "no caption"
    assert "To be written" not in text
    name = ".".join(path.with_suffix("").relative_to(ROOT).parts).removesuffix(".__init__")
    module = importlib.import_module(name)
    if path.name != "__init__.py" or len(tree.body) > 1:
        assert sorted(module.__all__) == sorted(set(module.__all__))
        for public in module.__all__:
            assert getattr(module, public) is not None or public == "__version__"


def test_no_room_for_odds_and_ends() -> None:
    names = {part for path in SOURCES for part in path.with_suffix("").parts}
    assert not names & {"utils", "util", "helpers", "helper", "common", "misc"}


def test_print_only_on_the_command_line() -> None:
    for path in SOURCES:
        if "cli" not in path.parts:
            calls = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)]
            assert not [n for n in calls if isinstance(n.func, ast.Name) and n.func.id == "print"], path


def test_the_public_face_is_exact() -> None:
    assert sorted(ehrsynth.__all__) == [
        "EhrsynthError",
        "Records",
        "__version__",
        "evaluate",
        "export",
        "generate",
        "generate_files",
        "inspect",
        "learn",
        "learn_from",
        "load_model",
        "read",
        "save_model",
        "validate",
    ]
    assert ehrsynth.__version__ == PROJECT["project"]["version"]
    with pytest.raises(AttributeError):
        ehrsynth.nothing  # noqa: B018


@pytest.mark.parametrize("group", plugins.GROUPS)
def test_entry_points_load(group: str) -> None:
    for point in entry_points(group=group):
        loaded = point.load()
        assert loaded().name == point.name


def test_every_declared_entry_point_is_installed() -> None:
    for group, declared in PROJECT["project"]["entry-points"].items():
        assert set(declared) <= {point.name for point in entry_points(group=group)}


def test_packages_are_listed() -> None:
    listed = set(PROJECT["tool"]["setuptools"]["packages"])
    found = {".".join(path.parent.relative_to(ROOT).parts) for path in SOURCES}
    assert found == {
        name for name in listed if name.split(".")[1:2] not in (["domain_models"], ["vocabularies"], ["output_schemas"])
    }


def test_no_path_of_a_machine_in_the_project() -> None:
    pattern = re.compile(r"/(?:work|root|home)/[a-z]")
    for path in [*SOURCES, *(ROOT / "tests").rglob("*.py"), ROOT / "README.md", ROOT / "Makefile"]:
        if path != Path(__file__):
            assert not pattern.search(path.read_text()), path
