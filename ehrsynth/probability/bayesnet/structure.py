"""Structure search for Bayesian networks: hill climbing over edges under tiers, forbidden and required edges."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ehrsynth.probability.bayesnet.counts import FamilyCounts
from ehrsynth.probability.bayesnet.dag import Dag

__all__ = ["hill_climb"]


def hill_climb(
    counts: FamilyCounts,
    *,
    tiers: Sequence[int] | None = None,
    forbidden: Iterable[tuple[int, int]] = (),
    required: Iterable[tuple[int, int]] = (),
    max_parents: int = 4,
    score: str = "bic",
    equivalent_sample_size: float = 1.0,
    tabu: int = 0,
    max_cells: int = 1_000_000,
) -> Dag:
    """Search the graph of the best score, edge by edge (edges are (parent, child); a parent's tier <= its child's)."""
    raise NotImplementedError
