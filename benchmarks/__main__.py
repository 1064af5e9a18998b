"""One command makes the README's table, and keeps what it measured in ``benchmarks/results/``.

    python -m benchmarks [--quick] [--populations 1000,10000,100000] [--repeats 3] [--model NAME]
                         [--formats csv,fhir-ndjson] [--workers 1,2] [--without learning,yardsticks] [--output FILE]

Every figure is of a whole process, start-up included, the median of the repeats, in CPU seconds (user and system);
machines differ and are noisy, so the ratios say more than the absolute numbers. Only the gain of more workers is in
wall seconds, and means little on a machine that does something else at the time. ``--quick`` measures the smallest
that tells anything, once.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.generating import FORMATS, first_patient, generation, workers
from benchmarks.learning import learning
from benchmarks.table import table
from benchmarks.yardsticks import pomegranate_sample, writers
from ehrsynth.provenance import versions

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="1,000 and 4,000 patients, two formats, one repeat")
    parser.add_argument("--populations", help="patients, separated by commas")
    parser.add_argument("--formats", help=f"of {','.join(FORMATS)}")
    parser.add_argument("--workers", help="numbers of workers, for the first of the formats")
    parser.add_argument("--repeats", type=int)
    parser.add_argument("--without", default="", help="learning, workers, yardsticks")
    parser.add_argument("--model", default="cardiometabolic_cohort")
    parser.add_argument("--output", type=Path, help="default: benchmarks/results/<date>.json")
    given = parser.parse_args()
    quick = given.quick
    populations = _numbers(given.populations or ("1000,4000" if quick else "1000,10000,100000"))
    formats = (given.formats or ("csv,fhir-ndjson" if quick else ",".join(FORMATS))).split(",")
    repeats = given.repeats or (1 if quick else 3)
    without = set(given.without.split(","))
    moment = datetime.now(UTC)
    figures: dict[str, Any] = {
        "date": moment.date().isoformat(),
        "command": " ".join(["python -m benchmarks", *sys.argv[1:]]),
        "machine": {
            "cores": os.cpu_count(),
            "load_before": round(os.getloadavg()[0], 2),
            "system": platform.platform(),
            "python": platform.python_version(),
        },
        "versions": versions("numpy", "pyarrow", "orjson", "fhir.resources", "pomegranate"),
        "model": given.model,
        "repeats": repeats,
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        figures["first_patient"] = first_patient(given.model, formats[0], 3 * repeats, folder)
        figures["runs"] = generation(given.model, populations, formats, repeats, folder)
        if "workers" not in without:
            counts = _numbers(given.workers or "1,2")
            middle = populations[len(populations) // 2]
            figures["workers"] = workers(given.model, middle, formats[0], counts, repeats, folder)
        if "yardsticks" not in without:
            figures["yardsticks"] = writers(given.model, folder)
            figures["sampling"] = pomegranate_sample(given.model)
        if "learning" not in without:
            figures["learning"] = learning(repeats, folder, quick=quick)
    print(table(figures))
    output = given.output or RESULTS / f"{moment:%Y-%m-%d}{'-quick' if quick else ''}.json"
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(figures, indent=1) + "\n")
    print(f"\nkept in {output}")


def _numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


if __name__ == "__main__":
    main()
