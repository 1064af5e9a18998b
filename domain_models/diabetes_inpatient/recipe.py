"""Rebuilds the model `diabetes_inpatient` from its source, byte for byte.

    python domain_models/diabetes_inpatient/recipe.py SOURCES OUTPUT

SOURCES holds ``uci_diabetes130/diabetic_data.csv.gz`` (UCI Machine Learning Repository 296). Needs the ``learn`` extra.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

import ehrsynth
from ehrsynth.learning import LearningSettings, learn
from ehrsynth.learning.recipe import run
from ehrsynth.model import PatientModel
from ehrsynth.randomness import stream
from ehrsynth.records import Records

SEED = 20260102
PATIENTS = 20_000
"""Learned from, drawn at random: more change little, and the test that rebuilds the model takes its time."""


def records(sources: Path) -> Records:
    """Return the records that are learned from."""
    every = ehrsynth.read(sources / "uci_diabetes130", mapping="uci_diabetes130")
    ids = every["patient"]["patient_id"].combine_chunks()
    chosen = sorted(stream(SEED, "recipe.patients").permutation(len(ids))[:PATIENTS].tolist())
    return every.select_patients(ids.take(pa.array(chosen)))


def build(sources: Path) -> PatientModel:
    """Return the model learned from the sources."""
    settings = LearningSettings(
        min_patients=10,
        states=16,
        classes=4,
        iterations=20,
        reference_date="2025-01-01",
        name="diabetes_inpatient",
        title="Hospital admissions of adults with diabetes in 130 US hospitals",
        description="See README.md beside the model.",
        licence="Apache-2.0",
    )
    return learn(records(sources), settings=settings, seed=SEED)


if __name__ == "__main__":
    run(build)
