"""Which codes keep each other's company: what is left to say of visits of few codes once states and histories spoke.

Codes are drawn for the visits of the source from what was learned, given each visit's history and number of codes;
where a code, a recurrence or a pair comes more or less often than observed, its odds are moved, and so on for some
rounds (moment matching by stochastic approximation; Robbins and Monro 1951). Only counts are read from the source.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ehrsynth.encoding.discretise import distinct_patients
from ehrsynth.learning.company_counts import COUNT_BANDS, SIZES_BEFORE, Counts, Pairs, Part, codes_of, prepare, total
from ehrsynth.learning.evidence import sum_by
from ehrsynth.learning.families import StatePosterior
from ehrsynth.learning.parameters import CodeTables
from ehrsynth.learning.shrinkage import likely_counts
from ehrsynth.probability.sets import BEFORE, SAME, Company, Given, SetLaw, polynomials

__all__ = ["LearnedCompany", "learn_company"]

Ints = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]

_STEPS = (1.0, 1.0, 1.0, 1.0, 0.7, 0.5, 0.4, 0.3, 0.25, 0.2)
_WITHOUT_COMPANY = 2
_WARMER = 2
"""More rounds without company where visits have places: from these it is told how often pairs come by themselves."""
_SHRINK = 3.0
_MOST_PAIRS = 10_000
_LEAST_Z2 = 2.5
_LEAST_SHRUNK_Z2 = 0.5
"""As `_LEAST_Z2`, of pairs that were seen so often that chance has no part in it."""
_LEAST_EXPECTED = 0.5
_MOST_VISITS = 150_000
"""Visits that are drawn for in each round: more do not tell more of the pairs that are common enough to count."""
_SIZE_STRENGTH = 20.0
_SIZE_ROUNDS, _TILT_STEPS = 2, 8
_LARGEST_AFTER = 50.0
_LARGEST = 5.0
_LARGEST_PAIR = 12.0
"""Two names of one illness go together whatever the odds of each."""
_MOST = 1.0 - 1e-6


@dataclass(frozen=True, kw_only=True, eq=False)
class LearnedCompany:
    """What was learned besides the tables.

    Attributes
    ----------
    size_lift : float64[C, N]
        Of the odds of each code in visits of n codes, n = 1..N.
    count_lift : float64[C, B]
        Of the odds of a code had in b earlier visits.
    company : int32[m, 3]
    boost : float64[m]
    tilt : float64[Q, N + 1] or None
    size_after : float64[SIZES_BEFORE, N + 1]
        See `ehrsynth.model.CodeFamily`.
    """

    size_lift: Doubles
    count_lift: Doubles
    company: npt.NDArray[np.int32]
    boost: Doubles
    tilt: Doubles | None
    size_after: Doubles


@dataclass(frozen=True, kw_only=True, eq=False)
class _State:
    """Logarithms of what is learned."""

    sized: Doubles
    again: Doubles
    company: npt.NDArray[np.int64]
    pair: Doubles

    def of_company(self, n_codes: int) -> Company:
        boost = np.expm1(np.clip(self.pair, -_LARGEST, _LARGEST_PAIR))
        kind, given, code = self.company.T
        # Company in a visit is mutual.
        back = kind == SAME
        return Company(
            n_codes,
            np.concatenate([kind, kind[back]]),
            np.concatenate([given, code[back]]),
            np.concatenate([code, given[back]]),
            np.concatenate([boost, boost[back]]),
        )


class _Tables:
    def __init__(self, tables: CodeTables, lift: Doubles) -> None:
        self.never, previous, earlier = (
            one / (1.0 - one)
            for one in (np.clip(one, 0.0, _MOST) for one in (tables.never, tables.previous, tables.earlier))
        )
        self.again = np.stack([previous, earlier])
        # Satellites take no place.
        self.own = tables.parent < 0
        self.never[:, ~self.own] = 0.0
        self.lift = lift
        self.n_states, self.n_codes = self.never.shape

    def law(self, state: _State, size: int, company: Company) -> SetLaw:
        """Return the law of visits of `size` codes."""
        odds = (self.lift * np.exp(state.sized[:, size - 1]))[:, None, :] * self.never
        return SetLaw(odds.reshape(-1, self.n_codes), company)

    def given(self, part: Part, states: npt.NDArray[np.int16], state: _State, company: Company) -> Given:
        row, code = part.had_row, part.had_code
        odds = self.again[part.had_kind, states[row], code] * self.lift[part.stratum[row], code]
        odds *= np.exp(state.again[code, part.had_band])
        source = company.source[(BEFORE + part.had_kind) * self.n_codes + code]
        there = source >= 0
        return Given(row=row, thing=code, odds=odds, context_row=row[there], context=source[there])


def learn_company(
    posteriors: Iterable[StatePosterior],
    tables: CodeTables,
    lift: Doubles,
    *,
    n_visits: int,
    n_slots: int,
    sizes: Doubles | None,
    min_patients: int,
    generator: np.random.Generator,
) -> LearnedCompany:
    """Return what moves the odds of the conditions of visits of at most `n_slots`.

    Parameters
    ----------
    posteriors : iterable of StatePosterior
    tables : CodeTables
        Of the conditions. Those with a parent are satellites, of which nothing is said.
    lift : float64[R, C]
    n_visits : int
        Of all chunks.
    n_slots : int
    sizes : float64[Q, N + 1] or None
        P(number of codes | state) where visits have slots. Without, the number follows from the odds (`tilt`).
    min_patients : int
        No pair of fewer people is learned.
    generator : numpy Generator
    """
    of, pairs = _Tables(tables, lift), Pairs(tables.never.shape[1])
    warmer = _WARMER if sizes is not None else 0
    steps = (1.0,) * warmer + _STEPS
    parts = _parts(posteriors, n_visits, n_slots, of, len(steps), generator)
    c = of.n_codes
    observed = total([pairs.of(part, part.row, part.code, c) for part in parts])
    state = _State(
        sized=np.zeros((c, n_slots)),
        again=np.zeros((c, COUNT_BANDS)),
        company=np.zeros((0, 3), dtype=np.int64),
        pair=np.zeros(0),
    )
    few = _few(parts, c, min_patients)
    warm: list[Counts] = []
    for round_, step in enumerate(steps):
        made = total([pairs.of(part, *_drawn(part, part.states[round_], of, state, generator), c) for part in parts])
        state = _moved(state, observed, made, step, few, pairs.n)
        if round_ < _WITHOUT_COMPANY + warmer:
            warm.append(made)
        if round_ == _WITHOUT_COMPANY + warmer - 1:
            state = _with_pairs(
                state,
                observed,
                np.mean([one.pairs for one in warm[-1 - warmer :]], axis=0),
                pairs,
                pairs.people(parts),
                min_patients,
                places=sizes is not None,
            )
    tilt, after = _sizes(parts, of, state, n_slots, sizes)
    whole = state.of_company(c)
    kind, given = np.divmod(whole.keys // c, c)
    return LearnedCompany(
        size_lift=np.exp(state.sized),
        count_lift=np.exp(state.again),
        company=np.column_stack([kind, given, whole.thing]).astype(np.int32),
        boost=whole.boost,
        tilt=tilt,
        size_after=after,
    )


def _drawn(
    part: Part, states: npt.NDArray[np.int16], of: _Tables, state: _State, generator: np.random.Generator
) -> tuple[Ints, Ints]:
    """Draw codes for the visits of a part: (visit, code), visits ascending."""
    company = state.of_company(of.n_codes)
    given = of.given(part, states, state, company)
    key = part.stratum * of.n_states + states
    # In a chunk of few visits it may be that none has a code.
    found = [(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))]
    for size in range(1, part.n_slots + 1):
        visits = np.flatnonzero(part.size == size)
        if len(visits):
            mine = given.of(visits, part.n_visits, np.exp(state.sized[:, size - 1]))
            law = of.law(state, size, company)
            row, code = law.draw(key[visits], part.size[visits], mine, generator)
            found.append((visits[row], code))
    row, code = (np.concatenate(both) for both in zip(*found, strict=True))
    order = np.argsort(row, kind="stable")
    return row[order], code[order]


def _parts(
    posteriors: Iterable[StatePosterior],
    n_visits: int,
    n_slots: int,
    of: _Tables,
    n_rounds: int,
    generator: np.random.Generator,
) -> list[Part]:
    sizes = np.zeros((n_slots + 1, of.n_states))
    for chunk in posteriors:
        row, _ = codes_of(chunk, of.own)
        size = np.minimum(np.bincount(row, minlength=len(chunk.stratum)), n_slots)
        sizes += sum_by(size, chunk.gamma, n_slots + 1)
    margin = sizes.sum(axis=1) / sizes.sum()
    share = sizes.T + _SIZE_STRENGTH * margin
    share /= share.sum(axis=1, keepdims=True)
    every = max(1, -(-n_visits // _MOST_VISITS))
    return [
        prepare(chunk, n_slots, share, of.own, n_rounds, generator)
        for number, chunk in enumerate(posteriors)
        if number % every == 0
    ]


def _few(parts: list[Part], n_codes: int, min_patients: int) -> npt.NDArray[np.bool_]:
    """Return which counts of earlier visits too few people have had a code in, bool[C, B]."""
    people = np.zeros(n_codes * COUNT_BANDS, dtype=np.int64)
    for part in parts:
        cell = part.had_code * COUNT_BANDS + part.had_band
        people += distinct_patients(cell, part.patient[part.had_row], n_codes * COUNT_BANDS)
    result: npt.NDArray[np.bool_] = people.reshape(n_codes, COUNT_BANDS) < min_patients
    return result


def _log_ratio(observed: Doubles, made: Doubles) -> Doubles:
    result: Doubles = np.log((observed + _SHRINK) / (made + _SHRINK))
    return result


def _moved(state: _State, observed: Counts, made: Counts, step: float, few: npt.NDArray[np.bool_], n: int) -> _State:
    again = state.again + step * _log_ratio(observed.again, made.again).reshape(state.again.shape)
    for band in range(COUNT_BANDS):
        # What too few people show is taken from one count less.
        again[:, band] = np.where(few[:, band], again[:, band - 1] if band else 0.0, again[:, band])
    kind, given, code = state.company.T
    cell = kind, given * n + code
    move = _log_ratio(observed.pairs[cell].astype(np.float64), made.pairs[cell].astype(np.float64))
    return replace(
        state,
        sized=np.clip(
            state.sized + step * _log_ratio(observed.sized, made.sized).reshape(state.sized.shape), -_LARGEST, _LARGEST
        ),
        again=np.clip(again, -_LARGEST, _LARGEST),
        pair=np.clip(state.pair + step * move, -_LARGEST, _LARGEST_PAIR),
    )


def _with_pairs(
    state: _State,
    observed: Counts,
    made: Doubles,
    pairs: Pairs,
    people: npt.NDArray[np.int64],
    min_patients: int,
    *,
    places: bool,
) -> _State:
    """Take in the pairs that come more or less often than without company, float[3, T * T] `made`.

    Where visits have `places` what one pair has is taken from others, and what is chance in it with it: then pairs are
    to come as often as is likely given all pairs, not as often as they were seen.
    """
    seen = np.where(people >= min_patients, observed.pairs, np.minimum(made, min_patients / 2))
    z2 = (seen - made) ** 2 / (made + 1.0)
    least = _LEAST_Z2
    if places:
        known = people >= min_patients
        seen = np.stack([likely_counts(*one, min_patients) for one in zip(observed.pairs, made, known, strict=True)])
        z2 = (seen - made) ** 2 / np.maximum(made, _LEAST_EXPECTED)
        least = _LEAST_SHRUNK_Z2
    flat = z2.reshape(-1)
    chosen = np.flatnonzero(flat >= least)
    chosen = np.sort(chosen[np.argsort(-flat[chosen], kind="stable")[:_MOST_PAIRS]])
    kind, cell = np.divmod(chosen, pairs.n**2)
    # Of pairs of too few people it is known only that they are few.
    observed.pairs[kind, cell] = seen[kind, cell]
    company = np.column_stack([kind, cell // pairs.n, cell % pairs.n])
    return replace(state, company=company, pair=_log_ratio(seen[kind, cell], made[kind, cell]))


def _expected_sizes(
    parts: list[Part], of: _Tables, state: _State, states: list[npt.NDArray[np.int16]], n_slots: int
) -> Doubles:
    """Return the sum over all sets of n codes of the product of their odds, float64[V, N + 1], visits in `states`.

    What the visits before add to the odds of all codes together makes it likelier that there is a code at all.
    """
    company = Company.none(of.n_codes)
    e = np.ones((sum(part.n_visits for part in parts), n_slots + 1))
    for n in range(1, n_slots + 1):
        law = of.law(state, n, company)
        powers = law.powers(n)
        start = 0
        for part, mine in zip(parts, states, strict=True):
            key = part.stratum * of.n_states + mine
            given = of.given(part, mine, state, company)
            given = given.of(np.arange(part.n_visits), part.n_visits, np.exp(state.sized[:, n - 1]))
            e[start : start + part.n_visits, n] = polynomials(law, powers, key, given, n)[n]
            start += part.n_visits
    own = state.of_company(of.n_codes)
    law = of.law(state, 1, own)
    start = 0
    for part, mine in zip(parts, states, strict=True):
        given = of.given(part, mine, state, own)
        given = given.of(np.arange(part.n_visits), part.n_visits, np.exp(state.sized[:, 0]))
        moved = law.moved(part.stratum * of.n_states + mine, given)
        e[start : start + part.n_visits, 1:] *= moved[:, None]
        start += part.n_visits
    return e


def _sizes(
    parts: list[Part], of: _Tables, state: _State, n_slots: int, sizes: Doubles | None
) -> tuple[Doubles | None, Doubles]:
    """Return (tilt float64[Q, N + 1] or None, factors by the visit before float64[SIZES_BEFORE, N + 1]).

    Under the tilt each state's visits have as many codes as observed. The factors say what the number of codes of the
    visit before adds, given the states that can be predicted. With `sizes` these are P(number | state).
    """
    size = np.concatenate([part.size for part in parts])
    before = np.concatenate([part.before for part in parts])
    own, told = (
        np.concatenate(states).astype(np.int64)
        for states in ([part.own_state for part in parts], [part.next_state for part in parts])
    )
    n = n_slots + 1
    seen = np.bincount(before * n + size, minlength=SIZES_BEFORE * n).reshape(-1, n).astype(np.float64)
    after = np.ones((SIZES_BEFORE, n))
    if sizes is not None:
        some = size > 0
        seen[:, 0] = 0.0
        return None, _after(sizes[told[some]], before[some], seen, after)
    of_own = _expected_sizes(parts, of, state, [part.own_state for part in parts], n_slots)
    of_told = _expected_sizes(parts, of, state, [part.next_state for part in parts], n_slots)
    q = of.n_states
    in_state = np.bincount(own * n + size, minlength=q * n).reshape(q, n).astype(np.float64)
    margin = _SIZE_STRENGTH * in_state.sum(axis=0) / in_state.sum()
    tilt = np.ones((q, n))
    for round_ in range(_SIZE_ROUNDS + 1):
        for step in range(_TILT_STEPS):
            expected = sum_by(own, _normal(tilt[own] * after[before] * of_own), q)
            if step == 0:
                tilt *= (in_state.sum(axis=0) + 1e-9) / (expected.sum(axis=0) + 1e-9)
                continue
            tilt *= (in_state + margin + 1e-9) / (expected + margin + 1e-9)
            tilt /= tilt.max(axis=1, keepdims=True)
        if round_ < _SIZE_ROUNDS:
            after = _after(tilt[told] * of_told, before, seen, after)
    return tilt, after


def _normal(weight: Doubles) -> Doubles:
    result: Doubles = weight / np.maximum(weight.sum(axis=1, keepdims=True), 1e-300)
    return result


def _after(weight: Doubles, before: Ints, seen: Doubles, after: Doubles) -> Doubles:
    """Return factors under which as many codes follow each visit before as observed, drawn to those of all visits."""
    for _ in range(_TILT_STEPS):
        expected = sum_by(before, _normal(weight * after[before]), SIZES_BEFORE)
        ratio = (seen + _SIZE_STRENGTH) / (expected + _SIZE_STRENGTH)
        overall = (seen.sum(axis=0) + _SIZE_STRENGTH) / (expected.sum(axis=0) + _SIZE_STRENGTH)
        after = after * ratio / overall
    return np.clip(after, 1 / _LARGEST_AFTER, _LARGEST_AFTER)
