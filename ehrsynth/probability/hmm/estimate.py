"""Initial and transition probabilities from expected counts, shrunk toward the margin."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["estimate_initial", "estimate_transition"]


def estimate_initial(counts: npt.NDArray[np.floating], strength: float = 0.0) -> npt.NDArray[np.float64]:
    """Return P(first state | row) from counts float[..., Q], each row shrunk toward the margin over the rows."""
    raise NotImplementedError


def estimate_transition(
    counts: npt.NDArray[np.floating], *, strength: float = 0.0, stratum_strength: float = 0.0
) -> npt.NDArray[np.float64]:
    """Return transition probabilities of the shape of `counts` ([Q, Q], [D, Q, Q] or [D, G, K, K]).

    Each row, pooled over the strata, is shrunk (`strength`) toward the margin of the next state in its block; each
    stratum's row is shrunk (`stratum_strength`) toward the pooled row.
    """
    raise NotImplementedError
