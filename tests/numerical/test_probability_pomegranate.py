"""pomegranate as the second oracle: networks and hidden Markov models computed by other people's code."""

from __future__ import annotations

import sys
import warnings

import numpy as np
import pytest

from ehrsynth.errors import LearningError, MissingExtraError
from ehrsynth.probability.bayesnet import (
    BayesianNetwork,
    Dag,
    FamilyCounts,
    Variable,
    estimate_network,
    posterior,
    sample,
)
from ehrsynth.probability.bayesnet.pomegranate import estimate_with_pomegranate
from ehrsynth.probability.bayesnet.pomegranate import to_pomegranate as network_to_pomegranate
from ehrsynth.probability.extra import learn_library
from ehrsynth.probability.hmm import HiddenMarkovModel, forward_backward
from ehrsynth.probability.hmm.pomegranate import forward_backward_with_pomegranate
from ehrsynth.probability.hmm.pomegranate import to_pomegranate as hmm_to_pomegranate

pytestmark = pytest.mark.learn


@pytest.fixture(scope="module")
def torch():
    pytest.importorskip("pomegranate")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Theirs, on import.
    return pytest.importorskip("torch")


CARDINALITIES = (2, 3, 2, 4)
POLYTREE = ((), (), (1, 0), (2,))
GRAPH = ((), (0,), (1, 0), (2, 0, 1))


def network(parents, seed=0):
    rng = np.random.default_rng(seed)
    variables = tuple(
        Variable(name=f"v{j}", states=tuple(map(str, range(card)))) for j, card in enumerate(CARDINALITIES)
    )
    tables = tuple(
        rng.dirichlet(np.ones(card), [CARDINALITIES[p] for p in parents[j]]) for j, card in enumerate(CARDINALITIES)
    )
    return BayesianNetwork(variables=variables, parents=parents, tables=tables)


@pytest.mark.parametrize("parents", [POLYTREE, GRAPH], ids=["polytree", "graph"])
def test_log_probabilities_agree(torch, parents):
    ours = network(parents)
    data = sample(ours, 300, np.random.default_rng(0))
    theirs = network_to_pomegranate(ours).log_probability(torch.as_tensor(data))
    np.testing.assert_allclose(theirs.numpy(), ours.log_probability(data), rtol=1e-4, atol=1e-4)


@pytest.mark.filterwarnings("ignore::UserWarning")  # Masked tensors are announced as a prototype.
def test_posteriors_agree_on_a_tree(torch):
    ours = network(((), (0,), (1,), (1,)))
    evidence = {3: 2, 0: 1}
    x, mask = torch.zeros((1, 4), dtype=torch.int64), torch.zeros((1, 4), dtype=torch.bool)
    for j, state in evidence.items():
        x[0, j], mask[0, j] = state, True
    theirs = network_to_pomegranate(ours).predict_proba(torch.masked.MaskedTensor(x, mask=mask))
    for j in range(4):
        np.testing.assert_allclose(theirs[j][0].numpy(), posterior(ours, (j,), evidence), atol=1e-5)


@pytest.mark.parametrize("strength", [0.0, 5.0])
@pytest.mark.parametrize("parents", [POLYTREE, GRAPH], ids=["polytree", "graph"])
def test_estimation_agrees(torch, parents, strength):
    ours = network(parents)
    rng = np.random.default_rng(1)
    data = sample(ours, 5000, rng)
    data = data[data[:, 3] != 3]  # A category that the data lack.
    counts = FamilyCounts.of(data, CARDINALITIES, rng.random(len(data)))
    dag = Dag(parents)
    expected = estimate_network(counts, ours.variables, dag, strength=strength)
    found = estimate_with_pomegranate(counts, ours.variables, dag, strength=strength)
    for theirs, table in zip(found.tables, expected.tables, strict=True):
        np.testing.assert_allclose(theirs, table, atol=1e-6)


def test_estimation_refuses_what_float32_cannot_count(torch):
    counts = FamilyCounts.of(np.zeros((1, 4), dtype=int), CARDINALITIES, np.array([2.0**24]))
    with pytest.raises(LearningError, match="float32"):
        estimate_with_pomegranate(counts, network(POLYTREE).variables, Dag(POLYTREE))


@pytest.mark.parametrize("with_end", [False, True])
def test_forward_backward_agrees(torch, with_end):
    rng = np.random.default_rng(2)
    model = HiddenMarkovModel(
        initial=rng.dirichlet(np.ones(6), 2),
        transition=rng.dirichlet(np.ones(3), (2, 2, 3)),
        end=rng.uniform(0.1, 0.4, (2, 6)) if with_end else None,
    )
    lengths = np.array([4, 2, 7, 4, 1, 12, 0, 2, 1])
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    stratum = np.array([0, 1, 1, 0, 1, 0, 0, 0, 0])
    log_emission = rng.normal(-3, 2, (offsets[-1], 6))
    theirs = forward_backward_with_pomegranate(model, log_emission, offsets, stratum)
    log_end = model.log_end(offsets, np.repeat(stratum, lengths)) if with_end else None
    ours = forward_backward(
        log_emission, offsets, model.initial[stratum], model.transition, stratum=stratum, log_end=log_end
    )
    np.testing.assert_allclose(theirs.log_likelihood, ours.log_likelihood, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(theirs.gamma, ours.gamma, atol=1e-4)
    np.testing.assert_allclose(theirs.xi_sum, ours.xi_sum, atol=1e-3)
    np.testing.assert_allclose(theirs.initial_counts, ours.initial_counts, atol=1e-4)
    np.testing.assert_allclose(theirs.block_posterior, ours.block_posterior, atol=1e-4)


def test_symbols_can_be_emitted(torch):
    rng = np.random.default_rng(3)
    model = HiddenMarkovModel(initial=np.full((1, 2), 0.5), transition=rng.dirichlet(np.ones(2), (1, 1, 2)))
    emission = rng.dirichlet(np.ones(5), 2)
    symbols = rng.integers(0, 5, (3, 8))
    theirs = hmm_to_pomegranate(model, emission=emission).log_probability(torch.as_tensor(symbols[:, :, None]))
    ours = forward_backward(
        np.log(emission[:, symbols.ravel()].T), np.array([0, 8, 16, 24]), model.initial[0], model.transition
    )
    np.testing.assert_allclose(theirs.numpy(), ours.log_likelihood, rtol=1e-5)


def test_a_missing_library_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pomegranate", None)
    with pytest.raises(MissingExtraError, match=r"pomegranate.*pip install 'ehrsynth\[learn\]'"):
        learn_library("pomegranate")
