"""Hidden Markov models over ragged sequences (values and offsets): inference, estimation and sampling."""

from __future__ import annotations

from ehrsynth.probability.hmm.estimate import estimate_initial, estimate_transition
from ehrsynth.probability.hmm.infer import forward_backward
from ehrsynth.probability.hmm.model import HiddenMarkovModel
from ehrsynth.probability.hmm.posterior import Posterior
from ehrsynth.probability.hmm.sample import sample_paths
from ehrsynth.probability.hmm.viterbi import viterbi

__all__ = [
    "HiddenMarkovModel",
    "Posterior",
    "estimate_initial",
    "estimate_transition",
    "forward_backward",
    "sample_paths",
    "viterbi",
]
