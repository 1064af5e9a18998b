"""What the canonical tables of people and encounters mean, for everybody who reads them."""

from __future__ import annotations

__all__ = ["MIDDLE_DAYS", "NOT_HAPPENED", "PERSON_COLUMNS"]

NOT_HAPPENED = ("cancelled", "entered-in-error", "planned")
"""Statuses of encounters that did not take place."""

PERSON_COLUMNS = {
    "race": "race_code",
    "ethnicity": "ethnicity_code",
    "marital_status": "marital_status_code",
    "language": "language_code",
    "state": "state",
}
"""Variables of the person, and the columns of `patient` that have them."""

MIDDLE_DAYS = {"year": 182, "month": 15, "day": 0}
"""A birth date known to the year stands on 1 January: half a unit is added so that ages are right on average."""
