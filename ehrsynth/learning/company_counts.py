"""What visits of few codes show, as counts: codes by their number, codes that come again, and pairs of codes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ehrsynth.encoding.discretise import distinct_patients
from ehrsynth.learning.families import StatePosterior
from ehrsynth.probability.ragged import ranges
from ehrsynth.probability.sets import BEFORE, KINDS

__all__ = ["COUNT_BANDS", "SIZES_BEFORE", "Counts", "Pairs", "Part", "codes_of", "history_of", "prepare", "total"]

Ints = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]
Floats = npt.NDArray[np.floating[Any]]

COUNT_BANDS = 6
"""Earlier visits with a code that are told apart: 1, 2, ..., this many or more."""

SIZES_BEFORE = 4
"""What of the visit before is told apart: there is none, it has no code, one, more."""

_MOST_CODES = 1200


def history_of(visit: Ints, code: Ints, offsets: Ints, patient: Ints, n_codes: int) -> tuple[Ints, Ints, Ints, Ints]:
    """Return (visit, code, last visit with it, earlier visits with it) of all codes with history.

    Parameters
    ----------
    visit, code : int64[nnz]
        Codes of the visits.
    offsets : int64[n + 1]
        Of patients.
    patient : int64[V]
    n_codes : int
    """
    owner = patient[visit]
    order = np.argsort((owner * n_codes + code) * (len(patient) + 1) + visit, kind="stable")
    visit, code, owner = visit[order], code[order], owner[order]
    first = np.ones(len(visit), dtype=bool)
    first[1:] = (owner[1:] != owner[:-1]) | (code[1:] != code[:-1])
    place = np.arange(len(visit))
    times = place - np.maximum.accumulate(np.where(first, place, 0)) + 1
    until = offsets[owner + 1] - 1
    until[:-1] = np.where(first[1:], until[:-1], visit[1:])
    length = until - visit
    at = ranges(visit + 1, length)
    return at, np.repeat(code, length), np.repeat(visit, length), np.repeat(times, length)


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """A chunk made ready: visits, history and codes, and states drawn for each round."""

    stratum: Ints
    size: Ints
    states: npt.NDArray[np.int16]
    own_state: npt.NDArray[np.int16]
    next_state: npt.NDArray[np.int16]
    before: Ints
    row: Ints
    code: Ints
    patient: Ints
    had_row: Ints
    had_code: Ints
    had_kind: Ints
    had_band: Ints
    n_slots: int

    @property
    def n_visits(self) -> int:
        return len(self.size)


def _draw_states(share: npt.NDArray[np.floating], generator: np.random.Generator) -> npt.NDArray[np.int16]:
    running = np.cumsum(share, axis=1, dtype=np.float64)
    u = generator.random(len(share)) * running[:, -1]
    return np.asarray(np.minimum((running <= u[:, None]).sum(axis=1), share.shape[1] - 1), dtype=np.int16)


def codes_of(chunk: StatePosterior, own: npt.NDArray[np.bool_]) -> tuple[Ints, Ints]:
    """Return (visit, code) of the conditions of a chunk that are marked."""
    family = chunk.timelines.families["condition"]
    mine = own[family.codes]
    return family.visits[mine].astype(np.int64), family.codes[mine].astype(np.int64)


def prepare(
    chunk: StatePosterior,
    n_slots: int,
    of_size: Doubles,
    own: npt.NDArray[np.bool_],
    n_rounds: int,
    generator: np.random.Generator,
) -> Part:
    """Return a chunk made ready, of the codes that are marked bool[C] only."""
    timelines, n_codes = chunk.timelines, len(own)
    row, code = codes_of(chunk, own)
    patient = timelines.patient_of_visit
    size = np.minimum(np.bincount(row, minlength=timelines.n_visits), n_slots).astype(np.int64)
    had_row, had_code, last, times = history_of(row, code, timelines.offsets, patient, n_codes)
    order = np.lexsort((had_code, had_row))
    before = np.zeros(timelines.n_visits, dtype=np.int64)
    before[1:] = 1 + np.minimum(size[:-1], SIZES_BEFORE - 2)
    before[timelines.offsets[:-1]] = 0
    # What the number of codes says of the state is known when the codes are drawn.
    told = chunk.predicted * of_size[:, size].T
    return Part(
        stratum=chunk.stratum,
        size=size,
        states=np.stack([_draw_states(told, generator) for _ in range(n_rounds)]),
        own_state=_draw_states(chunk.gamma, generator),
        next_state=_draw_states(chunk.predicted, generator),
        before=before,
        row=row,
        code=code,
        patient=patient,
        had_row=had_row[order],
        had_code=had_code[order],
        had_kind=np.where(had_row[order] == last[order] + 1, 0, 1),
        had_band=np.minimum(times[order], COUNT_BANDS) - 1,
        n_slots=n_slots,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Counts:
    """Presences of codes by the visit's number [C * N], of codes with history [C * B], of pairs by kind [3, T * T]."""

    sized: Doubles
    again: Doubles
    pairs: Doubles

    def __add__(self, other: Counts) -> Counts:
        return Counts(sized=self.sized + other.sized, again=self.again + other.again, pairs=self.pairs + other.pairs)


