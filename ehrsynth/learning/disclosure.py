"""What a custodian must know of what was left out, merged and rounded."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ehrsynth.encoding import Cohort, Timelines
from ehrsynth.encoding.union import UNION
from ehrsynth.learning.settings import LearningSettings
from ehrsynth.model import Disclosure

__all__ = ["learn_disclosure", "rounded"]


def rounded(count: float, multiple: int) -> int:
    """Return `count` rounded to a multiple of `multiple`; a positive count is at least that multiple."""
    return max(multiple * round(count / multiple), multiple if count > 0 else 0)


def learn_disclosure(cohort: Cohort, settings: LearningSettings, notes: list[str]) -> Disclosure:
    """Return what was learned from, in rounded counts, and what was not learned."""
    timelines = cohort.vocabulary
    counts = {"patient": cohort.n_patients, "encounter": cohort.n_visits}
    rows = cohort.total(_rows)
    counts |= dict(zip((name for name in timelines.families if name != UNION), rows.tolist(), strict=True))
    too_few = [
        name
        for name, family in timelines.families.items()
        if name == "condition" and family.n_codes and cohort.n_patients < 300
    ]
    texts = list(dict.fromkeys(notes))
    if too_few:
        texts.append("Fewer than 300 patients: states are few and every table is drawn strongly to the average.")
    if "condition" not in timelines.families:
        texts.append("No condition is common enough to be learned: states rest on the encounters alone.")
    return Disclosure(
        min_patients=settings.min_patients,
        counts={name: rounded(count, settings.rounding) for name, count in counts.items()},
        rounding=settings.rounding,
        left_out=dict(timelines.left_out),
        notes=tuple(texts),
    )


def _rows(timelines: Timelines) -> npt.NDArray[np.int64]:
    return np.array(
        [len(family.row_index) for name, family in timelines.families.items() if name != UNION], dtype=np.int64
    )
