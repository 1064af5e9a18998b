"""Whether the parts of the series of a model fit each other and the model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ehrsynth.errors import ModelError
from ehrsynth.model.series import Rates, Series

__all__ = ["SERIES_ROWS", "expected_of_series"]

SERIES_ROWS = ("encounter_class", "encounter_type", "stay", "start_minute")
"""Tables whose rows sum to 1."""


def expected_of_series(
    s: Series, n_codes: int, n_sexes: int, n_classes: int, n_types: int
) -> Iterator[tuple[Any, ...]]:
    """Yield the name, value and shape that each table must have; see `ehrsynth.model.shapes`.

    Raises
    ------
    ModelError
        A number points nowhere, bands do not ascend, or a rate is negative.
    """
    n = len(s)
    bands, ages = len(np.asarray(s.back_edges)), len(np.asarray(s.band_days))
    left = len(np.asarray(s.left_days))
    yield "series.code", s.code, (n,)
    yield "series.with_code", s.with_code, (len(np.asarray(s.with_item)),)
    yield "series.with_share", s.with_share, (len(np.asarray(s.with_item)),)
    yield "series.period", s.period, (n, bands)
    yield "series.sex", s.sex, (n, n_sexes)
    yield "series.after", s.after, (n,)
    yield "series.stop", s.stop, (n, np.shape(s.stop)[1], np.shape(s.stop)[2])
    for name in ("youngest_days", "oldest_days", "reach_days", "joins", "beside_joins"):
        yield f"series.{name}", getattr(s, name), (n,)
    yield "series.from_birth", s.from_birth, (ages,)
    yield "series.to_end", s.to_end, (left,)
    yield "series.encounter_class", s.encounter_class, (n, n_classes)
    yield "series.encounter_type", s.encounter_type, (n_classes, (0, n_types))
    yield "series.stay", s.stay, (n_classes, s.stay_minutes.n_coarse)
    yield "series.stay_known", s.stay_known, (n_classes,)
    yield "series.start_minute", s.start_minute, (n_classes, s.start_minutes.n_coarse)
    if not len(s.age_edges) == len(s.gap_days) == len(s.gap) == n:
        raise ModelError(f"series has {n} items and other numbers of age_edges, gap_days or gap.")
    for i, (edges, days, gap) in enumerate(zip(s.age_edges, s.gap_days, s.gap, strict=True)):
        width = len(np.asarray(edges))
        if not 0 < width <= np.shape(s.stop)[2]:
            raise ModelError(f"series.age_edges.{i} has {width} bands, and series.stop {np.shape(s.stop)[2]}.")
        yield f"series.gap.{i}", gap, (len(np.asarray(gap)), width, days.n_coarse + 1, days.n_coarse)
        if (np.abs(np.asarray(gap).sum(axis=-1) - 1) > 1e-3).any() or np.asarray(gap).min() < 0:
            raise ModelError(f"A row of series.gap.{i} does not sum to 1.")
    for name, rates in (("start", s.start), ("delay", s.delay)):
        _rates(f"series.{name}", rates, n)
    for name, values, low, stop in (
        ("code", s.code, 0, n_codes),
        ("with_code", s.with_code, 0, n_codes),
        ("with_item", s.with_item, 0, n),
        ("after", s.after, -1, n_codes),
        ("beside", s.beside, 0, n_codes),
    ):
        array = np.asarray(values)
        if array.size and (array.min() < low or array.max() >= stop):
            raise ModelError(f"series.{name} points outside what there is.")
    leading = {int(code): i for i, code in enumerate(np.asarray(s.code))}
    for i, code in enumerate(np.asarray(s.after).tolist()):
        if leading.get(code, -1) >= i:
            raise ModelError(f"series.after.{i} follows an item that comes later.")


def _rates(name: str, rates: Rates, n: int) -> None:
    offsets, edges, rate = (np.asarray(getattr(rates, part)) for part in ("offsets", "edges", "rate"))
    if len(offsets) != n + 1 or offsets[0] != 0 or offsets[-1] != len(edges) or (np.diff(offsets) < 0).any():
        raise ModelError(f"The offsets of {name} do not part its edges.")
    if len(rate) != len(edges) or not np.isfinite(rate).all() or (rate < 0).any():
        raise ModelError(f"{name} has a rate that is none, or another number of them than of edges.")
    inside = np.ones(max(len(edges) - 1, 0), dtype=bool)
    inside[offsets[1:-1][(offsets[1:-1] > 0) & (offsets[1:-1] < len(edges))] - 1] = False
    if (np.diff(edges)[inside] <= 0).any():
        raise ModelError(f"The edges of {name} do not ascend.")
