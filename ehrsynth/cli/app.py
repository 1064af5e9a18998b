"""The `ehrsynth` command and its sub-commands."""

from __future__ import annotations

import gc
import os
import sys
from typing import Annotated

import typer

from ehrsynth.cli import evaluate, export, generate, inspect, learn, load, models, show, validate, vocabularies
from ehrsynth.cli.quick import QuickCommand, QuickGroup, only
from ehrsynth.errors import EhrsynthError, OutputError, exit_code

__all__ = ["app", "main"]

app = typer.Typer(
    name="ehrsynth",
    cls=QuickGroup,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""Learn from health records, generate linked synthetic patients, as FHIR R4 / US Core and tables.

Start here, with no data of your own: `ehrsynth generate -p 100 -o out -f fhir-ndjson -f csv`

With your own records: `ehrsynth learn my_omop_folder --format omop -o mine.ehrsynth`,
look at it with `ehrsynth models show mine.ehrsynth`, then `ehrsynth generate mine.ehrsynth -p 1000 -o out`.

Exit codes: 0 fine, 2 usage, 3 source, 4 model, 5 learning, 6 output, 7 findings, 8 installation, 9 missing extra, 130
interrupted.""",
)
app.command("inspect")(inspect.inspect)
app.command("learn")(learn.learn)
app.command("generate", cls=QuickCommand)(generate.generate)
app.command("export")(export.export)
app.command("load")(load.load)
app.command("validate")(validate.validate)
app.command("evaluate")(evaluate.evaluate)
app.command("show")(show.show)
app.add_typer(models.app, name="models")
app.add_typer(vocabularies.app, name="vocabularies")


def _version(value: bool) -> None:
    if value:
        from importlib import metadata

        sys.stdout.write(f"ehrsynth {metadata.version('ehrsynth')}\n")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Nothing to do: the option acts by itself."""


def main() -> None:
    """Run the command line; every expected failure is a message and an exit code, never a traceback."""
    # Starting makes many objects that stay: looking among them for what can go is a twentieth of the start.
    gc.set_threshold(100_000, 20, 20)
    try:
        only(app, sys.argv[1:])()
    except EhrsynthError as error:
        from ehrsynth.cli.console import print_error

        print_error(error)
        sys.exit(exit_code(error))
    except SystemExit as leaving:
        # typer turns Ctrl-C into this exit without a word.
        if leaving.code == exit_code(KeyboardInterrupt()):
            from ehrsynth.cli.console import error_console

            error_console.print("Interrupted; nothing half-written stands under the final name.")
        raise
    except BrokenPipeError:
        # Whoever read our output has gone (`| head`): leave quietly, and keep Python from flushing into the void.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(exit_code(OutputError("pipe closed")))
    finally:
        # Python looks through all objects for garbage once more before it ends: what is frozen is left alone.
        gc.freeze()
