"""Results of one report that follow from each other: parts make wholes, ratios are those of what they compare.

Every rule is arithmetic that laboratories do themselves (what is computed is computed from the rounded parts), or a
bound that a part cannot pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from ehrsynth.generation.life_course.segments import edges_of, order_of

__all__ = ["agree"]

Int = npt.NDArray[np.int64]
Float = npt.NDArray[np.float64]

Rule = tuple[str, tuple[str, ...], Callable[..., Float]]

_PARTS_OF_WHITE = ("736-9", "5905-5", "713-8", "706-2")


def _rest(_own: Float, *parts: Float) -> Float:
    return np.asarray(np.maximum(100.0 - np.sum(parts, axis=0), 1.0))


RULES: tuple[Rule, ...] = (
    # Red cells: hematocrit is hemoglobin over its concentration in them, about 33.5 g/dL.
    ("4544-3", ("718-7",), lambda own, hemoglobin: hemoglobin * 2.985 + 0.12 * (own - 2.985 * hemoglobin)),
    # The differential count adds up: neutrophils are what the others leave.
    ("770-8", _PARTS_OF_WHITE, _rest),
    ("751-8", ("6690-2", "770-8"), lambda _, white, share: white * share / 100),
    ("731-0", ("6690-2", "736-9"), lambda _, white, share: white * share / 100),
    # Electroneutrality: the gap is sodium less chloride and bicarbonate.
    (
        "2075-0",
        ("2951-2", "2028-9"),
        lambda own, sodium, carbon: np.clip(own, sodium - carbon - 16, sodium - carbon - 5),
    ),
    ("10466-1", ("2951-2", "2075-0", "2028-9"), lambda _, sodium, chloride, carbon: sodium - chloride - carbon),
    # What is bound is part of the whole.
    ("2502-3", ("2498-4", "2500-7"), lambda _, iron, capacity: 100 * np.minimum(iron / capacity, 0.98)),
    ("1968-7", ("1975-2",), lambda own, total: np.minimum(own, 0.8 * total)),
    ("1751-7", ("2885-2",), lambda own, protein: np.minimum(own, 0.75 * protein)),
    # Liver enzymes leak together.
    ("1920-8", ("1742-6",), lambda own, alanine: own**0.45 * (0.92 * alanine) ** 0.55),
    # The first two questions are two of the nine.
    ("55758-7", ("44261-6",), lambda _, nine: np.minimum(nine * 2 / 9 + 0.3, 6)),
)
"""LOINC code of the result, of what it follows from, and how: its own value first."""


def agree(codes: Sequence[str], code: Int, visit: Int, value: Float, decimals: Int) -> None:
    """Make the values of one visit agree, in place, in the order of the rules.

    Parameters
    ----------
    codes : sequence of str
        LOINC code of each code number.
    code, visit : int64[r]
        Code number and encounter of each value.
    value : float64[r]
        Rounded; NaN for none. What follows is rounded to its own decimals.
    decimals : int64[r]
    """
    number: Mapping[str, int] = {text: at for at, text in enumerate(codes)}
    # Rows of a code side by side, in the order of encounters.
    order = order_of(code)
    edges = edges_of(code, len(codes))

    def of(text: str) -> Int:
        at = number.get(text, -1)
        return order[edges[at] : edges[at + 1]] if at >= 0 else order[:0]

    for target, sources, rule in RULES:
        here = of(target)
        if not len(here):
            continue
        parts, known = [], np.ones(len(here), dtype=bool)
        for source in sources:
            there = of(source)
            if not len(there):
                known[:] = False
                break
            place = np.minimum(np.searchsorted(visit[there], visit[here]), len(there) - 1)
            known &= visit[there[place]] == visit[here]
            parts.append(value[there[place]])
        at = here[known]
        if not len(at):
            continue
        found = rule(value[at], *(part[known] for part in parts))
        scale = 10.0 ** decimals[at]
        value[at] = np.where(np.isnan(found), value[at], np.round(found * scale) / scale)
