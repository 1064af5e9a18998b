"""Discrete Bayesian networks: structure, estimation, exact inference and sampling."""

from __future__ import annotations

from ehrsynth.probability.bayesnet.counts import FamilyCounts
from ehrsynth.probability.bayesnet.dag import Dag
from ehrsynth.probability.bayesnet.estimate import estimate_network
from ehrsynth.probability.bayesnet.infer import Evidence, condition, posterior
from ehrsynth.probability.bayesnet.network import BayesianNetwork
from ehrsynth.probability.bayesnet.sample import Sampler, sample
from ehrsynth.probability.bayesnet.structure import hill_climb
from ehrsynth.probability.bayesnet.variable import MISSING, Variable

__all__ = [
    "MISSING",
    "BayesianNetwork",
    "Dag",
    "Evidence",
    "FamilyCounts",
    "Sampler",
    "Variable",
    "condition",
    "estimate_network",
    "hill_climb",
    "posterior",
    "sample",
]
