"""What a small cohort costs from learning to scores, and how memory of learning grows with patients.

    python -m benchmarks.sizes small
    python -m benchmarks.sizes memory [--patients 25000,50000,100000,200000]
                                      [--model diabetes_inpatient] [--states 16 --classes 4]

`small`: the simulator of ``tests/statistical/known_truth.py`` makes 1,000 patients with some 14,000 rows; they are
learned from, as many are generated, and `evaluate` compares the two. CPU seconds (user and system) of the process after
its libraries are imported; memory is the peak over what importing torch takes by itself.

`memory`: patients of a shipped model are written as Parquet, and read and learned from in a process of its own.

Set OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import argparse
import importlib.util
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import ModuleType

import ehrsynth
from ehrsynth.learning import LearningSettings
from ehrsynth.probability.extra import learn_library

__all__ = ["learned", "main", "memory", "small"]

SIMULATOR = Path(__file__).parents[1] / "tests" / "statistical" / "known_truth.py"


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _peak() -> float:
    """Return the peak of resident memory so far, megabytes; not `ru_maxrss`, in which a parent's peak stays."""
    text = Path("/proc/self/status").read_text()
    return int(text.partition("VmHWM:")[2].split()[0]) / 1024


def _torch() -> float:
    """Import what learning is built on; return what torch takes of memory, megabytes."""
    before = _peak()
    learn_library("torch")
    own = _peak() - before
    learn_library("pomegranate.distributions")
    return own


def small() -> None:
    """Learn, generate and evaluate 1,000 simulated patients; print what each took."""
    own = _torch()
    records = _simulator().simulate(1_000, seed=1).records
    ehrsynth.evaluate(records.select_patients(records["patient"]["patient_id"].combine_chunks()[:20]), records)
    imported = _peak() - own
    rows = sum(table.num_rows for name, table in records.tables.items() if not records.schema[name].shared)
    started = last = _cpu()
    model = ehrsynth.learn(records, settings=LearningSettings(), seed=1)
    times = [("learn", _cpu() - last)]
    last = _cpu()
    made = ehrsynth.generate(model, population=1_000, seed=2)
    times.append(("generate", _cpu() - last))
    last = _cpu()
    ehrsynth.evaluate(records, made)
    times.append(("evaluate", _cpu() - last))
    print(f"{records.n_patients:,} patients, {rows:,} rows")
    for name, seconds in times:
        print(f"{name:10} {seconds:6.1f} CPU s")
    print(f"{'all':10} {_cpu() - started:6.1f} CPU s, peak {_peak() - own:.0f} MB without torch's own {own:.0f} MB")
    print(f"of them {imported:.0f} MB before learning began")


def _simulator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("known_truth", SIMULATOR)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["known_truth"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def memory(model: str, patients: list[int], states: int, classes: int) -> None:
    """Learn from so many patients of a shipped model, each number in a process of its own."""
    for n in patients:
        with tempfile.TemporaryDirectory() as folder:
            ehrsynth.generate_files(model, folder + "/out", formats=["parquet"], population=n, seed=1)
            words = ["learned", "--source", f"{folder}/out/parquet", "--states", str(states), "--classes", str(classes)]
            subprocess.run([sys.executable, "-m", "benchmarks.sizes", *words], check=True)


def learned(source: str, states: int, classes: int) -> None:
    """Learn from a folder; print what reading and learning took."""
    own = _torch()
    started, wall = _cpu(), time.perf_counter()
    records = ehrsynth.read(source)
    read, read_peak, rows = _cpu() - started, _peak() - own, records.n_patients
    ehrsynth.learn(records, settings=LearningSettings(states=states, classes=classes), seed=1)
    spent = _cpu() - started - read
    print(
        f"{rows:8,} patients: read {read:6.1f} CPU s, {read_peak:6.0f} MB; learned {spent:6.1f} CPU s, "
        f"{_peak() - own:6.0f} MB without torch's own {own:.0f} MB ({time.perf_counter() - wall:.0f} s)",
        flush=True,
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("small", "memory", "learned"))
    parser.add_argument("--model", default="diabetes_inpatient")
    parser.add_argument("--patients", default="25000,50000,100000,200000")
    parser.add_argument("--states", type=int, default=16)
    parser.add_argument("--classes", type=int, default=4)
    parser.add_argument("--source")
    given = parser.parse_args()
    if given.what == "small":
        small()
    elif given.what == "learned":
        learned(given.source, given.states, given.classes)
    else:
        memory(given.model, [int(word) for word in given.patients.split(",")], given.states, given.classes)


if __name__ == "__main__":
    main()
