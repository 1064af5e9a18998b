"""The Bayesian network: variables, parents and conditional tables, P(x) = prod_j P(x_j | x_parents(j))."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from ehrsynth.errors import ModelError
from ehrsynth.probability.bayesnet.dag import Dag
from ehrsynth.probability.bayesnet.variable import Variable

__all__ = ["BayesianNetwork"]


@dataclass(frozen=True, kw_only=True, eq=False)
class BayesianNetwork:
    """A discrete Bayesian network over d variables.

    Attributes
    ----------
    variables : tuple of Variable
    parents : tuple of tuple of int
        parents[j] numbers the parents of variable j.
    tables : tuple of float64[*cardinality of each parent, cardinality of j]
        Conditional probabilities; every row (last axis) sums to 1 within 1e-9.

    Raises
    ------
    ModelError
        Repeated names, a cycle, a table of the wrong shape, or a row that is no distribution.
    """

    variables: tuple[Variable, ...]
    parents: tuple[tuple[int, ...], ...]
    tables: tuple[npt.NDArray[np.float64], ...]

    def __post_init__(self) -> None:
        names = [variable.name for variable in self.variables]
        if len(set(names)) != len(names):
            raise ModelError("A network has two variables of one name.")
        if not len(self.variables) == len(self.parents) == len(self.tables):
            raise ModelError(
                f"A network of {len(self.variables)} variables has {len(self.parents)} lists of parents "
                f"and {len(self.tables)} tables."
            )
        _ = self.dag
        for variable, parents, table in zip(self.variables, self.parents, self.tables, strict=True):
            shape = (*(self.variables[p].cardinality for p in parents), variable.cardinality)
            if table.shape != shape or table.dtype != np.float64:
                raise ModelError(
                    f"The table of {variable.name!r} is {table.dtype}{list(table.shape)}, not float64{list(shape)}."
                )
            if not np.isfinite(table).all() or (table < 0).any() or (np.abs(table.sum(axis=-1) - 1) > 1e-9).any():
                raise ModelError(f"A row of the table of {variable.name!r} is not a distribution.")

    @cached_property
    def dag(self) -> Dag:
        """The graph."""
        return Dag(self.parents)

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """The number of states of each variable."""
        return tuple(variable.cardinality for variable in self.variables)

    def index(self, name: str) -> int:
        """Return the number of the variable called `name`.

        Raises
        ------
        ModelError
            There is no such variable.
        """
        for number, variable in enumerate(self.variables):
            if variable.name == name:
                return number
        known = ", ".join(variable.name for variable in self.variables)
        raise ModelError(f"The network has no variable {name!r}.", hint=f"It has: {known}.")

    def log_probability(self, data: npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
        """Return the natural log-probability of each row of `data`.

        Parameters
        ----------
        data : int[n, d]
            State numbers, 0 <= data[:, j] < cardinality of j.

        Returns
        -------
        float64[n]
            -inf where the network gives probability zero.
        """
        total = np.zeros(len(data))
        with np.errstate(divide="ignore"):
            for j, (parents, table) in enumerate(zip(self.parents, self.tables, strict=True)):
                total += np.log(table)[(*tuple(data[:, p] for p in parents), data[:, j])]
        return total

    def marginal(self, *indices: int) -> npt.NDArray[np.float64]:
        """Return the joint distribution of the variables `indices`, one axis each, exact (variable elimination)."""
        from ehrsynth.probability.bayesnet.infer import posterior  # `infer` builds on this module.

        return posterior(self, indices)
