"""The series of a model in small tables: what is given or done at visits of its own, after what, and how often."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ehrsynth.model.patient_model import PatientModel
from ehrsynth.model.wording import code_label

__all__ = ["SeriesSummary", "series_summaries"]

_YEAR = 365.25


@dataclass(frozen=True, kw_only=True)
class SeriesSummary:
    """One item: its code, the codes that come with it, and the code that it follows ("" for none).

    `years` are the ages between which it comes, `visits` is how many visits a person who begins has if nothing ends the
    record, `days` the middle number of days from one to the next (0: there is one only).
    """

    code: str
    with_it: tuple[str, ...]
    follows: str
    years: tuple[float, float]
    visits: float
    days: int


def series_summaries(model: PatientModel) -> tuple[SeriesSummary, ...]:
    """Return the summaries of the items of a model, in its order; none without series."""
    series = model.series
    if series is None:
        return ()
    labels = [code_label(coding) for family in model.families for coding in family.codings]
    stop = np.asarray(series.stop, dtype=np.float64)
    found = []
    for i, (code, after) in enumerate(zip(series.code, series.after, strict=True)):
        # The number told last is that or more: from there on as many again.
        goes_on = 1.0 - stop[i].mean(axis=1)
        reached = np.concatenate(([1.0], np.cumprod(goes_on)))
        visits = reached[:-1].sum() + reached[-1] / max(1.0 - goes_on[-1], 1e-2)
        with_it = [labels[k] for item, k in zip(series.with_item, series.with_code, strict=True) if item == i]
        found.append(
            SeriesSummary(
                code=labels[int(code)],
                with_it=tuple(with_it),
                follows=labels[int(after)] if after >= 0 else "",
                years=(
                    round(float(series.youngest_days[i]) / _YEAR, 1),
                    round(float(series.oldest_days[i]) / _YEAR, 1),
                ),
                visits=round(float(visits), 1),
                days=series.gap_days[i].middle if goes_on[0] > 0 else 0,
            )
        )
    return tuple(found)
