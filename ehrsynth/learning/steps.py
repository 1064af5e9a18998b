"""How far tables move when whole generated records are held against those that were seen."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ehrsynth.encoding import Cohort
from ehrsynth.randomness import BLOCK_SIZE

__all__ = ["FEWEST_PEOPLE", "beyond_chance", "blocks_to_draw", "log_odds_error", "longer"]

Doubles = npt.NDArray[np.float64]

FEWEST_PEOPLE = 200
"""Of fewer people in the source nearly all that is off is chance."""
_MOST_VISITS = 160_000
"""That are drawn at a time."""


def blocks_to_draw(cohort: Cohort, times: int) -> int:
    """Return the blocks of people to draw so many `times` those of the source; fewer if they have very many visits."""
    people = min(times * cohort.n_patients, _MOST_VISITS * cohort.n_patients // cohort.n_visits)
    return -(-people // BLOCK_SIZE)


def beyond_chance(error: Doubles, noise: Doubles) -> Doubles:
    """Return what of each error is more than chance: the positive part of James and Stein's estimate.

    Parameters
    ----------
    error : float64[n]
    noise : float64[n]
        The variance that it would have by chance alone.
    """
    result: Doubles = error * np.maximum(1.0 - noise / np.maximum(error**2, 1e-12), 0.0)
    return result


def log_odds_error(
    seen: tuple[Doubles, Doubles], made: tuple[Doubles, Doubles], *, about: float | Doubles = 0.0
) -> Doubles:
    """Return by how much the log odds of what was seen exceed those of what was made, beyond chance.

    Parameters
    ----------
    seen, made : (float64[...], float64[...])
        Trials, and how many of them came true.
    about : float or float64[...]
        The error that is expected: what differs from it by chance alone is drawn to it.
    """
    error, noise = np.zeros_like(seen[0]), np.zeros_like(seen[0])
    for sign, (trials, hits) in ((1.0, seen), (-1.0, made)):
        error += sign * np.log((hits + 0.5) / (trials - hits + 0.5))
        noise += 1.0 / (hits + 0.5) + 1.0 / (trials - hits + 0.5)
    return about + beyond_chance(error - about, noise)


def longer(gain: Doubles, before: Doubles, error: Doubles, by: float, most: float) -> Doubles:
    """Return how many times its length each step has: more while the error keeps its side (Riedmiller, Braun 1993).

    Parameters
    ----------
    gain : float64[n]
        Of the step before.
    before, error : float64[n]
        The error at the step before (0: there was none), and now.
    by, most : float
        How much longer a step becomes, and the most that it does.
    """
    return np.where(before * error > 0, np.minimum(gain * by, most), 1.0)
