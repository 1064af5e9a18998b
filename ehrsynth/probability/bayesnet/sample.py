"""Ancestral sampling of Bayesian networks, one uniform for each cell."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ehrsynth.native import compiled
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
        self._flat: tuple[npt.NDArray[np.int64], ...] | None = None

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
        native = compiled()
        if native is not None:
            native.ancestral(*self._joined(), np.ascontiguousarray(u), data)
            return data
        cardinalities = self.network.cardinalities
        for j in self.network.dag.topological_order():
            row = np.zeros(len(u), dtype=np.int64)
            for p in self.network.parents[j]:
                row *= cardinalities[p]
                row += data[:, p]
            data[:, j] = sample_rows(self._tables[j], row, np.ascontiguousarray(u[:, j]))
        return data

    def _joined(self) -> tuple[npt.NDArray[np.int64], ...]:
        """Return all tables, categories and parents one after the other, as the compiled loop takes them."""
        if self._flat is None:
            network = self.network
            sizes = [len(table.thresholds) for table in self._tables]
            parents = [tuple(network.parents[j]) for j in range(len(sizes))]
            self._flat = (
                np.concatenate([table.thresholds for table in self._tables]),
                np.cumsum([0, *sizes]),
                np.array(network.cardinalities, dtype=np.int64),
                np.cumsum([0, *(len(few) for few in parents)]),
                np.array([p for few in parents for p in few], dtype=np.int64),
                np.array(network.dag.topological_order(), dtype=np.int64),
            )
        return self._flat


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
