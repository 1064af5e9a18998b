"""Ancestral sampling of Bayesian networks, one uniform for each cell."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ehrsynth.probability.bayesnet.infer import Evidence, condition
from ehrsynth.probability.bayesnet.network import BayesianNetwork
from ehrsynth.probability.categorical import Cumulative, cumulative, sample_rows

__all__ = ["Sampler", "sample"]


class Sampler:
    """A network made ready for drawing many blocks.

    Parameters
    ----------
    network : BayesianNetwork
    evidence : mapping, optional
        Variable number -> state number or likelihoods of the states. Draws are then exactly from P(x | evidence), by
        conditioning and not by rejection.

    Raises
    ------
    UsageError
        The evidence has probability zero.
    """

    def __init__(self, network: BayesianNetwork, evidence: Evidence | None = None) -> None:
        self.network = network if not evidence else condition(network, evidence)
        self._tables: list[Cumulative] = [cumulative(table) for table in self.network.tables]

    def draw(self, u: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        """Return one row of states for each row of uniforms.

        Parameters
        ----------
        u : float64[n, d]
            Uniforms in [0, 1); u[:, j] decides variable j, so a row depends on nothing but its own uniforms.

        Returns
        -------
        int64[n, d]
        """
        data = np.zeros(u.shape, dtype=np.int64)
        cardinalities = self.network.cardinalities
        for j in self.network.dag.topological_order():
            row = np.zeros(len(u), dtype=np.int64)
            for p in self.network.parents[j]:
                row *= cardinalities[p]
                row += data[:, p]
            data[:, j] = sample_rows(self._tables[j], row, np.ascontiguousarray(u[:, j]))
        return data


def sample(
    network: BayesianNetwork, n: int, rng: np.random.Generator, evidence: Evidence | None = None
) -> npt.NDArray[np.int64]:
    """Draw n rows from P(x | evidence).

    Parameters
    ----------
    network : BayesianNetwork
    n : int
    rng : numpy.random.Generator
        Gives n * d uniforms, row by row: the first k rows are the same for every n >= k.
    evidence : mapping, optional
        Variable number -> state number or likelihoods of the states (float[cardinality], non-negative).

    Returns
    -------
    int64[n, d]
        State numbers.

    Raises
    ------
    UsageError
        The evidence has probability zero.
    """
    return Sampler(network, evidence).draw(rng.random((n, len(network.variables))))
