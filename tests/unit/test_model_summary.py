"""The summary that a custodian reads, held against enumeration."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from types import ModuleType

import numpy as np
import pytest

from ehrsynth.model.picture import network_svg
from ehrsynth.model.summary import state_occupancy, summarise


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
