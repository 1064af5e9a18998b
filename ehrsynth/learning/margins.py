"""What was learned is tried: people are drawn as whole records, counted, and the tables moved to what was seen.

The tables are those of states that real histories predict. Generated histories are not as the real ones wherever the
model is simpler than life, and the small differences of each visit add up over a record: of 14 visits to as many
percent of a code's people. People are drawn, counted, and the tables moved, for some rounds with ever smaller steps
(Robbins and Monro 1951, "A stochastic approximation method").
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ehrsynth.encoding import Cohort
from ehrsynth.learning.age_margins import AgeMargins
from ehrsynth.learning.count_margins import CountMargins
from ehrsynth.learning.death_margins import DeathMargins
from ehrsynth.learning.end_margins import EndMargins
from ehrsynth.learning.follow_margins import FollowMargins
from ehrsynth.learning.landing_margins import LandingMargins
from ehrsynth.learning.lead_margins import LeadMargins
from ehrsynth.learning.onset_age_margins import OnsetAgeMargins
from ehrsynth.learning.onset_margins import OnsetMargins
from ehrsynth.learning.pair_margins import PairMargins
from ehrsynth.learning.place_margins import PlaceMargins
from ehrsynth.learning.steps import FEWEST_PEOPLE, blocks_to_draw
from ehrsynth.model import CodeFamily, PatientModel, Trajectory
from ehrsynth.randomness import BLOCK_SIZE

if TYPE_CHECKING:
    from ehrsynth.generation.codes import Present, VisitContext

__all__ = ["with_margins"]

Ints = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]

_STEPS = (1.0, 1.0, 1.0, 0.7, 0.5, 0.35, 0.25)
_TIMES_DRAWN = 2
"""How many times the people of the source are drawn: where their codes have fixed places, which takes longest, once."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Block:
    """A block of people who were drawn.

    Attributes
    ----------
    visits : VisitContext
    present : mapping of table to Present
    last : bool[v]
    """

    visits: VisitContext
    present: Mapping[str, Present]
    last: npt.NDArray[np.bool_]

    @property
    def number(self) -> Ints:
        """Of each visit, from 1."""
        return np.asarray(np.arange(len(self.visits)) - self.visits.offsets[self.visits.patient] + 1)

    @property
    def day(self) -> Ints:
        """Of each visit, since the person's first."""
        assert self.visits.day is not None
        return self.visits.day

    @property
    def age(self) -> Ints:
        """Days of life, of each visit."""
        assert self.visits.age_days is not None
        return self.visits.age_days

    @property
    def first_age(self) -> Ints:
        """Days of life at the person's first visit, of each visit."""
        return np.asarray(self.age[self.visits.offsets[:-1]][self.visits.patient])


@dataclass(frozen=True, kw_only=True, eq=False)
class _Held:
    """One margin: how it is counted in a block, and how what was `made` in all blocks moves the model."""

    count: Callable[[_Block], Doubles]
    move: Callable[[PatientModel, Doubles, float], PatientModel]


