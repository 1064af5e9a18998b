"""The vocabulary of all parts, and a part written down again under it; see `ehrsynth.encoding.census`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ehrsynth.encoding.census import VISIT_LEVELS, Census
from ehrsynth.encoding.discretise import Choice
from ehrsynth.encoding.families import FAMILIES, incidence
from ehrsynth.encoding.timeline import FamilyTimeline, Levels, Timelines
from ehrsynth.model import Coding

__all__ = ["Vocabulary", "rest_of", "written_down"]

Ints = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """What the counts of all parts decide.

    Attributes
    ----------
    columns : mapping of variable of persons or visits to Choice
        ``encounter_type`` has the numbers of `types` for labels.
    types : tuple of Coding
    codings : mapping of table to tuple of Coding
        Tables without any that is kept are not there.
    rare : mapping of table to int
        Codes left out.
    precision : mapping of label of encounter class to str
        The commonest time precision of each, whether the class is kept or not.
    census : Census
    min_patients : int
    """

    columns: Mapping[str, Choice]
    types: tuple[Coding, ...]
    codings: Mapping[str, tuple[Coding, ...]]
    rare: Mapping[str, int]
    census: Census
    min_patients: int

    @classmethod
    def of(cls, census: Census, min_patients: int) -> Vocabulary:
        """Decide."""
        columns = {
            name: Choice.of(counts, min_patients, "unknown" if name == "sex" else "")
            for name, counts in census.person.items()
        }
        columns |= {name: Choice.of(census.visits[name], min_patients, empty) for name, empty in VISIT_LEVELS.items()}
        types = _codings(census, "encounter", census.types, min_patients)
        of_type = {str(i): census.types[coding.system, coding.code] for i, coding in enumerate(types)}
        columns["encounter_type"] = Choice.of(of_type, min_patients, "")
        codings, rare = {}, {}
        for name in FAMILIES:
            if name in census.codes:
                counts = census.codes[name]
                kept = _codings(census, name, counts, min_patients)
                rare[name] = len(counts) - len(kept)
                if kept:
                    codings[name] = kept
        return cls(columns=columns, types=types, codings=codings, rare=rare, census=census, min_patients=min_patients)

    def index_of(self, name: str, part: Timelines) -> npt.NDArray[np.int64]:
        """Return the place among the kept labels of each row of a column of a part, -1 for others."""
        choice = self.columns[name]
        if name == "encounter_type":
            place = {(coding.system, coding.code): i for i, coding in enumerate(self.types)}
            order = [choice.kept.index(str(i)) for i in range(len(self.types))]
            codings = [part.encounter_types[int(label)] for label in part.encounter_type.labels]
            numbers = [place.get((coding.system, coding.code), -1) for coding in codings]
            to = np.array([order[i] if i >= 0 else -1 for i in numbers], dtype=np.int64)
            return to[part.encounter_type.index]
        if name in VISIT_LEVELS:
            column: Levels = getattr(part, name)
        elif name in part.person:
            column = part.person[name]
        else:
            return np.full(part.n_patients, -1, dtype=np.int64)
        return choice.index(column.labels, column.index)


def _codings(
    census: Census, table: str, counts: Mapping[tuple[str, str], int], min_patients: int
) -> tuple[Coding, ...]:
    """Return the codings of enough patients, each with the display that most have it with; as `kept_codings`."""
    kept = [pair for pair in sorted(counts, key=lambda pair: (-counts[pair], pair)) if counts[pair] >= min_patients]
    rank = {text: i for i, text in enumerate(census.texts.get(table, {}))}
    best: dict[tuple[str, str], tuple[int, int, str]] = {}
    for (system, code, text), support in census.displays.get(table, {}).items():
        if support >= min_patients:
            best[system, code] = max(best.get((system, code), (0, 0, "")), (support, -rank[text], text))
    return tuple(Coding(system=pair[0], code=pair[1], display=best.get(pair, (0, 0, ""))[2]) for pair in kept)


def rest_of(part: Timelines, vocabulary: Vocabulary) -> dict[str, int]:
    """Count the patients of a part whose value of each column is not kept; additive."""
    patients = part.patient_of_visit
    found = {}
    for name in vocabulary.columns:
        rest = vocabulary.index_of(name, part) < 0
        found[name] = int(rest.sum()) if len(rest) != part.n_visits or name not in _OF_VISITS else 0
        if name in _OF_VISITS:
            found[name] = len(np.unique(patients[rest]))
    return found


_OF_VISITS = (*VISIT_LEVELS, "encounter_type")


def written_down(part: Timelines, vocabulary: Vocabulary, rest: Mapping[str, int]) -> Timelines:
    """Return a part under the vocabulary.

    Parameters
    ----------
    part : Timelines
        Of all it has.
    vocabulary : Vocabulary
    rest : mapping of column to int
        The sum of `rest_of` over the parts.
    """
    census = vocabulary.census
    levels = {name: _levels(name, part, vocabulary, rest[name]) for name in vocabulary.columns}
    types = levels["encounter_type"]
    order = tuple(vocabulary.types[int(label)] if label else Coding(system="", code="") for label in types.labels)
    dated, basis = census.dated > 0, census.basis()
    left_out = {f"patient.{name}": levels[name].left_out for name in _person_first(vocabulary.columns)}
    left_out |= {
        "encounter.encounter_class": levels["encounter_class"].left_out,
        "encounter.discharge_disposition_code": levels["disposition"].left_out,
        "encounter.admit_source_code": levels["admit_source"].left_out,
        "encounter.type_code": len(census.types) - len(vocabulary.types),
        **vocabulary.rare,
    }
    return replace(
        part,
        person={
            name: levels[name]
            for name in vocabulary.columns
            if name not in _OF_VISITS and _is_known(name, levels[name])
        },
        encounter_class=levels["encounter_class"],
        disposition=levels["disposition"],
        admit_source=levels["admit_source"],
        encounter_type=replace(types, labels=tuple(str(i) for i in range(len(order))), left_out=0),
        encounter_types=order,
        precision=_precisions(levels["encounter_class"].labels, vocabulary)
        if dated
        else ("day",) * len(levels["encounter_class"].labels),
        last_day=part.last_day if basis == "calendar" else np.full(part.n_patients, -1, dtype=np.int64),
        families={name: _family(part, name, vocabulary) for name in vocabulary.codings},
        basis=basis,
        birth_date_precision=census.birth_date_precision(),
        left_out={name: count for name, count in left_out.items() if count},
        notes=census.all_notes(),
        aside=census.aside,
    )


def _person_first(columns: Sequence[str] | Mapping[str, Choice]) -> list[str]:
    return [name for name in columns if name not in _OF_VISITS]


def _is_known(name: str, column: Levels) -> bool:
    return column.labels != ("",) or name == "sex"


def _levels(name: str, part: Timelines, vocabulary: Vocabulary, n_rest: int) -> Levels:
    return vocabulary.columns[name].levels(vocabulary.index_of(name, part), n_rest, vocabulary.min_patients)


def _precisions(labels: tuple[str, ...], vocabulary: Vocabulary) -> tuple[str, ...]:
    census = vocabulary.census
    kept = set(vocabulary.columns["encounter_class"].kept)
    found = []
    for i, label in enumerate(labels):
        rare = [name for name in census.precision if name not in kept]
        others = rare if label not in kept or (i == 0 and len(labels) == len(kept)) else []
        counts: dict[str, int] = {}
        for name in dict.fromkeys([label, *others]):
            for precision, n in census.precision.get(name, {}).items():
                counts[precision] = counts.get(precision, 0) + n
        order = ["", *(name for name in census.precisions if name)]
        commonest = max(order, key=lambda name: counts.get(name, 0))
        found.append(commonest or "second")
    return tuple(found)


def _family(part: Timelines, name: str, vocabulary: Vocabulary) -> FamilyTimeline:
    codings, rows = vocabulary.codings[name], vocabulary.census.rows[name]
    old = part.families.get(name)
    told: dict[str, Any] = {
        "codings": codings,
        "left_out": vocabulary.rare[name],
        "unlinked": rows["free"] / max(rows["usable"], 1),
        "set_aside": rows["set_aside"],
    }
    if old is None:
        none32, none64 = np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.int64)
        return FamilyTimeline(
            table=name,
            offsets=np.zeros(part.n_visits + 1, dtype=np.int64),
            codes=none32,
            counts=none32,
            row_visit=none32,
            row_code=none32,
            row_index=none64,
            row_minutes=none64,
            row_days=none64,
            visit_codes=np.zeros(part.n_visits, dtype=np.int32),
            **told,
        )
    place = {(coding.system, coding.code): i for i, coding in enumerate(codings)}
    to = np.array([place.get((coding.system, coding.code), -1) for coding in old.codings], dtype=np.int64)
    code = to[old.row_code]
    kept = np.flatnonzero(code >= 0)
    kept = kept[np.lexsort((old.row_index[kept], code[kept], old.row_visit[kept]))]
    offsets, codes, counts = incidence(old.row_visit[kept].astype(np.int64), code[kept], part.n_visits)
    return replace(
        old,
        offsets=offsets,
        codes=codes,
        counts=counts,
        row_visit=old.row_visit[kept],
        row_code=code[kept].astype(np.int32),
        row_index=old.row_index[kept],
        row_minutes=old.row_minutes[kept],
        row_days=old.row_days[kept],
        **told,
    )
