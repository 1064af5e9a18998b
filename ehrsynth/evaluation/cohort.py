"""Cohorts: records as flat arrays that metrics count, several cohorts in one vocabulary."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ehrsynth.records import Records

__all__ = ["AnyCohort", "Bools", "Cohort", "Floats", "Ints", "Vocabulary"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, eq=False)
class Vocabulary:
    """What the numbers of the cohorts stand for; the same for all cohorts that are compared.

    Attributes
    ----------
    families : tuple of str
        Tables whose codes are counted and that have rows in any cohort.
    family_of : int64[C]
        Family of each code.
    codings : tuple of (code system, code)
        C of them: family by family, sorted within.
    measures : tuple of (code system, code, unit)
        What numeric observations measure; another unit is another measure.
    classes : tuple of str
        Encounter classes.
    person : mapping of variable name to tuple of labels
        Variables of the person; "" is "not recorded".
    """

    families: tuple[str, ...]
    family_of: Ints
    codings: tuple[tuple[str, str], ...]
    measures: tuple[tuple[str, str, str], ...]
    classes: tuple[str, ...]
    person: dict[str, tuple[str, ...]]

    @property
    def n_codes(self) -> int:
        """C."""
        return len(self.codings)

    def codes_of(self, *families: str) -> Bools:
        """Return whether each code is of one of the families, bool[C]."""
        return np.isin(self.family_of, [i for i, name in enumerate(self.families) if name in families])


@dataclass(frozen=True, kw_only=True, eq=False)
class Cohort:
    """Records of n patients with V encounters, in order; patient p has the visits offsets[p] : offsets[p + 1].

    Patients without an encounter are not part of it (`n_without_visits` counts them); encounters that did not happen
    (planned, cancelled, entered in error) and rows entered in error do not count.

    Attributes
    ----------
    name : str
        ``real``, ``synthetic`` or ``control``.
    group : int64[n]
        The patients dealt at random into `n_groups` groups of equal size: the units of the bootstrap.
    offsets : int64[n + 1]
    dated : bool
        Whether the days of encounters are known (not only their order).
    start_day : int64[V]
        Days since 1970-01-01; only meaningful if `dated`.
    stay_minutes : int64[V]
        -1 if unknown.
    encounter_class : int64[V]
        Into `Vocabulary.classes`.
    age_years : float64[V]
        Age at the visit; NaN if unknown.
    age_slack : float64[n]
        How wrong ages may be because the birth date is known to the month or year only, in years.
    person : mapping of variable name to int64[n]
        Into `Vocabulary.person`.
    age_at_start : float64[n]
        NaN if unknown.
    died : bool[n]
    follow_days : int64[n]
        Days from the first encounter to death or to the end of the record; -1 if undated.
    code_visit, code : int64[nnz]
        The distinct codes of each visit, sorted by visit, then code.
    ever_patient, ever_code : int64[m]
        The distinct codes of each patient (rows that belong to no visit included), sorted likewise.
    value_visit, value_measure : int64[k]
    value : float64[k]
        Numeric observations that belong to a visit, sorted by visit, as they stood within.
    rows : mapping of table name to int64[rows]
        Patient of each row of a table of `records`, -1 if not of the cohort.
    records : Records
    n_without_visits : int
        Patients that were left out.
    """

    name: str
    vocabulary: Vocabulary
    group: Ints
    n_groups: int
    offsets: Ints
    dated: bool
    start_day: Ints
    stay_minutes: Ints
    encounter_class: Ints
    age_years: Floats
    age_slack: Floats
    person: dict[str, Ints]
    age_at_start: Floats
    died: Bools
    follow_days: Ints
    code_visit: Ints
    code: Ints
    ever_patient: Ints
    ever_code: Ints
    value_visit: Ints
    value_measure: Ints
    value: Floats
    rows: dict[str, Ints]
    records: Records
    n_without_visits: int

    @property
    def parts(self) -> Iterable[Cohort]:
        """The cohort as a sequence of parts: itself; see `CohortInParts`."""
        return (self,)

    @property
    def recorded(self) -> tuple[str, ...]:
        """Variables of the person that are known of at least one patient."""
        labels_of = self.vocabulary.person
        empty = {name: labels.index("") if "" in labels else -1 for name, labels in labels_of.items()}
        return tuple(name for name, index in self.person.items() if (index != empty[name]).any())

    @property
    def n_patients(self) -> int:
        """Patients, n."""
        return len(self.offsets) - 1

    @property
    def n_visits(self) -> int:
        """Visits, V."""
        return int(self.offsets[-1])

    @property
    def visits_per_patient(self) -> Ints:
        """At least 1 each, int64[n]."""
        return np.diff(self.offsets)

    @property
    def visit_patient(self) -> Ints:
        """Patient of each visit, int64[V]."""
        return np.repeat(np.arange(self.n_patients), np.diff(self.offsets))

    @property
    def has_next(self) -> Bools:
        """Whether the same patient has a later visit, bool[V]."""
        result = np.ones(self.n_visits, dtype=bool)
        result[self.offsets[1:] - 1] = False
        return result


class AnyCohort(Protocol):
    """What metrics ask of a cohort: of all patients what takes little, and the rest part by part.

    A `Cohort` is one part, a `CohortInParts` has several, of which one is in memory at a time.
    """

    @property
    def name(self) -> str: ...

    @property
    def vocabulary(self) -> Vocabulary: ...

    @property
    def group(self) -> Ints: ...

    @property
    def n_groups(self) -> int: ...

    @property
    def dated(self) -> bool: ...

    @property
    def recorded(self) -> tuple[str, ...]: ...

    @property
    def n_patients(self) -> int: ...

    @property
    def n_visits(self) -> int: ...

    @property
    def visits_per_patient(self) -> Ints: ...

    @property
    def n_without_visits(self) -> int: ...

    @property
    def parts(self) -> Iterable[Cohort]:
        """Parts of consecutive patients, each a cohort of its own with the same vocabulary and groups."""
        ...
