"""Life-course models: the shipped one generates what evidence asks for, nothing impossible, the same every time."""

from __future__ import annotations

import json
from datetime import date
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ehrsynth import resources
from ehrsynth.errors import UsageError
from ehrsynth.evaluation.expectations import describe_expectation
from ehrsynth.generation import Generator
from ehrsynth.generation.life_course.evidence import Scenario
from ehrsynth.generation.life_course.people import Lives, LivesSampler
from ehrsynth.model import catalogue
from ehrsynth.model.life_course import LifeCourseModel
from ehrsynth.model.life_course_summary import summarise_life_course
from ehrsynth.model.package import load, model_hash, save
from ehrsynth.model.picture import network_svg
from ehrsynth.probability.bayesnet import posterior
from ehrsynth.records import Records
from ehrsynth.terminology import ICD10CM, SNOMED, library

NAME = "us_ambulatory"


@pytest.fixture(scope="module")
def model() -> LifeCourseModel:
    found = catalogue.open_model(NAME)
    assert isinstance(found, LifeCourseModel)
    return found


@pytest.fixture(scope="module")
def block(model: LifeCourseModel) -> Records:
    return Generator(model, seed=3).block(0)


def _people(model: LifeCourseModel, seed: int = 3, block: int = 0, **evidence: Any) -> Lives:
    return LivesSampler(model, date.fromisoformat(model.reference_date), evidence).draw(seed, block)


def test_the_first_are_the_same_for_every_number(model: LifeCourseModel, block: Records) -> None:
    few = Generator(model, seed=3).block(0, 40)
    same = block.select_patients(few["patient"]["patient_id"].combine_chunks())
    for name in block:
        if "patient_id" in block.schema[name]:
            assert same[name].num_rows == few[name].num_rows
            assert same[name].to_pylist()[:200] == few[name].to_pylist()[:200], name


def test_a_block_is_made_of_parts_that_follow_each_other(model: LifeCourseModel, block: Records) -> None:
    parts = list(Generator(model, seed=3).parts(0, 300))
    assert [part.first_patient for part in parts] == [0, 128, 256]
    assert [part.n_patients for part in parts] == [128, 128, 44]
    together = Records.concat(parts)
    for name in ("patient", "coverage", "encounter"):
        assert together[name].to_pylist() == block[name].slice(0, together[name].num_rows).to_pylist()
    # A part has its own numbers: whoever is counted over all blocks is nobody else.
    next_one = next(Generator(model, seed=3).parts(1, 128))
    assert next_one.first_patient == 1024
    for name in ("patient_id", "medical_record_number", "social_security_number"):
        values = [*block["patient"][name].to_pylist(), *next_one["patient"][name].to_pylist()]
        assert len(set(values)) == 1024 + 128


def test_other_seeds_and_blocks_are_other_people(model: LifeCourseModel) -> None:
    births = {tuple(_people(model, seed, block).birth_day[:5]) for seed, block in ((3, 0), (4, 0), (3, 1))}
    assert len(births) == 3


def test_keys_hold_and_nothing_is_outside_a_life(block: Records, model: LifeCourseModel) -> None:
    shared = Generator(model, seed=3).shared()
    whole = {name: shared[name] if shared[name].num_rows else block[name] for name in block}
    assert Records(tables=whole, provenance=block.provenance).check_keys() == []
    people = block["patient"].to_pandas().set_index("patient_id")
    birth = pd.to_datetime(people["birth_date"])
    last = people["death_datetime"].fillna(pd.Timestamp(model.reference_date) + pd.Timedelta(days=1))
    for table, column in (
        ("encounter", "start_datetime"),
        ("encounter", "end_datetime"),
        ("observation", "effective_datetime"),
        ("medication_request", "authored_datetime"),
        ("procedure", "start_datetime"),
        ("immunization", "occurrence_datetime"),
    ):
        rows = block[table].to_pandas()
        when = rows[column].to_numpy()
        assert (when >= birth.loc[rows["patient_id"]].to_numpy()).all(), (table, column)
        assert (when <= last.loc[rows["patient_id"]].to_numpy()).all(), (table, column)


