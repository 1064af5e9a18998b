"""Distances between two sets of counts: total variation, R2, Cramer's V, Kolmogorov-Smirnov, survival, AUC.

Pure functions of numpy arrays. Where a distance has no meaning (an empty cohort, nothing that varies) it is NaN.
Functions on segments treat many tables at once: entry k belongs to table ``segment[k]``; entries of a table lie
together and tables ascend.
"""

from __future__ import annotations

import numpy as np

from ehrsynth.evaluation.cohort import Bools, Floats, Ints

__all__ = [
    "auc",
    "correlation",
    "cramers_v",
    "ks",
    "mean_of",
    "quantiles",
    "r2",
    "relative_error",
    "share",
    "survival_curve",
    "tvd",
    "tvd_by_segment",
    "v_table",
]


def share(counts: Floats) -> Floats:
    """Return counts as shares of their sum; NaN if that is 0."""
    whole = counts.sum()
    return counts / whole if whole > 0 else np.full(len(counts), np.nan)


def tvd(first: Floats, second: Floats) -> float:
    """Return the total variation distance of two categorical distributions given as counts: half the L1 distance.

    0 (the same) to 1 (nothing in common).
    """
    return float(0.5 * np.abs(share(first) - share(second)).sum())


def tvd_by_segment(first: Floats, second: Floats, segment: Ints, n: int) -> Floats:
    """Return the total variation distance of each of n tables, float64[n]."""
    a, b = (_segment_share(counts, segment, n) for counts in (first, second))
    empty = (np.bincount(segment, first, n) <= 0) | (np.bincount(segment, second, n) <= 0)
    return np.where(empty, np.nan, 0.5 * np.bincount(segment, np.abs(a - b), n))


def _segment_share(counts: Floats, segment: Ints, n: int) -> Floats:
    whole = np.bincount(segment, counts, n)
    return counts / np.where(whole > 0, whole, 1.0)[segment]


def r2(real: Floats, other: Floats) -> float:
    """Return the coefficient of determination of `other` as a prediction of `real`: 1 - SS_residual / SS_total.

    At most 1; 0 is as good as the mean; can be negative. As scikit-learn's ``r2_score``: if `real` does not vary it is
    1 for a perfect prediction and 0 for any other; NaN for fewer than two values.
    """
    if len(real) < 2:
        return float("nan")
    residual = float(np.square(real - other).sum())
    whole = float(np.square(real - real.mean()).sum())
    if whole == 0:
        return 1.0 if residual == 0 else 0.0
    return 1.0 - residual / whole


def relative_error(real: float, other: float) -> float:
    """Return |other - real| / real; NaN if `real` is 0 or unknown."""
    return abs(other - real) / real if real > 0 else float("nan")


def mean_of(values: Floats, counts: Floats) -> float:
    """Return the mean of `values` weighted by `counts`; NaN without weight. Values without weight may be NaN."""
    used = counts > 0
    whole = counts[used].sum()
    return float((values[used] * counts[used]).sum() / whole) if whole > 0 else float("nan")


def v_table(table: Ints, row: Ints, column: Ints) -> tuple[Ints, Ints, Ints]:
    """Return (table, row, column) of cells numbered so that rows and columns of different tables differ."""
    rows = np.unique(table * (row.max(initial=0) + 1) + row, return_inverse=True)[1]
    columns = np.unique(table * (column.max(initial=0) + 1) + column, return_inverse=True)[1]
    return table, rows.reshape(-1), columns.reshape(-1)


def cramers_v(counts: Floats, cells: tuple[Ints, Ints, Ints], n: int) -> Floats:
    """Return Cramer's V of each of n two-way tables: sqrt(chi2 / (N * (min(rows, columns) - 1))).

    0 (independent) to 1; 0 where a table has one row or one column. Cramer (1946), Mathematical Methods of Statistics.

    Parameters
    ----------
    counts : float64[m]
        Of the cells that occur.
    cells : (int64[m], int64[m], int64[m])
        Table, row, column of each cell, numbered by `v_table`.
    n : int
    """
    table, row, column = cells
    of_row, of_column = np.bincount(row, counts), np.bincount(column, counts)
    whole = np.bincount(table, counts, n)
    expected = of_row[row] * of_column[column]
    used = counts > 0
    # chi2 / N = sum of observed squared / (row * column) - 1, in which cells that are empty add nothing.
    phi2 = np.bincount(table[used], np.square(counts[used]) / expected[used], n) - 1.0
    rows = np.bincount(_owner(row, table)[of_row > 0], minlength=n)
    columns = np.bincount(_owner(column, table)[of_column > 0], minlength=n)
    degrees = np.minimum(rows, columns) - 1
    v = np.sqrt(np.clip(phi2, 0.0, None) / np.where(degrees > 0, degrees, 1))
    return np.where(whole > 0, np.where(degrees > 0, np.minimum(v, 1.0), 0.0), np.nan)


