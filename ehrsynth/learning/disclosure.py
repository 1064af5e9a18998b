"""What a custodian must know of what was left out, merged and rounded."""

from __future__ import annotations

from ehrsynth.encoding import Timelines
from ehrsynth.learning.settings import LearningSettings
from ehrsynth.model import Disclosure
from ehrsynth.records import Records

__all__ = ["learn_disclosure", "rounded"]


def rounded(count: float, multiple: int) -> int:
    """Return `count` rounded to a multiple of `multiple`; a positive count is at least that multiple."""
    return max(multiple * round(count / multiple), multiple if count > 0 else 0)


def learn_disclosure(
    records: Records, timelines: Timelines, settings: LearningSettings, notes: list[str]
) -> Disclosure:
    """Return what was learned from, in rounded counts, and what was not learned."""
    counts = {"patient": timelines.n_patients, "encounter": timelines.n_visits}
    counts |= {name: len(family.row_index) for name, family in timelines.families.items()}
    too_few = [
        name
        for name, family in timelines.families.items()
        if name == "condition" and family.n_codes and timelines.n_patients < 300
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
