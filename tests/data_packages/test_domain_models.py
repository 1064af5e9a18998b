"""The shipped models: whole, described, and true to what they say of themselves."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import ehrsynth
from ehrsynth import resources
from ehrsynth.evaluation.expectations import describe_expectation, judge
from ehrsynth.evaluation.population_care import CareFacts
from ehrsynth.evaluation.population_facts import PopulationFacts
from ehrsynth.evaluation.population_sense import SenseFacts
from ehrsynth.model import PatientModel, catalogue
from ehrsynth.model.documents import Arrays, to_document
from ehrsynth.model.life_course import LifeCourseModel
from ehrsynth.records import Records

ROOT = Path(__file__).parents[2]
NAMES = [path.parent.name for path in sorted((ROOT / "domain_models").glob("*/datapackage.json"))]


def test_the_default_is_shipped() -> None:
    assert catalogue.DEFAULT_MODEL in catalogue.shipped()
    assert catalogue.shipped() == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_model_is_described(name: str) -> None:
    package = catalogue.describe(name)
    assert package["name"] == name
    assert package["title"]
    assert package["licenses"]
    assert all(source["title"] and source["path"] for source in package["sources"])
    readme = resources.read_bytes(f"domain_models/{name}/README.md").decode()
    for heading in ("Where it comes from", "What it must not be used for"):
        assert heading in readme
    assert catalogue.open_model(name).name == name


@pytest.mark.parametrize("name", NAMES)
def test_nothing_in_it_stands_for_too_few(name: str) -> None:
    model = catalogue.open_model(name)
    assert model.disclosure.min_patients >= 5
    assert all(count % model.disclosure.rounding == 0 for count in model.disclosure.counts.values())


@pytest.fixture(scope="module", params=NAMES)
def generated(request: pytest.FixtureRequest) -> tuple[str, Records]:
    """Patients of each model, as many as its expectations are for."""
    wanted = resources.read_json(f"domain_models/{request.param}/expectations.json")
    return request.param, ehrsynth.generate(
        ehrsynth.load_model(request.param), population=wanted["population"], seed=11
    )


def test_expectations(generated: tuple[str, Records]) -> None:
    name, records = generated
    if resources.read_json(f"domain_models/{name}/expectations.json").get("kind") == "population":
        judge_population(name, records)
        return
    facts = Facts(records)
    missed = []
    for wanted in resources.read_json(f"domain_models/{name}/expectations.json")["expectations"]:
        found = facts.of(wanted)
        if not abs(found - wanted["value"]) <= wanted["within"]:
            missed.append(f"{wanted}: {found:.4g}")
    assert not missed, "\n".join(missed)


def judge_population(name: str, records: Records) -> None:
    """Fail on what is decisively missed; what so few patients cannot tell is for `benchmarks.population`."""
    model = catalogue.open_model(name)
    assert isinstance(model, LifeCourseModel)
    day = int(np.datetime64(model.reference_date, "D").astype(np.int64))
    charts = {chart: model.array(f"growth_{chart}") for chart in ("height", "weight", "bmi", "head")}
    facts, care, sense = PopulationFacts(day), CareFacts(day, charts), SenseFacts()
    for part in (facts, care, sense):
        part.add(records)
    outcomes = [
        judge(row, facts, care, sense)
        for row in resources.read_json(f"domain_models/{name}/expectations.json")["expectations"]
    ]
    unsure = sum(outcome.verdict == "unsure" for outcome in outcomes)
    # Most can be told from so few patients: a run in which nothing is known must not pass.
    assert unsure < 0.6 * len(outcomes)
    # The sample is always the same, so chance does not excuse a miss: decisive is a miss by 2.6 standard errors.
    missed = [outcome for outcome in outcomes if outcome.verdict == "missed"]
    assert not missed, "\n".join(
        f"{' '.join(describe_expectation(outcome.expectation))}: {outcome.found:.4g}" for outcome in missed
    )


def test_keys_hold(generated: tuple[str, Records]) -> None:
    assert generated[1].check_keys() == []


class Facts:
    """Statistics of records by the words of ``expectations.json``."""

    def __init__(self, records: Records) -> None:
        self.frames = {name: records[name].to_pandas() for name in records}
        self.n = records.n_patients
        encounters = self.frames["encounter"].sort_values(["patient_id", "sequence"])
        self.gaps = encounters.groupby("patient_id")["start_datetime"].diff().dt.days
        self.encounters = encounters

    def of(self, wanted: dict[str, Any]) -> float:
        """Return the statistic that `wanted` names."""
        people = self.frames["patient"]
        match wanted["statistic"]:
            case "share":
                mask = people["sex"] == "female" if wanted["of"] == "female" else people["death_datetime"].notna()
                return float(mask.mean())
            case "visits per patient":
                return len(self.encounters) / self.n
            case "median gap in days":
                return float(self.gaps.median())
            case "mean age at start in years":
                first = self.encounters.groupby("patient_id")["start_datetime"].first()
                birth = pd.to_datetime(people.set_index("patient_id")["birth_date"]).reindex(first.index)
                return float(((first - birth).dt.days / 365.2425).mean())
            case "geometric mean days of stay":
                stays = self.encounters[self.encounters["type_code"] == wanted["code"]]
                days = (stays["end_datetime"] - stays["start_datetime"]).dt.total_seconds() / 86_400
                return float(np.exp(np.log(days).mean()))
            case "ever":
                tables = [self.frames[name] for name in ("condition", "medication_request", "procedure")]
                return sum(t.loc[t["code"] == wanted["code"], "patient_id"].nunique() for t in tables) / self.n
            case "mean value":
                return float(self.values(wanted["code"]).mean())
            case "standard deviation of value":
                return float(self.values(wanted["code"]).std())
            case "same-visit correlation":
                pair = [self.values(wanted[key]).groupby("encounter_id").mean() for key in ("code", "with")]
                return float(pair[0].corr(pair[1]))
            case "lag-1 correlation":
                order = self.encounters.set_index("encounter_id")[["patient_id", "sequence"]]
                frame = self.values(wanted["code"]).groupby("encounter_id").mean().to_frame("value").join(order)
                frame = frame.sort_values(["patient_id", "sequence"])
                return float(frame["value"].corr(frame.groupby("patient_id")["value"].shift()))
        raise AssertionError(f"unknown statistic {wanted['statistic']!r}")

    def values(self, code: str) -> pd.Series:
        """Numbers of one measurement by encounter."""
        rows = self.frames["observation"]
        return rows[rows["code"] == code].set_index("encounter_id")["value_number"]


@pytest.mark.learn
@pytest.mark.shared
@pytest.mark.parametrize("name", NAMES)
def test_the_recipe_rebuilds_the_model(name: str, shared: Path) -> None:
    pytest.importorskip("pomegranate")
    path = ROOT / "domain_models" / name / "recipe.py"
    spec = importlib.util.spec_from_file_location(f"recipe_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    recipe = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(recipe)
    assert_same(recipe.build(shared / "data"), catalogue.open_model(name))


def assert_same(one: PatientModel | LifeCourseModel, other: PatientModel | LifeCourseModel) -> None:
    """Equal documents and equal arrays but for what the order of additions on another processor may change."""
    first: Arrays = {}
    second: Arrays = {}
    documents = to_document(one, first, "m"), to_document(other, second, "m")
    for document in documents:
        document.pop("provenance")
    assert documents[0] == documents[1]
    assert first.keys() == second.keys()
    for name, array in first.items():
        np.testing.assert_allclose(array, second[name], rtol=1e-3, atol=1e-5, err_msg=name)
