"""Conditional tables from counts, shrunk toward the margin."""

from __future__ import annotations

from collections.abc import Sequence

from ehrsynth.errors import LearningError
from ehrsynth.probability.bayesnet.counts import FamilyCounts
from ehrsynth.probability.bayesnet.dag import Dag
from ehrsynth.probability.bayesnet.network import BayesianNetwork
from ehrsynth.probability.bayesnet.variable import Variable
from ehrsynth.probability.shrinkage import shrink

__all__ = ["estimate_network", "shrink"]


def estimate_network(
    counts: FamilyCounts, variables: Sequence[Variable], dag: Dag, *, strength: float = 5.0
) -> BayesianNetwork:
    """Return the network of graph `dag` whose tables are the family counts shrunk toward the child's margin.

    Parameters
    ----------
    counts : FamilyCounts
        Over the same variables, in the same order.
    variables : sequence of Variable
    dag : Dag
    strength : float
        Equivalent sample size of the prior of each row, in observations.

    Raises
    ------
    LearningError
        Variables, graph and counts do not fit, or nothing is counted.
    """
    if tuple(variable.cardinality for variable in variables) != counts.cardinalities:
        raise LearningError("The variables do not have the states that were counted.")
    if len(dag.parents) != len(variables):
        raise LearningError(f"A graph over {len(dag.parents)} variables does not fit {len(variables)} variables.")
    if counts.total <= 0:
        raise LearningError("There is no data to learn the tables of a network from.")
    tables = tuple(shrink(counts.counts(child, parents), strength) for child, parents in enumerate(dag.parents))
    return BayesianNetwork(variables=tuple(variables), parents=dag.parents, tables=tables)
