"""The patient model: what learning makes, generation reads and a package holds."""

from ehrsynth.model.patient_model import (
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

__all__ = [
    "AttributeTable",
    "Calendar",
    "CodeFamily",
    "Coding",
    "Disclosure",
    "Measurements",
    "PatientModel",
    "Strata",
    "Trajectory",
]