class Pairs:
    """Pairs of the first codes, numbered: given * T + code."""

    def __init__(self, n_codes: int) -> None:
        self.n = min(n_codes, _MOST_CODES)

    def same(self, row: Ints, code: Ints) -> tuple[Ints, Ints]:
        """Return (row, pair) of the unordered pairs of one visit, the lower code first; rows ascend."""
        kept = code < self.n
        row, code = row[kept], code[kept]
        counts = np.bincount(row, minlength=int(row.max(initial=0)) + 1)
        end = np.cumsum(counts)[row]
        at = np.arange(len(row))
        length = end - at - 1
        other, first = ranges(at + 1, length), np.repeat(at, length)
        a, b = code[first], code[other]
        return row[first], np.minimum(a, b) * self.n + np.maximum(a, b)

    def after(self, row: Ints, code: Ints, had_row: Ints, had_code: Ints, *, itself: bool = False) -> tuple[Ints, Ints]:
        """Return (row, pair) of each code with history and each code of its visit; with `itself` also of both alike.

        Parameters
        ----------
        row, code : int64[nnz]
            Codes of the visits, visits ascending.
        had_row, had_code : int64[h]
            Codes with history in a visit.
        itself : bool
        """
        kept, led = code < self.n, had_code < self.n
        row, code, had_row, had_code = row[kept], code[kept], had_row[led], had_code[led]
        start = np.searchsorted(row, had_row)
        length = np.searchsorted(row, had_row, side="right") - start
        other, given = code[ranges(start, length)], np.repeat(had_code, length)
        rows = np.repeat(had_row, length)
        if not itself:
            differs = other != given
            rows, given, other = rows[differs], given[differs], other[differs]
        return rows, given * self.n + other

    def each(self, part: Part, row: Ints, code: Ints) -> Iterator[tuple[Ints, Ints]]:
        """Yield (row, pair) of each kind."""
        yield self.same(row, code)
        for kind in range(BEFORE, KINDS):
            led = part.had_kind == kind - BEFORE
            yield self.after(row, code, part.had_row[led], part.had_code[led])

    def of(self, part: Part, row: Ints, code: Ints, n_codes: int) -> Counts:
        """Return the counts of codes (rows ascending) that visits have."""
        key = part.had_row * n_codes + part.had_code
        mine = row * n_codes + code
        found = np.minimum(np.searchsorted(key, mine), max(len(key) - 1, 0))
        old = key[found] == mine if len(key) else np.zeros(len(mine), dtype=bool)
        cell = part.had_code[found[old]] * COUNT_BANDS + part.had_band[found[old]]
        return Counts(
            sized=np.bincount(code * part.n_slots + part.size[row] - 1, minlength=n_codes * part.n_slots).astype(
                np.float64
            ),
            again=np.bincount(cell, minlength=n_codes * COUNT_BANDS).astype(np.float64),
            pairs=np.stack(
                [np.bincount(kind, minlength=self.n**2).astype(np.float32) for _, kind in self.each(part, row, code)]
            ),
        )

    def people(self, parts: list[Part]) -> npt.NDArray[np.int64]:
        """Return how many people have each pair, int64[3, T * T]."""
        total = np.zeros((KINDS, self.n**2), dtype=np.int64)
        for part in parts:
            for kind, (rows, pair) in enumerate(self.each(part, part.row, part.code)):
                total[kind] += distinct_patients(pair, part.patient[rows], self.n**2)
        return total


def total(counts: list[Counts]) -> Counts:
    total = counts[0]
    for one in counts[1:]:
        total = total + one
    return total
