"""Generation: costs by population and format, growth, start-up, workers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.measure import EHRSYNTH, Cost, median, run

__all__ = ["FORMATS", "first_patient", "generation", "workers"]

FORMATS = ("csv", "fhir-ndjson", "fhir-ndjson.gz", "fhir-bundle", "parquet")
"""Formats as this table calls them: ``.gz`` is ``--compress gzip``."""


def first_patient(model: str, name: str, repeats: int, folder: Path) -> dict[str, float]:
    """Return what one patient on disk costs in format `name`: start-up."""
    cost = median([_generate(model, 1, name, folder / "out") for _ in range(repeats)])
    return {"cpu_seconds": cost.cpu, "wall_seconds": cost.wall, "peak_mb": cost.peak_mb}


def generation(
    model: str, populations: Sequence[int], formats: Sequence[str], repeats: int, folder: Path
) -> list[dict[str, Any]]:
    """Return the cost of every format at every population, whole processes with one worker.

    Formats take turns, so that what else the machine does falls on all of them.
    """
    found: list[dict[str, Any]] = []
    out = folder / "out"
    for population in populations:
        costs: dict[str, list[Cost]] = {name: [] for name in formats}
        sizes: dict[str, dict[str, int]] = {}
        for _ in range(repeats):
            for name in formats:
                costs[name].append(_generate(model, population, name, out))
                sizes[name] = _sizes(out, name)
        for name in formats:
            cost = median(costs[name])
            found.append(
                {
                    "format": name,
                    "patients": population,
                    **sizes[name],
                    "cpu_seconds": cost.cpu,
                    "wall_seconds": cost.wall,
                    "peak_mb": cost.peak_mb,
                }
            )
    return found


def workers(
    model: str, population: int, name: str, counts: Sequence[int], repeats: int, folder: Path
) -> dict[str, dict[str, float]]:
    """Return wall and CPU seconds of format `name` by number of workers; numbers take turns."""
    costs: dict[int, list[Cost]] = {count: [] for count in counts}
    for _ in range(repeats):
        for count in counts:
            costs[count].append(_generate(model, population, name, folder / "out", count))
    return {
        str(count): {"patients": population, "wall_seconds": median(some).wall, "cpu_seconds": median(some).cpu}
        for count, some in costs.items()
    }


def _generate(model: str, population: int, name: str, out: Path, count: int = 1) -> Cost:
    shutil.rmtree(out, ignore_errors=True)
    packing = ["--compress", "gzip"] if name.endswith(".gz") else []
    words = [EHRSYNTH, "generate", model, "-p", str(population), "-s", "1", "-o", str(out), "-w", str(count)]
    return run([*words, "-f", name.removesuffix(".gz"), *packing])


def _sizes(out: Path, name: str) -> dict[str, int]:
    manifest = json.loads((out / "manifest.json").read_text())
    files = manifest["formats"][name.removesuffix(".gz")]["files"].values()
    return {
        "rows": sum(manifest["row_counts"].values()),
        "written": sum(entry["rows"] for entry in files),
        "bytes": sum(entry["bytes"] for entry in files),
    }
