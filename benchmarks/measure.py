"""Whole processes measured from outside, as the operating system accounts for them."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Cost", "median", "run"]

EHRSYNTH = str(Path(sys.executable).with_name("ehrsynth"))


@dataclass(frozen=True, kw_only=True)
class Cost:
    """CPU seconds (user + system, children included), wall seconds and peak resident megabytes of one process."""

    cpu: float
    wall: float
    peak_mb: float


def run(command: Sequence[str]) -> Cost:
    """Run a command to its end; a failure is an error.

    An installed package has been compiled to bytecode; a checkout may be, so the switch against it is left out.
    """
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed with {process.returncode}")
    return Cost(cpu=usage.ru_utime + usage.ru_stime, wall=wall, peak_mb=usage.ru_maxrss / 1024)


def median(costs: Sequence[Cost]) -> Cost:
    """Return the medians of several runs, each figure by itself."""
    return Cost(
        cpu=statistics.median(cost.cpu for cost in costs),
        wall=statistics.median(cost.wall for cost in costs),
        peak_mb=statistics.median(cost.peak_mb for cost in costs),
    )
