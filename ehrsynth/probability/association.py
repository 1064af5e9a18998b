"""Association of binary variables from sparse counts: mutual information and the Chow-Liu forest."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

__all__ = ["binary_mutual_information", "chow_liu_forest"]

Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.int64]


def binary_mutual_information(n: float, first: Floats, second: Floats, both: Floats) -> npt.NDArray[np.float64]:
    """Return the mutual information in nats of pairs of binary variables.

    Parameters
    ----------
    n : float
        Observations, positive.
    first, second, both : float[m]
        How many of them have the first variable, the second, and both.
    """
    a, b, ab = (np.asarray(counts, dtype=np.float64) / n for counts in (first, second, both))
    total = np.zeros(np.broadcast_shapes(a.shape, b.shape, ab.shape))
    for joint, left, right in ((ab, a, b), (a - ab, a, 1 - b), (b - ab, 1 - a, b), (1 - a - b + ab, 1 - a, 1 - b)):
        seen = (joint > 0) & (left > 0) & (right > 0)
        ratio = np.divide(joint, left * right, out=np.ones_like(total), where=seen)
        total += np.where(seen, joint, 0.0) * np.log(ratio)
    return np.maximum(total, 0.0)


def chow_liu_forest(
    n: float,
    single: Floats,
    pair: tuple[npt.NDArray[np.integer], npt.NDArray[np.integer], Floats],
    *,
    given: Ints | None = None,
) -> Ints:
    """Return the parent of each variable in the maximum spanning forest of mutual information.

    Chow and Liu (1968), "Approximating discrete probability distributions with dependence trees"; by Kruskal's
    algorithm, with an edge only where it pays for its parameter by BIC: n * MI > log(n) / 2. Each tree hangs from its
    commonest variable (the lowest number among equals).

    Parameters
    ----------
    n : float
        Observations.
    single : float[C]
        How many have each variable.
    pair : (int[m], int[m], float[m])
        i, j and how many have both; each unordered pair once. Pairs that are not named get no edge.
    given : int64[k], optional
        Parents that the first k variables have already. The other variables hang from them by at most one edge each
        tree: the maximum spanning forest with these k taken as one.

    Returns
    -------
    int64[C]
        -1 for roots.
    """
    left, right = (np.minimum(pair[0], pair[1]).astype(np.int64), np.maximum(pair[0], pair[1]).astype(np.int64))
    count = np.asarray(single, dtype=np.float64)
    information = binary_mutual_information(n, count[left], count[right], pair[2])
    keep = np.flatnonzero((n * information > 0.5 * math.log(n)) & (left != right)) if n > 1 else np.empty(0, np.int64)
    # Ties, up to rounding of the sums, are told apart by the numbers of the variables.
    order = keep[np.lexsort((right[keep], left[keep], -np.round(information[keep], 14)))]
    n_given = 0 if given is None else len(given)
    root = [0] * n_given + list(range(n_given, len(count)))

    def find(i: int) -> int:
        while root[i] != i:
            root[i] = root[root[i]]
            i = root[i]
        return i

    neighbours: list[list[int]] = [[] for _ in root]
    for i, j in zip(left[order].tolist(), right[order].tolist(), strict=True):
        a, b = find(i), find(j)
        if a != b:
            root[max(a, b)] = min(a, b)
            neighbours[i].append(j)
            neighbours[j].append(i)
    parent = np.full(len(count), -1, dtype=np.int64)
    visited = np.zeros(len(count), dtype=bool)
    if given is not None:
        parent[:n_given], visited[:n_given] = given, True
    tops = np.lexsort((np.arange(len(count)), -count))
    # Given variables first: what hangs from them is theirs.
    for top in [*range(n_given), *tops.tolist()]:
        if visited[top] and top >= n_given:
            continue
        visited[top] = True
        stack = [top]
        while stack:
            i = stack.pop()
            for j in neighbours[i]:
                if not visited[j]:
                    visited[j] = True
                    parent[j] = i
                    stack.append(j)
    return parent
