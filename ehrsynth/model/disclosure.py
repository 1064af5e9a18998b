"""What was done so that a model tells about nobody."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Disclosure"]


@dataclass(frozen=True, kw_only=True)
class Disclosure:
    """What was done so that the model tells about nobody: the custodian reads this before it leaves the building.

    Attributes
    ----------
    min_patients : int
        No code, category, date or histogram cell of fewer people is in the package.
    counts : mapping of str to int
        Patients, encounters and rows learned from, rounded to `rounding`.
    rounding : int
    left_out : mapping of str to int
        How many distinct codes or levels were left out or merged, per table or variable.
    notes : tuple of str
        What could not be learned, and why.
    """

    min_patients: int
    counts: dict[str, int]
    rounding: int
    left_out: dict[str, int]
    notes: tuple[str, ...] = ()
