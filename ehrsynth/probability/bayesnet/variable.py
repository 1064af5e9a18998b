"""A discrete variable: its name, its states, and the bin edges when it stands for a number."""

from __future__ import annotations

from dataclasses import dataclass

from ehrsynth.errors import ModelError

__all__ = ["MISSING", "Variable"]

MISSING = "missing"
"""The label of the state that stands for a missing value; always the last state."""


@dataclass(frozen=True, kw_only=True)
class Variable:
    """A discrete variable of a network.

    Attributes
    ----------
    name : str
    states : tuple of str
        Distinct labels; `MISSING`, when present, is the last.
    edges : tuple of float, optional
        For a binned number: the ascending edges of the bins, one more than there are states that are not `MISSING`.
        Bin i is [edges[i], edges[i + 1]).

    Raises
    ------
    ModelError
        No states, repeated states, `MISSING` not last, or edges that do not ascend or do not fit the states.
    """

    name: str
    states: tuple[str, ...]
    edges: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if not self.states:
            raise ModelError(f"Variable {self.name!r} has no states.")
        if len(set(self.states)) != len(self.states):
            raise ModelError(f"Variable {self.name!r} has a state twice.")
        if MISSING in self.states[:-1]:
            raise ModelError(f"Variable {self.name!r}: the state {MISSING!r} must be the last.")
        if self.edges is not None:
            bins = self.cardinality - self.has_missing
            if len(self.edges) != bins + 1:
                raise ModelError(
                    f"Variable {self.name!r} has {bins} bins and {len(self.edges)} edges (need {bins + 1})."
                )
            if any(not a < b for a, b in zip(self.edges, self.edges[1:], strict=False)):
                raise ModelError(f"Variable {self.name!r}: the edges must ascend.")

    @property
    def cardinality(self) -> int:
        """The number of states, `MISSING` included."""
        return len(self.states)

    @property
    def has_missing(self) -> bool:
        """Whether the last state is `MISSING`."""
        return self.states[-1] == MISSING

    def index(self, label: str) -> int:
        """Return the number of the state `label`.

        Raises
        ------
        ModelError
            There is no such state.
        """
        try:
            return self.states.index(label)
        except ValueError:
            raise ModelError(
                f"Variable {self.name!r} has no state {label!r}.", hint=f"It has: {', '.join(self.states)}."
            ) from None
