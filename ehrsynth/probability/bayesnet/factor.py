"""Factors: non-negative tables over sets of variables, multiplied and summed out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Factor", "cheapest", "product"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Factor:
    """A table with one axis for each of its variables.

    Attributes
    ----------
    scope : tuple of int
        Ascending variable numbers, one for each axis.
    values : float64[...]
    """

    scope: tuple[int, ...]
    values: npt.NDArray[np.float64]

    @classmethod
    def of(cls, axes: Sequence[int], values: npt.NDArray[np.float64]) -> Factor:
        """Return the factor of a table whose axes are the variables `axes`, in any order."""
        order = sorted(range(len(axes)), key=lambda a: axes[a])
        return cls(scope=tuple(axes[a] for a in order), values=values.transpose(order))

    def sum_out(self, variable: int) -> Factor:
        """Return the factor summed over one of its variables."""
        axis = self.scope.index(variable)
        return Factor(scope=self.scope[:axis] + self.scope[axis + 1 :], values=np.asarray(self.values.sum(axis=axis)))

    def fix(self, variable: int, state: int) -> Factor:
        """Return the factor at one state of a variable, or itself if it does not have the variable."""
        if variable not in self.scope:
            return self
        axis = self.scope.index(variable)
        values = np.asarray(self.values.take(state, axis=axis))
        return Factor(scope=self.scope[:axis] + self.scope[axis + 1 :], values=values)


def product(factors: Iterable[Factor]) -> Factor:
    """Return the product of factors, scaled so that its largest value is 1 (no underflow; the scale is lost)."""
    scope: tuple[int, ...] = ()
    values: npt.NDArray[np.float64] = np.ones(())
    for factor in factors:
        union = tuple(sorted({*scope, *factor.scope}))
        values = _spread(values, scope, union) * _spread(factor.values, factor.scope, union)
        scope = union
        peak = values.max()
        if peak > 0:
            values = np.asarray(values / peak)
    return Factor(scope=scope, values=values)


def _spread(values: npt.NDArray[np.float64], scope: tuple[int, ...], union: tuple[int, ...]) -> npt.NDArray[np.float64]:
    sizes = dict(zip(scope, values.shape, strict=True))
    return values.reshape([sizes.get(variable, 1) for variable in union])


def cheapest(factors: Sequence[Factor], candidates: Iterable[int], cardinalities: Sequence[int]) -> int:
    """Return the candidate whose elimination makes the smallest table (min-weight); the lowest number among equals."""

    def cost(variable: int) -> tuple[int, int]:
        scope = {variable}.union(*(f.scope for f in factors if variable in f.scope))
        cells = 1
        for other in sorted(scope):
            cells *= cardinalities[other]
        return cells, variable

    return min(candidates, key=cost)
