"""Bayesian networks as pomegranate's objects, and estimation through them where that is sound.

What is used of pomegranate 1.1.2, and what is not (each measured):

- `Categorical` and `ConditionalCategorical` with weighted `summarize` and `from_summaries`: right and additive, in
  float32. They are always built with tables of the full shape, since one that is shaped by its data cannot score a
  category that the data lack; smoothing is given as weighted pseudo-observations, since `pseudocount` is ignored.
- `BayesianNetwork.log_probability`, and `predict_proba` on networks whose moral graph is a tree (it is loopy belief
  propagation: on others it is an approximation): right, used as an oracle.
- Structure search (chow-liu gives a star when cardinalities differ, exact takes all memory at ten variables), `sample`
  (800 times slower than `sample` here) and a second `fit` (which doubles the nodes): not used.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ehrsynth.errors import LearningError
from ehrsynth.probability.bayesnet.counts import FamilyCounts
from ehrsynth.probability.bayesnet.dag import Dag
from ehrsynth.probability.bayesnet.network import BayesianNetwork
from ehrsynth.probability.bayesnet.variable import Variable
from ehrsynth.probability.extra import learn_library

__all__ = ["estimate_with_pomegranate", "to_pomegranate"]

_FLOAT32_WHOLE = 1 << 24
"""Beyond this, adding one to a float32 does nothing."""


def to_pomegranate(network: BayesianNetwork) -> Any:
    """Return the network as a `pomegranate.bayesian_network.BayesianNetwork` (float32 tables).

    Its variables have the numbers of ours, and the parents of each the order of the axes of our tables.

    Raises
    ------
    MissingExtraError
        pomegranate is not installed.
    """
    library = learn_library("pomegranate.bayesian_network")
    nodes = [_distribution(table) for table in network.tables]
    edges = [(nodes[p], nodes[child]) for child, parents in enumerate(network.parents) for p in parents]
    return library.BayesianNetwork(nodes, edges)


def estimate_with_pomegranate(
    counts: FamilyCounts, variables: Sequence[Variable], dag: Dag, *, strength: float = 5.0
) -> BayesianNetwork:
    """Return what `estimate_network` returns, summed up by pomegranate's distributions.

    The prior of each row is given as pseudo-observations: every parent configuration with every state of the child,
    weighted by strength * margin. Agrees with `estimate_network` to 1e-6 (float32 sums); that one is 50 times faster
    and has no limit, so learning uses it and this one holds it to account.

    Raises
    ------
    LearningError
        Variables, graph and counts do not fit, or there are 2**24 observations or more, too many for float32 sums.
    MissingExtraError
        pomegranate is not installed.
    """
    if tuple(variable.cardinality for variable in variables) != counts.cardinalities:
        raise LearningError("The variables do not have the states that were counted.")
    if not 0 < counts.total < _FLOAT32_WHOLE:
        raise LearningError(f"pomegranate sums in float32, which cannot count {counts.total:g} observations.")
    torch = learn_library("torch")
    tables = []
    for child, parents in enumerate(dag.parents):
        family = [*parents, child]
        shape = [counts.cardinalities[j] for j in family]
        node = _distribution(np.full(shape, 1 / shape[-1]))
        margin = counts.counts(child) / counts.total
        prior = np.stack([axis.reshape(-1) for axis in np.indices(shape)], axis=1)
        # As in `shrink`: a row that nobody has becomes the margin, also without smoothing (pomegranate: uniform).
        seen = counts.counts(child, parents).sum(axis=-1, keepdims=True) > 0
        weight = np.broadcast_to(np.where(seen, strength, max(strength, 1.0)), shape).reshape(-1)
        for rows, weights in (
            (counts.rows[:, family], counts.weights),
            (prior, weight * margin[prior[:, -1]]),
        ):
            states = torch.as_tensor(rows.astype(np.int64))
            node.summarize(
                states[:, :, None] if parents else states,
                sample_weight=torch.as_tensor(weights.astype(np.float32)),
            )
        node.from_summaries()
        table = node.probs[0].numpy().astype(np.float64).reshape(shape)
        tables.append(table / table.sum(axis=-1, keepdims=True))
    return BayesianNetwork(variables=tuple(variables), parents=dag.parents, tables=tuple(tables))


def _distribution(table: np.ndarray[Any, np.dtype[np.float64]]) -> Any:
    """Return a pomegranate distribution with a table of the full shape."""
    distributions, torch = learn_library("pomegranate.distributions"), learn_library("torch")
    values = torch.as_tensor(table.astype(np.float32))
    if table.ndim == 1:
        return distributions.Categorical(values[None])
    return distributions.ConditionalCategorical([values])
