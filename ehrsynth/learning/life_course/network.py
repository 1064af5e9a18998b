"""A Bayesian network built node by node: each has its margin by age, sex and survival, and odds ratios to its parents.

The table of a node is logistic in its parents, logit P(x | context, parents) = alpha(context) + sum of log odds ratios;
alpha is solved so that the margin of each context (age band, sex, deceased) is met exactly, given the joint
distribution of the parents in that context, which the network built so far gives by exact inference. This is raking
with the associations kept (Deming and Stephan 1940; Bishop, Fienberg and Holland 1975, ch. 3).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from ehrsynth.errors import ModelError
from ehrsynth.probability.bayesnet import BayesianNetwork, Variable, posterior

__all__ = ["CONTEXT", "NO_YES", "NetworkBuilder"]

Float = npt.NDArray[np.float64]

CONTEXT = ("band", "sex", "deceased")
NO_YES = ("no", "yes")
_STEPS = 60
_SPAN = 40.0


class NetworkBuilder:
    """Collects variables with their parents and tables."""

    def __init__(self) -> None:
        self._variables: list[Variable] = []
        self._parents: list[tuple[int, ...]] = []
        self._tables: list[Float] = []

    def __contains__(self, name: str) -> bool:
        return any(variable.name == name for variable in self._variables)

    def index(self, name: str) -> int:
        """Return the number of a variable."""
        for number, variable in enumerate(self._variables):
            if variable.name == name:
                return number
        raise ModelError(f"There is no variable {name!r} yet.")

    def network(self) -> BayesianNetwork:
        """Return the network of what was added."""
        return BayesianNetwork(
            variables=tuple(self._variables), parents=tuple(self._parents), tables=tuple(self._tables)
        )

    def add(self, name: str, states: Sequence[str], parents: Sequence[str], table: npt.ArrayLike) -> None:
        """Add a variable with weights [*parents' states, states], made to sum to 1."""
        weights = np.asarray(table, dtype=np.float64)
        total = weights.sum(axis=-1, keepdims=True)
        uniform = np.full(weights.shape, 1.0 / weights.shape[-1])
        probability = np.where(total > 0, weights / np.where(total > 0, total, 1.0), uniform)
        self._variables.append(Variable(name=name, states=tuple(states)))
        self._parents.append(tuple(self.index(parent) for parent in parents))
        self._tables.append(probability)

    def context_share(self) -> Float:
        """Return P(band, sex, deceased)."""
        return posterior(self.network(), [self.index(name) for name in CONTEXT])

    def given_context(self, names: Sequence[str]) -> Float:
        """Return P(names | band, sex, deceased), float[B, 2, 2, *states]; zero in contexts that cannot be."""
        joint = posterior(self.network(), [self.index(name) for name in (*CONTEXT, *names)])
        total = joint.reshape(*joint.shape[:3], -1).sum(axis=-1).reshape(*joint.shape[:3], *[1] * len(names))
        found: Float = np.divide(joint, total, out=np.zeros_like(joint), where=total > 0)
        return found

    def add_binary(
        self,
        name: str,
        margin: Float,
        effects: Mapping[str, Sequence[float]],
        *,
        only_with: Sequence[str] = (),
        never_with: Sequence[str] = (),
        forced: Mapping[tuple[int, ...], float] | None = None,
    ) -> None:
        """Add a yes-no variable.

        Parameters
        ----------
        name : str
        margin : float[B, 2, 2]
            P(yes | band, sex, deceased).
        effects : mapping of parent to float[states]
            Log odds ratio of each of the parent's states.
        only_with : sequence of parent names
            Impossible unless one of these is yes. Where they are too rare for the margin, all who may have it do.
        never_with : sequence of parent names
            Impossible if one of these is yes.
        forced : mapping of parents' states to probability
            States of all parents (in the order of `effects`) whose probability is given, whatever the margin.
        """
        names = list(effects)
        joint = self.given_context(names) if names else np.ones(margin.shape)
        shape = joint.shape[3:]
        shift = np.zeros(shape)
        for axis, parent in enumerate(names):
            effect = np.asarray(effects[parent], dtype=np.float64)
            shift = shift + effect.reshape([-1 if at == axis else 1 for at in range(len(shape))])
        possible = np.ones(shape, dtype=bool)
        if only_with:
            possible = np.zeros(shape, dtype=bool)
            for parent in only_with:
                index: list[slice | int] = [slice(None)] * len(shape)
                index[names.index(parent)] = 1
                possible[tuple(index)] = True
        for parent in never_with:
            index = [slice(None)] * len(shape)
            index[names.index(parent)] = 1
            possible[tuple(index)] = False
        fixed = np.full(shape, np.nan)
        for states, probability in (forced or {}).items():
            fixed[states] = probability
        yes = _solve(margin, joint, shift, possible, fixed)
        self.add(name, NO_YES, (*CONTEXT, *names), np.stack([1.0 - yes, yes], axis=-1))


def _solve(margin: Float, joint: Float, shift: Float, possible: npt.NDArray[np.bool_], fixed: Float) -> Float:
    """Return P(yes | context, parents) with the margin of each context."""
    contexts = margin.shape
    flat = joint.reshape(*contexts, -1)
    shift, possible, fixed = shift.ravel(), possible.ravel(), fixed.ravel()
    low, high = np.full(contexts, -_SPAN), np.full(contexts, _SPAN)

    def table(alpha: Float) -> Float:
        p = 1.0 / (1.0 + np.exp(-(alpha[..., None] + shift)))
        p = np.where(possible, p, 0.0)
        found: Float = np.where(np.isnan(fixed), p, np.nan_to_num(fixed))
        return found

    for _ in range(_STEPS):
        middle = (low + high) / 2
        over = (flat * table(middle)).sum(axis=-1) > margin
        high, low = np.where(over, middle, high), np.where(over, low, middle)
    solved = table((low + high) / 2)
    # A margin of nothing is structural: nobody at all, not one in a billion.
    solved = np.where((margin <= 0)[..., None], 0.0, solved)
    return solved.reshape(*contexts, *joint.shape[3:])
