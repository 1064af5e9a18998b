"""Plausibility of resources: lives, encounters and codes, gathered in arrays and judged together at the end."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ehrsynth import terminology
from ehrsynth.validation.fhir_events import EVENTS, Event, first_at, is_in_error, when_at, whens_at
from ehrsynth.validation.fhir_place import Where
from ehrsynth.validation.fhir_primitives import When, is_later
from ehrsynth.validation.fhir_references import Scope
from ehrsynth.validation.findings import Findings

__all__ = ["Plausibility"]

Node = dict[str, Any]
OLDEST_YEARS = 120.0
_YEAR_DAYS = 365.2425
_NONE_FIRST, _NONE_LAST = -(1 << 40), 1 << 40


@dataclass
class _Bucket:
    """The dates of one element of one type, in columns: 48 bytes a date."""

    patient: array[int] = field(default_factory=lambda: array("q"))
    encounter: array[int] = field(default_factory=lambda: array("q"))
    first: array[int] = field(default_factory=lambda: array("q"))
    last: array[int] = field(default_factory=lambda: array("q"))
    utc: array[float] = field(default_factory=lambda: array("d"))
    where: array[int] = field(default_factory=lambda: array("q"))

    def add(self, patient: int, encounter: int, when: When, where: int) -> None:
        self.patient.append(patient)
        self.encounter.append(encounter)
        self.first.append(when.first)
        self.last.append(when.last)
        self.utc.append(when.utc if when.utc is not None else np.nan)
        self.where.append(where)


@dataclass
class _Codes:
    """The codes of one type of resource, in columns."""

    coding: array[int] = field(default_factory=lambda: array("q"))
    patient: array[int] = field(default_factory=lambda: array("q"))
    first: array[int] = field(default_factory=lambda: array("q"))
    last: array[int] = field(default_factory=lambda: array("q"))
    where: array[int] = field(default_factory=lambda: array("q"))


class Plausibility:
    """Takes resources in and judges them when all are known; memory grows with the dates (about 50 bytes each)."""

    def __init__(self, findings: Findings) -> None:
        self.findings = findings
        self.checked = {"dates": 0, "codes by sex and age": 0, "dates within encounters": 0}
        self._files: list[str] = []
        self._people: dict[str, int] = {}
        self._lives: dict[int, tuple[When | None, When | None, str]] = {}
        self._encounters: dict[str, int] = {}
        self._stays: dict[int, tuple[int, When | None, When | None]] = {}
        self._buckets: dict[tuple[str, bool, bool], _Bucket] = {}
        self._codings: dict[tuple[str, str], int] = {}
        self._codes: dict[str, _Codes] = {}

    # -- taking in ---------------------------------------------------------------------------------------------------

    def take(self, resource: Node, name: str, where: Where, scope: Scope | None) -> None:
        """Take in one resource known by `name`."""
        kind = resource["resourceType"]
        if kind == "Patient":
            self._take_patient(resource, name, where)
            return
        event = EVENTS.get(kind)
        if event is None or is_in_error(resource):
            return
        patient = self._index(self._people, resource.get(event.patient), scope)
        encounter = self._index(self._encounters, first_at(resource, event.encounter), scope) if event.encounter else -1
        at = self._place(where)
        if kind == "Encounter":
            period = resource.get("period")
            start, end = (when_at(period, key) for key in ("start", "end")) if type(period) is dict else (None, None)
            own = self._encounters.setdefault(name, len(self._encounters))
            self._stays[own] = (patient, start, end)
        for elements, until_death in ((event.within_life, True), (event.from_birth, False)):
            for element in elements:
                contained = element in event.within_encounter
                for place, when in whens_at(resource, element):
                    self._bucket(f"{kind}.{place}", until_death, contained).add(patient, encounter, when, at)
        for first, second in event.order:
            self._check_order(resource, kind, first, second, where)
        if event.code and patient >= 0:
            self._take_codes(resource, kind, event, patient, at)

    def _take_patient(self, resource: Node, name: str, where: Where) -> None:
        own = self._people.setdefault(name, len(self._people))
        sex = resource.get("gender")
        birth, death = when_at(resource, "birthDate"), when_at(resource, "deceasedDateTime")
        self._lives[own] = (birth, death, sex if type(sex) is str else "")
        self._check_order(resource, "Patient", "birthDate", "deceasedDateTime", where)

    def _take_codes(self, resource: Node, kind: str, event: Event, patient: int, at: int) -> None:
        concept = resource.get(event.code)
        codings = concept.get("coding") if type(concept) is dict else None
        if type(codings) is not list:
            return
        dated = next((when for element in event.within_life for _, when in whens_at(resource, element)), None)
        codes = self._codes.setdefault(kind, _Codes())
        for coding in codings:
            if type(coding) is dict and type(coding.get("system")) is str and type(coding.get("code")) is str:
                key = (coding["system"], coding["code"])
                codes.coding.append(self._codings.setdefault(key, len(self._codings)))
                codes.patient.append(patient)
                codes.first.append(dated.first if dated else _NONE_FIRST)
                codes.last.append(dated.last if dated else _NONE_LAST)
                codes.where.append(at)

    def _check_order(self, resource: Node, kind: str, first: str, second: str, where: Where) -> None:
        earlier = next(iter(whens_at(resource, first)), None)
        later = next(iter(whens_at(resource, second)), None)
        if earlier is not None and later is not None and is_later(earlier[1], later[1]):
            self.findings.add("reversed-order", f"{kind}.{earlier[0]}", str(where), detail=f"Second: {later[0]}.")

    def _index(self, known: dict[str, int], reference: Any, scope: Scope | None) -> int:
        text = reference.get("reference") if type(reference) is dict else None
        if type(text) is not str:
            return -1
        name = scope.names.get(text, text) if scope is not None else text
        return known.setdefault(name, len(known))

    def _place(self, where: Where) -> int:
        if not self._files or self._files[-1] != where.file:
            self._files.append(where.file)
        return (len(self._files) - 1 << 40) + where.number

    def _bucket(self, place: str, until_death: bool, contained: bool) -> _Bucket:
        key = (place, until_death, contained)
        found = self._buckets.get(key)
        if found is None:
            found = self._buckets[key] = _Bucket()
        return found

    # -- judging -----------------------------------------------------------------------------------------------------

    def finish(self) -> None:
        """Judge everything taken in."""
        people = _People(self._lives, len(self._people))
        stays = _Stays(self._stays, len(self._encounters))
        for (place, until_death, contained), bucket in sorted(self._buckets.items()):
            self._judge_dates(place, until_death, contained, bucket, people, stays)
        for kind, codes in sorted(self._codes.items()):
            self._judge_codes(kind, codes, people)

    def _judge_dates(
        self, place: str, until_death: bool, contained: bool, bucket: _Bucket, people: _People, stays: _Stays
    ) -> None:
        patient, encounter = _column(bucket.patient), _column(bucket.encounter)
        first, last, utc, where = (_column(c) for c in (bucket.first, bucket.last, bucket.utc, bucket.where))
        self.checked["dates"] += len(patient)
        known = patient >= 0
        who = np.where(known, patient, 0)
        before = known & (last < people.birth_first[who])
        self._report("before-birth", place, before, where)
        if until_death:
            with_times = ~np.isnan(utc) & ~np.isnan(people.death_utc[who])
            after = np.where(with_times, utc > people.death_utc[who], first > people.death_last[who])
            self._report("after-death", place, known & after, where)
        too_old = (last - people.birth_first[who] > OLDEST_YEARS * _YEAR_DAYS) & (people.birth_first[who] > _NONE_FIRST)
        self._report("implausible-age", place, known & too_old, where)
        within = encounter >= 0
        stay = np.where(within, encounter, 0)
        mixed = within & known & (stays.patient[stay] >= 0) & (stays.patient[stay] != patient)
        self._report("other-patients-encounter", place, mixed, where)
        if contained:
            self.checked["dates within encounters"] += int(within.sum())
            outside = (last < stays.start_first[stay]) | (first > stays.end_last[stay])
            # Zones may differ between the two: what is inside by the clock is inside.
            inside = (utc >= stays.start_utc[stay]) & (utc <= stays.end_utc[stay])
            self._report("outside-encounter", place, within & outside & ~inside, where)

    def _judge_codes(self, kind: str, codes: _Codes, people: _People) -> None:
        coding, patient = _column(codes.coding), _column(codes.patient)
        first, last, where = _column(codes.first), _column(codes.last), _column(codes.where)
        self.checked["codes by sex and age"] += len(coding)
        sex, youngest, oldest = self._limits()
        wrong_sex = (sex[coding] != 0) & (people.sex[patient] != 0) & (sex[coding] != people.sex[patient])
        names = [f"{system} {code}" for system, code in self._codings]
        place = f"{kind}.{EVENTS[kind].code}"
        self._report("impossible-for-sex", place, wrong_sex, where, [names[i] for i in coding[wrong_sex][:1]])
        # As old as can be, and as young as can be, by what the dates leave open.
        born = people.birth_first[patient] > _NONE_FIRST
        dated = first > _NONE_FIRST
        at_most = (last - people.birth_first[patient] + 1) / _YEAR_DAYS
        at_least = (first - people.birth_last[patient] - 1) / _YEAR_DAYS
        # What happened before birth is a finding of its own.
        wrong_age = born & dated & (at_most >= 0) & ((at_most < youngest[coding]) | (at_least >= oldest[coding]))
        self._report("impossible-for-age", place, wrong_age, where, [names[i] for i in coding[wrong_age][:1]])

    def _limits(self) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Limits of every distinct coding, in the order they were met."""
        count = len(self._codings)
        sex, youngest, oldest = np.zeros(count, np.int8), np.zeros(count), np.full(count, np.inf)
        by_system: dict[str, list[int]] = {}
        codes = [code for _, code in self._codings]
        for (system, _), at in self._codings.items():
            by_system.setdefault(system, []).append(at)
        for system, rows in by_system.items():
            sex[rows], youngest[rows], oldest[rows] = terminology.limits(system, [codes[at] for at in rows])
        return sex, youngest, oldest

    def _report(
        self,
        check: str,
        place: str,
        wrong: npt.NDArray[np.bool_],
        where: npt.NDArray[Any],
        values: list[str] | None = None,
    ) -> None:
        count = int(np.count_nonzero(wrong))
        if count:
            at = int(where[int(np.argmax(wrong))])
            example = str(Where(self._files[at >> 40], at & ((1 << 40) - 1)))
            self.findings.add(check, place, f"{example} {' '.join(values or [])}".rstrip(), count=count)


