"""Rebuilds the model `us_ambulatory` from its content and the published aggregates, byte for byte.

    python domain_models/us_ambulatory/recipe.py SOURCES OUTPUT

SOURCES holds ``data/nhanes`` and ``data/stats`` (NCHS) and ``vocab`` (census, life tables, growth charts). The README
beside this file tells what is taken from which and why. Rows of the sources are read here and nowhere stored.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ehrsynth.generation.life_course import LifeCourseGenerator
from ehrsynth.generation.places import GROUPS, places
from ehrsynth.learning.life_course import build as parts
from ehrsynth.learning.life_course import read_content
from ehrsynth.learning.life_course.expectations import published
from ehrsynth.learning.life_course.nhanes import STAT_EDGES, read_stats, read_survey
from ehrsynth.learning.life_course.population import read_vital
from ehrsynth.learning.life_course.quantities import build_arrays, growth_charts
from ehrsynth.learning.life_course.survey import quantile_curve
from ehrsynth.model import Disclosure
from ehrsynth.model.life_course import AGES, LifeCourseModel
from ehrsynth.model.package import save

Float = npt.NDArray[np.float64]

CONTENT = Path(__file__).parent / "content"
REFERENCE_DATE = "2025-01-01"
DECEASED_YEARS = 10
_GROUP_OF_RACE = {
    "2106-3": "white",
    "2054-5": "black",
    "2028-9": "api",
    "1002-5": "native",
    "2076-8": "api",
    "2131-1": "multiple",
}
# NCHS, Births: final data for 2022: births per 1,000 women of an age.
_BIRTH_AGES = (10, 15, 18, 20, 25, 30, 35, 40, 45, 50)
_BIRTH_RATES = (0.2, 5.6, 25.8, 57.5, 93.5, 97.5, 55.3, 12.6, 1.1, 0.0)
# Share with a check-up in a year: NHIS 2019-2022 and claims, rounded.
_CHECK_UP_AGES = (18, 30, 45, 65, 80, 110)
_CHECK_UP = ((0.34, 0.36, 0.44, 0.55, 0.45, 0.4), (0.18, 0.22, 0.36, 0.52, 0.45, 0.4))
# Cross and Warraich 2019: place of death: hospital, emergency department or dead on arrival, other.
_PLACE_OF_DEATH = (0.30, 0.07, 0.63)
_CALIBRATION_ROUNDS = 3
_CALIBRATION_BLOCKS = 4


def _states() -> dict[str, dict[str, float]]:
    """Return P(state | group), from the people of the ZIP code areas that the vocabularies know."""
    known = places()
    state = np.array(known.state.to_pylist())
    shares = {}
    for race, group in {**_GROUP_OF_RACE, "hispanic": "hispanic"}.items():
        people = known.people[:, GROUPS.index(group)]
        total = {name: float(people[state == name].sum()) for name in sorted(set(state)) if name != "PR"}
        shares[race] = {name: round(count / sum(total.values()), 6) for name, count in total.items()}
    return shares


def _bodies(sources: Path) -> Float:
    """Return quantile curves of adults' body mass index by sex and band; unweighted (the extract has no weights)."""
    import pandas as pd

    frame = pd.read_csv(sources / "data" / "nhanes" / "nhanes_2017_2018_all_ages.tsv.gz", sep="\t", low_memory=False)
    frame = frame[frame["BodyMassIndexKgm2"].notna()]
    band = np.searchsorted(np.array(STAT_EDGES), frame["AgeInYearsAtScreening"].to_numpy(), side="right") - 1
    sex = frame["Gender"].astype(str).str.lower().str.startswith("m").to_numpy().astype(int)
    value = frame["BodyMassIndexKgm2"].to_numpy(dtype=float)
    return np.stack(
        [
            [
                quantile_curve(value[(sex == s) & (band == b)], np.ones(((sex == s) & (band == b)).sum()), skewed=True)
                for b in range(len(STAT_EDGES))
            ]
            for s in range(2)
        ]
    )


def _visit_targets(sources: Path) -> tuple[npt.NDArray[np.int64], Float]:
    """Return the first ages of the bands of NAMCS 2019, and office visits a person and year, float64[2, bands]."""
    import pandas as pd

    frame = pd.read_csv(sources / "data" / "stats" / "namcs2019_visit_rate_age_sex.csv")
    first = {"Under 15 years": 0, "15-24 years": 15, "25-44 years": 25, "45-64 years": 45, "65-74 years": 65}
    edges = np.array([*first.values(), 75])
    rates = np.zeros((2, len(edges)))
    for age, sex, rate in zip(frame["AGER"], frame["SEX"], frame["visits_per_100"], strict=True):
        at = int(np.searchsorted(edges, first.get(str(age), 75)))
        rates[0 if sex == "Female" else 1, at] = float(rate) / 100
    return edges, rates


