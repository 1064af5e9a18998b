"""A life-course model in words and small tables, for `ehrsynth models show`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ehrsynth.model.heading import Heading, heading
from ehrsynth.model.life_course import LifeCourseModel
from ehrsynth.model.summary import VariableSummary
from ehrsynth.model.wording import level_labels
from ehrsynth.probability.bayesnet import posterior

__all__ = ["LifeCourseSummary", "ListingSummary", "summarise_life_course"]

_SHOWN = 5
_CONDITIONS = 20


@dataclass(frozen=True, kw_only=True)
class ListingSummary:
    """A listing of the content: its name, rows, distinct codes, and where its first rows lead."""

    name: str
    rows: int
    codes: int


@dataclass(frozen=True, kw_only=True)
class LifeCourseSummary(Heading):
    """Everything `ehrsynth models show` prints of a life-course model.

    `conditions` are the commonest chronic conditions with P(has it | alive) and what they depend on, `condition_keys`
    what `--condition` calls them; `illnesses` the
    commonest acute ones with episodes per 1,000 person-years of the living.
    """

    sizes: dict[str, int]
    variables: tuple[VariableSummary, ...]
    conditions: tuple[tuple[str, float, tuple[str, ...]], ...]
    condition_keys: tuple[str, ...]
    illnesses: tuple[tuple[str, float], ...]
    listings: tuple[ListingSummary, ...]


def summarise_life_course(model: LifeCourseModel) -> LifeCourseSummary:
    """Return the summary of `model`; probabilities are exact."""
    network = model.person
    chronic, acute = model.listing("chronic"), model.listing("acute")
    alive = {network.index("deceased"): 0}
    variables = []
    for index, variable in enumerate(network.variables):
        if ":" in variable.name:
            continue
        margin = posterior(network, [index], {})
        order = np.argsort(-margin, kind="stable")[:_SHOWN]
        labels = level_labels(variable.name, [variable.states[i] for i in order])
        variables.append(
            VariableSummary(
                name=variable.name,
                levels=variable.cardinality,
                parents=tuple(network.variables[parent].name for parent in network.parents[index]),
                commonest=tuple((label, round(float(margin[i]), 4)) for label, i in zip(labels, order, strict=True)),
            )
        )
    population = posterior(network, [network.index("sex"), network.index("age")], alive)
    share = np.einsum("sa,sca->c", population, model.array("prevalence"))
    rate = np.einsum("sa,sca->c", population, model.array("incidence"))
    conditions, keys = [], []
    for at in np.argsort(-share, kind="stable")[:_CONDITIONS]:
        number = network.index(f"has:{chronic.text['key'][at]}")
        parents = tuple(network.variables[p].name for p in network.parents[number])
        keys.append(chronic.text["key"][at])
        conditions.append((chronic.text["label"][at], round(float(share[at]), 4), parents))
    illnesses = tuple(
        (acute.text["label"][at], round(float(rate[at]) * 1000, 1))
        for at in np.argsort(-rate, kind="stable")[:_CONDITIONS]
    )
    listings = tuple(
        ListingSummary(name=name, rows=len(listing), codes=len(set(listing.text.get(column, ()))))
        for name, listing in model.listings.items()
        for column in [next((c for c in ("code", "rxnorm", "loinc", "cvx", "question_code") if c in listing.text), "")]
    )
    return LifeCourseSummary(
        **heading(model, model.reference_date),
        sizes={
            "variables of the person": len(network.variables),
            "chronic conditions": len(chronic),
            "acute illnesses": len(acute),
            "parameters": int(sum(table.size for table in network.tables) + sum(a.size for a in model.arrays.values())),
        },
        variables=tuple(variables),
        conditions=tuple(conditions),
        condition_keys=tuple(keys),
        illnesses=illnesses,
        listings=listings,
    )
