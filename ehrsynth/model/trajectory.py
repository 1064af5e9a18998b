"""The visits of a person: strata, states and dates. Letters of shapes as in `ehrsynth.model.patient_model`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ehrsynth.probability.histogram import Histogram

__all__ = ["STAYS", "Coding", "Strata", "Trajectory"]

Float = npt.NDArray[np.floating[Any]]
Int = npt.NDArray[np.integer[Any]]

STAYS = ("IMP", "ACUTE", "NONAC")
"""Classes of encounters in which people stay."""

_DAYS_PER_YEAR = 365.25


@dataclass(frozen=True, kw_only=True)
class Coding:
    """A code of a code system, with its display text (empty if unknown)."""

    system: str
    code: str
    display: str = ""


@dataclass(frozen=True, kw_only=True)
class Strata:
    """Sex by age band: what dynamics and lifts may depend on.

    `age_edges` (years, length A + 1, last may be inf) and `sexes` (labels of the network's variable ``sex``, in order).
    """

    sexes: tuple[str, ...]
    age_edges: tuple[float, ...]

    @property
    def n_ages(self) -> int:
        """A, the number of age bands."""
        return len(self.age_edges) - 1

    def __len__(self) -> int:
        return len(self.sexes) * self.n_ages

    @property
    def first_days(self) -> npt.NDArray[np.int64]:
        """The first day of life of each band of age, int64[A]; of the first, 0."""
        later = np.ceil(np.asarray(self.age_edges[1:-1], dtype=np.float64) * _DAYS_PER_YEAR)
        return np.concatenate([[0], later]).astype(np.int64)

    def index(self, sex: Int, age_years: Float) -> Int:
        """Return the stratum of each person: `sex` indexes `sexes`, ages outside the bands go to the nearest."""
        band = np.searchsorted(np.asarray(self.age_edges[1:-1]), age_years, side="right")
        return np.asarray(sex, dtype=np.int64) * self.n_ages + band


@dataclass(frozen=True, kw_only=True)
class Trajectory:
    """The visits of a person: a hidden Markov model per class, run as one over flat states.

    Attributes
    ----------
    n_classes, n_states : int
        G and K.
    strata : Strata
    initial : float [R, Q]
        P(first state | stratum, class): each class's block of K sums to 1.
    transition : float [D, G, K, K]
        P(next state | state), per class; rows sum to 1.
    transition_stratum : int [R]
        Which of the D matrices a stratum (sex, age at the visit that `transition_at` says) uses.
    transition_at : str
        ``next``: the visit that a transition leads to; ``left``: the one that it leaves (packages up to format 2).
    lead : int
        Code, numbered through all families in the order of the model, that transitions remember: the matrices of who
        has had it (in the visit that a transition leaves, or before) are as many and follow those of who has not. It is
        drawn with the states, before all other codes. -1: none.
    lead_edges : int [B]
        First day since the first visit of each band of `lead_tilt`.
    lead_starts : int [S']
        First day of life of each band of ages at the first visit, of the two that follow.
    lead_tilt : float [S', B]
        Whoever has not had the lead comes to a state with exp(tilt * P(lead | state)) times the chance, at a visit in
        the band.
    lead_end : float [S', 2]
        What multiplies the odds of `end_hazard` after a visit of who has not had the lead by then, and of who has.
    end_hazard : float [V, Q]
        P(the record ends after this visit | state, band of the visit's number and of the days since the first).
    visit_edges : int [N]
        First visit number (from 1) of each band.
    elapsed_edges : int [D]
        First day since the start of the first visit of each band; V = N * D, and the row of the hazard is that of the
        number times D plus that of the days. One band where time plays no part.
    death_given_end : float [R, Q]
        P(the person dies | the record ends after a visit in this state).
    death_days : Histogram
        Days from the end of the last encounter to death; coarse bin 0. 0 days: at the encounter's end.
    died_disposition : str
        Discharge disposition that means death (``exp``). An encounter at whose end the person dies has it wherever
        `disposition` gives it a positive probability for the class and state; no other encounter has it (the others are
        drawn with the rest renormalised).
    gap : float [Q, B]
        P(bin of days from this visit's start to the next one's start | state of this visit).
    gap_days : Histogram
        Days within each of the B bins.
    landing : float [D, D]
        What multiplies the chance of a gap, by the bands (`elapsed_edges`) it leads from and to: follow-up is as long
        for those with long gaps. The greatest of a row is 1. One cell: nothing.
    age_landing : float [A, A]
        The same by the bands of age of the strata: some visits are due at an age.
    start_edges : int [S]
        First day of life of each band of ages at the first visit.
    end_lift : float [S, D]
        What multiplies the odds of `end_hazard`, by that band and the band of days since the first visit. One cell:
        nothing.
    age_edges : int [A']
        First day of life of each band of ages at a visit, of the two that follow.
    age_gap : float [A', B]
        What multiplies the chance of a bin of `gap` at a visit at that age. One cell: nothing.
    age_end : float [A']
        What multiplies the odds of `end_hazard` at a visit at that age.
    encounter_classes : tuple of str
        v3-ActCode codes, E of them. Stays of the classes IMP, ACUTE and NONAC of one person do not overlap: a stay is
        drawn among those that end before the next such start.
    encounter_class : float [Q, E]
    stay : float [E, Q, L]
        P(bin of minutes of stay | class, state).
    stay_minutes : Histogram
        Minutes within each of the L bins; atoms (60 minutes) are cells of their own only where the data have them.
    start_minute : float [E, Q or 1, H]
        P(bin of the minute of the day | class); H = 0 columns where the source knows only days.
    start_minutes : Histogram
        Minutes of the day within each of the H bins.
    precision : tuple of str
        ``time_precision`` per encounter class (E): day, minute or second (day where H = 0).
    stay_known : float [E]
        P(the end of the encounter is recorded | class).
    dispositions : tuple of str
        Discharge dispositions; the empty string is "not recorded".
    disposition : float [E, Q, len(dispositions)]
    admit_sources : tuple of str
    admit_source : float [E, Q, len(admit_sources)]
    encounter_types : tuple of Coding
        Types of encounter (empty system: not recorded).
    encounter_type : float [E, Q, len(encounter_types)]
    """

    n_classes: int
    n_states: int
    strata: Strata
    initial: Float
    transition: Float
    transition_stratum: Int
    end_hazard: Float
    visit_edges: Int
    death_given_end: Float
    death_days: Histogram
    died_disposition: str
    gap: Float
    gap_days: Histogram
    encounter_classes: tuple[str, ...]
    encounter_class: Float
    stay: Float
    stay_minutes: Histogram
    start_minute: Float
    start_minutes: Histogram
    precision: tuple[str, ...]
    stay_known: Float
    dispositions: tuple[str, ...]
    disposition: Float
    admit_sources: tuple[str, ...]
    admit_source: Float
    encounter_types: tuple[Coding, ...]
    encounter_type: Float
    elapsed_edges: Int = field(default_factory=lambda: np.zeros(1, dtype=np.int64))
    landing: Float = field(default_factory=lambda: np.ones((1, 1)))
    age_landing: Float = field(default_factory=lambda: np.ones((1, 1)))
    start_edges: Int = field(default_factory=lambda: np.zeros(1, dtype=np.int64))
    end_lift: Float = field(default_factory=lambda: np.ones((1, 1)))
    age_edges: Int = field(default_factory=lambda: np.zeros(1, dtype=np.int64))
    age_gap: Float = field(default_factory=lambda: np.ones((1, 1)))
    age_end: Float = field(default_factory=lambda: np.ones(1))
    transition_at: str = "left"
    lead: int = -1
    lead_edges: Int = field(default_factory=lambda: np.zeros(1, dtype=np.int64))
    lead_starts: Int = field(default_factory=lambda: np.zeros(1, dtype=np.int64))
    lead_tilt: Float = field(default_factory=lambda: np.zeros((1, 1)))
    lead_end: Float = field(default_factory=lambda: np.ones((1, 2)))

    def age_band(self, age_days: Int) -> npt.NDArray[np.int64]:
        """Return the band of `age_edges` of each age in days; of a single one without looking."""
        if len(self.age_edges) == 1:
            return np.zeros(len(age_days), dtype=np.int64)
        return np.asarray(np.maximum(np.searchsorted(self.age_edges, age_days, side="right") - 1, 0), dtype=np.int64)

    def end_band(self, number: Int | int, elapsed_days: Int) -> Int:
        """Return the row of `end_hazard` of visits by number (from 1) and days since the first visit."""
        of_number = np.searchsorted(self.visit_edges, number, side="right") - 1
        of_days = np.searchsorted(self.elapsed_edges, elapsed_days, side="right") - 1
        return np.asarray(np.maximum(of_number, 0) * len(self.elapsed_edges) + np.maximum(of_days, 0), dtype=np.int64)
