"""Hold generated patients of `us_ambulatory` against the published statistics of its expectations.

    python -m benchmarks.population [--blocks 98] [--model FILE] [--all]

Prints one line for each expectation that is not met (or all), and how many are of each kind. Blocks hold 1,024 people.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter

import numpy as np

from ehrsynth import resources
from ehrsynth.evaluation.expectations import describe_expectation, judge
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
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--all", action="store_true")
    chosen = parser.parse_args()
    model = open_model(chosen.model)
    assert isinstance(model, LifeCourseModel)
    generator = Generator(model, seed=chosen.seed)
    day = int(np.datetime64(model.reference_date, "D").astype(np.int64))
    facts = PopulationFacts(day)
    care = CareFacts(day, {name: model.array(f"growth_{name}") for name in ("height", "weight", "bmi", "head")})
    sense = SenseFacts()
    making, rows = 0.0, 0
    for index in range(chosen.blocks):
        started = time.process_time()
        block = generator.block(index)
        making += time.process_time() - started
        rows += sum(block.row_counts.values())
        facts.add(block)
        care.add(block)
        sense.add(block)
    people = chosen.blocks * 1024
    print(f"{people:,} people, {rows / people:.0f} rows each, {rows / making:,.0f} rows/s of CPU")
    wanted = resources.read_json("domain_models/us_ambulatory/expectations.json")["expectations"]
    outcomes = [judge(row, facts, care, sense) for row in wanted]
    for outcome in outcomes:
        if chosen.all or outcome.verdict != "met":
            what, near = describe_expectation(outcome.expectation)
            print(f"{outcome.verdict:7s} {what:55s} {outcome.found:9.4g}  expected {near}  (error {outcome.error:.2g})")
    kinds = Counter((str(o.expectation["statistic"]), o.verdict) for o in outcomes)
    for statistic in dict.fromkeys(str(row["statistic"]) for row in wanted):
        print(f"{statistic:30s}", *(f"{kinds[statistic, v]:4d} {v}" for v in ("met", "unsure", "missed")))


if __name__ == "__main__":
    main()
