"""The patient model: what learning makes, generation reads and a package holds."""

from ehrsynth.model.orders import OrderSets
from ehrsynth.model.patient_model import (
    EVERY_TABLE,
    AttributeTable,
    Calendar,
    CodeFamily,
    Coding,
    Disclosure,
    Measurements,
    PatientModel,
    Strata,
    Trajectory,
)
from ehrsynth.model.series import Series

__all__ = [
    "EVERY_TABLE",
    "AttributeTable",
    "Calendar",
    "CodeFamily",
    "Coding",
    "Disclosure",
    "Measurements",
    "OrderSets",
    "PatientModel",
    "Series",
    "Strata",
    "Trajectory",
]
