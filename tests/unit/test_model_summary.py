"""The summary that a custodian reads, held against enumeration."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest

from ehrsynth.model.catalogue import open_model
from ehrsynth.model.patient_model import Coding
from ehrsynth.model.picture import network_svg
from ehrsynth.model.summary import VariableSummary, state_occupancy, summarise
from ehrsynth.model.wording import class_sentence, code_label, lean, level_labels, telling_codes
from ehrsynth.probability.bayesnet import posterior


def test_expected_visits_are_those_of_the_chain(models: ModuleType) -> None:
    model = models.tiny_model()
    t = model.trajectory
    summary = summarise(model)
    occupancy = state_occupancy(model)
    assert occupancy.shape == (t.n_classes * t.n_states,)
    # Summed over states: 1 + P(second visit) + P(third) + ..., between the bounds that the hazards set.
    hazards = np.asarray(t.end_hazard)
    assert 1 / hazards.max() <= occupancy.sum() <= 1 / hazards.min()
    assert sum(state.share for state in summary.states) == pytest.approx(1, abs=0.01)
    assert sum(share for _, share in summary.classes) == pytest.approx(1)


def test_levels_and_parents_are_the_networks(models: ModuleType) -> None:
    summary = summarise(models.tiny_model())
    by_name = {variable.name: variable for variable in summary.variables}
    assert by_name["trajectory_class"].parents == ("sex", "age_at_start")
    assert sum(p for _, p in by_name["sex"].commonest) == pytest.approx(1)
    assert summary.to_dict()["sizes"]["variables of the person"] == len(summary.variables)


def test_impossible_codes_are_no_candidates(models: ModuleType) -> None:
    model = models.tiny_model()
    family = model.family("condition")
    newborn = next(i for i, coding in enumerate(family.codings) if coding.code.startswith("P59"))
    assert family.age_max[newborn] < 1
    for state in summarise(model).states:
        # The rate of a newborn's code is bounded by the share of newborns, though its rate among them is high.
        assert (
            dict(state.new_codes).get("P59.9 Neonatal jaundice, unspecified", 0) <= 0.5 * family.never[:, newborn].max()
        )


def test_the_picture_is_svg_with_a_box_for_each_variable_and_an_arrow_for_each_edge(models: ModuleType) -> None:
    summary = summarise(models.tiny_model())
    root = ET.fromstring(network_svg(summary))
    space = "{http://www.w3.org/2000/svg}"
    texts = [element.text for element in root.iter(f"{space}text")]
    assert all(variable.name in texts for variable in summary.variables)
    arrows = [path for path in root.iter(f"{space}path") if path.get("marker-end")]
    assert len(arrows) == sum(len(variable.parents) for variable in summary.variables)
    boxes = [rect for rect in root.iter(f"{space}rect") if rect.get("rx")]
    placed = {(box.get("x"), box.get("y")) for box in boxes}
    assert len(placed) == len(summary.variables)


def test_levels_have_their_displays_beside_their_codes() -> None:
    assert level_labels("race", ["2106-3", "missing"]) == ["White (2106-3)", "missing"]
    assert level_labels("payer", ["1"]) == ["Medicare (1)"]
    assert level_labels("sex", ["female"]) == ["female"]


def test_a_code_without_display_has_the_terminologys() -> None:
    assert code_label(Coding(system="http://hl7.org/fhir/sid/icd-10-cm", code="I10")).startswith("I10 Essential")
    assert code_label(Coding(system="urn:mine", code="insulin", display="Insulin")) == "insulin"
    assert code_label(Coding(system="urn:mine", code="x")) == "x"


def test_what_is_common_everywhere_tells_nothing(models: ModuleType) -> None:
    family = models.tiny_model().family("condition")
    rates, others = np.full(len(family.codings), 0.3), np.full(len(family.codings), 0.3)
    assert telling_codes(family, rates, others, 3) == ()
    others[1], others[2] = 0.1, 0.2
    rates[3], others[3] = 0.002, 0.0001  # twenty times as often, and too rare to stand for a group
    told = telling_codes(family, rates, others, 3)
    assert [(label, lift) for label, _, lift in told] == [
        (code_label(family.codings[1]), 3.0),
        (code_label(family.codings[2]), 1.5),
    ]


def test_classes_are_told_apart_by_different_codes(models: ModuleType) -> None:
    summary = summarise(models.tiny_model())
    # The hand-written first class has every code less often than the second: nothing of its own.
    assert "no diagnosis sets them apart" in summary.classes[0][0]
    assert "I10 Essential (primary) hypertension (2." in summary.classes[1][0]
    learned = summarise(open_model("diabetes_inpatient"))
    told = [sentence.partition("set apart by ")[2].partition(" (")[0] for sentence, _ in learned.classes]
    assert all(told)
    assert len(set(told)) == len(told)
    for sentence, _ in summary.classes:
        assert "visits each" in sentence
        assert "median age" in sentence
        assert "% women" in sentence
        assert not any(f" {code}" in sentence for code in ("AMB", "IMP", "EMER"))
    for state in summary.states:
        assert ": " in state.name
        assert all(lift >= 1.25 and 0 < rate <= 1 for _, rate, lift in state.telling_codes)


def test_the_share_of_women_of_a_class_is_that_of_the_network(models: ModuleType) -> None:
    network = models.tiny_model().person
    names = [variable.name for variable in network.variables]
    sex, group = names.index("sex"), names.index("trajectory_class")
    given = posterior(network, [sex], {group: 1})
    female = network.variables[sex].states.index("female")
    assert f"{100 * given[female]:.0f} % women" in lean(network, 1)[1]


def test_a_sentence_needs_no_other_class() -> None:
    text = class_sentence(2.04, "IMP", 1.0, ["median age 63"], None)
    assert text == "2.0 visits each, all hospital stays; median age 63."
    assert "no diagnosis sets them apart" in class_sentence(2.04, "IMP", 0.7, [], ())


def test_long_text_stays_in_its_box(models: ModuleType) -> None:
    summary = summarise(models.tiny_model())
    long = VariableSummary(
        name="a_variable_with_a_very_long_name_indeed",
        levels=9,
        parents=(),
        commonest=(
            ("WWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWW", 0.5),
            ("Native Hawaiian or Other Pacific Islander", 0.3),
        ),
    )
    drawn = network_svg(replace(summary, variables=(long,)))
    space = "{http://www.w3.org/2000/svg}"
    texts = [element.text or "" for element in ET.fromstring(drawn).iter(f"{space}text")]
    cut = [text for text in texts if text.endswith("…")]
    assert len(cut) == 3
    # A W is as wide as the type is high, nearly; the box has room for 250 pixels, the share included.
    assert len(next(text for text in cut if text.startswith("WW"))) * 11.8 < 200
    assert any(
        "Native Hawaiian or Other Pacific Islander 30.0 %" in (e.text or "")
        for e in ET.fromstring(drawn).iter(f"{space}title")
    )
