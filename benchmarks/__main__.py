"""One command makes the README's table: patients, resources and rows per CPU second, start-up, memory, growth, workers.

    python -m benchmarks [--populations 1000,10000] [--repeats 3] [--model NAME] [--json FILE]

Every figure is of a whole process, start-up included, the median of the repeats; machines differ and are noisy, so the
ratios say more than the absolute numbers.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import shutil
import tempfile
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks.measure import EHRSYNTH, Cost, median, run
from benchmarks.yardsticks import yardsticks
from ehrsynth.provenance import versions

FORMATS = ("csv", "fhir-ndjson", "fhir-bundle")


def generate(model: str, population: int, formats: tuple[str, ...], folder: Path, workers: int = 1) -> Cost:
    """Generate into an empty folder and return what it cost."""
    shutil.rmtree(folder, ignore_errors=True)
    options = [word for name in formats for word in ("-f", name)]
    words = [EHRSYNTH, "generate", model, "-p", str(population), "-s", "1", "-o", str(folder), "-w", str(workers)]
    return run([*words, *options])


def measure(model: str, populations: list[int], repeats: int, folder: Path) -> dict[str, Any]:
    """Return all figures."""
    figures: dict[str, Any] = {"runs": []}
    out = folder / "out"
    for name in FORMATS:
        for population in populations:
            cost = median([generate(model, population, (name,), out) for _ in range(repeats)])
            manifest = json.loads((out / "manifest.json").read_text())
            files = manifest["formats"][name]["files"].values()
            figures["runs"].append(
                {
                    "format": name,
                    "patients": population,
                    "rows": sum(manifest["row_counts"].values()),
                    "written": sum(entry["rows"] for entry in files),
                    "bytes": sum(entry["bytes"] for entry in files),
                    "cpu_seconds": cost.cpu,
                    "wall_seconds": cost.wall,
                    "peak_mb": cost.peak_mb,
                }
            )
            if name == "fhir-ndjson" and population == populations[0]:
                figures["yardsticks"] = yardsticks(out / "fhir-ndjson" / "Observation.ndjson")
    first = [generate(model, 1, ("fhir-ndjson",), out) for _ in range(repeats)]
    figures["first_patient"] = {"cpu_seconds": median(first).cpu, "wall_seconds": median(first).wall}
    largest = populations[-1]
    walls = {
        w: median([generate(model, largest, ("fhir-ndjson",), out, w) for _ in range(repeats)]).wall for w in (1, 2)
    }
    figures["two_workers"] = walls[1] / walls[2]
    return figures


def growth(runs: list[dict[str, Any]], key: str) -> float:
    """Return the exponent of growth of `key` between the smallest and the largest population."""
    small, large = runs[0], runs[-1]
    return math.log(large[key] / small[key]) / math.log(large["patients"] / small["patients"])


def table(figures: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    lines = [
        "| format | patients | rows or resources | CPU s | per CPU second | MB/CPU s | kB a patient | peak MB |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for entry in figures["runs"]:
        cpu, written = entry["cpu_seconds"], entry["written"]
        cells = (
            entry["format"],
            f"{entry['patients']:,}",
            f"{written:,}",
            f"{cpu:.1f}",
            f"{written / cpu:,.0f}",
            f"{entry['bytes'] / cpu / 1e6:.0f}",
            f"{entry['bytes'] / entry['patients'] / 1e3:.1f}",
            f"{entry['peak_mb']:.0f}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    lines.append("")
    for name in FORMATS:
        runs = [entry for entry in figures["runs"] if entry["format"] == name]
        if len(runs) > 1:
            lines.append(f"- {name}: CPU time grows with patients to the power of {growth(runs, 'cpu_seconds'):.2f}")
    first = figures["first_patient"]
    lines.append(f"- first patient on disk after {first['wall_seconds']:.2f} s ({first['cpu_seconds']:.2f} CPU s)")
    lines.append(f"- two workers are {figures['two_workers']:.2f} times as fast as one")
    for name, rate in figures["yardsticks"].items():
        lines.append(f"- yardstick, Observations with {name}: {rate:,.0f} per CPU second")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--populations", default="1000,10000")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--model", default="cardiometabolic_cohort")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    populations = [int(word) for word in options.populations.split(",")]
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(options.model, populations, options.repeats, Path(folder))
    figures |= {
        "date": date.today().isoformat(),
        "machine": {"cores": os.cpu_count(), "system": platform.platform(), "python": platform.python_version()},
        "versions": versions("numpy", "pyarrow", "orjson"),
        "model": options.model,
    }
    print(table(figures))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
