"""A directed acyclic graph over variables 0..d-1, as the parents of each."""

from __future__ import annotations

from dataclasses import dataclass

from ehrsynth.errors import ModelError

__all__ = ["Dag"]


@dataclass(frozen=True)
class Dag:
    """A directed acyclic graph.

    Attributes
    ----------
    parents : tuple of tuple of int
        parents[j] are the parents of variable j, in the order of the axes of its table.

    Raises
    ------
    ModelError
        A parent that does not exist, comes twice or is the child itself, or a cycle.
    """

    parents: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        d = len(self.parents)
        for child, parents in enumerate(self.parents):
            if len(set(parents)) != len(parents) or any(not 0 <= p < d or p == child for p in parents):
                raise ModelError(f"Variable {child} cannot have the parents {parents} among {d} variables.")
        if len(self.topological_order()) < d:
            raise ModelError("The graph of the network has a cycle.")

    def topological_order(self) -> tuple[int, ...]:
        """Return the variables, parents before children; the lowest number first wherever there is a choice."""
        order: list[int] = []
        done: set[int] = set()
        remaining = list(range(len(self.parents)))
        while True:
            ready = next((j for j in remaining if done.issuperset(self.parents[j])), None)
            if ready is None:
                return tuple(order)
            order.append(ready)
            done.add(ready)
            remaining.remove(ready)

    def edges(self) -> tuple[tuple[int, int], ...]:
        """Return the edges (parent, child), sorted by child, then parent."""
        return tuple((p, child) for child, parents in enumerate(self.parents) for p in sorted(parents))
