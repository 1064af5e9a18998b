"""Ratios of seen to expected counts are judged by themselves and by all others."""

from __future__ import annotations

import numpy as np

from ehrsynth.learning.shrinkage import likely_counts, ratio_prior


def test_ratios_are_nearer_to_the_truth_than_counts_or_expectations_are() -> None:
    rng = np.random.default_rng(1)
    expected = np.exp(rng.uniform(-1.0, 4.0, 4_000))
    # Most things come as expected, a few many times as often.
    truth = np.where(rng.random(4_000) < 0.05, 8.0, 0.8)
    seen = rng.poisson(truth * expected).astype(np.float64)
    known = np.ones(4_000, dtype=bool)
    prior = ratio_prior(seen, expected, known, 5)
    assert abs(prior.share.sum() - 1.0) < 1e-9
    # The mass about each of the two ratios.
    assert abs(prior.share[prior.ratio > 3.0].sum() - 0.05) < 0.02
    found = prior.mean(seen, expected, known)

    def off(ratio: np.ndarray) -> float:
        return float((expected * (ratio - truth) ** 2).sum())

    assert off(found) < 0.4 * min(off(seen / expected), off(np.ones(4_000)))
    # What was seen often enough speaks for itself.
    assert abs(prior.mean(np.array([400.0]), np.array([200.0]), known[:1])[0] - 2.0) < 0.2


def test_of_what_few_people_have_it_is_read_only_that_they_are_few() -> None:
    rng = np.random.default_rng(2)
    expected = np.exp(rng.uniform(-1.0, 3.0, 2_000))
    seen = rng.poisson(expected * np.exp(rng.normal(0.0, 0.5, 2_000))).astype(np.float64)
    known = seen >= 5
    told, other = likely_counts(seen, expected, known, 5), likely_counts(np.where(known, seen, 99), expected, known, 5)
    np.testing.assert_array_equal(told, other)
    # Of many that were expected, to be few says much; of few, nearly nothing.
    many, few = ~known & (expected > 8), ~known & (expected < 1)
    assert many.sum() > 5 and (told[many] < 0.8 * expected[many]).all()
    assert (np.abs(np.log(told[few] / expected[few])) < 0.3).all()
    likelier = likely_counts(seen, expected, known, 1)
    assert (likelier[many] < 0.8 * told[many]).all()


def test_nothing_seen_and_nothing_expected_stays_nothing() -> None:
    none = np.zeros(3)
    np.testing.assert_array_equal(likely_counts(none, none, np.zeros(3, dtype=bool), 5), none)
