"""Visits of a fixed number of codes (three diagnoses, no more): codes given their number, exactly.

Given that a visit has n codes, P(codes) is the product of their odds over the sum of such products over all sets of n
codes: the elementary symmetric polynomial e_n of the odds (conditional Bernoulli distribution; Chen, Dempster and Liu
1994, "Weighted finite population sampling to maximize entropy", Biometrika). Polynomials follow from the sums of powers
of the odds by Newton's identities, and the sums of powers differ from visit to visit only by the codes with history.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ehrsynth.learning.evidence import SparseRows
from ehrsynth.learning.parameters import CodeTables

__all__ = ["MOST_SLOTS", "SlotPowers", "fixed_slots", "open_slots", "ratio_sums", "slot_ratios"]

Doubles = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]

MOST_SLOTS = 6
"""Sums over sets of more codes lose too many digits."""

_FILLED = 0.5
_LEAST = 1e-9
_MOST = 1.0 - 1e-6


def fixed_slots(sizes: npt.NDArray[np.int64]) -> int:
    """Return the number of codes that visits have room for; 0 if they have room for any number.

    A source has slots if no visit has more codes and at least half of the visits fill them all.

    Parameters
    ----------
    sizes : int64[n]
        Visits of 0, 1, ... codes.
    """
    most = int(np.flatnonzero(sizes).max(initial=0))
    return most if 2 <= most <= MOST_SLOTS and sizes[most] / sizes.sum() >= _FILLED else 0


def open_slots(sizes: npt.NDArray[np.int64]) -> int:
    """Return the greatest number of codes of a visit where it is small and seldom reached; 0 otherwise.

    Parameters
    ----------
    sizes : int64[n]
        Visits of 0, 1, ... codes.
    """
    most = int(np.flatnonzero(sizes).max(initial=0))
    return most if 2 <= most <= MOST_SLOTS and not fixed_slots(sizes) else 0


@dataclass(frozen=True, kw_only=True, eq=False)
class SlotPowers:
    """Sums of powers of the odds, made ready for all visits.

    Attributes
    ----------
    base : float64[N, Q]
        Sum over the codes of odds ** k without history, k = 1..N.
    rows : float32[N, 2 * C, Q]
        What a history row adds to it.
    odds : float64[3, C, Q]
        Of codes in the previous visit, earlier, never.
    """

    base: Doubles
    rows: Singles
    odds: Doubles

    @classmethod
    def of(cls, codes: CodeTables, n_codes: int, n_slots: int, n_history: int) -> SlotPowers:
        """Return those of the first `n_codes` codes; `n_history` are the history rows of all codes."""
        odds = np.stack(
            [
                table.T[:n_codes] / (1.0 - table.T[:n_codes])
                for table in (np.clip(table, _LEAST, _MOST) for table in (codes.previous, codes.earlier, codes.never))
            ]
        )
        power = np.arange(1, n_slots + 1)[:, None, None]
        previous, earlier, never = (one[None] ** power for one in odds)
        half = n_history // 2
        rows = np.zeros((n_slots, n_history, odds.shape[-1]), dtype=np.float32)
        rows[:, :n_codes] = previous - never
        rows[:, half : half + n_codes] = earlier - never
        return cls(base=never.sum(axis=1), rows=rows, odds=odds)

    def polynomials(self, history: SparseRows) -> Doubles:
        """Return e_0..e_N of the odds in each visit and state, float64[N + 1, V, Q]."""
        sums = [history.gather(rows).astype(np.float64) for rows in self.rows]
        for one, base in zip(sums, self.base, strict=True):
            one += base
        e = np.empty((len(sums) + 1, *sums[0].shape))
        e[0] = 1.0
        part = np.empty_like(sums[0])
        for n in range(1, len(sums) + 1):
            np.multiply(e[n - 1], sums[0], out=e[n])
            for i in range(2, n + 1):
                np.multiply(e[n - i], sums[i - 1], out=part)
                (np.subtract if i % 2 == 0 else np.add)(e[n], part, out=e[n])
            e[n] /= n
            np.maximum(e[n], 1e-30, out=e[n])
        return e


def slot_ratios(polynomials: Doubles, size: npt.NDArray[np.int64]) -> tuple[Singles, Singles]:
    """Return (log e_n float32[V, Q], e_(n-k) / e_n float32[N, V, Q] for k = 1..N) of visits of n = `size` codes."""
    visits = np.arange(polynomials.shape[1])
    mine = polynomials[size, visits]
    ratios = np.zeros((len(polynomials) - 1, *mine.shape), dtype=np.float32)
    for k in range(1, len(polynomials)):
        less = size - k
        ratios[k - 1] = np.where((less >= 0)[:, None], polynomials[np.maximum(less, 0), visits] / mine, 0.0)
    return np.log(mine).astype(np.float32), ratios


def ratio_sums(history: Doubles, visits: Doubles, odds: Doubles) -> Doubles:
    """Return what the odds of a code are divided into to be the expected number of its visits, float64[3, C, Q].

    P(code | n) is o r_1 - o^2 r_2 + o^3 r_3 ..., with the ratios r_k of `slot_ratios`: o times what is returned here,
    summed over visits.

    Parameters
    ----------
    history : float64[N, 2 * C, Q]
        Ratios summed over the visits that have a history row.
    visits : float64[N, Q]
        Ratios summed over all visits.
    odds : float64[3, C, Q]
    """
    c = odds.shape[1]
    kinds = np.stack([history[:, :c], history[:, c:], visits[:, None] - history[:, :c] - history[:, c:]])
    total = np.zeros_like(odds)
    for k in range(kinds.shape[1]):
        total += (-odds) ** k * kinds[:, k]
    return total