def _owner(part: Ints, table: Ints) -> Ints:
    owner = np.zeros(int(part.max(initial=-1)) + 1, dtype=np.int64)
    owner[part] = table
    return owner


def ks(first: Floats, second: Floats, segment: Ints, n: int) -> Floats:
    """Return the Kolmogorov-Smirnov distance of each of n distributions: the greatest difference of their CDFs.

    Parameters
    ----------
    first, second : float64[m]
        Counts of ascending values within each segment.
    segment : int64[m]
    n : int

    Returns
    -------
    float64[n]
        0 to 1. 1 where only one of the two has any value, NaN where neither has.
    """
    in_first, in_second = np.bincount(segment, first, n) > 0, np.bincount(segment, second, n) > 0
    result = np.where(in_first | in_second, 1.0, np.nan)
    if len(segment):
        gap = np.abs(_segment_cdf(first, segment, n) - _segment_cdf(second, segment, n))
        starts = np.flatnonzero(np.r_[True, segment[1:] != segment[:-1]])
        greatest = np.zeros(n)
        greatest[segment[starts]] = np.maximum.reduceat(gap, starts)
        result = np.where(in_first & in_second, greatest, result)
    return result


def _segment_cdf(counts: Floats, segment: Ints, n: int) -> Floats:
    whole = np.bincount(segment, counts, n)
    before = np.concatenate(([0.0], np.cumsum(whole)))[segment]
    return (np.cumsum(counts) - before) / np.where(whole > 0, whole, 1.0)[segment]


def quantiles(counts: Floats, values: Floats, segment: Ints, n: int, levels: Floats) -> Floats:
    """Return quantiles of each of n distributions, float64[n, levels]: the least value whose CDF reaches the level.

    NaN where a distribution is empty.
    """
    result = np.full((n, len(levels)), np.nan)
    cdf = _segment_cdf(counts, segment, n)
    whole = np.bincount(segment, counts, n)
    stops = np.cumsum(np.bincount(segment, minlength=n))
    starts = stops - np.bincount(segment, minlength=n)
    # Segments are put one after the other on one axis, so that a single sorted search answers all.
    axis = segment + np.minimum(cdf, 1.0) * 0.5
    for k, level in enumerate(levels):
        at = np.searchsorted(axis, np.arange(n) + (level - 1e-9) * 0.5)
        found = np.flatnonzero((whole > 0) & (at >= starts) & (at < stops))
        result[found, k] = values[at[found]]
    return result


def correlation(n: Floats, x: Floats, y: Floats, xx: Floats, yy: Floats, xy: Floats) -> Floats:
    """Return Pearson correlations from sums of 1, x, y, x^2, y^2, xy; 0 where one does not vary or there is no pair."""
    count = np.where(n > 0, n, 1.0)
    covariance = xy / count - x * y / count**2
    spread = np.clip(xx / count - (x / count) ** 2, 0, None) * np.clip(yy / count - (y / count) ** 2, 0, None)
    varies = spread > 1e-16
    return np.where(varies, np.clip(covariance / np.sqrt(np.where(varies, spread, 1.0)), -1.0, 1.0), 0.0)


def survival_curve(deaths: Floats, exits: Floats) -> tuple[Floats, Floats]:
    """Return the Kaplan-Meier estimate after each time, and the number at risk just before it.

    Parameters
    ----------
    deaths, exits : float64[t]
        At ascending times: how many die, and how many leave (by death or censoring). Kaplan and Meier (1958), JASA 53.
    """
    at_risk = exits.sum() - np.concatenate(([0.0], np.cumsum(exits)[:-1]))
    hazard = np.divide(deaths, at_risk, out=np.zeros(len(deaths)), where=at_risk > 0)
    return np.cumprod(1.0 - np.minimum(hazard, 1.0)), at_risk


def auc(scores: Floats, positive: Bools, weights: Floats | None = None) -> float:
    """Return the area under the ROC curve: the probability that a positive scores above a negative, ties one half.

    NaN without positives or negatives. Weighted Mann-Whitney statistic.
    """
    weights = np.ones(len(scores)) if weights is None else weights
    distinct, inverse = np.unique(scores, return_inverse=True)
    inverse = inverse.reshape(-1)
    up = np.bincount(inverse[positive], weights[positive], len(distinct))
    down = np.bincount(inverse[~positive], weights[~positive], len(distinct))
    if up.sum() <= 0 or down.sum() <= 0:
        return float("nan")
    below = np.cumsum(down) - 0.5 * down
    return float((up * below).sum() / (up.sum() * down.sum()))
