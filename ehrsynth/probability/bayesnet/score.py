"""Scores of a family (a child and its parents) from its counts; the score of a network is their sum."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

__all__ = ["bdeu", "bic", "log_likelihood"]

Counts = npt.NDArray[np.floating]


def log_likelihood(counts: Counts) -> float:
    """Return sum n log(n / n_parents): the log-likelihood in nats at the maximum-likelihood table.

    Parameters
    ----------
    counts : float[*parents, child]
        Non-negative, possibly weighted, counts.
    """
    table = np.asarray(counts, dtype=np.float64)
    margin = np.broadcast_to(table.sum(axis=-1, keepdims=True), table.shape)
    seen = table > 0
    return float((table[seen] * np.log(table[seen] / margin[seen])).sum())


def bic(counts: Counts, total: float) -> float:
    """Return the Bayesian information criterion of a family, higher is better (Schwarz 1978).

    log-likelihood - log(total) / 2 * free parameters, with one free parameter for each parent configuration, seen or
    not, and each child state but one.

    Parameters
    ----------
    counts : float[*parents, child]
    total : float
        Observations (summed weight), at least 1 is assumed.
    """
    configurations = math.prod(counts.shape[:-1])
    free = configurations * (counts.shape[-1] - 1)
    penalty: float = 0.5 * math.log(max(total, 1.0)) * free
    return log_likelihood(counts) - penalty


def bdeu(counts: Counts, equivalent_sample_size: float = 1.0) -> float:
    """Return the log marginal likelihood of a family under a uniform Dirichlet prior, higher is better.

    Heckerman, Geiger and Chickering (1995), "Learning Bayesian networks: the combination of knowledge and statistical
    data", with the likelihood-equivalent uniform prior of Buntine (1991).

    Parameters
    ----------
    counts : float[*parents, child]
    equivalent_sample_size : float
        Positive; spread evenly over the cells.
    """
    table = np.asarray(counts, dtype=np.float64).reshape(-1, counts.shape[-1])
    row = equivalent_sample_size / table.shape[0]
    cell = row / table.shape[1]
    # Cells and rows without counts contribute exactly nothing.
    score: float = math.fsum(math.lgamma(n + cell) - math.lgamma(cell) for n in table[table > 0])
    margin = table.sum(axis=1)
    return score - math.fsum(math.lgamma(n + row) - math.lgamma(row) for n in margin[margin > 0])
