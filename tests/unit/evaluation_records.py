"""Records made in a few words for tests of the evaluation, and cohorts drawn from a small written-down process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from ehrsynth.provenance import Provenance
from ehrsynth.randomness import stream
from ehrsynth.records import Records

__all__ = ["Person", "Visit", "population", "records"]

ICD10 = "http://hl7.org/fhir/sid/icd-10-cm"
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
LOINC = "http://loinc.org"


@dataclass
class Visit:
    """A visit `day` days after 1 January 2010: its class, hours of stay, conditions, drugs and numbers by code."""

    day: int = 0
    codes: Sequence[str] = ()
    drugs: Sequence[str] = ()
    numbers: Sequence[tuple[str, float]] = ()
    kind: str = "AMB"
    hours: float | None = None


@dataclass
class Person:
    """A person aged `age` on 1 January 2010; `death` and `end` are days after that day."""

    visits: Sequence[Visit] = ()
    sex: str = "female"
    age: float = 50.0
    race: str | None = "2106-3"
    death: int | None = None
    end: int | None = None
    loose: Sequence[tuple[str, int | None]] = field(default=())
    """Conditions that name no encounter: (code, day or None)."""


def records(people: Sequence[Person], *, dated: bool = True, prefix: str = "p") -> Records:
    """Return the records of `people`; without dates only their order is known."""
    day0 = datetime(2010, 1, 1)
    rows: dict[str, list[dict[str, Any]]] = {
        name: [] for name in ("patient", "encounter", "condition", "medication_request", "observation")
    }

    def clinical(table: str, patient: str, encounter: str | None, system: str, code: str, **more: Any) -> None:
        rows[table].append(
            {
                f"{table}_id": f"{table}{len(rows[table])}",
                "patient_id": patient,
                "encounter_id": encounter,
                "code_system": system,
                "code": code,
                **more,
            }
        )

    for i, person in enumerate(people):
        patient = f"{prefix}{i}"
        rows["patient"].append(
            {
                "patient_id": patient,
                "birth_date": (day0 - timedelta(days=round(person.age * 365.2425))).date(),
                "sex": person.sex,
                "race_code": person.race,
                "death_datetime": None if person.death is None else day0 + timedelta(days=person.death),
                "record_start_date": day0.date(),
                "record_end_date": None if person.end is None else (day0 + timedelta(days=person.end)).date(),
            }
        )
        for number, visit in enumerate(person.visits):
            encounter = f"{patient}-{number}"
            start = day0 + timedelta(days=visit.day)
            end = None if visit.hours is None else start + timedelta(hours=visit.hours)
            rows["encounter"].append(
                {
                    "encounter_id": encounter,
                    "patient_id": patient,
                    "sequence": number + 1,
                    "start_datetime": start if dated else None,
                    "end_datetime": end if dated else None,
                    "status": "finished",
                    "encounter_class": visit.kind,
                }
            )
            for code in visit.codes:
                clinical("condition", patient, encounter, ICD10, code, category="encounter-diagnosis")
            for code in visit.drugs:
                clinical("medication_request", patient, encounter, RXNORM, code, status="active", intent="order")
            for code, value in visit.numbers:
                clinical(
                    "observation",
                    patient,
                    encounter,
                    LOINC,
                    code,
                    category="laboratory",
                    status="final",
                    value_number=value,
                    value_unit="1",
                )
        for code, day in person.loose:
            onset = None if day is None else (day0 + timedelta(days=day)).date()
            clinical("condition", patient, None, ICD10, code, category="problem-list-item", onset_date=onset)
    return Records.from_tables(
        {name: _table(one) for name, one in rows.items() if one},
        provenance=Provenance(source="test", time_basis="calendar" if dated else "order"),
    )


def _table(rows: list[dict[str, Any]]) -> pa.Table:
    columns = {name: [row.get(name) for row in rows] for name in dict.fromkeys(k for row in rows for k in row)}
    types = {date: pa.date32(), datetime: pa.timestamp("s"), float: pa.float64(), int: pa.int64(), str: pa.string()}
    made = {}
    for name, values in columns.items():
        known = next((value for value in values if value is not None), "")
        made[name] = pa.array(values, types[type(known)])
    return pa.table(made)


def population(seed: int, n: int, *, independent: bool = False, dated: bool = True) -> Records:
    """Return n patients of a written-down process.

    A latent frailty drives the number of visits, chronic codes (E11.9 with I10, and metformin with E11.9), their
    return, correlated numbers and death. With `independent` the same codes and numbers are dealt to visits at random,
    so that only their frequencies are left.
    """
    random = stream(seed, "evaluation.population")
    people = []
    for _ in range(n):
        sick = random.random() < 0.4
        diabetes, level = sick and random.random() < 0.8, random.normal()
        visits, day = [], int(random.integers(30))
        for number in range(1 + int(random.poisson(3.0 if sick else 1.0))):
            codes = [code for code, p in (("J06.9", 0.3), ("M54.5", 0.2), ("R51.9", 0.1)) if random.random() < p]
            drugs = []
            if diabetes and random.random() < 0.8:
                codes += ["E11.9"] + (["I10"] if random.random() < 0.7 else [])
                drugs += ["860975"] if random.random() < 0.9 else []
            elif random.random() < 0.1:
                codes += ["I10"]
            glucose = 100 + 15 * level + (60 if diabetes else 0) + 8 * random.normal()
            numbers = [
                ("2345-7", float(round(glucose))),
                ("4548-4", round(4 + glucose / 60 + 0.1 * random.normal(), 1)),
            ]
            inpatient = random.random() < (0.4 if sick and number else 0.1)
            visits.append(
                Visit(day, codes, drugs, numbers, kind="IMP" if inpatient else "AMB", hours=72 if inpatient else 1)
            )
            day += 1 + int(random.exponential(60 if sick else 250))
        died = sick and random.random() < 0.3
        people.append(
            Person(
                visits,
                sex="female" if random.random() < 0.55 else "male",
                age=float(random.uniform(50, 85) if sick else random.uniform(18, 70)),
                race="2106-3" if random.random() < 0.7 else "2054-5",
                death=day + 1 if died else None,
                end=day + 1,
            )
        )
    if independent:
        _deal(people, random)
    return records(people, dated=dated)


def _deal(people: list[Person], random: np.random.Generator) -> None:
    """Deal all codes, drugs and numbers of the people to their visits at random, keeping each one's frequency."""
    visits = [visit for person in people for visit in person.visits]
    for name in ("codes", "drugs"):
        counts: dict[str, int] = {}
        for visit in visits:
            for code in getattr(visit, name):
                counts[code] = counts.get(code, 0) + 1
            setattr(visit, name, [])
        for code, count in counts.items():
            for k in random.permutation(len(visits))[:count].tolist():
                getattr(visits[k], name).append(code)
    for position in range(2):
        values = [visit.numbers[position] for visit in visits]
        for visit, k in zip(visits, random.permutation(len(visits)).tolist(), strict=True):
            numbers = list(visit.numbers)
            numbers[position] = values[k]
            visit.numbers = numbers