class _People:
    """Birth, death and sex by index; what is not known excludes nothing."""

    def __init__(self, lives: dict[int, tuple[When | None, When | None, str]], count: int) -> None:
        size = max(count, 1)
        self.birth_first = np.full(size, _NONE_FIRST)
        self.birth_last = np.full(size, _NONE_LAST)
        self.death_last = np.full(size, _NONE_LAST)
        self.death_utc = np.full(size, np.nan)
        self.sex = np.zeros(size, np.int8)
        for at, (birth, death, sex) in lives.items():
            if birth is not None:
                self.birth_first[at], self.birth_last[at] = birth.first, birth.last
            if death is not None:
                self.death_last[at] = death.last
                self.death_utc[at] = np.nan if death.utc is None else death.utc
            self.sex[at] = {"female": 1, "male": 2}.get(sex, 0)


class _Stays:
    """Patient, start and end of encounters by index; an end that is not known excludes nothing."""

    def __init__(self, stays: dict[int, tuple[int, When | None, When | None]], count: int) -> None:
        size = max(count, 1)
        self.patient = np.full(size, -1)
        self.start_first = np.full(size, _NONE_FIRST)
        self.end_last = np.full(size, _NONE_LAST)
        self.start_utc = np.full(size, np.inf)
        self.end_utc = np.full(size, -np.inf)
        for at, (patient, start, end) in stays.items():
            self.patient[at] = patient
            if start is not None:
                self.start_first[at] = start.first
                self.start_utc[at] = np.inf if start.utc is None else start.utc
            if end is not None:
                self.end_last[at] = end.last
                self.end_utc[at] = -np.inf if end.utc is None else end.utc


def _column(values: array[Any]) -> npt.NDArray[Any]:
    return (
        np.frombuffer(values, dtype=np.float64 if values.typecode == "d" else np.int64)
        if values
        else np.zeros(0, np.int64)
    )
