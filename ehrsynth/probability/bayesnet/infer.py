"""Exact inference in discrete Bayesian networks by variable elimination: posteriors and conditioning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from ehrsynth.probability.bayesnet.network import BayesianNetwork

__all__ = ["Evidence", "condition", "posterior"]

Evidence = Mapping[int, "int | npt.ArrayLike"]
"""What is known: variable number -> a state number (hard), or non-negative likelihoods of its states (soft)."""


def posterior(
    network: BayesianNetwork, query: Sequence[int], evidence: Evidence | None = None
) -> npt.NDArray[np.float64]:
    """Return P(query | evidence), one axis for each query variable in the order asked.

    Raises
    ------
    UsageError
        The evidence has probability zero or names a state that is not there.
    """
    raise NotImplementedError


def condition(network: BayesianNetwork, evidence: Evidence) -> BayesianNetwork:
    """Return a network over the same variables whose joint is exactly P(x | evidence).

    Raises
    ------
    UsageError
        The evidence has probability zero or names a state that is not there.
    """
    raise NotImplementedError
