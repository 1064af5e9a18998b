"""The bits of the mathematics depend neither on the number of threads nor on the hash seed."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = """
import hashlib
import numpy as np
from ehrsynth.probability.bayesnet import BayesianNetwork, FamilyCounts, Variable, estimate_network, hill_climb, sample
from ehrsynth.probability.hmm import forward_backward
from ehrsynth.probability.quantiles import QuantileDistribution

rng = np.random.default_rng(0)
digest = hashlib.sha256()
offsets = np.concatenate([[0], np.cumsum(rng.geometric(0.3, 4000))])
found = forward_backward(
    rng.normal(-3, 2, (offsets[-1], 48)), offsets, rng.dirichlet(np.ones(48)), rng.dirichlet(np.ones(16), (2, 3, 16)),
    stratum=rng.integers(0, 2, 4000),
)
for values in (found.gamma, found.xi_sum, found.initial_counts, found.log_likelihood):
    digest.update(values.tobytes())
data = rng.integers(0, 3, (2000, 5))
data[:, 4] = (data[:, 0] + data[:, 1]) % 3
counts = FamilyCounts.of(data, (3,) * 5)
dag = hill_climb(counts)
variables = [Variable(name=f"v{j}", states=("a", "b", "c")) for j in range(5)]
digest.update(repr(dag.parents).encode())
digest.update(sample(estimate_network(counts, variables, dag), 1000, rng, {4: [1, 0.5, 0]}).tobytes())
margin = QuantileDistribution.learn(np.round(rng.normal(120, 15, 5000), 1), rng.integers(0, 900, 5000))
digest.update(margin.inverse(rng.normal(size=5000)).tobytes())
print(digest.hexdigest())
"""


@pytest.fixture(scope="module")
def digests():
    found = []
    for threads, hash_seed in (("1", "0"), ("2", "1")):
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": threads, "PYTHONHASHSEED": hash_seed}
        run = subprocess.run(
            [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True
        )
        found.append(run.stdout.strip())
    return found


def test_same_bits_under_one_and_two_threads(digests):
    assert len(digests[0]) == 64
    assert digests[0] == digests[1]