def test_nobody_is_in_two_places(block: Records) -> None:
    rows = block["encounter"].to_pandas()
    stays = rows[rows["encounter_class"] == "IMP"]
    both = stays.merge(rows[rows["encounter_class"] != "IMP"], on="patient_id", suffixes=("", "_other"))
    inside = (both["start_datetime_other"] > both["start_datetime"]) & (
        both["start_datetime_other"].dt.date < both["end_datetime"].dt.date
    )
    assert not inside.any()
    day = rows["start_datetime"].dt.date
    assert not pd.DataFrame({"patient": rows["patient_id"], "day": day}).duplicated().any()


def test_practices_are_closed_at_the_weekend(block: Records) -> None:
    rows = block["encounter"].to_pandas()
    planned = rows[rows["type_display"].isin(["Follow-up encounter", "Encounter for check up", "Prenatal visit"])]
    weekend = planned["start_datetime"].dt.day_of_week >= 5
    # Only where a life or the record is too short to move the visit.
    assert weekend.mean() < 0.01


def test_drugs_follow_conditions(block: Records) -> None:
    orders = block["medication_request"].to_pandas()
    reasons = block["condition"].to_pandas().set_index("condition_id")
    known = orders.dropna(subset=["reason_condition_id"])
    assert len(known) > 0.95 * len(orders)
    recorded = reasons.loc[known["reason_condition_id"]]
    assert (recorded["patient_id"].to_numpy() == known["patient_id"].to_numpy()).all()
    assert (
        pd.to_datetime(recorded["recorded_date"]).to_numpy() <= pd.to_datetime(known["start_date"]).to_numpy()
    ).all()


def test_evidence_is_answered(model: LifeCourseModel) -> None:
    lives = _people(model, age=(40, 65), sex="female", race="black", state=["MA", "NY"], deceased=False)
    known = {name: {lives.people.labels[name][at] for at in states} for name, states in lives.people.states.items()}
    assert known["sex"] == {"female"}
    assert known["race"] == {"2054-5"}
    assert known["state"] == {"MA", "NY"}
    assert lives.age.min() >= 40
    assert lives.age.max() <= 65
    assert not lives.dead.any()


def test_a_condition_by_its_code_is_exact(model: LifeCourseModel) -> None:
    at = model.listing("chronic").text["key"].index("diabetes_type2")
    assert _people(model, condition="E11").has[:, at].all()
    scenario, network = Scenario(model, {"condition": ["E11"]}), model.person
    query = [network.index("band")]
    direct = posterior(network, query, {network.index("has:diabetes_type2"): 1})
    np.testing.assert_allclose(posterior(scenario.network, query), direct, atol=1e-9)


