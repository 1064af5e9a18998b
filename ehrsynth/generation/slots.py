"""Codes of visits that have few of them: first how many, then so many, by their odds and by the company they keep."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ehrsynth.generation.code_tables import odds_of, possible_strata
from ehrsynth.generation.codes import Present, VisitContext
from ehrsynth.generation.satellites import SatelliteSampler
from ehrsynth.model import CodeFamily, Strata
from ehrsynth.probability.sets import BEFORE, EARLIER, Allowed, Company, Given, SetLaw, polynomials

__all__ = ["SlotSampler"]

Int = npt.NDArray[np.int64]
Float = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]


class SlotSampler:
    """A family with `CodeFamily.sizes` or `CodeFamily.tilt`, made ready for drawing many blocks.

    The codes of a visit are drawn one after the other, each by its odds given state, stratum and history, changed by
    the codes already in the visit and those of the visit before (`ehrsynth.probability.sets`). Without such company
    P(codes of a visit) given their number is the product of their odds over the sum of such products. Satellites among
    the codes come after these (`SatelliteSampler`).
    """

    def __init__(self, family: CodeFamily, strata: Strata | None = None) -> None:
        self._never, previous, earlier = map(odds_of, (family.never, family.previous, family.earlier))
        self._again = np.stack([previous, earlier])
        sex, low, high = (np.asarray(getattr(family, name)) for name in ("sex_limit", "age_min", "age_max"))
        self._limits = sex, low, high
        self._limited = np.flatnonzero((sex != 0) | (low > 0) | np.isfinite(high))
        self._lift = np.array(family.lift, dtype=np.float64)
        if strata is not None:
            self._lift *= possible_strata(strata, sex, low, high)
        n_states, self._n_codes = self._never.shape
        by_count = family.count_lift
        self._count_lift = np.ones((self._n_codes, 1)) if by_count is None else np.asarray(by_count, dtype=np.float64)
        self._company = Company.none(self._n_codes)
        if family.company is not None and family.boost is not None:
            kind, given, code = np.asarray(family.company).T
            self._company = Company(self._n_codes, kind, given, code, family.boost)
        self._n_states = n_states
        self._tilt = None if family.tilt is None else np.asarray(family.tilt, dtype=np.float64)
        sizes = np.asarray(family.sizes if self._tilt is None else family.tilt, dtype=np.float64)
        self._sizes = sizes if self._tilt is None else None
        after = np.ones((1, sizes.shape[1])) if family.size_after is None else np.asarray(family.size_after)
        self._after = after.astype(np.float64)
        self._most = sizes.shape[1] - 1
        of_size = np.ones((self._n_codes, self._most)) if family.size_lift is None else family.size_lift
        self._of_size = np.asarray(of_size, dtype=np.float64).T
        self._satellites = None
        if len(family.satellites):
            self._satellites = SatelliteSampler(family, self._lift, self._count_lift)
            self._never[:, family.satellites] = 0.0
        # The laws of all sizes are one, its keys size by size: visits of all sizes are then drawn at once.
        odds = self._lift[None, :, None, :] * self._of_size[:, None, None, :] * self._never
        self._n_keys = odds.shape[1] * n_states
        self._law = SetLaw(odds.reshape(-1, self._n_codes), self._company)
        self._powers = None if self._tilt is None else self._law.powers(self._most)

    def draw(self, visits: VisitContext, rng: np.random.Generator) -> Present:
        """Return the codes of `visits`, as `CodeSampler.draw`; the k-th visits of all people at a time."""
        c = self._n_codes
        first, length = visits.offsets[:-1], np.diff(visits.offsets)
        had = np.zeros(len(length), dtype=np.int64)
        # The codes that people have had, each as one number: ascending by person and code.
        held = np.zeros(0, dtype=np.int64)
        last = np.full((len(length), c), -1, dtype=np.int32)
        times = np.zeros((len(length), c), dtype=np.int16)
        found: list[tuple[Int, Int, Bool]] = []
        for number in range(int(length.max(initial=0))):
            people = np.flatnonzero(length > number)
            visit = first[people] + number
            state, stratum = visits.state[visit], visits.stratum[visit]
            key = stratum * self._n_states + state
            row_of = np.full(len(length), -1, dtype=np.int64)
            row_of[people] = np.arange(len(people))
            held = held[np.flatnonzero(row_of[held // c] >= 0)]
            given = self._given(last, times, held, row_of, state, stratum, number)
            before = np.minimum(had[people] + 1, len(self._after) - 1) if number else np.zeros(len(people), np.int64)
            size = self._draw_size(key, state, given, self._after[before], rng)
            row, code = self._draw_codes(visits, visit, key, size, given, rng)
            who = people[row]
            recurs = last[who, code] >= 0
            found.append((visit[row], code, recurs))
            held = np.concatenate([held, (who * c + code)[np.flatnonzero(~recurs)]])
            held.sort()
            last[who, code] = number
            times[who, code] += 1
            if self._satellites is not None:
                found += self._satellites.draw(visits, visit, people, (row, code), last, times, number, rng)
            had[people] = np.bincount(row, minlength=len(people))
        visit, code, again = (np.concatenate(parts) for parts in zip(*found, strict=True))
        key = (visit * c + code) * 2 + again
        key.sort()
        visit = key // (2 * c)
        code = (key >> 1) - visit * c
        return Present(visit=visit, code=code, recurs=(key & 1).astype(bool))

    def _given(
        self,
        last: npt.NDArray[np.int32],
        times: npt.NDArray[np.int16],
        held: Int,
        row_of: Int,
        state: Int,
        stratum: Int,
        now: int,
    ) -> Given:
        """Return the odds of the codes that people have had, and those of the visit before as company."""
        if not now:
            none = np.zeros(0, dtype=np.int64)
            return Given(row=none, thing=none, odds=np.zeros(0), context_row=none, context=none)
        who = held // self._n_codes
        row, code = row_of[who], held - who * self._n_codes
        just = last[who, code] == now - 1
        odds = self._again[np.where(just, 0, 1), state[row], code] * self._lift[stratum[row], code]
        band = np.minimum(times[who, code], self._count_lift.shape[1]) - 1
        odds *= self._count_lift[code, band]
        source = self._company.source[np.where(just, BEFORE, EARLIER) * self._n_codes + code]
        context = source >= 0
        return Given(row=row, thing=code, odds=odds, context_row=row[context], context=source[context])

    def _draw_size(self, key: Int, state: Int, given: Given, after: Float, rng: np.random.Generator) -> Int:
        """Return the number of codes of each visit: P(n) in proportion to its tilt and to all sets of n codes.

        What the visits before add to the odds of all codes together makes it likelier that there is a code at all.
        """
        table = self._sizes if self._tilt is None else self._tilt
        assert table is not None
        weight = (table[state] * after).T
        if self._powers is not None:
            for n in range(1, self._most + 1):
                mine = given.times(self._of_size[n - 1, given.thing])
                weight[n] *= polynomials(self._law, self._powers, key + (n - 1) * self._n_keys, mine, n)[n]
            weight[1:] *= self._law.moved(key, given.times(self._of_size[0, given.thing]))
        running = np.cumsum(weight, axis=0)
        u = rng.random(len(key)) * running[-1]
        return np.asarray(np.minimum((running <= u).sum(axis=0), self._most), dtype=np.int64)

    def _draw_codes(
        self, visits: VisitContext, visit: Int, key: Int, size: Int, given: Given, rng: np.random.Generator
    ) -> tuple[Int, Int]:
        """Return (row, code) of `size` codes for each of `visit`."""
        some = np.flatnonzero(size > 0)
        mine = given.times(self._of_size[size[given.row] - 1, given.thing]).of(some, len(key))
        place = key[some] + (size[some] - 1) * self._n_keys
        row, code = self._law.draw(place, size[some], mine, rng, self._allowed(visits, visit[some]))
        return some[row], code

    def _allowed(self, visits: VisitContext, visit: Int) -> Allowed | None:
        if not len(self._limited):
            return None
        sex, low, high = self._limits
        return Allowed(
            things=self._limited,
            check=lambda row, code: visits.allows(visit[row], sex[code], low[code], high[code]),
        )
