"""Who the people are: labels, ages in days, evidence."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest

from ehrsynth.errors import ModelError, UsageError
from ehrsynth.generation.population import DAYS_PER_YEAR, Population
from ehrsynth.probability.bayesnet import BayesianNetwork, Variable, condition
from ehrsynth.randomness import BLOCK_SIZE


def test_people_are_of_the_network(models: ModuleType) -> None:
    people = Population(models.tiny_model()).draw(1, 0)
    assert len(people) == BLOCK_SIZE
    assert set(people.states) == {variable.name for variable in models.person().variables}
    assert people.labels["payer"] == ("1", "2", "5")
    assert people.states["payer"].min() == -1
    assert np.array_equal(people.sex, people.states["sex"])
    edges = np.array(models.person().variables[1].edges) * DAYS_PER_YEAR
    low, high = edges[people.states["age_at_start"]], edges[people.states["age_at_start"] + 1]
    assert (people.age_days >= low).all()
    assert (people.age_days < high).all()
    # Married children do not exist in this network, and the draw knows.
    young = people.states["age_at_start"] < 2
    assert young.sum() > 100
    assert (people.states["marital_status"][young] == 1).all()


def test_a_missing_age_is_drawn_from_the_known_ones(models: ModuleType) -> None:
    person = models.person()
    number = person.index("age_at_start")
    variable = person.variables[number]
    aged = Variable(name="age_at_start", states=(*variable.states, "missing"), edges=variable.edges)
    variables = tuple(aged if i == number else v for i, v in enumerate(person.variables))
    tables = []
    for parents, table in zip(person.parents, person.tables, strict=True):
        if number in parents:
            axis = parents.index(number)
            last = np.take(table, [-1], axis=axis)
            tables.append(np.concatenate([table, last], axis=axis))
        else:
            tables.append(table)
    tables[number] = np.array([0.0, 0.2, 0.0, 0.3, 0.5])
    network = BayesianNetwork(variables=variables, parents=person.parents, tables=tuple(tables))
    people = Population(models.tiny_model(person=network)).draw(1, 0)
    unknown = people.states["age_at_start"] == -1
    assert 400 < unknown.sum() < 620
    years = people.age_days[unknown] / DAYS_PER_YEAR
    child, old = (years >= 1) & (years < 18), (years >= 50) & (years < 90)
    assert (child | old).all()
    assert abs(child.mean() - 0.4) < 0.1


def test_days_of_age_lie_in_their_bins_as_the_calendar_says(models: ModuleType) -> None:
    model = models.tiny_model()
    # In the first bin on two days; in the second nowhere: all its days alike.
    days = models.histogram((0, 1, 0, 3.0), (1, 60, 0, 0.0), (60, 61, 0, 1.0))
    people = Population(replace(model, calendar=replace(model.calendar, start_days=days))).draw(1, 0)
    bins = people.states["age_at_start"]
    first = people.age_days[bins == 0]
    assert set(first.tolist()) == {0, 60}
    assert abs((first == 0).mean() - 0.75) < 0.1
    plain = Population(model).draw(1, 0)
    assert np.array_equal(bins, plain.states["age_at_start"])
    assert len(np.unique(people.age_days[bins == 1])) > 50
    edges = np.array(models.person().variables[1].edges) * DAYS_PER_YEAR
    assert (people.age_days >= edges[bins]).all()
    assert (people.age_days < edges[bins + 1]).all()


def test_a_network_without_sex_has_one_stratum_of_it(models: ModuleType) -> None:
    model = models.tiny_model()
    group = Variable(name="trajectory_class", states=("0", "1"))
    age = model.person.variables[1]
    network = BayesianNetwork(
        variables=(age, group),
        parents=((), (0,)),
        tables=(model.person.tables[1], np.full((4, 2), 0.5)),
    )
    people = Population(replace(model, person=network)).draw(1, 0)
    assert (people.sex == 0).all()
    assert "sex" not in people.labels


@pytest.mark.parametrize(
    ("known", "name", "states"),
    [
        ({"sex": "female"}, "sex", {1}),
        ({"race": ["2106-3"]}, "race", {0}),
        ({"race": ["2106-3", "missing"]}, "race", {0, -1}),
        ({"state": {"TX": 2.0}}, "state", {1}),
        ({"age_at_start": "18-50"}, "age_at_start", {2}),
    ],
)
def test_evidence_holds_for_everybody(
    models: ModuleType, known: dict[str, object], name: str, states: set[int]
) -> None:
    people = Population(models.tiny_model(), known).draw(3, 0)
    assert set(people.states[name].tolist()) == states


def test_an_age_range_holds_to_the_day_and_changes_what_depends_on_age(models: ModuleType) -> None:
    model = models.tiny_model()
    people = Population(model, {"age_at_start": (40, 60)}).draw(3, 0)
    years = people.age_days / DAYS_PER_YEAR
    assert years.min() >= 40
    assert years.max() < 60
    # Ten of 32 years of one bin, ten of 40 of the other: P = .4 * 10/32 : .3 * 10/40.
    expected = 0.4 * 10 / 32 / (0.4 * 10 / 32 + 0.3 * 10 / 40)
    assert abs((years < 50).mean() - expected) < 0.06
    number = model.person.index("age_at_start")
    likelihood = np.array([0, 0, 10 / 32, 10 / 40])
    exact = condition(model.person, {number: likelihood}).marginal(model.person.index("trajectory_class"))
    assert abs(people.group.mean() - exact[1]) < 0.06


@pytest.mark.parametrize(
    "known",
    [
        {"height": "tall"},
        {"sex": "unknown"},
        {"sex": (1, 2)},
        {"age_at_start": (200, 300)},
        {"sex": 3},
        {"age_at_start": "0-1", "marital_status": "M"},
    ],
)
def test_evidence_that_cannot_be_is_refused(models: ModuleType, known: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        Population(models.tiny_model(), known)


def without(network: BayesianNetwork, name: str) -> BayesianNetwork:
    keep = [i for i, variable in enumerate(network.variables) if variable.name != name]
    assert all(network.index(name) not in network.parents[i] for i in keep)
    place = {old: new for new, old in enumerate(keep)}
    return BayesianNetwork(
        variables=tuple(network.variables[i] for i in keep),
        parents=tuple(tuple(place[p] for p in network.parents[i]) for i in keep),
        tables=tuple(network.tables[i] for i in keep),
    )


def test_models_whose_parts_do_not_fit_are_refused(models: ModuleType) -> None:
    model = models.tiny_model()
    with pytest.raises(ModelError, match="trajectory_class"):
        Population(replace(model, person=without(model.person, "trajectory_class")))
    strata = replace(model.trajectory.strata, sexes=("male", "other"))
    with pytest.raises(ModelError, match="female"):
        Population(replace(model, trajectory=replace(model.trajectory, strata=strata)))
    endless = list(model.person.variables)
    endless[1] = replace(endless[1], edges=(0.0, 1.0, 18.0, 50.0, float("inf")))
    with pytest.raises(ModelError, match="finite edges"):
        Population(replace(model, person=replace(model.person, variables=tuple(endless))))
