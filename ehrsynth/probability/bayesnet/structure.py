"""Structure search for Bayesian networks: hill climbing over edges under tiers, forbidden and required edges."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from ehrsynth.errors import LearningError
from ehrsynth.probability.bayesnet.counts import FamilyCounts
from ehrsynth.probability.bayesnet.dag import Dag
from ehrsynth.probability.bayesnet.score import bdeu, bic

__all__ = ["FamilyScores", "hill_climb"]

Parents = tuple[tuple[int, ...], ...]
Edge = tuple[int, int]


class FamilyScores:
    """Scores of families, each computed once.

    Parameters
    ----------
    counts : FamilyCounts
    score : {"bic", "bdeu"}
    equivalent_sample_size : float
        Of the prior of `bdeu`.
    """

    def __init__(
        self, counts: FamilyCounts, score: Literal["bic", "bdeu"] = "bic", equivalent_sample_size: float = 1.0
    ) -> None:
        self._counts = counts
        self._score = score
        self._size = equivalent_sample_size
        self._total = counts.total
        self._known: dict[tuple[int, tuple[int, ...]], float] = {}

    def family(self, child: int, parents: Sequence[int]) -> float:
        """Return the score of `child` with the set `parents`; higher is better."""
        key = (child, tuple(sorted(parents)))
        if key not in self._known:
            table = self._counts.counts(*key)
            self._known[key] = bic(table, self._total) if self._score == "bic" else bdeu(table, self._size)
        return self._known[key]

    def network(self, parents: Parents) -> float:
        """Return the score of a whole graph."""
        return sum(self.family(child, of_child) for child, of_child in enumerate(parents))


def hill_climb(
    counts: FamilyCounts,
    *,
    tiers: Sequence[int] | None = None,
    forbidden: Iterable[Edge] = (),
    required: Iterable[Edge] = (),
    max_parents: int = 4,
    max_cells: int = 1_000_000,
    score: Literal["bic", "bdeu"] = "bic",
    equivalent_sample_size: float = 1.0,
    tabu: int = 50,
) -> Dag:
    """Search the graph of the best score by adding, deleting and reversing one edge at a time.

    Greedy search with a tabu list of visited graphs (Glover 1989; as in R's bnlearn): from each graph go to the best
    neighbour not visited lately, even a worse one, and give up after `tabu` steps without a new best. Equal scores
    (equivalent graphs tie in theory and differ in the last bits) are told apart by the order of the moves: add before
    delete before reverse, then the lower parent, then the lower child.

    Parameters
    ----------
    counts : FamilyCounts
    tiers : sequence of d int, optional
        A variable has parents of its own or lower tiers only.
    forbidden, required : iterable of (parent, child)
        Edges that must not, and must, be there.
    max_parents : int
    max_cells : int
        Families with a larger table are not considered.
    score, equivalent_sample_size
        See `FamilyScores`.
    tabu : int
        Steps without improvement to allow, and the length of the list; 0 is plain hill climbing. Against the best of
        all graphs over four variables in 24 data sets, 0 missed two, 10 one, 20 and more none.

    Returns
    -------
    Dag
        With the parents of each variable in ascending order.

    Raises
    ------
    LearningError
        The required edges contradict the other rules, or there is nothing counted.
    """
    d = len(counts.cardinalities)
    if counts.total <= 0:
        raise LearningError("There is no data to learn the structure of a network from.")
    search = _Search(
        cardinalities=counts.cardinalities,
        allowed=_allowed(d, tiers, frozenset(forbidden)),
        required=frozenset(required),
        max_parents=max_parents,
        max_cells=max_cells,
    )
    scores = FamilyScores(counts, score, equivalent_sample_size)
    # A difference this small is rounding of sums over the observations, not evidence.
    tolerance = 1e-9 * (1 + counts.total)
    graph = best = search.start()
    visited: deque[Parents] = deque([graph], maxlen=max(tabu, 1))
    gain = 0.0  # Score of `graph` above the score of `best`.
    idle = 0
    while True:
        step: tuple[float, Parents] | None = None
        for neighbour, changed in search.neighbours(graph):
            delta = sum(scores.family(j, neighbour[j]) - scores.family(j, graph[j]) for j in changed)
            if (step is None or delta > step[0] + tolerance) and neighbour not in visited:
                step = delta, neighbour
        if step is None or (tabu == 0 and step[0] <= tolerance):
            return Dag(best)
        gain += step[0]
        graph = step[1]
        visited.append(graph)
        if gain > tolerance:
            best, gain, idle = graph, 0.0, 0
        else:
            idle += 1
            if idle > tabu:
                return Dag(best)


def _allowed(d: int, tiers: Sequence[int] | None, forbidden: frozenset[Edge]) -> list[list[bool]]:
    tier = [0] * d if tiers is None else list(tiers)
    if len(tier) != d:
        raise LearningError(f"There are {len(tier)} tiers for {d} variables.")
    return [[p != c and tier[p] <= tier[c] and (p, c) not in forbidden for c in range(d)] for p in range(d)]


class _Search:
    """The graphs that the rules allow, and the moves between them."""

    def __init__(
        self,
        *,
        cardinalities: tuple[int, ...],
        allowed: list[list[bool]],
        required: frozenset[Edge],
        max_parents: int,
        max_cells: int,
    ) -> None:
        self._cards = cardinalities
        self._allowed = allowed
        self._required = required
        self._max_parents = max_parents
        self._max_cells = max_cells

    def start(self) -> Parents:
        parents: list[list[int]] = [[] for _ in self._cards]
        for p, c in sorted(self._required):
            if not self._allowed[p][c]:
                raise LearningError(f"The edge from variable {p} to variable {c} is both required and not allowed.")
            parents[c].append(p)
        graph = tuple(tuple(of_child) for of_child in parents)
        if any(not self._fits(c, of_child) for c, of_child in enumerate(graph)):
            raise LearningError("The required edges give a variable too many parents or too large a table.")
        if any(self._reaches(c, p, graph) for p, c in self._required):
            raise LearningError("The required edges form a cycle.")
        return graph

    def neighbours(self, graph: Parents) -> Iterator[tuple[Parents, tuple[int, ...]]]:
        """Yield every allowed graph one move away with the children whose parents changed, in the order of ties."""
        d = len(graph)
        edges = [(p, c) for p in range(d) for c in range(d)]
        for p, c in edges:
            if p not in graph[c] and self._allowed[p][c] and not self._reaches(c, p, graph):
                added = _with(graph, c, p)
                if self._fits(c, added[c]):
                    yield added, (c,)
        for p, c in edges:
            if p in graph[c] and (p, c) not in self._required:
                yield _without(graph, c, p), (c,)
        for p, c in edges:
            if p in graph[c] and (p, c) not in self._required and self._allowed[c][p]:
                removed = _without(graph, c, p)
                if not self._reaches(p, c, removed):
                    reversed_ = _with(removed, p, c)
                    if self._fits(p, reversed_[p]):
                        yield reversed_, (p, c)

    def _fits(self, child: int, parents: tuple[int, ...]) -> bool:
        cells = math.prod(self._cards[j] for j in (*parents, child))
        return len(parents) <= self._max_parents and cells <= self._max_cells

    @staticmethod
    def _reaches(start: int, goal: int, graph: Parents) -> bool:
        """Whether a directed path leads from `start` to `goal`."""
        seen = {goal}
        stack = [goal]
        while stack:
            for p in graph[stack.pop()]:
                if p == start:
                    return True
                if p not in seen:
                    seen.add(p)
                    stack.append(p)
        return False


def _with(graph: Parents, child: int, parent: int) -> Parents:
    return (*graph[:child], tuple(sorted((*graph[child], parent))), *graph[child + 1 :])


def _without(graph: Parents, child: int, parent: int) -> Parents:
    return (*graph[:child], tuple(p for p in graph[child] if p != parent), *graph[child + 1 :])
