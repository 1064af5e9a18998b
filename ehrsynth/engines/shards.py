"""Shards: folders of consecutive patients, each whole by itself, made anywhere and in any order with the same bytes.

``OUT/shard-00000/<format>/...``, ``OUT/shard-00001/...``: together they hold the patients of one run. What belongs to
no patient (organizations, practitioners...) is in the first, and every reference to it is the same in all. Which shards
there are depends on the population and their number only, and a shard depends on nothing but itself; so one machine and
a cluster write the same files. ``OUT/manifest.json`` names them all and comes last.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import orjson

from ehrsynth import storage
from ehrsynth.engines.blocks import Job, Shard
from ehrsynth.engines.local import RunSummary, generate_files
from ehrsynth.engines.output import Output
from ehrsynth.errors import EhrsynthError, UsageError
from ehrsynth.exporters import make_exporters
from ehrsynth.provenance import versions
from ehrsynth.randomness import BLOCK_SIZE

__all__ = ["BLOCKS_IN_A_SHARD", "cut", "generate_shards", "make_shard"]

BLOCKS_IN_A_SHARD = 16
"""Blocks of a shard where the number of shards is not given: it must not depend on the machine."""

_PACKAGES = ("numpy", "pyarrow", "faker")

Progress = Callable[[int, int], None]
Run = Callable[[Job, Sequence[Shard], str], Iterator[RunSummary]]
"""From the job, its shards and where they go (a local folder or a URL) to summaries, in any order."""


class Store(Protocol):
    """Where URLs lead: `ehrsynth.storage`, or another way to it."""

    def must_be_empty(self, url: str) -> None:
        """Raise OutputError if something is at `url`."""
        ...

    def send(self, local: Path, url: str) -> None:
        """Send a file to `url`."""
        ...


def cut(population: int, shards: int | None = None) -> list[Shard]:
    """Return the shards of a population: consecutive blocks, as evenly as can be; never more shards than blocks.

    Raises
    ------
    UsageError
        Fewer than one patient or shard.
    """
    if population < 1:
        raise UsageError(f"The population is {population}; it must be at least 1.", hint="Use -p 1000.")
    if shards is not None and shards < 1:
        raise UsageError(f"There must be at least 1 shard, not {shards}.")
    tasks = [(start // BLOCK_SIZE, min(BLOCK_SIZE, population - start)) for start in range(0, population, BLOCK_SIZE)]
    count = min(shards or -(-len(tasks) // BLOCKS_IN_A_SHARD), len(tasks))
    edges = [number * len(tasks) // count for number in range(count + 1)]
    return [Shard(number=k, of=count, tasks=tuple(tasks[edges[k] : edges[k + 1]])) for k in range(count)]


def make_shard(shard: Shard, *, job: Job, place: str) -> RunSummary:
    """Write one shard to the folder or URL `place`; one that stands there whole already is left as it is.

    Raises
    ------
    OutputError
        It cannot be written there.
    """
    if storage.as_url(place) is None:
        return _write(shard, job, Path(place))
    with tempfile.TemporaryDirectory(prefix="ehrsynth-") as folder:
        summary = _write(shard, job, Path(folder))
        storage.send(Path(folder) / shard.name, f"{place.rstrip('/')}/{shard.name}")
    return summary


def _write(shard: Shard, job: Job, folder: Path) -> RunSummary:
    manifest = folder / shard.name / "manifest.json"
    if manifest.is_file():
        # A cluster may run a task twice; it appears whole or not at all.
        known = orjson.loads(manifest.read_bytes())
        return RunSummary(
            output=folder / shard.name,
            patients=shard.patients,
            synthetic=known["synthetic"],
            row_counts=known["row_counts"],
            files={name: entry["files"] for name, entry in known["formats"].items()},
            seconds=0.0,
        )
    return generate_files(job, folder / shard.name, shard=shard)


def generate_shards(
    job: Job,
    output: str | Path,
    *,
    shards: int | None = None,
    workers: int = 1,
    resume: bool = False,
    run: Run | None = None,
    store: Store | None = None,
    progress: Progress | None = None,
) -> RunSummary:
    """Generate the patients of `job` in shards.

    Parameters
    ----------
    job : Job
    output : path or str
        A folder, or a URL: then shards are staged locally, one at a time, and sent when whole.
    shards : int, optional
        How many; default: one for every `BLOCKS_IN_A_SHARD` blocks of patients.
    workers : int
        Local processes.
    resume : bool
        In a folder, keep the shards that an interrupted run of the same job left whole, and those of this run if it is
        interrupted too.
    run : callable, optional
        Makes the shards elsewhere: see `ehrsynth.engines.spark`.
    store : Store, optional
        Where an output's URL leads; default: `ehrsynth.storage`.

    Raises
    ------
    UsageError
        Shards or workers below 1, an unknown format or option.
    OutputError
        The output cannot be written. Under a local name nothing is left behind; what was sent to a URL stays, without
        a manifest.
    EhrsynthError
        A worker died.
    """
    if workers < 1:
        raise UsageError(f"There must be at least 1 worker, not {workers}.")
    started = time.perf_counter()
    planned = cut(job.population, shards)
    for name, exporter in make_exporters(job.formats, job.options).items():
        if getattr(exporter, "enforces_keys", False):
            # The keys of all but the first shard lead to rows that are not in them.
            raise UsageError(
                f"The format {name} cannot be written in shards: a database wants every key to lead somewhere.",
                hint="Write parquet in shards, or a database without.",
            )
    run = run or partial(_locally, workers=min(workers, len(planned)))
    url = storage.as_url(output)
    if url is None:
        folder = storage.local_path(output)
        plan = {**job.manifest(), "formats": job.formats, "shards": len(planned), "versions": versions(*_PACKAGES)}
        with Output(folder, run=plan, resume=resume) as target:
            # Now there is something to resume: shards that are whole have their manifest and are not made again.
            target.record(0, 0, {})
            done = _collect(run(job, planned, str(target.staging)), job.population, progress)
            summary = _whole(planned, done, folder, started)
            target.write_json("manifest.json", _manifest(job, planned, summary))
        return summary
    store = store or storage
    store.must_be_empty(url)
    done = _collect(run(job, planned, url), job.population, progress)
    summary = _whole(planned, done, url, started)
    with tempfile.TemporaryDirectory(prefix="ehrsynth-") as name:
        path = Path(name) / "manifest.json"
        document = _manifest(job, planned, summary)
        path.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n")
        store.send(path, f"{url.rstrip('/')}/manifest.json")
    return summary


def _locally(job: Job, shards: Sequence[Shard], place: str, *, workers: int = 1) -> Iterator[RunSummary]:
    make = partial(make_shard, job=job, place=place)
    if workers == 1:
        yield from map(make, shards)
        return
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool
    from multiprocessing import get_context

    # spawn: forking a process with threads is not safe.
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
    try:
        yield from pool.map(make, shards)
    except BrokenProcessPool:
        raise EhrsynthError("A worker process died.", hint="Memory may have run out: use fewer workers (-w).") from None
    finally:
        pool.shutdown(cancel_futures=True)


def _collect(summaries: Iterator[RunSummary], population: int, progress: Progress | None) -> dict[str, RunSummary]:
    done: dict[str, RunSummary] = {}
    for summary in summaries:
        done[Path(summary.output).name] = summary
        if progress is not None:
            progress(sum(one.patients for one in done.values()), population)
    return done


def _whole(shards: Sequence[Shard], done: dict[str, RunSummary], output: Path | str, started: float) -> RunSummary:
    counts: dict[str, int] = {}
    files: dict[str, dict[str, dict[str, Any]]] = {}
    for shard in shards:
        one = done[shard.name]
        for table, rows in one.row_counts.items():
            counts[table] = counts.get(table, 0) + rows
        for name, listed in one.files.items():
            files.setdefault(name, {}).update(
                {f"{shard.name}/{name}/{path}": entry for path, entry in sorted(listed.items())}
            )
    return RunSummary(
        output=output,
        patients=sum(one.patients for one in done.values()),
        synthetic=True,
        row_counts=counts,
        files=files,
        seconds=time.perf_counter() - started,
    )


def _manifest(job: Job, shards: Sequence[Shard], summary: RunSummary) -> dict[str, Any]:
    return {
        "format": "ehrsynth-manifest",
        "format_number": 1,
        "synthetic": True,
        **job.manifest(),
        "shards": {shard.name: {"patients": shard.patients} for shard in shards},
        "row_counts": summary.row_counts,
        "formats": {name: {"files": files} for name, files in summary.files.items()},
    }
