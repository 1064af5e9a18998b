"""How strongly to shrink: the strength under which the counts themselves are most probable (empirical Bayes)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["beta_strength", "dirichlet_strength", "grid_posterior", "log_gamma"]

Floats = npt.NDArray[np.floating[Any]]
Doubles = npt.NDArray[np.float64]

_GRID = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0)
_MOST_COLUMNS = 1000


def log_gamma(x: Floats) -> Doubles:
    """Return the natural logarithm of the gamma function of x > 0, elementwise.

    Stirling's series after a shift to x + 7 (Abramowitz and Stegun 1964, 6.1.41 and 6.1.15), exact to about 1e-12.
    """
    values = np.asarray(x, dtype=np.float64)
    z = values + 7.0
    inverse = 1.0 / (z * z)
    series = (1.0 / 12 - inverse * (1.0 / 360 - inverse * (1.0 / 1260 - inverse * (1.0 / 1680)))) / z
    shifted = (z - 0.5) * np.log(z) - z + 0.5 * np.log(2 * np.pi) + series
    product = values.copy()
    for i in range(1, 7):
        product *= values + i
    result: Doubles = shifted - np.log(product)
    return result


def grid_posterior(scores: Doubles, iterations: int = 30) -> Doubles:
    """Return P(grid point | data of a column) float64[S, C] from log marginal likelihoods float64[S, C].

    The prior of the grid points is that of the columns themselves: the mixing distribution under which all columns are
    likeliest (Laird 1978, "Nonparametric maximum likelihood estimation of a mixing distribution", by EM).
    """
    likelihood = np.exp(scores - scores.max(axis=0))
    prior = np.full((len(scores), 1), 1.0 / len(scores))
    posterior: Doubles = likelihood / likelihood.sum(axis=0)
    for _ in range(iterations):
        # Half a column's worth of evenness keeps grid points alive that few columns ask for.
        prior = posterior.sum(axis=1, keepdims=True) + 0.5 / len(scores)
        posterior = prior * likelihood
        posterior = posterior / posterior.sum(axis=0)
    return posterior


def beta_strength(present: Floats, trials: Floats, margin: Floats, default: float = 16.0) -> float:
    """Return the common strength s of the priors Beta(s * margin, s * (1 - margin)) that makes the counts likeliest.

    Parameters
    ----------
    present, trials : float[Q, C]
        Visits that have the code, and visits that could; expected counts may be fractions.
    margin : float[C]
        Prior mean of each column, inside (0, 1).
    default : float
        Returned where there is nothing to tell from.

    Notes
    -----
    Beta-binomial marginal likelihood (Skellam 1948) on a grid of powers of two; of many codes, every so many.
    """
    step = max(1, present.shape[1] // _MOST_COLUMNS)
    n1, n, m = present[:, ::step], trials[:, ::step], margin[::step]
    # Expected counts below one visit are mostly the posterior's own blur.
    seen = n >= 1.0
    if seen.sum() < 2 or float(n1[seen].sum()) < 2:
        return default
    hits, misses, mean = n1[seen], np.maximum(n - n1, 0.0)[seen], np.broadcast_to(m, n.shape)[seen]
    best, best_score = default, -np.inf
    for s in _GRID:
        a, b = s * mean, s * (1.0 - mean)
        score = float(
            (
                log_gamma(hits + a)
                - log_gamma(a)
                + log_gamma(misses + b)
                - log_gamma(b)
                - log_gamma(hits + misses + s)
                + log_gamma(np.array(s))
            ).sum()
        )
        if score > best_score:
            best, best_score = s, score
    return best


def dirichlet_strength(counts: Floats, margin: Floats, default: float = 16.0) -> float:
    """Return the common strength s of the priors Dirichlet(s * margin) that makes the rows of `counts` likeliest.

    Parameters
    ----------
    counts : float[N, B]
    margin : float[B] or float[N, B]
        Prior mean; columns of mean 0 are left out.
    default : float
        Returned where there is nothing to tell from.
    """
    total = counts.sum(axis=1)
    seen = total >= 1.0
    if seen.sum() < 2:
        return default
    n = counts[seen]
    mean = np.broadcast_to(margin, counts.shape)[seen]
    used = mean > 0
    best, best_score = default, -np.inf
    for s in _GRID:
        a = np.where(used, s * mean, 1.0)
        cells = np.where(used, log_gamma(n + a) - log_gamma(a), 0.0).sum()
        score = float(cells + (log_gamma(np.array(s)) - log_gamma(total[seen] + s)).sum())
        if score > best_score:
            best, best_score = s, score
    return best
