"""The visits of a block of people: states, days and ends, one visit of everybody at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ehrsynth.errors import ModelError
from ehrsynth.generation.lead import LeadLaw
from ehrsynth.generation.population import DAYS_PER_YEAR, People
from ehrsynth.model import CodeFamily, Trajectory
from ehrsynth.probability.categorical import cumulative, sample_rows
from ehrsynth.probability.histogram import Histogram

__all__ = ["MAX_AGE_YEARS", "MAX_VISITS", "CellTable", "TrajectorySampler", "Visits"]

Int = npt.NDArray[np.int64]
Float = npt.NDArray[np.float64]

MAX_VISITS = 5000
"""A record ends after this many visits whatever the hazard: a model whose hazard is zero somewhere must not run
forever."""

MAX_AGE_YEARS = 115
"""No encounter begins at an older age: the record ends instead."""


@dataclass(frozen=True, kw_only=True)
class Visits:
    """The visits of a block, those of one person together and in order.

    Attributes
    ----------
    patient : int64[v]
        Index of the person in the block, ascending.
    offsets : int64[n + 1]
        Visits of person i are ``offsets[i] : offsets[i + 1]``; everybody has at least one.
    state : int64[v]
        Flat state q.
    age_days : int64[v]
        Age on the day of the visit's start.
    day : int64[v]
        Days since the person's first visit.
    stratum : int64[v]
    death_days : int64[n]
        Days from the end of the last encounter to death; -1 for those who do not die.
    leads : bool[v], optional
        Whether the visit has the code that transitions remember, where they do.
    """

    patient: Int
    offsets: Int
    state: Int
    age_days: Int
    day: Int
    stratum: Int
    death_days: Int
    leads: npt.NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.patient)

    @property
    def number(self) -> Int:
        """Number of each visit in its record, from 1."""
        return np.arange(len(self.patient)) - self.offsets[self.patient] + 1


_TRIES = 40
"""Draws of a gap until one is accepted; then the last one is taken."""


class CellTable:
    """Draws whole numbers whose coarse bin has a distribution in each row and whose cells are a histogram's.

    P(cell f | row) = table[row, bin of f] * weight[f] / (weight of f's bin): bin and cell are one draw.
    """

    def __init__(self, table: npt.NDArray[np.floating], histogram: Histogram) -> None:
        rows = np.asarray(table, dtype=np.float64)
        rows = rows.reshape(-1, rows.shape[-1])
        if rows.shape[1] != histogram.n_coarse:
            raise ModelError(f"A table of {rows.shape[1]} bins stands on a histogram of {histogram.n_coarse}.")
        weight = np.asarray(histogram.weight, dtype=np.float64)
        share = weight / np.bincount(histogram.coarse, weights=weight)[histogram.coarse]
        self.probability: Float = rows[:, histogram.coarse] * share
        self.low: Int = np.asarray(histogram.edges[:-1], dtype=np.int64)
        self.width: Int = np.diff(histogram.edges).astype(np.int64)
        self._cdf = cumulative(self.probability)

    def draw(self, rows: Int, u_cell: Float, u_place: Float) -> Int:
        """Return a number for each row: `u_cell` chooses the cell, `u_place` the place in it (both in [0, 1))."""
        cell = sample_rows(self._cdf, rows, u_cell)
        return self.low[cell] + (u_place * self.width[cell]).astype(np.int64)

    def draw_at_most(self, rows: Int, most: Int, u_cell: Float, u_place: Float) -> Int:
        """Return a number for each row given that it is at most `most`; `most` itself where no cell reaches so low."""
        inside = np.clip(most[:, None] - self.low[None, :] + 1, 0, self.width[None, :])
        running = np.cumsum(self.probability[rows] * (inside / self.width), axis=1)
        total = running[:, -1]
        cell = (running <= (u_cell * total)[:, None]).sum(axis=1)
        cell = np.minimum(cell, len(self.low) - 1)
        width = inside[np.arange(len(rows)), cell]
        return np.where(total > 0, self.low[cell] + (u_place * width).astype(np.int64), most)


def _tilted(trajectory: Trajectory, law: LeadLaw) -> Float:
    """Return the matrices of who has not had the lead, for each band of ages and days, and those of who has."""
    matrices = np.asarray(trajectory.transition, dtype=np.float64)
    without, after = np.split(matrices, 2)
    tilt = np.asarray(trajectory.lead_tilt, dtype=np.float64).reshape(-1)
    factor = np.exp(tilt[:, None] * law.of_state).reshape(len(tilt), 1, trajectory.n_classes, 1, trajectory.n_states)
    moved = without * factor
    moved /= np.maximum(moved.sum(axis=-1, keepdims=True), 1e-300)
    return np.concatenate([moved.reshape(-1, *matrices.shape[1:]), after])


def _gaps_by_age(trajectory: Trajectory) -> Float:
    """Return P(bin of days to the next visit | band of age, state), float64[A' * Q, B]."""
    gap = np.asarray(trajectory.gap, dtype=np.float64)
    by_age = np.asarray(trajectory.age_gap, dtype=np.float64)
    if by_age.size == 1:
        return np.tile(gap, (len(trajectory.age_edges), 1))
    table = gap * by_age[:, None, :]
    total = table.sum(axis=-1, keepdims=True)
    result: Float = np.where(total > 0, table / np.where(total > 0, total, 1.0), gap).reshape(-1, gap.shape[-1])
    return result


class TrajectorySampler:
    """The dynamics of a model made ready for drawing many blocks.

    Parameters
    ----------
    trajectory : Trajectory
    families : tuple of CodeFamily
        Of the model: among them is the code that transitions remember, if they remember one.
    """

    def __init__(self, trajectory: Trajectory, families: tuple[CodeFamily, ...] = ()) -> None:
        self._model = trajectory
        g, k = trajectory.n_classes, trajectory.n_states
        strata = trajectory.strata
        self._initial = cumulative(np.asarray(trajectory.initial).reshape(len(strata), g, k))
        self._transition_stratum = np.asarray(trajectory.transition_stratum, dtype=np.int64)
        self._lead = LeadLaw(families, strata, trajectory.lead) if trajectory.lead >= 0 else None
        self._lead_end = np.asarray(trajectory.lead_end, dtype=np.float64)
        self._lead_starts = np.asarray(trajectory.lead_starts, dtype=np.int64)
        self._lead_edges = np.asarray(trajectory.lead_edges, dtype=np.int64)
        self._n_matrices = len(np.asarray(trajectory.transition)) // (2 if self._lead else 1)
        tilted = trajectory.transition if self._lead is None else _tilted(trajectory, self._lead)
        self._transition = cumulative(tilted)
        self._hazard = np.asarray(trajectory.end_hazard, dtype=np.float64)
        self._gap = CellTable(_gaps_by_age(trajectory), trajectory.gap_days)
        self._age_end = np.asarray(trajectory.age_end, dtype=np.float64)
        self._landing = np.asarray(trajectory.landing, dtype=np.float64)
        self._age_landing = np.asarray(trajectory.age_landing, dtype=np.float64)
        self._edges = np.asarray(trajectory.elapsed_edges, dtype=np.int64)
        self._end_lift = np.asarray(trajectory.end_lift, dtype=np.float64)
        self._start_edges = np.asarray(trajectory.start_edges, dtype=np.int64)
        self._ends_lifted = self._end_lift.size > 1 or self._age_end.size > 1 or self._lead is not None
        self._death = np.asarray(trajectory.death_given_end, dtype=np.float64)
        self._death_days = CellTable(np.ones((1, 1)), trajectory.death_days)
        # The first day of each later age band: strata of ages in whole days, without a division in the loop.
        self._band_days = strata.first_days[1:]
        self._at_next = trajectory.transition_at == "next"

    def stratum(self, sex: Int, age_days: Int) -> Int:
        """Return the stratum of each person at an age in days."""
        return sex * self._model.strata.n_ages + np.searchsorted(self._band_days, age_days, side="right")

    def draw(self, people: People, rng: np.random.Generator) -> Visits:
        """Return the visits of `people`.

        In each round everybody who is still in the record has a visit; then the record ends with the hazard of state,
        visit number and days since the first visit, or else days pass, which depend on the state, and a next state
        comes, which depends on class, state, sex and age. The number of visits is never drawn by itself.
        """
        g, k = self._model.n_classes, self._model.n_states
        n = len(people)
        who = np.arange(n)
        sex, group, age = people.sex, people.group, people.age_days
        stratum = self.stratum(sex, age)
        local = sample_rows(self._initial, stratum * g + group, rng.random(n))
        had = np.zeros(n, dtype=bool)
        drawn: tuple[npt.NDArray[Any], ...]
        rounds: list[tuple[npt.NDArray[Any], ...]] = []
        for number in range(1, MAX_VISITS + 1):
            state = group * k + local
            drawn = (who, state, age, stratum)
            if self._lead is not None:
                leads = rng.random(len(who)) < self._lead.probability(had, stratum, state)
                had = had | leads
                drawn = (*drawn, leads)
            rounds.append(drawn)
            u = rng.random((4, len(who)))
            first_age = people.age_days[who]
            elapsed = age - first_age
            band = self._model.end_band(number, elapsed)
            of_age = self._model.age_band(age)
            next_age = age + self._gaps(of_age * (g * k) + state, elapsed, age, u[1], u[2], rng)
            stays = u[0] >= self._ends(band, state, of_age, first_age, elapsed, had)
            stays &= next_age < MAX_AGE_YEARS * DAYS_PER_YEAR
            who, sex, group, local, had = who[stays], sex[stays], group[stays], local[stays], had[stays]
            age = next_age[stays]
            if not len(who):
                break
            left, stratum = stratum[stays], self.stratum(sex, age)
            matrix = self._transition_stratum[stratum if self._at_next else left]
            if self._lead is not None:
                matrix = matrix + self._n_matrices * self._of_lead(had, people.age_days[who], age)
            local = sample_rows(self._transition, (matrix * g + group) * k + local, u[3][stays])
        return self._gather(people, rounds, rng)

    def _start_of_lead(self, first_age: Int) -> Int:
        return np.asarray(np.searchsorted(self._lead_starts, first_age, side="right") - 1)

    def _of_lead(self, had: npt.NDArray[np.bool_], first_age: Int, age: Int) -> Int:
        """Return which of the sets of matrices leads to a visit at each age: see `_tilted`."""
        n = len(self._lead_edges)
        since = np.searchsorted(self._lead_edges, age - first_age, side="right") - 1
        return np.where(had, n * len(self._lead_starts), self._start_of_lead(first_age) * n + since)

    def _ends(
        self,
        band: npt.NDArray[np.integer[Any]],
        state: Int,
        of_age: Int,
        first_age: Int,
        elapsed: npt.NDArray[np.integer[Any]],
        had: npt.NDArray[np.bool_],
    ) -> Float:
        """Return the chance that each record ends with the visit.

        By state, number and days since the first visit (`band`), ages at the visit and at the first, and the lead.
        """
        hazard = self._hazard[band, state]
        if not self._ends_lifted:
            return np.asarray(hazard, dtype=np.float64)
        lift = self._age_end[of_age]
        if self._end_lift.size > 1:
            since = np.searchsorted(self._edges, elapsed, side="right") - 1
            lift = lift * self._end_lift[np.searchsorted(self._start_edges, first_age, side="right") - 1, since]
        if self._lead is not None:
            lift = lift * self._lead_end[self._start_of_lead(first_age), had.astype(np.int64)]
        raised = hazard * lift
        return np.asarray(raised / np.maximum(1.0 - hazard + raised, 1e-300))

    def _gaps(self, row: Int, elapsed: Int, age: Int, u_cell: Float, u_place: Float, rng: np.random.Generator) -> Int:
        """Return the days to the next visit, drawn again until where they lead to is accepted."""
        gap = self._gap.draw(row, u_cell, u_place)
        if self._landing.size == 1 and self._age_landing.size == 1:
            return gap
        edges = self._edges if self._landing.size > 1 else np.zeros(1, dtype=np.int64)
        days = self._band_days if self._age_landing.size > 1 else np.zeros(0, dtype=np.int64)
        band = np.searchsorted(days, age, side="right")
        start = np.searchsorted(edges, elapsed, side="right") - 1
        todo = np.arange(len(gap))
        for _ in range(_TRIES):
            landing = np.searchsorted(edges, elapsed[todo] + gap[todo], side="right") - 1
            to_band = np.searchsorted(days, age[todo] + gap[todo], side="right")
            accepted = self._landing[start[todo], landing] * self._age_landing[band[todo], to_band]
            todo = todo[rng.random(len(todo)) >= accepted]
            if not len(todo):
                break
            gap[todo] = self._gap.draw(row[todo], *rng.random((2, len(todo))))
        return gap

    def _gather(self, people: People, rounds: list[tuple[npt.NDArray[Any], ...]], rng: np.random.Generator) -> Visits:
        n = len(people)
        who, *columns = (np.concatenate(parts) for parts in zip(*rounds, strict=True))
        offsets = np.zeros(n + 1, dtype=np.int64)
        np.cumsum(np.bincount(who, minlength=n), out=offsets[1:])
        number = np.repeat(np.arange(len(rounds)), [len(part[0]) for part in rounds])
        place = np.empty(len(who), dtype=np.int64)
        place[offsets[who] + number] = np.arange(len(who))
        patient, state, age, stratum, *leads = (one[place] for one in (who, *columns))
        last = offsets[1:] - 1
        u = rng.random((3, n))
        dies = u[0] < self._death[stratum[last], state[last]]
        days = self._death_days.draw(np.zeros(n, dtype=np.int64), u[1], u[2])
        return Visits(
            patient=patient,
            offsets=offsets,
            state=state,
            age_days=age,
            day=age - people.age_days[patient],
            stratum=stratum,
            leads=leads[0] if leads else None,
            death_days=np.where(dies, days, -1),
        )
