"""The verbs: read, learn, load and save a model, generate, export, validate."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ehrsynth import storage
from ehrsynth.errors import UsageError
from ehrsynth.records import Records

if TYPE_CHECKING:
    from ehrsynth.engines import RunSummary
    from ehrsynth.evaluation import EvaluationReport
    from ehrsynth.inspection import Inspection
    from ehrsynth.learning import LearningSettings
    from ehrsynth.model import PatientModel
    from ehrsynth.model.life_course import LifeCourseModel
    from ehrsynth.readers import ReadReport
    from ehrsynth.validation import ValidationReport

__all__ = [
    "evaluate",
    "export",
    "generate",
    "generate_files",
    "inspect",
    "learn",
    "learn_from",
    "load_model",
    "read",
    "read_with_report",
    "save_model",
    "validate",
]

Progress = Callable[[int, int], None]


def read(
    source: str | Path,
    *,
    format: str | None = None,  # noqa: A002
    strict: bool = True,
    mapping: str | Path | None = None,
) -> Records:
    """Read records.

    Parameters
    ----------
    source : path or URL
        A folder of tables, or a folder or file of FHIR; also at a URL that fsspec knows (``s3://bucket/folder``); or a
        database: ``sqlite:///file.db``, ``duckdb:///file.duckdb``, ``postgresql://user@host/database``.
    format : str, optional
        Name of a reader (``omop``, ``mimic-iv``, ``meds``, ``tables``...); guessed from the file names if left out.
    strict : bool
        Whether a broken key, an orphan or an unreadable value is an error; if not, such rows are set aside and counted.
    mapping : path or str, optional
        For sources of any other layout: a mapping file (``MAPPING.md``), or the name of a packaged mapping.

    Raises
    ------
    SourceError
        There is nothing to read there, or (strict) the first thing that is wrong with it.
    UsageError
        A mapping for a format that takes none.
    """
    return read_with_report(source, format=format, strict=strict, mapping=mapping)[0]


def read_with_report(
    source: str | Path,
    *,
    format: str | None = None,  # noqa: A002
    strict: bool = True,
    mapping: str | Path | None = None,
) -> tuple[Records, ReadReport]:
    """Read records and the account of what was set aside and why; parameters as `read`."""
    from ehrsynth.readers.choice import at_hand, read_as

    with at_hand(source) as place:
        return read_as(place, format, strict, mapping)


def inspect(source: str | Path, *, progress: Callable[[int, int, str], None] | None = None) -> tuple[Inspection, str]:
    """Look at a source that nobody described: its tables, keys, references, dates, code systems.

    Parameters
    ----------
    source : path or str
        A folder of CSV, TSV or Parquet files, or a database as in `read`.
    progress : callable, optional
        Called with (tables done, tables in all, name).

    Returns
    -------
    Inspection
        What was found, each with its evidence and a confidence.
    str
        A mapping file that `read` takes once it was looked through.

    Raises
    ------
    SourceError
        There is no table, or one cannot be read.
    """
    from ehrsynth.inspection import inspect as run
    from ehrsynth.inspection import propose
    from ehrsynth.readers.choice import recognised

    found = run(source, progress=progress)
    known = recognised(source)
    if known:
        note = f"ehrsynth knows this layout: --format {known} reads it without a mapping, and more of it."
        found = replace(found, notes=(*found.notes, note))
    return found, propose(found)


def learn(
    records: Records,
    *,
    seed: int = 0,
    settings: LearningSettings | None = None,
    engine: str = "local",
    master: str | None = None,
    progress: Callable[[Any], None] | None = None,
) -> PatientModel:
    """Learn a model from `records`; see `ehrsynth.learning.learn`. Needs the ``learn`` extra.

    With the engine ``spark`` the expectations of EM, nearly all of the time, are taken on a cluster; the model is the
    same.
    """
    from ehrsynth.engines.places import spread_of
    from ehrsynth.learning import LearningSettings
    from ehrsynth.learning import learn as learn_model

    spread = spread_of(engine, master)
    return learn_model(records, settings=settings or LearningSettings(), seed=seed, progress=progress, spread=spread)


def learn_from(
    source: str | Path,
    *,
    format: str | None = None,  # noqa: A002
    strict: bool = True,
    mapping: str | Path | None = None,
    seed: int = 0,
    settings: LearningSettings | None = None,
    engine: str = "local",
    master: str | None = None,
    parts: int | None = None,
    progress: Callable[[Any], None] | None = None,
) -> tuple[PatientModel, ReadReport]:
    """Read records and learn a model from them; parameters as `read` and `learn`.

    A source of more than a quarter of a million rows is read in parts of patients if its reader can: one of them is in
    memory at a time, the others lie in a folder of the temporary directory that only you can open and that goes when
    the work ends. The model is the same. `parts` says in how many; 1: all at once.

    With the engine ``spark``, a folder of Parquet tables (canonical or OMOP) is read by the tasks, each its own
    patients, and the driver sees sums: SPARK.md says what it gathers besides. Other sources are read by the driver.

    Returns
    -------
    PatientModel
    ReadReport
        What was set aside and why.
    """
    from ehrsynth.engines.places import part_reader, spread_of
    from ehrsynth.readers.choice import at_hand, read_as

    reader = part_reader(source, format, mapping, engine)
    if reader is None and engine == "local":
        from ehrsynth.engines.parts_learning import divided, learn_divided

        # It has no master, and says so.
        spread_of(engine, master)
        with at_hand(source) as place:
            division = divided(place, format, mapping, parts)
            if division is not None:
                return learn_divided(division, strict=strict, settings=settings, seed=seed, progress=progress)
            records, report = read_as(place, format, strict, mapping)
        return learn(records, seed=seed, settings=settings, progress=progress), report
    if reader is None:
        records, report = read_with_report(source, format=format, strict=strict, mapping=mapping)
        return learn(records, seed=seed, settings=settings, engine=engine, master=master, progress=progress), report
    from ehrsynth.engines.spark_learning import learn_on_spark

    return learn_on_spark(
        source,
        format=reader,
        strict=strict,
        settings=settings,
        seed=seed,
        master=master,
        parts=parts,
        progress=progress,
    )


def load_model(name_or_path: str | Path | None = None) -> PatientModel | LifeCourseModel:
    """Return a model from a package file or folder, or a shipped one by name; None is the shipped default."""
    from ehrsynth.model.catalogue import open_model

    if name_or_path is None or storage.as_url(name_or_path) is None:
        return open_model(name_or_path)
    with storage.fetched(name_or_path) as path:
        return open_model(path)


def _opened(model: PatientModel | LifeCourseModel | str | Path | None) -> PatientModel | LifeCourseModel:
    """Return a model that is given as such, by name or path, or as None for the default."""
    return load_model(model) if model is None or isinstance(model, str | Path) else model


def save_model(model: PatientModel | LifeCourseModel, path: str | Path) -> None:
    """Write `model` to a package file, also at a URL; it appears only when whole."""
    from ehrsynth.model.package import save

    url = storage.as_url(path)
    if url is None:
        save(model, storage.local_path(path))
        return
    with tempfile.TemporaryDirectory(prefix="ehrsynth-") as folder:
        save(model, Path(folder) / "model.ehrsynth")
        storage.send(Path(folder) / "model.ehrsynth", url)


def generate(
    model: PatientModel | LifeCourseModel | str | Path | None = None,
    *,
    population: int = 1000,
    seed: int = 0,
    reference_date: date | None = None,
    scenario: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Records:
    """Generate patients in memory.

    Parameters
    ----------
    model : PatientModel, LifeCourseModel, str or Path, optional
        A model, or the name or path of one as `load_model` takes it. Default: the shipped default model.
    population : int
        How many patients, at least 1.
    seed : int
        Same model, seed, population and reference date: same records. The first k patients are the same for every
        population.
    reference_date : date, optional
        Nothing happens after it; default: the model's, never today.
    scenario : mapping, optional
        Who is wanted, by the words of `ehrsynth.generation.scenario.SCENARIO`: ``{"age": (40, 66), "sex": "female"}``.
        Answered by conditioning the network, exactly.
    progress : callable, optional
        Called with (patients done, patients in all).

    Raises
    ------
    UsageError
        A population below 1, or a scenario that cannot be.
    """
    from ehrsynth.generation import Generator
    from ehrsynth.randomness import BLOCK_SIZE

    if population < 1:
        raise UsageError(f"The population is {population}; it must be at least 1.")
    generator = Generator(_opened(model), seed=seed, reference_date=reference_date, evidence=scenario)
    shared = generator.shared()
    blocks = []
    for start in range(0, population, BLOCK_SIZE):
        n = min(BLOCK_SIZE, population - start)
        blocks.append(generator.block(start // BLOCK_SIZE, n))
        if progress is not None:
            progress(start + n, population)
    tables = dict(Records.concat(blocks).tables)
    tables |= {table.name: shared[table.name] for table in shared.schema.tables if table.shared}
    return Records(tables=tables, schema=shared.schema, provenance=shared.provenance)


def generate_files(
    model: PatientModel | LifeCourseModel | str | Path | None,
    output: str | Path,
    *,
    formats: Sequence[str],
    population: int = 1000,
    seed: int = 0,
    workers: int = 1,
    reference_date: date | None = None,
    resume: bool = False,
    options: Mapping[str, Any] | None = None,
    scenario: Mapping[str, Any] | None = None,
    shards: int | None = None,
    engine: str = "local",
    master: str | None = None,
    fork: bool = False,
    progress: Progress | None = None,
) -> RunSummary:
    """Generate patients straight to files, block by block in flat memory; see `ehrsynth.engines.generate_files`.

    Parameters
    ----------
    output : path or URL
        At a URL (``s3://bucket/folder``) the manifest comes last; until then the output is not whole.
    shards : int, optional
        Write so many folders of consecutive patients, each whole by itself: see `ehrsynth.engines.shards`.
    engine : str
        ``local``, or ``spark``: always in shards, the same as the local ones, byte for byte.
    master : str, optional
        Spark's; default: the session that is active, else what the environment says.
    fork : bool
        Workers may be forks of this process, which begin at once: for one that runs nothing else, as the command's.

    Raises
    ------
    UsageError
        An engine that there is not; `resume` on Spark or at a URL.
    """
    from ehrsynth.engines.blocks import Job
    from ehrsynth.engines.places import generate_to

    job = Job(
        model=_opened(model),
        population=population,
        seed=seed,
        formats=tuple(formats),
        reference_date=reference_date,
        options=options,
        scenario=scenario,
    )
    return generate_to(
        output,
        job,
        workers=workers,
        resume=resume,
        shards=shards,
        engine=engine,
        master=master,
        fork=fork,
        progress=progress,
    )


def export(
    records: Records,
    output: str | Path,
    *,
    formats: Sequence[str],
    options: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> RunSummary:
    """Write `records` to ``output/<format>/`` in every format and ``output/manifest.json``.

    `options` are those of the formats: ``{"compress": "gzip"}`` (csv, fhir-ndjson), ``{"split_mb": 200}``
    (fhir-ndjson), ``{"shared": "inline"}`` (fhir-bundle), ``{"athena": "folder"}`` (omop: the user's own vocabularies).

    Raises
    ------
    UsageError
        An unknown format (near names are suggested), or an option that none of the formats knows.
    OutputError
        The folder exists and is not empty, the disk is full...; nothing is left behind.
    """
    from ehrsynth.engines.places import export_to

    return export_to(output, records, formats=formats, options=options, progress=progress)


def evaluate(
    real: Records,
    synthetic: Records,
    *,
    control: Records | None = None,
    seed: int = 0,
    bootstrap: int = 100,
    progress: Callable[[int, int, str], None] | None = None,
) -> EvaluationReport:
    """Say how near synthetic records are to real ones; see `ehrsynth.evaluation.evaluate`."""
    from ehrsynth.evaluation import evaluate as run

    return run(real, synthetic, control=control, seed=seed, bootstrap=bootstrap, progress=progress)


def validate(
    source: str | Path,
    *,
    format: str | None = None,  # noqa: A002
    sample: int | None = None,
    progress: Progress | None = None,
) -> ValidationReport:
    """Check records in files, our own or anyone's; see `ehrsynth.validation.validate`."""
    from ehrsynth.validation import validate as run

    with storage.fetched(source) as path:
        return run(path, format=format, sample=sample, progress=progress)
