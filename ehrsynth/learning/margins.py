"""How many people ever have each code: what was learned is tried, and first onsets are moved to what was seen.

The tables are those of states that real histories predict. Generated histories are not as the real ones wherever the
model is simpler than life, and the small differences of each visit add up over a record: of 14 visits to as many
percent of a code's people. People are drawn, counted, and the odds of codes that they have not had are moved, for some
rounds with ever smaller steps (Robbins and Monro 1951, "A stochastic approximation method").
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ehrsynth.encoding import Cohort, Timelines
from ehrsynth.learning.count_margins import CountMargins
from ehrsynth.learning.end_margins import EndMargins
from ehrsynth.learning.pair_margins import PairMargins
from ehrsynth.learning.place_margins import PlaceMargins
from ehrsynth.learning.steps import beyond_chance, longer
from ehrsynth.model import CodeFamily, PatientModel
from ehrsynth.randomness import BLOCK_SIZE

if TYPE_CHECKING:
    from ehrsynth.generation.codes import Present, VisitContext

__all__ = ["with_margins"]

Doubles = npt.NDArray[np.float64]

_STEPS = (1.0, 1.0, 1.0, 0.7, 0.5, 0.35, 0.25)
_FEWEST = 200
"""Of fewer people nearly all that is off is chance."""
_MOST_DRAWN = 160_000
"""Visits of each round."""
_TIMES_DRAWN = 2
"""How many times the people of the source are drawn: where their codes have fixed places, which takes longest, once."""
_SATURATION = 3.0
"""What most people get anyway answers to its odds the less: nearly all who are prone to it have it in the end."""
_LARGEST = 2.5
_LONGER, _MOST_GAIN, _LONGEST = 1.7, 6.0, 2.5
"""Steps grow by so much while the error keeps its side, up to so many times their length."""
_MOST = 1.0 - 1e-6


def with_margins(model: PatientModel, cohort: Cohort, seed: int, min_patients: int = 5) -> PatientModel:
    """Return the model with onsets of codes for as many people, and pairs of conditions as often, as the source has.

    Parameters
    ----------
    model : PatientModel
        Whose first family is of conditions. Without it, of few people, or where every visit has one and their number
        follows from their odds (of codes that compete for the visits none is moved without the others), it is returned
        as it is; where their number is fixed first, first onsets of conditions stay.
    cohort : Cohort
        Of the source; patients count by their weight.
    seed : int
        Of the people that are drawn.
    min_patients : int
        Pairs of codes of fewer people are not learned.
    """
    from ehrsynth.generation.rows import followers

    family = model.families[0] if model.families else None
    if family is None or family.table != "condition" or cohort.n_patients < _FEWEST:
        return model
    fixed = family.sizes is not None
    if not fixed and family.zero_truncated and family.tilt is None and not _others_do(model):
        return model
    families = list(model.families)
    ever = [cohort.total(partial(_ever, table=one.table, n_codes=len(one.codings))) for one in families]
    ends = EndMargins(model.trajectory, cohort)
    counted = [CountMargins(one, cohort) for one in families]
    seen = [weight[:-1] / weight[-1] for weight in ever]
    people = min((1 if fixed else _TIMES_DRAWN) * cohort.n_patients, _MOST_DRAWN * cohort.n_patients // cohort.n_visits)
    n_blocks = -(-people // BLOCK_SIZE)
    drawn = n_blocks * BLOCK_SIZE
    moved, before, gain = ([np.full(len(share), start) for share in seen] for start in (0.0, 0.0, 1.0))
    # Observations that follow another of their panel are not drawn by themselves.
    led = [np.concatenate([[], *followers(one, model.measurements).values()]).astype(np.int64) for one in families]
    pairs = None
    if family.company is not None and len(family.company):
        pairs = (PlaceMargins if fixed else PairMargins)(family, cohort, min_patients)
    for round_, step in enumerate(_STEPS):
        made, reached, paired, ended = _drawn(model, seed, round_ * n_blocks, n_blocks, families, counted, pairs, ends)
        for k, share in enumerate(seen):
            error = np.log((share * drawn + 1.0) / (made[k] + 1.0))
            noise = 1.0 / (share * cohort.n_patients + 1.0) + 1.0 / (made[k] + 1.0)
            error = beyond_chance(error, noise)
            error[led[k]] = 0.0
            gain[k] = longer(gain[k], before[k], error, _LONGER, _MOST_GAIN)
            before[k] = error
            most = _LARGEST * (1.0 + share)
            moved[k] = np.clip(
                moved[k] + np.minimum(step * gain[k], _LONGEST) * (1.0 + _SATURATION * share) * error, -most, most
            )
        if fixed:
            # Of codes that compete for so many places none is moved without the others.
            moved[0] = np.zeros_like(moved[0])
        tried = [
            one_counted.moved(_moved(one, log_odds), found, step)
            for one, log_odds, one_counted, found in zip(families, moved, counted, reached, strict=True)
        ]
        if pairs is not None:
            tried[0] = pairs.moved(tried[0], paired, drawn, step)
        model = replace(model, families=tuple(tried), trajectory=ends.moved(ended, step))
    return model


def _others_do(model: PatientModel) -> bool:
    """Return whether a code of another family will do where every visit has one."""
    return len(model.families) > 1 and all(family.zero_truncated for family in model.families)


def _ever(timelines: Timelines, table: str, n_codes: int) -> Doubles:
    """Return the weight of the people who ever have each code of a family, and last that of all people."""
    codes = timelines.families[table]
    owner = timelines.patient_of_visit[codes.visits].astype(np.int64)
    person, code = np.divmod(np.unique(owner * n_codes + codes.codes), n_codes)
    return np.append(np.bincount(code, timelines.weight[person], n_codes), timelines.weight.sum())


def _drawn(
    model: PatientModel,
    seed: int,
    first: int,
    blocks: int,
    families: list[CodeFamily],
    counted: list[CountMargins],
    pairs: PairMargins | PlaceMargins | None,
    ends: EndMargins,
) -> tuple[list[Doubles], list[Doubles], Doubles, Doubles]:
    """Return how many of the people of so many blocks have each code, how often, by family; each pair; and the ends."""
    from ehrsynth.generation.outline import OutlineSampler

    outline, total = OutlineSampler(model), list[Doubles]()
    paired = None if pairs is None else pairs.tally()
    for block in range(first, first + blocks):
        visits, present = outline.draw(seed, block, purpose="learning/margins/")
        made = _counts(visits, present, families, counted, ends)
        total = [one + more for one, more in zip(total, made, strict=True)] if total else made
        if paired is not None:
            mine = present[families[0].table]
            paired.add(mine.visit, mine.code, visits.offsets, visits.patient)
    k = len(families)
    of_pairs = np.zeros(0) if paired is None else paired.total()
    return total[:k], total[k : 2 * k], of_pairs, total[2 * k]


def _counts(
    visits: VisitContext,
    present: Mapping[str, Present],
    families: list[CodeFamily],
    counted: list[CountMargins],
    ends: EndMargins,
) -> list[Doubles]:
    """Return the counts of one block in the order of those of `_drawn`, one array after the other."""
    mine = [present[family.table] for family in families]
    everybody = np.ones(len(visits.offsets) - 1)
    had = [
        np.bincount(one.code[~one.recurs], minlength=len(family.codings)).astype(np.float64)
        for family, one in zip(families, mine, strict=True)
    ]
    often = [
        margins.count(visits.patient[one.visit], one.code, everybody)
        for margins, one in zip(counted, mine, strict=True)
    ]
    last = np.zeros(len(visits), dtype=bool)
    last[visits.offsets[1:] - 1] = True
    number = np.arange(len(visits)) - visits.offsets[visits.patient] + 1
    assert visits.day is not None
    return [*had, *often, ends.count(number, visits.day, last, np.ones(len(visits)))]


def _moved(family: CodeFamily, log_odds: Doubles) -> CodeFamily:
    """Return the family with the odds of codes that nobody has had yet multiplied by exp(`log_odds`).

    Those beside the code's parent stay: how often the two come together was learned as it is. But of satellites, which
    hardly ever come otherwise, they are moved.
    """
    never = _multiplied(family.never, log_odds)
    with_parent = np.where(np.asarray(family.parent) < 0, never, np.asarray(family.never_with_parent, dtype=np.float32))
    own = family.satellites
    with_parent[:, own] = _multiplied(with_parent[:, own], log_odds[own])
    return replace(family, never=never, never_with_parent=with_parent)


def _multiplied(table: npt.ArrayLike, log_odds: Doubles) -> npt.NDArray[np.float32]:
    """Return probabilities float32[Q, C] whose odds are multiplied by exp(`log_odds`)."""
    old = np.minimum(np.asarray(table, dtype=np.float64), _MOST)
    odds = old / (1.0 - old) * np.exp(log_odds)
    return np.asarray(odds / (1.0 + odds), dtype=np.float32)
