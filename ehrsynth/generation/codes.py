"""Which codes of a family each visit has: an exact, sparse draw over all visits of a block at once."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from ehrsynth.generation.code_tables import CodeTables, lifted, rate
from ehrsynth.generation.recurrences import Recurrences, VisitContext
from ehrsynth.generation.segments import contains, first_of_each, ranges
from ehrsynth.model import CodeFamily, Strata

__all__ = ["CodeSampler", "Present", "VisitContext"]

Int = npt.NDArray[np.int64]
Float = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]

_AHEAD = 4  # visits drawn at a time where none may be empty
_WORK_CELLS = 2_000_000  # of any array that is made while drawing


@dataclass(frozen=True, kw_only=True)
class Present:
    """The codes of the visits, ordered by visit and in a visit parents first.

    Attributes
    ----------
    visit, code : int64[m]
        A code at most once in a visit.
    recurs : bool[m]
        The person had the code in an earlier visit.
    """

    visit: Int
    code: Int
    recurs: Bool

    def __len__(self) -> int:
        return len(self.visit)


class CodeSampler:
    """A family made ready for drawing many blocks.

    Independent Bernoulli draws of many rare codes are drawn as arrivals of a Poisson process, code c with the rate
    -log(1 - p_c): c is present if it arrives at all. So new codes cost what there are of them, not what there could be;
    strata share tables of the highest rates among them and arrivals are thinned to the exact ones (Lewis and Shedler
    1979, "Simulation of nonhomogeneous Poisson processes by thinning"). Codes that a person has had are drawn visit by
    visit, all visits at once: whether a visit has the code is a function of whether the one before has it, and
    compositions of such functions are resolved by their last constant.

    Parameters
    ----------
    family : CodeFamily
    strata : Strata
    truncated : bool[C], optional
        Every visit has at least one of these codes, whose parents are among them too; default: all or none, by the
        family's `zero_truncated`.

    Raises
    ------
    ModelError
        The tree of parents has a circle.
    """

    def __init__(self, family: CodeFamily, strata: Strata, truncated: Bool | None = None) -> None:
        if truncated is None:
            truncated = np.full(len(family.codings), family.zero_truncated)
        self._zero_truncated = bool(truncated.any())
        self._tables = CodeTables(family, strata, truncated)

    def draw(
        self,
        visits: VisitContext,
        rng: np.random.Generator,
        parents: Present | None = None,
        given: Present | None = None,
    ) -> Present:
        """Return the codes of `visits`.

        Parameters
        ----------
        visits : VisitContext
        rng : numpy.random.Generator
        parents : Present, optional
            Codes of the family that `parent` indexes, if it is another one; without, nobody has a parent.
        given : Present, optional
            Codes without parents of the family itself that the visits have; their tables say that they never come.
        """
        if not self._tables.n_codes or not len(visits):
            none = np.zeros(0, dtype=np.int64)
            return Present(visit=none, code=none, recurs=none.astype(bool))
        draw = _Draw(self._tables, visits, rng, parents)
        if given is not None:
            draw.give(given)
        if self._zero_truncated:
            keys = self._without_empty(draw)
        else:
            keys = draw.codes(visits.offsets[:-1], visits.offsets[1:], np.zeros(0, dtype=np.int64))
        visit, rank = np.divmod(keys >> 1, self._tables.n_codes)
        return Present(visit=visit, code=self._tables.code[rank], recurs=(keys & 1).astype(bool))

    def _without_empty(self, draw: _Draw) -> Int:
        """Return codes drawn given that no visit is without.

        Up to its first empty visit a record is a draw from the law already. There, the first code (parents first) is
        drawn given that there is one, and that visit's later codes and all later visits are drawn anew; and so on. A
        visit in which no code is possible at all stays empty. Few visits are drawn ahead: most would be drawn anew.
        """
        visits, t = draw.visits, self._tables
        hopeless = np.zeros(len(visits), dtype=bool)
        start, end = visits.offsets[:-1].copy(), visits.offsets[1:]
        kept = np.zeros(0, dtype=np.int64)
        while (start < end).any():
            stop = np.minimum(start + _AHEAD, end)
            keys = draw.codes(start, stop, kept)
            visit, rank = np.divmod(keys >> 1, t.n_codes)
            filled = np.zeros(len(visits), dtype=bool)
            filled[visit[t.truncated[rank]]] = True
            ahead = ranges(start, stop)
            empty = ahead[~filled[ahead] & ~hopeless[ahead]]
            first = empty[first_of_each(visits.patient[empty])]
            start = stop
            start[visits.patient[first]] = first
            kept = np.sort(np.concatenate([kept, keys[visit < start[visits.patient[visit]]]]))
            if len(first):
                chosen = draw.first_code(first, kept)
                hopeless[first[chosen < 0]] = True
                draw.first_rank[first] = chosen
        return kept


class _Draw:
    """One draw: its visits, its random numbers, and the codes forced into visits."""

    def __init__(
        self, tables: CodeTables, visits: VisitContext, rng: np.random.Generator, parents: Present | None
    ) -> None:
        self._t = tables
        self.visits = visits
        self.rng = rng
        # Of visits drawn given that they are not empty: the first rank present. Lower ones are absent.
        self.first_rank = np.full(len(visits), -1, dtype=np.int64)
        self._again = Recurrences(tables, visits, rng, self.first_rank)
        self._given = np.zeros(0, dtype=np.int64)
        self._outer = np.zeros(0, dtype=np.int64)
        if parents is not None and tables.n_parents:
            of_us = parents.code < tables.n_parents
            self._outer = np.sort(parents.visit[of_us] * tables.n_parents + parents.code[of_us])

    def give(self, given: Present) -> None:
        """Take codes as present, whatever is drawn."""
        rank = np.empty(self._t.n_codes, dtype=np.int64)
        rank[self._t.code] = np.arange(self._t.n_codes)
        self._given = np.sort(((given.visit * self._t.n_codes + rank[given.code]) << 1) + given.recurs)

    def codes(self, start: Int, stop: Int, before: Int) -> Int:
        """Draw the codes of each person's visits from `start` to `stop`, given those (sorted) of all `before`.

        Returns
        -------
        int64[m]
            Sorted; 2 * (visit * n_codes + rank), plus 1 if the person had the code before.
        """
        t = self._t
        visits = ranges(start, stop)
        # Most people are done when the last few long records are drawn: only the others' past is looked at.
        of = self.visits.patient[(before >> 1) // t.n_codes]
        before = before[start[of] < stop[of]]
        had = self._by_pair(before)
        parents = self._outer
        if len(parents):
            v = parents // t.n_parents
            patient = self.visits.patient[v]
            parents = parents[(v >= start[patient]) & (v < stop[patient])]
        first = visits[self.first_rank[visits] >= 0]
        first = first * t.n_codes + self.first_rank[first]
        levels = zip(
            self._by_level(self._arrivals(visits)),
            self._by_level(first),
            self._by_level(self._histories(start, stop, before)),
            strict=True,
        )
        found: list[Int] = []
        for new, forced, history in levels:
            parents = parents[t.child_count[parents % max(t.n_parents, 1)] > 0]
            if len(parents):
                new = np.concatenate([self._without_parent(new, parents), self._of_parents(parents)])
            present = self._with_recurrences(np.concatenate([new, forced]), history, start, stop, before, had)
            if not found and len(self._given):
                given = self._given
                at = (given >> 1) // t.n_codes
                patient = self.visits.patient[at]
                present = np.concatenate([present, given[(at >= start[patient]) & (at < stop[patient])]])
            found.append(present)
            if t.own_tree:
                parents = np.sort(present >> 1)
        return np.sort(np.concatenate(found))

    def _by_level(self, keys: Int) -> list[Int]:
        """Part visit * n_codes + rank by the level of the rank, each part in its order."""
        level = self._t.level[keys % self._t.n_codes]
        keys = keys[np.argsort(level, kind="stable")]
        edges = np.cumsum(np.bincount(level, minlength=self._t.n_levels))
        return [keys[low:high] for low, high in zip([0, *edges[:-1].tolist()], edges.tolist(), strict=True)]

    def _possible(self, visit: Int, rank: Int) -> Bool:
        """Whether sex and exact age allow each code in each visit."""
        t = self._t
        return self.visits.allows(visit, t.sex_limit[rank], t.age_min[rank], t.age_max[rank])

    def _after_first(self, visit: Int, rank: Int) -> Bool:
        """Whether each code may be drawn: below the first of those that fill a visit, none of them is present."""
        return (rank > self.first_rank[visit]) | ~self._t.truncated[rank]

    def _arrivals(self, visits: Int) -> Int:
        """Draw codes at their rates without history or parent; sorted visit * n_codes + rank."""
        t = self._t
        n_states = len(t.never) // t.n_codes
        row = t.group[self.visits.stratum[visits]] * n_states + self.visits.state[visits]
        count = self.rng.poisson(t.row_total[row])
        visit, row = np.repeat(visits, count), np.repeat(row, count)
        u, keep = self.rng.random((2, len(visit)))
        rank = np.searchsorted(t.running, t.row_start[row] + u * t.row_total[row], side="right") - row * t.n_codes
        rank = np.clip(rank, 0, t.n_codes - 1)
        state, stratum = self.visits.state[visit], self.visits.stratum[visit]
        never = t.never[state * t.n_codes + rank]
        exact = rate(lifted(never, t.lift[stratum * t.n_codes + rank]))
        envelope = rate(lifted(never, t.highest[t.group[stratum] * t.n_codes + rank]))
        kept = (keep * envelope < exact) & self._possible(visit, rank) & self._after_first(visit, rank)
        keys = np.sort(visit[kept] * t.n_codes + rank[kept])
        return keys[first_of_each(keys)]

    def _without_parent(self, keys: Int, parents: Int) -> Int:
        """Return those of `keys` whose parent is not in the same visit."""
        t = self._t
        visit, rank = np.divmod(keys, t.n_codes)
        parent = t.parent[rank]
        return keys[(parent < 0) | ~contains(parents, visit * t.n_parents + parent)]

    def _of_parents(self, parents: Int) -> Int:
        """Draw the children of the `parents` present, as new codes."""
        t = self._t
        visit, parent = np.divmod(parents, t.n_parents)
        count = t.child_count[parent]
        first = t.child_start[parent]
        visit = np.repeat(visit, count)
        rank = t.children[ranges(first, first + count)]
        u = self.rng.random(len(visit))
        p = self._probability(t.with_parent, visit, rank)
        kept = np.flatnonzero((u < p) & self._after_first(visit, rank))
        kept = kept[self._possible(visit[kept], rank[kept])]
        return np.asarray(visit[kept] * t.n_codes + rank[kept])

    def _probability(self, table: npt.NDArray[np.float32], visit: Int, rank: Int) -> Float:
        t = self._t
        c = t.n_codes
        lift = t.lift[self.visits.stratum[visit] * c + rank]
        return lifted(table[self.visits.state[visit] * c + rank], lift)

    def _histories(self, start: Int, stop: Int, before: Int) -> Int:
        """Return the codes each person has had, as keys of the visit before the first to draw."""
        t = self._t
        visit, rank = np.divmod(before >> 1, t.n_codes)
        patient = self.visits.patient[visit]
        more = start[patient] < stop[patient]
        pair = np.sort(patient[more] * t.n_codes + rank[more])
        pair = pair[first_of_each(pair)]
        return np.asarray((start[pair // t.n_codes] - 1) * t.n_codes + pair % t.n_codes)

    def _with_recurrences(
        self, new: Int, history: Int, start: Int, stop: Int, before: Int, had: tuple[Int, Int]
    ) -> Int:
        """Keep the first of each person's new codes that have no history, and draw what recurs of all."""
        t = self._t
        if not len(new) and not len(history):
            return new
        visit, rank = np.divmod(np.concatenate([history, new]), t.n_codes)
        patient = self.visits.patient[visit]
        order = np.argsort((patient * t.n_codes + rank) * len(self.visits) + visit, kind="stable")
        patient, visit, rank = patient[order], visit[order], rank[order]
        first = first_of_each(patient * t.n_codes + rank)
        patient, visit, rank = patient[first], visit[first], rank[first]
        is_new: Bool = np.asarray(visit >= start[patient])
        found = [(visit[is_new] * t.n_codes + rank[is_new]) << 1]
        present: Bool = np.asarray(is_new | contains(before >> 1, visit * t.n_codes + rank))
        times, last = np.ones(len(visit), dtype=np.int64), visit
        if len(history):
            pairs = patient * t.n_codes + rank
            end = np.searchsorted(had[0], pairs, side="right")
            earlier, latest = end - np.searchsorted(had[0], pairs), had[1][np.maximum(end - 1, 0)]
            times = np.where(is_new, 1, np.maximum(earlier, 1))
            last = np.where(is_new | (earlier == 0), visit, latest)
        # In pieces: a record of many visits and many codes has many pairs of them.
        later = np.asarray(np.where(t.comes_again[rank], stop[patient] - visit - 1, 0), dtype=np.int64)
        piece: Int = np.asarray(np.cumsum(later) // _WORK_CELLS)
        edges = np.searchsorted(piece, np.arange(piece[-1] + 2)) if len(piece) else np.zeros(0, dtype=np.int64)
        for low, high in pairwise(edges):
            some = slice(low, high)
            found += self._again.draw(visit[some], rank[some], present[some], times[some], last[some], later[some])
        return np.concatenate(found)

    def _of_history(self, lift: Float, visits: Int, visit: Int, rank: Int, row: Int) -> None:
        """Multiply the odds multipliers of codes in `visits` by what the codes (visit, rank) of all before say."""
        t = self._t
        mine = np.flatnonzero(row >= 0)
        pair = row[mine] * t.n_codes + rank[mine]
        order = np.argsort(pair, kind="stable")
        pair, latest = pair[order], visit[mine][order]
        first = np.flatnonzero(first_of_each(pair))
        times = np.diff(np.append(first, len(pair)))
        cell, latest = pair[first], latest[first + times - 1]
        at, code = np.divmod(cell, t.n_codes)
        factor = t.of_count(code, times)
        if self.visits.day is not None:
            factor *= t.of_days(code, self.visits.day[visits[at]] - self.visits.day[latest])
        lift.reshape(-1)[cell] *= factor

    def _by_pair(self, keys: Int) -> tuple[Int, Int]:
        """Return (patient * n_codes + rank, visit) of the codes, sorted by both."""
        visit, rank = np.divmod(keys >> 1, self._t.n_codes)
        pair = self.visits.patient[visit] * self._t.n_codes + rank
        order = np.argsort(pair, kind="stable")
        return pair[order], visit[order]

    def first_code(self, visits: Int, before: Int) -> Int:
        """Draw the first code of each of `visits` (at most one a person) given that it has one; -1: none is possible.

        With all lower ranks absent, a code's own parent is absent too: the chance that rank c is the first is
        p_c * prod_{b < c} (1 - p_b), with the probabilities of codes without parents (but for parents elsewhere).
        """
        t = self._t
        chosen = np.full(len(visits), -1, dtype=np.int64)
        step = max(1, _WORK_CELLS // t.n_codes)
        for low in range(0, len(visits), step):
            some = visits[low : low + step]
            running = np.cumsum(rate(self._dense(some, before) * t.truncated), axis=1)
            total = running[:, -1]
            arrival = -np.log1p(self.rng.random(len(some)) * np.expm1(-total))
            rank = (running <= arrival[:, None]).sum(axis=1)
            # A rounding past the end is the last code that is possible.
            last = (running < total[:, None]).sum(axis=1)
            chosen[low : low + step] = np.where(total > 0, np.minimum(rank, last), -1)
        return chosen

    def _dense(self, visits: Int, before: Int) -> Float:
        """Return P(rank | history, no lower rank) of all codes in each of `visits`, float64[n, C]."""
        t = self._t
        n, c = len(visits), t.n_codes
        codes = np.arange(c)
        table = t.never.reshape(-1, c)[self.visits.state[visits]]
        row_of_patient = np.full(len(self.visits.offsets) - 1, -1, dtype=np.int64)
        row_of_patient[self.visits.patient[visits]] = np.arange(n)
        if len(self._outer):
            visit, parent = np.divmod(self._outer, t.n_parents)
            row = row_of_patient[self.visits.patient[visit]]
            here = np.flatnonzero((row >= 0) & (visits[row] == visit))
            count, first = t.child_count[parent[here]], t.child_start[parent[here]]
            child, row = t.children[ranges(first, first + count)], np.repeat(row[here], count)
            table[row, child] = t.with_parent[self.visits.state[visits[row]] * c + child]
        visit, rank = np.divmod(before >> 1, c)
        row = row_of_patient[self.visits.patient[visit]]
        for just_before, column in ((False, 1), (True, 0)):
            had = np.flatnonzero((row >= 0) & ((visit == visits[row] - 1) | (not just_before)))
            table[row[had], rank[had]] = t.again[self.visits.state[visits[row[had]]] * c + rank[had], column]
        lift = t.lift.reshape(-1, c)[self.visits.stratum[visits]].astype(np.float64)
        self._of_history(lift, visits, visit, rank, row)
        possible = self._possible(np.repeat(visits, c), np.tile(codes, n)).reshape(n, c)
        return np.where(possible, lifted(table, lift), 0.0)
