"""Which states people of an age are in, in whole generated records: what was learned is tried.

Transitions are learned on true histories. A generated record that once takes a wrong turn meets states that people of
its age are never in, and nothing in the data says how to leave them; and who has a course of treatment is often in a
state that others are never in, while to the chain all are one. So courses are drawn, visits are counted by state and
age, people by the states they are ever in, and the odds of states by the age at which they are reached, and of states
in which a person has not been, are moved until both are as in the source.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial

import numpy as np
import numpy.typing as npt

from ehrsynth.encoding.discretise import age_groups, stratum_groups
from ehrsynth.learning.evidence import sum_by
from ehrsynth.learning.families import FarPosteriors, StatePosterior, summed
from ehrsynth.model import PatientModel
from ehrsynth.randomness import BLOCK_SIZE, stream

__all__ = ["with_occupancy"]

Doubles = npt.NDArray[np.float64]

_STEPS = (1.0, 1.0, 1.0, 0.7, 0.7, 0.5, 0.5, 0.35)
_FEWEST = 200
_MOST_DRAWN = 6_000
_STRENGTH = 10.0
_LEAST_SHARE = 1e-4
_LARGEST = 1e4
_CLEAR = 0.8
"""Least mean P(state) of the visits of a state that is clear."""


def with_occupancy(
    model: PatientModel, posteriors: Iterable[StatePosterior] | FarPosteriors, n_patients: int, seed: int
) -> PatientModel:
    """Return the model with visits in as many states, at each sex and age, and as many people ever in each, as seen.

    Parameters
    ----------
    model : PatientModel
        Of few people (fewer than 200) it is returned as it is.
    posteriors : iterable of StatePosterior
        Over the patients of the source.
    n_patients : int
    seed : int
        Of the courses that are drawn.
    """
    from ehrsynth.generation.population import Population
    from ehrsynth.generation.trajectory import TrajectorySampler

    trajectory = model.trajectory
    n_strata, k = len(trajectory.strata), trajectory.n_states
    if n_patients < _FEWEST or k < 2:
        return model
    total = summed(posteriors, partial(_seen, n_strata=n_strata, k=k))
    seen, (ever, pure, weight) = total[:-3], total[-3:]
    # Where it is not clear which state a visit is in, nor is who was ever in it.
    clear = (pure >= _CLEAR * seen.sum(axis=0)) & (ever >= 1.0)
    ever = ever / np.maximum(weight, 1e-12)
    new = np.ones(seen.shape[1])
    target, there = _target(seen, k, age_groups(trajectory.strata.age_edges))
    lift = np.broadcast_to(np.asarray(trajectory.state_lift, dtype=np.float64), seen.shape)
    n_blocks = -(-min(2 * n_patients, _MOST_DRAWN) // BLOCK_SIZE)
    people = Population(model)
    for round_, step in enumerate(_STEPS):
        sampler, made = TrajectorySampler(trajectory), np.zeros(seen.shape)
        people_in, people_of = np.zeros(seen.shape[1]), np.zeros(trajectory.n_classes)
        for block in range(round_ * n_blocks, (round_ + 1) * n_blocks):
            drawn = people.draw(seed, block)
            visits = sampler.draw(drawn, stream(seed, "learning/occupancy/trajectory", block))
            later = visits.number > 1
            cell = visits.stratum[later] * seen.shape[1] + visits.state[later]
            people_of += np.bincount(drawn.group, minlength=trajectory.n_classes)
            pairs = np.unique(visits.patient * seen.shape[1] + visits.state)
            people_in += np.bincount(pairs % seen.shape[1], minlength=seen.shape[1])
            made += np.bincount(cell, minlength=seen.size).reshape(seen.shape)
        blocks = made.reshape(n_strata, -1, k)
        wanted = target.reshape(blocks.shape)
        share = (blocks + _STRENGTH * wanted) / (blocks.sum(axis=2, keepdims=True) + _STRENGTH)
        ratio = ((wanted + _LEAST_SHARE) / (share + _LEAST_SHARE)).reshape(seen.shape)
        lift = np.where(there, np.clip(lift * ratio**step, 1.0 / _LARGEST, _LARGEST), lift)
        share_in = people_in / np.maximum(np.repeat(people_of, k), 1.0)
        error = np.log(_odds(ever) / _odds(share_in))
        new = np.where(clear, np.clip(new * np.exp(step * np.clip(error, -1.5, 1.5)), 1.0 / _LARGEST, _LARGEST), 1.0)
        trajectory = replace(trajectory, state_lift=lift, state_new=new)
    return replace(model, trajectory=trajectory)


def _odds(share: Doubles) -> Doubles:
    inside = np.clip(share, 1e-3, 1.0 - 1e-3)
    result: Doubles = inside / (1.0 - inside)
    return result


def _seen(chunk: StatePosterior, n_strata: int, k: int) -> Doubles:
    """Return the visits after the first by stratum and state, and of each state people, squares and people of class.

    float64[R + 3, Q]: the last rows are the weight of the people ever in each state, the sum over these visits of the
    square of P(state) times the weight, and the weight of the people of its class.
    """
    first = np.asarray(chunk.timelines.offsets)[:-1]
    later = np.ones(len(chunk.stratum), dtype=bool)
    later[first] = False
    gamma = np.asarray(chunk.gamma, dtype=np.float64)
    weight = np.maximum(gamma.sum(axis=1, keepdims=True), 1e-12)
    share = gamma / weight
    of_people = weight[first]
    ever = (np.maximum.reduceat(share, first) > 0.5) * of_people
    of_class = gamma[first].sum(axis=0).reshape(-1, k).sum(axis=1)
    rest = [ever.sum(axis=0), (share * gamma)[later].sum(axis=0), of_class.repeat(k)]
    return np.concatenate([sum_by(chunk.stratum[later].astype(np.int64), chunk.gamma[later], n_strata), np.stack(rest)])


def _target(seen: Doubles, k: int, groups: npt.NDArray[np.int64]) -> tuple[Doubles, npt.NDArray[np.bool_]]:
    """Return the share of each state in the visits of its stratum and class, drawn to its group of ages; and where."""
    of_group = stratum_groups(len(seen), groups)
    first = np.flatnonzero(np.diff(of_group, prepend=-1))
    blocks = seen.reshape(len(seen), -1, k)
    of = np.add.reduceat(blocks, first)[of_group]
    prior = (of + _LEAST_SHARE) / (of.sum(axis=2, keepdims=True) + k * _LEAST_SHARE)
    share = (blocks + _STRENGTH * prior) / (blocks.sum(axis=2, keepdims=True) + _STRENGTH)
    there = np.broadcast_to(of.sum(axis=2, keepdims=True) >= 1.0, blocks.shape)
    return share.reshape(seen.shape), there.reshape(seen.shape)
