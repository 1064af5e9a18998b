"""Odds multipliers by sex and age, raked so that the model expects in each stratum what was observed there."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ehrsynth.encoding.discretise import stratum_groups
from ehrsynth.learning.maximisation import CodeCounts
from ehrsynth.learning.parameters import CodeTables
from ehrsynth.learning.strength import grid_posterior, log_gamma

__all__ = ["expected_visits", "grouped_targets", "odds_lift", "shrunk_targets"]

Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_LARGEST = 1e3
_GRID = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)


def _odds(counts: CodeCounts, tables: CodeTables) -> tuple[Doubles, Doubles]:
    """Return (odds, trials) of all histories and states, float64[4 * Q, C] each."""
    kinds = counts.items()
    probability = np.concatenate([np.clip(getattr(tables, name), 1e-12, 1 - 1e-9) for name in kinds])
    trials = np.concatenate([trials for _, trials in kinds.values()])
    return probability / (1 - probability), trials


def expected_visits(counts: CodeCounts, tables: CodeTables) -> Doubles:
    """Return how many visits with each code the tables alone expect, float64[C]."""
    odds, trials = _odds(counts, tables)
    result: Doubles = (trials * odds / (1 + odds)).sum(axis=0)
    return result


def shrunk_targets(observed: Doubles, expected: Doubles, patients: Ints, groups: Ints, min_patients: int) -> Doubles:
    """Return the number of visits to aim at in each stratum, between the observed and the expected number.

    The ratio of observed to expected has a gamma prior: for a sex or a group of age bands around 1, for an age band
    around that of its group, for a stratum around the product of those of its sex and its age. Its strength is a code's
    own, learned from all codes (empirical Bayes, as in Clayton and Kaldor 1987 for maps of disease). All is counted in
    people: visits of one person are no independent evidence.

    Parameters
    ----------
    observed, expected : float64[R, C]
        Visits with the code.
    patients : int64[R, C]
        Distinct patients who have the code in a stratum; where they are fewer than `min_patients`, the observed number
        is not used but that of half so many people (if less than expected): it then says only that they are few. All
        such strata of a code together are no more people than observed, or than half `min_patients` where these are
        few again: nobody in twenty strata is nobody, not fifty people.
    groups : int64[A]
        The group of age bands, 0, 1, ..., that each belongs to.
    min_patients : int
    """
    people = np.maximum(patients.sum(axis=0), 1)
    visits_each = np.maximum(observed.sum(axis=0) / people, 1.0)
    few = patients < min_patients
    o, e = observed / visits_each, expected / visits_each
    o = np.where(few, _of_few(o, e, patients, few, groups, min_patients), o)
    pooled = np.where(few, patients, 0).sum(axis=0)
    pooled = np.where(pooled < min_patients, min_patients / 2, pooled)
    assumed = np.where(few, o, 0.0).sum(axis=0)
    o = np.where(few, o * np.minimum(pooled / np.maximum(assumed, 1e-9), 1.0), o)
    e = np.maximum(e, 1e-9)
    shape = len(o) // len(groups), len(groups), o.shape[-1]
    by_o, by_e = o.reshape(shape), e.reshape(shape)
    overall = (o.sum(axis=0) + 1.0) / (e.sum(axis=0) + 1.0)
    of_sex = _ratios(by_o.sum(axis=1), by_e.sum(axis=1) * overall)
    age_o, age_e = by_o.sum(axis=0), by_e.sum(axis=0) * overall
    first = np.flatnonzero(np.diff(groups, prepend=-1))
    of_group = _ratios(np.add.reduceat(age_o, first), np.add.reduceat(age_e, first))[groups]
    # Where each group is one band there is nothing more to say.
    of_age = of_group * _ratios(age_o, age_e * of_group) if len(first) < len(groups) else of_group
    mean = (of_sex[:, None] * of_age[None] * overall).reshape(e.shape)
    prior = e * np.clip(mean, 1 / _LARGEST, _LARGEST)
    result: Doubles = prior * _ratios(o, prior) * visits_each
    return result


def grouped_targets(observed: Doubles, expected: Doubles, patients: Ints, groups: Ints, min_patients: int) -> Doubles:
    """Return the targets of `shrunk_targets` for the groups of age bands, in their bands as the tables expect.

    Of codes whose number in a visit is drawn first: how many there are follows from all odds together, and bands of a
    few years would move it with each of them. A patient counts once in each band.
    """
    of_row = stratum_groups(len(observed), groups)
    first = np.flatnonzero(np.diff(of_row, prepend=-1))
    seen, hoped, people = (np.add.reduceat(table, first) for table in (observed, expected, patients))
    target = shrunk_targets(seen, hoped, people, np.arange(int(groups.max()) + 1), min_patients)
    result: Doubles = expected * (target / np.maximum(hoped, 1e-9))[of_row]
    return result


def _of_few(
    observed: Doubles, expected: Doubles, patients: Ints, few: npt.NDArray[np.bool_], groups: Ints, least: int
) -> Doubles:
    """Return the people to assume in strata of too few: together as many as in those of their sex and group of ages.

    Where these are too few as well it is known only that they are few.
    """
    group = stratum_groups(len(observed), groups)
    first = np.flatnonzero(np.diff(group, prepend=-1))
    seen, hoped, people = (
        np.add.reduceat(np.where(few, table, 0.0), first)[group] for table in (observed, expected, patients)
    )
    enough = seen / np.maximum(hoped, 1e-9)
    share = np.where(people >= least, enough, np.minimum(least / 2 / np.maximum(hoped, 1e-9), 1.0))
    result: Doubles = expected * share
    return result


def _ratios(observed: Doubles, expected: Doubles) -> Doubles:
    """Return the posterior mean of the ratio float64[N, C]: a mixture over s of (observed + s) / (expected + s).

    Negative binomial: observed ~ Poisson(expected * ratio), ratio ~ Gamma(s, s), with a mixture over s for each code.
    """
    o, e = observed, np.maximum(expected, 1e-9)
    scores = np.stack(
        [
            (log_gamma(o + s) - log_gamma(np.full(1, s)) + s * np.log(s / (e + s)) + o * np.log(e / (e + s))).sum(
                axis=0
            )
            for s in _GRID
        ]
    )
    posterior = grid_posterior(scores)
    result = np.zeros_like(o)
    for weight, s in zip(posterior, _GRID, strict=True):
        result += weight * (o + s) / (e + s)
    return result


def odds_lift(counts: CodeCounts, tables: CodeTables, target: Doubles, *, iterations: int = 12) -> Doubles:
    """Return the odds multiplier of each code in one stratum, float64[C].

    The multiplier l solves sum over states and histories of trials * l p / (1 - p + l p) = target, by Newton's method
    in log l, kept in brackets.

    Parameters
    ----------
    counts : CodeCounts
        Of the stratum's visits.
    tables : CodeTables
        Of the family.
    target : float64[C]
        Visits with the code.
    """
    odds, trials = _odds(counts, tables)
    expected = (trials * odds / (1 + odds)).sum(axis=0)
    low, high = np.full(len(expected), -np.log(_LARGEST)), np.full(len(expected), np.log(_LARGEST))
    log_lift = np.zeros(len(expected))
    active = np.flatnonzero(expected > 1e-9)
    for _ in range(iterations):
        lifted = odds[:, active] * np.exp(log_lift[active])
        p = lifted / (1 + lifted)
        n = trials[:, active]
        error = (n * p).sum(axis=0) - target[active]
        off = np.abs(error) > 1e-4 * np.maximum(target[active], 1e-3)
        active, p, n, error = active[off], p[:, off], n[:, off], error[off]
        if not len(active):
            break
        above = error > 0
        high[active] = np.where(above, log_lift[active], high[active])
        low[active] = np.where(above, low[active], log_lift[active])
        step = log_lift[active] - error / np.maximum((n * p * (1 - p)).sum(axis=0), 1e-12)
        inside = (step > low[active]) & (step < high[active])
        log_lift[active] = np.where(inside, step, (low[active] + high[active]) / 2)
    result: Doubles = np.exp(log_lift)
    return result
