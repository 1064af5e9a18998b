"""The chronic conditions and drug classes of the network: margins, parents and odds ratios."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ehrsynth.learning.life_course.network import NO_YES, NetworkBuilder
from ehrsynth.learning.life_course.population import BAND_EDGES, Vital, band_of_age
from ehrsynth.model.life_course import AGES

__all__ = ["Node", "add_conditions", "fit_to_bands", "margins", "plan_parents"]

Float = npt.NDArray[np.float64]

_MOST_PARENTS = 3


@dataclass(frozen=True, kw_only=True)
class Node:
    """A yes-no variable to be added: its name, share of the living by sex and age, and what it depends on.

    Attributes
    ----------
    name : str
    curve : float64[2, AGES]
        Share of the living.
    mortality : float
        Relative mortality of those who have it: it is so much more frequent among those who die at an age.
    effects : mapping of parent to log odds ratios of its states
    only_with, never_with : tuple of parents
    forced : mapping of parents' states to probability
    """

    name: str
    curve: Float
    mortality: float = 1.0
    effects: dict[str, tuple[float, ...]] = field(default_factory=dict)
    only_with: tuple[str, ...] = ()
    never_with: tuple[str, ...] = ()
    forced: dict[tuple[int, ...], float] = field(default_factory=dict)


def fit_to_bands(curve: Float, edges: Sequence[int], wanted: Float, weight: Float) -> Float:
    """Return a curve over ages with the means `wanted` of bands, in the shape of `curve`.

    Parameters
    ----------
    curve : float64[AGES]
    edges : sequence of int
        First age of each band; the last is open. Younger ages keep the curve's shape below the first band.
    wanted : float64[bands]
    weight : float64[AGES]
        People of each age.
    """
    ages = np.arange(AGES)
    band = np.searchsorted(np.asarray(edges), ages, side="right") - 1
    centres = np.array(
        [np.average(ages[band == b], weights=weight[band == b]) for b in range(len(edges))], dtype=np.float64
    )
    base = np.maximum(curve, 1e-6)
    factor = np.zeros(len(edges))
    for _ in range(200):
        fitted = np.clip(base * np.exp(np.interp(ages, centres, factor)), 0, 0.98)
        means = np.array([np.average(fitted[band == b], weights=weight[band == b]) for b in range(len(edges))])
        factor += 0.7 * np.log(np.maximum(wanted, 1e-6) / means)
    fitted = np.clip(base * np.exp(np.interp(ages, centres, factor)), 0, 0.98)
    for b in range(len(edges)):
        # What smoothing left over: a step at the edge of the band is better than a wrong band.
        at = band == b
        fitted[at] *= min(wanted[b] / np.average(fitted[at], weights=weight[at]), 0.98 / fitted[at].max())
    return np.asarray(np.where(curve > 0, fitted, 0.0))


def margins(curve: Float, mortality: float, vital: Vital) -> Float:
    """Return P(yes | band, sex, deceased), float64[B, 2, 2], of a share of the living by sex and age."""
    weight, band = vital.weight(), band_of_age()
    dead = curve * mortality / (1 - curve + curve * mortality)
    found = np.zeros((len(BAND_EDGES), 2, 2))
    for b in range(len(BAND_EDGES)):
        at = band == b
        for d, share in enumerate((curve, dead)):
            total = weight[d][:, at].sum(axis=1)
            found[b, :, d] = (weight[d][:, at] * share[:, at]).sum(axis=1) / np.maximum(total, 1e-300)
    return found


def plan_parents(
    order: Sequence[str], pairs: Sequence[tuple[str, str, float]], fixed: Mapping[str, Node]
) -> dict[str, dict[str, tuple[float, float]]]:
    """Return the parents of each node in `order` by the strongest of the odds ratios to earlier nodes.

    Nodes that are `fixed` have their parents already.
    """
    place = {name: at for at, name in enumerate(order)}
    found: dict[str, dict[str, tuple[float, float]]] = {name: {} for name in order}
    strongest = sorted(pairs, key=lambda pair: (-abs(np.log(pair[2])), pair[0], pair[1]))
    for a, b, ratio in strongest:
        if a not in place or b not in place or a == b:
            continue
        parent, child = (a, b) if place[a] < place[b] else (b, a)
        taken = found[child]
        if child in fixed or parent in taken or len(taken) >= _MOST_PARENTS:
            continue
        taken[parent] = (0.0, float(np.log(ratio)))
    return found


def add_conditions(builder: NetworkBuilder, nodes: Sequence[Node], vital: Vital) -> None:
    """Add the nodes in their order."""
    for node in nodes:
        builder.add_binary(
            node.name,
            margins(node.curve, node.mortality, vital),
            node.effects,
            only_with=node.only_with,
            never_with=node.never_with,
            forced=node.forced,
        )


def add_either(builder: NetworkBuilder, name: str, one: str, other: str) -> None:
    """Add a variable that is yes where one of two is."""
    table = np.zeros((2, 2, 2))
    table[..., 1] = np.array([[0, 1], [1, 1]])
    table[..., 0] = 1 - table[..., 1]
    builder.add(name, NO_YES, (one, other), table)
