"""The model as pomegranate's objects says what its own inference says, and what its sampler does."""

from __future__ import annotations

import itertools
from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest

from ehrsynth.errors import UsageError
from ehrsynth.generation.population import Population
from ehrsynth.generation.trajectory import TrajectorySampler
from ehrsynth.model import PatientModel
from ehrsynth.model.pomegranate import encounter_chain
from ehrsynth.probability.hmm import forward_backward
from ehrsynth.randomness import stream

torch = pytest.importorskip("torch")
pytest.importorskip("pomegranate")
pytestmark = pytest.mark.learn

BLOCKS = 8


@pytest.fixture(scope="module")
def model(models: ModuleType) -> PatientModel:
    """The tiny model, held to what a plain chain can say: one hazard, one stratum's starts and transitions."""
    tiny = models.tiny_model()
    t = tiny.trajectory
    held = replace(
        t,
        end_hazard=t.end_hazard[:1],
        visit_edges=np.array([1]),
        initial=np.repeat(t.initial[:1], len(t.strata), axis=0),
        transition=t.transition[t.transition_stratum[:1]],
        transition_stratum=np.zeros(len(t.strata), dtype=np.int64),
    )
    return replace(tiny, trajectory=held)


def test_the_network_gives_people_the_same_probability(model: PatientModel) -> None:
    names = [variable.name for variable in model.person.variables]
    population = Population(model)
    people = population.draw(3, 0)
    cards = [variable.cardinality for variable in model.person.variables]
    data = np.column_stack(
        [
            np.where(people.states[name] < 0, card - 1, people.states[name])
            for name, card in zip(names, cards, strict=True)
        ]
    )[:200]
    ours = np.zeros(len(data))
    for child, (parents, table) in enumerate(zip(model.person.parents, model.person.tables, strict=True)):
        ours += np.log(np.asarray(table)[tuple(data[:, [*parents, child]].T)])
    theirs = model.as_pomegranate().person.log_probability(torch.as_tensor(data))
    np.testing.assert_allclose(theirs.numpy(), ours, atol=1e-4)


def sequences() -> list[tuple[int, ...]]:
    """All records of two and of three visits of the first two classes."""
    return [one for length in (2, 3) for one in itertools.product(range(2), repeat=length)]


def test_the_chain_gives_records_the_same_probability(model: PatientModel) -> None:
    chain = encounter_chain(model)
    emission = np.log(np.maximum(np.asarray(model.trajectory.encounter_class, dtype=np.float64), 1e-300))
    theirs = model.as_pomegranate().trajectory
    for record in sequences():
        offsets = np.array([0, len(record)])
        scores = emission.T[list(record)] + chain.log_end(offsets)
        first = np.repeat(chain.initial, 1, axis=0)
        ours = forward_backward(scores, offsets, first, chain.transition).log_likelihood[0]
        said = theirs.log_probability(torch.as_tensor(np.array(record)[None, :, None]))
        assert float(said) == pytest.approx(float(ours), abs=1e-4)


def test_the_sampler_makes_records_as_often_as_the_chain_says(model: PatientModel) -> None:
    population, sampler = Population(model), TrajectorySampler(model.trajectory)
    emission = np.asarray(model.trajectory.encounter_class, dtype=np.float64)
    counts: dict[tuple[int, ...], float] = dict.fromkeys(sequences(), 0.0)
    n = 0
    for block in range(BLOCKS):
        visits = sampler.draw(population.draw(5, block), stream(5, "chain", block))
        n += len(visits.offsets) - 1
        for record in counts:
            short = np.flatnonzero(np.diff(visits.offsets) == len(record))
            at = visits.offsets[short][:, None] + np.arange(len(record))
            # Given the states, the classes are independent: their probabilities tell more than draws.
            counts[record] += emission[visits.state[at], list(record)].prod(axis=1).sum()
    theirs = model.as_pomegranate().trajectory
    for record, count in counts.items():
        said = float(torch.exp(theirs.log_probability(torch.as_tensor(np.array(record)[None, :, None]))))
        assert count / n == pytest.approx(said, abs=4 * np.sqrt(max(said, 1e-4) / n))


def test_a_stratum_that_is_not_there_is_refused(model: PatientModel) -> None:
    with pytest.raises(UsageError, match="no stratum 99"):
        model.as_pomegranate(99)
