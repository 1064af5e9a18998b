"""Surveys: the answers among the observations, and what was answered together."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from ehrsynth.exporters.fhir.joins import grouped, has_text, has_value, hits, whole, with_columns
from ehrsynth.exporters.fhir.resource import Source
from ehrsynth.exporters.keys import least_of_each

__all__ = ["answers"]


def answers(source: Source) -> pa.Table:
    """Return the answered questions of surveys at a known time, with the key of what was answered together."""
    return source.once("answers", _answers)


def _answers(source: Source) -> pa.Table:
    rows = source["observation"]
    answered = has_value(rows["value_number"]) | has_value(rows["value_code"]) | has_text(rows["value_text"])
    answered &= hits(rows["category"], ["survey"]) & has_value(rows["effective_datetime"])
    place = np.flatnonzero(answered)
    rows = rows.take(pa.array(place)).combine_chunks()
    group = grouped(rows["patient_id"], rows["encounter_id"], rows["effective_datetime"], rows["panel_id"])
    keys = whole(rows["observation_id"])
    key = keys.take(pa.array(least_of_each(group, keys)[group]))
    return with_columns(rows, place=pa.array(place), response_key=key)
