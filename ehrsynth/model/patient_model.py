"""The learned patient model: a Bayesian network of the person over hidden Markov models, one per trajectory class.

Everything generation needs and nothing else: labels, probabilities and histograms whose cells each stand for at least
`min_patients` people. Shapes use these letters:

====  =================================================================================================
S, A  sexes and age bands; a *stratum* is r = s * A + a, R = S * A of them
G, K  trajectory classes and states per class; a *flat state* is q = g * K + k, Q = G * K of them
E     encounter classes            B, L   coarse bins of gap days and of minutes of stay
V     bands of a visit's place     C      codes of a family
M     measurements with numbers    D      distinct transition matrices over the strata
====  =================================================================================================
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ehrsynth.model.calendar import Calendar
from ehrsynth.model.measurements import Measurements
from ehrsynth.model.orders import OrderSets
from ehrsynth.model.series import Series
from ehrsynth.model.trajectory import Coding, Strata, Trajectory
from ehrsynth.probability.bayesnet import BayesianNetwork
from ehrsynth.probability.histogram import Histogram

__all__ = [
    "EVERY_TABLE",
    "AttributeTable",
    "Calendar",
    "CodeFamily",
    "Coding",
    "Disclosure",
    "Measurements",
    "PatientModel",
    "Strata",
    "Trajectory",
]

Float = npt.NDArray[np.floating[Any]]
Int = npt.NDArray[np.integer[Any]]

EVERY_TABLE = "*"
"""`CodeFamily.parent_table` of families whose parents are numbered through the codes of all families."""


@dataclass(frozen=True, kw_only=True)
class AttributeTable:
    """Other columns of a family's rows, drawn jointly per code: dose with route with sig, blanks included.

    Columns are named as in the family's table. An observation's `category` belongs here (it may not be empty: where it
    is blank, laboratory is assumed). Drawn anew for each row, but a medication or device that a person has again keeps
    its.

    The rows of code c are ``offsets[c] : offsets[c + 1]``; a row holds one value per column (None: blank) and its
    probability `weight` given the code. Each row stands for at least `min_patients` people; what was rarer is blank.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str | float | int | bool | None, ...], ...]
    offsets: Int
    weight: Float


@dataclass(frozen=True, kw_only=True)
class CodeFamily:
    """The codes of one table and when a visit has them.

    P(code c in visit t) depends on the flat state q, on the code's history (never before; in the previous visit;
    earlier) and on whether its parent is in the same visit; its odds are multiplied by ``lift[r, c]`` and it is
    impossible outside ``sex_limit``, ``age_min``, ``age_max``.

    A code without history has P = `never` in a visit without its parent and `never_with_parent` in one with it; a code
    of the previous visit has `previous`, an older one `earlier`, whatever the parent; independent given these.

    Attributes
    ----------
    table : str
        condition, medication_request, procedure, observation, immunization or device.
    codings : tuple of Coding
        C of them, each of at least `min_patients` people.
    never, never_with_parent, previous, earlier : float32 [Q, C]
        P(present | ...), before lift.
    parent_table : str
        What `parent` indexes: the family itself (a forest within the visit), for details ``condition``, or (then of
        all families alike) `EVERY_TABLE`: the codes of all families one after the other, in the order of the model. All
        are one forest then, and drawn together.
    parent : int32 [C]
        Index of the parent code, -1 for none. See `satellites`.
    lift : float32 [R, C]
        Odds multiplier by stratum at the visit.
    sex_limit : int8 [C]
        0 any, 1 female only, 2 male only: structural zero for the other sex (``other`` and ``unknown`` may have both).
    age_min, age_max : float64 [C]
        Completed years at the visit, inclusive: structural zero outside.
    zero_truncated : bool
        Every visit of the source has at least one code of this family: a visit's codes are drawn given that they are
        not none, P(codes | history) / (1 - P(none | history)). Of families that are drawn together: at least one code
        of any family that is marked (the first, or all).
    sizes : float [Q, N + 1] or None
        P(number of codes of a visit | state), for sources whose visits have room for N codes. The number comes first
        then, and given it P(codes) is in proportion to the product of their odds (from the tables above, times lift).
    tilt : float [Q, N + 1] or None
        For sources whose visits never have more than N codes, and often fewer: P(number n of codes of a visit | state)
        is in proportion to ``tilt[q, n]`` times the sum over all sets of n codes of the product of their odds; times,
        for n > 0, what the company of the visits before multiplies the sum of all odds by.
    size_after : float32 [B, N + 1] or None
        Multiplies the weights of `sizes` or `tilt` by the person's visit before: none, one without codes, one with one
        code, ..., one with B - 2 or more.
    size_lift : float32 [C, N] or None
        Odds multiplier in visits of n codes, n = 1..N, of families with `sizes` or `tilt`.
    company : int [m, 3] or None
        Of families with `sizes` or `tilt`: kind (0: of the same visit; 1: of the person's visit before; 2: of an
        earlier one), code that is there, code whose odds it changes (see `ehrsynth.probability.sets.Company`).
    boost : float32 [m] or None
        By how much, above -1.
    count_lift : float32 [C, B] or None
        Odds multiplier of a code that a person has had in b earlier visits, b = 1..B (the last: B or more).
    since_edges : int64 [T] or None
        First day of each band of the days from the start of the last visit with a code to that of the visit; from 0.
    since_lift : float32 [C, T] or None
        Odds multiplier by that band of a code that a person has had: doses and check-ups come when they are due. Of
        families without `sizes` or `tilt`.
    repeats : float32 [C]
        Mean number of further rows of the same code in a visit that has it (0: exactly one row); geometric.
    position : float64 [P]
        P(relative position in the stay), P equal cells from the start to the end of the encounter.
    duration : float64 [C, n] or [1, n]
        P(bin of days from start to end | code); n = 0 columns where ends are never known. An end after the end of the
        record is not known yet; what would outlast the person ends with the person, and a procedure with its encounter.
    duration_days : Histogram
        Days within each bin.
    duration_known : float32 [C]
        P(an end is recorded | code).
    attributes : AttributeTable or None
    reason : int32 [C] or None
        Condition that each code is for, -1 for none; None: its parent, if that is a condition that makes it likelier.
    unlinked : float
        Share of the source's rows that belonged to no encounter (generated rows always belong to one).
    """

    table: str
    codings: tuple[Coding, ...]
    never: Float
    never_with_parent: Float
    previous: Float
    earlier: Float
    parent_table: str
    parent: Int
    lift: Float
    sex_limit: Int
    age_min: Float
    age_max: Float
    zero_truncated: bool = False
    sizes: Float | None = None
    tilt: Float | None = None
    size_after: Float | None = None
    size_lift: Float | None = None
    company: Int | None = None
    boost: Float | None = None
    count_lift: Float | None = None
    since_edges: Int | None = None
    since_lift: Float | None = None
    repeats: Float
    position: Float
    duration: Float
    duration_days: Histogram
    duration_known: Float
    attributes: AttributeTable | None = None
    reason: Int | None = None
    unlinked: float = 0.0

    @property
    def satellites(self) -> Int:
        """The codes that are no competitors for the places of a visit, of families with `tilt` in the forest of all.

        They have a parent in the family and hardly ever come without it. They do not count in the number of codes of a
        visit, keep no company, and are drawn once its other codes are: with P = `never` in visits without the parent,
        whatever their history, and in visits with it `never_with_parent`, `previous` or `earlier`.
        """
        there = np.asarray(self.parent) >= 0
        if self.tilt is None or self.parent_table != EVERY_TABLE:
            there = np.zeros_like(there)
        return np.flatnonzero(there)


