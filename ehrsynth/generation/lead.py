"""When people have the code that transitions remember: drawn with the states, before all other codes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ehrsynth.errors import ModelError
from ehrsynth.generation.code_tables import lifted, possible_strata
from ehrsynth.model import CodeFamily, Strata

__all__ = ["LeadLaw"]

Int = npt.NDArray[np.int64]
Float = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]


class LeadLaw:
    """P(a visit has the code | state, stratum, whether the person has had it).

    Parameters
    ----------
    families : tuple of CodeFamily
        Of the model.
    strata : Strata
    lead : int
        The code, numbered through all families.

    Raises
    ------
    ModelError
        No family has it.
    """

    def __init__(self, families: tuple[CodeFamily, ...], strata: Strata, lead: int) -> None:
        for family in families:
            if lead < len(family.codings):
                break
            lead -= len(family.codings)
        else:
            raise ModelError("trajectory.lead is no code of the model.")
        never, earlier, lift, sex, low, high = (
            np.asarray(table, dtype=np.float64)[..., [lead]]
            for table in (
                family.never,
                family.earlier,
                family.lift,
                family.sex_limit,
                family.age_min,
                family.age_max,
            )
        )
        tables = [never[:, 0], earlier[:, 0]]
        lift = (lift * possible_strata(strata, sex.astype(np.int64), low, high))[:, 0]
        self.of_state: Float = tables[0]
        """P(lead | state) of who has not had it, float64[Q]."""
        self._probability = np.stack([lifted(table[None, :], lift[:, None]) for table in tables])

    def probability(self, had: Bool, stratum: Int, state: Int) -> Float:
        """Return the chance of each visit, float64[n]."""
        return np.asarray(self._probability[had.astype(np.int64), stratum, state])
