"""From records to timelines: ragged visits as values and offsets, codes as sparse incidences, no rare levels."""

from ehrsynth.encoding.encoder import encode
from ehrsynth.encoding.timeline import Cohort, FamilyTimeline, Levels, Timelines

__all__ = ["Cohort", "FamilyTimeline", "Levels", "Timelines", "encode"]
