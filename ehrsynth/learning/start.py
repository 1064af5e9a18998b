"""Where EM starts: visits clustered to states and patients to classes, by k-means in the space of a truncated SVD."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ehrsynth.encoding import Timelines
from ehrsynth.encoding.timeline import FamilyTimeline
from ehrsynth.encoding.union import UNION
from ehrsynth.learning.evidence import SparseRows, sum_by

__all__ = ["kmeans", "start_states", "truncated_svd"]

Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.floating[Any]]

_RANK = 32
_SAMPLE = 20_000
"""Points that k-means and the SVD are fitted to; the rest is assigned."""


def truncated_svd(pairs: SparseRows, scale: Floats, rank: int, generator: np.random.Generator) -> Doubles:
    """Return right singular vectors float64[n_rows, rank] of the binary matrix of `pairs`, its columns scaled.

    Randomised range finding with two power iterations (Halko, Martinsson, Tropp 2011, algorithm 4.4); columns beyond
    the matrix's rank are zero.
    """
    n_rows = pairs.n_rows
    rank = min(rank, n_rows)
    width = min(rank + 8, n_rows)
    weights = scale[:, None].astype(np.float64)
    basis = generator.standard_normal((n_rows, width))
    for _ in range(3):
        image = pairs.gather((weights * basis).astype(np.float32))
        left, _ = np.linalg.qr(image.astype(np.float64))
        basis = weights * pairs.scatter(left.astype(np.float32))
    right, singular, _ = np.linalg.svd(basis, full_matrices=False)
    kept = singular > 1e-6 * max(float(singular[0]), 1e-30)
    result: Doubles = (right * kept)[:, :rank]
    return result


def kmeans(points: Doubles, k: int, generator: np.random.Generator, iterations: int = 25) -> tuple[Doubles, Ints]:
    """Cluster points float64[n, d] around k centres.

    k-means++ seeding (Arthur and Vassilvitskii 2007) and Lloyd's iterations; a centre that loses all its points moves
    to the point farthest from its centre.

    Returns
    -------
    centres : float64[k, d]
    label : int64[n]
    """
    n = len(points)
    centres = np.empty((k, points.shape[1]))
    centres[0] = points[int(generator.integers(n))]
    distance = ((points - centres[0]) ** 2).sum(axis=1)
    for i in range(1, k):
        total = float(distance.sum())
        chosen = int(generator.integers(n))
        if total > 0:
            chosen = min(int(np.searchsorted(np.cumsum(distance), generator.random() * total)), n - 1)
        centres[i] = points[chosen]
        distance = np.minimum(distance, ((points - centres[i]) ** 2).sum(axis=1))
    label = nearest(points, centres)
    for _ in range(iterations):
        counts = np.bincount(label, minlength=k)
        sums = sum_by(label, points, k)
        full = counts > 0
        centres[full] = sums[full] / counts[full, None]
        empty = np.flatnonzero(~full)
        if len(empty):
            far = np.argsort(-((points - centres[label]) ** 2).sum(axis=1), kind="stable")[: len(empty)]
            centres[empty[: len(far)]] = points[far]
        new = nearest(points, centres)
        if (new == label).all():
            break
        label = new
    return centres, label


def nearest(points: Doubles, centres: Doubles) -> Ints:
    """Return the nearest centre of each point, the lowest number among equals."""
    half = (centres**2).sum(axis=1) / 2
    result = np.empty(len(points), dtype=np.int64)
    for start in range(0, len(points), 50_000):
        part = points[start : start + 50_000]
        result[start : start + 50_000] = (half - part @ centres.T).argmin(axis=1)
    return result


def _embedding(
    pairs: SparseRows,
    frequency: npt.NDArray[np.int64],
    extra: Doubles | None,
    rank: int,
    generator: np.random.Generator,
) -> Doubles:
    """Return float64[n, rank (+ extra)]: rows of `pairs` in few dimensions, rare columns scaled up, length 1."""
    scale = 1.0 / np.sqrt(np.maximum(frequency, 1.0))
    scale = np.sqrt(scale * np.sqrt(max(float(frequency.max(initial=1.0)), 1.0)))
    vectors = truncated_svd(pairs, scale, rank, generator)
    points = pairs.gather((scale[:, None] * vectors).astype(np.float32)).astype(np.float64)
    length = np.sqrt(pairs.gather((scale[:, None] ** 2).astype(np.float32)).astype(np.float64))
    points /= np.maximum(length, 1e-12)
    return points if extra is None else np.concatenate([points, extra], axis=1)


def _cluster(points: Doubles, k: int, generator: np.random.Generator) -> Ints:
    if k == 1 or len(points) == 0:
        return np.zeros(len(points), dtype=np.int64)
    sample = points
    if len(points) > _SAMPLE:
        sample = points[np.sort(generator.choice(len(points), _SAMPLE, replace=False))]
    centres, _ = kmeans(sample, k, generator)
    return nearest(points, centres)


def start_states(
    timelines: Timelines, n_classes: int, n_states: int, generator: np.random.Generator
) -> tuple[Ints, Ints]:
    """Return (class of each patient int64[n], state within the class of each visit int64[V]) to start EM from."""
    family = timelines.families.get(UNION)
    n, n_visits = timelines.n_patients, timelines.n_visits
    of_visit = timelines.encounter_class.index
    one_hot = np.zeros((n_visits, len(timelines.encounter_class.labels)))
    one_hot[np.arange(n_visits), of_visit] = 0.7
    if family is None or not family.n_codes:
        stay = np.log1p(np.maximum(timelines.stay_minutes, 0))[:, None] / 10.0
        points = np.concatenate([one_hot, stay], axis=1)
        lives = sum_by(timelines.patient_of_visit, points, n)
        lives /= np.diff(timelines.offsets)[:, None]
        return _cluster(lives, n_classes, generator), _cluster(points, n_states, generator)
    pairs = SparseRows(family.visits, family.codes, n_visits, family.n_codes)
    frequency = np.bincount(family.codes, minlength=family.n_codes).astype(np.int64)
    states = _cluster(_embedding(pairs, frequency, one_hot, _RANK, generator), n_states, generator)
    if n_classes == 1:
        return np.zeros(n, dtype=np.int64), states
    ever = _ever_had(timelines, family)
    frequency = np.bincount(ever.row, minlength=family.n_codes).astype(np.int64)
    classes = _cluster(_embedding(ever, frequency, None, _RANK, generator), n_classes, generator)
    return classes, states


def _ever_had(timelines: Timelines, family: FamilyTimeline) -> SparseRows:
    keys = np.unique(timelines.patient_of_visit[family.visits] * family.n_codes + family.codes)
    return SparseRows(keys // family.n_codes, keys % family.n_codes, timelines.n_patients, family.n_codes)
