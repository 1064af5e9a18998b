"""The numbers of a patient model: margins over a Gaussian copula; shapes as in `ehrsynth.model.patient_model`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ehrsynth.probability.quantiles import QuantileDistribution

__all__ = ["Measurements"]

Float = npt.NDArray[np.floating[Any]]
Int = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True, kw_only=True)
class Measurements:
    """Numbers of the observations: quantile-preserving margins over a Gaussian copula of person, visit and state.

    The score of measurement m for person p at a visit in state q is ``s = shift[q, m] + level[r, m] +
    sum_k of_condition[k, m] + sqrt(person_share[m]) * u[p, m] + sqrt(1 - person_share[m]) * e[m]``, the sum over the
    person's conditions, with u ~ N(0, person) drawn once per person and e ~ N(0, visit) per visit (the k-th rows of
    what a visit measures repeatedly share their e). Over the cohort s
    is a mixture of unit normals, F(s) = sum_q state_share[q, m] * Phi(s - shift[q, m]), and the value is
    ``margins[m].inverse(Phi^-1(F(s)))``: the margin is met exactly however far apart the states lie, and a value is
    always within the margin's range.

    Attributes
    ----------
    code : int32 [M]
        Index of the measurement in the observation family's codings.
    unit : tuple of str
        UCUM.
    panel : int32 [M]
        Measurements of one panel (systolic and diastolic) share a non-negative number: reported together; -1: alone.
        The first of a panel decides whether and how often it is taken; the tables of the others are not used.
    margins : tuple of QuantileDistribution
    shift : float32 [Q, M]
        Mean score in a state, in standard deviations of the scores within states.
    level : float32 [R, M]
        What sex and age at the visit add to it: men are taller. No rows: nothing.
    center : float32 [N, M]
        Mean scores (of state, sex and age, conditions) that divide the measurement's values (those of generated
        people) into N equal parts: F of the text is then the mixture of unit normals at these. No rows: sex and age do
        not matter, and F is that of the states.
    condition : int32 [K]
        Conditions (of the family of conditions) that go with other numbers, whenever in the record a person has them.
    of_condition : float32 [K, M]
        What each adds to the mean score. No entries: nothing.
    state_share : float32 [Q, M]
        P(state | measured): the share of the measurement's values that each state has; columns sum to 1.
    person_share : float32 [M]
        Share of the variance within states that belongs to the person (intra-class correlation), 0..1.
    person, visit : float64 [M, M]
        Correlation matrices, positive definite, of u and of e.
    value_known : float32 [M]
        P(a value is recorded | measured).
    derived : int32 [D, 3]
        Body mass index, weight and height, by number of the measurement: where all three are taken together the first
        follows from the others.
    drift : float32 [M]
        Correlation of e with that of the person's value of the same measurement before (an autoregression of the first
        order): values near in time are nearer to each other than the person's level alone makes them. No entries: 0.
    """

    code: Int
    unit: tuple[str, ...]
    panel: Int
    margins: tuple[QuantileDistribution, ...]
    shift: Float
    state_share: Float
    person_share: Float
    person: Float
    visit: Float
    value_known: Float
    level: Float = field(default_factory=lambda: np.zeros((0, 0)))
    center: Float = field(default_factory=lambda: np.zeros((0, 0)))
    derived: Int = field(default_factory=lambda: np.zeros((0, 3), dtype=np.int32))
    drift: Float = field(default_factory=lambda: np.zeros(0))
    condition: Int = field(default_factory=lambda: np.zeros(0, dtype=np.int32))
    of_condition: Float = field(default_factory=lambda: np.zeros((0, 0)))