def with_margins(
    model: PatientModel, cohort: Cohort, seed: int, min_patients: int = 5, *, by_age: bool = False
) -> PatientModel:
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
    by_age : bool
        Whether the ages at which people first have conditions are held as well: where these have visits of their own.
    """
    from ehrsynth.generation.outline import OutlineSampler

    family = model.families[0] if model.families else None
    if family is None or family.table != "condition" or cohort.n_patients < FEWEST_PEOPLE:
        return model
    fixed = family.sizes is not None
    if not fixed and family.zero_truncated and family.tilt is None and not _others_do(model):
        return model
    n_blocks = blocks_to_draw(cohort, 1 if fixed else _TIMES_DRAWN)
    drawn = n_blocks * BLOCK_SIZE
    held = [
        *(_of_onset_ages(model, cohort, drawn) if by_age and not fixed else []),
        *_of_codes(model, cohort, drawn),
        *_of_pairs(family, cohort, drawn, min_patients),
        *_of_visits(model, cohort, min_patients),
    ]
    families = model.families
    for round_, step in enumerate(_STEPS):
        outline = OutlineSampler(model)
        made = [np.zeros(0)] * len(held)
        for block in range(round_ * n_blocks, (round_ + 1) * n_blocks):
            one = _block(*outline.draw(seed, block, purpose="learning/margins/"))
            counts = [margin.count(one) for margin in held]
            made = [total + more if len(total) else more for total, more in zip(made, counts, strict=True)]
        # Each margin knows how far it moved what was learned, and moves that.
        model = replace(model, families=families)
        for margin, total in zip(held, made, strict=True):
            model = margin.move(model, total, step)
    return model


def _others_do(model: PatientModel) -> bool:
    """Return whether a code of another family will do where every visit has one."""
    return len(model.families) > 1 and all(family.zero_truncated for family in model.families)


def _block(visits: VisitContext, present: Mapping[str, Present]) -> _Block:
    last = np.zeros(len(visits), dtype=bool)
    last[visits.offsets[1:] - 1] = True
    return _Block(visits=visits, present=present, last=last)


def _with_family(model: PatientModel, k: int, family: CodeFamily) -> PatientModel:
    return replace(model, families=(*model.families[:k], family, *model.families[k + 1 :]))


def _of_codes(model: PatientModel, cohort: Cohort, drawn: int) -> list[_Held]:
    """Return the margins of each family by itself: how many people have a code, and how often."""
    from ehrsynth.generation.rows import followers

    held = []
    start = 0
    for k, family in enumerate(model.families):
        # Observations that follow another of their panel are not drawn by themselves, and neither are ordered codes.
        led = np.concatenate([[], *followers(family, model.measurements).values()]).astype(np.int64)
        if model.orders is not None:
            led = np.union1d(led, _among(model.orders.led, start, family))
        # When people have the code that transitions remember, these say.
        led = np.union1d(led, _among([model.trajectory.lead], start, family))
        start += len(family.codings)
        # Of codes that compete for so many places none is moved without the others.
        fixed = k == 0 and family.sizes is not None
        if not fixed:
            held.append(_onsets(k, family.table, OnsetMargins(family, cohort, drawn, led)))
        held.append(_counted(k, family.table, CountMargins(family, cohort, led)))
    return held


def _of_onset_ages(model: PatientModel, cohort: Cohort, drawn: int) -> list[_Held]:
    """Return the margin of the ages at which people first have conditions."""
    margins = OnsetAgeMargins(model.families[0], model.trajectory.strata, cohort, drawn)

    def count(block: _Block) -> Doubles:
        mine = block.present["condition"]
        new = ~mine.recurs
        return margins.count(block.visits.stratum[mine.visit[new]], mine.code[new])

    return [
        _Held(
            count=count,
            move=lambda model, made, step: _with_family(model, 0, margins.moved(model.families[0], made, step)),
        )
    ]


def _among(codes: npt.ArrayLike, start: int, family: CodeFamily) -> Ints:
    """Return those of the codes, numbered through all families, that a family has, by its own numbers."""
    own = np.asarray(codes, dtype=np.int64) - start
    return own[(own >= 0) & (own < len(family.codings))]


def _onsets(k: int, table: str, margins: OnsetMargins) -> _Held:
    def count(block: _Block) -> Doubles:
        mine = block.present[table]
        return margins.count(mine.code[~mine.recurs])

    return _Held(count=count, move=_of_family(k, margins))


def _counted(k: int, table: str, margins: CountMargins) -> _Held:
    def count(block: _Block) -> Doubles:
        mine = block.present[table]
        return margins.count(block.visits.patient[mine.visit], mine.code, np.ones(len(block.visits.offsets) - 1))

    return _Held(count=count, move=_of_family(k, margins))


def _of_family(k: int, margins: OnsetMargins | CountMargins) -> Callable[[PatientModel, Doubles, float], PatientModel]:
    """Return what moves the k-th family of a model."""
    return lambda model, made, step: _with_family(model, k, margins.moved(model.families[k], made, step))


def _of_pairs(family: CodeFamily, cohort: Cohort, drawn: int, min_patients: int) -> list[_Held]:
    """Return the margin of pairs of conditions, where they keep company."""
    if family.company is None or not len(family.company):
        return []
    kind = PairMargins if family.sizes is None else PlaceMargins
    margins = kind(family, cohort, min_patients)
    # Pairs are too many to be counted block by block.
    tally = [margins.tally()]

    def count(block: _Block) -> Doubles:
        mine = block.present[family.table]
        tally[0].add(mine.visit, mine.code, block.visits.offsets, block.visits.patient)
        return np.zeros(0)

    def move(model: PatientModel, made: Doubles, step: float) -> PatientModel:
        found, tally[0] = tally[0].total(), margins.tally()
        return _with_family(model, 0, margins.moved(model.families[0], found, drawn, step))

    return [_Held(count=count, move=move)]


def _of_visits(model: PatientModel, cohort: Cohort, min_patients: int) -> list[_Held]:
    """Return the margins of when visits are and records end."""
    ends = EndMargins(model.trajectory, cohort)
    landings = LandingMargins(model.trajectory, cohort, min_patients)
    follow = FollowMargins(model.trajectory, cohort)
    ages, deaths = AgeMargins(model.trajectory, cohort), DeathMargins(model.trajectory, cohort)

    def landed(block: _Block) -> Doubles:
        goes_on = np.flatnonzero(~block.last)
        return landings.count(block.day[goes_on], block.day[goes_on + 1], np.ones(len(goes_on)))

    return [
        _Held(
            count=lambda block: ends.count(block.number, block.day, block.last, np.ones(len(block.last))),
            move=lambda model, made, step: replace(model, trajectory=ends.moved(made, step)),
        ),
        _Held(
            count=landed,
            move=lambda model, made, step: replace(model, trajectory=landings.moved(model.trajectory, made, step)),
        ),
        _Held(
            count=lambda block: follow.count(block.first_age, block.day, block.last, np.ones(len(block.last))),
            move=lambda model, made, step: replace(model, trajectory=follow.moved(model.trajectory, made, step)),
        ),
        _Held(
            count=lambda block: ages.count(
                block.age, np.diff(block.day, append=0), block.last, np.ones(len(block.last))
            ),
            move=lambda model, made, step: replace(model, trajectory=ages.moved(model.trajectory, made, step)),
        ),
        *_of_lead(model.trajectory, cohort),
        _Held(
            count=lambda block: deaths.count(block.visits.stratum[block.last], block.visits.state[block.last]),
            move=lambda model, made, step: replace(model, trajectory=deaths.moved(model.trajectory, made, step)),
        ),
    ]


def _of_lead(trajectory: Trajectory, cohort: Cohort) -> list[_Held]:
    """Return the margin of when people have the code that transitions remember, if they do."""
    if trajectory.lead < 0:
        return []
    margins = LeadMargins(trajectory, cohort)

    def count(block: _Block) -> Doubles:
        assert block.visits.leads is not None
        leads = block.visits.leads.astype(np.int64)
        earlier = np.cumsum(leads) - leads
        before = earlier > earlier[block.visits.offsets[:-1]][block.visits.patient]
        return margins.count(
            block.number, block.first_age, block.day, before, leads > 0, block.last, np.ones(len(leads))
        )

    return [
        _Held(
            count=count,
            move=lambda model, made, step: replace(model, trajectory=margins.moved(model.trajectory, made, step)),
        )
    ]
