"""From records to cohorts: each in its own numbers, then all in those of one vocabulary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from ehrsynth.evaluation.cohort import Bools, Cohort, Floats, Ints, Vocabulary
from ehrsynth.evaluation.columns import NO_TIME, days
from ehrsynth.evaluation.draft import DAYS_PER_YEAR, FAMILIES, Dates, Draft, draft
from ehrsynth.randomness import stream
from ehrsynth.records import Records

__all__ = [
    "AGE_BANDS",
    "GROUPS",
    "Labels",
    "Places",
    "age_band",
    "assemble",
    "groups_of",
]

AGE_BANDS = (0, 1, 5, 12, 18, 30, 40, 50, 60, 70, 80)
"""Lower ends of the bands of age, years."""
GROUPS = 512
"""Units of the bootstrap. A cohort of fewer patients has each as its own unit. Counts are kept per group and not per
patient, which bounds memory; resampling 512 random groups estimates a standard error to 1 / sqrt(2 * 512) = 3 %."""


def age_band(ages: Floats) -> Ints:
    """Return the band of each age: position in `AGE_BANDS`, -1 if unknown."""
    band = np.searchsorted(AGE_BANDS, np.nan_to_num(ages), side="right") - 1
    return np.where(np.isnan(ages), -1, np.maximum(band, 0)).astype(np.int64)


@dataclass(kw_only=True, eq=False)
class Labels:
    """The labels of cohorts and their parts, as they come."""

    families: dict[str, set[tuple[str, ...]]] = field(default_factory=dict)
    measures: set[tuple[str, ...]] = field(default_factory=set)
    classes: set[str] = field(default_factory=set)
    person: dict[str, set[str]] = field(default_factory=dict)

    def note(self, draft: Draft) -> None:
        """Take note of those of a draft."""
        for family, (*_, pairs) in draft.families.items():
            self.families.setdefault(family, set()).update(pairs)
        self.measures.update(draft.values[3])
        self.classes.update(draft.classes[1])
        for name, (_, labels) in draft.person.items():
            self.person.setdefault(name, set()).update(labels)

    def vocabulary(self) -> Vocabulary:
        """Return the vocabulary of all."""
        families = tuple(name for name in FAMILIES if name in self.families)
        named = [sorted(self.families[family]) for family in families]
        return Vocabulary(
            families=families,
            family_of=np.repeat(np.arange(len(families)), [len(some) for some in named]).astype(np.int64),
            codings=tuple(pair for some in named for pair in some),  # type: ignore[misc]
            measures=tuple(sorted(self.measures)),  # type: ignore[arg-type]
            classes=tuple(sorted(self.classes)),
            person={name: tuple(sorted(labels)) for name, labels in self.person.items()},
        )


class Places:
    """Where labels stand in a vocabulary."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        first = np.searchsorted(vocabulary.family_of, np.arange(len(vocabulary.families) + 1)).tolist()
        self._codes = {
            family: _numbers(vocabulary.codings[first[k] : first[k + 1]], first[k])
            for k, family in enumerate(vocabulary.families)
        }
        self._measures, self._classes = _numbers(vocabulary.measures), _numbers(vocabulary.classes)
        self._person = {name: _numbers(labels) for name, labels in vocabulary.person.items()}

    def cohort(self, draft: Draft, group: Ints, n_groups: int) -> Cohort:
        """Return a draft in the numbers of the vocabulary; `group` are those of the bootstrap."""
        return _cohort(
            draft,
            self.vocabulary,
            {family: _mapped(self._codes[family], pairs) for family, (*_, pairs) in draft.families.items()},
            _mapped(self._measures, draft.values[3]),
            _mapped(self._classes, draft.classes[1]),
            {name: _mapped(self._person[name], labels) for name, (_, labels) in draft.person.items()},
            group,
            n_groups,
        )


def _numbers(labels: Sequence[Any], first: int = 0) -> dict[Any, int]:
    return {label: number for number, label in enumerate(labels, first)}


def _mapped(numbers: Mapping[Any, int], labels: Sequence[Any]) -> Ints:
    return np.array([numbers[label] for label in labels], dtype=np.int64)


