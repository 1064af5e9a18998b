"""Whether the parts of a patient model fit each other: a package may have been written or edited by anybody."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from ehrsynth.errors import ModelError
from ehrsynth.model.orders import OrderSets
from ehrsynth.model.patient_model import EVERY_TABLE, CodeFamily, Measurements, PatientModel, Trajectory
from ehrsynth.model.series_shapes import SERIES_ROWS, expected_of_series

__all__ = ["check_shapes"]

_SUM_TOLERANCE = 1e-3
Expected = tuple[str, Any, tuple[int | tuple[int, ...], ...]]


def check_shapes(model: PatientModel) -> None:
    """Check the shapes, ranges and sums of all tables of `model` (see the letters in `ehrsynth.model.patient_model`).

    Raises
    ------
    ModelError
        A table of another shape than the others ask for, a probability that is none, a row that does not sum to 1, or a
        number that points nowhere.
    """
    names = [family.table for family in model.families]
    if len(set(names)) < len(names):
        raise ModelError(f"The families {', '.join(names)} are not one for each table.")
    _check(_trajectory(model.trajectory))
    _rows("trajectory", model.trajectory, _TRAJECTORY_ROWS)
    blocks = np.asarray(model.trajectory.initial).reshape(-1, model.trajectory.n_states)
    _sums("trajectory.initial", blocks)
    n_states = model.trajectory.n_classes * model.trajectory.n_states
    calendar, bands = model.calendar, len(np.asarray(model.trajectory.elapsed_edges))
    _check([("calendar.tail", calendar.tail, ((1, bands), calendar.tail_days.n_coarse))])
    _sums("calendar.tail", np.asarray(calendar.tail))
    n_conditions = next((len(family.codings) for family in model.families if family.table == "condition"), 0)
    for family in model.families:
        _check(_family(family, len(model.trajectory.strata), n_states))
        _rows(family.table, family, ("duration",))
        if family.sizes is not None:
            _rows(family.table, family, ("sizes",))
        own = len(family.codings) if family.parent_table == family.table else n_conditions
        if family.parent_table == EVERY_TABLE:
            own = sum(len(one.codings) for one in model.families)
        if len(family.satellites):
            own = len(family.codings)
        _points(f"{family.table}.parent", family.parent, -1, own)
        if family.attributes is not None:
            offsets = np.asarray(family.attributes.offsets)
            _check([(f"{family.table}.attributes.offsets", offsets, (len(family.codings) + 1,))])
            _check([(f"{family.table}.attributes.weight", family.attributes.weight, (len(family.attributes.rows),))])
            if offsets[0] != 0 or offsets[-1] != len(family.attributes.rows) or (np.diff(offsets) < 0).any():
                raise ModelError(f"The offsets of the attributes of {family.table} do not part its rows.")
    if model.orders is not None:
        n_codes = sum(len(family.codings) for family in model.families)
        _check(_orders(model.orders, n_codes, n_conditions, len(model.trajectory.strata)))
    if model.series is not None:
        t, n_codes = model.trajectory, sum(len(family.codings) for family in model.families)
        if any(family.parent_table != EVERY_TABLE for family in model.families):
            raise ModelError(f"A model with series has families of the parent table {EVERY_TABLE!r} only.")
        of_series = len(t.strata.sexes), len(t.encounter_classes), len(t.encounter_types)
        _check(expected_of_series(model.series, n_codes, *of_series))
        _rows("series", model.series, SERIES_ROWS)
    observed = model.family("observation")
    if model.measurements is not None:
        if observed is None:
            raise ModelError("The model has measurements and no family of observations.")
        _check(_measurements(model.measurements, len(model.trajectory.strata), n_states))
        _points("measurements.condition", model.measurements.condition, 0, n_conditions)
        _points("measurements.code", model.measurements.code, 0, len(observed.codings))


_TRAJECTORY_ROWS = (
    "transition",
    "gap",
    "encounter_class",
    "stay",
    "start_minute",
    "disposition",
    "admit_source",
    "encounter_type",
)


def _trajectory(t: Trajectory) -> Iterator[Expected]:
    g, k, r = t.n_classes, t.n_states, len(t.strata)
    q, e, d = g * k, len(t.encounter_classes), len(np.asarray(t.transition))
    bands = len(np.asarray(t.visit_edges)) * len(np.asarray(t.elapsed_edges))
    yield "trajectory.initial", t.initial, (r, q)
    yield "trajectory.transition", t.transition, (d, g, k, k)
    yield "trajectory.transition_stratum", t.transition_stratum, (r,)
    yield "trajectory.end_hazard", t.end_hazard, (bands, q)
    yield "trajectory.death_given_end", t.death_given_end, (r, q)
    yield "trajectory.gap", t.gap, (q, t.gap_days.n_coarse)
    n_elapsed = len(np.asarray(t.elapsed_edges))
    yield "trajectory.age_landing", t.age_landing, ((1, t.strata.n_ages), np.shape(t.age_landing)[0])
    yield "trajectory.end_lift", t.end_lift, (len(np.asarray(t.start_edges)), (1, n_elapsed))
    n_ages = len(np.asarray(t.age_edges))
    yield "trajectory.age_gap", t.age_gap, (n_ages, (1, t.gap_days.n_coarse))
    yield "trajectory.age_end", t.age_end, (n_ages,)
    yield "trajectory.landing", t.landing, ((1, n_elapsed), np.shape(t.landing)[0])
    yield "trajectory.encounter_class", t.encounter_class, (q, e)
    yield "trajectory.stay", t.stay, (e, q, t.stay_minutes.n_coarse)
    hours = np.asarray(t.start_minute).shape[-1]
    yield "trajectory.start_minute", t.start_minute, (e, (1, q), t.start_minutes.n_coarse if hours else 0)
    yield "trajectory.precision", t.precision, (e,)
    yield "trajectory.stay_known", t.stay_known, (e,)
    yield "trajectory.disposition", t.disposition, (e, q, len(t.dispositions))
    yield "trajectory.admit_source", t.admit_source, (e, q, len(t.admit_sources))
    yield "trajectory.encounter_type", t.encounter_type, (e, q, len(t.encounter_types))
    yield "trajectory.lead_tilt", t.lead_tilt, (len(np.asarray(t.lead_starts)), len(np.asarray(t.lead_edges)))
    yield "trajectory.lead_end", t.lead_end, (len(np.asarray(t.lead_starts)), 2)
    if t.lead >= 0 and d % 2:
        raise ModelError("trajectory.transition has as many matrices for who has had the lead as for who has not.")
    _points("trajectory.transition_stratum", t.transition_stratum, 0, d // 2 if t.lead >= 0 else d)
    strange = set(t.precision) - {"day", "minute", "second"}
    if strange:
        raise ModelError(f"trajectory.precision has {sorted(strange)[0]!r}; it is day, minute or second.")


def _family(f: CodeFamily, r: int, q: int) -> Iterator[Expected]:
    c = len(f.codings)
    for name in ("never", "never_with_parent", "previous", "earlier"):
        yield f"{f.table}.{name}", getattr(f, name), (q, c)
    yield f"{f.table}.lift", f.lift, (r, c)
    for name in ("parent", "sex_limit", "age_min", "age_max", "repeats", "duration_known"):
        yield f"{f.table}.{name}", getattr(f, name), (c,)
    if f.sizes is not None:
        yield f"{f.table}.sizes", f.sizes, (q, np.shape(f.sizes)[-1])
    if f.tilt is not None:
        yield f"{f.table}.tilt", f.tilt, (q, np.shape(f.tilt)[-1])
    if f.size_after is not None:
        widths = tuple(np.shape(one)[-1] for one in (f.sizes, f.tilt) if one is not None)
        yield f"{f.table}.size_after", f.size_after, (np.shape(f.size_after)[0], widths)
    if f.size_lift is not None:
        yield f"{f.table}.size_lift", f.size_lift, (c, np.shape(f.size_lift)[-1])
    if f.since_lift is not None or f.since_edges is not None:
        edges = np.asarray(() if f.since_edges is None else f.since_edges)
        yield f"{f.table}.since_lift", f.since_lift, (c, len(edges))
    if f.count_lift is not None:
        yield f"{f.table}.count_lift", f.count_lift, (c, np.shape(f.count_lift)[-1])
    if f.company is not None or f.boost is not None:
        pairs = len(np.asarray(f.boost if f.boost is not None else ()))
        yield f"{f.table}.boost", f.boost, (pairs,)
        yield f"{f.table}.company", f.company, (pairs, 3)
        _points(f"{f.table}.company", np.asarray(f.company)[:, 1:], 0, c)
        _points(f"{f.table}.company", np.asarray(f.company)[:, 0], 0, 3)
    if f.reason is not None:
        yield f"{f.table}.reason", f.reason, (c,)
    ends = np.asarray(f.duration).shape[-1]
    yield f"{f.table}.duration", f.duration, ((1, c), f.duration_days.n_coarse if ends else 0)


def _orders(o: OrderSets, c: int, n_conditions: int, r: int) -> Iterator[Expected]:
    rows, reasons = len(np.asarray(o.row_set)), np.asarray(o.reasons)
    offsets = np.asarray(o.offsets)
    yield "orders.offsets", offsets, (len(reasons) + 1,)
    yield "orders.reasons", reasons, (len(reasons), reasons.shape[-1])
    yield "orders.sets", o.sets, (len(np.asarray(o.sets)), np.shape(o.sets)[-1])
    yield "orders.group", o.group, (r,)
    yield "orders.weight", o.weight, (rows, 2 * (int(np.max(o.group)) + 1))
    _points("orders.led", o.led, n_conditions, c)
    _points("orders.reasons", reasons, -1, n_conditions)
    _points("orders.sets", o.sets, -1, c)
    _points("orders.row_set", o.row_set, 0, len(np.asarray(o.sets)))
    _points("orders.group", o.group, 0, r)
    if offsets[0] != 0 or offsets[-1] != rows or (np.diff(offsets) < 1).any():
        raise ModelError("The offsets of the order sets do not part their rows.")


def _measurements(m: Measurements, r: int, q: int) -> Iterator[Expected]:
    n = len(m.margins)
    for name in ("unit", "panel", "code", "person_share", "value_known"):
        yield f"measurements.{name}", getattr(m, name), (n,)
    for name in ("shift", "state_share"):
        yield f"measurements.{name}", getattr(m, name), (q, n)
    for name, rows in (("level", r), ("center", len(np.asarray(m.center)))):
        if np.size(getattr(m, name)):
            yield f"measurements.{name}", getattr(m, name), (rows, n)
    if np.size(m.derived):
        yield "measurements.derived", m.derived, (len(np.asarray(m.derived)), 3)
        _points("measurements.derived", m.derived, 0, n)
    if np.size(m.of_condition) or np.size(m.condition):
        yield "measurements.of_condition", m.of_condition, (len(np.asarray(m.condition)), n)
    if np.size(m.drift):
        yield "measurements.drift", m.drift, (n,)
    for name in ("person", "visit"):
        yield f"measurements.{name}", getattr(m, name), (n, n)


_PROBABILITIES = (
    *_TRAJECTORY_ROWS,
    "initial",
    "end_hazard",
    "death_given_end",
    "stay_known",
    "landing",
    "age_landing",
    "never",
    "never_with_parent",
    "previous",
    "earlier",
    "duration",
    "duration_known",
    "person_share",
    "state_share",
    "value_known",
    "drift",
    "stop",
    "joins",
    "beside_joins",
    "from_birth",
    "to_end",
    "with_share",
)


def _check(expected: Iterable[Expected]) -> None:
    for name, value, shape in expected:
        found = np.shape(value)
        fits = len(found) == len(shape) and all(
            n in wanted if isinstance(wanted, tuple) else n == wanted for n, wanted in zip(found, shape, strict=True)
        )
        if not fits:
            raise ModelError(f"{name} has the shape {_text(found)} instead of {_text(shape)}.")
        if not isinstance(value, tuple):
            array = np.asarray(value)
            if np.isnan(array).any():
                raise ModelError(f"{name} has an entry that is no number.")
            if name.split(".")[-1] in _PROBABILITIES and array.size and (array.min() < 0 or array.max() > 1 + 1e-6):
                raise ModelError(f"{name} has an entry that is no probability.")


def _text(shape: tuple[Any, ...]) -> str:
    return "[" + ", ".join(" or ".join(map(str, n)) if isinstance(n, tuple) else str(n) for n in shape) + "]"


def _rows(place: str, holder: Any, names: tuple[str, ...]) -> None:
    for name in names:
        _sums(f"{place}.{name}", np.asarray(getattr(holder, name)))


def _sums(name: str, rows: Any) -> None:
    if rows.shape[-1] and rows.size and (np.abs(rows.sum(axis=-1) - 1) > _SUM_TOLERANCE).any():
        raise ModelError(f"A row of {name} does not sum to 1.")


def _points(name: str, values: Any, low: int, stop: int) -> None:
    array = np.asarray(values)
    if array.size and (array.min() < low or array.max() >= stop):
        raise ModelError(f"{name} points outside what there is.")
