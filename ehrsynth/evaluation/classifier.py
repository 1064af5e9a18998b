"""The two classifiers of scikit-learn that metrics use, imported when first needed and the same on every machine."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import numpy as np

from ehrsynth.errors import MissingExtraError
from ehrsynth.evaluation.cohort import Bools, Floats

__all__ = ["boosted_scores", "logistic_scores", "require"]


def require() -> None:
    """Raise MissingExtraError if scikit-learn is not installed."""
    try:
        import_module("sklearn")
    except ImportError:
        raise MissingExtraError(
            "The metrics utility and detection need scikit-learn.",
            hint="pip install 'ehrsynth[evaluate]', or name the other metrics only.",
        ) from None


@contextmanager
def _one_thread() -> Iterator[None]:
    # Sums over threads depend on how many there are; a report should not.
    with import_module("threadpoolctl").threadpool_limits(1):
        yield


def boosted_scores(train: Floats, positive: Bools, test: Floats, *, seed: int) -> Floats:
    """Return the probability of being positive that gradient-boosted trees give to each row of `test`.

    Histogram gradient boosting (Ke et al. 2017, LightGBM) of 100 trees of at most 31 leaves, learning rate 0.1; missing
    values (NaN) are a branch of their own.

    Parameters
    ----------
    train : float64[n, d]
    positive : bool[n]
        If only one of both occurs nothing can be told: every row scores one half.
    test : float64[m, d]
    seed : int
    """
    # A column without a value cannot be binned; one without variation tells nothing.
    known = ~np.isnan(train).all(axis=0)
    varies = known & (np.nan_to_num(train) != np.nan_to_num(train[:1])).any(axis=0)
    if not varies.any() or positive.all() or not positive.any():
        return np.full(len(test), 0.5)
    train, test = train[:, varies], test[:, varies]
    model: Any = import_module("sklearn.ensemble").HistGradientBoostingClassifier(
        max_iter=100, max_leaf_nodes=31, learning_rate=0.1, early_stopping=False, random_state=seed
    )
    with _one_thread():
        model.fit(train, positive)
        return np.asarray(model.predict_proba(test)[:, 1], dtype=np.float64)


def logistic_scores(train: Floats, positives: Bools, test: Floats) -> Floats:
    """Return the log-odds that logistic regressions with an L2 penalty give to each row of `test`, per label.

    Features are divided by their root mean square in `train`; penalty C = 0.1.

    Parameters
    ----------
    train : float64[n, d]
    positives : bool[n, labels]
        A label that has but one value in `train` cannot be learned: its scores are all 0.
    test : float64[m, d]

    Returns
    -------
    float64[m, labels]
    """
    linear, sparse = import_module("sklearn.linear_model"), import_module("scipy.sparse")
    scale = np.sqrt(np.square(train).mean(axis=0))
    scale = np.where(scale > 0, scale, 1.0)
    features, others = sparse.csr_matrix(train / scale), sparse.csr_matrix(test / scale)
    scores = np.zeros((test.shape[0], positives.shape[1]))
    with _one_thread(), warnings.catch_warnings():
        # A fit that stops at the limit of iterations ranks as well as one that goes on.
        warnings.simplefilter("ignore")
        for k in range(positives.shape[1]):
            if positives[:, k].any() and not positives[:, k].all():
                model: Any = linear.LogisticRegression(C=0.1, max_iter=200)
                scores[:, k] = model.fit(features, positives[:, k]).decision_function(others)
    return scores
