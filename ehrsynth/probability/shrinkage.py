"""Tables of distributions from counts, shrunk toward a prior or toward their own margin."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["shrink"]


def shrink(counts: npt.ArrayLike, strength: float, prior: npt.ArrayLike | None = None) -> npt.NDArray[np.float64]:
    """Return the posterior mean of each row under a Dirichlet prior: (counts + strength * prior) / their sum.

    Parameters
    ----------
    counts : float[..., C]
        Non-negative, possibly weighted or expected, counts; one distribution along the last axis.
    strength : float
        The prior's weight in observations (equivalent sample size), >= 0.
    prior : float[..., C], optional
        Broadcasts against counts, rows sum to 1. Default: the margin of the counts over all rows, so that a category
        that nobody has stays impossible (uniform if nothing is counted at all).

    Returns
    -------
    float64[..., C]
        Rows sum to 1. A row without counts is its prior, whatever the strength.
    """
    table = np.asarray(counts, dtype=np.float64)
    if prior is None:
        margin = table.reshape(-1, table.shape[-1]).sum(axis=0)
        whole = margin.sum()
        toward = margin / whole if whole > 0 else np.full(len(margin), 1 / len(margin))
    else:
        toward = np.asarray(prior, dtype=np.float64)
    total = table.sum(axis=-1, keepdims=True)
    # The least positive strength makes an empty row its prior without touching any other row.
    weight = np.where(total > 0, strength, max(strength, 1.0))
    smoothed = table + weight * toward
    result: npt.NDArray[np.float64] = smoothed / smoothed.sum(axis=-1, keepdims=True)
    return result
