"""Association of binary variables from sparse counts: mutual information and the Chow-Liu forest."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["binary_mutual_information", "chow_liu_forest"]

Floats = npt.NDArray[np.floating]


def binary_mutual_information(n: float, first: Floats, second: Floats, both: Floats) -> npt.NDArray[np.float64]:
    """Return the mutual information in nats of pairs of binary variables.

    Parameters
    ----------
    n : float
        Observations.
    first, second, both : float[m]
        How many of them have the first variable, the second, and both.
    """
    raise NotImplementedError


def chow_liu_forest(
    n: float, single: Floats, pair: tuple[npt.NDArray[np.integer], npt.NDArray[np.integer], Floats]
) -> npt.NDArray[np.int64]:
    """Return the parent of each variable in the maximum spanning forest of mutual information; -1 for roots.

    Parameters
    ----------
    n : float
        Observations.
    single : float[C]
        How many have each variable.
    pair : (int[m], int[m], float[m])
        i, j and how many have both; pairs that are not named co-occur never (and their edge is not considered).
    """
    raise NotImplementedError
