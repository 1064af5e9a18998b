"""Bayesian networks against full enumeration: of states for inference, of graphs for structure search."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from ehrsynth.errors import LearningError, ModelError, UsageError
from ehrsynth.probability.bayesnet import (
    BayesianNetwork,
    Dag,
    FamilyCounts,
    Sampler,
    Variable,
    condition,
    estimate_network,
    hill_climb,
    posterior,
    sample,
)
from ehrsynth.probability.bayesnet.score import bdeu, bic, log_likelihood
from ehrsynth.probability.bayesnet.structure import FamilyScores
from ehrsynth.probability.shrinkage import shrink


def variables_of(cardinalities):
    return tuple(
        Variable(name=f"v{j}", states=tuple(f"s{k}" for k in range(card))) for j, card in enumerate(cardinalities)
    )


def random_network(seed, cardinalities=(2, 3, 2, 4, 3), parents=((), (0,), (), (2, 1), (3, 0)), concentration=0.7):
    rng = np.random.default_rng(seed)
    tables = tuple(
        rng.dirichlet(np.full(card, concentration), [cardinalities[p] for p in parents[j]])
        for j, card in enumerate(cardinalities)
    )
    return BayesianNetwork(variables=variables_of(cardinalities), parents=parents, tables=tables)


def joint_of(network):
    """The whole joint, one axis a variable, multiplied out cell by cell."""
    joint = np.ones(network.cardinalities)
    for cell in itertools.product(*(range(card) for card in network.cardinalities)):
        for j, (parents, table) in enumerate(zip(network.parents, network.tables, strict=True)):
            joint[cell] *= table[(*(cell[p] for p in parents), cell[j])]
    return joint


def given(joint, evidence):
    """The joint times the likelihood of the evidence, normalised."""
    joint = joint.copy()
    for j, known in evidence.items():
        likelihood = np.eye(joint.shape[j])[known] if np.ndim(known) == 0 else np.asarray(known, dtype=float)
        shape = [1] * joint.ndim
        shape[j] = -1
        joint *= likelihood.reshape(shape)
    return joint / joint.sum()


EVIDENCE = [
    {},
    {3: 2},
    {0: 1, 4: 0},
    {1: [1.0, 0.0, 1.0]},
    {3: [0.2, 0.0, 1.5, 0.1], 0: 0, 4: [1, 1, 0]},
    {0: 0, 1: 1, 2: 0, 3: 3, 4: 2},
    {3: [1e-200, 1e-200, 0, 0], 4: [1e-200, 0, 0]},
]


@pytest.mark.parametrize("evidence", EVIDENCE, ids=str)
@pytest.mark.parametrize("seed", [0, 1])
def test_posteriors_agree_with_enumeration(seed, evidence):
    network = random_network(seed)
    # Scaling a likelihood changes nothing; the enumeration itself would underflow where elimination must not.
    scaled = {j: np.asarray(e) / np.max(e) if np.ndim(e) else e for j, e in evidence.items()}
    joint = given(joint_of(network), scaled)
    for query in [(0,), (4, 1), (2, 3, 0), (3,), (1, 0, 4, 2, 3)]:
        others = tuple(j for j in range(5) if j not in query)
        expected = joint.sum(axis=others)
        kept = [j for j in range(5) if j in query]
        expected = expected.transpose([kept.index(j) for j in query])
        np.testing.assert_allclose(posterior(network, query, evidence), expected, atol=1e-12)


@pytest.mark.parametrize("evidence", EVIDENCE[:6], ids=str)
def test_conditioning_gives_a_network_with_exactly_the_conditional_joint(evidence):
    for seed in range(3):
        network = random_network(seed)
        conditioned = condition(network, evidence)
        np.testing.assert_allclose(joint_of(conditioned), given(joint_of(network), evidence), atol=1e-12)


def test_conditioning_leaves_what_is_not_upstream_of_the_evidence_alone():
    network = random_network(0)
    conditioned = condition(network, {1: 2})
    for j in (2, 3, 4):
        assert conditioned.parents[j] == network.parents[j]
        assert conditioned.tables[j] is network.tables[j]


def test_conditional_draws_have_the_conditional_frequencies():
    network = random_network(5)
    evidence = {4: 1, 1: [0.0, 1.0, 0.5]}
    drawn = sample(network, 40_000, np.random.default_rng(0), evidence)
    assert (drawn[:, 4] == 1).all()
    assert (drawn[:, 1] != 0).all()
    expected = given(joint_of(network), evidence)
    counted = FamilyCounts.of(drawn, network.cardinalities).counts(4, (0, 1, 2, 3)) / 40_000
    # Total variation of 40,000 draws over the possible cells: well below 3 %; a wrong table is above 10 %.
    assert np.abs(counted - expected).sum() / 2 < 0.03


def test_draws_are_one_uniform_for_each_cell():
    network = random_network(3)
    u = np.random.default_rng(1).random((500, 5))
    whole = Sampler(network).draw(u)
    np.testing.assert_array_equal(Sampler(network).draw(u[123:130]), whole[123:130])
    np.testing.assert_array_equal(
        sample(network, 7, np.random.default_rng(2)), sample(network, 70, np.random.default_rng(2))[:7]
    )


def test_impossible_evidence_is_refused():
    table = np.array([[1.0, 0.0], [0.5, 0.5]])
    network = BayesianNetwork(variables=variables_of((2, 2)), parents=((), (0,)), tables=(np.array([0.5, 0.5]), table))
    for ask in (lambda e: posterior(network, (0,), e), lambda e: condition(network, e)):
        with pytest.raises(UsageError, match=r"'v0', 'v1'.*impossible"):
            ask({0: 0, 1: 1})
        with pytest.raises(UsageError, match="no state number 2"):
            ask({0: 2})
        with pytest.raises(UsageError, match="likelihoods"):
            ask({0: [1.0, -1.0]})
        with pytest.raises(UsageError, match="no variable 7"):
            ask({7: 0})
    with pytest.raises(UsageError, match="together"):
        posterior(network, (0, 0))


def test_log_probability_and_marginal():
    network = random_network(2)
    joint = joint_of(network)
    cells = np.array(list(itertools.product(*(range(card) for card in network.cardinalities))))
    np.testing.assert_allclose(np.exp(network.log_probability(cells)), joint.ravel(), atol=1e-15)
    np.testing.assert_allclose(network.marginal(3, 1), joint.sum(axis=(0, 2, 4)).T, atol=1e-12)


def all_dags(d):
    edges = [(p, c) for p in range(d) for c in range(d) if p != c]
    for chosen in itertools.product((False, True), repeat=len(edges)):
        parents = tuple(tuple(p for (p, c), yes in zip(edges, chosen, strict=True) if yes and c == j) for j in range(d))
        try:
            yield Dag(parents)
        except ModelError:
            continue


DAGS = list(all_dags(4))


def test_there_are_543_graphs_over_four_variables():
    assert len(DAGS) == 543


@pytest.mark.parametrize("score", ["bic", "bdeu"])
@pytest.mark.parametrize("seed", range(4))
def test_structure_search_finds_the_best_of_all_graphs(seed, score):
    network = random_network(seed, (2, 3, 2, 3), ((), (0,), (0,), (1, 2)), concentration=0.5)
    counts = FamilyCounts.of(sample(network, 800, np.random.default_rng(seed)), network.cardinalities)
    scores = FamilyScores(counts, score)
    tiers = (0, 0, 1, 1)

    def allowed(dag):
        return all(tiers[p] <= tiers[c] and (p, c) != (0, 3) for p, c in dag.edges()) and (0, 2) in dag.edges()

    found = hill_climb(counts, score=score)
    assert scores.network(found.parents) == pytest.approx(max(scores.network(dag.parents) for dag in DAGS), abs=1e-6)
    ruled = hill_climb(counts, score=score, tiers=tiers, forbidden=[(0, 3)], required=[(0, 2)])
    assert allowed(ruled)
    best = max(scores.network(dag.parents) for dag in DAGS if allowed(dag))
    assert scores.network(ruled.parents) == pytest.approx(best, abs=1e-6)


def test_structure_search_respects_limits_and_recovers_a_chain_under_tiers():
    parents = ((), (0,), (1,), (2,))
    rng = np.random.default_rng(0)
    tables = (np.array([0.5, 0.5]), *(np.array([[0.9, 0.1], [0.2, 0.8]]) for _ in range(3)))
    network = BayesianNetwork(variables=variables_of((2, 2, 2, 2)), parents=parents, tables=tables)
    counts = FamilyCounts.of(sample(network, 3000, rng), network.cardinalities)
    assert hill_climb(counts, tiers=(0, 1, 2, 3)).parents == parents
    assert hill_climb(counts, tiers=(0, 1, 2, 3), tabu=0).parents == parents
    assert all(len(p) <= 1 for p in hill_climb(counts, max_parents=1).parents)
    assert hill_climb(counts, max_cells=3).edges() == ()


def test_structure_search_says_which_rules_contradict():
    counts = FamilyCounts.of(np.zeros((5, 2), dtype=int), (2, 2))
    with pytest.raises(LearningError, match="required and not allowed"):
        hill_climb(counts, required=[(0, 1)], forbidden=[(0, 1)])
    with pytest.raises(LearningError, match="required and not allowed"):
        hill_climb(counts, required=[(1, 0)], tiers=(0, 1))
    with pytest.raises(LearningError, match="cycle"):
        hill_climb(counts, required=[(1, 0), (0, 1)])
    with pytest.raises(LearningError, match="too many parents"):
        hill_climb(counts, required=[(1, 0)], max_parents=0)
    with pytest.raises(LearningError, match="tiers"):
        hill_climb(counts, tiers=(0,))
    with pytest.raises(LearningError, match="no data"):
        hill_climb(FamilyCounts.of(np.zeros((0, 2), dtype=int), (2, 2)))


def test_scores_agree_with_their_definitions():
    counts = np.array([[3.0, 1.0, 0.0], [2.0, 2.0, 4.0]])
    by_hand = 3 * np.log(3 / 4) + np.log(1 / 4) + 4 * np.log(2 / 8) + 4 * np.log(4 / 8)
    assert log_likelihood(counts) == pytest.approx(by_hand)
    assert bic(counts, 12) == pytest.approx(by_hand - 0.5 * np.log(12) * 4)
    # The marginal likelihood, one observation after another (Pólya's urn), in any order.
    urn, prior = 0.0, 1.5 / 6
    for row in counts:
        seen = np.zeros(3)
        for state in np.repeat(np.arange(3), row.astype(int)):
            urn += np.log((seen[state] + prior) / (seen.sum() + 3 * prior))
            seen[state] += 1
    assert bdeu(counts, 1.5) == pytest.approx(urn)


def test_counts_of_parts_merge_into_the_counts_of_the_whole():
    rng = np.random.default_rng(0)
    cards = (2, 5, 3)
    data, weights = rng.integers(0, cards, (1000, 3)), rng.random(1000)
    whole = FamilyCounts.of(data, cards, weights)
    merged = FamilyCounts.of(data[:300], cards, weights[:300]).merge(FamilyCounts.of(data[300:], cards, weights[300:]))
    np.testing.assert_array_equal(merged.rows, whole.rows)
    np.testing.assert_allclose(merged.weights, whole.weights, rtol=1e-12)
    expected = np.zeros((3, 2, 5))
    np.add.at(expected, (data[:, 2], data[:, 0], data[:, 1]), weights)
    np.testing.assert_allclose(whole.counts(1, (2, 0)), expected, rtol=1e-12)
    assert whole.total == pytest.approx(weights.sum())


def test_counts_take_more_variables_than_fit_one_number():
    rng = np.random.default_rng(0)
    cards = (50,) * 20  # 50**20 is far beyond 64 bits.
    data = rng.integers(0, 50, (300, 20))
    data[150:] = data[:150]
    counts = FamilyCounts.of(data, cards)
    np.testing.assert_array_equal(counts.rows, np.unique(data, axis=0))
    np.testing.assert_array_equal(counts.weights, np.unique(data, axis=0, return_counts=True)[1])


def test_counts_refuse_what_is_not_a_state():
    with pytest.raises(LearningError, match="Variable 1"):
        FamilyCounts.of(np.array([[0, 2]]), (2, 2))
    with pytest.raises(LearningError, match="weight"):
        FamilyCounts.of(np.array([[0, 1]]), (2, 2), np.array([-1.0]))
    with pytest.raises(LearningError, match="fit"):
        FamilyCounts.of(np.array([[0, 1]]), (2, 2, 2))
    with pytest.raises(LearningError, match="different"):
        FamilyCounts.of(np.array([[0, 1]]), (2, 2)).merge(FamilyCounts.of(np.array([[0, 1]]), (2, 3)))


def test_tables_are_counts_shrunk_toward_the_margin():
    counts = np.array([[8.0, 2.0, 0.0], [0.0, 0.0, 0.0], [0.0, 10.0, 0.0]])
    found = shrink(counts, 5)
    margin = np.array([0.4, 0.6, 0.0])
    np.testing.assert_allclose(found, (counts + 5 * margin) / (counts.sum(axis=1, keepdims=True) + 5))
    np.testing.assert_allclose(shrink(counts, 0)[1], margin)
    np.testing.assert_allclose(shrink(counts, 0)[0], [0.8, 0.2, 0])
    assert (found[:, 2] == 0).all()
    np.testing.assert_allclose(shrink(np.zeros((2, 4)), 3), 0.25)
    np.testing.assert_allclose(shrink(counts, 2, np.array([0.0, 0.0, 1.0]))[1], [0, 0, 1])


def test_estimation_converges_to_the_network_that_made_the_data():
    network = random_network(4, concentration=3.0)
    counts = FamilyCounts.of(sample(network, 200_000, np.random.default_rng(1)), network.cardinalities)
    learned = estimate_network(counts, network.variables, network.dag, strength=1)
    joint = joint_of(network)
    np.testing.assert_allclose(joint_of(learned), joint, atol=0.005)
    with pytest.raises(LearningError, match="states"):
        estimate_network(counts, variables_of((2, 2, 2, 2, 2)), network.dag)


def test_a_network_that_is_none_is_refused():
    variables = variables_of((2, 2))
    half = np.array([0.5, 0.5])
    with pytest.raises(ModelError, match="not a distribution"):
        BayesianNetwork(variables=variables, parents=((), ()), tables=(half, np.array([0.5, 0.4])))
    with pytest.raises(ModelError, match="'v1' is"):
        BayesianNetwork(variables=variables, parents=((), (0,)), tables=(half, half))
    with pytest.raises(ModelError, match="cycle"):
        BayesianNetwork(variables=variables, parents=((1,), (0,)), tables=(np.full((2, 2), 0.5), np.full((2, 2), 0.5)))
    with pytest.raises(ModelError, match="one name"):
        BayesianNetwork(variables=(variables[0], variables[0]), parents=((), ()), tables=(half, half))
    with pytest.raises(ModelError, match="no variable 'age'"):
        BayesianNetwork(variables=variables, parents=((), ()), tables=(half, half)).index("age")
