"""Hold generated patients of `us_ambulatory` against the published statistics of its expectations.

    python -m benchmarks.population [--blocks 98] [--sense 24] [--every 16] [--model FILE] [--all]

Prints one line for each expectation that is not met (or all), and how many are of each kind. Blocks hold 1,024 people.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter

import numpy as np

from ehrsynth import resources
from ehrsynth.evaluation.expectations import Outcome, describe_expectation, judge
from ehrsynth.evaluation.population_care import CareFacts
from ehrsynth.evaluation.population_facts import PopulationFacts
from ehrsynth.evaluation.population_sense import SenseFacts
from ehrsynth.generation import Generator
from ehrsynth.model.catalogue import open_model
from ehrsynth.model.life_course import LifeCourseModel


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=98)
    parser.add_argument("--model", default="us_ambulatory")
    parser.add_argument("--sense", type=int, default=24, help="blocks in which rules of plausibility are counted")
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--every", type=int, default=0, help="print the table so far after so many blocks")
    parser.add_argument("--all", action="store_true")
    chosen = parser.parse_args()
    model = open_model(chosen.model)
    assert isinstance(model, LifeCourseModel)
    generator = Generator(model, seed=chosen.seed)
    day = int(np.datetime64(model.reference_date, "D").astype(np.int64))
    facts = PopulationFacts(day)
    care = CareFacts(day, {name: model.array(f"growth_{name}") for name in ("height", "weight", "bmi", "head")})
    sense = SenseFacts()
    wanted = resources.read_json("domain_models/us_ambulatory/expectations.json")["expectations"]
    making, rows = 0.0, 0
    for index in range(chosen.blocks):
        started = time.process_time()
        block = generator.block(index)
        making += time.process_time() - started
        rows += sum(block.row_counts.values())
        facts.add(block)
        care.add(block)
        if index < chosen.sense:
            sense.add(block)
        made = index + 1
        if made == chosen.blocks or (chosen.every and made % chosen.every == 0):
            people = made * 1024
            print(f"{people:,} people, {rows / people:.0f} rows each, {rows / making:,.0f} rows/s of CPU")
            report([judge(row, facts, care, sense) for row in wanted], whole=chosen.all)


def report(outcomes: list[Outcome], *, whole: bool) -> None:
    """Print what is not met (or all, if `whole`), and how many are of each kind."""
    for outcome in outcomes:
        if whole or outcome.verdict != "met":
            what, near = describe_expectation(outcome.expectation)
            print(f"{outcome.verdict:7s} {what:55s} {outcome.found:9.4g}  expected {near}  (error {outcome.error:.2g})")
    kinds = Counter((str(o.expectation["statistic"]), o.verdict) for o in outcomes)
    for statistic in dict.fromkeys(str(o.expectation["statistic"]) for o in outcomes):
        print(f"{statistic:30s}", *(f"{kinds[statistic, v]:4d} {v}" for v in ("met", "unsure", "missed")), flush=True)


if __name__ == "__main__":
    main()
