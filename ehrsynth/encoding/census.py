"""Encoding in parts: which levels and codes there are follows from counts of all parts, and each part is then told.

A part is encoded with everything it has (`ehrsynth.encoding.encode` with a minimum of one patient). Its counts add up
to those of all parts; from the sum alone follows the vocabulary, under which the part is written down again. Parts are
of different patients; written down in order they are what `encode` makes of all records together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ehrsynth.encoding.columns import categories
from ehrsynth.encoding.discretise import distinct_patients
from ehrsynth.encoding.encoder import aside_notes, coarsest_precision
from ehrsynth.encoding.timeline import Timelines
from ehrsynth.errors import LearningError
from ehrsynth.records import Records

__all__ = ["VISIT_LEVELS", "Census", "added", "without_dates"]

Key = Any

VISIT_LEVELS: dict[str, str | None] = {"encounter_class": None, "disposition": "", "admit_source": ""}
"""Categorical columns of visits that have labels of their own, with the label of empty values."""


def added(left: Mapping[Key, Any], right: Mapping[Key, Any]) -> dict[Key, Any]:
    """Return the sums by key (also of mappings of numbers), keys in the order in which they first come."""
    total = dict(left)
    for key, value in right.items():
        if key not in total:
            total[key] = value
        elif isinstance(value, Mapping):
            total[key] = added(total[key], value)
        else:
            total[key] = total[key] + value
    return total


@dataclass(frozen=True, kw_only=True)
class Census:
    """Additive counts of a part; patients are counted once for each label or code.

    Attributes
    ----------
    n_read, n_patients, n_visits : int
        Patients of the records, those that are kept, and their visits.
    aside : mapping of reason to int
    births : mapping of precision to int
        Of all patients of the records.
    bases : mapping of time basis to int
        Parts of each.
    dated : int
        Visits of parts that have dates.
    person, visits : mapping of variable to mapping of label to int
        Patients with each label.
    types : mapping of (system, code) to int
        Types of encounter.
    precision : mapping of encounter class to mapping of time precision to int
        Visits; the empty text is none.
    precisions : mapping of time precision to int
        Visits, in the order in which they first come.
    codes : mapping of table to mapping of (system, code) to int
    displays : mapping of table to mapping of (system, code, display) to int
        The table ``encounter`` has the types of encounter.
    texts : mapping of table to mapping of display to int
        All displays, in the order in which they first come.
    rows : mapping of table to mapping of {"usable", "free", "set_aside"} to int
    notes : mapping of text to int
        What else is said of the parts.
    """

    n_read: int
    n_patients: int = 0
    n_visits: int = 0
    aside: Mapping[str, int] = field(default_factory=dict)
    births: Mapping[str, int] = field(default_factory=dict)
    bases: Mapping[str, int] = field(default_factory=dict)
    dated: int = 0
    person: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    visits: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    types: Mapping[tuple[str, str], int] = field(default_factory=dict)
    precision: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    precisions: Mapping[str, int] = field(default_factory=dict)
    codes: Mapping[str, Mapping[tuple[str, str], int]] = field(default_factory=dict)
    displays: Mapping[str, Mapping[tuple[str, str, str], int]] = field(default_factory=dict)
    texts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    rows: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    notes: Mapping[str, int] = field(default_factory=dict)

    def __add__(self, other: Census) -> Census:
        n_left, n_right = self.n_patients, other.n_patients
        # A variable that a part knows of nobody has the empty label for all of its patients.
        left = {name: self.person.get(name, {"": n_left}) for name in {**self.person, **other.person}}
        right = {name: other.person.get(name, {"": n_right}) for name in left}
        sums = {
            name: added(getattr(self, name), getattr(other, name))
            for name in self.__dataclass_fields__
            if isinstance(getattr(self, name), Mapping)
        }
        return Census(
            n_read=self.n_read + other.n_read,
            n_patients=n_left + n_right,
            n_visits=self.n_visits + other.n_visits,
            dated=self.dated + other.dated,
            **{**sums, "person": added(left, right)},
        )

    @classmethod
    def of(cls, records: Records, timelines: Timelines | None) -> Census:
        """Count a part.

        Parameters
        ----------
        records : Records
        timelines : Timelines or None
            What `encode` makes of them with a minimum of one patient; None if nobody can be learned from.
        """
        births, labels = categories(records["patient"]["birth_date_precision"])
        counts = {label: int((births == i).sum()) for i, label in enumerate(labels)}
        if timelines is None:
            return cls(n_read=records.n_patients, births=counts)
        own = set(aside_notes(timelines.aside, records.n_patients))
        everyone, patients = np.arange(timelines.n_patients), timelines.patient_of_visit
        visits = {name: getattr(timelines, name) for name in VISIT_LEVELS}
        types = timelines.encounter_type
        types_of = distinct_patients(types.index, patients, len(types.labels))
        codings = [timelines.encounter_types[int(label)] for label in types.labels]
        precision, precisions = _precision(records, timelines)
        families = timelines.families
        displays = {name: _displays(records, timelines, name) for name in families}
        displays["encounter"] = _displays_of_types(records, timelines)
        undated = timelines.basis == "order" or records["encounter"]["start_datetime"].null_count == len(
            records["encounter"]
        )
        return cls(
            n_read=records.n_patients,
            n_patients=timelines.n_patients,
            n_visits=timelines.n_visits,
            aside=dict(timelines.aside),
            births=counts,
            bases={timelines.basis: 1},
            dated=0 if undated else timelines.n_visits,
            person={name: _by_label(one.index, everyone, one.labels) for name, one in timelines.person.items()},
            visits={name: _by_label(one.index, patients, one.labels) for name, one in visits.items()},
            types={
                (coding.system, coding.code): int(n)
                for coding, n in zip(codings, types_of, strict=True)
                if coding.system or coding.code
            },
            precision=precision,
            precisions=precisions,
            codes={
                name: {
                    (coding.system, coding.code): int(n)
                    for coding, n in zip(
                        family.codings,
                        distinct_patients(family.row_code, patients[family.row_visit], family.n_codes),
                        strict=True,
                    )
                }
                for name, family in families.items()
            },
            displays={name: found for name, (found, _) in displays.items()},
            texts={name: texts for name, (_, texts) in displays.items()},
            rows={
                name: {
                    "usable": len(family.row_index),
                    "free": round(family.unlinked * len(family.row_index)),
                    "set_aside": family.set_aside,
                }
                for name, family in families.items()
            },
            notes={note: 1 for note in timelines.notes if note not in own},
        )

    def basis(self) -> str:
        """Return what the dates of all parts are."""
        bases = set(self.bases)
        return next((one for one in ("shifted", "offset", "calendar") if one in bases), "order")

    def birth_date_precision(self) -> str:
        """Return the coarsest that is common."""
        return coarsest_precision(self.births, max(self.n_read, 1))

    def all_notes(self) -> tuple[str, ...]:
        """Return what was set aside and why."""
        order = [*self.notes, *aside_notes(self.aside, max(self.n_read, 1))]
        return tuple(dict.fromkeys(order))

    def require(self, min_patients: int) -> None:
        """Raise LearningError if there are too few patients."""
        if not self.n_read:
            raise LearningError("There are no patients.", table="patient")
        if self.n_patients < min_patients:
            raise LearningError(
                f"Only {self.n_patients} patients can be learned from, fewer than the minimum of {min_patients}.",
                table="patient",
                hint=" ".join(["A model of so few would tell about each of them.", *self.all_notes()]),
            )


def without_dates(census: Census) -> Census:
    """Return what a part adds that has no dates, in a source that has: its patients have no visit that counts."""
    return Census(
        n_read=census.n_read,
        births=census.births,
        aside=added(census.aside, {"without an encounter": census.n_patients}),
        notes={"Encounters without a start, in a source that has dates, were set aside.": 1},
    )


def _by_label(index: npt.NDArray[Any], patients: npt.NDArray[Any], labels: tuple[str, ...]) -> dict[str, int]:
    counts = distinct_patients(index, patients, len(labels))
    return {label: int(n) for label, n in zip(labels, counts, strict=True)}


def _precision(records: Records, timelines: Timelines) -> tuple[dict[str, dict[str, int]], dict[str, int]]:
    index, labels = categories(records["encounter"]["time_precision"])
    classes, class_labels = categories(records["encounter"]["encounter_class"])
    kept = timelines.row
    each = np.bincount(index[kept] + 1, minlength=len(labels) + 1)
    pair = (classes[kept] + 1) * (len(labels) + 1) + index[kept] + 1
    found: dict[str, dict[str, int]] = {}
    distinct, counts = np.unique(pair, return_counts=True)
    for key, n in zip(distinct.tolist(), counts.tolist(), strict=True):
        name, label = divmod(key, len(labels) + 1)
        found.setdefault(["", *class_labels][name], {})[["", *labels][label]] = n
    # In the order in which they come in the source: the first of equals is the same as in all records together.
    return found, {label: int(n) for label, n in zip(["", *labels], each, strict=True) if n}


def _displays(records: Records, timelines: Timelines, name: str) -> tuple[dict[Key, int], dict[str, int]]:
    family = timelines.families[name]
    index, texts = categories(records[name]["display"])
    patients = timelines.patient_of_visit[family.row_visit]
    pairs = [(coding.system, coding.code) for coding in family.codings]
    return _by_display(family.row_code.astype(np.int64), pairs, index[family.row_index], texts, patients)


def _displays_of_types(records: Records, timelines: Timelines) -> tuple[dict[Key, int], dict[str, int]]:
    index, texts = categories(records["encounter"]["type_display"])
    types = timelines.encounter_type
    codings = [timelines.encounter_types[int(label)] for label in types.labels]
    pairs = [(coding.system, coding.code) for coding in codings]
    kept = timelines.row
    return _by_display(types.index.astype(np.int64), pairs, index[kept], texts, timelines.patient_of_visit)


def _by_display(
    code: npt.NDArray[np.int64],
    pairs: list[tuple[str, str]],
    display: npt.NDArray[np.int64],
    texts: list[str],
    patients: npt.NDArray[np.int64],
) -> tuple[dict[Key, int], dict[str, int]]:
    used = np.bincount(display[display >= 0], minlength=len(texts))
    key, inverse = np.unique(np.where(display >= 0, code * max(len(texts), 1) + display, -1), return_inverse=True)
    inverse = np.where(key[inverse.reshape(-1)] >= 0, inverse.reshape(-1), -1)
    support = distinct_patients(inverse, patients, len(key))
    found = {
        (*pairs[k // len(texts)], texts[k % len(texts)]): int(n)
        for k, n in zip(key.tolist(), support.tolist(), strict=True)
        if k >= 0
    }
    return found, {text: int(n) for text, n in zip(texts, used, strict=True) if n}
