"""Plain options are read without pydantic, and are what typer makes of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

from ehrsynth.cli.app import app
from ehrsynth.cli.quick import QuickCommand, only

WORDS = (
    ["--number", "7", "--share", "1.5", "--text", "a", "--text", "", "--folder", "x/y", "--on"],
    ["--number", "-3", "--share", "2", "--off"],
    ["--number", " 12 ", "--share", "1e3"],
    ["--number", "1_000", "--share", "inf"],
    ["--number", "1.5"],
    ["--share", "x"],
    ["--on", "--folder"],
    ["--folders", "a", "--folders", "b"],
    [],
)


def _read(quick: bool, words: list[str]) -> tuple[int, str, dict[str, Any]]:
    found: dict[str, Any] = {}
    app = typer.Typer()

    def command(
        name: Annotated[str | None, typer.Argument()] = None,
        number: Annotated[int, typer.Option("--number")] = 1,
        share: Annotated[float | None, typer.Option("--share")] = None,
        text: Annotated[list[str], typer.Option("--text")] = ["b"],  # noqa: B006
        folder: Annotated[Path, typer.Option("--folder")] = Path("out"),
        folders: Annotated[list[Path] | None, typer.Option("--folders")] = None,
        on: Annotated[bool | None, typer.Option("--on/--off")] = None,
    ) -> None:
        found.update(name=name, number=number, share=share, text=text, folder=folder, folders=folders, on=on)

    # The annotations are texts in this module, and typer looks them up among the globals.
    command.__annotations__ = {name: eval(kind) for name, kind in command.__annotations__.items()}
    app.command(cls=QuickCommand if quick else None)(command)
    done = CliRunner().invoke(app, words)
    return done.exit_code, done.output, found


@pytest.mark.parametrize("words", WORDS)
def test_options_are_what_typer_makes_of_them(words: list[str]) -> None:
    assert _read(True, words) == _read(False, words)


def test_generate_reads_its_options_without_pydantic() -> None:
    code = (
        "import sys\n"
        "from ehrsynth.cli.app import main\n"
        "try:\n    main()\n"
        "except SystemExit as leaving:\n    print(leaving.code, 'pydantic' in sys.modules, 'pandas' in sys.modules)"
    )
    words = ["generate", "-p", "0", "-s", "7", "-f", "csv", "--history-years", "2.5", "--state", "MA", "--deceased"]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["2", "False", "False"], done.stderr


def test_the_wanted_command_alone_is_made() -> None:
    assert [command.name for command in only(app, ["export", "--help"]).registered_commands] == ["export"]
    assert len(app.registered_commands) > 1
    # What is no name of a command, or the name of several, is left to typer with all of them.
    for words in ([], ["--version"], ["exprt"], ["models", "list"]):
        assert only(app, words) is app


def test_functions_of_pyarrow_work_without_their_documentation() -> None:
    code = (
        "import sys; from ehrsynth.cli.quick import import_compute; import_compute();"
        "import pyarrow as pa, pyarrow.compute as pc;"
        "assert pc.index_in(pa.array([2]), value_set=pa.array([1, 2]), skip_nulls=True).to_pylist() == [1];"
        "assert 'pyarrow.vendored.docscrape' not in sys.modules; import pyarrow.vendored.docscrape as again;"
        "assert again.NumpyDocString('a')['Summary'] == ['a']; import_compute()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
