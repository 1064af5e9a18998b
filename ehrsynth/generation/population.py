"""Who the people of a block are: drawn from the Bayesian network of the person, exactly given any evidence."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ehrsynth.errors import ModelError, UsageError
from ehrsynth.model import PatientModel
from ehrsynth.probability.bayesnet import MISSING, Sampler, Variable, condition
from ehrsynth.probability.categorical import Cumulative, cumulative, sample_rows
from ehrsynth.probability.histogram import Histogram
from ehrsynth.randomness import BLOCK_SIZE, stream

__all__ = ["DAYS_PER_YEAR", "People", "Population"]

Int = npt.NDArray[np.int64]

DAYS_PER_YEAR = 365.25


@dataclass(frozen=True, kw_only=True)
class People:
    """The people of one block.

    Attributes
    ----------
    sex : int64[n]
        Index into the sexes of the model's strata.
    group : int64[n]
        Trajectory class.
    age_days : int64[n]
        Age on the day of the first encounter.
    states : mapping of variable name to int64[n]
        State number of each variable of the network; -1 where it is `MISSING`.
    labels : mapping of variable name to tuple of str
        What the state numbers stand for, without `MISSING`.
    """

    sex: Int
    group: Int
    age_days: Int
    states: dict[str, Int]
    labels: dict[str, tuple[str, ...]]

    def __len__(self) -> int:
        return len(self.sex)


class Population:
    """Draws blocks of people.

    Parameters
    ----------
    model : PatientModel
    evidence : mapping of variable name to what is known of it, optional
        A label, a collection of labels (one of these), a mapping of labels to likelihoods, or for a binned number a
        pair (from, to): at least `from` and less than `to`, spread evenly inside bins. Draws are exactly from P(person
        | evidence), by conditioning the network and not by rejection.

    Raises
    ------
    ModelError
        The network lacks the trajectory class, or its sexes or classes are not those of the trajectory.
    UsageError
        Evidence about an unknown variable or state, or evidence that has probability zero.
    """

    def __init__(self, model: PatientModel, evidence: Mapping[str, Any] | None = None) -> None:
        network = model.person
        self._variables = {variable.name: number for number, variable in enumerate(network.variables)}
        self._ranges = {
            name: (float(value[0]), float(value[1])) for name, value in (evidence or {}).items() if _is_range(value)
        }
        known = {}
        for name, value in (evidence or {}).items():
            if name not in self._variables:
                raise UsageError(
                    f"The model knows no {name!r} of a person.", hint=f"It knows: {', '.join(self._variables)}."
                )
            known[self._variables[name]] = _likelihood(network.variables[self._variables[name]], value)
        if known:
            network = condition(network, known)
        self.network = network
        self._sampler = Sampler(network)
        strata = model.trajectory.strata
        self._sex = self._map("sex", {label: i for i, label in enumerate(strata.sexes)})
        self._group = self._map("trajectory_class", {str(g): g for g in range(model.trajectory.n_classes)})
        if self._group is None:
            raise ModelError("The network has no variable 'trajectory_class'.")
        self._ages = self._age_bins()
        self._cells = _cells(self._ages[0], self._ages[1], model.calendar.start_days)

    def _map(self, name: str, wanted: dict[str, int]) -> Int | None:
        """Return what each state of the variable `name` is among `wanted`, or None if there is no such variable."""
        if name not in self._variables:
            return None
        states = self.network.variables[self._variables[name]].states
        strange = [state for state in states if state not in wanted and state != MISSING]
        if strange:
            raise ModelError(f"The network's {name} has the state {strange[0]!r}, which the trajectory does not know.")
        # A missing sex belongs to the last of the strata, which is 'unknown' wherever the source has such people.
        return np.array([wanted.get(state, len(wanted) - 1) for state in states], dtype=np.int64)

    def _age_bins(self) -> tuple[Int, Int, Cumulative | None]:
        """First day and number of days of each age bin, and how to draw a bin for those whose age is missing."""
        name = "age_at_start"
        if name not in self._variables:
            raise ModelError(f"The network has no variable {name!r}.")
        variable = self.network.variables[self._variables[name]]
        if variable.edges is None or not np.isfinite(variable.edges).all():
            raise ModelError(f"The variable {name!r} needs finite edges, in years.")
        low, high = np.array(variable.edges[:-1]), np.array(variable.edges[1:])
        if name in self._ranges:
            least, most = self._ranges[name]
            low, high = np.clip(low, least, most), np.clip(high, least, most)
        # Day d belongs to a bin if low <= d / 365.25 < high; a bin shorter than a day holds its first day.
        first = np.ceil(np.maximum(low, 0) * DAYS_PER_YEAR).astype(np.int64)
        stop = np.maximum(np.ceil(high * DAYS_PER_YEAR).astype(np.int64), first + 1)
        missing = None
        if variable.has_missing:
            share = self.network.marginal(self._variables[name])[:-1]
            missing = cumulative(share if share.sum() > 0 else np.ones(len(share)))
        return first, stop - first, missing

    def draw(self, seed: int, block: int) -> People:
        """Return the `BLOCK_SIZE` people of `block`."""
        u = stream(seed, "person", block).random((BLOCK_SIZE, len(self.network.variables)))
        data = self._sampler.draw(u)
        columns = {name: np.ascontiguousarray(data[:, number]) for name, number in self._variables.items()}
        u_bin, u_day = stream(seed, "age", block).random((2, BLOCK_SIZE))
        first, days, missing = self._ages
        age_bin = columns["age_at_start"]
        if missing is not None:
            age_bin = np.where(
                age_bin < len(first), age_bin, sample_rows(missing, np.zeros(BLOCK_SIZE, np.int64), u_bin)
            )
        days_in = (u_day * days[age_bin]).astype(np.int64)
        if self._cells is not None:
            low, width, running = self._cells
            cell = sample_rows(running, age_bin, stream(seed, "age/cell", block).random(BLOCK_SIZE))
            days_in = low[age_bin, cell] + (u_day * width[age_bin, cell]).astype(np.int64)
        assert self._group is not None
        labels = {
            variable.name: variable.states[:-1] if variable.has_missing else variable.states
            for variable in self.network.variables
        }
        states = {name: np.where(values < len(labels[name]), values, -1) for name, values in columns.items()}
        return People(
            sex=np.zeros(BLOCK_SIZE, dtype=np.int64) if self._sex is None else self._sex[columns["sex"]],
            group=self._group[columns["trajectory_class"]],
            age_days=first[age_bin] + days_in,
            states=states,
            labels=labels,
        )


def _cells(first: Int, days: Int, known: Histogram | None) -> tuple[Int, Int, Cumulative] | None:
    """Return the cells of a histogram of days inside each bin (from its first day, width) and how to draw one."""
    if known is None:
        return None
    edges, weight = np.asarray(known.edges, dtype=np.int64), np.asarray(known.weight, dtype=np.float64)
    low = np.clip(edges[None, :-1], first[:, None], (first + days)[:, None])
    width = np.clip(edges[None, 1:], first[:, None], (first + days)[:, None]) - low
    share = weight * width / np.diff(edges)
    # A bin in which nobody is known to begin: one cell, all of it.
    empty = share.sum(axis=1) <= 0
    low[empty, 0], width[empty, 0] = first[empty], days[empty]
    share[empty, 0] = 1.0
    return low - first[:, None], width, cumulative(share)


def _is_range(value: Any) -> bool:
    return (
        isinstance(value, tuple)
        and len(value) == 2
        and all(isinstance(end, (int, float)) and not isinstance(end, bool) for end in value)
    )


def _likelihood(variable: Variable, value: Any) -> npt.NDArray[np.float64]:
    """Return the likelihood of each state of `variable` under what is known of it."""
    if _is_range(value):
        if variable.edges is None:
            raise UsageError(f"{variable.name!r} is no number: a range cannot be asked for.")
        edges = np.array(variable.edges)
        low, high = np.clip(edges[:-1], *value), np.clip(edges[1:], *value)
        inside = np.maximum(high - low, 0) / np.diff(edges)
        return np.concatenate([inside, np.zeros(variable.cardinality - len(inside))])
    if isinstance(value, str):
        value = {value: 1.0}
    elif isinstance(value, Collection) and not isinstance(value, Mapping):
        value = dict.fromkeys(value, 1.0)
    elif not isinstance(value, Mapping):
        raise UsageError(f"What is known of {variable.name!r} is no label, range or mapping of labels: {value!r}.")
    likelihood = np.zeros(variable.cardinality)
    for label, weight in value.items():
        if label not in variable.states:
            raise UsageError(
                f"{variable.name!r} has no state {label!r} in this model.",
                hint=f"It has: {', '.join(variable.states)}.",
            )
        likelihood[variable.index(label)] = weight
    return likelihood
