"""Exact inference in discrete Bayesian networks by variable elimination: posteriors and conditioning.

Zhang and Poole (1994), "A simple approach to Bayesian network computations"; Dechter (1999), "Bucket elimination".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from ehrsynth.errors import UsageError
from ehrsynth.probability.bayesnet.factor import Factor, cheapest, product
from ehrsynth.probability.bayesnet.network import BayesianNetwork

__all__ = ["Evidence", "condition", "posterior"]

Evidence = Mapping[int, "int | np.integer | npt.ArrayLike"]
"""What is known: variable number -> a state number (hard), or non-negative likelihoods of its states (soft)."""


def posterior(
    network: BayesianNetwork, query: Sequence[int], evidence: Evidence | None = None
) -> npt.NDArray[np.float64]:
    """Return P(query | evidence).

    Parameters
    ----------
    network : BayesianNetwork
    query : sequence of int
        Distinct variable numbers; evidence variables may be among them.
    evidence : mapping, optional
        Variable number -> state number, or float[cardinality] likelihoods of its states (a 0/1 vector is a set).

    Returns
    -------
    float64[*cardinalities of the query]
        Sums to 1; axes in the order of `query`.

    Raises
    ------
    UsageError
        The evidence has probability zero or does not fit its variable, or a query variable comes twice.
    """
    if len(set(query)) != len(query) or any(not 0 <= j < len(network.variables) for j in query):
        raise UsageError(f"The variables {tuple(query)} cannot be asked for together.")
    hard, soft = _split(network, evidence or {})
    for j in [j for j in hard if j in query]:
        soft[j] = np.eye(network.cardinalities[j])[hard.pop(j)]
    relevant = _ancestors(network, {*query, *hard, *soft})
    factors = _factors(network, relevant, hard, soft)
    waiting = relevant - set(query) - set(hard)
    while waiting:
        variable = cheapest(factors, waiting, network.cardinalities)
        waiting.remove(variable)
        bucket = product(f for f in factors if variable in f.scope)
        factors = [f for f in factors if variable not in f.scope] + [bucket.sum_out(variable)]
    joint = product(factors)
    total = joint.values.sum()
    if not total > 0:
        raise _impossible(network, evidence or {})
    axes = [joint.scope.index(j) for j in query]
    result: npt.NDArray[np.float64] = (joint.values / total).transpose(axes)
    return result


def condition(network: BayesianNetwork, evidence: Evidence) -> BayesianNetwork:
    """Return a network over the same variables whose joint is exactly P(x | evidence).

    The ancestors of the evidence are eliminated one by one; the bucket of each, normalised, is its new table given the
    later ones (the parents it then has). Everything else keeps its table. Drawing from the result is exact conditional
    sampling, without rejection.

    Parameters
    ----------
    network : BayesianNetwork
    evidence : mapping
        As in `posterior`.

    Raises
    ------
    UsageError
        The evidence has probability zero or does not fit its variable.
    """
    hard, soft = _split(network, evidence)
    changed = _ancestors(network, {*hard, *soft})
    factors = _factors(network, changed, hard, soft)
    parents = list(network.parents)
    tables = list(network.tables)
    waiting = changed - set(hard)
    while waiting:
        variable = cheapest(factors, waiting, network.cardinalities)
        waiting.remove(variable)
        bucket = product(f for f in factors if variable in f.scope)
        parents[variable] = tuple(j for j in bucket.scope if j != variable)
        tables[variable] = _conditional(bucket, variable)
        factors = [f for f in factors if variable not in f.scope] + [bucket.sum_out(variable)]
    if not product(factors).values.sum() > 0:
        raise _impossible(network, evidence)
    for variable, state in hard.items():
        parents[variable] = ()
        tables[variable] = np.eye(network.cardinalities[variable])[state]
    return BayesianNetwork(variables=network.variables, parents=tuple(parents), tables=tuple(tables))


def _conditional(bucket: Factor, variable: int) -> npt.NDArray[np.float64]:
    table = np.moveaxis(bucket.values, bucket.scope.index(variable), -1)
    total = table.sum(axis=-1, keepdims=True)
    # A context of probability zero is never reached; any distribution will do there.
    uniform = 1.0 / table.shape[-1]
    result: npt.NDArray[np.float64] = np.where(total > 0, table / np.where(total > 0, total, 1.0), uniform)
    return result


def _split(network: BayesianNetwork, evidence: Evidence) -> tuple[dict[int, int], dict[int, npt.NDArray[np.float64]]]:
    hard: dict[int, int] = {}
    soft: dict[int, npt.NDArray[np.float64]] = {}
    for j in sorted(evidence):
        if not 0 <= j < len(network.variables):
            raise UsageError(f"There is no variable {j} to give evidence on.")
        known, variable = evidence[j], network.variables[j]
        if isinstance(known, int | np.integer):
            if not 0 <= known < variable.cardinality:
                raise UsageError(f"Variable {variable.name!r} has no state number {known}.")
            hard[j] = int(known)
            continue
        likelihood = np.asarray(known, dtype=np.float64)
        fits = likelihood.shape == (variable.cardinality,)
        if not fits or not np.isfinite(likelihood).all() or (likelihood < 0).any():
            raise UsageError(
                f"Evidence on {variable.name!r} must be a state number or {variable.cardinality} likelihoods."
            )
        soft[j] = likelihood
    return hard, soft


def _ancestors(network: BayesianNetwork, start: Iterable[int]) -> set[int]:
    """Return `start` and all that come before; what does not is barren and sums to one."""
    found: set[int] = set()
    stack = sorted(start)
    while stack:
        j = stack.pop()
        if j not in found:
            found.add(j)
            stack.extend(network.parents[j])
    return found


def _factors(
    network: BayesianNetwork,
    relevant: set[int],
    hard: Mapping[int, int],
    soft: Mapping[int, npt.NDArray[np.float64]],
) -> list[Factor]:
    factors = [Factor.of((*network.parents[j], j), network.tables[j]) for j in sorted(relevant)]
    factors += [Factor(scope=(j,), values=likelihood) for j, likelihood in soft.items()]
    for variable, state in hard.items():
        factors = [factor.fix(variable, state) for factor in factors]
    return factors


def _impossible(network: BayesianNetwork, evidence: Evidence) -> UsageError:
    names = ", ".join(repr(network.variables[j].name) for j in sorted(evidence))
    return UsageError(
        f"What is asked of {names} is impossible together in this model.", hint="Ask for less, or for something else."
    )
