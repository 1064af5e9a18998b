"""How fast FHIR is written: resources a CPU second by type, NDJSON and Bundles to disk, beside the naive ways.

    python -m benchmarks.fhir_writer [--model NAME] [--population 1024] [--repeats 3]

Patients are generated before the clock starts. Then every resource type is written to a file of its own by one core, as
an export writes it, and all as one Bundle a patient. The best of the repeats counts: others at work on the machine only
add time. The yardsticks write the same Observations from dictionaries by json, orjson and fhir.resources.
"""

from __future__ import annotations

import argparse
import resource as system
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from benchmarks.yardsticks import yardsticks
from ehrsynth import api
from ehrsynth.exporters.fhir.bundle import BundleExporter
from ehrsynth.exporters.fhir.ndjson import NdjsonExporter
from ehrsynth.exporters.fhir.resource import Source, literal_links
from ehrsynth.exporters.fhir.resources.observation import OBSERVATION
from ehrsynth.exporters.fragments import constant, joined_bytes
from ehrsynth.exporters.part import Part
from ehrsynth.records import Records

__all__ = ["Rates", "main", "write_bundles", "write_lines", "write_observations"]

Rates = dict[str, tuple[int, int, float]]
"""By path or type: how many resources, bytes and CPU seconds."""


def write_lines(records: Records, folder: Path) -> Rates:
    """Write NDJSON and return what each type cost; what a type shares with later ones counts for the first."""
    found: dict[str, list[float]] = defaultdict(lambda: [0, 0, 0.0])
    exporter = NdjsonExporter()
    started = time.process_time()
    for parts in (exporter.begin(records), exporter.encode(records, records)):
        for part in parts:
            _append(folder, part)
            entry = found[part.path.partition(".")[0]]
            now = time.process_time()
            entry[0], entry[1], entry[2] = entry[0] + part.rows, entry[1] + len(part.data), entry[2] + now - started
            started = now
    return {kind: (int(n), int(size), cpu) for kind, (n, size, cpu) in found.items()}


def write_bundles(records: Records, folder: Path) -> tuple[int, int, float]:
    """Write a Bundle a patient and return how many resources, bytes and CPU seconds."""
    exporter = BundleExporter()
    started = time.process_time()
    n = size = 0
    for parts in (exporter.begin(records), exporter.encode(records, records)):
        for part in parts:
            _append(folder, part)
            n, size = n + part.rows, size + len(part.data)
    return n, size, time.process_time() - started


def write_observations(records: Records, folder: Path) -> tuple[int, int, float]:
    """Write the rows of the observation table alone, once what they share with other types has been made."""
    source = Source(block=records, shared=records, links=literal_links)
    newline = constant(b"\n")
    for warm in (True, False):
        n = size = 0
        started = time.process_time()
        for written in OBSERVATION.write(source, lambda resource, ids: ((), (newline,))):
            if not warm:
                data = joined_bytes(written.texts, 0, len(written.texts))
                _append(folder, Part("Observation.rows.ndjson", data, len(written.texts)))
                n, size = n + len(written.texts), size + len(data)
    return n, size, time.process_time() - started


def _append(folder: Path, part: Part) -> None:
    with (folder / part.path).open("ab") as handle:
        handle.write(part.data)


def _best(tries: Iterable[Rates]) -> Rates:
    best: Rates = {}
    for one in tries:
        for kind, rate in one.items():
            if kind not in best or rate[2] < best[kind][2]:
                best[kind] = rate
    return best


def _empty(folder: Path) -> Path:
    for path in folder.iterdir():
        path.unlink()
    return folder


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=None, help="a model's name or file (the shipped one)")
    parser.add_argument("--population", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    records = api.generate(given.model, population=given.population, seed=1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lines = _best(write_lines(records, _empty(folder)) for _ in range(given.repeats))
        naive = yardsticks(folder / "Observation.ndjson")
        alone = _best({"all": write_observations(records, _empty(folder))} for _ in range(given.repeats))["all"]
        bundles = _best({"all": write_bundles(records, _empty(folder))} for _ in range(given.repeats))["all"]
    print("| type | resources | bytes each | resources a CPU second |\n|---|---:|---:|---:|")
    for kind, (n, size, cpu) in sorted(lines.items(), key=lambda item: -item[1][0]):
        print(f"| {kind} | {n:,} | {size / n:,.0f} | {n / cpu:,.0f} |")
    n, cpu = sum(rate[0] for rate in lines.values()), sum(rate[2] for rate in lines.values())
    size = sum(rate[1] for rate in lines.values())
    print(f"\n- NDJSON, all types: {n:,} resources, {n / cpu:,.0f} a CPU second, {size / cpu / 1e6:,.0f} MB/s")
    print(f"- Observations of the table alone: {alone[0]:,} resources, {alone[0] / alone[2]:,.0f} a CPU second")
    rate = bundles[0] / bundles[2]
    print(f"- Bundles: {bundles[0]:,} resources, {rate:,.0f} a CPU second ({rate * cpu / n:.0%} of NDJSON)")
    for way, speed in naive.items():
        print(f"- yardstick, Observations with {way}: {speed:,.0f} a CPU second")
    print(f"- peak memory: {system.getrusage(system.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MB, the records included")


if __name__ == "__main__":
    main()