def assemble(parts: Mapping[str, Records], *, seed: int) -> list[Cohort]:
    """Return the cohorts of several records, by name, in one vocabulary.

    Parameters
    ----------
    parts : mapping of name to Records
    seed : int
        Deals patients into the groups of the bootstrap.
    """
    drafts = [draft(name, records, Dates.of(records)) for name, records in parts.items()]
    labels = Labels()
    for one in drafts:
        labels.note(one)
    places = Places(labels.vocabulary())
    return [places.cohort(one, *groups_of(one.name, len(one.people), seed)) for one in drafts]


def groups_of(name: str, n: int, seed: int) -> tuple[Ints, int]:
    """Return (the group of the bootstrap that each of n patients is dealt into, how many there are)."""
    n_groups = min(n, GROUPS)
    group = np.empty(n, dtype=np.int64)
    group[stream(seed, f"evaluation.groups.{name}").permutation(n)] = np.arange(n) % max(n_groups, 1)
    return group, n_groups


def _distinct(first: Ints, second: Ints, n_second: int) -> tuple[Ints, Ints]:
    pairs = np.unique(first * n_second + second)
    return pairs // n_second, pairs % n_second


def _cohort(
    draft: Draft,
    vocabulary: Vocabulary,
    code_maps: Mapping[str, Ints],
    measure_map: Ints,
    class_map: Ints,
    person_maps: Mapping[str, Ints],
    group: Ints,
    n_groups: int,
) -> Cohort:
    n, n_codes = len(draft.people), max(vocabulary.n_codes, 1)
    parts = [
        (patient, visit, code_maps[family][index]) for family, (patient, visit, index, _) in draft.families.items()
    ]
    patient, visit, code = (
        np.concatenate([part[k] for part in parts]) if parts else np.zeros(0, dtype=np.int64) for k in range(3)
    )
    ever_patient, ever_code = _distinct(patient, code, n_codes)
    code_visit, code = _distinct(visit[visit >= 0], code[visit >= 0], n_codes)
    age, age_start, died, follow = _lives(draft)
    value_visit, measure, value, _ = draft.values
    return Cohort(
        name=draft.name,
        vocabulary=vocabulary,
        group=group,
        n_groups=n_groups,
        offsets=draft.offsets,
        dated=draft.dated,
        start_day=draft.start_day,
        stay_minutes=draft.stay_minutes,
        encounter_class=class_map[draft.classes[0]],
        age_years=age,
        age_slack=draft.slack,
        person={name: person_maps[name][index] for name, (index, _) in draft.person.items()},
        age_at_start=age_start,
        died=died,
        follow_days=follow,
        code_visit=code_visit,
        code=code,
        ever_patient=ever_patient,
        ever_code=ever_code,
        value_visit=value_visit,
        value_measure=measure_map[measure] if len(measure) else measure,
        value=value,
        rows=draft.rows,
        records=draft.records,
        n_without_visits=draft.records.n_patients - n,
    )


def _lives(draft: Draft) -> tuple[Floats, Floats, Bools, Ints]:
    """Return (age at each visit, age at the first, died, days from the first visit to death or the record's end)."""
    patients = draft.records["patient"].take(pa.array(draft.people))
    first = draft.offsets[:-1]
    n = len(first)
    record_start, record_end = days(patients["record_start_date"]), days(patients["record_end_date"])
    death = days(patients["death_datetime"])
    start = draft.start_day[first] if draft.dated else record_start
    known = (start != NO_TIME) & (draft.birth_day != NO_TIME)
    age_start = np.where(known, (np.where(known, start - draft.birth_day, 0)) / DAYS_PER_YEAR, np.nan)
    # Half a unit added to a coarse birth date may make a newborn younger than its birth.
    age_start = np.where(age_start < 0, np.maximum(age_start + draft.slack, 0.0), age_start)
    age = np.repeat(age_start, np.diff(draft.offsets))
    if not draft.dated or not n:
        return age, age_start, death != NO_TIME, np.full(n, -1, dtype=np.int64)
    age = age + (draft.start_day - np.repeat(start, np.diff(draft.offsets))) / DAYS_PER_YEAR
    latest = np.maximum.reduceat(draft.end_day, first)
    end = np.where(record_end == NO_TIME, latest, np.maximum(record_end, latest))
    end = np.where(death == NO_TIME, end, np.maximum(death, start))
    return age, age_start, death != NO_TIME, end - start
