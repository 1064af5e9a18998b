"""What `learn` says of a model that its reader would otherwise have to find out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ehrsynth.model.catalogue import open_model
from ehrsynth.model.patient_model import Coding, PatientModel
from ehrsynth.model.remarks import remarks
from ehrsynth.probability.bayesnet import BayesianNetwork, Variable

ICD = "http://hl7.org/fhir/sid/icd-10-cm"


@pytest.fixture(scope="module")
def shipped() -> PatientModel:
    """A learned model; one of its families is given other codes by the tests."""
    model = open_model("diabetes_inpatient")
    assert isinstance(model, PatientModel)
    return model


def with_codes(model: PatientModel, *codes: Coding) -> PatientModel:
    """The model with `codes` in the place of the first ones of its first family, and no other family."""
    first = model.families[0]
    return replace(model, families=(replace(first, codings=codes),), disclosure=replace(model.disclosure, left_out={}))


def test_codes_and_systems_that_nobody_knows(shipped: PatientModel) -> None:
    own = Coding(system="urn:ehrsynth:source:x", code="7", display="")
    strange = Coding(system="urn:my:codes", code="Q-17", display="")
    wrong, right = (Coding(system=ICD, code=code, display="") for code in ("ZZ/1", "I10"))
    said = remarks(with_codes(shipped, own, strange, wrong, right))
    assert len(said) == 2
    assert "1 of 2 codes" in said[0]
    assert "ZZ/1" in said[0]
    assert "urn:my:codes" in said[1]
    assert remarks(with_codes(shipped, own, right)) == []


def test_codes_left_out(shipped: PatientModel) -> None:
    made = with_codes(shipped, Coding(system=ICD, code="I10", display=""))
    made = replace(made, disclosure=replace(made.disclosure, min_patients=5, left_out={made.families[0].table: 8635}))
    (said,) = remarks(made)
    assert said.startswith(f"8,635 codes of {made.families[0].table} that fewer than 5 patients have")


def test_a_field_that_nobody_has(shipped: PatientModel) -> None:
    person = BayesianNetwork(
        variables=(Variable(name="sex", states=("unknown",)),), parents=((),), tables=(np.ones(1),)
    )
    made = replace(with_codes(shipped, Coding(system=ICD, code="I10", display="")), person=person)
    assert remarks(made) == ["Nobody has a known sex: generated patients have none."]