def build_model(sources: Path, content_folder: Path = CONTENT, rounds: int = _CALIBRATION_ROUNDS) -> LifeCourseModel:
    """Return the model built from the sources."""
    vocab, data = sources / "vocab", sources / "data"
    content = read_content(content_folder)
    vital = read_vital(vocab, years=DECEASED_YEARS)
    survey, stats = read_survey(data), read_stats(data)
    network, prevalence = parts.build_network(content, vital, survey, stats, _states())
    ages = np.arange(AGES)
    births = np.zeros(AGES)
    for low, high, rate in zip(_BIRTH_AGES, _BIRTH_AGES[1:], _BIRTH_RATES, strict=False):
        births[low:high] = rate / 1000
    lag = vital.died / np.maximum(vital.died.sum(axis=-1, keepdims=True), 1e-12)
    ones = np.ones((2, AGES))
    arrays = {
        "prevalence": np.round(prevalence, 6),
        "incidence": np.round(content.curves["acute"], 7),
        "death_lag": np.round(lag, 6),
        "births": births,
        "visits": 0.35 * ones,
        "follow_up_scale": ones,
        "acute_scale": ones,
        "check_ups": np.stack([np.where(ages >= 18, np.interp(ages, _CHECK_UP_AGES, row), 0.0) for row in _CHECK_UP]),
        "place_of_death": np.array(_PLACE_OF_DEATH),
        "begins_after": parts.begins_after(content),
        **build_arrays(survey, network, _bodies(sources)),
        **growth_charts(vocab),
    }
    people = int(len(survey.weight) // 1000 * 1000)
    model = LifeCourseModel(
        name="us_ambulatory",
        title="The United States: all ages, lifelong, at practices, emergency departments and hospitals",
        description="See README.md beside the model.",
        licence="Apache-2.0",
        provenance={
            "source": "Census 2024, HMD life tables 2022, NHANES 2009-2020, NAMCS 2019, CDC growth charts; content/",
        },
        reference_date=REFERENCE_DATE,
        person=network,
        deceased_years=DECEASED_YEARS,
        listings=parts.listings(content),
        arrays=arrays,
        disclosure=Disclosure(
            min_patients=60,
            counts={"survey participants": people},
            rounding=1000,
            left_out={},
            notes=(
                "Built from published rates and weighted survey aggregates; no record of a person was learned from.",
                "Quantile tables end at the 5th and 95th percentile and are extrapolated beyond.",
            ),
        ),
    )
    edges, wanted = _visit_targets(sources)
    for turn in range(rounds):
        model = _calibrated(model, edges, wanted, turn)
    return model


def _calibrated(model: LifeCourseModel, edges: npt.NDArray[np.int64], wanted: Float, turn: int) -> LifeCourseModel:
    """Return the model whose follow-up and acute visits are scaled so that office visits are those of NAMCS."""
    generator = LifeCourseGenerator(model, seed=20250101 + turn)
    band = np.searchsorted(edges, np.arange(AGES), side="right") - 1
    visits, years = np.zeros((3, 2, len(edges))), np.zeros((2, len(edges)))
    for index in range(_CALIBRATION_BLOCKS):
        parts = generator.office_visits(index)
        for sex in range(2):
            for b in range(len(edges)):
                at = band == b
                visits[:, sex, b] += parts.visits[:, sex, at].sum(axis=1)
                years[sex, b] += parts.years[sex, at].sum()
    other, follow_up, acute = visits / np.maximum(years, 1e-9)
    # Both kinds change together; none can take more than the whole.
    factor = np.clip((wanted - other) / np.maximum(follow_up + acute, 1e-9), 0.1, 6.0)
    scale = factor[:, band]
    acute_scale = np.minimum(model.array("acute_scale") * scale, 1.0)
    lost = np.maximum(factor * acute - acute * (acute_scale / model.array("acute_scale"))[:, edges], 0.0)
    more = (factor * follow_up + lost) / np.maximum(follow_up, 1e-9)
    arrays = dict(model.arrays)
    arrays["acute_scale"] = np.round(acute_scale, 4)
    arrays["follow_up_scale"] = np.round(model.array("follow_up_scale") * np.clip(more, 0.1, 6.0)[:, band], 4)
    return replace(model, arrays=arrays)


def build(data: Path) -> LifeCourseModel:
    """Return the model; ``vocab`` lies beside the folder `data`."""
    return build_model(data.parent)


def expectations(sources: Path) -> dict[str, Any]:
    """Return what patients of the model must show, as in ``expectations.json``."""
    data = sources / "data"
    rows = published(data, read_vital(sources / "vocab", years=DECEASED_YEARS), read_survey(data))
    return {
        "description": "What generated patients must show. A row is missed if what is found is further from `value` "
        "than `within` or `relative` (the larger) by 2.6 standard errors; nearer than that, there are too few to tell.",
        "kind": "population",
        "population": 2048,
        "expectations": rows,
    }


def main() -> None:
    """Run the recipe from the command line."""
    sources, output = map(Path, sys.argv[1:3])
    save(build_model(sources), output)
    whole = expectations(sources)
    lines = ",\n  ".join(json.dumps(row) for row in whole.pop("expectations"))
    head = json.dumps(whole, indent=1)[:-2]
    output.with_name("expectations.json").write_text(f'{head},\n "expectations": [\n  {lines}\n ]\n}}\n')


if __name__ == "__main__":
    main()
