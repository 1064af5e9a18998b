"""`ehrsynth learn`: a model from a custodian's own records."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ehrsynth.cli import options

if TYPE_CHECKING:
    from ehrsynth.learning import LearningProgress
    from ehrsynth.model import PatientModel
    from ehrsynth.readers import ReadReport

__all__ = ["learn"]


def learn(
    source: Annotated[str, typer.Argument(help="Folder of records; or sqlite:///, duckdb:///, postgresql://.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Model file to write, e.g. mine.ehrsynth.")],
    format: Annotated[str | None, typer.Option("--format", help="omop, mimic-iv, meds, fhir...; or guessed.")] = None,  # noqa: A002
    mapping: options.Mapping = None,
    seed: options.Seed = 0,
    min_patients: Annotated[
        int, typer.Option("--min-patients", help="No code, category or date of fewer people enters the model.")
    ] = 5,
    states: Annotated[str, typer.Option("--states", help="Hidden states per trajectory class, or auto.")] = "auto",
    classes: Annotated[str, typer.Option("--classes", help="Trajectory classes, or auto.")] = "auto",
    max_visits: Annotated[int, typer.Option("--max-visits", help="At most so many visits of a patient count.")] = 500,
    reference_date: options.ReferenceDate = None,
    name: Annotated[str | None, typer.Option("--name", help="Name of the model. Default: the file's.")] = None,
    title: Annotated[str, typer.Option("--title", help="What it is, in one line.")] = "",
    licence: Annotated[str, typer.Option("--licence", help="Licence of the model package.")] = "",
    vocabularies: options.Vocabularies = None,
    engine: options.Engine = "local",
    master: options.Master = None,
    parts: Annotated[
        int | None,
        typer.Option("--parts", metavar="N", help="Read the patients in N parts, one in memory at a time; 1: at once."),
    ] = None,
    lenient: Annotated[bool, typer.Option("--lenient", help="Set broken rows aside and count them.")] = False,
    json: options.Json = False,
) -> None:
    """Learn a model from records.

    Example: `ehrsynth learn my_omop_folder --format omop -s 7 -o mine.ehrsynth`

    The model file holds tables of probabilities, no rows; nothing that fewer than --min-patients people have enters it.
    Read it with `ehrsynth models show mine.ehrsynth` before it leaves the building. Needs `pip install
    'ehrsynth[learn]'`.

    A source of more than a quarter of a million rows is read in parts of patients, which makes no other model.
    Meanwhile the rows of the source, and what they are encoded to, lie in a folder ehrsynth-learn-... of the temporary
    directory (TMPDIR), which only you can open; it is removed at the end, after an error and after Ctrl-C.
    """
    # Arrow's own allocator keeps what was read for later; here numpy needs it. It is chosen when Arrow is imported.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    from ehrsynth import api, storage
    from ehrsynth.cli.progress import progress_bar
    from ehrsynth.errors import OutputError, UsageError

    options.use_vocabularies(vocabularies)
    if output.exists():
        raise OutputError("The model file exists.", file=output, hint="Name another or remove it first.")
    if (url := storage.as_url(output)) is not None:
        # Before the work, not after it.
        storage.must_be_empty(url)
    if min_patients < 1:
        raise UsageError(f"--min-patients is {min_patients}; it must be at least 1.")
    when = options.parse_date(reference_date)
    from ehrsynth.learning import LearningSettings

    settings = LearningSettings(
        min_patients=min_patients,
        states=_size(states, "--states"),
        classes=_size(classes, "--classes"),
        max_visits=max_visits,
        reference_date=when.isoformat() if when else None,
        name=name or output.name.split(".")[0],
        title=title,
        licence=licence,
    )
    with _ended_by_signals(), progress_bar("Learning") as progress:
        model, report = api.learn_from(
            source,
            format=format,
            strict=not lenient,
            mapping=mapping,
            seed=seed,
            settings=settings,
            engine=engine,
            master=master,
            parts=parts,
            progress=lambda step: progress(step.step, step.steps, _note(step)),
        )
    api.save_model(model, output)
    _print(model, report, output, json=json)


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Leave as after Ctrl-C when the process is told to end or its terminal closes: real patients' rows lie about."""

    def leave(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _note(step: LearningProgress) -> str:
    fit = "" if step.log_likelihood is None else f" (log-likelihood {step.log_likelihood:.3f} a patient)"
    return f"{step.stage} {step.message}{fit}"


def _size(text: str, option: str) -> Any:
    from ehrsynth.errors import UsageError

    if text == "auto":
        return "auto"
    if text.isdecimal() and int(text) >= 1:
        return int(text)
    raise UsageError(f"{option} {text} is neither auto nor a number of at least 1.")


def _print(model: PatientModel, report: ReadReport, output: Path, *, json: bool) -> None:
    from ehrsynth.cli.account import print_notes, print_read
    from ehrsynth.cli.console import out, print_json, table
    from ehrsynth.model.remarks import remarks
    from ehrsynth.model.summary import summarise

    summary = summarise(model)
    if json:
        print_json(
            {"output": str(output), "read": report.to_dict(), "remarks": remarks(model), "model": summary.to_dict()}
        )
        return
    print_read(report)
    print_notes((*report.notes, *remarks(model), *model.disclosure.notes))
    out.print(table("Learned", ("what", "value"), list(summary.sizes.items()), numbers=[1]))
    out.print(f"The model is in [bold]{output}[/]. Read it first: ehrsynth models show {output}", highlight=False)
