"""Codes that hardly ever come without another one of the visit, drawn against their tables."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest

from ehrsynth.errors import ModelError
from ehrsynth.generation.codes import Present, VisitContext
from ehrsynth.generation.joint import JointSampler
from ehrsynth.generation.slots import SlotSampler
from ehrsynth.model import EVERY_TABLE, CodeFamily, Strata
from ehrsynth.randomness import stream

PEOPLE, VISITS = 6_000, 4
LEADER, SATELLITE, CHAINED, OF_WOMEN = 0, 1, 2, 5
"""The second hangs from the first, the third from the second; what only women have hangs from the first as well."""


def context(sex: int) -> VisitContext:
    """People of sixty with four visits each, all in state 0 and stratum 0."""
    zeros = np.zeros(PEOPLE * VISITS, dtype=np.int64)
    return VisitContext(
        patient=np.repeat(np.arange(PEOPLE), VISITS),
        offsets=np.arange(PEOPLE + 1) * VISITS,
        state=zeros,
        stratum=zeros,
        sex=zeros + sex,
        years_at_start=zeros + 60,
        years_at_end=zeros + 60,
    )


@pytest.fixture
def family(models: ModuleType) -> CodeFamily:
    """The tiny conditions, at most two in a visit besides the satellites."""
    one = models.conditions()
    parent = np.full(9, -1, dtype=np.int32)
    parent[[SATELLITE, CHAINED, OF_WOMEN]] = LEADER, SATELLITE, LEADER
    tables = {name: np.array(getattr(one, name)) for name in ("never", "never_with_parent", "previous", "earlier")}
    for code, rates in ((SATELLITE, (0.02, 0.5, 0.8, 0.2)), (CHAINED, (0.0, 0.4, 0.1, 0.7))):
        for name, rate in zip(tables, rates, strict=True):
            tables[name][:, code] = rate
    tables["never_with_parent"][:, OF_WOMEN] = 0.6
    lift = np.ones_like(one.lift)
    lift[0, SATELLITE] = 1.5
    return replace(
        one,
        **tables,
        parent=parent,
        parent_table=EVERY_TABLE,
        lift=lift,
        tilt=np.tile(np.array([1.0, 0.5, 2.0]), (len(one.never), 1)),
        age_min=np.zeros(9),
        age_max=np.full(9, np.inf),
        count_lift=np.tile([1.0, 3.0], (9, 1)),
    )


def lifted(p: float, lift: float) -> float:
    return p * lift / (1 - p + p * lift)


def has(present: Present, code: int) -> np.ndarray:
    """Whether each visit has a code, bool[PEOPLE, VISITS]; it has none twice."""
    assert len(np.unique(np.stack([present.visit, present.code]), axis=1).T) == len(present)
    found = np.zeros(PEOPLE * VISITS, dtype=bool)
    found[present.visit[present.code == code]] = True
    return found.reshape(PEOPLE, VISITS)


def told(table: np.ndarray, expected: float) -> None:
    """Fail if a share is further from what is expected than chance allows."""
    assert len(table) > 100
    assert abs(table.mean() - expected) < 4 * np.sqrt(expected * (1 - expected) / len(table))


def test_satellites_are_drawn_by_their_history_beside_their_parent(family: CodeFamily) -> None:
    present = SlotSampler(family).draw(context(2), stream(1, "satellites"))
    leader, satellite, chained = (has(present, code) for code in (LEADER, SATELLITE, CHAINED))
    had = np.cumsum(satellite, axis=1) - satellite
    just = np.zeros_like(satellite)
    just[:, 1:] = satellite[:, :-1]
    told(satellite[leader & (had == 0)], lifted(0.5, 1.5))
    told(satellite[leader & just & (had == 1)], lifted(0.8, 1.5))
    told(satellite[leader & just & (had >= 2)], lifted(0.8, 4.5))
    told(satellite[leader & ~just & (had == 1)], lifted(0.2, 1.5))
    # Without the parent history says nothing.
    told(satellite[~leader & (had == 0)], lifted(0.02, 1.5))
    told(satellite[~leader & (had > 0)], lifted(0.02, 1.5))
    new = np.cumsum(chained, axis=1) - chained == 0
    told(chained[satellite & leader & new], 0.4)
    told(chained[satellite & ~leader & new], 0.4)
    assert not chained[~satellite].any()
    recurs = np.zeros((PEOPLE * VISITS, 9), dtype=bool)
    recurs[present.visit, present.code] = present.recurs
    np.testing.assert_array_equal(recurs[:, SATELLITE].reshape(PEOPLE, VISITS), satellite & (had > 0))


def test_satellites_keep_to_their_sex_and_take_no_place(family: CodeFamily) -> None:
    women, men = (SlotSampler(family).draw(context(sex), stream(2, "satellites")) for sex in (1, 2))
    assert not has(men, OF_WOMEN).any()
    of_women, leader = has(women, OF_WOMEN)[:, 0], has(women, LEADER)[:, 0]
    told(of_women[leader], 0.6)
    own = ~np.isin(women.code, family.satellites)
    alone = replace(family, parent=np.full(9, -1, dtype=np.int32), never=np.where(family.parent >= 0, 0, family.never))
    # The places are filled as if there were no satellites: the same law, if not the same random numbers.
    without = SlotSampler(alone).draw(context(1), stream(3, "satellites"))
    first, second = (
        np.bincount(np.bincount(visit[visit % VISITS == 0], minlength=PEOPLE * VISITS)[::VISITS], minlength=3) / PEOPLE
        for visit in (women.visit[own], without.visit)
    )
    assert len(first) == len(second) == 3
    np.testing.assert_allclose(first, second, atol=0.04)


def test_what_follows_from_a_satellite_is_drawn_with_it(models: ModuleType, family: CodeFamily) -> None:
    drug = models.medications()
    q, n = np.asarray(drug.never).shape
    rates = {name: np.full((q, n), value, dtype=np.float32) for name, value in (("never", 0.3), ("previous", 0.0))}
    drug = replace(
        drug,
        **rates,
        earlier=rates["previous"],
        never_with_parent=np.full((q, n), 0.7, dtype=np.float32),
        parent_table=EVERY_TABLE,
        parent=np.full(n, SATELLITE, dtype=np.int32),
        lift=np.ones_like(drug.lift),
    )
    strata = Strata(sexes=models.SEXES, age_edges=models.AGE_EDGES)
    found = JointSampler((family, drug), strata).draw(context(2), stream(4, "satellites"))
    satellite, given = has(found["condition"], SATELLITE)[:, 0], has(found["medication_request"], 0)[:, 0]
    told(given[satellite], 0.7)
    told(given[~satellite], 0.3)


def test_a_circle_of_satellites_is_refused(family: CodeFamily) -> None:
    parent = np.array(family.parent)
    parent[LEADER] = CHAINED
    with pytest.raises(ModelError, match="circle"):
        SlotSampler(replace(family, parent=parent))
