"""What each block of patients costs, early and late: whether time or memory grows with how many came before.

    python -m benchmarks.blocks [--model NAME] [--format csv] [--population 20480]

CPU seconds and peak resident memory of this process, as the command line sets it up, by thirds of the blocks; the first
block, which fills caches, stands apart.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import tempfile
import time
from itertools import pairwise
from pathlib import Path

__all__ = ["blocks"]


def blocks(model: str, name: str, population: int, folder: Path) -> list[tuple[float, float]]:
    """Return CPU seconds since the start, and peak megabytes, when each block is written."""
    from ehrsynth.api import generate_files, load_model
    from ehrsynth.engines.start import keep_memory, leave_pandas_out

    leave_pandas_out([name])
    keep_memory()
    found: list[tuple[float, float]] = []

    def done(patients: int, total: int) -> None:
        found.append((time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))

    generate_files(load_model(model), folder / "out", formats=[name], population=population, seed=1, progress=done)
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="cardiometabolic_cohort")
    parser.add_argument("--format", default="csv")
    parser.add_argument("--population", type=int, default=20480, help="of 1,024 a block; four blocks or more")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = blocks(given.model, given.format, given.population, Path(folder))
    seconds = [after - before for (before, _), (after, _) in pairwise(found)]
    third = len(seconds) // 3
    print(f"first block written after {found[0][0]:.2f} CPU s, peak {found[0][1]:.0f} MB")
    for place in range(3):
        some = slice(place * third, (place + 1) * third)
        median, peak = statistics.median(seconds[some]), found[some.stop][1]
        print(f"third {place + 1}: {median:.4f} CPU s a block, peak {peak:.0f} MB")


if __name__ == "__main__":
    main()
