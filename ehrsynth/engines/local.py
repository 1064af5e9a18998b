"""The local engine: blocks of patients over a process pool, appended in order; workers never change the bytes."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from datetime import date
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pyarrow as pa

from ehrsynth import plugins
from ehrsynth.engines.output import Output
from ehrsynth.errors import EhrsynthError, UsageError
from ehrsynth.exporters import Exporter, ExportSummary, Part, make_exporters
from ehrsynth.generation import Generator
from ehrsynth.model import PatientModel
from ehrsynth.model.package import model_hash
from ehrsynth.provenance import versions
from ehrsynth.randomness import BLOCK_SIZE
from ehrsynth.records import Records

__all__ = ["RunSummary", "export_records", "generate_files"]

Progress = Callable[[int, int], None]
"""Called with (patients done, patients in all)."""


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """What a run wrote: where, patients, rows per table, files per format (path: bytes, sha256, rows), wall seconds.

    `synthetic` says whether a model made the patients up.
    """

    output: Path
    patients: int
    synthetic: bool
    row_counts: dict[str, int]
    files: dict[str, dict[str, dict[str, Any]]]
    seconds: float


@dataclass(frozen=True, kw_only=True)
class _Encoded:
    """One block as it comes from a worker: parts per format and rows per table."""

    patients: int
    row_counts: dict[str, int]
    parts: dict[str, list[Part]]


class _Maker:
    """Makes and encodes blocks; one per process."""

    def __init__(self, generator: Generator, formats: Sequence[str], options: Mapping[str, Any] | None) -> None:
        self.generator = generator
        self.shared = generator.shared()
        self.exporters = make_exporters(formats, options)

    def __call__(self, index: int, n: int) -> _Encoded:
        return _encode(self.generator.block(index, n), self.shared, self.exporters)


def _encode(block: Records, shared: Records, exporters: Mapping[str, Exporter]) -> _Encoded:
    return _Encoded(
        patients=block.n_patients,
        row_counts={table.name: block[table.name].num_rows for table in block.schema.tables if table.has_patient},
        parts={name: list(exporter.encode(block, shared)) for name, exporter in exporters.items()},
    )


def generate_files(
    model: PatientModel,
    output: Path,
    *,
    population: int,
    seed: int,
    formats: Sequence[str],
    workers: int = 1,
    reference_date: date | None = None,
    options: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> RunSummary:
    """Generate `population` patients and write them to `output` in every one of `formats`.

    The bytes depend on the model, seed, population, formats, their options and the reference date only.

    Raises
    ------
    UsageError
        A population below 1, workers below 1, an unknown format or option.
    OutputError
        The output cannot be written there; nothing is left behind.
    """
    if population < 1:
        raise UsageError(f"The population is {population}; it must be at least 1.", hint="Use -p 1000.")
    if workers < 1:
        raise UsageError(f"There must be at least 1 worker, not {workers}.")
    if not formats:
        raise UsageError("No output format was named.", hint=plugins.nearest("", plugins.names("ehrsynth.exporters")))
    formats = list(dict.fromkeys(formats))
    exporters = make_exporters(formats, options)
    generator = Generator(model, seed=seed, reference_date=reference_date)
    shared = generator.shared()
    tasks = [(start // BLOCK_SIZE, min(BLOCK_SIZE, population - start)) for start in range(0, population, BLOCK_SIZE)]
    started = time.perf_counter()
    with Output(output) as target:
        maker = _Maker(generator, formats, options)
        if workers == 1 or len(tasks) == 1:
            encoded: Iterator[_Encoded] = (maker(index, n) for index, n in tasks)
        else:
            encoded = _pool((model, seed, reference_date, formats, options), tasks, min(workers, len(tasks)))
        manifest = {
            "model": {"name": model.name, "title": model.title, "sha256": model_hash(model)},
            "seed": seed,
            "population": population,
            "reference_date": generator.reference_date.isoformat(),
            **_chosen(options),
        }
        return _write(target, exporters, shared, encoded, population, manifest, started, progress)


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
    if not formats:
        raise UsageError("No output format was named.", hint=plugins.nearest("", plugins.names("ehrsynth.exporters")))
    exporters = make_exporters(dict.fromkeys(formats), options)
    started = time.perf_counter()
    manifest = {"source": records.provenance.to_dict(), "population": records.n_patients, **_chosen(options)}
    with Output(output) as target:
        encoded = (_encode(block, records, exporters) for block in _blocks(records))
        return _write(target, exporters, records, encoded, records.n_patients, manifest, started, progress)


def _blocks(records: Records) -> Iterator[Records]:
    ids = records["patient"]["patient_id"].combine_chunks()
    for start in range(0, len(ids), BLOCK_SIZE):
        yield records.select_patients(ids.slice(start, BLOCK_SIZE)) if len(ids) > BLOCK_SIZE else records


def _write(
    target: Output,
    exporters: Mapping[str, Exporter],
    shared: Records,
    encoded: Iterator[_Encoded],
    population: int,
    manifest: dict[str, Any],
    started: float,
    progress: Progress | None,
) -> RunSummary:
    counts = {table.name: shared[table.name].num_rows for table in shared.schema.tables if table.shared}
    for name, exporter in exporters.items():
        target.format(name).write(exporter.begin(shared))
    done = 0
    for block in encoded:
        for name, parts in block.parts.items():
            target.format(name).write(parts)
        for table, rows in block.row_counts.items():
            counts[table] = counts.get(table, 0) + rows
        done += block.patients
        if progress is not None:
            progress(done, population)
    counts = {name: counts.get(name, 0) for name in shared.schema.names}
    provenance = {
        "synthetic": shared.provenance.synthetic,
        "generated_at": manifest.get("reference_date") or shared.provenance.details.get("reference_date", "1970-01-01"),
        **manifest,
    }
    files: dict[str, dict[str, dict[str, Any]]] = {}
    for name, exporter in exporters.items():
        writer = target.format(name)
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
            "formats": {name: {"files": listed} for name, listed in files.items()},
        },
    )
    return RunSummary(
        output=target.folder,
        patients=done,
        synthetic=shared.provenance.synthetic,
        row_counts=counts,
        files=files,
        seconds=time.perf_counter() - started,
    )


# -- the pool ----------------------------------------------------------------------------------------------------------

_maker: _Maker | None = None


def _start_worker(
    model: PatientModel,
    seed: int,
    reference_date: date | None,
    formats: Sequence[str],
    options: Mapping[str, Any] | None,
) -> None:
    global _maker
    # Ctrl-C reaches the whole process group: the parent alone decides, workers finish or are ended by it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Blocks run side by side already: one thread each.
    pa.set_cpu_count(1)
    parent = os.getppid()

    def leave_with_parent() -> None:
        # A parent that was killed cannot end its workers; an orphan ends itself.
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=leave_with_parent, daemon=True).start()
    _maker = _Maker(Generator(model, seed=seed, reference_date=reference_date), formats, options)


def _make(index: int, n: int) -> _Encoded:
    assert _maker is not None
    return _maker(index, n)


def _pool(setting: tuple[Any, ...], tasks: Sequence[tuple[int, int]], workers: int) -> Iterator[_Encoded]:
    """Yield the encoded blocks in order; at most two per worker are under way or waiting (back-pressure)."""
    # spawn: forking a process with Arrow's threads is not safe.
    executor = ProcessPoolExecutor(
        workers,
        mp_context=get_context("spawn"),
        initializer=_start_worker,
        initargs=setting,
    )
    waiting: deque[Future[_Encoded]] = deque()
    ahead = iter(tasks)
    try:
        for _ in range(2 * workers):
            if (task := next(ahead, None)) is not None:
                waiting.append(executor.submit(_make, *task))
        while waiting:
            yield waiting.popleft().result()
            if (task := next(ahead, None)) is not None:
                waiting.append(executor.submit(_make, *task))
        executor.shutdown()
    except BrokenProcessPool:
        raise EhrsynthError(
            "A worker process died; nothing was left behind.", hint="Memory may have run out: use fewer workers (-w)."
        ) from None
    finally:
        for process in list((executor._processes or {}).values()):
            if waiting:
                process.terminate()
        executor.shutdown(wait=True, cancel_futures=True)