def test_a_condition_by_its_category_or_a_value_set(
    model: LifeCourseModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = model.listing("chronic").text["key"]
    # CCSR's category of essential hypertension.
    assert Scenario(model, {"condition": "CIR007"}).codes == {keys.index("hypertension"): ("I10",)}
    folder = tmp_path / "breath"
    folder.mkdir()
    fields = [{"name": "system"}, {"name": "code"}, {"name": "display"}]
    resource = {"name": "codes", "path": "codes.csv", "schema": {"fields": fields}}
    descriptor = {"name": "breath", "version": "1", "ehrsynth": {"kind": "value_set"}, "resources": [resource]}
    (folder / "datapackage.json").write_text(json.dumps(descriptor))
    rows = [f"{ICD10CM},J44.9,COPD", f"{ICD10CM},J45.909,Asthma", f"{SNOMED},195967001,Asthma"]
    (folder / "codes.csv").write_text("\n".join(["system,code,display", *rows, ""]))
    extended = library.Library((folder,))
    monkeypatch.setattr(library, "standard", lambda: extended)
    has = _people(model, condition="breath").has
    assert (has[:, keys.index("copd")] | has[:, keys.index("asthma")]).all()
    assert not has[:, keys.index("copd")].all()


def test_years_and_visits(model: LifeCourseModel) -> None:
    evidence = {"history_years": 6, "min_visits": 20, "age": (30, 50), "condition": "I10"}
    records = Generator(model, seed=3, evidence=evidence).block(0, 200)
    start = records["encounter"]["start_datetime"].to_pandas()
    last = records["patient"].to_pandas().set_index("patient_id")["record_end_date"]
    ends = pd.to_datetime(last.loc[records["encounter"]["patient_id"].to_pandas()])
    assert ((ends.to_numpy() - start.to_numpy()) / np.timedelta64(1, "D") <= 6 * 365.2425 + 1).all()
    counts = records["encounter"].to_pandas().groupby("patient_id").size()
    assert counts.min() >= 20
    assert len(counts) == 200
    rows = records["condition"].to_pandas()
    assert rows[rows["code"].astype(str).str.startswith("I10")]["patient_id"].nunique() == 200


@pytest.mark.parametrize(
    "evidence",
    [
        {"shoe_size": 42},
        {"age": (200, 300)},
        {"age": 7},
        {"sex": "neither"},
        {"condition": "no-such-thing"},
        {"condition": "J06.9"},
        {"history_years": -1},
        {"sex": "male", "condition": "endometriosis"},
    ],
)
def test_what_cannot_be_is_refused(model: LifeCourseModel, evidence: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Scenario(model, evidence)


def test_a_package_comes_back_the_same(model: LifeCourseModel, tmp_path: Path) -> None:
    save(model, tmp_path / "copy.ehrsynth")
    again = load(tmp_path / "copy.ehrsynth")
    assert isinstance(again, LifeCourseModel)
    assert model_hash(again) == model_hash(model)


def test_the_summary_says_what_is_in_it(model: LifeCourseModel) -> None:
    summary = summarise_life_course(model)
    names = [variable.name for variable in summary.variables]
    assert {"age", "sex", "race", "state", "payer"} <= set(names)
    shares = [share for _, share, _ in summary.conditions]
    assert shares == sorted(shares, reverse=True)
    assert summary.sizes["chronic conditions"] == len(model.listing("chronic"))
    assert summary.to_dict()["name"] == NAME


def test_the_network_is_drawn_with_the_commonest_conditions(model: LifeCourseModel) -> None:
    summary = summarise_life_course(model)
    picture = network_svg(summary)
    assert picture.count("<rect") == 1 + len(summary.variables) + len(summary.conditions)
    for label, _, parents in summary.conditions:
        assert f"<title>{escape(label)}: has it" in picture
        assert "band" in parents or "kidney" in str(parents)
    assert "most depend on band, deceased, sex too" in picture
    arrows = picture.count("marker-end")
    between = sum(len(set(parents) - {"band", "deceased", "sex"}) for _, _, parents in summary.conditions)
    own = sum(len(variable.parents) for variable in summary.variables)
    assert own < arrows <= own + between


def test_expectations_are_lines_in_words() -> None:
    for name in catalogue.shipped():
        for row in resources.read_json(f"domain_models/{name}/expectations.json")["expectations"]:
            what, near = describe_expectation(row)
            assert what.startswith(row["statistic"])
            assert " within " in near or near.startswith("at most ") or " to " in near
            assert "e+" not in near


def test_a_wide_expectation_is_told_by_its_ends() -> None:
    assert (
        describe_expectation({"statistic": "distinct codes", "value": 75_000, "within": 73_500})[1]
        == "1,500 to 148,500"
    )
    assert describe_expectation({"statistic": "share", "value": 0, "within": 0.05})[1] == "at most 0.05"
    assert describe_expectation({"statistic": "life", "value": 80.29, "within": 0.5})[1] == "80.29 within 0.5"
    assert (
        describe_expectation({"statistic": "share", "value": 1, "within": 0.8, "relative": 0.1})[1]
        == "1 within 10 % or 0.8"
    )


def test_a_code_has_the_stage_that_the_numbers_show(block: Records) -> None:
    rows = block["condition"].to_pandas()
    low = set(rows[rows["code"].isin(["N18.30", "N18.31", "N18.32", "N18.4"])]["patient_id"])
    high = set(rows[rows["code"].isin(["N18.1", "N18.2"])]["patient_id"]) - low
    values = block["observation"].to_pandas()
    rate = values[values["code"] == "98979-8"].groupby("patient_id")["value_number"].last()
    assert rate.reindex(sorted(low)).dropna().median() < 62
    assert rate.reindex(sorted(high)).dropna().median() > 75
