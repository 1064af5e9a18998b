"""Sets of so many things: drawn one after the other by their odds, which the things already there raise or lower."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ehrsynth.native import Native, compiled
from ehrsynth.probability.company import (
    BEFORE,
    EARLIER,
    KINDS,
    SAME,
    Allowed,
    Company,
    Given,
)
from ehrsynth.probability.ragged import ranges, starts

__all__ = ["BEFORE", "EARLIER", "KINDS", "SAME", "Allowed", "Company", "Given", "SetLaw", "polynomials"]

Int = npt.NDArray[np.int64]
Float = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]

_TRIES = 60
"""Draws in proportion to an envelope until one is accepted; then from the exact weights of all things."""
_LEAST_MOVED = 0.02
_FEW_PLACES = 400_000
"""Rows times things of which it is written down where the odds of each are."""
_FEW_CELLS = 24_000
"""So few weights are sooner computed than drawn by trial."""


class SetLaw:
    """Odds of things by key, made ready for drawing many sets.

    Parameters
    ----------
    odds : float64[K, C]
    company : Company
    """

    def __init__(self, odds: Float, company: Company) -> None:
        self.odds, self.company = odds, company
        self.n_keys, self.n_things = odds.shape
        running = np.cumsum(odds, axis=1)
        self.total = running[:, -1].copy() if self.n_things else np.zeros(self.n_keys)
        scaled = running / np.maximum(self.total, 1e-300)[:, None]
        # One ascending array, so that one search answers all rows.
        scaled += np.arange(self.n_keys)[:, None]
        self._running = scaled.reshape(-1)
        self._last = self.n_things - 1 - np.argmax(odds[:, ::-1] > 0, axis=1)
        self._pull = np.zeros((self.n_keys, company.n_sources))
        if company.n_sources:
            raised = np.maximum(company.boost, 0.0)
            # By plain sums of segments: the last digits of BLAS depend on threads.
            for low in range(0, self.n_keys, 64):
                part = odds[low : low + 64, company.thing] * raised
                self._pull[low : low + 64] = np.add.reduceat(part, company.start, axis=1)

    def moved(self, key: Int, given: Given) -> Float:
        """Return what the company given multiplies the summed odds of all things by, float64[rows]."""
        company = self.company
        before = self.total[key] + np.bincount(given.row, given.odds, minlength=len(key))
        at = np.repeat(np.arange(len(given.context)), company.count[given.context])
        moves = ranges(company.start[given.context], company.count[given.context])
        row = given.context_row[at]
        added = self.odds[key[row], company.thing[moves]] * company.boost[moves]
        mine = row * self.n_things + company.thing[moves]
        had = given.row * self.n_things + given.thing
        if len(had):
            found = np.minimum(np.searchsorted(had, mine), len(had) - 1)
            added = np.where(had[found] == mine, given.odds[found] * company.boost[moves], added)
        after = before + np.bincount(row, added, minlength=len(key))
        return np.asarray(np.clip(after / np.maximum(before, 1e-300), _LEAST_MOVED, 1.0 / _LEAST_MOVED))

    def powers(self, n: int) -> Float:
        """Return the sums over things of odds ** k, k = 1..n, float64[n, K]."""
        return np.stack([(self.odds**k).sum(axis=1) for k in range(1, n + 1)])

    def draw(
        self, key: Int, size: Int, given: Given, rng: np.random.Generator, allowed: Allowed | None = None
    ) -> tuple[Int, Int]:
        """Return (row, thing) of `size` different things for each row, ascending; fewer where fewer are possible.

        Parameters
        ----------
        key, size : int64[n]
        given : Given
        rng : numpy.random.Generator
        allowed : Allowed, optional
        """
        return _Draw(self, key, size, given, allowed).run(rng)


class _Draw:
    def __init__(self, law: SetLaw, key: Int, size: Int, given: Given, allowed: Allowed | None) -> None:
        self.law, self.key, self.size, self.given, self.allowed = law, key, size, given, allowed
        n, width = len(key), int(size.max(initial=0))
        self.chosen = np.full((n, width), -1, dtype=np.int64)
        counts = np.bincount(given.context_row, minlength=n).astype(np.int64)
        self.n_context = int(counts.max(initial=0))
        self.context = np.full((n, self.n_context + width), -1, dtype=np.int64)
        place = np.arange(len(given.context_row)) - np.repeat(starts(counts), counts)
        self.context[given.context_row, place] = given.context
        self.start = np.searchsorted(given.row, np.arange(n + 1))
        self.limited = np.zeros(law.n_things, dtype=bool)
        if allowed is not None:
            self.limited[allowed.things] = True
        self.given_key = given.row * law.n_things + given.thing
        # Where there are few rows and things a table of places is sooner made than keys are searched.
        self.place = None
        if 0 < n * law.n_things <= _FEW_PLACES:
            self.place = np.full(n * law.n_things, -1, dtype=np.int32)
            self.place[self.given_key] = np.arange(len(self.given_key))
        self.raised, self.lowered = np.ones(len(given.row)), np.ones(len(given.row))
        self._weigh(given.context_row, given.context)

    def _weigh(self, row: Int, source: Int) -> None:
        """Let company change the weights of things with odds of their own."""
        company = self.law.company
        there = (source >= 0).nonzero()[0]
        if not len(there) or not len(self.given_key):
            return
        count, start = company.count[source[there]], company.start[source[there]]
        at = ranges(start, count)
        wanted = np.repeat(row[there], count) * self.law.n_things + company.thing[at]
        if self.place is not None:
            found = self.place[wanted]
            mine = (found >= 0).nonzero()[0]
        else:
            found = np.minimum(self.given_key.searchsorted(wanted), len(self.given_key) - 1)
            mine = (self.given_key[found] == wanted).nonzero()[0]
        found, boost = found[mine], company.boost[at[mine]]
        np.add.at(self.raised, found, np.maximum(boost, 0.0))
        np.multiply.at(self.lowered, found, 1.0 + np.minimum(boost, 0.0))

    def run(self, rng: np.random.Generator) -> tuple[Int, Int]:
        native = compiled()
        if native is None or not len(self.key):
            self._places(rng)
        else:
            self._run_compiled(native, rng)
        row, column = np.nonzero(self.chosen >= 0)
        # One number each sorts many times faster than finding their order.
        key = row * self.law.n_things + self.chosen[row, column]
        key.sort()
        return row, key - row * self.law.n_things

    def _places(self, rng: np.random.Generator) -> None:
        for place in range(self.chosen.shape[1]):
            rows = (self.size > place).nonzero()[0]
            weight = self.given.odds * self.raised * self.lowered
            todo = rows
            for _ in range(_TRIES):
                thing = self._envelope(todo, weight, rng)
                known = thing != -1
                fine = known & self._accept(todo, thing, rng)
                self.chosen[todo[fine], place] = thing[fine]
                todo = todo[~fine]
                if len(todo) * self.law.n_things <= _FEW_CELLS:
                    break
            for low in range(0, len(todo), 512):
                self._exactly(todo[low : low + 512], place, weight, rng)
            self._joined(rows, place)

    def _run_compiled(self, native: Native, rng: np.random.Generator) -> None:
        """Do what `_places` does, by the same steps in C."""
        law, company, given = self.law, self.law.company, self.given
        limit, fine = np.full(law.n_things, -1, dtype=np.int64), np.zeros((len(self.key), 0), dtype=bool)
        if self.allowed is not None:
            things = self.allowed.things
            limit[things] = np.arange(len(things))
            rows = np.arange(len(self.key))
            fine = np.broadcast_to(self.allowed.check(rows[:, None], things[None, :]), (len(rows), len(things)))
        arrays = (
            self.key,
            self.size,
            law.odds,
            law._running,
            law._last,
            law.total,
            law._pull,
            company.source,
            company.thing,
            company.boost,
            company.count,
            company.start,
            company.lowering,
            given.thing,
            given.odds,
            self.start,
            limit,
            fine,
            self.chosen,
            self.context,
            self.raised,
            self.lowered,
        )
        settings = law.n_things, self.n_context, company.lowers, _TRIES, _FEW_CELLS
        native.sets(tuple(np.ascontiguousarray(one) for one in arrays), settings, rng.bit_generator.capsule)

    def _joined(self, rows: Int, place: int) -> None:
        """Make what was just drawn company of what follows."""
        rows = rows[self.chosen[rows, place] >= 0]
        thing = self.chosen[rows, place]
        if len(self.given_key):
            key = rows * self.law.n_things + thing
            found = np.minimum(self.given_key.searchsorted(key), len(self.given_key) - 1)
            self.lowered[found[self.given_key[found] == key]] = 0.0
        more = rows[self.size[rows] > place + 1]
        source = self.law.company.source[self.chosen[more, place]]
        self.context[more, self.n_context + place] = source
        self._weigh(more, source)

    def _envelope(self, rows: Int, weight: Float, rng: np.random.Generator) -> Int:
        """Draw a thing for each row without regard to what makes it impossible or less likely; -1: none."""
        law, key = self.law, self.key[rows]
        first, last = self.start[rows], self.start[rows + 1]
        running = np.concatenate(([0.0], np.cumsum(weight)))
        base, own = law.total[key], running[last] - running[first]
        context = self.context[rows]
        if law.company.n_sources:
            pull = np.where(context >= 0, law._pull[key[:, None], np.maximum(context, 0)], 0.0)
        else:
            pull = np.zeros(context.shape)
        pulls = np.cumsum(pull, axis=1)
        company = pulls[:, -1] if pulls.shape[1] else np.zeros(len(rows))
        total = base + own + company
        u = rng.random(len(rows)) * total
        result = np.full(len(rows), -1, dtype=np.int64)
        of_base = ((u < base) & (base > 0)).nonzero()[0]
        k = key[of_base]
        found = law._running.searchsorted(k + u[of_base] / base[of_base], side="right") - k * law.n_things
        result[of_base] = np.clip(found, 0, law._last[k])
        mine = ((u >= base) & (u < base + own)).nonzero()[0]
        at = running.searchsorted(running[first[mine]] + (u[mine] - base[mine]), side="right") - 1
        result[mine] = -2 - np.clip(at, first[mine], last[mine] - 1)
        drawn = ((u >= base + own) & (company > 0)).nonzero()[0]
        if len(drawn):
            rest = u[drawn] - base[drawn] - own[drawn]
            column = np.minimum((pulls[drawn] <= rest[:, None]).sum(axis=1), pulls.shape[1] - 1)
            source = context[drawn, column]
            fits = source >= 0
            drawn, source = drawn[fits], source[fits]
            result[drawn] = self._of_source(key[drawn], source, rng)
        return result

    def _of_source(self, key: Int, source: Int, rng: np.random.Generator) -> Int:
        """Draw one of the things that each source raises, in proportion to what it adds."""
        law, company = self.law, self.law.company
        count = company.count[source]
        at = ranges(company.start[source], count)
        added = law.odds[np.repeat(key, count), company.thing[at]] * np.maximum(company.boost[at], 0.0)
        running = np.concatenate(([0.0], np.cumsum(added)))
        start = starts(count)
        low, high = running[start], running[start + count]
        found = running.searchsorted(low + rng.random(len(key)) * (high - low), side="right") - 1
        return np.asarray(company.thing[at[np.clip(found, start, start + count - 1)]])

    def _accept(self, rows: Int, thing: Int, rng: np.random.Generator) -> Bool:
        """Accept what was drawn with the probability that its exact weight has of the envelope's."""
        law = self.law
        own = thing <= -2
        thing[own] = self.given.thing[-2 - thing[own]]
        safe = np.maximum(thing, 0)
        fine = ~(self.chosen[rows] == safe[:, None]).any(axis=1)
        other = (~own).nonzero()[0]
        if len(self.given_key):
            key = rows[other] * law.n_things + safe[other]
            found = np.minimum(self.given_key.searchsorted(key), len(self.given_key) - 1)
            fine[other] &= self.given_key[found] != key
        if law.company.lowers:
            keep = np.ones(len(other))
            context = self.context[rows[other]]
            row, column = np.nonzero((context >= 0) & law.company.lowering[context])
            boost = law.company.between(context[row, column], safe[other[row]])
            lowers = (boost < 0).nonzero()[0]
            np.multiply.at(keep, row[lowers], 1.0 + boost[lowers])
            fine[other] &= rng.random(len(other)) < keep
        if self.allowed is not None:
            limited = self.limited[safe].nonzero()[0]
            fine[limited] &= self.allowed.check(rows[limited], safe[limited])
        return np.asarray(fine)

    def _company_of(self, rows: Int) -> Float:
        """Return what company multiplies the weights of all things of a few rows by."""
        company = self.law.company
        raised, lowered = np.ones((2, len(rows), self.law.n_things))
        for column in range(self.context.shape[1]):
            source = self.context[rows, column]
            there = (source >= 0).nonzero()[0]
            if not len(there):
                continue
            count = company.count[source[there]]
            at = ranges(company.start[source[there]], count)
            # Each source names a thing once, so that cells of one column differ.
            cell = np.repeat(there, count) * self.law.n_things + company.thing[at]
            boost = company.boost[at]
            raised.reshape(-1)[cell] += np.maximum(boost, 0.0)
            lowered.reshape(-1)[cell] *= 1.0 + np.minimum(boost, 0.0)
        return np.asarray(raised * lowered)

    def _exactly(self, rows: Int, place: int, weight: Float, rng: np.random.Generator) -> None:
        """Draw from the weights of all things of a few rows."""
        law = self.law
        table = law.odds[self.key[rows]]
        if (self.context[rows] >= 0).any():
            table *= self._company_of(rows)
        count = self.start[rows + 1] - self.start[rows]
        at = ranges(self.start[rows], count)
        table[np.repeat(np.arange(len(rows)), count), self.given.thing[at]] = weight[at]
        taken, slot = np.nonzero(self.chosen[rows] >= 0)
        table[taken, self.chosen[rows[taken], slot]] = 0.0
        if self.allowed is not None:
            things = self.allowed.things
            fine = np.broadcast_to(self.allowed.check(rows[:, None], things[None, :]), (len(rows), len(things)))
            table[:, things] *= fine.reshape(len(rows), -1)
        running = np.cumsum(table, axis=1)
        total = running[:, -1]
        u = rng.random(len(rows)) * total
        found = (running <= u[:, None]).sum(axis=1)
        last = law.n_things - 1 - np.argmax(table[:, ::-1] > 0, axis=1)
        self.chosen[rows, place] = np.where(total > 0, np.minimum(found, last), -1)


def polynomials(law: SetLaw, powers: Float, key: Int, given: Given, n: int) -> Float:
    """Return e_0..e_n of the odds of each row, float64[n + 1, rows]: the sums over all sets of so many things.

    Newton's identities on the sums of powers `SetLaw.powers`.
    """
    sums = powers[:, key].copy()
    old = law.odds[key[given.row], given.thing]
    for k in range(1, n + 1):
        sums[k - 1] += np.bincount(given.row, given.odds**k - old**k, minlength=len(key))
    e = np.zeros((n + 1, len(key)))
    e[0] = 1.0
    for m in range(1, n + 1):
        for i in range(1, m + 1):
            e[m] += (1 if i % 2 else -1) * e[m - i] * sums[i - 1]
        e[m] = np.maximum(e[m] / m, 0.0)
    return e
