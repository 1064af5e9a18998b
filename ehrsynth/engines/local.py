"""The local engine: blocks of patients in this process or over worker processes; the bytes are the same."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ehrsynth import plugins
from ehrsynth.engines.blocks import Job, Maker, Shard, Task, count_rows, encode, without_rows
from ehrsynth.engines.output import FormatWriter, Output
from ehrsynth.errors import UsageError
from ehrsynth.exporters import STAGED, Exporter, ExportSummary, Note, Part, make_exporters
from ehrsynth.provenance import versions
from ehrsynth.randomness import BLOCK_SIZE
from ehrsynth.records import Records

if TYPE_CHECKING:
    from concurrent.futures import Future

    from ehrsynth.engines.workers import Done, Workers

__all__ = ["RunSummary", "export_records", "generate_files"]

Progress = Callable[[int, int], None]
"""Called with (patients done, patients in all)."""


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """What a run wrote: where, patients, rows per table, files per format (path: bytes, sha256, rows), wall seconds.

    `synthetic` says whether a model made the patients up; `notes` is what a format has to say of the whole (``omop``:
    how many rows have a standard concept).
    """

    output: Path | str
    patients: int
    synthetic: bool
    row_counts: dict[str, int]
    files: dict[str, dict[str, dict[str, Any]]]
    seconds: float
    notes: dict[str, dict[str, Any]] = field(default_factory=dict)


def generate_files(
    job: Job,
    output: Path,
    *,
    workers: int = 1,
    resume: bool = False,
    shard: Shard | None = None,
    fork: bool = False,
    progress: Progress | None = None,
) -> RunSummary:
    """Generate the patients of `job` and write them to `output` in every one of its formats.

    The bytes depend on the job only.

    Parameters
    ----------
    resume : bool
        Go on after the last whole block of an interrupted run with the same settings, if there was one, and keep whole
        blocks if this run is interrupted too. The end is the same as of a run without interruption.
    shard : Shard, optional
        Only these blocks of the population; see `ehrsynth.engines.shards`.
    fork : bool
        Workers may be forked from this process (`may_fork`): only where all of its threads are Arrow's or BLAS's, which
        see to their locks.

    Raises
    ------
    UsageError
        Workers below 1, an unknown format or option, a scenario that cannot be, or what is to be resumed was another
        run.
    OutputError
        The output cannot be written there; nothing is left behind, but for what `resume` keeps.
    EhrsynthError
        A worker died.
    """
    if workers < 1:
        raise UsageError(f"There must be at least 1 worker, not {workers}.")
    started = time.perf_counter()
    exporters = make_exporters(job.formats, job.options)
    total = job.population
    tasks = [(start // BLOCK_SIZE, min(BLOCK_SIZE, total - start)) for start in range(0, total, BLOCK_SIZE)]
    manifest = job.manifest()
    if shard is not None:
        tasks, total = list(shard.tasks), shard.patients
        manifest |= {"shard": {"number": shard.number, "of": shard.of, "patients": shard.patients}}
    run = {**manifest, "formats": job.formats, "versions": versions("numpy", "pyarrow", "faker")}
    with Output(output, run=run, resume=resume) as target, ExitStack() as stack:
        tasks = tasks[max(target.progress.blocks, 0) :]
        maker = Maker(job)
        pieces = maker.tasks(tasks)
        count = min(workers, len(pieces))
        # Before a file grows or a thread begins.
        pool = stack.enter_context(_workers(job, count, maker, fork)) if count > 1 else None
        shared = maker.shared if shard is None or shard.number == 0 else without_rows(maker.shared)
        _begin(target, exporters, shared)
        blocks = _here(target, maker, tasks) if pool is None else _elsewhere(target, pool, pieces)
        # If it breaks off, hashing ends before the workers are ended and the folder is removed.
        stack.enter_context(closing(blocks))
        return _write(target, exporters, shared, blocks, total, manifest, started, progress)


def _workers(job: Job, count: int, maker: Maker, fork: bool) -> Workers:
    # Here, as what runs processes is a fiftieth of the start of one that has none.
    from ehrsynth.engines.workers import Workers, may_fork

    return Workers(job, count, maker if fork and may_fork() else None)


def _chosen(options: Mapping[str, Any] | None) -> dict[str, Any]:
    return {"options": dict(options)} if options else {}


def export_records(
    records: Records,
    output: Path,
    *,
    formats: Sequence[str],
    options: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> RunSummary:
    """Write `records` to `output` in every one of `formats`, block by block of patients.

    Raises
    ------
    UsageError
        An unknown format or option.
    OutputError
        The output cannot be written there; nothing is left behind.
    """
    started = time.perf_counter()
    exporters = make_exporters(_distinct(formats), options)
    manifest = {"source": records.provenance.to_dict(), "population": records.n_patients, **_chosen(options)}
    with Output(output) as target:
        _begin(target, exporters, records)
        blocks = _exported(target, records, exporters)
        return _write(target, exporters, records, blocks, records.n_patients, manifest, started, progress)


def _distinct(formats: Sequence[str]) -> tuple[str, ...]:
    if not formats:
        raise UsageError("No output format was named.", hint=plugins.nearest("", plugins.names("ehrsynth.exporters")))
    return tuple(dict.fromkeys(formats))


# -- blocks, in order, as they are written and hashed: patients and rows of each ---------------------------------------

_Block = tuple[int, dict[str, int]]
_Blocks = Generator[_Block, None, None]


def _here(target: Output, maker: Maker, tasks: Sequence[tuple[int, int]]) -> _Blocks:
    for index, n in tasks:
        counts: dict[str, int] = {}
        for name, part in maker.encode(Task(index, 0, n), counts):
            target.format(name).write([part])
        target.record(index, n, counts)
        yield n, counts


def _append(target: Output, block: Records, shared: Records, exporters: Mapping[str, Exporter]) -> dict[str, int]:
    # A function of its own: a block is gone before the next one is made.
    for name, part in encode(block, shared, exporters):
        target.format(name).write([part])
    return count_rows(block)


def _elsewhere(target: Output, pool: Workers, tasks: Sequence[Task]) -> _Blocks:
    from concurrent.futures import ThreadPoolExecutor

    # Files are hashed in a thread, from what the system still has in memory: hashing and reading leave Python's lock.
    with ThreadPoolExecutor(1) as hashing:
        waiting: deque[Future[None]] = deque()
        patients, counts = 0, Counter[str]()
        for done in pool.run(target, tasks):
            waiting.append(hashing.submit(_settle, target, done))
            patients += done.task.patients
            counts.update(done.row_counts)
            if done.task.last:
                waiting.append(hashing.submit(target.record, done.task.block, patients, counts))
                yield patients, counts
                patients, counts = 0, Counter()
            # What is far behind would have left the system's memory.
            while len(waiting) > 16:
                waiting.popleft().result()
        for future in waiting:
            future.result()


def _settle(target: Output, done: Done) -> None:
    for name, pieces in done.pieces.items():
        target.format(name).settle(pieces)


def _exported(target: Output, records: Records, exporters: Mapping[str, Exporter]) -> _Blocks:
    ids = records["patient"]["patient_id"].combine_chunks()
    for start in range(0, len(ids), BLOCK_SIZE):
        block = records.select_patients(ids.slice(start, BLOCK_SIZE)) if len(ids) > BLOCK_SIZE else records
        block = replace(block, first_patient=start)
        yield block.n_patients, _append(target, block, records, exporters)


# -- the whole ---------------------------------------------------------------------------------------------------------


def _begin(target: Output, exporters: Mapping[str, Exporter], shared: Records) -> None:
    for name, exporter in exporters.items():
        writer = target.format(name)
        if target.progress.blocks < 0:
            writer.write(exporter.begin(shared))
            writer.flush()
    if target.progress.blocks < 0:
        target.record(-1, 0, {})


def _write(
    target: Output,
    exporters: Mapping[str, Exporter],
    shared: Records,
    blocks: Iterator[_Block],
    population: int,
    manifest: dict[str, Any],
    started: float,
    progress: Progress | None,
) -> RunSummary:
    counts = {table.name: shared[table.name].num_rows for table in shared.schema.tables if table.shared}
    counts |= target.progress.row_counts
    done = target.progress.patients
    for patients, row_counts in blocks:
        for table, rows in row_counts.items():
            counts[table] = counts.get(table, 0) + rows
        done += patients
        if progress is not None:
            progress(done, population)
    counts = {name: counts.get(name, 0) for name in shared.schema.names}
    provenance = {
        "synthetic": shared.provenance.synthetic,
        "generated_at": manifest.get("reference_date") or shared.provenance.details.get("reference_date", "1970-01-01"),
        **manifest,
    }
    files: dict[str, dict[str, dict[str, Any]]] = {}
    notes: dict[str, dict[str, Any]] = {}
    for name, exporter in exporters.items():
        writer = target.format(name)
        if said := _finish(writer, exporter, counts, provenance):
            notes[name] = said
        writer.write(exporter.end(ExportSummary(files=writer.files, row_counts=counts, provenance=provenance)))
        files[name] = writer.files
    target.write_json(
        "manifest.json",
        {
            "format": "ehrsynth-manifest",
            "format_number": 1,
            "synthetic": shared.provenance.synthetic,
            **manifest,
            "versions": versions("numpy", "pyarrow", "faker"),
            "row_counts": counts,
            "formats": {
                name: {"files": listed, **({"notes": notes[name]} if name in notes else {})}
                for name, listed in files.items()
            },
        },
    )
    return RunSummary(
        output=target.folder,
        patients=done,
        synthetic=shared.provenance.synthetic,
        row_counts=counts,
        files=files,
        notes=notes,
        seconds=time.perf_counter() - started,
    )


def _finish(
    writer: FormatWriter, exporter: Exporter, counts: dict[str, int], provenance: dict[str, Any]
) -> dict[str, Any]:
    """Let an exporter complete its files, if it has to; return what it notes of them."""
    finish = getattr(exporter, "finish", None)
    if finish is None:
        return {}
    said: dict[str, Any] = {}
    writer.flush()
    for item in finish(writer.folder, ExportSummary(files=writer.files, row_counts=counts, provenance=provenance)):
        if isinstance(item, Part):
            writer.write([item])
            # What comes next may read it.
            writer.flush()
        elif isinstance(item, Note):
            said |= item.content
        else:
            writer.adopt(item.path, item.rows)
    # Only now: a run that is interrupted before can be resumed.
    writer.drop(STAGED)
    return said
