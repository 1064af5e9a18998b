"""What a health examination survey says of adults: associations, and quantiles of what it measured.

Rows are read, weighted and aggregated here; what leaves is odds ratios, correlations and smoothed quantile tables whose
ends are extrapolated, so that no value of a person is in them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from ehrsynth.probability import normal

__all__ = [
    "Z_GRID",
    "conditional_tables",
    "log_odds_ratios",
    "quantile_curve",
    "score_correlation",
    "weighted_quantiles",
]

Float = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]

Z_GRID = np.linspace(-3.6, 3.6, 49)
"""Normal scores at which quantile tables are given."""

_INNER = 1.65
_OUTER = 0.9
_FINE = np.linspace(-3.6, 3.6, 289)
_RIDGE = 0.5


def weighted_quantiles(values: Float, weights: Float, probabilities: Float) -> Float:
    """Return weighted quantiles, linear between the middles of the values' weights."""
    order = np.argsort(values, kind="stable")
    ascending, running = values[order], np.cumsum(weights[order])
    middle = (running - weights[order] / 2) / running[-1]
    found: Float = np.interp(probabilities, middle, ascending)
    return found


def quantile_curve(values: Float, weights: Float, *, skewed: bool) -> Float:
    """Return values at `Z_GRID`: the survey's within the 5th and 95th percentile, beyond extrapolated to its mean.

    Beyond, the curve goes on as straight as between scores 0.9 and 1.65 (of logarithms where `skewed`); the upper end
    is then stretched so that the mean is the survey's.
    """
    inner = np.abs(Z_GRID) <= _INNER
    z = np.unique(np.concatenate([Z_GRID[inner], [-_INNER, -_OUTER, _OUTER, _INNER, 1.6448536, -1.6448536]]))
    known = weighted_quantiles(values, weights, normal.cdf(z))
    if skewed:
        known = np.log(np.maximum(known, 1e-3))
    curve = np.interp(Z_GRID, z, known)
    for sign in (-1.0, 1.0):
        at, near = np.interp(sign * _INNER, z, known), np.interp(sign * _OUTER, z, known)
        slope = (at - near) / (_INNER - _OUTER)
        beyond = sign * Z_GRID > _INNER
        curve[beyond] = at + slope * (np.abs(Z_GRID[beyond]) - _INNER)
    if skewed:
        curve = np.exp(curve)
    mean = float((values * weights).sum() / weights.sum())
    top = np.interp(_INNER, Z_GRID, curve)
    share = np.gradient(normal.cdf(Z_GRID))
    share /= share.sum()
    excess = np.maximum(curve - top, 0.0)
    wanted = mean - float((share * (curve - excess)).sum())
    stretch = np.clip(wanted / max(float((share * excess).sum()), 1e-9), 0.2, 12.0)
    stretched: Float = curve + (stretch - 1.0) * excess
    return stretched


def conditional_tables(targets: Float, raw: Sequence[Float | None], shares: Float) -> Float:
    """Return quantile curves of the strata whose mixture has the target's, float64[strata, z].

    Parameters
    ----------
    targets : float64[z]
        Quantile curve of everybody.
    raw : sequence of float64[z]
        Quantile curve of each stratum as another sample shows it (None: as everybody's).
    shares : float64[strata]
        Share of each stratum.

    The strata keep their order and distance by rank: each raw value goes to the target's value of the same rank in the
    mixture of the raw curves.
    """
    curves = [np.interp(_FINE, Z_GRID, curve if curve is not None else targets) for curve in raw]
    mass = np.gradient(normal.cdf(_FINE))
    values = np.concatenate(curves)
    weights = np.concatenate([mass * max(share, 1e-9) for share in shares])
    order = np.argsort(values, kind="stable")
    rank = np.empty(len(values))
    running = np.cumsum(weights[order])
    rank[order] = (running - weights[order] / 2) / running[-1]
    # Equal values have one rank.
    _, which = np.unique(values, return_inverse=True)
    total = np.bincount(which, weights)
    rank = (np.bincount(which, weights * rank) / np.maximum(total, 1e-300))[which]
    mapped = np.interp(normal.quantile(np.clip(rank, 1e-6, 1 - 1e-6)), Z_GRID, targets)
    return np.stack([np.interp(Z_GRID, _FINE, part) for part in mapped.reshape(len(curves), -1)])


def log_odds_ratios(y: Bool, parents: Mapping[str, Bool], stratum: npt.NDArray[np.int64], weight: Float) -> Float:
    """Return the log odds ratios of `parents` on `y`, adjusted for each other and the strata.

    Weighted logistic regression by iteratively reweighted least squares with a small ridge (one half of a person's
    weight on each coefficient), so that rare combinations stay finite.
    """
    dummies = np.eye(int(stratum.max()) + 1)[stratum]
    x = np.column_stack([*(np.asarray(one, dtype=float) for one in parents.values()), dummies])
    w = weight / weight.mean()
    beta = np.zeros(x.shape[1])
    ridge = np.full(x.shape[1], _RIDGE)
    for _ in range(40):
        p = 1 / (1 + np.exp(-np.clip(x @ beta, -30, 30)))
        gradient = x.T @ (w * (y - p)) - ridge * beta
        hessian = (x * (w * p * (1 - p))[:, None]).T @ x + np.diag(ridge)
        step = np.linalg.solve(hessian, gradient)
        beta += step
        if np.abs(step).max() < 1e-8:
            break
    found: Float = beta[: len(parents)]
    return found


def score_correlation(columns: Sequence[Float], group: npt.NDArray[np.int64], weight: Float) -> Float:
    """Return the correlations of normal scores within groups, pairwise where both are known, made positive definite."""
    scores = []
    for values in columns:
        score = np.full(len(values), np.nan)
        for g in np.unique(group):
            at = np.flatnonzero((group == g) & ~np.isnan(values))
            if len(at) > 1:
                order = np.argsort(np.argsort(values[at], kind="stable"), kind="stable")
                score[at] = normal.quantile((order + 0.5) / len(at))
        scores.append(score)
    n = len(scores)
    matrix = np.eye(n)
    for i in range(n):
        for j in range(i):
            both = ~np.isnan(scores[i]) & ~np.isnan(scores[j])
            w = weight[both]
            a, b = scores[i][both], scores[j][both]
            a, b = a - np.average(a, weights=w), b - np.average(b, weights=w)
            matrix[i, j] = matrix[j, i] = (w * a * b).sum() / np.sqrt((w * a * a).sum() * (w * b * b).sum())
    values, vectors = np.linalg.eigh(matrix)
    fixed = (vectors * np.maximum(values, 0.02)) @ vectors.T
    scale = np.sqrt(np.diag(fixed))
    found: Float = fixed / np.outer(scale, scale)
    return found
