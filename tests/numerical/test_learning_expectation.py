"""EM against enumeration: emissions code by code, expectations path by path, and the sum of parts."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from ehrsynth.encoding import Timelines
from ehrsynth.learning.expectation import emit, expectation, infer, predict, unseen_trials
from ehrsynth.learning.maximisation import Strengths, code_counts, maximise
from ehrsynth.learning.statistics import TrajectoryStatistics
from ehrsynth.learning.trajectory import em, start_statistics
from ehrsynth.probability.hmm import Posterior
from ehrsynth.randomness import stream

from .learning_oracle import FIRST, KINDS, N_CODES, Cohort, tiny_cohort

CASES = [(seed, filled) for seed in (1, 2) for filled in KINDS]


@pytest.fixture(params=CASES, ids=lambda case: f"seed{case[0]}-{case[1]}")
def cohort(request: pytest.FixtureRequest) -> Cohort:
    return tiny_cohort(request.param[0], filled=request.param[1])


def one_chunk(cohort: Cohort) -> tuple[object, object]:
    chunk = cohort.problem.chunks(cohort.timelines, 10**6)
    assert len(chunk) == 1
    return chunk[0], cohort.problem.weights(cohort.tables)


def gammas(cohort: Cohort) -> tuple[np.ndarray, np.ndarray, list[float]]:
    """Posterior of states by visit, summed transitions [D, G, K, K], and log-likelihoods, by enumeration."""
    n, k = cohort.problem.n_classes * cohort.problem.n_states, cohort.problem.n_states
    rows, likelihood = [], []
    transition = np.zeros_like(cohort.tables.transition)
    for p in range(len(cohort.lives)):
        paths, weights = cohort.paths(p)
        likelihood.append(float(np.log(weights.sum())))
        weights = weights / weights.sum()
        gamma = np.zeros((len(cohort.lives[p]), n))
        matrix = cohort.problem.transition_stratum[cohort.stratum(p)]
        for path, weight in zip(paths, weights, strict=True):
            for t, q in enumerate(path):
                gamma[t, q] += weight
            for a, b in itertools.pairwise(path):
                transition[matrix, a // k, a % k, b % k] += weight * cohort.weight[p]
        rows.append(gamma)
    return np.concatenate(rows), transition, likelihood


def test_emissions_are_the_product_over_all_codes(cohort: Cohort) -> None:
    chunk, weights = one_chunk(cohort)
    emission = emit(chunk, weights).log
    n = cohort.problem.n_classes * cohort.problem.n_states
    position = 0
    for p, life in enumerate(cohort.lives):
        for t in range(len(life)):
            expected = [cohort.log_visit(p, t, q) for q in range(n)]
            np.testing.assert_allclose(emission[position], expected, atol=2e-5)
            position += 1


def test_expectations_are_those_of_all_paths(cohort: Cohort) -> None:
    chunk, weights = one_chunk(cohort)
    statistics = expectation(chunk, weights)
    gamma, transition, likelihood = gammas(cohort)
    np.testing.assert_allclose(statistics.log_likelihood, np.dot(likelihood, cohort.weight), rtol=1e-5)
    np.testing.assert_allclose(statistics.transition, transition, atol=1e-5)
    visit_weight = np.repeat(cohort.weight, [len(life) for life in cohort.lives])
    np.testing.assert_allclose(statistics.visits, (gamma * visit_weight[:, None]).sum(axis=0), atol=1e-4)
    counts = code_counts(
        statistics.rows,
        statistics.visits,
        cohort.problem.layout,
        cohort.parent,
        statistics.unseen,
        statistics.ratio,
    )
    expected = {name: (np.zeros_like(n1), np.zeros_like(n)) for name, (n1, n) in counts.items().items()}
    position = 0
    for p, life in enumerate(cohort.lives):
        for t, visit in enumerate(life):
            for c in range(N_CODES):
                kind = cohort.kind(p, t, c)
                here = gamma[position] * cohort.weight[p]
                expected[kind][1][:, c] += here
                if c in visit["codes"]:
                    expected[kind][0][:, c] += here
                if not cohort.slots:
                    unseen = np.array([cohort.unseen(p, t, q, c) for q in range(len(here))])
                    expected[cohort.kind_alone(p, t, c)][1][:, c] += here * unseen
            position += 1
    for name, (present, trials) in counts.items().items():
        np.testing.assert_allclose(present, expected[name][0], atol=2e-4, err_msg=name)
        free = slice(FIRST if cohort.slots else 0, None)
        np.testing.assert_allclose(trials[:, free], expected[name][1][:, free], atol=2e-3, rtol=1e-4, err_msg=name)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_codes_of_slots_are_expected_as_by_listing_all_sets(seed: int) -> None:
    cohort = tiny_cohort(seed, filled="slots")
    chunk, weights = one_chunk(cohort)
    emission = emit(chunk, weights)
    gamma = infer(chunk, weights, emission.log).gamma * chunk.visit_weight[:, None]
    rows = chunk.present.scatter(gamma)
    rows[: chunk.history.n_rows] = chunk.history.scatter(gamma)
    history = [chunk.truncated_history.scatter(gamma * ratio) for ratio in emission.ratios]
    visits = [(gamma * ratio).sum(axis=0, dtype=np.float64) for ratio in emission.ratios]
    unseen = unseen_trials(rows, gamma.sum(axis=0, dtype=np.float64), history, visits, weights, at_tables=True)
    counts = code_counts(rows, gamma.sum(axis=0), cohort.problem.layout, cohort.parent, unseen)
    wanted = {name: np.zeros((4, FIRST)) for name in counts.items()}
    position = 0
    for p, life in enumerate(cohort.lives):
        for t in range(len(life)):
            for q in range(4):
                for chosen, share in cohort.slot_shares(p, t, q).items():
                    for c in chosen:
                        wanted[cohort.kind(p, t, c)][q, c] += gamma[position, q] * share
            position += 1
    for name, (present, trials) in counts.items().items():
        # The model expects trials times probability; with at least as many trials as there are presences.
        expected = trials * getattr(cohort.tables.codes, name)
        enough = (trials > present)[:, :FIRST]
        np.testing.assert_allclose(
            expected[:, :FIRST][enough], wanted[name][enough], rtol=2e-3, atol=2e-4, err_msg=name
        )
        assert name == "never_with_parent" or enough.any()


def test_predictions_are_those_of_the_record_so_far(cohort: Cohort) -> None:
    chunk, weights = one_chunk(cohort)
    emission = emit(chunk, weights).log
    predicted = predict(chunk, weights, emission)
    k = cohort.problem.n_states
    position = 0
    for p, life in enumerate(cohort.lives):
        r = cohort.stratum(p)
        matrix = cohort.tables.transition[cohort.problem.transition_stratum[r]]
        state = cohort.tables.initial[r].copy()
        for t in range(len(life)):
            np.testing.assert_allclose(predicted[position], state / state.sum(), atol=1e-5)
            position += 1
            seen = state * np.exp([cohort.log_visit(p, t, q) for q in range(len(state))])
            state = np.concatenate([seen[g * k : (g + 1) * k] @ matrix[g] for g in range(cohort.problem.n_classes)])


def parts(timelines: Timelines, cut: int) -> tuple[Timelines, Timelines]:
    return timelines.slice_patients(0, cut), timelines.slice_patients(cut, timelines.n_patients)


def assert_same(a: TrajectoryStatistics, b: TrajectoryStatistics) -> None:
    for name in ("rows", "unseen", "ratio", "visits", "initial", "transition"):
        np.testing.assert_allclose(getattr(a, name), getattr(b, name), atol=1e-6, rtol=1e-6, err_msg=name)
    assert a.log_likelihood == pytest.approx(b.log_likelihood, rel=1e-9)
    assert a.patients == pytest.approx(b.patients)


@pytest.mark.parametrize("cut", [1, 5, 11])
def test_statistics_of_two_halves_add_up_to_those_of_the_whole(cohort: Cohort, cut: int) -> None:
    chunk, weights = one_chunk(cohort)
    halves = [expectation(cohort.problem.chunks(part, 10**6)[0], weights) for part in parts(cohort.timelines, cut)]
    whole = expectation(chunk, weights)
    assert_same(halves[0] + halves[1], whole)
    merged = maximise(halves[0] + halves[1], cohort.problem.layout, cohort.parent, Strengths())
    alone = maximise(whole, cohort.problem.layout, cohort.parent, Strengths())
    for name in ("initial", "transition", "end_hazard", "gap", "encounter_class", "stay"):
        np.testing.assert_allclose(getattr(merged, name), getattr(alone, name), atol=1e-6, err_msg=name)
    for name in ("never", "never_with_parent", "previous", "earlier"):
        np.testing.assert_allclose(getattr(merged.codes, name), getattr(alone.codes, name), atol=1e-6, err_msg=name)


def test_em_in_small_chunks_is_em_of_the_whole() -> None:
    cohort = Cohort(7, filled="every", n_patients=60)
    problem = cohort.problem
    results = []
    for visits in (3, 10**6):
        chunks = problem.chunks(cohort.timelines, visits)
        start = start_statistics(problem, cohort.timelines, chunks, stream(1, "start"))
        results.append(em(problem, chunks, start, iterations=6, tolerance=0.0))
    np.testing.assert_allclose(results[0].log_likelihood, results[1].log_likelihood, atol=1e-6)
    np.testing.assert_allclose(results[0].tables.transition, results[1].tables.transition, atol=1e-5)
    np.testing.assert_allclose(results[0].tables.codes.never, results[1].tables.codes.never, atol=1e-5)


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_em_never_descends(seed: int) -> None:
    cohort = Cohort(seed, filled="none", n_patients=80)
    # Transitions by stratum are shrunk to a pooled estimate that moves; with one matrix EM ascends one function.
    problem = replace(cohort.problem, transition_stratum=np.zeros(4, dtype=np.int64))
    chunks = problem.chunks(cohort.timelines, 10**6)
    start = start_statistics(problem, cohort.timelines, chunks, stream(seed, "start"))
    fitted = em(problem, chunks, start, iterations=30, tolerance=-1.0)
    climb = np.diff(fitted.objective[4:])
    assert len(climb) == 25
    assert climb.min() > -1e-6 * abs(fitted.log_likelihood[-1])


def test_posterior_of_a_cut_record_says_nothing_of_its_end() -> None:
    cohort = tiny_cohort(5, filled="none")
    chunk, weights = one_chunk(cohort)
    emission = emit(chunk, weights).log
    posterior: Posterior = infer(chunk, weights, emission)
    cut = np.flatnonzero(cohort.cut)
    assert len(cut)
    for p in cut:
        last = cohort.timelines.offsets[p + 1] - 1
        without = cohort.log_visit(p, len(cohort.lives[p]) - 1, 0)
        assert emission[last, 0] == pytest.approx(without, abs=2e-5)
    np.testing.assert_allclose(posterior.gamma.sum(axis=1), 1.0, atol=1e-5)
