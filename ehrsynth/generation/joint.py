"""The codes of all tables of a visit, drawn together: one forest through all families."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ehrsynth.errors import ModelError
from ehrsynth.generation.codes import CodeSampler, Present, VisitContext
from ehrsynth.generation.orders import OrderSampler
from ehrsynth.generation.rows import followers, without_followers
from ehrsynth.generation.segments import first_of_each
from ehrsynth.generation.slots import SlotSampler
from ehrsynth.model import EVERY_TABLE, CodeFamily, Measurements, OrderSets, PatientModel, Strata

__all__ = ["JointSampler"]


_COLUMNS = ("visit", "code", "recurs")


class JointSampler:
    """Families whose parents are numbered through all of them, made ready for drawing many blocks.

    Parameters
    ----------
    families : sequence of CodeFamily
        All families of the model, in its order.
    strata : Strata
    measurements : Measurements, optional
        Codes that follow another of their panel are not drawn by themselves.
    orders : OrderSets, optional
        Codes of these come with the conditions, and not otherwise.
    lead : int
        Code, numbered through all families, that the visits tell of already; -1: none.

    Raises
    ------
    ModelError
        Some families are numbered through all and others are not.
    """

    def __init__(
        self,
        families: tuple[CodeFamily, ...],
        strata: Strata,
        measurements: Measurements | None = None,
        orders: OrderSets | None = None,
        lead: int = -1,
    ) -> None:
        if any(family.parent_table != EVERY_TABLE for family in families):
            raise ModelError(f"Of the families, either all or none have the parent table {EVERY_TABLE!r}.")
        self._names = [family.table for family in families]
        self._start = np.cumsum([0, *(len(family.codings) for family in families)])
        union = _union(families)
        led = {}
        for family, start in zip(families, self._start.tolist(), strict=False):
            for leader, others in followers(family, measurements).items():
                led[start + leader] = [start + code for code in others]
        self._slots = None
        marked = [np.full(len(family.codings), family.zero_truncated) for family in families]
        if families[0].sizes is not None or families[0].tilt is not None:
            self._slots = SlotSampler(families[0], strata)
            # What is given to the forest is not drawn again.
            union = _never(union, np.arange(self._start[1]))
        self._lead = lead
        if lead >= 0:
            union = _never(union, np.array([lead]))
        self._orders = None
        if orders is not None:
            self._orders = OrderSampler(orders, len(union.codings))
            union = _never(union, self._orders.led)
        if families[0].sizes is not None:
            marked = [np.zeros(len(union.codings), dtype=bool)]
        self._codes = CodeSampler(without_followers(union, led), strata, np.concatenate(marked))

    def _leading(self, visits: VisitContext) -> Present:
        """Return the code that the visits tell of."""
        assert visits.leads is not None
        visit = np.flatnonzero(visits.leads)
        again = ~first_of_each(visits.patient[visit])
        return Present(visit=visit, code=np.full(len(visit), self._lead), recurs=again)

    @classmethod
    def of(cls, model: PatientModel) -> JointSampler:
        """Return the sampler of a model whose families are drawn together."""
        lead = model.trajectory.lead
        return cls(model.families, model.trajectory.strata, model.measurements, model.orders, lead)

    def draw(self, visits: VisitContext, rng: np.random.Generator) -> dict[str, Present]:
        """Return the codes of `visits` by table; of each table as `CodeSampler.draw`."""
        given = None if self._slots is None else self._slots.draw(visits, rng)
        if self._orders is not None and given is not None:
            given = _merged(given, self._orders.draw(visits, given, rng))
        if self._lead >= 0:
            leading = self._leading(visits)
            given = leading if given is None else _merged(given, leading)
        every = self._codes.draw(visits, rng, given=given)
        found = {}
        for name, low, high in zip(self._names, self._start[:-1], self._start[1:], strict=True):
            mine = (every.code >= low) & (every.code < high)
            found[name] = Present(visit=every.visit[mine], code=every.code[mine] - low, recurs=every.recurs[mine])
        return found


def _count_lift(family: CodeFamily, bands: int) -> Any:
    """Return the family's odds multipliers by earlier visits with the code, float[C, bands]."""
    if family.count_lift is None:
        return np.ones((len(family.codings), bands), dtype=np.float32)
    lift = np.asarray(family.count_lift, dtype=np.float32)
    return lift[:, np.minimum(np.arange(bands), lift.shape[1] - 1)]


def _since_lift(family: CodeFamily, bands: int) -> Any:
    """Return the family's odds multipliers by days since the code, float[C, bands]."""
    if family.since_lift is None:
        return np.ones((len(family.codings), bands), dtype=np.float32)
    return np.asarray(family.since_lift, dtype=np.float32)


def _merged(one: Present, other: Present) -> Present:
    """Return the codes of both, by visit and code."""
    visit, code, recurs = (np.concatenate([getattr(one, name), getattr(other, name)]) for name in _COLUMNS)
    order = np.lexsort((code, visit))
    return Present(visit=visit[order], code=code[order], recurs=recurs[order])


def _never(family: CodeFamily, codes: npt.NDArray[np.int64]) -> CodeFamily:
    """Return the family with some codes never drawn, and without parents."""
    parent = np.array(family.parent)
    parent[codes] = -1
    tables: dict[str, Any] = {"parent": parent}
    for name in ("never", "never_with_parent", "previous", "earlier"):
        tables[name] = np.array(getattr(family, name))
        tables[name][:, codes] = 0
    return replace(family, **tables)


def _union(families: tuple[CodeFamily, ...]) -> CodeFamily:
    """Return one family of all codes; of its columns only those are meant that say whether a visit has a code."""

    def joined(name: str) -> Any:
        return np.concatenate([np.asarray(getattr(family, name)) for family in families], axis=-1)

    names = ("never", "never_with_parent", "previous", "earlier", "parent", "lift", "sex_limit", "age_min", "age_max")
    tables: dict[str, Any] = {name: joined(name) for name in names}
    if any(family.count_lift is not None for family in families):
        bands = max(np.shape(family.count_lift)[1] for family in families if family.count_lift is not None)
        tables["count_lift"] = np.concatenate([_count_lift(family, bands) for family in families])
    timed = [family.since_edges for family in families if family.since_edges is not None]
    if timed:
        if any(not np.array_equal(edges, timed[0]) for edges in timed):
            raise ModelError("Of families that are drawn together, the days since a code are told in the same bands.")
        tables["since_edges"] = timed[0]
        tables["since_lift"] = np.concatenate([_since_lift(family, len(timed[0])) for family in families])
    return replace(
        families[0],
        table=EVERY_TABLE,
        codings=tuple(coding for family in families for coding in family.codings),
        attributes=None,
        sizes=None,
        tilt=None,
        reason=None,
        **tables,
    )
