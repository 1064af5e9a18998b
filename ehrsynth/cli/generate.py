"""`ehrsynth generate`: synthetic patients from a model, in every format asked for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from ehrsynth.cli import options
from ehrsynth.cli import scenario as wanted
from ehrsynth.cli.quick import import_compute

__all__ = ["generate"]


def generate(
    model: Annotated[
        str | None, typer.Argument(help="A model file, or the name of a shipped model (`ehrsynth models list`).")
    ] = None,
    population: options.Population = 1000,
    seed: options.Seed = 0,
    output: options.Output = Path("out"),
    formats: options.Formats = ["fhir-ndjson"],  # noqa: B006
    workers: options.Workers = 1,
    reference_date: options.ReferenceDate = None,
    resume: options.Resume = False,
    shards: options.Shards = None,
    engine: options.Engine = "local",
    master: options.Master = None,
    shared: options.Shared = None,
    compress: options.Compress = None,
    split_mb: options.SplitMb = None,
    vocabularies: options.Vocabularies = None,
    age: wanted.Age = None,
    sex: wanted.Sex = None,
    state: wanted.State = None,
    race: wanted.Race = None,
    ethnicity: wanted.Ethnicity = None,
    condition: wanted.Condition = None,
    deceased: wanted.Deceased = None,
    history_years: wanted.HistoryYears = None,
    min_visits: wanted.MinVisits = None,
    athena: options.Athena = None,
    json: options.Json = False,
) -> None:
    """Generate linked synthetic patients.

    Example: `ehrsynth generate -p 1000 -s 7 -o out -f fhir-ndjson -f csv`

    One run writes the same patients in every format: OUT/csv/..., OUT/fhir-ndjson/..., and OUT/manifest.json with the
    seed, the model's hash and a sha256 of every file. The first 100 patients of -p 100 and of -p 3000 are the same.
    Who is wanted is drawn from the model given just that, exactly, not by throwing others away:
    `ehrsynth generate -p 100 --sex female --age 40-65 -o women`

    A run that was interrupted goes on with --resume and the same options, and ends with the same bytes.
    """
    # Blocks run side by side: one thread each is enough for linear algebra.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    import_compute()
    from ehrsynth.api import generate_files, load_model
    from ehrsynth.cli.progress import progress_bar
    from ehrsynth.engines.start import keep_memory, leave_pandas_out

    options.use_vocabularies(vocabularies)
    when = options.parse_date(reference_date)
    chosen = options.of_formats(
        shared=shared, compress=compress, split_mb=split_mb, athena=None if athena is None else str(athena)
    )
    scenario = wanted.scenario(
        age=age,
        sex=sex,
        state=state,
        race=race,
        ethnicity=ethnicity,
        condition=condition,
        deceased=deceased,
        history_years=history_years,
        min_visits=min_visits,
    )
    leave_pandas_out(formats)
    keep_memory()
    try:
        with progress_bar("Generating patients", at_once=False) as progress:
            summary = generate_files(
                load_model(model),
                output,
                formats=formats,
                population=population,
                seed=seed,
                workers=workers,
                reference_date=when,
                resume=resume,
                options=chosen,
                scenario=scenario,
                shards=shards,
                engine=engine,
                master=master,
                fork=True,
                progress=progress,
            )
    except KeyboardInterrupt:
        if resume:
            from ehrsynth.cli.console import error_console

            error_console.print("The blocks that are whole were kept: run the same command again.")
        raise
    from ehrsynth.cli.summary import print_run

    print_run(summary, json=json)
