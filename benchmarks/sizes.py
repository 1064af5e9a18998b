"""What a small cohort costs from learning to scores, and how memory of learning and evaluating grows with patients.

    python -m benchmarks.sizes small
    python -m benchmarks.sizes memory [--patients 25000,50000,100000,200000]
                                      [--model diabetes_inpatient] [--states 16 --classes 4]
                                      [--format parquet] [--at-once]
    python -m benchmarks.sizes evaluation [--patients 10000,50000,200000] [--model diabetes_inpatient] [--at-once]

`small`: the simulator of ``tests/statistical/known_truth.py`` makes 1,000 patients with some 14,000 rows; they are
learned from, as many are generated, and `evaluate` compares the two. CPU seconds (user and system) of the process after
its libraries are imported; memory is the peak over what importing torch takes by itself.

`memory`: patients of a shipped model are written (as Parquet, csv, omop...), and a process of its own learns from them
as `ehrsynth learn` does: large sources in parts of patients; with `--at-once` all in memory. `evaluation`: two such
cohorts are compared as `ehrsynth evaluate` does, by all metrics.

Set OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import ModuleType

import ehrsynth
from ehrsynth.api import learn_from
from ehrsynth.engines.parts_evaluation import evaluate_sources
from ehrsynth.learning import LearningProgress, LearningSettings
from ehrsynth.probability.extra import learn_library

__all__ = ["evaluated", "evaluation", "learned", "main", "memory", "small"]

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


def memory(model: str, patients: list[int], form: str, more: list[str]) -> None:
    """Learn from so many patients of a shipped model, written as `form`, each number in a process of its own."""
    for n in patients:
        with tempfile.TemporaryDirectory() as folder:
            ehrsynth.generate_files(model, folder + "/out", formats=[form], population=n, seed=1)
            _alone(["learned", "--source", f"{folder}/out/{form}", *more])


def evaluation(model: str, patients: list[int], form: str, more: list[str]) -> None:
    """Compare two cohorts of so many patients of a shipped model, each number in a process of its own."""
    for n in patients:
        with tempfile.TemporaryDirectory() as folder:
            for seed, name in enumerate(("real", "synthetic"), start=1):
                ehrsynth.generate_files(model, f"{folder}/{name}", formats=[form], population=n, seed=seed)
            sources = ["--source", f"{folder}/real/{form}", "--synthetic", f"{folder}/synthetic/{form}"]
            _alone(["evaluated", *sources, *more])


def _alone(words: list[str]) -> None:
    # As the commands do: see `ehrsynth.cli.learn`.
    own = {**os.environ, "ARROW_DEFAULT_MEMORY_POOL": "system"}
    subprocess.run([sys.executable, "-m", "benchmarks.sizes", *words], check=True, env=own)


def evaluated(real: str, synthetic: str, parts: int | None) -> None:
    """Compare two folders; print what it took, the libraries included."""
    wall = time.perf_counter()
    report, _ = evaluate_sources({"real": real, "synthetic": synthetic}, mappings={}, seed=1, parts=parts)
    print(
        f"{report.patients['real']:8,} and {report.patients['synthetic']:8,} patients, {len(report.results)} results: "
        f"{_cpu():6.1f} CPU s; {_peak():6.0f} MB ({time.perf_counter() - wall:.0f} s, load {os.getloadavg()[0]:.1f})",
        flush=True,
    )


def learned(source: str, states: int, classes: int, parts: int | None) -> None:
    """Learn from a folder; print what it took, the libraries included."""
    read = 0.0
    wall = time.perf_counter()

    def tell(progress: LearningProgress) -> None:
        nonlocal read
        read = _cpu() if progress.stage in ("reading", "encoding") else read

    settings = LearningSettings(states=states, classes=classes)
    model, _ = learn_from(source, settings=settings, seed=1, parts=parts, progress=tell)
    torch = "with" if "torch" in sys.modules else "without"
    print(
        f"{model.disclosure.counts['patient']:8,} patients, {sum(model.disclosure.counts.values()):10,} rows: "
        f"{_cpu():6.1f} CPU s, of which {read:.1f} until read; {_peak():6.0f} MB, {torch} torch "
        f"({time.perf_counter() - wall:.0f} s, load {os.getloadavg()[0]:.1f})",
        flush=True,
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("small", "memory", "learned", "evaluation", "evaluated"))
    parser.add_argument("--model", default="diabetes_inpatient")
    parser.add_argument("--patients", default="25000,50000,100000,200000")
    parser.add_argument("--states", type=int, default=16)
    parser.add_argument("--classes", type=int, default=4)
    parser.add_argument("--source")
    parser.add_argument("--synthetic")
    parser.add_argument("--format", default="parquet")
    parser.add_argument("--at-once", action="store_true")
    given = parser.parse_args()
    if given.what == "small":
        small()
    elif given.what == "learned":
        learned(given.source, given.states, given.classes, 1 if given.at_once else None)
    elif given.what == "evaluated":
        evaluated(given.source, given.synthetic, 1 if given.at_once else None)
    elif given.what == "evaluation":
        more = ["--at-once"] * given.at_once
        evaluation(given.model, [int(word) for word in given.patients.split(",")], given.format, more)
    else:
        more = ["--states", str(given.states), "--classes", str(given.classes), *["--at-once"] * given.at_once]
        memory(given.model, [int(word) for word in given.patients.split(",")], given.format, more)


if __name__ == "__main__":
    main()
