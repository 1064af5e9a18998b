"""The verbs: read, learn, load and save a model, generate, export, validate."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ehrsynth import plugins
from ehrsynth.errors import SourceError, UsageError
from ehrsynth.records import Records

if TYPE_CHECKING:
    from ehrsynth.engines import RunSummary
    from ehrsynth.evaluation import EvaluationReport
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
    "learn",
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
    source : path
        A folder of tables, or a folder or file of FHIR.
    format : str, optional
        Name of a reader (``omop``, ``tables``, ``fhir``, ``mapping``); guessed from the file names if left out.
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
    path = Path(source)
    if mapping is not None:
        if format not in (None, "mapping"):
            raise UsageError(f"The format {format} takes no mapping.", hint="Leave one of the two out.")
        reader = plugins.load("ehrsynth.readers", "mapping")(mapping)
    elif format is not None:
        reader = plugins.load("ehrsynth.readers", format)()
    else:
        if not path.exists():
            raise SourceError("There is no such folder.", file=path, hint="Name the folder that holds the records.")
        readers = (plugins.load("ehrsynth.readers", name)() for name in plugins.names("ehrsynth.readers"))
        reader = next((reader for reader in readers if reader.recognises(path)), None)
        if reader is None:
            raise SourceError(
                "This is no format that ehrsynth recognises.",
                file=path,
                hint=f"Name it: one of {', '.join(plugins.names('ehrsynth.readers'))}.",
            )
    records, report = reader.read(path, strict=strict)
    return records, report


def learn(
    records: Records,
    *,
    seed: int = 0,
    settings: LearningSettings | None = None,
    progress: Callable[[Any], None] | None = None,
) -> PatientModel:
    """Learn a model from `records`; see `ehrsynth.learning.learn`. Needs the ``learn`` extra."""
    from ehrsynth.learning import LearningSettings
    from ehrsynth.learning import learn as learn_model

    return learn_model(records, settings=settings or LearningSettings(), seed=seed, progress=progress)


def load_model(name_or_path: str | Path | None = None) -> PatientModel | LifeCourseModel:
    """Return a model from a package file or folder, or a shipped one by name; None is the shipped default."""
    from ehrsynth.model.catalogue import open_model

    return open_model(name_or_path)


def save_model(model: PatientModel | LifeCourseModel, path: str | Path) -> None:
    """Write `model` to a package file; it appears only when whole."""
    from ehrsynth.model.package import save

    save(model, Path(path))


def generate(
    model: PatientModel | LifeCourseModel | None = None,
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
    model : PatientModel or LifeCourseModel, optional
        Default: the shipped default model.
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
    generator = Generator(model or load_model(), seed=seed, reference_date=reference_date, evidence=scenario)
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
    model: PatientModel | LifeCourseModel | None,
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
    progress: Progress | None = None,
) -> RunSummary:
    """Generate patients straight to files, block by block in flat memory; see `ehrsynth.engines.generate_files`."""
    from ehrsynth.engines import generate_files as run

    return run(
        model or load_model(),
        Path(output),
        population=population,
        seed=seed,
        formats=formats,
        workers=workers,
        reference_date=reference_date,
        resume=resume,
        options=options,
        scenario=scenario,
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
    (fhir-ndjson), ``{"shared": "inline"}`` (fhir-bundle).

    Raises
    ------
    UsageError
        An unknown format (near names are suggested), or an option that none of the formats knows.
    OutputError
        The folder exists and is not empty, the disk is full...; nothing is left behind.
    """
    from ehrsynth.engines import export_records

    return export_records(records, Path(output), formats=formats, options=options, progress=progress)


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

    return run(Path(source), format=format, sample=sample, progress=progress)