@dataclass(frozen=True, kw_only=True)
class Disclosure:
    """What was done so that the model tells about nobody: the custodian reads this before it leaves the building.

    Attributes
    ----------
    min_patients : int
        No code, category, date or histogram cell of fewer people is in the package.
    counts : mapping of str to int
        Patients, encounters and rows learned from, rounded to `rounding`.
    rounding : int
    left_out : mapping of str to int
        How many distinct codes or levels were left out or merged, per table or variable.
    notes : tuple of str
        What could not be learned, and why.
    """

    min_patients: int
    counts: dict[str, int]
    rounding: int
    left_out: dict[str, int]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class PatientModel:
    """A model package in memory.

    Attributes
    ----------
    name, title, description : str
    licence : str
        Licence of the package.
    provenance : mapping
        Source description, licence, settings, seed, versions; JSON-serialisable.
    person : BayesianNetwork
        Of the variables that are known among ``sex`` (labels male, female, other, unknown), ``age_at_start`` (binned,
        years, finite edges; a day is drawn uniformly in its bin), ``race``, ``ethnicity`` (CDCREC codes),
        ``marital_status``, ``language``, ``state`` (USPS), ``payer`` (SOPT codes) and ``trajectory_class`` (labels
        "0".."G-1", always there). MISSING is a level like any other.
    calendar : Calendar
    trajectory : Trajectory
    families : tuple of CodeFamily
        ``condition`` first; at most one per table.
    measurements : Measurements or None
    orders : OrderSets or None
        Of codes that come only with conditions; these then come by no other table.
    series : Series or None
        Visits of vaccinations, courses of treatment and renewals; the chain is of the other visits then.
    disclosure : Disclosure
    """

    name: str
    title: str = ""
    description: str = ""
    licence: str = ""
    provenance: dict[str, Any] = field(default_factory=dict)
    person: BayesianNetwork
    calendar: Calendar
    trajectory: Trajectory
    families: tuple[CodeFamily, ...]
    measurements: Measurements | None = None
    orders: OrderSets | None = None
    series: Series | None = None
    disclosure: Disclosure

    @property
    def latest_date(self) -> str:
        """ISO date at which generated records end by default."""
        return self.calendar.reference_date

    def family(self, table: str) -> CodeFamily | None:
        """Return the code family of `table`, or None."""
        return next((family for family in self.families if family.table == table), None)

    def as_pomegranate(self, stratum: int = 0) -> Any:
        """Return the network and the chain of visits as pomegranate's objects; see `ehrsynth.model.pomegranate`."""
        from ehrsynth.model.pomegranate import as_pomegranate

        return as_pomegranate(self, stratum)
