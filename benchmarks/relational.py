"""Write speed of tables, and databases filled with a large population that must answer alike.

    python -m benchmarks.relational speed [--blocks 4] [--repeats 5]
    python -m benchmarks.relational databases [--population 100000] [--model NAME] [--folder DIR]
    python -m benchmarks.relational memory [--populations 1024,4096,10000] [--model NAME] [--formats csv,...]

`speed`: rows per CPU second of each exporter over the mix of tables of the shipped model, from records in memory to
bytes (CSV, Parquet) or to a closed file (DuckDB, SQLite), one thread; generation and start-up are not in it.

`databases`: one population as Parquet, loaded into PostgreSQL (a cluster of its own on loopback), DuckDB and SQLite
with all constraints, validated, and asked the twenty questions of ``tests/functional/twenty_queries.py``, as the FHIR
export of the same seed is through DuckDB (`--without-fhir`: it takes 150 kB a patient of a cohort, 2.4 MB of a life).
Every step in a process of its own, with what it cost.

`memory`: the peak of `ehrsynth generate` for each format of tables and number of patients, one worker.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import shutil
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from benchmarks.measure import EHRSYNTH, Cost, run

__all__ = ["databases", "main", "memory", "speed"]

TESTS = Path(__file__).parents[1] / "tests" / "functional"


def speed(blocks: int, repeats: int) -> None:
    """Print the rows per CPU second of each exporter."""
    import pyarrow as pa

    from ehrsynth.api import load_model
    from ehrsynth.engines.output import Output
    from ehrsynth.exporters import STAGED, ExportSummary, Part, make_exporters
    from ehrsynth.generation import Generator
    from ehrsynth.randomness import BLOCK_SIZE

    pa.set_cpu_count(1)
    generator = Generator(load_model(), seed=1)
    shared = generator.shared()
    made = [generator.block(index, BLOCK_SIZE) for index in range(blocks)]
    rows = sum(block[t.name].num_rows for block in made for t in block.schema.tables if not t.shared)
    print(f"{rows:,} rows of {blocks * BLOCK_SIZE:,} patients")
    for name in ("csv", "parquet", "duckdb", "sqlite"):
        exporter: Any = make_exporters([name])[name]
        whole = name in ("duckdb", "sqlite")
        times, size = [], 0
        for _ in range(1 if whole else repeats):
            with tempfile.TemporaryDirectory() as folder, Output(Path(folder) / "out") as output:
                writer = output.format(name)
                writer.write(exporter.begin(shared))
                started = time.process_time()
                size = 0
                for block in made:
                    for part in exporter.encode(block, shared):
                        size += len(part.data)
                        if whole:
                            writer.write([part])
                if whole:
                    writer.flush()
                    summary = ExportSummary(files=writer.files, row_counts={}, provenance={})
                    for item in exporter.finish(writer.folder, summary):
                        if isinstance(item, Part):
                            writer.write([item])
                            writer.flush()
                        else:
                            size = (writer.folder / item.path).stat().st_size
                times.append(time.process_time() - started)
                writer.drop(STAGED)
        rate = rows / statistics.median(times)
        best = rows / min(times)
        print(f"{name:8} {rate:12,.0f} rows per CPU second, best {best:12,.0f}, {size / rows:5.0f} bytes a row")


def databases(population: int, folder: Path, *, model: str = "us_ambulatory", fhir: bool = True) -> int:
    """Fill the databases, print costs, ask the questions; return how many are answered differently."""
    queries, postgres = _module("twenty_queries"), _module("postgres_cluster")
    programs = postgres.binaries()
    made = folder / "out"
    names = ("parquet", "fhir-ndjson") if fhir else ("parquet",)
    formats = [word for name in names for word in ("-f", name)]
    command = [EHRSYNTH, "generate", model, "-p", str(population), "-s", "1", "-o", str(made), *formats]
    _tell(f"generate {', '.join(names)}", command)
    files = {kind: folder / f"records.{kind}" for kind in ("duckdb", "sqlite")}
    for kind, path in files.items():
        _tell(f"load {kind}", [EHRSYNTH, "load", str(made), "--to", f"{kind}:///{path}"])
    for what in (made / "parquet", *files.values()):
        _tell(f"validate {what.name}", [EHRSYNTH, "validate", str(what)])
    with contextlib.ExitStack() as stack:
        ask = _files(stack, files)
        if programs is None:
            print("There is no PostgreSQL here (Debian: apt-get install postgresql): left out.")
        else:
            server = stack.enter_context(postgres.cluster(programs))
            _tell("load postgresql", [EHRSYNTH, "load", str(made), "--to", server.make("records")])
            connection = stack.enter_context(server.connect("records"))
            ask["postgresql"] = lambda query: connection.execute(query).fetchall()
        if fhir:
            ask["fhir"] = _fhir(stack, queries, made)
        return _compare(queries, ask)


def memory(populations: Sequence[int], formats: Sequence[str], folder: Path, *, model: str = "us_ambulatory") -> None:
    """Print what each format costs for each number of patients."""
    for name in formats:
        for population in populations:
            made = folder / f"{name}-{population}"
            command = [EHRSYNTH, "generate", model, "-p", str(population), "-s", "1", "-o", str(made), "-f", name]
            _tell(f"{name}, {population:,} patients", command)
            shutil.rmtree(made)


def _files(stack: contextlib.ExitStack, files: dict[str, Path]) -> dict[str, Callable[[str], list[Any]]]:
    import duckdb

    duck = stack.enter_context(duckdb.connect(str(files["duckdb"]), read_only=True))
    lite = stack.enter_context(contextlib.closing(sqlite3.connect(files["sqlite"])))
    broken = lite.execute("PRAGMA foreign_key_check").fetchall()
    print(f"foreign keys of SQLite that lead nowhere: {len(broken)}")
    return {
        "duckdb": lambda query: duck.execute(query).fetchall(),
        "sqlite": lambda query: lite.execute(query).fetchall(),
    }


def _fhir(stack: contextlib.ExitStack, queries: ModuleType, made: Path) -> Callable[[str], list[Any]]:
    import duckdb

    connection = stack.enter_context(duckdb.connect())
    queries.fhir_views(connection, made / "fhir-ndjson")
    return lambda query: connection.execute(query).fetchall()


def _compare(queries: ModuleType, ask: dict[str, Callable[[str], list[Any]]]) -> int:
    different = 0
    for name, query in queries.QUERIES.items():
        answers = {kind: queries.answer(one(query)) for kind, one in ask.items()}
        other = [kind for kind, found in answers.items() if found != answers["duckdb"]]
        different += bool(other)
        said = f"not alike: {', '.join(other)}" if other else "alike"
        print(f"{name:36} {len(answers['duckdb']):8,} rows  {said}")
    print(f"{len(queries.QUERIES) - different} of {len(queries.QUERIES)} answered alike by {', '.join(ask)}")
    return different


def _tell(what: str, command: Sequence[str]) -> Cost:
    cost = run(command)
    print(f"{what:32} {cost.cpu:8.1f} CPU s {cost.wall:8.1f} s {cost.peak_mb:8.0f} MB", flush=True)
    return cost


def _module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, TESTS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("speed", "databases", "memory"))
    parser.add_argument("--blocks", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--populations", default="1024,4096,10000")
    parser.add_argument("--formats", default="csv,parquet,duckdb,sqlite,omop-parquet")
    parser.add_argument("--population", type=int, default=100_000)
    parser.add_argument("--model", default="us_ambulatory")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--without-fhir", action="store_true")
    given = parser.parse_args()
    if given.what == "speed":
        speed(given.blocks, given.repeats)
        return 0
    folder = given.folder or Path(tempfile.mkdtemp())
    try:
        if given.what == "memory":
            populations = [int(one) for one in given.populations.split(",")]
            memory(populations, given.formats.split(","), folder, model=given.model)
            return 0
        return int(databases(given.population, folder, model=given.model, fhir=not given.without_fhir) > 0)
    finally:
        if given.folder is None:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
