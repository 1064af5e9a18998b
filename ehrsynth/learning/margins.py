"""How many people ever have each condition: what was learned is tried, and first onsets are moved to what was seen.

The tables are those of states that real histories predict. Generated histories are not as the real ones wherever the
model is simpler than life, and the small differences of each visit add up over a record: of 14 visits to as many
percent of a code's people. People are drawn, counted, and the odds of codes that they have not had are moved, for some
rounds with ever smaller steps (Robbins and Monro 1951, "A stochastic approximation method").
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from ehrsynth.encoding import Cohort, Timelines
from ehrsynth.model import CodeFamily, PatientModel
from ehrsynth.randomness import BLOCK_SIZE

__all__ = ["with_margins"]

Doubles = npt.NDArray[np.float64]

_STEPS = (1.0, 1.0, 1.0, 0.7, 0.5, 0.35)
_MOST_DRAWN = 6_000
_SATURATION = 3.0
"""What most people get anyway answers to its odds the less: nearly all who are prone to it have it in the end."""
_LARGEST = 1.0
_MOST = 1.0 - 1e-6


def with_margins(model: PatientModel, cohort: Cohort, seed: int) -> PatientModel:
    """Return the model with onsets of conditions for as many people as the source has.

    Parameters
    ----------
    model : PatientModel
        Whose first family is of conditions. Without it, or where every visit has a condition or their number is drawn
        first (of codes that compete for the visits none is moved without the others), it is returned as it is.
    cohort : Cohort
        Of the source; patients count by their weight.
    seed : int
        Of the people that are drawn.
    """
    family = model.families[0] if model.families else None
    if family is None or family.table != "condition" or (family.zero_truncated and not _others_do(model)):
        return model
    if family.sizes is not None or family.tilt is not None:
        return model
    ever = cohort.total(_ever)
    seen = ever[:-1] / ever[-1]
    n_blocks = -(-min(cohort.n_patients, _MOST_DRAWN) // BLOCK_SIZE)
    drawn = n_blocks * BLOCK_SIZE
    moved = np.zeros(len(seen))
    first = model
    for round_, step in enumerate(_STEPS):
        made = _drawn(model, seed, round_ * n_blocks, n_blocks)
        error = np.log((seen * drawn + 1.0) / (made + 1.0))
        noise = 1.0 / (seen * cohort.n_patients + 1.0) + 1.0 / (made + 1.0)
        # Only what is more than chance (the positive part of James and Stein's estimate).
        error *= np.maximum(1.0 - noise / np.maximum(error**2, 1e-12), 0.0)
        moved = np.clip(moved + step * (1.0 + _SATURATION * seen) * error, -_LARGEST, _LARGEST)
        model = replace(first, families=(_moved(family, moved), *first.families[1:]))
    return model


def _others_do(model: PatientModel) -> bool:
    """Return whether a code of another family will do where every visit has one."""
    return len(model.families) > 1 and all(family.zero_truncated for family in model.families)


def _ever(timelines: Timelines) -> Doubles:
    """Return the weight of the people who ever have each condition, and last that of all people."""
    n_codes = timelines.families["condition"].n_codes
    conditions = timelines.families["condition"]
    owner = timelines.patient_of_visit[conditions.visits].astype(np.int64)
    person, code = np.divmod(np.unique(owner * n_codes + conditions.codes), n_codes)
    return np.append(np.bincount(code, timelines.weight[person], n_codes), timelines.weight.sum())


def _drawn(model: PatientModel, seed: int, first: int, blocks: int) -> Doubles:
    """Return how many of the people of so many blocks have each condition."""
    from ehrsynth.generation.outline import OutlineSampler

    outline, n_codes = OutlineSampler(model), len(model.families[0].codings)
    total = np.zeros(n_codes)
    for block in range(first, first + blocks):
        present = outline.draw(seed, block, purpose="learning/margins/")["condition"]
        new = ~present.recurs
        total += np.bincount(present.code[new], minlength=n_codes)
    return total


def _moved(family: CodeFamily, log_odds: Doubles) -> CodeFamily:
    """Return the family with the odds of codes that nobody has had yet multiplied by exp(`log_odds`).

    Those beside the code's parent stay: how often the two come together was learned as it is.
    """
    old = np.minimum(np.asarray(family.never, dtype=np.float64), _MOST)
    odds = old / (1.0 - old) * np.exp(log_odds)
    never = (odds / (1.0 + odds)).astype(np.float32)
    alone = np.asarray(family.parent) < 0
    return replace(
        family,
        never=never,
        never_with_parent=np.where(alone, never, np.asarray(family.never_with_parent, dtype=np.float32)),
    )
