"""Hidden Markov models against the sum over all paths, and expectation-maximisation that never descends."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from ehrsynth.errors import LearningError, ModelError, UsageError
from ehrsynth.probability.hmm import (
    HiddenMarkovModel,
    estimate_initial,
    estimate_transition,
    forward_backward,
    sample_paths,
    viterbi,
)

LENGTHS = np.array([3, 1, 0, 5, 4, 1, 2])


def brute_force(log_emission, offsets, initial, transition, stratum):
    """Everything `forward_backward` and `viterbi` say, from every path of every sequence; transition [D, Q, Q]."""
    n, states = len(offsets) - 1, log_emission.shape[1]
    gamma = np.zeros(log_emission.shape)
    xi = np.zeros(transition.shape)
    likelihood, best = np.zeros(n), np.zeros(n)
    path_of_best = np.zeros(len(log_emission), dtype=int)
    for i in range(n):
        rows = range(offsets[i], offsets[i + 1])
        if not rows:
            continue
        paths, weights = [], []
        for path in itertools.product(range(states), repeat=len(rows)):
            p = initial[i, path[0]]
            for t, row in enumerate(rows):
                p *= np.exp(log_emission[row, path[t]])
                if t:
                    p *= transition[stratum[row - 1], path[t - 1], path[t]]
            paths.append(path)
            weights.append(p)
        weights = np.array(weights)
        total = weights.sum()
        likelihood[i] = np.log(total) if total > 0 else -np.inf
        best[i] = np.log(weights.max()) if total > 0 else -np.inf
        if total == 0:
            continue
        path_of_best[list(rows)] = paths[int(weights.argmax())]
        for path, p in zip(paths, weights / total, strict=True):
            for t, row in enumerate(rows):
                gamma[row, path[t]] += p
                if t:
                    xi[stratum[row - 1], path[t - 1], path[t]] += p
    return gamma, xi, likelihood, best, path_of_best


def dense_of(transition):
    """float[D, Q, Q] of any allowed shape."""
    if transition.ndim == 2:
        return transition[None]
    if transition.ndim == 3:
        return transition
    strata, groups, width, _ = transition.shape
    out = np.zeros((strata, groups * width, groups * width))
    for d, g in itertools.product(range(strata), range(groups)):
        span = slice(g * width, (g + 1) * width)
        out[d, span, span] = transition[d, g]
    return out


def case(shape, *, seed=0, per_visit=True, own_initial=True):
    rng = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(LENGTHS)])
    transition = rng.dirichlet(np.full(shape[-1], 0.7), shape[:-1])
    states = dense_of(transition).shape[1]
    strata = 1 if len(shape) == 2 else shape[0]
    log_emission = rng.normal(-2, 2, (offsets[-1], states))
    initial = rng.dirichlet(np.ones(states), len(LENGTHS) if own_initial else None)
    stratum = rng.integers(0, strata, offsets[-1] if per_visit else len(LENGTHS))
    return log_emission, offsets, initial, transition, stratum


SHAPES = [(3, 3), (2, 3, 3), (1, 2, 2, 2), (3, 2, 2, 2), (2, 4, 1, 1), (2, 1, 3, 3)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("per_visit", [True, False])
def test_all_shapes_agree_with_the_sum_over_all_paths(shape, per_visit):
    log_emission, offsets, initial, transition, stratum = case(shape, per_visit=per_visit, own_initial=per_visit)
    by_visit = stratum if per_visit else np.repeat(stratum, LENGTHS)
    rows = np.broadcast_to(initial, (len(LENGTHS), initial.shape[-1]))
    gamma, xi, likelihood, best, path = brute_force(log_emission, offsets, rows, dense_of(transition), by_visit)
    found = forward_backward(log_emission, offsets, initial, transition, stratum=stratum)
    np.testing.assert_allclose(found.log_likelihood, likelihood, atol=1e-10)
    np.testing.assert_allclose(found.gamma, gamma, atol=1e-6)
    assert found.xi_sum.shape == transition.shape
    np.testing.assert_allclose(dense_of(found.xi_sum), xi, atol=1e-10)
    first = offsets[:-1][LENGTHS > 0]
    np.testing.assert_allclose(found.initial_counts, gamma[first].sum(axis=0), atol=1e-6)
    groups = transition.shape[1] if transition.ndim == 4 else 1
    expected = gamma[first].reshape(len(first), groups, -1).sum(axis=2)
    np.testing.assert_allclose(found.block_posterior[LENGTHS > 0], expected, atol=1e-10)
    np.testing.assert_allclose(found.block_posterior.sum(axis=1), 1)
    decoded, score = viterbi(log_emission, offsets, initial, transition, stratum=stratum)
    np.testing.assert_allclose(score, best, atol=1e-10)
    np.testing.assert_array_equal(decoded, path)


def test_weights_multiply_the_counts_and_nothing_else():
    log_emission, offsets, initial, transition, stratum = case((2, 2, 2, 2))
    weights = np.array([2, 0, 1, 3, 0.5, 1, 1])
    weighted = forward_backward(log_emission, offsets, initial, transition, stratum=stratum, weights=weights)
    plain = forward_backward(log_emission, offsets, initial, transition, stratum=stratum)
    np.testing.assert_array_equal(weighted.gamma, plain.gamma)
    np.testing.assert_array_equal(weighted.log_likelihood, plain.log_likelihood)
    xi, first = np.zeros(plain.xi_sum.shape), np.zeros(4)
    for i in range(len(LENGTHS)):
        rows = slice(offsets[i], offsets[i + 1])
        alone = forward_backward(
            log_emission[rows], np.array([0, LENGTHS[i]]), initial[i], transition, stratum=stratum[rows]
        )
        xi += weights[i] * alone.xi_sum
        first += weights[i] * alone.initial_counts
    np.testing.assert_allclose(weighted.xi_sum, xi, atol=1e-12)
    np.testing.assert_allclose(weighted.initial_counts, first, atol=1e-6)


def test_hazards_of_ending_are_part_of_the_sequence():
    log_emission, offsets, initial, transition, stratum = case((2, 2, 2, 2))
    rng = np.random.default_rng(1)
    end = rng.uniform(0.05, 0.6, (2, 4))
    end[0, 2] = 0.0  # From here a sequence of stratum 0 never ends.
    model = HiddenMarkovModel(initial=rng.dirichlet(np.ones(4), 2), transition=transition, end=end)
    log_end = model.log_end(offsets, stratum)
    last = np.zeros(offsets[-1], dtype=bool)
    last[(offsets[1:] - 1)[LENGTHS > 0]] = True
    expected = np.where(last[:, None], end[stratum], 1 - end[stratum])
    np.testing.assert_allclose(np.exp(log_end), expected)
    found = forward_backward(log_emission, offsets, initial, transition, stratum=stratum, log_end=log_end)
    gamma, xi, likelihood, best, path = brute_force(
        log_emission + log_end, offsets, initial, dense_of(transition), stratum
    )
    np.testing.assert_allclose(found.log_likelihood, likelihood, atol=1e-10)
    np.testing.assert_allclose(found.gamma, gamma, atol=1e-6)
    np.testing.assert_allclose(dense_of(found.xi_sum), xi, atol=1e-10)
    decoded, score = viterbi(log_emission, offsets, initial, transition, stratum=stratum, log_end=log_end)
    np.testing.assert_allclose(score, best, atol=1e-10)
    np.testing.assert_array_equal(decoded, path)


def test_impossible_sequences_have_minus_infinity_and_count_nothing():
    log_emission, offsets, initial, transition, _ = case((1, 2, 2, 2))
    log_emission[offsets[3] + 2] = -np.inf  # No state can show this visit of sequence 3.
    log_emission[offsets[4] + 1, :2] = -np.inf  # The first block cannot produce sequence 4.
    gamma, xi, likelihood, _, _ = brute_force(
        log_emission, offsets, initial, dense_of(transition), np.zeros(offsets[-1], dtype=int)
    )
    found = forward_backward(log_emission, offsets, initial, transition)
    assert found.log_likelihood[3] == -np.inf
    np.testing.assert_array_equal(found.block_posterior[3], 0)
    np.testing.assert_allclose(found.block_posterior[4], [0, 1])
    np.testing.assert_allclose(found.log_likelihood, likelihood, atol=1e-10)
    np.testing.assert_allclose(found.gamma, gamma, atol=1e-6)
    np.testing.assert_allclose(dense_of(found.xi_sum), xi, atol=1e-10)
    decoded, score = viterbi(log_emission, offsets, initial, transition)
    assert score[3] == -np.inf
    np.testing.assert_array_equal(decoded[offsets[3] : offsets[4]], 0)


def test_a_class_that_looks_hopeless_for_long_is_not_rounded_away():
    # Block 0 leads by 3 nats a visit for 1,000 visits (underflow long before), then block 1 takes it all back and wins.
    log_emission = np.zeros((2000, 4))
    log_emission[:1000, 2:] = -3
    log_emission[1000:, :2] = -3.001
    transition = np.full((1, 2, 2, 2), 0.5)
    found = forward_backward(log_emission, np.array([0, 2000]), np.full(4, 0.25), transition)
    np.testing.assert_allclose(found.block_posterior[0], [1 / (1 + np.e), np.e / (1 + np.e)], rtol=1e-6)
    np.testing.assert_allclose(found.log_likelihood[0], np.log(0.5) - 3000 + np.log1p(np.exp(-1.0)), rtol=1e-12)


@pytest.mark.parametrize("lead", [900.0, 1e5])
def test_states_that_underflow_inside_a_block_are_done_again_in_log_space(lead):
    # Two absorbing states in one block: the scaled forward pass loses the second, which is the true one.
    log_emission = np.array([[0.0, -lead], [-lead - 2, 0.0], [0.0, 0.0]])
    found = forward_backward(log_emission, np.array([0, 3]), np.array([0.5, 0.5]), np.eye(2))
    truth = 1 / (1 + np.exp(-2))
    np.testing.assert_allclose(found.gamma, np.tile([1 - truth, truth], (3, 1)), atol=1e-6)
    np.testing.assert_allclose(found.xi_sum, np.diag([2 - 2 * truth, 2 * truth]), atol=1e-9)
    np.testing.assert_allclose(found.log_likelihood[0], np.log(0.5) - lead + np.log1p(np.exp(-2)), rtol=1e-12)


def test_a_slow_underflow_is_noticed_too():
    # The second state falls behind by 50 nats a visit, twenty times, and catches up more slowly than it fell.
    log_emission = np.zeros((61, 2))
    log_emission[:20, 1] = -50
    log_emission[20:60, 0] = -25.05
    found = forward_backward(log_emission, np.array([0, 61]), np.array([0.5, 0.5]), np.eye(2))
    truth = 1 / (1 + np.exp(-2))
    np.testing.assert_allclose(found.gamma[:, 1], truth, atol=1e-6)
    np.testing.assert_allclose(found.initial_counts, [1 - truth, truth], atol=1e-6)


def test_long_sequences_stay_normalised():
    rng = np.random.default_rng(3)
    lengths = np.array([5000, 1, 1200])
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    log_emission = rng.normal(-40, 15, (offsets[-1], 6))
    transition = rng.dirichlet(np.ones(3), (2, 2, 3))
    found = forward_backward(
        log_emission, offsets, np.full(6, 1 / 6), transition, stratum=rng.integers(0, 2, offsets[-1])
    )
    assert np.isfinite(found.log_likelihood).all()
    np.testing.assert_allclose(found.gamma.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(found.xi_sum.sum(), (lengths - 1).sum(), rtol=1e-10)


@pytest.mark.parametrize("shape", [(3, 3), (2, 3, 3), (2, 2, 2, 2)], ids=str)
def test_expectation_maximisation_never_descends(shape):
    rng = np.random.default_rng(5)
    lengths = rng.geometric(0.3, 80)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    strata = 1 if len(shape) == 2 else shape[0]
    stratum = rng.integers(0, strata, offsets[-1])
    states = shape[-1] * (shape[1] if len(shape) == 4 else 1)
    symbols = rng.integers(0, 5, offsets[-1])
    emission = rng.dirichlet(np.ones(5), states)
    initial, transition = rng.dirichlet(np.ones(states)), rng.dirichlet(np.ones(shape[-1]), shape[:-1])
    trace = []
    for _ in range(25):
        found = forward_backward(np.log(emission[:, symbols].T), offsets, initial, transition, stratum=stratum)
        trace.append(found.log_likelihood.sum())
        initial = estimate_initial(found.initial_counts)
        transition = estimate_transition(found.xi_sum)
        counts = np.stack([np.bincount(symbols, weights=g, minlength=5) for g in found.gamma.T])
        emission = counts / counts.sum(axis=1, keepdims=True)
    assert np.diff(trace).min() > -1e-4  # gamma is float32
    assert trace[-1] > trace[0] + 10


def test_chunks_add_up_to_the_whole():
    rng = np.random.default_rng(6)
    offsets = np.concatenate([[0], np.cumsum(rng.geometric(0.4, 50))])
    log_emission = rng.normal(size=(offsets[-1], 4))
    initial, transition = rng.dirichlet(np.ones(4)), rng.dirichlet(np.ones(2), (3, 2, 2))
    stratum = rng.integers(0, 3, 50)
    whole = forward_backward(log_emission, offsets, initial, transition, stratum=stratum)
    parts = [
        forward_backward(
            log_emission[offsets[a] : offsets[b]],
            offsets[a : b + 1] - offsets[a],
            initial,
            transition,
            stratum=stratum[a:b],
        )
        for a, b in ((0, 20), (20, 50))
    ]
    np.testing.assert_allclose(sum(part.xi_sum for part in parts), whole.xi_sum, rtol=1e-10)
    np.testing.assert_allclose(sum(part.initial_counts for part in parts), whole.initial_counts, rtol=1e-6)
    np.testing.assert_array_equal(np.concatenate([part.gamma for part in parts]), whole.gamma)


def test_transitions_are_shrunk_toward_pooled_rows_and_margins():
    counts = np.array([[[[8.0, 2.0], [0.0, 0.0]]], [[[0.0, 0.0], [0.0, 0.0]]]])  # [D=2, G=1, K=2, K=2]
    found = estimate_transition(counts, strength=5, stratum_strength=10)
    margin = np.array([0.8, 0.2])
    np.testing.assert_allclose(
        found[1, 0], [margin, margin]
    )  # Nothing seen: the pooled row; nothing there: the margin.
    np.testing.assert_allclose(found[0, 0, 0], (counts[0, 0, 0] + 10 * margin) / 20)
    np.testing.assert_allclose(found.sum(axis=-1), 1)
    np.testing.assert_allclose(estimate_transition(counts[0, 0]), [[0.8, 0.2], [0.8, 0.2]])


def test_sampled_paths_have_the_frequencies_of_the_model():
    rng = np.random.default_rng(7)
    transition = rng.dirichlet(np.ones(3), (2, 2, 3))
    transition[0, 0, 0] = [0.0, 1.0, 0.0]
    end = rng.uniform(0.1, 0.3, (2, 6))
    model = HiddenMarkovModel(initial=rng.dirichlet(np.ones(6), 2), transition=transition, end=end)
    stratum = np.repeat([0, 1], 20_000)
    states, offsets = sample_paths(model, 40_000, rng, stratum=stratum)
    assert (np.diff(offsets) >= 1).all()
    by_visit = np.repeat(stratum, np.diff(offsets))
    last = np.zeros(len(states), dtype=bool)
    last[offsets[1:] - 1] = True
    for d in range(2):
        first = states[offsets[:-1]][stratum == d]
        np.testing.assert_allclose(np.bincount(first, minlength=6) / 20_000, model.initial[d], atol=0.02)
        for q in range(6):
            at = np.flatnonzero((by_visit == d) & (states == q))
            assert abs(last[at].mean() - end[d, q]) < 0.03
            after = np.bincount(states[at[~last[at]] + 1], minlength=6) / (~last[at]).sum()
            np.testing.assert_allclose(after, model.dense(d)[q], atol=0.03)
            assert (after[model.dense(d)[q] == 0] == 0).all()


def test_sampled_paths_have_the_lengths_asked_for():
    model = HiddenMarkovModel(initial=np.array([[1.0, 0.0]]), transition=np.array([[[[0.0, 1.0], [1.0, 0.0]]]]))
    states, offsets = sample_paths(model, 4, np.random.default_rng(0), lengths=np.array([3, 0, 1, 2]))
    np.testing.assert_array_equal(offsets, [0, 3, 3, 4, 6])
    np.testing.assert_array_equal(states, [0, 1, 0, 0, 0, 1])
    with pytest.raises(UsageError, match="lengths"):
        sample_paths(model, 4, np.random.default_rng(0))


def test_what_does_not_fit_is_refused():
    log_emission, offsets, initial, transition, stratum = case((2, 2, 2, 2))
    with pytest.raises(LearningError, match="do not fit"):
        forward_backward(log_emission[:, :3], offsets, initial, transition)
    with pytest.raises(LearningError, match="outside"):
        forward_backward(log_emission, offsets, initial, transition, stratum=stratum + 1)
    with pytest.raises(LearningError, match="strata for"):
        forward_backward(log_emission, offsets, initial, transition, stratum=stratum[:2])
    with pytest.raises(LearningError, match="square"):
        forward_backward(log_emission, offsets, initial, transition[..., :1])
    log_emission[4, 1] = np.nan
    with pytest.raises(LearningError, match="not a number"):
        forward_backward(log_emission, offsets, initial, transition)
    with pytest.raises(ModelError, match="not a distribution"):
        HiddenMarkovModel(initial=np.array([[0.5, 0.4]]), transition=np.full((1, 1, 2, 2), 0.5))
    with pytest.raises(ModelError, match="outside"):
        HiddenMarkovModel(
            initial=np.array([[0.5, 0.5]]), transition=np.full((1, 1, 2, 2), 0.5), end=np.array([[0.5, 1.5]])
        )


def test_no_sequences_at_all():
    found = forward_backward(np.zeros((0, 4)), np.array([0]), np.full(4, 0.25), np.full((1, 2, 2, 2), 0.5))
    assert found.gamma.shape == (0, 4)
    assert found.log_likelihood.shape == (0,)
    assert found.xi_sum.sum() == 0
    states, _ = viterbi(np.zeros((0, 4)), np.array([0, 0]), np.full(4, 0.25), np.full((1, 2, 2, 2), 0.5))
    assert len(states) == 0
