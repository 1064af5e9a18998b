"""The numbers of observations: margins by quantiles, levels by state, a share of the person, correlations."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ehrsynth.encoding import Timelines
from ehrsynth.encoding.discretise import distinct_patients
from ehrsynth.learning.binned import strata_of
from ehrsynth.learning.condition_levels import Burden
from ehrsynth.learning.families import StatePosterior
from ehrsynth.learning.number_margins import CENTERS, equal_parts
from ehrsynth.learning.values import NumericRows, find_derived, find_panels, numeric_rows
from ehrsynth.model import Measurements, Strata
from ehrsynth.probability import normal
from ehrsynth.probability.quantiles import QuantileDistribution

__all__ = ["learn_measurements", "nearest_correlation"]

Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_ROUNDS = 6
_LAGS = (1, 2, 4, 8)
_DRIFT_COST = 0.1
_SHIFT_STRENGTH = 10.0
_PAIR_STRENGTH = 10.0
_LEAST_EIGENVALUE = 0.003
_OCCASIONS = 4096
_REACH, _STEP = 8.0, 1 / 16
_X = np.arange(-_REACH, _REACH + _STEP / 8, _STEP / 4)
_PHI = normal.cdf(_X)


def learn_measurements(
    table: pa.Table,
    timelines: Timelines,
    posteriors: Iterable[StatePosterior],
    *,
    strata: Strata,
    min_patients: int,
    generator: np.random.Generator,
) -> Measurements | None:
    """Return the numbers of the observation family, or None if there are none.

    Values become normal scores by their margins (the place of a value inside an atom is drawn from `generator`). Levels
    by state and the mixture that they make are found together by a few rounds of substitution; what remains is split
    into a part of the person and a part of the visit by the products of scores of different and of the same occasions
    (the method of moments for crossed effects: no balanced design is needed, and all of it are sums over patients).

    Parameters
    ----------
    table : pyarrow.Table
        The observations of the records.
    timelines : Timelines
        With a family ``observation``.
    posteriors : iterable of StatePosterior
    strata : Strata
    min_patients : int
    generator : numpy Generator
    """
    family = timelines.families["observation"]
    rows = numeric_rows(table, family, timelines, min_patients)
    if rows is None:
        return None
    patients = timelines.patient_of_visit[rows.visit]
    margins = []
    score = np.empty(len(rows.value))
    place = generator.random(len(rows.value))
    order = np.argsort(rows.measurement, kind="stable")
    edges = np.searchsorted(rows.measurement[order], np.arange(len(rows.code) + 1))
    for m in range(len(rows.code)):
        at = order[edges[m] : edges[m + 1]]
        margin = QuantileDistribution.learn(rows.value[at], patients[at], min_patients=min_patients)
        margins.append(margin)
        score[at] = margin.transform(rows.value[at], place[at])
    stratum = strata_of(timelines, strata)[rows.visit]
    burden = Burden.of(timelines, patients, min_patients)
    levels = _levels(rows, score, posteriors, stratum, patients, strata, burden, min_patients)
    person_share, drift, person, visit = _components(rows, levels, patients, min_patients)
    return Measurements(
        code=rows.code.astype(np.int32),
        unit=rows.unit,
        panel=find_panels(table, family, timelines, rows.code, min_patients),
        margins=tuple(margins),
        shift=levels.shift.astype(np.float32),
        state_share=levels.state_share.astype(np.float32),
        level=levels.level.astype(np.float32),
        center=levels.center.astype(np.float32),
        condition=burden.condition.astype(np.int32),
        of_condition=levels.of_condition.astype(np.float32),
        person_share=person_share.astype(np.float32),
        person=person,
        visit=visit,
        value_known=rows.value_known.astype(np.float32),
        drift=drift.astype(np.float32),
        derived=find_derived(rows, [family.codings[c] for c in rows.code], patients, min_patients),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Levels:
    """Levels of states float64[Q, M], strata float64[R, M] and conditions float64[K, M], shares of the states
    float64[Q, M], centers float64[N, M], and the residual float64[n] of each row."""

    shift: Doubles
    level: Doubles
    of_condition: Doubles
    state_share: Doubles
    center: Doubles
    residual: Doubles


def _levels(
    rows: NumericRows,
    score: Doubles,
    posteriors: Iterable[StatePosterior],
    stratum: Ints,
    patients: Ints,
    strata: Strata,
    burden: Burden,
    min_patients: int,
) -> _Levels:
    """Find levels of states, strata and conditions of scores that are read through the mixture that these make.

    By a few rounds of substitution: scores through the mixture, means of the states without the strata's, means of the
    strata without the states', what conditions add without both (backfitting), in units of the spread that is left.
    """
    n_measurements, n_strata = len(rows.code), len(strata)
    cell = stratum * n_measurements + rows.measurement
    people = distinct_patients(cell, patients, n_strata * n_measurements).reshape(n_strata, n_measurements)
    part, of_part = np.zeros(len(score), dtype=np.int64), np.zeros((1, n_measurements))
    level, of_condition = np.zeros((n_strata, n_measurements)), np.zeros((len(burden), n_measurements))
    center = np.zeros((CENTERS, n_measurements))
    latent, added = score.copy(), np.zeros(len(score))
    joint = _shares(rows, posteriors, stratum, part, n_strata, len(of_part))
    counts = joint.sum(axis=(1, 2))
    total = np.maximum(counts.sum(axis=0), 1e-12)
    state_share, shift = counts / total, np.zeros_like(counts)
    for _ in range(_ROUNDS):
        rest = latent - level[stratum, rows.measurement] - added
        mean = _sums(rows, rest, posteriors, rows.measurement, n_measurements)
        mean /= np.maximum(counts, 1e-12)
        mean *= counts / (counts + _SHIFT_STRENGTH)
        mean -= (state_share * mean).sum(axis=0)
        of_state = _expected(rows, mean, posteriors)
        level = _stratum_levels(latent - of_state - added, cell, people, strata, min_patients)
        if len(burden):
            rest = latent - of_state - level[stratum, rows.measurement]
            of_condition = burden.levels(rest, rows.measurement, patients, n_measurements, min_patients)
            added = burden.added(of_condition, rows.measurement, patients)
            part, of_part = burden.parts(added, rows.measurement, n_measurements)
            joint = _shares(rows, posteriors, stratum, part, n_strata, len(of_part))
        # Levels are in units of the spread within states and strata: the latent score has that and 1.
        second = np.bincount(rows.measurement, weights=latent**2, minlength=n_measurements) / total
        at = mean[:, None, None] + level[None, :, None] + of_part
        explained = (joint * at**2).sum(axis=(0, 1, 2)) / total
        unit = np.sqrt(np.maximum(second - explained, 0.05))
        shift, level, of_condition, added, of_part = (
            mean / unit,
            level / unit,
            of_condition / unit,
            added / unit[rows.measurement],
            of_part / unit,
        )
        for m in range(n_measurements):
            where = shift[:, m, None, None] + level[:, m, None] + of_part[:, m]
            center[:, m] = equal_parts(where.reshape(-1), joint[..., m].reshape(-1))
            mine = rows.measurement == m
            latent[mine] = _through_mixture(score[mine], center[:, m])
    residual = latent - _expected(rows, shift, posteriors) - level[stratum, rows.measurement] - added
    return _Levels(
        shift=shift,
        level=level,
        of_condition=of_condition,
        state_share=state_share,
        center=center,
        residual=residual,
    )


def _shares(
    rows: NumericRows, posteriors: Iterable[StatePosterior], stratum: Ints, part: Ints, n_strata: int, n_parts: int
) -> Doubles:
    """Return the weight of the numbers by state, stratum and part, float64[Q, R, B, M]."""
    m = len(rows.code)
    group = (stratum * n_parts + part) * m + rows.measurement
    sums = _sums(rows, np.ones(len(rows.value)), posteriors, group, n_strata * n_parts * m)
    return sums.reshape(-1, n_strata, n_parts, m)


def _stratum_levels(value: Doubles, cell: Ints, people: Ints, strata: Strata, min_patients: int) -> Doubles:
    """Return the mean of each stratum float64[R, M]: drawn to what its sex and its age would add up to.

    A cell of fewer than `min_patients` people says nothing of its own.
    """
    n_strata, m = people.shape
    n = np.bincount(cell, minlength=n_strata * m).reshape(len(strata.sexes), -1, m).astype(np.float64)
    sums = np.bincount(cell, weights=value, minlength=n_strata * m).reshape(n.shape)
    of_sex = sums.sum(axis=1) / (n.sum(axis=1) + _SHIFT_STRENGTH)
    rest = sums - n * of_sex[:, None]
    of_age = rest.sum(axis=0) / (n.sum(axis=0) + _SHIFT_STRENGTH)
    prior = of_sex[:, None] + of_age[None]
    own = np.where(people.reshape(n.shape) >= min_patients, n, 0.0)
    mean = (own * (sums / np.maximum(n, 1e-12)) + _SHIFT_STRENGTH * prior) / (own + _SHIFT_STRENGTH)
    result: Doubles = mean.reshape(n_strata, m)
    return result


def _through_mixture(score: Doubles, at: Doubles) -> Doubles:
    """Return F^-1(Phi(score)) for the mixture F of equally many unit normals at each of `at`."""
    weight = np.full(len(at), 1.0 / len(at))
    grid = np.arange(at.min() - _REACH, at.max() + _REACH + _STEP, _STEP)
    # Both tails: 1 - F has lost its digits where F is nearly 1.
    below = (np.interp(grid[:, None] - at, _X, _PHI) * weight).sum(axis=1)
    above = (np.interp(at - grid[:, None], _X, _PHI) * weight).sum(axis=1)
    low, high = np.interp(below, _PHI, _X), -np.interp(above, _PHI, _X)
    return np.interp(score, np.maximum.accumulate(np.where(below < above, low, high)), grid)


def _sums(
    rows: NumericRows, value: Doubles, posteriors: Iterable[StatePosterior], group: Ints, n_groups: int
) -> Doubles:
    """Return the sum of value times P(state) by state and group of rows, float64[Q, n_groups]."""
    total: Doubles | None = None
    position = 0
    for chunk in posteriors:
        n_visits, n_states = chunk.gamma.shape
        low, high = np.searchsorted(rows.visit, [position, position + n_visits])
        order = np.argsort(group[low:high], kind="stable") + low
        part = np.zeros((n_groups, n_states))
        for start in range(0, len(order), 65_536):
            at = order[start : start + 65_536]
            m = group[at]
            first = np.flatnonzero(np.concatenate(([True], m[1:] != m[:-1])))
            weighted = chunk.gamma[rows.visit[at] - position] * value[at, None]
            part[m[first]] += np.add.reduceat(weighted, first, axis=0)
        total = part if total is None else total + part
        position += n_visits
    assert total is not None
    return total.T


def _expected(rows: NumericRows, shift: Doubles, posteriors: Iterable[StatePosterior]) -> Doubles:
    """Return the expected level of each row given what is known of its state."""
    result = np.empty(len(rows.value))
    position = 0
    for chunk in posteriors:
        n_visits = len(chunk.gamma)
        low, high = np.searchsorted(rows.visit, [position, position + n_visits])
        for start in range(low, high, 65_536):
            stop = min(start + 65_536, high)
            known = chunk.gamma[rows.visit[start:stop] - position].astype(np.float64)
            known /= np.maximum(known.sum(axis=1, keepdims=True), 1e-12)
            result[start:stop] = (known * shift[:, rows.measurement[start:stop]].T).sum(axis=1)
        position += n_visits
    return result


def _components(
    rows: NumericRows, levels: _Levels, patients: Ints, min_patients: int
) -> tuple[Doubles, Doubles, Doubles, Doubles]:
    """Return (share of the person, drift float64[M]; correlations of persons and of visits float64[M, M])."""
    m = len(rows.code)
    residual = levels.residual - np.bincount(rows.measurement, weights=levels.residual, minlength=m)[
        rows.measurement
    ] / np.maximum(np.bincount(rows.measurement, minlength=m)[rows.measurement], 1)
    same, same_n = _products(rows.occasion, rows.measurement, residual, m)
    every, every_n = _products(patients, rows.measurement, residual, m)
    support = _pair_support(patients, rows.measurement, m)
    total = same / np.maximum(same_n, 1)
    cross_n = every_n - same_n
    between = np.where(cross_n > 0, (every - same) / np.maximum(cross_n, 1), 0.0)
    variance = np.maximum(np.diag(total), 1e-6)
    lagged, lagged_n = _lagged(rows, patients, residual)
    # Without repeated measurements nothing tells person from visit: half and half, drawn to where there are some.
    repeats = lagged_n[0] / np.maximum(np.diag(same_n), 1)
    trust = repeats / (repeats + 0.1)
    share, drift = _share_and_drift(lagged / variance, lagged_n)
    share = np.clip(trust * share + (1 - trust) * 0.5, 0.0, 0.98)
    drift = trust * drift
    scale = np.sqrt(np.outer(variance, variance))
    correlation = np.where(same_n > 0, total / scale, 0.0)
    # In the share that persons will have, whether their own values tell it or not: of what is measured once in a life
    # no two values do, and yet it goes with what is measured on other days.
    level = np.sqrt(np.maximum(share, 1e-3) * variance)
    person = np.where(cross_n > 0, between / np.outer(level, level), correlation)
    enough = support >= max(min_patients, 2)
    known = support * np.where(cross_n > 0, np.outer(share, share), 1.0)
    of_person = nearest_correlation(
        np.clip(person, -0.99, 0.99) * np.where(enough, known / (known + _PAIR_STRENGTH), 0)
    )
    # What persons do not explain of the correlation within a visit is the visit's.
    own = np.sqrt(np.outer(share, share)) * of_person
    visit = (correlation - own) / np.sqrt(np.outer(1 - share, 1 - share))
    # Of what is hardly ever measured on one day the few days say little, and eigenvalues would spread it to others.
    together = same_n * np.outer(1 - share, 1 - share)
    weight = np.where(enough, together / (together + _PAIR_STRENGTH), 0.0)
    return share, drift, of_person, nearest_correlation(np.clip(visit, -0.99, 0.99) * weight)


def _lagged(rows: NumericRows, patients: Ints, value: Doubles) -> tuple[Doubles, Doubles]:
    """Return the mean product of a person's values of each measurement, some visits apart, and how many [lags, M].

    Not of all pairs of a person's values: their number grows with the square of the values, and the few who are
    measured most would speak for all.
    """
    m = len(rows.code)
    order = np.lexsort((rows.visit, rows.measurement, patients))
    measurement, patient, visit = rows.measurement[order], patients[order], rows.visit[order]
    first = np.ones(len(order), dtype=bool)
    first[1:] = (measurement[1:] != measurement[:-1]) | (visit[1:] != visit[:-1])
    sequence, of_first = (patient * m + measurement)[first], value[order][first]
    products, counts = np.zeros((len(_LAGS), m)), np.zeros((len(_LAGS), m))
    for k, lag in enumerate(_LAGS):
        pair = np.flatnonzero(sequence[lag:] == sequence[:-lag])
        of = sequence[pair] % m
        counts[k] = np.bincount(of, minlength=m)
        products[k] = np.bincount(of, weights=of_first[pair] * of_first[pair + lag], minlength=m)
    return products / np.maximum(counts, 1), counts


def _share_and_drift(correlation: Doubles, n: Doubles) -> tuple[Doubles, Doubles]:
    """Return (p, a) float64[M] of p + (1 - p) a^lag nearest to the correlations [lags, M] of `n` pairs each.

    Where there are few pairs farther apart than the next value, all that lasts is taken for the person's.
    """
    grid = np.linspace(0.0, 0.98, 50)
    p, a = (one.reshape(-1) for one in np.meshgrid(grid, grid, indexing="ij"))
    fit = np.stack([p + (1 - p) * a**lag for lag in _LAGS])
    share, drift = np.zeros(n.shape[1]), np.zeros(n.shape[1])
    for m in range(n.shape[1]):
        loss = (n[:, m, None] * (correlation[:, m, None] - fit) ** 2).sum(axis=0)
        best = int(np.argmin(loss + _DRIFT_COST * a))
        share[m], drift[m] = p[best], a[best]
    return share, drift


def _products(group: Ints, measurement: Ints, value: Doubles, m: int) -> tuple[Doubles, Doubles]:
    """Return sums over groups of S S' and n n' [M, M], with S and n the sums and counts by measurement."""
    order = np.lexsort((measurement, group))
    number = np.unique(group[order], return_inverse=True)[1]
    products, counts = np.zeros((m, m)), np.zeros((m, m))
    n_groups = int(number[-1]) + 1
    for start in range(0, n_groups, _OCCASIONS):
        stop = min(start + _OCCASIONS, n_groups)
        low, high = np.searchsorted(number, [start, stop])
        cell = (number[low:high] - start) * m + measurement[order[low:high]]
        sums = np.bincount(cell, weights=value[order[low:high]], minlength=(stop - start) * m).reshape(-1, m)
        ns = np.bincount(cell, minlength=(stop - start) * m).reshape(-1, m).astype(np.float64)
        products += sums.T @ sums
        counts += ns.T @ ns
    return products, counts


def _pair_support(patients: Ints, measurement: Ints, m: int) -> Doubles:
    """Return how many patients have both of two measurements, float64[M, M]."""
    pairs = np.unique(patients * m + measurement)
    ones = np.ones(len(pairs))
    return _products(pairs // m, pairs % m, ones, m)[1]


def nearest_correlation(matrix: Doubles) -> Doubles:
    """Return a positive definite correlation matrix near a symmetric matrix of pairwise correlations.

    Eigenvalues below a bound are raised to it and the diagonal is brought back to 1 (Rousseeuw and Molenberghs 1993,
    "Transformation of non positive semidefinite correlation matrices", the eigenvalue method).
    """
    symmetric = (matrix + matrix.T) / 2
    np.fill_diagonal(symmetric, 1.0)
    values, vectors = np.linalg.eigh(symmetric)
    if values.min() < _LEAST_EIGENVALUE:
        symmetric = (vectors * np.maximum(values, _LEAST_EIGENVALUE)) @ vectors.T
        scale = np.sqrt(np.diag(symmetric))
        symmetric = symmetric / np.outer(scale, scale)
        symmetric = (symmetric + symmetric.T) / 2
        np.fill_diagonal(symmetric, 1.0)
    # Rounded so that a difference of the last digits between machines does not travel with the model.
    result: Doubles = np.round(symmetric, 6)
    return result
