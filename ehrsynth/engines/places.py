"""Which engine does the work, and where the output goes: a folder or a URL."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ehrsynth import storage
from ehrsynth.engines.blocks import Job
from ehrsynth.engines.local import RunSummary, export_records, generate_files
from ehrsynth.engines.shards import generate_shards
from ehrsynth.errors import UsageError
from ehrsynth.records import Records

__all__ = ["ENGINES", "export_to", "generate_to", "part_reader", "spread_of"]

ENGINES = ("local", "spark")

Progress = Callable[[int, int], None]


def generate_to(
    output: str | Path,
    job: Job,
    *,
    workers: int = 1,
    resume: bool = False,
    shards: int | None = None,
    engine: str = "local",
    master: str | None = None,
    fork: bool = False,
    progress: Progress | None = None,
) -> RunSummary:
    """Generate the patients of `job` to a folder or a URL, by an engine; parameters as `ehrsynth.generate_files`."""
    _check(engine, master)
    sharded = shards is not None or engine == "spark"
    if resume and (engine != "local" or storage.as_url(output) is not None):
        raise UsageError("Outputs at a URL and on Spark cannot be resumed.", hint="Leave --resume out.")
    if not sharded:
        return _to(output, partial(generate_files, job, workers=workers, resume=resume, fork=fork, progress=progress))
    if engine == "local":
        return generate_shards(job, output, shards=shards, workers=workers, resume=resume, progress=progress)
    from ehrsynth.engines.spark import run_on_spark, store_of

    run, store = partial(run_on_spark, master=master), store_of(output, master)
    return generate_shards(job, output, shards=shards, run=run, store=store, progress=progress)


def export_to(output: str | Path, records: Records, **settings: Any) -> RunSummary:
    """Write `records` to a folder or a URL; settings as `ehrsynth.engines.export_records`."""
    return _to(output, partial(export_records, records, **settings))


def spread_of(engine: str, master: str | None) -> Any:
    """Return where learning takes its expectations: None for this process, see `ehrsynth.engines.spark.spread`.

    Raises
    ------
    UsageError
        There is no such engine.
    MissingExtraError
        Spark, or its Java, is not there.
    """
    _check(engine, master)
    if engine == "local":
        return None
    from ehrsynth.engines import spark

    # At once, not after the records have been read and encoded.
    spark.session(master)
    return partial(spark.spread, master=master)


def part_reader(
    source: str | Path,
    format: str | None,  # noqa: A002
    mapping: str | Path | None,
    engine: str,
) -> str | None:
    """Return the name of the reader of a source that a cluster reads in parts, None if this process reads it whole."""
    if engine != "spark" or mapping is not None or format not in (None, "tables", "omop"):
        return None
    from ehrsynth.readers.partition import is_partitionable, layout_of

    return (format or layout_of(source)) if is_partitionable(source) else None


def _check(engine: str, master: str | None) -> None:
    if engine not in ENGINES:
        raise UsageError(f"There is no engine {engine!r}.", hint=f"Use {' or '.join(ENGINES)}.")
    if master is not None and engine != "spark":
        raise UsageError("Only Spark has a master.", hint="Add --engine spark.")


def _to(output: str | Path, run: Callable[[Path], RunSummary]) -> RunSummary:
    """Run into a folder; for a URL into a temporary one, which is sent when whole."""
    url = storage.as_url(output)
    if url is None:
        return run(storage.local_path(output))
    storage.must_be_empty(url)
    with tempfile.TemporaryDirectory(prefix="ehrsynth-") as folder:
        summary = run(Path(folder) / "out")
        storage.send(Path(folder) / "out", url)
    return replace(summary, output=url)
