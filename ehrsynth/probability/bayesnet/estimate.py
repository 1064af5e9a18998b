"""Conditional tables from counts, shrunk toward the margin."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ehrsynth.probability.bayesnet.counts import FamilyCounts
from ehrsynth.probability.bayesnet.dag import Dag
from ehrsynth.probability.bayesnet.network import BayesianNetwork
from ehrsynth.probability.bayesnet.variable import Variable

__all__ = ["estimate_network", "shrink"]


def shrink(
    counts: npt.NDArray[np.floating], strength: float, prior: npt.NDArray[np.floating] | None = None
) -> npt.NDArray[np.float64]:
    """Return (counts + strength * prior) / its row sum: Dirichlet smoothing of each row (last axis) toward `prior`.

    `prior` broadcasts against counts; by default the margin of the counts over all rows (itself with one half added to
    each category that... see below). Rows without counts become the prior.
    """
    raise NotImplementedError


def estimate_network(
    counts: FamilyCounts, variables: Sequence[Variable], dag: Dag, *, strength: float = 5.0
) -> BayesianNetwork:
    """Return the network of graph `dag` whose tables are the counts of each family shrunk toward the child's margin."""
    raise NotImplementedError
